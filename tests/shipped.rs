//! The shipped workflows, run on the real models that the default deployment names.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::home::json;

const QUESTION: &str = "question=Should we reorder for store 1 before the holidays?";

fn steps(record: &Value) -> &[Value] {
    record["steps"].as_array().expect("steps")
}

fn attempts(record: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let attempts = |step: &'_ Value| step["attempts"].as_array().cloned().unwrap_or_default().len();
    steps(record).iter().flat_map(move |step| (0..attempts(step)).map(move |index| (step, &step["attempts"][index])))
}

/// What every successful run must have: an output, real times, and token counts where a model was asked.
fn assert_honest(record: &Value) {
    assert_eq!(record["status"], "succeeded", "{}", record["error"]);
    assert!(record["totals"]["duration_us"].as_u64() > Some(0));
    assert!(record["totals"]["critical_path_us"].as_u64() > Some(0));
    assert_eq!(record["totals"]["bytes_outside"], 0);
    let mut asked = 0;
    for (step, attempt) in attempts(record) {
        let node = &step["node"];
        assert!(attempt["duration_us"].as_u64() > Some(0), "{node} took no time");
        assert_eq!(attempt["basis"]["latency"], "measured");
        if attempt["backend"].is_null() {
            assert!(attempt["input_tokens"].is_null() && attempt["model"].is_null(), "{node} asked no model");
            continue;
        }
        asked += 1;
        assert!(attempt["input_tokens"].as_u64() > Some(0), "{node} read nothing");
        assert!(attempt["output_tokens"].is_u64(), "{node} does not say what it wrote");
        if step["kind"] != "retriever" {
            assert!(attempt["output_tokens"].as_u64() > Some(0), "{node} wrote nothing");
            assert!(attempt["ttft_us"].as_u64() > Some(0), "{node} has no TTFT");
        }
        let cost: f64 = attempt["cost_usd"].as_str().expect("a cost").parse().expect("a number");
        assert!(cost > 0.0, "{node} cost nothing");
        assert_eq!(attempt["basis"]["cost"], "estimated");
    }
    assert!(asked > 0, "no model was asked");
}

