//! Deployments side by side, where the truth is planted.

use std::time::Duration;

use lumos_faults::{Received, Reply};
use serde_json::Value;

use super::{Served, answer, command, deployment, document, figure, number, per_token, question, sandbox};
use crate::cli::scenarios;
use crate::cli::screens::redacted;

/// One server for both: `dear` is right about every item, `cheap` is wrong about every fifth, fails about the seventh, and
/// takes longer. Tokens grow with the item.
fn serve() -> Served {
    Served::by(|request: &Received| -> Reply {
        let item = number(&question(request));
        let model = request.json()["model"].as_str().unwrap_or_default().to_owned();
        let tokens = (50 + item, 10 + item);
        match model.as_str() {
            "cheap" if item == 7 => Reply::status(400),
            "cheap" => {
                let text = if item.is_multiple_of(5) { "nothing".to_owned() } else { format!("item {item}") };
                answer(&text, Duration::from_millis(60), tokens)
            }
            _ => answer(&format!("item {item}"), Duration::from_millis(5), tokens),
        }
    })
}

#[test]
fn a_planted_difference_is_found() {
    let served = serve();
    let sandbox = sandbox(20);
    sandbox.write("dear.ron", &deployment("dear", &served.url(), &per_token("10", "40")));
    sandbox.write("cheap.ron", &deployment("cheap", &served.url(), &per_token("2", "8")));
    let arguments = ["compare", "ask.ron", "-d", "./dear.ron", "-d", "./cheap.ron", "--dataset", "d.jsonl", "-j", "2"];
    let gate = "dear.quality >= 0.9, cheap.cost_usd < 0.0005, quality >= 0.8, \
                cost_usd <= 0.25 * baseline, quality >= 95% * dear";
    let (code, found) = document(&command(&sandbox, &[&arguments[..], &["--gate", gate]].concat()).output().unwrap());
    assert_eq!(code, Some(1), "`cheap` is not good enough");
    let [dear, cheap] = &found["sides"].as_array().unwrap()[..] else { panic!("{found:#}") };
    assert_eq!((figure(dear, "/quality/value"), figure(cheap, "/quality/value")), (1.0, 0.75));
    // Items 1 to 20: 50 + i tokens in and 10 + i out, at 10 and 40 dollars per million.
    let tokens = |base: u64| (1..=20).map(|item| (base + item) as f64).sum::<f64>() / 20.0;
    assert!((figure(dear, "/cost_usd/value") - (tokens(50) * 10.0 + tokens(10) * 40.0) / 1e6).abs() < 1e-9);
    assert_eq!((&dear["cost_usd"]["basis"], &dear["input_tokens"]["basis"]), (&"estimated".into(), &"reported".into()));
    assert_eq!((&cheap["latency_s"]["p95"]["basis"], &cheap["statuses"]["failed"]), (&"measured".into(), &1.into()));
    assert!(figure(dear, "/bytes_outside/value") > 100.0 && figure(cheap, "/ttft_s/p50/value") >= 0.06);
    let difference = |name: &str| {
        let all = found["differences"].as_array().unwrap();
        all.iter().find(|it| it["figure"] == name).unwrap_or_else(|| panic!("no {name}"))
    };
    // A failed call is billed by its prompt, which the server did not count: all of its costs are there and a bit less.
    let cost = difference("cost_usd");
    assert_eq!((&cost["says"], &cost["paired"], &cost["n"]), (&"less".into(), &true.into(), &20.into()));
    assert!((figure(cost, "/relative/value") + 0.8).abs() < 0.03 && figure(cost, "/relative/high") < -0.77);
    assert_eq!(
        (&difference("quality")["says"], &difference("latency_s.p50")["says"]),
        (&"less".into(), &"more".into())
    );
    assert_eq!(
        (&difference("latency_s.p95")["says"], &difference("failures")["says"]),
        (&"too_few".into(), &"noise".into())
    );
    let verdict = found["verdicts"][0]["text"].as_str().unwrap();
    assert!(verdict.starts_with("cheap is 8") && verdict.contains(" % cheaper; quality worse by 0."), "{verdict}");
    let passed: Vec<_> = found["gate"]["conditions"].as_array().unwrap().iter().map(|it| &it["passed"]).collect();
    assert_eq!(passed, [true, true, true, false, true, false]);
    let last = &found["gate"]["conditions"][5];
    assert_eq!((&last["deployment"], &last["against"]), (&"cheap".into(), &"dear".into()));
    assert_eq!((figure(last, "/value"), figure(last, "/bound")), (0.75, 0.95));
    // The same runs, from the records. How much slower in milliseconds differs from run to run.
    let screen = sandbox.screen(&["compare", "ask.ron", "-d", "./dear.ron", "-d", "./cheap.ron"]);
    let (verdict, rest): (Vec<&str>, Vec<&str>) = screen.lines().partition(|line| line.starts_with("cheap is "));
    assert!(verdict[0].contains("quality was not scored; p95 has too few runs to tell; p50 slower by "), "{screen}");
    redacted(|| insta::assert_snapshot!("compare-records", rest.join("\n")));
}

