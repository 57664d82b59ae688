//! lumos in a Rust program: a workflow built in code, an agent and a backend of one's own, live events, records.
//!
//! `cargo run --example embed --no-default-features`

use std::sync::Arc;

use async_trait::async_trait;
use lumos::core::spec::{BackendSpec, Cost, DeploymentSpec, GeneratorSpec, InputSpec, NodeSpec, WorkflowSpec};
use lumos::core::{
    Agent, AgentCall, AgentError, AgentOutput, Backend, BackendError, BackendErrorKind, BackendInfo, Basis, CallReport,
    ChatRequest, Completion, Delta, DeltaSink, Embeddings, FinishReason, Usage,
};
use lumos::engine::{CancellationToken, EventSink, Kind, RunEvent, RunRequest};
use lumos::{Home, Lumos};
use serde_json::json;

/// Counts the words of its argument `text`.
struct CountWords;

#[async_trait]
impl Agent for CountWords {
    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let text = call.arguments.get("text").and_then(|value| value.as_str());
        let text = text.ok_or_else(|| AgentError::fatal("argument `text` must be a text"))?;
        Ok(json!({ "words": text.split_whitespace().count() }).into())
    }
}

/// A "model" that answers with the last message, word by word.
struct Echo;

#[async_trait]
impl Backend for Echo {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            model: "echo".to_owned(),
            provider: "example".to_owned(),
            chat: true,
            embed: false,
            context_tokens: None,
            dimensions: None,
            digest: String::new(),
            detail: "answers with what it is asked".to_owned(),
        }
    }

    fn count_input_tokens(&self, request: &ChatRequest) -> Option<u64> {
        Some(request.messages.iter().map(|message| message.content.split_whitespace().count() as u64).sum())
    }

    async fn chat(&self, request: ChatRequest, deltas: &dyn DeltaSink) -> Result<Completion, BackendError> {
        let input_tokens = self.count_input_tokens(&request);
        let text = request.messages.last().map(|message| message.content.clone()).unwrap_or_default();
        let mut output_tokens = 0;
        for word in text.split_inclusive(' ') {
            output_tokens += 1;
            deltas.delta(Delta { text: word, output_tokens });
        }
        let usage = Usage { input_tokens, output_tokens: Some(output_tokens), ..Usage::default() };
        let finish_reason = Some(FinishReason::Stop);
        let report = CallReport { usage, finish_reason, ..CallReport::new(Basis::Measured) };
        Ok(Completion { text, tool_calls: Vec::new(), report })
    }

    async fn embed(&self, _: Vec<String>) -> Result<Embeddings, BackendError> {
        Err(BackendError::new(BackendErrorKind::InvalidRequest, "this backend makes no embeddings"))
    }
}

/// Prints what happens as it happens.
struct Print;

impl EventSink for Print {
    fn event(&self, _run_id: &str, event: &RunEvent) {
        match event {
            RunEvent::AttemptStarted { step, at_us, .. } => println!("{at_us:>8} µs  {} starts", step.node),
            RunEvent::AttemptEnded { step, at_us, status, .. } => {
                println!("{at_us:>8} µs  {} {}", step.node, status.as_str());
            }
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workflow = WorkflowSpec::new("greet")
        .input("name", InputSpec::text().required())
        .node("greet", NodeSpec::generator("greeter", "{{ inputs.name }}"))
        .node("count", NodeSpec::custom("count_words").with("text", "{{ greet.text }}"))
        .output("{{ greet.text }} ({{ count.words }} words)");
    let greeter: GeneratorSpec = serde_json::from_value(json!({
        "model": "writer",
        "prompt": { "user": "Hello {{ input }}, how are you?" },
    }))?;
    let mut deployment = DeploymentSpec { name: "example".to_owned(), ..DeploymentSpec::default() };
    deployment.backends.insert("echo".to_owned(), BackendSpec::custom("echo", Cost::Unknown));
    deployment.bind.insert("writer".to_owned(), "echo".to_owned());
    let bundle = lumos::core::load::Bundle::in_memory(workflow)
        .with_agent("greeter", lumos::core::spec::AgentSpec::Generator(greeter))
        .with_deployment(deployment);

    let home = std::env::temp_dir().join(format!("lumos-example-{}", std::process::id()));
    let lumos = Lumos::builder(Home::new(&home))
        .agent("count_words", Arc::new(CountWords))
        .backend("echo", Arc::new(Echo))
        .sink(Arc::new(Print))
        .build()?;
    let program = lumos.bind(&bundle)?;
    let request = RunRequest {
        inputs: [("name".to_owned(), json!("Ada"))].into_iter().collect(),
        seed: 7,
        ..RunRequest::default()
    };
    let run = lumos.run(&program, request, &CancellationToken::new()).await?;
    println!("{}", run.output());

    let store = lumos.store().ok_or("the example keeps records")?;
    for summary in store.list(&Kind { limit: 10, ..Kind::default() })? {
        let record = store.load(&summary.run_id)?;
        println!("{} {}: {} attempts", record.run_id, record.status.as_str(), record.totals.attempts);
    }
    drop(lumos);
    std::fs::remove_dir_all(home)?;
    Ok(())
}
