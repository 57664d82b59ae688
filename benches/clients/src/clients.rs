//! The clients: each asks the same question and reads the whole streamed answer with its usage.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatOptions, ChatStreamEvent};
use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
use genai::{ModelIden, ServiceTarget};
use lumos_core::price::{Rates, TokenPrice};
use lumos_core::program::{BackendRef, Program};
use lumos_core::spec::{NodeSpec, WorkflowSpec};
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, ChatRequest, Decoding, Destination, Message, NoDeltas,
    OutputFormat, Prepared, Role, SharedAgent, SharedBackend,
};
use lumos_engine::{
    BoundBackend, BoundProgram, CancellationToken, Engine, NodeBinding, Price, RunRequest, SystemClock,
};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions, Secret};
use serde_json::{Value, json};

pub const NAMES: [&str; 4] = ["bare", "lumos-remote", "lumos", "genai"];

const QUESTION: &str = "What is the lead time of the dairy before the holidays?";
const KEY: &str = "sk-not-a-key";

/// A client, ready to call.
pub enum Client {
    /// Posts the bytes and reads the reply without looking at it: the floor.
    Bare(reqwest::Client, String, String),
    /// The backend alone.
    Remote(SharedBackend),
    /// A run of one node through the engine, its record made.
    Engine(Engine, Arc<BoundProgram>),
    Genai(genai::Client, Box<ChatOptions>),
}

impl Client {
    pub fn new(name: &str, url: &str) -> Option<Self> {
        Some(match name {
            "bare" => {
                let body = json!({
                    "model": "m", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 64,
                    "stream": true, "stream_options": {"include_usage": true},
                });
                Self::Bare(reqwest::Client::new(), format!("{url}/v1/chat/completions"), body.to_string())
            }
            "lumos-remote" => Self::Remote(remote(url)),
            "lumos" => {
                let rates = Rates { output: Some("0.6".parse().ok()?), ..Rates::default() };
                let reference = BackendRef {
                    backend: "b".to_owned(),
                    model: "m".to_owned(),
                    provider: "openai-compatible".to_owned(),
                    destination: Destination::Outside,
                    usd_per_hour: None,
                };
                let backend = Arc::new(BoundBackend {
                    backend: remote(url),
                    reference,
                    price: Price::Tokens(Box::new(TokenPrice::flat(rates))),
                    is_remote: true,
                    cache: None,
                    occupancy: None,
                    gate: None,
                });
                let workflow = WorkflowSpec::new("one").node("a", NodeSpec::custom("asks")).output("{{ a }}");
                let program = Program::compile(&Arc::new(workflow).into()).ok()?;
                let agent: SharedAgent = Arc::new(Asks);
                let bind = |_: &_| {
                    Ok::<_, String>(NodeBinding { agent: Some(agent.clone()), backends: vec![backend.clone()] })
                };
                Self::Engine(Engine::builder().build(), Arc::new(BoundProgram::new(program, "bench", bind).ok()?))
            }
            "genai" => {
                let endpoint = Endpoint::from_owned(format!("{url}/v1/"));
                let resolver = ServiceTargetResolver::from_resolver_fn(
                    move |target: ServiceTarget| -> Result<ServiceTarget, genai::resolver::Error> {
                        let model = ModelIden::new(AdapterKind::OpenAI, target.model.model_name);
                        Ok(ServiceTarget { endpoint: endpoint.clone(), auth: AuthData::from_single(KEY), model })
                    },
                );
                let client = genai::Client::builder().with_service_target_resolver(resolver).build();
                let options = ChatOptions::default().with_max_tokens(64).with_capture_usage(true);
                Self::Genai(client.ok()?, Box::new(options))
            }
            _ => return None,
        })
    }

    /// One call; a failure ends the benchmark.
    pub async fn call(&self) {
        match self {
            Self::Bare(client, url, body) => {
                let request = client.post(url).header("content-type", "application/json").body(body.clone());
                let mut stream = request.send().await.expect("an answer").bytes_stream();
                let mut bytes = 0;
                while let Some(piece) = stream.next().await {
                    bytes += piece.expect("a piece").len();
                }
                assert!(bytes > 1_000);
            }
            Self::Remote(backend) => {
                let completion = backend.chat(request(), &NoDeltas).await.expect("an answer");
                assert_eq!(completion.report.usage.output_tokens, Some(32));
            }
            Self::Engine(engine, program) => {
                let cancel = CancellationToken::new();
                let run = engine.run(program, RunRequest::default(), &cancel).await.expect("a run");
                assert_eq!(run.record().totals.output_tokens, Some(32));
            }
            Self::Genai(client, options) => {
                let request = genai::chat::ChatRequest::new(vec![ChatMessage::user(QUESTION)]);
                let answer = client.exec_chat_stream("m", request, Some(options)).await.expect("an answer");
                let (mut stream, mut output) = (answer.stream, None);
                while let Some(event) = stream.next().await {
                    if let ChatStreamEvent::End(end) = event.expect("an event") {
                        output = end.captured_usage.and_then(|usage| usage.completion_tokens);
                    }
                }
                assert_eq!(output, Some(32));
            }
        }
    }
}

fn remote(url: &str) -> SharedBackend {
    let clock = Arc::new(SystemClock::new());
    let options = RemoteOptions {
        base_url: Some(format!("{url}/v1")),
        api_key: Some(Secret::new(KEY)),
        ..RemoteOptions::new("b", Provider::OpenAiCompatible, "m", clock)
    };
    RemoteBackend::new(options).expect("a backend")
}

fn request() -> ChatRequest {
    let decoding = Decoding { max_tokens: 64, ..Decoding::default() };
    ChatRequest::new(vec![Message::new(Role::User, QUESTION)], decoding, OutputFormat::Text)
}

/// Sends the question.
struct Asks;

#[async_trait]
impl Agent for Asks {
    fn prepare(&self, _: &Arguments, _: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        Ok(Prepared { request: Some(request()), input_tokens: None })
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let (Some(backend), Some(request)) = (call.backend, call.request) else {
            return Err(AgentError::fatal("nothing to ask"));
        };
        let completion = backend.chat(request, call.deltas).await?;
        Ok(AgentOutput { value: Value::String(completion.text), report: Some(completion.report) })
    }
}
