//! What a node does: the `Agent` trait.

use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::{BackendError, BackendErrorKind, ChatRequest, DeltaSink, SharedBackend};
use crate::usage::CallReport;

/// A node's arguments after rendering: `input`, `context`, `query`, `top_k`, … and the entries of `with`.
///
/// A field that is exactly one `{{ expression }}` arrives as the value it evaluates to, anything else as text.
pub type Arguments = IndexMap<String, Value>;

/// What an agent is about to ask for, known before anything is sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prepared {
    /// The chat request, for agents that ask a model; the engine fills in its sampling seed.
    pub request: Option<ChatRequest>,
    /// Input tokens of the attempt where they can be known.
    pub input_tokens: Option<u64>,
}

/// One attempt of an agent.
pub struct AgentCall<'a> {
    /// The node's rendered arguments.
    pub arguments: &'a Arguments,
    /// The request that [`Agent::prepare`] returned for them, its seed filled in.
    pub request: Option<ChatRequest>,
    /// The backend that the deployment binds the node to; `None` for agents without a model.
    pub backend: Option<SharedBackend>,
    /// Receives the answer while it is generated.
    pub deltas: &'a dyn DeltaSink,
    /// Seed of whatever is random in this attempt.
    pub seed: u64,
}

/// What an attempt produced.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentOutput {
    /// The node's value, what `{{ node.field }}` reads.
    pub value: Value,
    /// Figures of the calls to the backend; `None` when there was none.
    pub report: Option<CallReport>,
}

impl From<Value> for AgentOutput {
    fn from(value: Value) -> Self {
        Self { value, report: None }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct AgentError {
    /// A lowercase fragment for people.
    pub message: String,
    /// What the reader can do about it; printed as a `hint:` line.
    pub hint: Option<String>,
    /// Whether the same attempt may succeed later.
    pub retryable: bool,
    /// How long a server asks to be left alone, in microseconds from the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_us: Option<u64>,
    /// How the backend failed; `None` when it answered and the answer was of no use, or was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<BackendErrorKind>,
    /// Figures of calls that were made, and may have cost money, before the failure.
    pub report: Option<Box<CallReport>>,
}

impl AgentError {
    /// An error that a retry would not cure.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, retryable: false, retry_after_us: None, cause: None, report: None }
    }

    /// An error that a retry may cure.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::fatal(message) }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with the figures of the calls made before it.
    #[must_use]
    pub fn with_report(mut self, report: Option<CallReport>) -> Self {
        self.report = report.map(Box::new);
        self
    }
}

impl From<BackendError> for AgentError {
    fn from(error: BackendError) -> Self {
        Self {
            retryable: error.is_retryable(),
            retry_after_us: error.retry_after_us,
            cause: Some(error.kind),
            report: error.report,
            ..Self::fatal(error.message)
        }
    }
}

/// A role with its prompt and parameters, ready to work.
///
/// **Meaning.** One value serves every node and run that names the agent; it keeps no state between attempts other
/// than caches that never change an answer.
///
/// **Cancellation.** Dropping the future of [`Agent::run`] ends the attempt; nothing half-done may remain.
///
/// **Blocking.** Work of more than a millisecond goes to `spawn_blocking` or to a backend.
///
/// **Errors.** Say whether a retry may help; keep the figures of calls already made.
///
/// Right: everything that chooses a token or a sample takes `call.seed`. Wrong: reading a clock, the environment or
/// a random generator, because a replay would then give another answer.
#[async_trait]
pub trait Agent: Send + Sync {
    /// Checks the arguments and builds the request, without IO. Called once per attempt, before budgets and limits
    /// are asked, so it must be cheap.
    fn prepare(&self, arguments: &Arguments, backend: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        let _ = (arguments, backend);
        Ok(Prepared::default())
    }

    /// Makes the attempt.
    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError>;
}

/// A shared agent.
pub type SharedAgent = Arc<dyn Agent>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendErrorKind;
    use crate::usage::Basis;

    #[test]
    fn an_agents_error_keeps_what_the_backend_knows_of_the_failure() {
        let report = CallReport { bytes_sent: 7, ..CallReport::new(Basis::Reported) };
        let mut error = BackendError::new(BackendErrorKind::RateLimited, "too many requests");
        error.retry_after_us = Some(5);
        let error = AgentError::from(error.with_report(Some(report.clone())));
        assert_eq!((error.retryable, error.retry_after_us, error.report.as_deref()), (true, Some(5), Some(&report)));
        assert!(!AgentError::from(BackendError::new(BackendErrorKind::Unauthorized, "no key")).retryable);
    }
}
