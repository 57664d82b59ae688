//! What serves a model: the `Backend` trait, its requests and its replies.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::trace::TraceContext;
use crate::usage::CallReport;

/// Who speaks in a chat message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that frame the conversation.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// A tool: the message is the result of a call that the model asked for.
    Tool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text; for a tool its result.
    pub content: String,
    /// The calls that the model asked for in this message, in its order; empty for everyone else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that this message of a tool answers; `None` for everyone else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message that is nothing but text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }

    /// What the tool gave for the call `id`.
    pub fn tool_result(id: impl Into<String>, content: impl Into<String>) -> Self {
        Self { tool_call_id: Some(id.into()), ..Self::new(Role::Tool, content) }
    }
}

/// A tool that a model may ask to have called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// The name, of letters, digits, `_` and `-`.
    pub name: String,
    /// What it does and when to use it, for the model.
    pub description: String,
    /// JSON Schema of its arguments; an object.
    pub parameters: Value,
}

/// A call that a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The name of this call, which its result repeats.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, not checked against the tool's schema.
    pub arguments: Value,
}

/// How the next token is chosen. Probabilities are in `0..=1`; `temperature: 0` is greedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// Softmax temperature; `0.0` picks the most probable token.
    pub temperature: f64,
    /// Nucleus sampling: keep the smallest set of tokens with at least this probability.
    pub top_p: Option<f64>,
    /// Keep the `top_k` most probable tokens.
    pub top_k: Option<u32>,
    /// Divide (or multiply) the logits of recent tokens by this; `1.0` changes nothing.
    pub repetition_penalty: f64,
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// Texts that end generation; they are not part of the answer.
    pub stop: Vec<String>,
    /// Seed of the sampler: the same request with the same seed gives the same answer.
    pub seed: u64,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: None,
            top_k: None,
            repetition_penalty: 1.0,
            max_tokens: 256,
            stop: Vec::new(),
            seed: 0,
        }
    }
}

/// The shape that an answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OutputFormat {
    /// Any text.
    Text,
    /// A JSON document that satisfies this JSON Schema.
    JsonSchema(serde_json::Value),
    /// A text that matches this regular expression from its first to its last character.
    Regex(String),
    /// Exactly one of these texts.
    Choice(Vec<String>),
}

/// A chat completion to ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// How to choose tokens.
    pub decoding: Decoding,
    /// The shape of the answer.
    pub format: OutputFormat,
    /// The tools that the model may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
}

impl ChatRequest {
    /// A request without tools.
    pub fn new(messages: Vec<Message>, decoding: Decoding, format: OutputFormat) -> Self {
        Self { messages, decoding, format, tools: Vec::new() }
    }
}

/// A careful guess at the input tokens of `request`, for limits and budgets where no tokenizer is at hand: one token
/// for three bytes (English has about four to a token, Chinese three) and eight for each message's frame.
pub fn estimate_input_tokens(request: &ChatRequest) -> u64 {
    /// Counts what is written.
    struct Length(u64);
    impl std::io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut bytes = Length(0);
    for message in &request.messages {
        bytes.0 += message.content.len() as u64;
    }
    let calls = request.messages.iter().flat_map(|message| &message.tool_calls);
    // Neither texts nor JSON values can fail to serialise, and counting cannot fail.
    for call in calls {
        let _ = serde_json::to_writer(&mut bytes, call);
    }
    for tool in &request.tools {
        let _ = serde_json::to_writer(&mut bytes, tool);
    }
    if request.format != OutputFormat::Text {
        let _ = serde_json::to_writer(&mut bytes, &request.format);
    }
    bytes.0.div_ceil(3) + 8 * (request.messages.len() + request.tools.len() + 1) as u64
}

/// A finished chat completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The answer, without stop texts.
    pub text: String,
    /// The calls that the model asks for, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Tokens, times and bytes of the call.
    pub report: CallReport,
}

/// Embeddings of several texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One vector per text, in the order of the texts; each has `dimensions` entries and unit length.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens, times and bytes of the call.
    pub report: CallReport,
}

/// A piece of an answer while it is being generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<'a> {
    /// The new text; may be empty when a token ends inside a character.
    pub text: &'a str,
    /// Output tokens so far.
    pub output_tokens: u64,
}

