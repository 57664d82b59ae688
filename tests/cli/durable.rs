//! Runs that stop on the way: people decide, files change, runs fork and are replayed.

use serde_json::{Value, json};

use super::Sandbox;

/// Adds up, asks a person, and goes on.
const ASKING: &str = r#"Workflow(
    name: "asking",
    inputs: { "price": Number(default: 2) },
    nodes: {
        "total": Tool(agent: "sum", with: { "expression": "{{ inputs.price }} * 10" }),
        "pay": Tool(agent: "sum", with: { "expression": "{{ total.result }} + 1" }, approve: "Pay {{ total.result }}?"),
        "after": Tool(agent: "sum", with: { "expression": "{{ pay.result }} * 2" }),
    },
    output: "{{ after.result }}",
)
"#;

fn asking() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write("asking.ron", ASKING);
    let (code, record) = sandbox.json(&["run", "asking.ron", "--format", "json"]);
    assert_eq!((code, &record["status"]), (5, &json!("paused")));
    assert_eq!(record["steps"][1]["question"], "Pay 20?");
    let id = record["run_id"].as_str().expect("an id").to_owned();
    (sandbox, id)
}

fn listed(sandbox: &Sandbox, id: &str) -> Value {
    let (_, list) = sandbox.json(&["runs", "list", "--format", "json"]);
    let runs = list["runs"].as_array().expect("runs");
    runs.iter().find(|run| run["run_id"] == id).expect("the run")["status"].clone()
}

#[test]
fn a_person_approves_in_another_process() {
    let (sandbox, id) = asking();
    assert_eq!(listed(&sandbox, &id), "paused");
    // Nothing changes by looking at it, nor by going on without a decision.
    assert_eq!(sandbox.json(&["resume", &id, "--format", "json"]).0, 5);
    let (code, record) = sandbox.json(&["approve", &id, "pay", "--format", "json"]);
    assert_eq!((code, &record["status"], &record["output"]), (0, &json!("succeeded"), &json!(42)));
    assert_eq!(record["steps"][1]["decision"]["verdict"], "approved");
    assert_eq!(record, sandbox.json(&["runs", "show", &id, "--format", "json"]).1);
    let (code, replay) = sandbox.json(&["replay", &id, "--format", "json"]);
    assert_eq!((code, &replay["replay"]["identical"], &replay["run_id"]), (0, &json!(true), &json!(id)));
    let (code, problems) = sandbox.json(&["approve", &id, "pay", "--format", "json"]);
    assert_eq!(code, 2);
    assert!(problems["problems"][0]["message"].as_str().expect("text").contains("waits for nobody"), "{problems}");
}

