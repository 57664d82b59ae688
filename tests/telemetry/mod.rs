//! Telemetry of the command line: what arrives at a receiver, and what a collector that is not there changes.

mod arrival;
mod collector;
mod phoenix;
mod receiver;
mod registry;

use std::process::{Command, Output};
use std::sync::Arc;

use lumos::engine::UnixClock;
use lumos_faults::{Answer, FaultServer, Received, Reply, Script, Tokens};

use crate::cli::Sandbox;

/// A plan, three answers to its parts, and an end: a sub-workflow, a map, a retry and a tool.
const STUDY: &str = r#"Workflow(
    name: "study",
    inputs: { "question": Text(required: true) },
    nodes: {
        "plan": Generator(agent: "writer", input: "plan {{ inputs.question }}"),
        "part": Generator(agent: "writer", map: "{{ plan.text | split(' ') | list }}", concurrency: 1, input: "part {{ item }}", retry: (attempts: 2, backoff: (base_s: 0.01, max_s: 0.01))),
        "sum": Tool(agent: "sum", after: ["part"], with: { "expression": "1 + 2" }),
    },
    output: "{{ sum.result }}",
)
"#;

/// Fails the first time that it is asked for the second part.
fn reply(request: &Received) -> Reply {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    if body.contains("plan ") {
        return Answer { tokens: Tokens::new(11, 3), ..Answer::new("one two three") }.into();
    }
    if body.contains("part two") && request.number == 2 {
        return Reply::status(503);
    }
    Answer { tokens: Tokens::new(7, 2), ..Answer::new("an answer") }.into()
}

/// The workflow in a folder, and the server that it asks.
async fn study() -> (Sandbox, FaultServer) {
    let server = FaultServer::start(Script::by(reply), Arc::new(UnixClock)).await.expect("a port");
    let sandbox = Sandbox::new();
    sandbox.write("study.ron", STUDY);
    let url = server.url();
    let backend = format!(
        r#"Remote(provider: OpenAiCompatible, model: "tiny-1", base_url: "{url}/v1", cost: PerMillionTokens(input: "2.00", output: "8.00"))"#
    );
    let text = format!(r#"Deployment(name: "scripted", backends: {{ "api": {backend} }}, bind: {{ "*": "api" }})"#);
    sandbox.write("scripted.ron", &text);
    (sandbox, server)
}

/// `lumos run study.ron` with these variables and no others of OpenTelemetry.
fn command(sandbox: &Sandbox, variables: &[(&str, &str)]) -> Command {
    let mut command = sandbox.command();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_") || name.starts_with("TRACE")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command.args(["run", "study.ron", "-d", "scripted.ron", "-i", "question=why", "--format", "json"]);
    command
}

/// Runs it beside the servers of the test.
async fn run(sandbox: &Sandbox, variables: &[(&str, &str)]) -> Output {
    let mut command = command(sandbox, variables);
    tokio::task::spawn_blocking(move || command.output().expect("the command starts")).await.expect("no panic")
}
