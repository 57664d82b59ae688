//! A backend for tests: it answers with given texts and embeds by hashing words.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Backend, BackendError, BackendErrorKind, BackendInfo, Basis,
    CallReport, ChatRequest, Completion, DeltaSink, Embeddings, FinishReason, NoDeltas, SharedBackend, Usage,
};

/// Length of the toy vectors.
pub(crate) const DIMENSIONS: usize = 64;

/// Answers chats from a list, in order, and counts what it embeds.
#[derive(Default)]
pub(crate) struct Script {
    /// Answers to come, the next one last.
    pub(crate) answers: Mutex<Vec<(String, FinishReason)>>,
    /// Requests seen.
    pub(crate) requests: Mutex<Vec<ChatRequest>>,
    /// Texts embedded.
    pub(crate) embedded: AtomicUsize,
    /// Whether `embed` never ends.
    pub(crate) stalls: AtomicBool,
    /// Bytes that each embedding sends elsewhere.
    pub(crate) sends: u64,
    /// Digest that `info` reports.
    pub(crate) digest: String,
}

impl Script {
    pub(crate) fn answering(answers: &[&str]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|text| ((*text).to_owned(), FinishReason::Stop)).collect();
        Arc::new(Self { answers: Mutex::new(answers), ..Self::default() })
    }

    pub(crate) fn cut_off(answer: &str) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(vec![(answer.to_owned(), FinishReason::Length)]), ..Self::default() })
    }

    fn report(finish_reason: Option<FinishReason>, input: u64) -> CallReport {
        CallReport {
            usage: Usage { input_tokens: Some(input), ..Usage::default() },
            busy_us: Some(1),
            finish_reason,
            ..CallReport::new(Basis::Measured)
        }
    }
}

/// A unit vector of the counts of hashed lower-case words.
fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0f32; DIMENSIONS];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let hash =
            word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        vector[(hash % DIMENSIONS as u64) as usize] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-9);
    vector.iter().map(|x| x / length).collect()
}

#[async_trait]
impl Backend for Script {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            model: "script".into(),
            provider: "test".into(),
            chat: true,
            embed: true,
            context_tokens: None,
            dimensions: Some(DIMENSIONS as u32),
            digest: self.digest.clone(),
            detail: String::new(),
        }
    }

    fn count_input_tokens(&self, request: &ChatRequest) -> Option<u64> {
        Some(request.messages.iter().map(|message| message.content.split_whitespace().count() as u64).sum())
    }

    async fn chat(&self, request: ChatRequest, _: &dyn DeltaSink) -> Result<Completion, BackendError> {
        self.requests.lock().unwrap().push(request);
        match self.answers.lock().unwrap().pop() {
            Some((text, finish)) => {
                Ok(Completion { text, tool_calls: Vec::new(), report: Self::report(Some(finish), 3) })
            }
            None => Err(BackendError::new(BackendErrorKind::Transient, "the script has ended")),
        }
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, BackendError> {
        tokio::task::yield_now().await;
        self.embedded.fetch_add(texts.len(), Ordering::SeqCst);
        if self.stalls.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let tokens = texts.iter().map(|text| text.split_whitespace().count() as u64).sum();
        let report = CallReport { bytes_sent: self.sends, ..Self::report(None, tokens) };
        Ok(Embeddings { vectors: texts.iter().map(|text| embed(text)).collect(), report })
    }
}

/// Prepares and runs one attempt.
pub(crate) async fn attempt(
    agent: &dyn Agent,
    backend: Option<SharedBackend>,
    arguments: &[(&str, serde_json::Value)],
) -> Result<AgentOutput, AgentError> {
    let arguments: Arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let prepared = agent.prepare(&arguments, backend.as_ref())?;
    let call = AgentCall { arguments: &arguments, request: prepared.request, backend, deltas: &NoDeltas, seed: 1 };
    agent.run(call).await
}
