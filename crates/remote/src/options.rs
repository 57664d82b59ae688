//! What a remote backend is made of: whom to ask, as whom, and how long to wait.

use std::sync::Arc;
use std::time::Duration;

use lumos_core::Clock;
use lumos_core::spec::{PromptCache, Provider, Structured};
use serde_json::{Map, Value};

use crate::secret::Secret;

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// From the start of a call to the first sign of an answer.
    pub first_token: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), first_token: Duration::from_mins(2), idle: Duration::from_mins(1) }
    }
}

/// Whom to ask, as whom, and within which bounds.
#[derive(Clone)]
pub struct RemoteOptions {
    /// The backend's name in the deployment; names it in errors.
    pub name: String,
    /// The protocol.
    pub provider: Provider,
    /// The address before `/chat/completions`, `/messages` or `/models`; the provider's own when `None`. A query
    /// (Azure's `api-version`) is kept; a user or password is refused.
    pub base_url: Option<String>,
    /// The model's name at the server.
    pub model: String,
    /// The key; `None` sends none.
    pub api_key: Option<Secret>,
    /// Further headers; their values are treated as secrets.
    pub headers: Vec<(String, Secret)>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Most bytes of a reply that are read.
    pub max_response_bytes: usize,
    /// Certificates, in PEM, of authorities that are trusted besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// A proxy's address; `None` is the system's proxy, and none at all for this machine's own addresses.
    pub proxy: Option<String>,
    /// Whether the model embeds; it then does not chat.
    pub embed: bool,
    /// Length of the vectors to ask for, and to expect.
    pub dimensions: Option<u32>,
    /// Longest prompt plus answer in tokens, where it is known.
    pub context: Option<u32>,
    /// How an answer's shape is asked for.
    pub structured: Structured,
    /// Whether answers are streamed. Without streaming there is no TTFT; for servers that cannot stream.
    pub stream: bool,
    /// Marks the system prompt for the provider's cache; only Anthropic needs to be asked.
    pub prompt_cache: Option<PromptCache>,
    /// Fields of the request's body that are left out, e.g. `temperature` for models that refuse it.
    pub omit: Vec<String>,
    /// Fields that are added to the request's body, e.g. `reasoning_effort`.
    pub extra: Map<String, Value>,
    /// Measures TTFT and busy time.
    pub clock: Arc<dyn Clock>,
}

impl RemoteOptions {
    /// The defaults for `model` of `provider`.
    pub fn new(name: &str, provider: Provider, model: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: name.to_owned(),
            provider,
            base_url: None,
            model: model.to_owned(),
            api_key: None,
            headers: Vec::new(),
            timeouts: Timeouts::default(),
            max_response_bytes: 16 << 20,
            ca_pem: None,
            proxy: None,
            embed: false,
            dimensions: None,
            context: None,
            structured: Structured::Native,
            stream: true,
            prompt_cache: None,
            omit: Vec::new(),
            extra: Map::new(),
            clock,
        }
    }
}
