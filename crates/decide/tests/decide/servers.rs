//! A server with known coefficients on tokio's virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lumos_core::{
    Backend, BackendError, BackendErrorKind, BackendInfo, Basis, CallReport, ChatRequest, Clock, Completion, Delta,
    DeltaSink, Embeddings, OutputFormat, Usage,
};
use tokio::sync::{RwLock, Semaphore};
use tokio::time::{Instant, sleep};

/// Tokio's time as a clock.
pub struct Virtual(Instant);

impl Virtual {
    /// A clock that starts now.
    pub fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for Virtual {
    fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Milliseconds that things take; tokio's time has no finer grain.
pub struct Server {
    /// Requests that are served at a time.
    pub slots: Semaphore,
    /// Of a request on its way, while others are served.
    pub away_ms: u64,
    /// Of a prompt, whatever its length. Nobody else gets a token meanwhile.
    pub first_ms: u64,
    /// Of each token of a prompt.
    pub prompt_ms: u64,
    /// Of each token, whoever else is served.
    pub token_ms: u64,
    /// Of each token beside that, by how many requests are served.
    pub beside_ms: fn(u64) -> u64,
    /// Of each token, and of a request, that are chosen as a schema allows; `None` refuses schemas.
    pub schema_ms: Option<(u64, u64)>,
    /// Of each token with a repetition penalty.
    pub penalty_ms: u64,
    /// Whether it says how many tokens there were.
    pub counts: bool,
    /// Requests that are served.
    pub served: AtomicU64,
    /// Held alone by a prompt, and by all that get a token.
    pub computes: RwLock<()>,
}

impl Server {
    /// A server with slots and times.
    pub fn new(slots: usize, first_ms: u64, prompt_ms: u64, token_ms: u64, beside_ms: fn(u64) -> u64) -> Self {
        let slots = Semaphore::new(slots);
        Self {
            slots,
            away_ms: 0,
            first_ms,
            prompt_ms,
            token_ms,
            beside_ms,
            schema_ms: Some((0, 0)),
            penalty_ms: 0,
            counts: true,
            served: AtomicU64::new(0),
            computes: RwLock::new(()),
        }
    }
}

#[async_trait]
impl Backend for Server {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            model: "clockwork".to_owned(),
            provider: "test".to_owned(),
            chat: true,
            embed: false,
            context_tokens: Some(2048),
            dimensions: None,
            digest: String::new(),
            detail: "virtual".to_owned(),
        }
    }

    fn count_input_tokens(&self, _: &ChatRequest) -> Option<u64> {
        None
    }

    async fn chat(&self, request: ChatRequest, deltas: &dyn DeltaSink) -> Result<Completion, BackendError> {
        let input = 20 + request.messages[0].content.split_whitespace().count() as u64;
        let output = u64::from(request.decoding.max_tokens);
        let (token_ms, once_ms) = match (&request.format, self.schema_ms) {
            (OutputFormat::Text, _) => (0, 0),
            (_, Some(times)) => times,
            (_, None) => return Err(BackendError::new(BackendErrorKind::InvalidRequest, "no schemas here")),
        };
        let is_penalised = request.decoding.repetition_penalty != 1.0;
        let more_ms = token_ms + if is_penalised { self.penalty_ms } else { 0 };
        sleep(Duration::from_millis(self.away_ms)).await;
        let _slot = self.slots.acquire().await.expect("it is never closed");
        let prompt = self.computes.write().await;
        sleep(Duration::from_millis(self.first_ms + self.prompt_ms * input + once_ms + more_ms)).await;
        drop(prompt);
        self.served.fetch_add(1, Ordering::SeqCst);
        deltas.delta(Delta { text: "1", output_tokens: 1 });
        for token in 2..=output {
            let _token = self.computes.read().await;
            let beside = self.served.load(Ordering::SeqCst);
            sleep(Duration::from_millis(self.token_ms + (self.beside_ms)(beside) + more_ms)).await;
            deltas.delta(Delta { text: "1", output_tokens: token });
        }
        self.served.fetch_sub(1, Ordering::SeqCst);
        let tokens = |tokens: u64| self.counts.then_some(tokens);
        let usage = Usage { input_tokens: tokens(input), output_tokens: tokens(output), ..Usage::default() };
        let report = CallReport { usage, ..CallReport::new(Basis::Reported) };
        Ok(Completion { text: String::new(), tool_calls: Vec::new(), report })
    }

    async fn embed(&self, _: Vec<String>) -> Result<Embeddings, BackendError> {
        unreachable!("nobody embeds here")
    }
}
