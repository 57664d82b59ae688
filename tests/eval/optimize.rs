//! Which backend for which node, where the truth is planted.

use std::time::Duration;

use lumos_faults::{Received, Reply};
use serde_json::Value;

use super::{Served, answer, command, document, figure, number, per_token, question};
use crate::cli::Sandbox;
use crate::cli::screens::redacted;

/// Two nodes beside each other and one that needs both.
const PIPELINE: &str = r#"Workflow(
    name: "pipeline",
    inputs: { "item": Text(required: true) },
    nodes: {
        "sort": Generator(agent: "sorter", input: "{{ inputs.item }}"),
        "draft": Generator(agent: "drafter", input: "{{ inputs.item }}"),
        "sum": Generator(agent: "summer", input: "{{ sort.text }} and {{ draft.text }}"),
    },
    output: "{{ sum.text }}",
)"#;

/// Whether a model is right about an item at a node: everybody sorts well, `small` drafts badly, and only `large` sums well.
fn is_right(node: &str, model: &str, item: u64) -> bool {
    match (node, model) {
        ("draft", "small") => !item.is_multiple_of(3),
        ("sum", "small") => !item.is_multiple_of(2),
        ("sum", "mid") => !item.is_multiple_of(4),
        _ => true,
    }
}

fn delay(model: &str) -> Duration {
    Duration::from_millis(match model {
        "small" => 5,
        "mid" => 40,
        _ => 90,
    })
}

/// Says `ok ITEM`, or `no ITEM` when it is wrong or was told something wrong.
fn serve() -> Served {
    Served::by(|request: &Received| -> Reply {
        let asked = question(request);
        let model = request.json()["model"].as_str().unwrap_or_default().to_owned();
        let node = asked.split(' ').next().unwrap_or_default().to_owned();
        let item = number(asked.split(" and ").next().unwrap_or_default());
        let is_good = is_right(&node, &model, item) && !asked.contains("no ");
        let text = format!("{} {item}", if is_good { "ok" } else { "no" });
        answer(&text, delay(&model), (100, 10))
    })
}

fn backends(url: &str, names: &[(&str, &str)]) -> String {
    let backend = |(name, cost): &(&str, &str)| {
        format!("\"{name}\": Remote(provider: OpenAiCompatible, model: \"{name}\", base_url: \"{url}/v1\", {cost}),\n")
    };
    names.iter().map(backend).collect()
}

fn sandbox(served: &Served, rows: u64, small: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("pipeline.ron", PIPELINE);
    for (agent, verb) in [("sorter", "sort"), ("drafter", "draft"), ("summer", "sum")] {
        let text = format!("Generator(model: \"any\", prompt: (user: \"{verb} {{{{ input }}}}\"))");
        sandbox.write(&format!("agents/{agent}.ron"), &text);
    }
    let (mid, large) = (per_token("2", "8"), per_token("10", "40"));
    let listed = backends(&served.url(), &[("small", small), ("mid", &mid), ("large", &large)]);
    let deployment = format!(
        "Deployment(name: \"dear\", backends: {{\n{listed}}}, bind: {{ \"*\": \"large\" }}, boundary: (inside: [\"small\"]))"
    );
    sandbox.write("dear.ron", &deployment);
    let row = |item| format!("{{\"inputs\": {{\"item\": \"{item}\"}}, \"expected\": \"ok {item}\"}}\n");
    sandbox.write("d.jsonl", &(1..=rows).map(row).collect::<String>());
    sandbox
}

fn small() -> String {
    per_token("0.2", "0.8")
}

/// What `lumos optimize` finds, as JSON.
pub fn optimized() -> String {
    let served = serve();
    let sandbox = sandbox(&served, 6, &small());
    let (_, found) = document(&command(&sandbox, &[&BASIS[..], &["--verify", "2"]].concat()).output().unwrap());
    found.to_string()
}

const BASIS: [&str; 8] =
    ["optimize", "pipeline.ron", "-d", "./dear.ron", "--dataset", "d.jsonl", "--over", "small,mid,large"];

fn chosen(found: &Value) -> &Value {
    let all = found["frontier"].as_array().into_iter().chain(found["apart"].as_array()).flatten();
    all.into_iter().find(|it| it["name"] == found["chosen"]).unwrap_or_else(|| panic!("nothing is chosen: {found:#}"))
}

