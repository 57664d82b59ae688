//! What a protocol must say: how a request is written and how its reply is read. One file per protocol, one line here.

use lumos_core::{BackendError, BackendErrorKind, Decoding, Message, ToolDefinition};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::answer::Answer;
use crate::failure::{Said, error};
use crate::secret::Secret;
use crate::sse::Event;
use crate::{anthropic, gemini, openai};
use lumos_core::spec::{PromptCache, Provider};

/// A chat to ask for, in no protocol's terms.
pub(crate) struct Ask<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: &'a [Message],
    pub(crate) decoding: &'a Decoding,
    /// The texts that end the answer; none where its shape ends it.
    pub(crate) stops: &'a [String],
    pub(crate) tools: &'a [ToolDefinition],
    /// The JSON schema to hold the answer to by the provider's own means.
    pub(crate) schema: Option<&'a Value>,
    pub(crate) stream: bool,
    pub(crate) cache: Option<PromptCache>,
}

/// A request in a protocol's terms.
pub(crate) struct Call {
    /// The path below the base.
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(&'static str, &'static str)>,
    /// A JSON object.
    pub(crate) body: Value,
}

/// Vectors in the order of the texts, and the input tokens where they are stated.
pub(crate) type Vectors = (Vec<Vec<f32>>, Option<u64>);

/// A protocol.
pub(crate) trait Wire: Send + Sync {
    /// The provider's name in records.
    fn name(&self) -> &'static str;

    /// The address when the deployment names none.
    fn base(&self) -> Option<&'static str>;

    /// What proves who asks.
    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, BackendError>;

    /// Whether a schema must describe an object.
    fn objects_only(&self) -> bool;

    /// Writes a request for an answer.
    fn chat(&self, ask: &Ask<'_>) -> Call;

    /// Reads its reply.
    fn decoder(&self, ask: &Ask<'_>) -> Box<dyn Decoder>;

    /// Writes a request for vectors; `None` when the provider makes none.
    fn embed(&self, model: &str, texts: &[String], dimensions: Option<u32>) -> Option<Call>;

    /// Reads its reply.
    fn vectors(&self, body: &str) -> Result<Vectors, BackendError>;
}

/// Reads one reply, event by event.
pub(crate) trait Decoder: Send {
    /// Takes the next event of a stream.
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<(), BackendError>;

    /// Takes a whole reply at once, from a server that does not stream.
    fn whole(&mut self, body: &str, answer: &mut Answer) -> Result<(), BackendError>;
}

/// The protocol of `provider`.
pub(crate) fn of(provider: Provider) -> &'static dyn Wire {
    match provider {
        Provider::OpenAi => &openai::OpenAi { compatible: false },
        Provider::OpenAiCompatible => &openai::OpenAi { compatible: true },
        Provider::Anthropic => &anthropic::Anthropic,
        Provider::Gemini => &gemini::Gemini,
    }
}

/// A part of a reply as `T`. The server's name is put in by whoever knows it.
pub(crate) fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, BackendError> {
    serde_json::from_str(text).map_err(|failure| {
        let message = format!("the server's reply is not what its protocol says: {failure}");
        error(BackendErrorKind::Transient, message)
    })
}

/// The error that a server reports inside a reply of success.
pub(crate) fn reported(value: &Value) -> BackendError {
    Said::of(value).in_stream("the server")
}

/// A seed that every server takes: 31 bits of it.
pub(crate) fn seed(seed: u64) -> u64 {
    (seed ^ (seed >> 32)) & 0x7fff_ffff
}

/// The text of all messages of the system, which several protocols keep apart.
pub(crate) fn system(messages: &[Message]) -> Option<String> {
    let texts = messages.iter().filter(|message| message.role == lumos_core::Role::System);
    let texts: Vec<&str> = texts.map(|message| message.content.as_str()).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}