#[test]
fn an_unknown_price_is_not_zero() {
    let served = serve();
    let sandbox = sandbox(3);
    sandbox.write("dear.ron", &deployment("dear", &served.url(), &per_token("10", "40")));
    sandbox.write("cheap.ron", &deployment("cheap", &served.url(), "cost: Unknown"));
    let arguments = ["compare", "ask.ron", "-d", "./dear.ron", "-d", "./cheap.ron", "--dataset", "d.jsonl"];
    let (code, found) =
        document(&command(&sandbox, &[&arguments[..], &["--gate", "cost_usd < 1"]].concat()).output().unwrap());
    assert_eq!((code, &found["sides"][1]["cost_usd"]["value"]), (Some(1), &Value::Null));
    assert!(found["verdicts"][0]["text"].as_str().unwrap().contains("cannot be compared in cost"));
    let condition = &found["gate"]["conditions"][1];
    assert_eq!((&condition["deployment"], &condition["passed"]), (&"cheap".into(), &false.into()));
    assert!(condition["why"].as_str().unwrap().contains("not known"));
}

#[test]
fn a_scenario_is_compared_by_simulation() {
    let root = env!("CARGO_MANIFEST_DIR");
    let sandbox = sandbox(1);
    let scenario = format!("{root}/scenarios/support_day.ron");
    let workflow = format!("{root}/scenarios/workflows/agentic_rag.ron");
    let deployments =
        [format!("{root}/scenarios/deployments/bought.ron"), format!("{root}/scenarios/deployments/mixed.ron")];
    let [a, b] = &deployments;
    let arguments = ["compare", &workflow, "-d", a, "-d", b, "--scenario", &scenario, "--runs", "3000", "--seeds", "3"];
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!((code, &found["source"]), (Some(0), &"simulated".into()));
    for side in found["sides"].as_array().unwrap() {
        assert_eq!(
            (&side["latency_s"]["p95"]["basis"], &side["cost_usd"]["basis"]),
            (&"simulated".into(), &"simulated".into())
        );
        assert_eq!((&side["quality"], &side["bytes_outside"]["value"]), (&Value::Null, &Value::Null));
        assert!(side["latency_s"]["p95"]["low"].as_f64() < side["latency_s"]["p95"]["high"].as_f64());
    }
    assert_eq!(document(&command(&sandbox, &arguments).output().unwrap()).1, found, "the same seeds, the same figures");
    let other = ["compare", "ask.ron", "-d", a, "--scenario", &scenario];
    let screen = sandbox.screen(&other);
    assert!(screen.ends_with("--- exit 2\n") && screen.contains("the scenario is one of"), "{screen}");
}

#[test]
fn a_load_that_is_not_borne_passes_no_gate_and_one_seed_makes_nothing_sure() {
    let sandbox = scenarios::sandbox();
    let own = "deployments/own.ron";
    let of = |per_s: &str, seeds: &str, gate: &str| {
        sandbox.write(
            "scenario.ron",
            &scenarios::SCENARIO.replace("per_s: 2", &format!("per_s: {per_s}")).replace("runs: 300", "runs: 3000"),
        );
        let arguments = ["compare", "desk.ron", "-d", own, "--scenario", "scenario.ron", "--seeds", seeds];
        let (code, found) =
            document(&command(&sandbox, &[&arguments[..], &["--gate", gate]].concat()).output().unwrap());
        let conditions = found["gate"]["conditions"].as_array().unwrap().iter();
        let told = |it: &Value| (it["passed"] == true, it["why"].as_str().unwrap_or_default().to_owned());
        (code, conditions.map(told).collect::<Vec<_>>())
    };
    // The desk serves ten in a second: what ended meanwhile says nothing of what is to come.
    let gate =
        "total_cost_usd < 100, failed_runs = 0, tokens > 0, input_tokens > 0, output_tokens > 0, p95_s > 0, ttft_s > 0";
    let (code, found) = of("50", "2", gate);
    assert_eq!((code, found.len()), (Some(1), 7));
    assert!(found.iter().all(|(passed, why)| !passed && !why.is_empty()), "{found:?}");
    let (code, found) = of("2", "1", gate);
    let few = "there are too few runs to be sure";
    assert_eq!(code, Some(0), "{found:?}");
    assert_eq!(found.iter().map(|it| it.1.as_str()).collect::<Vec<_>>(), ["", "", few, few, few, few, few]);
    let (_, found) = of("2", "3", gate);
    assert!(found.iter().all(|(passed, why)| *passed && why.is_empty()), "{found:?}");
}
