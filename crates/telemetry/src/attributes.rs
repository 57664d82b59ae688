//! Attributes as OTLP writes them, and what all signals say of an attempt.

use lumos_core::record::{AttemptRecord, RunRecord, Status, StepRecord};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

use crate::names;
use crate::settings::Conventions;

/// The namespace of what the conventions have no name for.
pub(crate) mod own {
    pub(crate) const RUN_ID: &str = "lumos.run.id";
    pub(crate) const DEPLOYMENT: &str = "lumos.deployment";
    pub(crate) const SEED: &str = "lumos.seed";
    pub(crate) const STATUS: &str = "lumos.status";
    pub(crate) const COST: &str = "lumos.cost.usd";
    pub(crate) const COST_COMPLETE: &str = "lumos.cost.complete";
    pub(crate) const COST_BASIS: &str = "lumos.cost.basis";
    pub(crate) const TOKENS_BASIS: &str = "lumos.tokens.basis";
    pub(crate) const SHARED: &str = "lumos.shared";
    pub(crate) const NODE: &str = "lumos.node";
    pub(crate) const KIND: &str = "lumos.kind";
    pub(crate) const PATH: &str = "lumos.path";
    pub(crate) const INDEX: &str = "lumos.index";
    pub(crate) const ITERATION: &str = "lumos.iteration";
    pub(crate) const ATTEMPT: &str = "lumos.attempt";
    pub(crate) const HEDGE: &str = "lumos.hedge";
    pub(crate) const BACKEND: &str = "lumos.backend";
    pub(crate) const DESTINATION: &str = "lumos.destination";
    pub(crate) const QUEUE: &str = "lumos.queue.seconds";
    pub(crate) const BYTES_SENT: &str = "lumos.bytes.sent";
    pub(crate) const REQUEST_ID: &str = "lumos.request.id";
    pub(crate) const RUN_DURATION: &str = "lumos.run.duration";
    pub(crate) const RUNS: &str = "lumos.runs";
}

/// A list of attributes; what is unknown is left out.
#[derive(Debug, Clone)]
pub(crate) struct Attributes(pub(crate) Vec<KeyValue>);

impl Default for Attributes {
    fn default() -> Self {
        // Most spans have about so many.
        Self(Vec::with_capacity(8))
    }
}

impl Attributes {
    fn push(&mut self, key: &str, value: Any) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() });
    }

    pub(crate) fn text(&mut self, key: &str, value: impl Into<String>) {
        self.push(key, Any::StringValue(value.into()));
    }

    pub(crate) fn int(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.push(key, Any::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
        }
    }

    pub(crate) fn double(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.push(key, Any::DoubleValue(value));
        }
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.push(key, Any::BoolValue(value));
    }

    pub(crate) fn texts(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let values = values.into_iter().map(|value| any(Any::StringValue(value))).collect();
        self.push(key, Any::ArrayValue(ArrayValue { values }));
    }
}

pub(crate) fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// Seconds, the unit of all durations in the conventions.
pub(crate) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// What a step does, in the conventions' words.
pub(crate) fn operation(kind: &str) -> &'static str {
    match kind {
        "workflow" => "invoke_workflow",
        "retriever" => "retrieval",
        "tool" => "execute_tool",
        _ => "invoke_agent",
    }
}

/// What an attempt asks of its model. Retrievers ask theirs for embeddings.
pub(crate) fn inference(kind: &str) -> &'static str {
    if kind == "retriever" { "embeddings" } else { "chat" }
}

/// The conventions' name of a provider.
pub(crate) fn provider(name: &str) -> &str {
    match name {
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        other => other,
    }
}

/// Who served an attempt, and what.
pub(crate) fn served(attempt: &AttemptRecord, kind: &str, conventions: Conventions) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.text(names::GEN_AI_OPERATION_NAME, inference(kind));
    let provider = provider(attempt.provider.as_deref().unwrap_or("_OTHER"));
    let provider_key = match conventions {
        Conventions::Latest => names::GEN_AI_PROVIDER_NAME,
        Conventions::Legacy => names::GEN_AI_SYSTEM,
    };
    attributes.text(provider_key, provider);
    if let Some(model) = &attempt.model {
        attributes.text(names::GEN_AI_REQUEST_MODEL, model);
    }
    attributes
}

/// Whether something that ended like this went wrong.
pub(crate) fn is_error(status: Status) -> bool {
    !matches!(status, Status::Succeeded | Status::Skipped | Status::Running | Status::Paused)
}

/// `error.type` of an attempt, a step or a run: few values, so that they can be counted by.
pub(crate) fn error_type(status: Status) -> Option<&'static str> {
    is_error(status).then(|| status.as_str())
}

/// The attempt that another one joined: one of the same step that was still going on when it was started.
pub(crate) fn joined<'a>(step: &'a StepRecord, attempt: &AttemptRecord) -> Option<&'a AttemptRecord> {
    let end = |other: &AttemptRecord| other.start_us + other.queue_us + other.duration_us;
    let goes_on = |other: &&AttemptRecord| other.attempt < attempt.attempt && end(other) > attempt.start_us;
    step.attempts.iter().find(goes_on)
}

/// Whether anything of a run is over; one that waits or is interrupted goes on in another process, which tells of all.
pub(crate) fn is_final(record: &RunRecord) -> bool {
    !matches!(record.status, Status::Running | Status::Paused | Status::Interrupted)
}
