//! A hundred plans by the default model: every one fits its schema, ends by itself, and holds distinct items.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::home::json;

const SUBJECTS: [&str; 10] = [
    "a late delivery",
    "a new supplier",
    "a price rise",
    "the holiday season",
    "a broken freezer",
    "a product recall",
    "an empty shelf",
    "a stock count",
    "a price comparison",
    "a customer complaint",
];
const TASKS: [&str; 10] = [
    "How do we deal with",
    "What must be checked after",
    "Who has to be told about",
    "How do we prepare for",
    "What does it cost to handle",
    "How do we report on",
    "What can go wrong with",
    "How do we learn from",
    "How long does it take to settle",
    "What should a beginner know about",
];

const WORKFLOW: &str = r#"Workflow(
    name: "plans",
    inputs: { "questions": Json() },
    nodes: { "plan": Planner(agent: "planner", map: "{{ inputs.questions }}", input: "{{ item }}") },
    output: "{{ plan }}",
)"#;
const AGENT: &str = r#"Planner(
    model: "small",
    prompt: (system: "You break tasks into steps.", user: "{{ input }}\nList the steps, a few words each."),
    field: "steps",
    items: (min: 1, max: 8, max_chars: 40),
)"#;

#[test]
fn a_hundred_questions_give_a_hundred_valid_plans() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("agents")).expect("a folder");
    fs::write(folder.path().join("plans.ron"), WORKFLOW).expect("a file");
    fs::write(folder.path().join("agents/planner.ron"), AGENT).expect("a file");
    let ask = |subject: &str| TASKS.map(|task| format!("{task} {subject}?"));
    let questions: Vec<String> = SUBJECTS.iter().flat_map(|subject| ask(subject)).collect();
    fs::write(folder.path().join("inputs.json"), json!({ "questions": questions }).to_string()).expect("a file");

    let path = |name: &str| folder.path().join(name).display().to_string();
    let (workflow, inputs) = (path("plans.ron"), path("inputs.json"));
    let deployment = concat!(env!("CARGO_MANIFEST_DIR"), "/deployments/local.ron");
    let record = json(&["run", &workflow, "-d", deployment, "--inputs", &inputs, "--format", "json"]);

    let steps = record["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 100);
    for step in steps {
        let attempts = step["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 1, "{step}");
        assert_eq!(attempts[0]["finish_reason"], "stop", "{step}");
        let items: Vec<&str> =
            step["output"]["steps"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert!((1..=8).contains(&items.len()), "{items:?}");
        assert!(items.iter().all(|item| !item.trim().is_empty() && item.chars().count() <= 40), "{items:?}");
        assert_eq!(items.iter().collect::<BTreeSet<_>>().len(), items.len(), "{items:?}");
    }
}

#[test]
fn choices_are_distinct_however_greedy_the_model_is() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("agents")).expect("a folder");
    let agent = AGENT.replace(
        "(min: 1, max: 8, max_chars: 40)",
        "(min: 3, max: 3, choices: [\"Count\", \"Order\", \"Call\", \"Wait\"])",
    );
    assert_ne!(agent, AGENT);
    fs::write(folder.path().join("plans.ron"), WORKFLOW).expect("a file");
    fs::write(folder.path().join("agents/planner.ron"), agent).expect("a file");
    let questions: Vec<String> = SUBJECTS.iter().map(|subject| format!("{} {subject}?", TASKS[0])).collect();
    fs::write(folder.path().join("inputs.json"), json!({ "questions": questions }).to_string()).expect("a file");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let deployment = concat!(env!("CARGO_MANIFEST_DIR"), "/deployments/local.ron");
    let (workflow, inputs) = (path("plans.ron"), path("inputs.json"));
    let record = json(&["run", &workflow, "-d", deployment, "--inputs", &inputs, "--format", "json"]);
    for step in record["steps"].as_array().expect("steps") {
        let items: BTreeSet<&str> =
            step["output"]["steps"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert_eq!(items.len(), 3, "{step}");
    }
}
