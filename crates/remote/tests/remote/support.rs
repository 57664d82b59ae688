//! A server, a backend for it and a request, in a line each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lumos_core::{
    BackendError, ChatRequest, Clock, Completion, Decoding, Delta, DeltaSink, Message, NoDeltas, OutputFormat, Role,
    SharedBackend,
};
use lumos_faults::{Answer, FaultServer, Reply, Script};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions, Secret, Timeouts};

/// The key of all tests; no output may contain it.
pub(crate) const KEY: &str = "sk-test-0123456789abcdef";

/// Every protocol with a chat.
pub(crate) const PROVIDERS: [Provider; 4] =
    [Provider::OpenAi, Provider::OpenAiCompatible, Provider::Anthropic, Provider::Gemini];

/// Microseconds since it was made.
pub(crate) struct TestClock(Instant);

impl TestClock {
    #[allow(clippy::disallowed_methods, reason = "this is the tests' clock")]
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TestClock {
    fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) pieces: Mutex<Vec<String>>,
    pub(crate) sent: Mutex<Vec<u64>>,
}

impl Heard {
    pub(crate) fn text(&self) -> String {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).iter().sum()
    }
}

impl DeltaSink for Heard {
    fn delta(&self, delta: Delta<'_>) {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).push(delta.text.to_owned());
    }

    fn sent(&self, bytes: u64) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }

    fn unsent(&self, bytes: u64) {
        let last = self.sent.lock().unwrap_or_else(PoisonError::into_inner).pop();
        assert_eq!(last, Some(bytes));
    }
}

/// A server with `script`.
pub(crate) async fn server(script: Script) -> FaultServer {
    FaultServer::start(script, TestClock::new()).await.expect("a free port")
}

/// A server that gives one reply after the other.
pub(crate) async fn replies<const N: usize>(replies: [Reply; N]) -> FaultServer {
    server(Script::sequence(replies.into())).await
}

/// Options for the server at `url`, with short timeouts.
pub(crate) fn options(url: &str, provider: Provider) -> RemoteOptions {
    let clock = TestClock::new();
    RemoteOptions {
        base_url: Some(format!("{url}/v1")),
        api_key: Some(Secret::new(KEY)),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(5),
            idle: Duration::from_secs(5),
        },
        ..RemoteOptions::new("tested", provider, "the-model", clock)
    }
}

/// A backend for `server`.
pub(crate) fn backend(server: &FaultServer, provider: Provider) -> SharedBackend {
    RemoteBackend::new(options(&server.url(), provider)).expect("good options")
}

/// A request with one message.
pub(crate) fn ask(text: &str) -> ChatRequest {
    ChatRequest::new(vec![Message::new(Role::User, text)], Decoding::default(), OutputFormat::Text)
}

/// What `provider` makes of one good answer.
pub(crate) async fn answered(provider: Provider, answer: Answer) -> Completion {
    let server = replies([answer.into()]).await;
    backend(&server, provider).chat(ask("Hi"), &NoDeltas).await.expect("an answer")
}

/// How `provider` fails at `reply`.
pub(crate) async fn failed(provider: Provider, reply: Reply) -> BackendError {
    let server = replies([reply]).await;
    backend(&server, provider).chat(ask("Hi"), &NoDeltas).await.expect_err("a failure")
}
