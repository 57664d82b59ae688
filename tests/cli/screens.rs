//! What people see: help, problems, drawings and results.

use super::Sandbox;

/// Replaces what differs from run to run.
pub fn redacted(check: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d+(\.\d+)? (µs|ms|s)\b", "[time]");
    settings.add_filter(r"[0-9A-HJKMNP-TV-Z]{26}", "[run]");
    settings.add_filter(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z", "[date]");
    settings.add_filter(r" +\[time\]", " [time]");
    // An interval whose ends print alike is left out, which depends on how fast the machine is.
    settings.add_filter(r" \(\[time\] – \[time\]\)", "");
    settings.add_filter(r" +(<?\d+ %)", " [share]");
    settings.add_filter(r"─{20,}", "[rule]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "[server]");
    settings.add_filter(r" {2,}", "  ");
    settings.bind(check);
}

#[test]
fn help() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("help", sandbox.screen(&["--help"]));
    insta::assert_snapshot!("help-run", sandbox.screen(&["run", "-h"]));
    assert_eq!(
        sandbox.screen(&["--version"]),
        format!("$ lumos --version\nlumos {}\n--- exit 0\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn completions_name_the_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.screen(&["completions", shell]);
        assert!(script.contains("dry-run") && script.ends_with("--- exit 0\n"), "{shell}");
    }
}

#[test]
fn every_problem_of_every_file_is_printed_once() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "broken.ron",
        "Workflow(\n    name: \"broken\",\n    inputs: { \"q\": Text() },\n    nodes: {\n        \
         \"a\": Tool(agent: \"summ\", with: { \"expression\": \"{{ inputs.p }}\" }),\n        \
         \"b\": Gard(agent: \"gate\", input: \"{{ a.result }}\"),\n    },\n    output: \"{{ c.result }}\",\n)\n",
    );
    sandbox.write("agents/bad.ron", "Guard(detect: [Emall])");
    insta::assert_snapshot!(sandbox.screen(&[
        "check",
        "broken.ron",
        "agents/bad.ron",
        "order.ron",
        "broken.ron",
        "none.ron"
    ]));
    let (code, document) = sandbox.json(&["check", "broken.ron", "--format", "json"]);
    assert_eq!(code, 2);
    insta::assert_json_snapshot!("check-json", document);
    assert_eq!(
        sandbox.screen(&["check", "order.ron"]),
        "$ lumos check order.ron\n--- stderr\n1 file: no problems\n--- exit 0\n"
    );
}

#[test]
fn drawings() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("graph-text", sandbox.screen(&["graph", "order.ron"]));
    insta::assert_snapshot!("graph-mermaid", sandbox.screen(&["graph", "order.ron", "--format", "mermaid"]));
    assert!(sandbox.screen(&["graph", "order.ron", "--format", "dot"]).contains("digraph \"order\""));
    assert!(sandbox.screen(&["graph", "order.ron", "--format", "svg"]).contains("</svg>\n--- exit 0"));
    insta::assert_snapshot!("graph-none", sandbox.screen(&["graph", "oder.ron"]));
}

#[test]
fn a_run_prints_its_output_and_its_steps() {
    let sandbox = Sandbox::new();
    redacted(|| {
        insta::assert_snapshot!("run", sandbox.screen(&["run", "order.ron", "-i", "note=hello"]));
        insta::assert_snapshot!("run-refused", sandbox.screen(&["run", "order.ron", "-i", "note=a bomb"]));
    });
}

#[test]
fn a_dry_run_shows_what_is_known() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "write.ron",
        "Workflow(name: \"write\", inputs: { \"topic\": Text(default: \"hi\") }, nodes: {\n\
         \"a\": Generator(agent: \"writer\", input: \"{{ inputs.topic }}\", timeout_s: 36, retry: (attempts: 2)),\n\
         \"b\": Generator(agent: \"writer\", input: \"{{ a.text }}\", timeout_s: 36, map: \"{{ [1, 2, 3] }}\"),\n\
         }, output: \"{{ b }}\")",
    );
    sandbox.write(
        "deployments/local.ron",
        "Deployment(name: \"local\", backends: { \"small\": Local(model: \"smollm2-135m-instruct\", \
         cost: PerHour(usd: \"1\")) }, bind: { \"*\": \"small\" })",
    );
    insta::assert_snapshot!("dry-run", sandbox.screen(&["run", "write.ron", "--dry-run"]));
    let (code, plan) = sandbox.json(&["run", "write.ron", "--dry-run", "--format", "json"]);
    assert_eq!((code, &plan["worst_cost_usd"]), (0, &"0.05".into()));
    assert_eq!(plan["nodes"][0]["prompt"]["user"], "Say hi.");
    assert!(!sandbox.home().exists(), "looking makes nothing");
}

#[test]
fn mistakes_in_the_arguments() {
    let sandbox = Sandbox::new();
    sandbox.write("list.json", "[1]");
    sandbox.write("syntax.json", "{\n  \"note\": }");
    for (name, arguments) in [
        ("unknown-command", &["rnu"][..]),
        ("unknown-input", &["run", "order.ron", "-i", "nota=x"]),
        ("wrong-input", &["run", "order.ron", "-i", "note=x", "-i", "count=some"]),
        ("no-equals-sign", &["run", "order.ron", "-i", "note"]),
        ("no-deployment", &["run", "order.ron", "-i", "note=x", "-d", "cloud"]),
        ("no-object", &["run", "order.ron", "--inputs", "list.json"]),
        ("no-json", &["run", "order.ron", "--inputs", "syntax.json"]),
        ("unknown-run", &["runs", "show", "01J"]),
        ("unknown-asset", &["assets", "pull", "smolm2-135m-instruct"]),
    ] {
        let screen = sandbox.screen(arguments);
        assert!(screen.ends_with("--- exit 2\n"), "{screen}");
        insta::assert_snapshot!(name, screen);
    }
    for arguments in [
        &["run", "order.ron", "--format", "json"][..],
        &["runs", "show", "01J", "--format", "json"],
        &["rnu", "--format=json"],
    ] {
        let (code, document) = sandbox.json(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(document["problems"][0]["message"].is_string(), "{document}");
    }
}