/// A record without what may differ between two runs: times, the run's id and cached tokens.
fn timeless(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| {
                !name.ends_with("_us")
                    && !["run_id", "started_at", "cached_input_tokens", "cost_usd"].contains(&name.as_str())
            });
            kept.map(|(name, value)| (name.clone(), timeless(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(timeless).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

fn interval(attempt: &Value) -> (u64, u64) {
    let figure = |name: &str| attempt[name].as_u64().expect(name);
    (figure("start_us"), figure("start_us") + figure("queue_us") + figure("duration_us"))
}

/// Numbers of a text without thousands separators: `1,234.5` is `1234.5`.
fn numbers(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut number = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_digit() || (matches!(c, '.' | ',') && !number.is_empty()) {
            number.push(c);
        } else if !number.is_empty() {
            found.insert(number.trim_end_matches(['.', ',']).replace(',', ""));
            number.clear();
        }
    }
    found
}

#[test]
fn supply_chain_answers_twice_alike_and_its_branches_overlap() {
    let arguments = ["run", "workflows/supply_chain.ron", "-i", QUESTION, "--seed", "7", "--format", "json"];
    let (first, second) = (json(&arguments), json(&arguments));
    assert_honest(&first);
    assert_eq!(first["output"], second["output"]);
    assert_eq!(timeless(&first), timeless(&second));

    let intervals: Vec<(u64, u64)> = attempts(&first).map(|(_, attempt)| interval(attempt)).collect();
    let forecasts: Vec<(u64, u64)> =
        attempts(&first).filter(|(step, _)| step["node"] == "forecast").map(|(_, attempt)| interval(attempt)).collect();
    assert!((2..=3).contains(&forecasts.len()), "the plan has {} series", forecasts.len());
    let overlap = |a: &(u64, u64), b: &(u64, u64)| a.0 < b.1 && b.0 < a.1;
    assert!(overlap(&forecasts[0], &forecasts[1]), "the map did not fan out: {forecasts:?}");
    let pairs = intervals.iter().enumerate().flat_map(|(i, a)| intervals[i + 1..].iter().map(move |b| (a, b)));
    assert!(pairs.into_iter().any(|(a, b)| overlap(a, b)), "nothing ran beside anything: {intervals:?}");
}

#[test]
fn the_advice_holds_no_number_that_the_forecasts_did_not_give() {
    let record = json(&["run", "workflows/supply_chain.ron", "-i", QUESTION, "--seed", "11", "--format", "json"]);
    let text_of = |node: &str| {
        let step = steps(&record).iter().find(|step| step["node"] == node).unwrap_or_else(|| panic!("no step {node}"));
        step["output"]["text"].as_str().unwrap_or_default().to_owned()
    };
    let advice = text_of("advise");
    assert!(advice.len() > 20, "there is no advice: {advice:?}");
    assert!(!advice.chars().any(char::is_numeric), "the model wrote a number: {advice}");

    for step in steps(&record).iter().filter(|step| step["node"] == "forecast") {
        let lower = step["output"]["lower"].as_array().expect("bounds").iter().filter_map(Value::as_f64);
        assert!(lower.into_iter().all(|bound| bound >= 0.0), "sales below zero: {step}");
    }

    let words: BTreeSet<&str> = advice.split(|c: char| !c.is_alphabetic()).collect();
    let spelled =
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "hundred", "thousand"];
    assert!(spelled.iter().all(|word| !words.contains(word)), "the model spelled a number: {advice}");

    let forecasts: Vec<&Value> = steps(&record).iter().filter(|step| step["node"] == "forecast").collect();
    assert!(!forecasts.is_empty());
    let mut known = BTreeSet::new();
    for forecast in &forecasts {
        collect_numbers(&forecast["output"], &mut known);
    }
    let released = record["output"].as_str().expect("a text");
    let strange: Vec<String> = numbers(released).into_iter().filter(|number| !known.contains(number)).collect();
    assert!(strange.is_empty(), "{strange:?} come from no forecast:\n{released}");
}

/// Every number in a value, in the roundings that a template may print, and those in its texts.
fn collect_numbers(value: &Value, known: &mut BTreeSet<String>) {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            for printed in [number, number * 100.0].map(f64::abs) {
                known.extend((0..=2).map(|decimals| format!("{printed:.decimals$}")));
            }
        }
        Value::String(text) => known.extend(numbers(text)),
        Value::Array(items) => items.iter().for_each(|item| collect_numbers(item, known)),
        Value::Object(fields) => fields.values().for_each(|field| collect_numbers(field, known)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[test]
fn rag_answers_with_citations() {
    let question = "question=Which supplier needs the longest lead time before the holidays?";
    let record = json(&["run", "workflows/rag.ron", "-i", question, "--format", "json"]);
    assert_honest(&record);
    let output = record["output"].as_str().expect("a text");
    assert!(output.contains(".md"), "no source is cited:\n{output}");
}

#[test]
fn research_repeats_until_it_is_good_enough_and_at_most_three_times() {
    let question = "question=What should a buyer know about our suppliers' holiday closures?";
    let record = json(&["run", "workflows/research.ron", "-i", question, "--format", "json"]);
    assert_honest(&record);
    let rounds: BTreeSet<u64> = steps(&record).iter().filter_map(|step| step["iteration"].as_u64()).collect();
    assert!(!rounds.is_empty() && rounds.len() <= 3, "{rounds:?}");
    let mapped = steps(&record).iter().filter(|step| step["kind"] == "retriever" && step["index"].is_u64());
    assert!(mapped.count() > 0, "the plan was not mapped over");
}

#[test]
fn triage_takes_one_branch_and_skips_the_others() {
    let record =
        json(&["run", "workflows/triage.ron", "-i", "message=My invoice shows the wrong amount.", "--format", "json"]);
    assert_honest(&record);
    assert!(steps(&record).iter().any(|step| step["kind"] == "router" && step["status"] == "succeeded"));
    assert!(steps(&record).iter().any(|step| step["status"] == "skipped"));
}

/// Records what the other tests of this file look at, and goes through the scheduler once more on the recorded answers.
#[test]
fn every_shipped_workflow_is_replayed_identically() {
    let workflows = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/workflows")).expect("the folder");
    let files = workflows.map(|entry| entry.expect("an entry").path());
    // `research_round` is the sub-workflow of `research`.
    let is_shipped = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|end| end == "ron")
            && path.file_stem().is_some_and(|name| name != "research_round")
    };
    let mut names: Vec<_> = files.filter(is_shipped).collect();
    names.sort();
    assert!(names.len() >= 4);
    for path in names {
        let path = path.display().to_string();
        let input = if path.ends_with("triage.ron") { "message=What is 12 * 12?" } else { QUESTION };
        let record = json(&["run", &path, "-i", input, "--format", "json"]);
        let id = record["run_id"].as_str().expect("an id");
        let replay = json(&["replay", id, "--format", "json"]);
        assert_eq!(replay["replay"]["identical"], true, "{path}: {}", replay["replay"]);
        assert_eq!(replay["output"], record["output"]);
        assert_eq!(json(&["runs", "verify", id, "--format", "json"])["flaws"], serde_json::json!([]));
    }
}
