//! How runs end, what is kept of them, and what programs read.

use std::process::Stdio;

use serde_json::Value;

use super::Sandbox;

#[test]
fn exit_codes_say_how_a_run_ended() {
    let sandbox = Sandbox::new();
    let tool = |expression: &str, rest: &str| {
        format!(
            "Workflow(name: \"w\", nodes: {{ \"a\": Tool(agent: \"sum\", with: {{ \"expression\": \"{expression}\" }}), \
             \"b\": Tool(agent: \"sum\", after: [\"a\"], with: {{ \"expression\": \"1\" }}) }}, \
             output: \"{{{{ b.result }}}}\"{rest})"
        )
    };
    sandbox.write("fails.ron", &tool("1 / 0", ""));
    sandbox.write("limited.ron", &tool("1", ", limits: (steps: 1)"));
    let json = |arguments: &[&str]| sandbox.json(&[&["run", "--format", "json"], arguments].concat());
    for (arguments, code, status) in [
        (&["order.ron", "-i", "note=x"][..], 0, "succeeded"),
        (&["fails.ron"], 1, "failed"),
        (&["order.ron", "-i", "note=a bomb"], 3, "refused"),
        (&["limited.ron"], 4, "limited"),
    ] {
        let (found, record) = json(arguments);
        assert_eq!((found, record["status"].as_str()), (code, Some(status)), "{arguments:?}: {record}");
        assert_eq!(record["error"].is_null(), code == 0);
    }
    assert_eq!(json(&["order.ron"]).0, 2);
    let (_, runs) = sandbox.json(&["runs", "list", "--format", "json"]);
    let kept: Vec<&str> = runs["runs"].as_array().unwrap().iter().filter_map(|run| run["status"].as_str()).collect();
    assert_eq!(kept, ["limited", "refused", "failed", "succeeded"]);
}

#[test]
fn the_record_is_the_documented_one_and_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.write("inputs.json", "{\"note\": \"hello\", \"price\": 2.5, \"count\": 100}");
    let arguments =
        ["run", "order.ron", "--inputs", "inputs.json", "-i", "count=60", "--seed", "7", "--format", "json"];
    let (code, record) = sandbox.json(&arguments);
    assert_eq!(code, 0);
    assert_eq!(record["output"], 135);
    assert_eq!(record["seed"], 7);
    assert_eq!(record["totals"]["cost_usd"], "0");
    assert_eq!(record["inputs"]["count"], 60);
    let nodes: Vec<&str> =
        record["steps"].as_array().unwrap().iter().filter_map(|step| step["node"].as_str()).collect();
    assert_eq!(nodes, ["screen", "total", "size", "discount", "plain"]);
    assert_eq!(record["steps"][4]["status"], "skipped");
    let id = record["run_id"].as_str().unwrap();
    let (code, shown) = sandbox.json(&["runs", "show", id, "--format", "json"]);
    assert_eq!((code, &shown), (0, &record));
    let (_, list) = sandbox.json(&["runs", "--format", "json"]);
    let fields: Vec<&str> = list["runs"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["run_id", "workflow", "deployment", "status", "started_at", "duration_us", "cost_usd"]);
    let screen = sandbox.screen(&["runs", "show", &id[..20]]);
    assert!(
        screen.contains("count = 60") && screen.contains("\n135\n") && screen.contains("plain (skipped)"),
        "{screen}"
    );
}

#[test]
fn a_list_has_the_runs_that_fit() {
    let sandbox = Sandbox::new();
    assert!(sandbox.lumos(&["run", "order.ron", "-i", "note=x"]).status.success());
    assert_eq!(sandbox.lumos(&["run", "order.ron", "-i", "note=a bomb"]).status.code(), Some(3));
    let count = |filters: &[&str]| {
        let (code, runs) = sandbox.json(&[&["runs", "list", "--format", "json"], filters].concat());
        assert_eq!(code, 0, "{filters:?}: {runs}");
        runs["runs"].as_array().unwrap().len()
    };
    for (filters, fitting) in [
        (&[][..], 2),
        (&["--status", "refused"], 1),
        (&["--status", "failed"], 0),
        (&["--workflow", "order", "--deployment", "none"], 2),
        (&["--workflow", "orders"], 0),
        (&["--since", "1h"], 2),
        (&["--until", "1h"], 0),
        (&["--since", "2020-01-01", "--until", "2020-01-02T00:00:00Z"], 0),
        (&["--cost-above", "0"], 0),
        (&["--limit", "1"], 1),
        (&["--status", "succeeded", "--limit", "1"], 1),
        (&["--limit", "0"], 0),
    ] {
        assert_eq!(count(filters), fitting, "{filters:?}");
    }
    for filters in [["--status", "fine"], ["--since", "yesterday"], ["--until", "1mo"], ["--cost-above", "cheap"]] {
        let (code, document) = sandbox.json(&[&["runs", "list", "--format", "json"], &filters[..]].concat());
        assert_eq!(code, 2, "{filters:?}: {document}");
    }
    assert!(sandbox.screen(&["runs", "--status", "failed"]).contains("no run fits"));
}

