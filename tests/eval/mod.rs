//! `lumos eval` and `lumos compare` as people run them: over data sets, against a server whose answers, delays and prices are
//! planted, with judges, gates, and interruptions.

mod compare;
mod judges;
mod library;
mod local;
mod mistakes;
pub mod optimize;
#[cfg(feature = "html")]
mod report;
mod resume;
mod rows;

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use lumos::engine::UnixClock;
use lumos_faults::{Answer, FaultServer, Received, Reply, Script, Tokens};
use serde_json::Value;

use crate::cli::Sandbox;

/// Asks one question, and has an answer to it.
const ASK: &str = r#"Workflow(
    name: "ask",
    inputs: { "question": Text(required: true) },
    nodes: { "answer": Generator(agent: "writer", input: "{{ inputs.question }}") },
    output: "{{ answer.text }}",
)"#;

/// A deployment of one backend of OpenAI's protocol, at a price of its own per million tokens.
fn deployment(name: &str, url: &str, price: &str) -> String {
    format!(
        r#"Deployment(
    name: "{name}",
    backends: {{ "api": Remote(provider: OpenAiCompatible, model: "{name}", base_url: "{url}/v1", {price}) }},
    bind: {{ "*": "api" }},
)"#
    )
}

/// What is written per million tokens, in and out.
fn per_token(input: &str, output: &str) -> String {
    format!(r#"cost: PerMillionTokens(input: "{input}", output: "{output}")"#)
}

/// The question that was asked: the last word of it says which.
fn question(request: &Received) -> String {
    let body = request.json();
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned()
}

/// The number in a question such as `Say item 7.`.
fn number(question: &str) -> u64 {
    let digits: String = question.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

/// An answer after a while, with so many tokens.
fn answer(text: &str, after: Duration, tokens: (u64, u64)) -> Reply {
    Answer { first: after, tokens: Tokens::new(tokens.0, tokens.1), ..Answer::new(text) }.into()
}

/// A server on a runtime of its own, so that a test can wait for commands.
struct Served {
    server: FaultServer,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    fn by(rule: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let server = runtime.block_on(FaultServer::start(Script::by(rule), Arc::new(UnixClock))).expect("a free port");
        Self { server, _runtime: runtime }
    }

    fn url(&self) -> String {
        self.server.url()
    }

    fn requests(&self) -> usize {
        self.server.requests().len()
    }
}

/// A sandbox with the workflow and rows that ask for items 1 to `rows`, each expecting `item N`.
fn sandbox(rows: u64) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("ask.ron", ASK);
    let row =
        |number| format!("{{\"inputs\": {{\"question\": \"item {number}\"}}, \"expected\": \"item {number}\"}}\n");
    sandbox.write("d.jsonl", &(1..=rows).map(row).collect::<String>());
    sandbox
}

/// What a command prints as JSON, and its exit code.
fn document(output: &Output) -> (Option<i32>, Value) {
    let errors = String::from_utf8_lossy(&output.stderr);
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("no JSON ({error}):\n{errors}"));
    (output.status.code(), document)
}

/// The command with these arguments and JSON on stdout.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.command();
    command.args(arguments).args(["--format", "json"]);
    command
}

/// A figure of a document, by its place.
fn figure(document: &Value, pointer: &str) -> f64 {
    let value = document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {document:#}"));
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{pointer} is {value}"))
}