#[test]
fn the_best_assignment_is_found_without_running_every_combination() {
    let served = serve();
    let sandbox = sandbox(&served, 24, &small());
    let arguments = [&BASIS[..], &["-o", "best.ron", "--verify", "2"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!(code, Some(0));
    // Right about everything, and the cheapest that is.
    let best = chosen(&found);
    assert_eq!(best["bind"], serde_json::json!({ "sort": "small", "draft": "mid", "sum": "large" }), "{found:#}");
    assert_eq!(figure(best, "/measured/quality/value"), 1.0);
    // 100 tokens in and 10 out at each of the prices.
    let price = (100.0 * (0.2 + 2.0 + 10.0) + 10.0 * (0.8 + 8.0 + 40.0)) / 1e6;
    assert!((figure(best, "/measured/cost_usd/value") - price).abs() < 1e-12);
    assert!((figure(best, "/composed/cost_usd/value") - price).abs() < 1e-12);
    assert_eq!(best["composed"]["cost_usd"]["basis"], "estimated");
    // The longer of two ways: draft on mid hides sort on small.
    let latency = figure(best, "/composed/latency_s/mean/value");
    assert!(latency >= 0.13, "{latency}");
    let off = |name: &str| best["off"].as_array().unwrap().iter().find(|it| it["figure"] == name).unwrap().clone();
    assert_eq!(off("quality")["within_noise"], true);
    assert!(off("cost_usd")["difference"]["value"].as_f64().unwrap().abs() < 1e-12);
    assert!(off("latency_s")["relative"]["low"].is_number() && off("latency_s")["n"] == 24);
    // 24 runs of the base; two other backends for three nodes; what follows from an answer that is the same is not asked.
    let effort = &found["effort"];
    assert_eq!((&effort["base_runs"], &effort["changed_runs"]), (&24.into(), &(24 * 6).into()));
    assert_eq!(
        (&effort["assignments"], &effort["looked_at"], &effort["runs_of_all"]),
        (&27.into(), &27.into(), &648.into())
    );
    let base_and_changes = 24 * 3 + 24 * 6 + 8; // `draft` on `small` is wrong about 8 items, which `sum` is then told.
    let verified =
        found["frontier"].as_array().unwrap().iter().filter(|it| it["measured"].is_object() && it["is_base"] == false);
    assert_eq!(served.requests(), base_and_changes + verified.count() * 24 * 3);
    // The file is a deployment like any other, and does what was promised.
    let (code, again) = document(
        &command(&sandbox, &["eval", "pipeline.ron", "-d", "./best.ron", "--dataset", "d.jsonl"]).output().unwrap(),
    );
    assert_eq!((code, &again["deployment"], figure(&again, "/quality/value")), (Some(0), &"best".into(), 1.0));
    assert!((figure(&again, "/cost_usd/value") - price).abs() < 1e-12);
}

#[test]
fn conditions_hold_of_what_is_chosen() {
    let served = serve();
    let sandbox = sandbox(&served, 12, &small());
    // Inside is only what is small: bytes outside are 0 for it alone.
    let inside = [&BASIS[..], &["--where", "bytes_outside = 0", "--pick", "latency", "--verify", "1"]].concat();
    let (code, found) = document(&command(&sandbox, &inside).output().unwrap());
    assert_eq!((code, &found["effort"]["met"]), (Some(0), &1.into()));
    assert_eq!(chosen(&found)["bind"], serde_json::json!({ "sort": "small", "draft": "small", "sum": "small" }));
    let cheap = [&BASIS[..], &["--where", "quality >= 0.9", "--pick", "cost", "--verify", "1"]].concat();
    let (code, found) = document(&command(&sandbox, &cheap).output().unwrap());
    assert_eq!((code, &chosen(&found)["bind"]["sum"]), (Some(0), &"large".into()));
    // Nothing is right about everything and sends nothing outside.
    let never = [&BASIS[..], &["--where", "bytes_outside = 0, quality >= 0.9", "--verify", "1"]].concat();
    let (code, found) = document(&command(&sandbox, &never).output().unwrap());
    assert_eq!((code, &found["chosen"]), (Some(1), &Value::Null));
    assert_eq!(found["nearest"]["bind"], serde_json::json!({ "sort": "small", "draft": "small", "sum": "small" }));
    redacted(|| insta::assert_snapshot!("optimize-none", sandbox.screen(&never)));
}

#[test]
fn an_unknown_price_is_kept_apart() {
    let served = serve();
    let sandbox = sandbox(&served, 6, "cost: Unknown");
    let arguments = [&BASIS[..], &["--pick", "cost", "--verify", "0"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    let all_priced = |list: &str| {
        let choices = found[list].as_array().unwrap().iter();
        choices.map(|it| !it["composed"]["cost_usd"]["value"].is_null()).collect::<Vec<_>>()
    };
    assert_eq!((code, &found["effort"]["cost_usd"]), (Some(0), &Value::Null));
    assert!(all_priced("frontier").iter().all(|is| *is) && all_priced("apart").iter().all(|is| !is), "{found:#}");
    assert!(!found["apart"].as_array().unwrap().is_empty());
    let binds = chosen(&found)["bind"].as_object().unwrap().clone();
    // The cheapest whose price is known; what has none is no cheaper.
    assert!(binds.values().all(|backend| backend == "mid"), "{binds:?}");
}

#[test]
fn mistakes_of_an_optimization_are_told_before_anything_runs() {
    let served = serve();
    let sandbox = sandbox(&served, 2, &small());
    sandbox.write(
        "other.ron",
        "Deployment(name: \"other\", backends: { \"mid\": Local(model: \"m\") }, bind: { \"*\": \"mid\" })",
    );
    sandbox.write("empty.jsonl", "\n");
    sandbox.write("orders.jsonl", "{\"inputs\": {\"note\": \"x\"}, \"expected\": 6}\n");
    let of = |over: &'static str, rest: &[&'static str]| {
        [&["optimize", "pipeline.ron", "-d", "./dear.ron", "--dataset", "d.jsonl", "--over", over][..], rest].concat()
    };
    for (name, arguments) in [
        ("optimize-unknown-backend", of("smal,mid", &[])),
        ("optimize-nothing-over", of("large", &[])),
        ("optimize-two-backends", of("mid,small", &["-d", "./other.ron"])),
        ("optimize-unknown-metric", of("mid,small", &["--where", "quality > 0.5, p95 < 2"])),
        (
            "optimize-no-rows",
            vec!["optimize", "pipeline.ron", "-d", "./dear.ron", "--dataset", "empty.jsonl", "--over", "small"],
        ),
        (
            "optimize-no-model",
            vec!["optimize", "order.ron", "-d", "./dear.ron", "--dataset", "orders.jsonl", "--over", "small"],
        ),
        ("optimize-no-deployment", vec!["optimize", "pipeline.ron", "--dataset", "d.jsonl", "--over", "small"]),
    ] {
        let screen = sandbox.screen(&arguments);
        assert!(screen.ends_with("--- exit 2\n"), "{name}: {screen}");
        insta::assert_snapshot!(name, screen);
    }
    assert_eq!(served.requests(), 0);
}

/// A list, an answer for each of its entries in a workflow of its own, two at a time, and what is made of them.
const WIDE: &str = r#"Workflow(
    name: "wide",
    inputs: { "item": Text(required: true) },
    nodes: {
        "sort": Generator(agent: "sorter", input: "{{ inputs.item }}"),
        "each": Workflow(path: "inner.ron", map: "{{ [1, 2, 3] }}", concurrency: 2, with: { "item": "{{ inputs.item }}" }, after: ["sort"]),
        "sum": Generator(agent: "summer", input: "{{ sort.text }} and {{ each | join(', ') }}"),
    },
    output: "{{ sum.text }}",
)"#;

const INNER: &str = r#"Workflow(
    name: "inner",
    inputs: { "item": Text(required: true) },
    nodes: { "draft": Generator(agent: "drafter", input: "{{ inputs.item }}") },
    output: "{{ draft.text }}",
)"#;

#[test]
fn maps_and_workflows_within_are_composed_too() {
    let served = serve();
    let sandbox = sandbox(&served, 8, &small());
    sandbox.write("wide.ron", WIDE);
    sandbox.write("inner.ron", INNER);
    let arguments = ["optimize", "wide.ron", "-d", "./dear.ron", "--dataset", "d.jsonl", "--over", "mid,large"];
    let arguments = [&arguments[..], &["--pick", "cost", "--where", "quality >= 0.9", "--verify", "1"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    let best = chosen(&found);
    assert_eq!((code, &best["bind"]), (Some(0), &serde_json::json!({ "sort": "mid", "draft": "mid", "sum": "large" })));
    // Five calls: three of them drafts, one after two that are beside each other.
    let price = (100.0 * (2.0 * 4.0 + 10.0) + 10.0 * (8.0 * 4.0 + 40.0)) / 1e6;
    assert!((figure(best, "/composed/cost_usd/value") - price).abs() < 1e-12, "{best:#}");
    assert!((figure(best, "/measured/cost_usd/value") - price).abs() < 1e-12);
    // 40, twice 40 of the three drafts, and 90 ms.
    let latency = |figures: &str| figure(best, &format!("/{figures}/latency_s/mean/value"));
    assert!(latency("composed") >= 0.19 && latency("measured") >= 0.2, "{best:#}");
}

#[cfg(unix)]
#[test]
fn an_optimization_goes_on_where_it_was() {
    // The third item is never answered by `mid`, at first.
    let is_patient = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let patient = is_patient.clone();
    let served = Served::by(move |request| {
        let (asked, model) = (number(&question(request)), request.json()["model"].clone());
        if model == "mid" && asked == 3 && !patient.load(std::sync::atomic::Ordering::SeqCst) {
            return Reply::Silence;
        }
        answer(&format!("ok {asked}"), Duration::ZERO, (10, 5))
    });
    let sandbox = sandbox(&served, 4, &small());
    sandbox.write(
        "one.ron",
        r#"Workflow(name: "one", inputs: { "item": Text(required: true) },
            nodes: { "sort": Generator(agent: "sorter", input: "{{ inputs.item }}") }, output: "{{ sort.text }}")"#,
    );
    let arguments = ["optimize", "one.ron", "-d", "./dear.ron", "--dataset", "d.jsonl", "--over", "mid,large"];
    let quiet = || std::process::Stdio::null();
    let mut child = command(&sandbox, &arguments).stdout(quiet()).stderr(quiet()).spawn().unwrap();
    while served.requests() < 7 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    is_patient.store(true, std::sync::atomic::Ordering::SeqCst);
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!((code, &found["effort"]["changed_runs"]), (Some(0), &4.into()));
    // Four of the base, two of the change before it was killed and the one in flight; then two, and four that verify.
    assert_eq!((served.requests(), &chosen(&found)["bind"]["sort"]), (7 + 2 + 4, &"mid".into()));
}

const ONE: &str = r#"Workflow(name: "one", inputs: { "item": Text(required: true) },
    nodes: { "sort": Generator(agent: "sorter", input: "{{ inputs.item }}") }, output: "{{ sort.text }}")"#;

fn one(over: &'static str) -> [&'static str; 8] {
    ["optimize", "one.ron", "-d", "./dear.ron", "--dataset", "d.jsonl", "--over", over]
}

#[test]
fn what_fails_every_run_is_no_choice_however_cheap() {
    let served = Served::by(|request| match request.json()["model"].as_str() {
        Some("large") => answer(&format!("ok {}", number(&question(request))), Duration::ZERO, (100, 10)),
        _ => Reply::status(400),
    });
    let sandbox = sandbox(&served, 4, &small());
    sandbox.write("one.ron", ONE);
    let arguments = [&one("small,large")[..], &["--pick", "cost", "-o", "best.ron"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!((code, &chosen(&found)["bind"]["sort"], &found["effort"]["met"]), (Some(0), &"large".into(), &1.into()));
    assert!(found["frontier"].as_array().unwrap().iter().all(|it| it["bind"]["sort"] != "small"), "{found:#}");
    // Where nothing else is offered, nothing is chosen, nor written.
    std::fs::remove_file(sandbox.folder().join("best.ron")).unwrap();
    let arguments = [&one("small,mid")[..], &["--pick", "cost", "-o", "best.ron", "--where", "cost_usd < 1"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!((code, &found["chosen"]), (Some(1), &Value::Null));
    assert!(found["nearest"]["bind"]["sort"].is_string() && !sandbox.folder().join("best.ron").exists());
    let screen = sandbox.screen(&arguments);
    assert!(screen.contains("no run of any choice succeeds") && screen.ends_with("--- exit 1\n"), "{screen}");
}

#[test]
fn what_holds_in_no_run_for_real_is_nearest_without_a_price_too() {
    let asked = std::sync::atomic::AtomicU64::new(0);
    // Two runs of the base and two of each change are answered well.
    let served = Served::by(move |request| {
        let is_good = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 6;
        let text = format!("{} {}", if is_good { "ok" } else { "no" }, number(&question(request)));
        answer(&text, Duration::ZERO, (100, 10))
    });
    let sandbox = sandbox(&served, 2, "cost: Unknown");
    sandbox.write("one.ron", ONE);
    let deployment = std::fs::read_to_string(sandbox.folder().join("dear.ron")).unwrap();
    sandbox.write("dear.ron", &deployment.replace(&per_token("2", "8"), "cost: Unknown"));
    let arguments = [&one("small,mid")[..], &["--where", "quality >= 0.9"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!((code, &found["chosen"]), (Some(1), &Value::Null));
    assert_eq!(figure(&found, "/nearest/measured/quality/value"), 0.0, "{found:#}");
}

#[test]
fn what_a_change_skips_takes_nothing() {
    let served = Served::by(|request| {
        let (asked, model) = (question(request), request.json()["model"].clone());
        let way = if model == "small" { "right" } else { "left" };
        let text = if asked.starts_with("sort") { way.to_owned() } else { format!("ok {}", number(&asked)) };
        answer(&text, Duration::from_millis(2), (if asked.starts_with("sort") { 900 } else { 100 }, 10))
    });
    let sandbox = sandbox(&served, 6, &small());
    sandbox.write(
        "ways.ron",
        r#"Workflow(name: "ways", inputs: { "item": Text(required: true) },
            nodes: {
                "way": Generator(agent: "sorter", input: "{{ inputs.item }}"),
                "left": Generator(agent: "drafter", input: "{{ inputs.item }}", when: "{{ way.text == 'left' }}"),
                "right": Generator(agent: "summer", input: "{{ inputs.item }}", when: "{{ way.text == 'right' }}"),
            },
            output: "{% if way.text == 'left' %}{{ left.text }}{% else %}{{ right.text }}{% endif %}")"#,
    );
    let arguments = ["optimize", "ways.ron", "-d", "./dear.ron", "--dataset", "d.jsonl", "--over", "small,large"];
    let arguments = [&arguments[..], &["--pick", "cost", "--verify", "8"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    let moved = found["frontier"].as_array().unwrap().iter().find(|it| it["name"] == "dear+way=small");
    let moved = moved.unwrap_or_else(|| panic!("{found:#}"));
    // The other way, `right`, is asked in place of `left`.
    let price = (900.0 * 0.2 + 100.0 * 10.0 + 10.0 * (0.8 + 40.0)) / 1e6;
    assert!((figure(moved, "/measured/cost_usd/value") - price).abs() < 1e-12, "{moved:#}");
    assert!((figure(moved, "/composed/cost_usd/value") - price).abs() < 1e-12, "{moved:#}");
    let off = |name: &str| moved["off"].as_array().unwrap().iter().find(|it| it["figure"] == name).unwrap();
    assert_eq!((code, figure(off("bytes_outside"), "/difference/value")), (Some(0), 0.0));
}

#[test]
fn a_judge_keeps_its_backend_in_what_is_written() {
    let served = Served::by(|request| {
        let asked = question(request);
        let text =
            if asked.starts_with("grade") { r#"{"score": 9}"#.to_owned() } else { format!("ok {}", number(&asked)) };
        answer(&text, Duration::ZERO, (100, 10))
    });
    let sandbox = sandbox(&served, 2, &small());
    sandbox.write("agents/grader.ron", r#"Judge(model: "any", prompt: "grade {{ input }}")"#);
    let judged = r#"cascade: (judge: "grader", accept: "{{ output.score > 5 }}", to: "large"))"#;
    let nodes = ONE.replace("item }}\") }", &format!("item }}}}\", {judged} }}"));
    sandbox.write("one.ron", &nodes);
    let (code, found) = document(
        &command(&sandbox, &[&one("small,mid")[..], &["--pick", "cost", "-o", "best.ron"]].concat()).output().unwrap(),
    );
    assert_eq!((code, &chosen(&found)["bind"]["sort"]), (Some(0), &"small".into()));
    let again = ["eval", "one.ron", "-d", "./best.ron", "--dataset", "d.jsonl"];
    let (code, again) = document(&command(&sandbox, &again).output().unwrap());
    assert_eq!((code, figure(&again, "/quality/value")), (Some(0), 1.0));
}

/// Two workflows within another, each of whose nodes has the same name as the other's. `first` and `second` are told what to do.
fn twins(sandbox: &Sandbox, (first, second): (&str, &str)) {
    let inner = |agent: &str| {
        format!(
            r#"Workflow(name: "inner", inputs: {{ "item": Text(required: true) }},
                nodes: {{ "write": Generator(agent: "{agent}", input: "{{{{ inputs.item }}}}") }}, output: "{{{{ write.text }}}}")"#
        )
    };
    sandbox.write("a.ron", &inner("drafter"));
    sandbox.write("b.ron", &inner("summer"));
    sandbox.write(
        "twins.ron",
        &format!(
            r#"Workflow(name: "twins", inputs: {{ "item": Text(required: true, labels: [Pii]), "topic": Text(default: "1") }},
                nodes: {{
                    "sort": Generator(agent: "sorter", input: "{{{{ inputs.topic }}}}"),
                    "first": Workflow(path: "a.ron", with: {{ "item": "{{{{ inputs.{first} }}}}" }}, after: ["sort"]),
                    "second": Workflow(path: "b.ron", with: {{ "item": "{{{{ inputs.{second} }}}}" }}, after: ["first"]),
                }},
                output: "{{{{ second }}}}")"#
        ),
    );
}

const TWINS: [&str; 8] = ["optimize", "twins.ron", "-d", "./dear.ron", "--dataset", "d.jsonl", "--over", "small,large"];

#[test]
fn nodes_of_one_name_that_are_bound_apart_stay_where_they_are() {
    let served = serve();
    let sandbox = sandbox(&served, 2, &small());
    twins(&sandbox, ("topic", "topic"));
    sandbox.write("agents/drafter.ron", r#"Generator(model: "cheap", prompt: "draft {{ input }}")"#);
    let deployment = std::fs::read_to_string(sandbox.folder().join("dear.ron")).unwrap();
    sandbox.write("dear.ron", &deployment.replace("\"*\": \"large\"", "\"cheap\": \"small\", \"any\": \"large\""));
    let arguments = [&TWINS[..], &["--pick", "cost", "-o", "best.ron"]].concat();
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    let fixed = found["space"]["fixed"].as_array().unwrap().iter();
    let fixed: Vec<_> = fixed.map(|it| format!("{} on {}", it["node"], it["backend"]).replace('"', "")).collect();
    assert_eq!((code, fixed), (Some(0), vec!["write on small".to_owned(), "write on large".to_owned()]));
    assert_eq!(chosen(&found)["bind"], serde_json::json!({ "sort": "small" }));
    // Two items: `sort` and the draft on what is cheap, the sum on what is dear.
    let price = (100.0 * (0.2 + 0.2 + 10.0) + 10.0 * (0.8 + 0.8 + 40.0)) / 1e6;
    assert!((figure(chosen(&found), "/measured/cost_usd/value") - price).abs() < 1e-12, "{found:#}");
    let again = ["eval", "twins.ron", "-d", "./best.ron", "--dataset", "d.jsonl"];
    let (code, again) = document(&command(&sandbox, &again).output().unwrap());
    assert_eq!(code, Some(0));
    assert!((figure(&again, "/cost_usd/value") - price).abs() < 1e-12, "{again:#}");
}

#[test]
fn nodes_of_one_name_are_offered_what_suits_all_of_them() {
    let served = serve();
    let sandbox = sandbox(&served, 2, &small());
    let deployment = std::fs::read_to_string(sandbox.folder().join("dear.ron")).unwrap();
    let deployment = deployment.replace("\"*\": \"large\"", "\"*\": \"small\"");
    sandbox
        .write("dear.ron", &deployment.replace("(inside: [\"small\"]", "(inside: [\"small\"], forbid_outside: [Pii]"));
    // Whichever of them is told what must not leave.
    for told in [("item", "topic"), ("topic", "item")] {
        twins(&sandbox, told);
        let (code, found) = document(&command(&sandbox, &TWINS).output().unwrap());
        let nodes = found["space"]["nodes"].as_array().unwrap();
        assert_eq!((code, nodes.len(), &nodes[0]["node"]), (Some(0), 1, &"sort".into()));
        let fixed = found["space"]["fixed"].as_array().unwrap();
        assert_eq!((fixed.len(), &fixed[0]["node"], &fixed[0]["backend"]), (1, &"write".into(), &"small".into()));
        let why = fixed[0]["why"].as_str().unwrap();
        assert!(why.starts_with("no other backend fits it (`large`: ") && why.contains("Pii"), "{why}");
    }
}