#[test]
fn an_attempt_is_found_by_its_step() {
    let sandbox = Sandbox::new();
    let (_, record) = sandbox.json(&["run", "order.ron", "-i", "note=x", "--format", "json"]);
    let id = record["run_id"].as_str().unwrap();
    let (code, found) = sandbox.json(&["runs", "show", id, "--attempt", "total:1", "--format", "json"]);
    assert_eq!((code, &found["step"]), (0, &"total".into()));
    assert_eq!(found["attempt"], record["steps"][1]["attempts"][0]);
    assert_eq!(found["exchange"]["output"], record["steps"][1]["output"]);
    let screen = sandbox.screen(&["runs", "show", id, "--attempt", "total"]);
    assert!(screen.contains("total try 1: succeeded") && screen.contains("\"result\": 6"), "{screen}");
    let (code, document) = sandbox.json(&["runs", "show", id, "--attempt", "totl", "--format", "json"]);
    assert_eq!((code, &document["problems"][0]["hint"]), (2, &"did you mean `total`?".into()), "{document}");
    assert_eq!(sandbox.lumos(&["runs", "show", id, "--attempt", "total:2"]).status.code(), Some(2));
    let table = sandbox.screen(&["runs", "show", id, "--steps"]);
    assert!(table.contains("tokens in") && !table.contains("what decided how long"), "{table}");
}

#[test]
fn inputs_come_from_stdin_too() {
    use std::io::Write;

    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command
        .args(["run", "order.ron", "--inputs", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"note\": \"x\"}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["output"], 6);
}

#[test]
fn a_stream_is_json_lines_that_end_with_the_record() {
    let sandbox = Sandbox::new();
    let output = sandbox.lumos(&["run", "order.ron", "-i", "note=x", "--stream"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "run_started");
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["record"]["status"]), (&"run_ended".into(), &"succeeded".into()));
    assert!(events.iter().any(|event| event["event"] == "skipped" && event["node"] == "discount"));
}

#[test]
fn a_model_without_a_deployment_is_a_mistake_and_not_a_failure() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "write.ron",
        "Workflow(name: \"write\", nodes: { \"a\": Generator(agent: \"writer\", input: \"x\") }, output: \"{{ a.text }}\")",
    );
    let (code, document) = sandbox.json(&["run", "write.ron", "--format", "json"]);
    assert_eq!(code, 2);
    assert_eq!(document["problems"][0]["node"], "a", "{document}");
    sandbox.write(
        "deployments/local.ron",
        "Deployment(name: \"local\", backends: { \"small\": Local(model: \"no-such-model\") }, bind: { \"*\": \"small\" })",
    );
    let (code, document) = sandbox.json(&["run", "write.ron", "--format", "json"]);
    assert_eq!(code, 2);
    assert!(document["problems"][0]["message"].as_str().unwrap().contains("no-such-model"), "{document}");
}

#[test]
fn a_new_workflow_is_valid_and_nothing_is_overwritten() {
    let sandbox = Sandbox::new();
    assert!(sandbox.lumos(&["new", "support"]).status.success());
    let files: Vec<String> =
        ["workflow.ron", "agents/input_guard.ron", "agents/notes.ron", "agents/writer.ron", "deployments/local.ron"]
            .map(|file| format!("support/{file}"))
            .to_vec();
    let arguments: Vec<&str> =
        ["check", "-d", "support/deployments/local.ron"].into_iter().chain(files.iter().map(String::as_str)).collect();
    assert!(sandbox.screen(&arguments).contains("5 files: no problems"), "{}", sandbox.screen(&arguments));
    assert!(sandbox.lumos(&["run", "support/workflow.ron", "--dry-run"]).status.success());

    let before = std::fs::read_to_string(sandbox.folder().join("support/workflow.ron")).unwrap();
    sandbox.write("support/workflow.ron", "mine");
    assert_eq!(sandbox.lumos(&["new", "support"]).status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(sandbox.folder().join("support/workflow.ron")).unwrap(), "mine");
    assert!(before.contains("name: \"support\""));
    for name in ["a\"b", "..", "", ".hidden"] {
        assert_eq!(sandbox.lumos(&["new", name]).status.code(), Some(2), "{name}");
    }
    let hidden = std::fs::read_dir(sandbox.folder()).unwrap().filter_map(Result::ok);
    assert!(
        hidden.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')),
        "something is left behind"
    );
}

#[test]
fn a_new_workflow_answers_from_its_notes() {
    let sandbox = Sandbox::new();
    assert!(sandbox.lumos(&["new", "support"]).status.success());
    let home = crate::home::home();
    let home = home.to_str().unwrap();
    let (code, record) = sandbox.json(&["run", "support/workflow.ron", "--format", "json", "--home", home]);
    assert_eq!(code, 0, "{}", record["error"]);
    assert!(record["output"].as_str().unwrap().contains("two working days"), "{}", record["output"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    assert!(sandbox.lumos(&["run", "order.ron", "-i", "note=x"]).status.success());
    for arguments in [&["runs", "list"][..], &["graph", "order.ron"], &["completions", "bash"], &["--help"]] {
        let mut child =
            sandbox.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn colours_are_for_terminals() {
    let sandbox = Sandbox::new();
    let run = ["run", "order.ron", "-i", "note=a bomb"];
    assert!(!sandbox.screen(&run).contains('\u{1b}'));
    let forced = sandbox.command().args(run).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(forced.stdout.contains(&0x1b) && forced.stderr.contains(&0x1b));
    let plain = sandbox.command().args(run).env("NO_COLOR", "1").output().unwrap();
    assert!(!plain.stdout.contains(&0x1b) && !plain.stderr.contains(&0x1b));
}