#[test]
fn a_person_edits_or_rejects() {
    let (sandbox, id) = asking();
    sandbox.write("edit.json", r#"{"expression": "5 + 5"}"#);
    sandbox.write("wrong.json", "[1]");
    let (code, problems) = sandbox.json(&["approve", &id, "pay", "--edit", "wrong.json", "--format", "json"]);
    assert_eq!((code, &problems["problems"][0]["message"]), (2, &json!("the arguments are no JSON object")));
    let (code, record) = sandbox.json(&["approve", &id, "pay", "--edit", "edit.json", "--format", "json"]);
    assert_eq!((code, &record["output"]), (0, &json!(20)));

    let (code, record) = sandbox.json(&["run", "asking.ron", "--format", "json"]);
    assert_eq!(code, 5);
    let id = record["run_id"].as_str().expect("an id");
    let (code, problems) = sandbox.json(&["approve", id, "total", "--format", "json"]);
    assert_eq!((code, &problems["problems"][0]["hint"]), (2, &json!("it waits with `pay`")));
    let reject = ["approve", id, "pay", "--reject", "--reason", "too dear", "--format", "json"];
    let (code, record) = sandbox.json(&reject);
    assert_eq!((code, &record["status"]), (3, &json!("refused")));
    assert_eq!(record["error"]["message"], "a person rejected `pay`: too dear");
}

#[test]
fn a_default_holds_when_nobody_decides_in_time() {
    let sandbox = Sandbox::new();
    let ask = r#"approve: (ask: "Pay?", timeout_s: 0.001, default: Approve)"#;
    sandbox.write("asking.ron", &ASKING.replace(r#"approve: "Pay {{ total.result }}?""#, ask));
    assert_eq!(sandbox.json(&["run", "asking.ron", "--format", "json"]).0, 5);
    let (code, document) = sandbox.json(&["resume", "--all", "--format", "json"]);
    assert_eq!((code, &document["runs"][0]["output"]), (0, &json!(42)));
    assert_eq!(document["runs"][0]["steps"][1]["decision"]["by"], "timeout");
    assert_eq!(sandbox.json(&["resume", "--all", "--format", "json"]), (0, json!({ "runs": [] })));
}

#[test]
fn nobody_decides_once_the_default_holds() {
    let sandbox = Sandbox::new();
    let ask = r#"approve: (ask: "Pay?", timeout_s: 0.001, default: Reject)"#;
    sandbox.write("asking.ron", &ASKING.replace(r#"approve: "Pay {{ total.result }}?""#, ask));
    let (code, record) = sandbox.json(&["run", "asking.ron", "--format", "json"]);
    let (id, due_at) = (record["run_id"].as_str().unwrap(), record["steps"][1]["due_at"].as_str().unwrap());
    assert_eq!((code, record["steps"][1]["default"].as_str()), (5, Some("rejected")));
    let screen = sandbox.screen(&["approve", id]);
    let late = format!("too late: `pay` could be decided about until {due_at}, and is rejected by default");
    assert!(screen.contains(&late) && screen.ends_with("--- exit 1\n"), "{screen}");
    let (code, record) = sandbox.json(&["resume", id, "--format", "json"]);
    assert_eq!((code, record["steps"][1]["decision"]["by"].as_str()), (3, Some("timeout")));
    assert!(sandbox.screen(&["runs", "show", id]).contains("pay rejected by default"));
}

#[test]
fn runs_that_are_not_kept_wait_for_nobody() {
    let sandbox = Sandbox::new();
    sandbox.write("asking.ron", ASKING);
    sandbox.write("off.ron", r#"Deployment(name: "off", durability: Off, backends: {}, bind: {})"#);
    let screen = sandbox.screen(&["run", "asking.ron", "-d", "off.ron"]);
    assert!(screen.contains("runs that are not kept cannot wait for a person, as `pay` does"), "{screen}");
    assert!(screen.ends_with("--- exit 2\n"), "{screen}");
}

#[test]
fn changed_files_are_refused_with_a_diff_and_accepted_on_demand() {
    let (sandbox, id) = asking();
    sandbox.write("asking.ron", &ASKING.replace("+ 1", "+ 2").replace("* 2", "* 3"));
    let screen = sandbox.screen(&["resume", &id]).replace(&id, "RUN");
    insta::assert_snapshot!(screen);
    assert_eq!(listed(&sandbox, &id), "paused");
    let (code, record) = sandbox.json(&["resume", &id, "--accept-changes", "--format", "json"]);
    assert_eq!((code, &record["status"]), (5, &json!("paused")));
    let new = record["run_id"].as_str().expect("an id");
    assert_eq!(listed(&sandbox, &id), "cancelled");
    let (code, record) = sandbox.json(&["approve", new, "--format", "json"]);
    assert_eq!((code, &record["output"]), (0, &json!(66)));
    let (code, verified) = sandbox.json(&["runs", "verify", "--format", "json"]);
    assert_eq!((code, &verified["flaws"], &verified["runs"]), (0, &json!([]), &json!(2)));
}

#[test]
fn a_fork_goes_its_own_way_from_a_step_on() {
    let sandbox = Sandbox::new();
    let run = ["run", "order.ron", "-i", "note=hello", "--format", "json"];
    let (code, record) = sandbox.json(&run);
    assert_eq!((code, &record["output"]), (0, &json!(6)));
    let id = record["run_id"].as_str().expect("an id");
    let (code, forked) = sandbox.json(&["fork", id, "--at", "total", "-i", "count=100", "--format", "json"]);
    assert_eq!((code, &forked["output"], &forked["inputs"]["count"]), (0, &json!(180), &json!(100)));
    assert_ne!(forked["run_id"], record["run_id"]);
    // The guard before the step is shared, not run again.
    let (shared, made) = (&forked["steps"][0]["attempts"][0], &record["steps"][0]["attempts"][0]);
    assert_eq!((&shared["start_us"], &shared["shared"]), (&made["start_us"], &json!(true)));
    assert_eq!((&forked["forked_from"], &made["shared"]), (&json!(id), &json!(null)));
    let screen = |arguments: &[&str]| sandbox.screen(arguments).replace(id, "RUN");
    insta::assert_snapshot!(
        [
            screen(&["fork", id, "--at", "totl"]),
            screen(&["fork", id, "--at", "total", "-i", "cuont=1"]),
            screen(&["fork", "zzz", "--at", "total"]),
            screen(&["replay", id, "--only", "nothing", "-d", "none.ron"]),
            screen(&["replay", id]),
            screen(&["runs", "verify"]),
        ]
        .join("\n")
    );
}
