//! Rows without models: what is scored, what is shown, and what is kept.

use crate::cli::{Sandbox, screens::redacted};

/// Orders of which one is priced wrong and one is refused.
const ROWS: &str = r#"{"id": "small", "inputs": {"note": "x"}, "expected": 6, "nodes": {"size": {"expected": "small"}}}
{"id": "large", "inputs": {"note": "x", "price": 50}, "expected": 135, "nodes": {"size": {"expected": "large"}}}
{"id": "wrong", "inputs": {"note": "x", "price": 50}, "expected": 150, "scorers": ["number(tolerance=15)", "exact"]}
{"id": "refused", "inputs": {"note": "a bomb"}, "expected": 6}
"#;

#[test]
fn a_workflow_is_scored_row_by_row_and_node_by_node() {
    let sandbox = Sandbox::new();
    sandbox.write("d.jsonl", ROWS);
    redacted(|| {
        insta::assert_snapshot!("eval", sandbox.screen(&["eval", "order.ron", "--dataset", "d.jsonl"]));
        insta::assert_snapshot!(
            "eval-gate",
            sandbox.screen(&[
                "eval",
                "order.ron",
                "--dataset",
                "d.jsonl",
                "--limit",
                "3",
                "--gate",
                "quality >= 0.5, size:exact = 1, cost_usd < 1",
            ])
        );
    });
    let (code, document) = sandbox.json(&["eval", "order.ron", "--dataset", "d.jsonl", "--format", "json"]);
    assert_eq!(code, 0, "a wrong answer is a finding, not a failure");
    let scores: Vec<_> = document["outcomes"].as_array().unwrap().iter().map(|it| it["quality"].as_f64()).collect();
    assert_eq!(scores, [Some(1.0), Some(1.0), Some(0.5), Some(0.0)]);
    assert_eq!(document["scores"]["size:exact"]["n"], 2, "a node is scored where something is expected of it");
    assert_eq!(document["statuses"]["refused"], 1);
    // Runs are recorded as any others.
    let (_, runs) = sandbox.json(&["runs", "list", "--format", "json"]);
    assert!(runs["runs"].as_array().unwrap().iter().any(|run| run["run_id"] == document["outcomes"][0]["run_id"]));
}

#[test]
fn the_same_seed_gives_the_same_intervals() {
    let sandbox = Sandbox::new();
    sandbox.write("d.jsonl", ROWS);
    let quality = |seed: &str| {
        let (_, document) =
            sandbox.json(&["eval", "order.ron", "--dataset", "d.jsonl", "--seed", seed, "--format", "json"]);
        document["quality"].clone()
    };
    let (first, again) = (quality("3"), quality("3"));
    assert_eq!(first, again);
    assert_eq!(first["value"], 0.625);
    assert!(first["low"].as_f64() < Some(0.625) && first["high"].as_f64() > Some(0.625));
}

#[test]
fn a_command_and_a_workflow_score_too() {
    let sandbox = Sandbox::new();
    sandbox.write("d.jsonl", "{\"inputs\": {\"note\": \"x\"}}\n{\"inputs\": {\"note\": \"x\", \"price\": 5}}\n");
    sandbox.write(
        "fits.ron",
        "Workflow(name: \"fits\", inputs: { \"output\": Number(required: true), \"task\": Text() }, nodes: {\n\
         \"sum\": Tool(agent: \"sum\", with: { \"expression\": \"{{ inputs.output }} / 15\" }) },\n\
         output: \"{{ {'score': sum.result, 'reason': inputs.task} }}\")",
    );
    let command = "custom(command=\"grep -q '\\\"output\\\":6' && echo 1 || echo '{\\\"score\\\": 0, \\\"reason\\\": \\\"no six\\\"}'\", name=six)";
    let arguments = ["eval", "order.ron", "--dataset", "d.jsonl", "-s", command, "-s", "custom(workflow=fits.ron)"];
    let (code, document) = sandbox.json(&[&arguments[..], &["--format", "json"]].concat());
    assert_eq!(code, 0);
    let [first, second] = &document["outcomes"].as_array().unwrap()[..] else { panic!("{document:#}") };
    assert_eq!((&first["scores"]["six"]["score"], &second["scores"]["six"]["reason"]), (&1.0.into(), &"no six".into()));
    assert_eq!(first["scores"]["custom"]["score"], 0.4);
    assert_eq!(second["scores"]["custom"]["score"], 1.0);
    assert_eq!(second["scores"]["custom"]["reason"], "note: x\nprice: 5\ncount: 3");
    assert_eq!((&document["judging"]["runs"], &document["judging"]["cost_usd"]), (&2.into(), &"0".into()));
    assert_eq!(document["runs"], 2, "runs of scorers are not runs of the workflow");
    assert_eq!(document["quality"]["value"], f64::midpoint(0.7, 0.5));
}

#[test]
fn a_scorer_that_breaks_leaves_a_row_unscored_not_wrong() {
    let sandbox = Sandbox::new();
    sandbox.write("d.jsonl", "{\"inputs\": {\"note\": \"x\"}, \"expected\": 6}\n");
    let arguments = ["eval", "order.ron", "--dataset", "d.jsonl", "-s", "exact", "-s", "custom(command='exit 3')"];
    let (code, document) = sandbox.json(&[&arguments[..], &["--format", "json"]].concat());
    assert_eq!(
        (code, &document["quality"]["value"], &document["quality"]["n"]),
        (0, &serde_json::Value::Null, &0.into())
    );
    assert_eq!(
        (&document["scores"]["custom"]["unscored"], &document["scores"]["exact"]["value"]),
        (&1.into(), &1.0.into())
    );
    let gated = sandbox.screen(&[&arguments[..], &["--gate", "quality > 0"]].concat());
    assert!(gated.contains("what is not known passes no gate") && gated.ends_with("--- exit 1\n"), "{gated}");
}