/// Receives pieces of an answer as they are generated. Must return quickly: it is called between two tokens.
pub trait DeltaSink: Send + Sync {
    /// Takes the next piece.
    fn delta(&self, delta: Delta<'_>);

    /// Learns that `bytes` of a request are about to leave the process, for each request of the call: what is known
    /// of an attempt that fails or is cancelled before it has a report.
    fn sent(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Learns that bytes announced by [`DeltaSink::sent`] have not left: no connection came about.
    fn unsent(&self, bytes: u64) {
        let _ = bytes;
    }

    /// The span that requests of this call belong to; `None` when nobody traces it. It is no part of a request: it
    /// changes no answer.
    fn trace_context(&self) -> Option<TraceContext> {
        None
    }
}

/// A sink that drops every piece.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDeltas;

impl DeltaSink for NoDeltas {
    fn delta(&self, _: Delta<'_>) {}
}

/// What a backend is and can do; constant once it is warm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendInfo {
    /// The model's name, e.g. `smollm2-135m-instruct`.
    pub model: String,
    /// Who serves it: `local`, `openai`, `anthropic`, …
    pub provider: String,
    /// Whether it answers `chat`.
    pub chat: bool,
    /// Whether it answers `embed`.
    pub embed: bool,
    /// Longest prompt plus answer, in tokens; `None` when unknown or unlimited.
    pub context_tokens: Option<u32>,
    /// Length of an embedding vector; `None` for chat models.
    pub dimensions: Option<u32>,
    /// A digest of the weights where it is known, else empty: part of the key of caches such as a vector index.
    pub digest: String,
    /// A human sentence on how it runs, e.g. `cpu, Q8_0 (requantized from Q4_1), 2 threads`.
    pub detail: String,
}

/// Why a backend gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct BackendError {
    /// What sort of failure it is; decides about a retry.
    pub kind: BackendErrorKind,
    /// A lowercase fragment for people, with what would help.
    pub message: String,
    /// How long the server asks to be left alone, in microseconds from the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_us: Option<u64>,
    /// Figures of a call that used tokens, and may have cost money, before it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<CallReport>>,
}

/// Sorts of failure of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendErrorKind {
    /// Prompt plus requested output exceed the model's context. Not retryable.
    ContextExceeded,
    /// The request is malformed or asks for something the backend cannot do. Not retryable.
    InvalidRequest,
    /// The model's files are missing, damaged or of an unknown kind. Not retryable.
    Unusable,
    /// The server refuses who asks: a missing, wrong or insufficient key. Not retryable.
    Unauthorized,
    /// The server counts more requests or tokens than it allows. Retryable, after `retry_after_us` where it is known.
    RateLimited,
    /// Something that may pass: an overloaded or unreachable server. Retryable.
    Transient,
    /// Anything else that went wrong inside. Not retryable.
    Internal,
}

impl BackendError {
    /// An error of `kind` with a message.
    pub fn new(kind: BackendErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after_us: None, report: None }
    }

    /// The same error with the figures of what was done before it.
    #[must_use]
    pub fn with_report(mut self, report: Option<CallReport>) -> Self {
        self.report = report.map(Box::new);
        self
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, BackendErrorKind::Transient | BackendErrorKind::RateLimited)
    }
}

/// Something that serves one model.
///
/// **Meaning.** One value is one model behind one address; it is shared by all nodes and runs that name it.
///
/// **Cancellation.** Dropping a returned future ends the call: a backend must stop computing (or close its
/// connection) within 100 ms and must stay usable.
///
/// **Back-pressure.** A backend that serves one request at a time queues the others and reports their waiting time
/// as `queue_us`; it never refuses because it is busy.
///
/// **Blocking.** Model work runs on threads of its own: a method never blocks the thread that polls it for longer
/// than a millisecond.
///
/// **Errors.** [`BackendError::is_retryable`] decides about retries, so a wrong kind costs money or answers.
///
/// Right: keep an `Arc<dyn Backend>` and call it from many tasks. Wrong: hold a lock across `chat` to "protect" it:
/// that undoes batching and turns queueing time into something nobody measures.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What this backend is. Before [`Backend::warm_up`] the optional fields may be empty.
    fn info(&self) -> BackendInfo;

    /// Loads what the first call would otherwise wait for. Idempotent; its time belongs to no step.
    async fn warm_up(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Number of input tokens of `request`, exact where the tokenizer is at hand; `None` when unknown.
    fn count_input_tokens(&self, request: &ChatRequest) -> Option<u64>;

    /// Generates an answer; `deltas` receives it piece by piece.
    async fn chat(&self, request: ChatRequest, deltas: &dyn DeltaSink) -> Result<Completion, BackendError>;

    /// Embeds `texts`. `Err(InvalidRequest)` when the backend is no embedder.
    async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, BackendError>;
}

/// A shared backend.
pub type SharedBackend = Arc<dyn Backend>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_without_tools_is_written_as_before_there_were_any() {
        let request = ChatRequest::new(vec![Message::new(Role::User, "Hi")], Decoding::default(), OutputFormat::Text);
        let json = serde_json::to_value(&request).expect("a request is JSON");
        assert!(json.get("tools").is_none(), "{json}");
        assert_eq!(json["messages"], json!([{"role": "user", "content": "Hi"}]));
        assert_eq!(serde_json::from_value::<ChatRequest>(json).expect("and back"), request);
    }

    #[test]
    fn the_estimate_counts_all_that_is_sent() {
        let mut request =
            ChatRequest::new(vec![Message::new(Role::User, "abcdef")], Decoding::default(), OutputFormat::Text);
        assert_eq!(estimate_input_tokens(&request), 2 + 16);
        let plain = estimate_input_tokens(&request);
        request.format = OutputFormat::Choice(vec!["yes".to_owned(), "no".to_owned()]);
        let shaped = estimate_input_tokens(&request);
        assert!(shaped > plain);
        let (name, description) = ("look".to_owned(), "looks".to_owned());
        request.tools.push(ToolDefinition { name, description, parameters: json!({"type": "object"}) });
        assert!(estimate_input_tokens(&request) > shaped);
    }
}
