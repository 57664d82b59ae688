//! A run's spans: the workflow, its steps below it, their attempts below them; entries of a map are linked to the step
//! that produced the list, a hedge to the attempt that it joined.

use lumos_core::record::{AttemptRecord, Destination, ErrorRecord, Status, StepRecord};
use lumos_core::{Basis, FinishReason};
use lumos_engine::{RunTrace, TracedStep};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status as SpanStatus};
use serde_json::{Value, json};

use crate::attributes::{Attributes, error_type, inference, is_error, joined, operation, own, seconds, served};
use crate::names;
use crate::settings::{Conventions, Settings};

/// A link to a span of a caller in another process carries that it is remote.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The spans of a run, the run's own first.
pub(crate) fn spans(trace: &RunTrace, settings: &Settings) -> Vec<Span> {
    let builder = Builder { trace, settings };
    let mut spans = Vec::with_capacity(1 + trace.steps.len() + trace.record.totals.attempts as usize);
    spans.push(builder.run());
    for (step, traced) in trace.record.steps.iter().zip(&trace.steps) {
        // A step that was not needed took no time.
        let Some(ready_us) = step.ready_us else { continue };
        spans.push(builder.step(step, traced, ready_us));
        spans.extend(step.attempts.iter().map(|attempt| builder.attempt(step, traced, attempt)));
    }
    spans
}

struct Builder<'a> {
    trace: &'a RunTrace,
    settings: &'a Settings,
}

impl Builder<'_> {
    /// A span between two moments of the run.
    fn span(&self, id: u64, parent: Option<u64>, (start_us, end_us): (u64, u64)) -> Span {
        let scope = &self.trace.scope;
        let nanos = |us: u64| self.trace.began_unix_us.saturating_add(us).saturating_mul(1000);
        let state = scope.parent().and_then(|parent| parent.state.as_deref()).unwrap_or_default();
        Span {
            trace_id: scope.trace_id().to_be_bytes().to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            trace_state: state.to_owned(),
            flags: u32::from(scope.sampled()) | HAS_IS_REMOTE,
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanos(start_us),
            end_time_unix_nano: nanos(end_us.max(start_us)),
            ..Span::default()
        }
    }

    fn run(&self) -> Span {
        let (record, scope) = (&self.trace.record, &self.trace.scope);
        let caller = scope.parent().map(|parent| parent.span_id);
        let mut attributes = Attributes::default();
        attributes.text(names::GEN_AI_OPERATION_NAME, "invoke_workflow");
        attributes.text(names::GEN_AI_AGENT_NAME, &record.workflow);
        attributes.text(own::RUN_ID, &record.run_id);
        attributes.text(own::DEPLOYMENT, &record.deployment);
        attributes.int(own::SEED, Some(record.seed));
        attributes.text(own::STATUS, record.status.as_str());
        attributes.double(own::COST, record.totals.cost_usd.map(dollars));
        attributes.flag(own::COST_COMPLETE, record.totals.cost_complete);
        failed(&mut attributes, record.status);
        let span = self.span(scope.root(), caller, (0, record.totals.duration_us));
        Span {
            name: format!("invoke_workflow {}", record.workflow),
            flags: span.flags | if caller.is_some() { IS_REMOTE } else { 0 },
            attributes: attributes.0,
            status: status(record.status, record.error.as_ref()),
            ..span
        }
    }

    fn step(&self, step: &StepRecord, traced: &TracedStep, ready_us: u64) -> Span {
        let scope = &self.trace.scope;
        let operation = operation(&step.kind);
        let agent = step.agent.as_deref().unwrap_or(&step.node);
        let mut attributes = Attributes::default();
        attributes.text(names::GEN_AI_OPERATION_NAME, operation);
        match operation {
            "execute_tool" => attributes.text(names::GEN_AI_TOOL_NAME, agent),
            "retrieval" => attributes.text(names::GEN_AI_DATA_SOURCE_ID, agent),
            _ => attributes.text(names::GEN_AI_AGENT_NAME, agent),
        }
        attributes.text(own::NODE, &step.node);
        attributes.text(own::KIND, &step.kind);
        attributes.text(own::STATUS, step.status.as_str());
        if !step.path.is_empty() {
            attributes.texts(own::PATH, step.path.iter().cloned());
        }
        attributes.int(own::INDEX, step.index.map(u64::from));
        attributes.int(own::ITERATION, step.iteration.map(u64::from));
        let end_us = step.end_us.unwrap_or(self.trace.record.totals.duration_us);
        if end_us < self.trace.shared_us {
            attributes.flag(own::SHARED, true);
        }
        failed(&mut attributes, step.status);
        let parent = traced.parent.map_or_else(|| scope.root(), |parent| scope.step(parent));
        Span {
            name: format!("{operation} {agent}"),
            attributes: attributes.0,
            links: traced.list.map(|list| self.link(scope.step(list))).into_iter().collect(),
            status: status(step.status, step.error.as_ref()),
            ..self.span(scope.step(traced.step), Some(parent), (ready_us, end_us))
        }
    }

    fn attempt(&self, step: &StepRecord, traced: &TracedStep, attempt: &AttemptRecord) -> Span {
        let scope = &self.trace.scope;
        let asks = attempt.backend.is_some();
        let conventions = self.settings.conventions;
        let mut attributes = if asks { served(attempt, &step.kind, conventions) } else { Attributes::default() };
        if asks {
            usage(&mut attributes, attempt, conventions);
            if self.settings.content.on_spans {
                content(&mut attributes, step, traced, attempt);
            }
        }
        attributes.text(own::NODE, &step.node);
        attributes.int(own::ATTEMPT, Some(u64::from(attempt.attempt)));
        attributes.text(own::STATUS, attempt.status.as_str());
        if attempt.shared {
            attributes.flag(own::SHARED, true);
        }
        failed(&mut attributes, attempt.status);
        let joined = joined(step, attempt);
        if joined.is_some() {
            attributes.flag(own::HEDGE, true);
        }
        let name = match &attempt.model {
            Some(model) => format!("{} {model}", inference(&step.kind)),
            None => format!("attempt {}", attempt.attempt),
        };
        let end_us = attempt.start_us + attempt.queue_us + attempt.duration_us;
        let id = scope.attempt(traced.step, attempt.attempt);
        let span = self.span(id, Some(scope.step(traced.step)), (attempt.start_us, end_us));
        Span {
            name,
            kind: if asks { SpanKind::Client.into() } else { span.kind },
            attributes: attributes.0,
            links: joined.map(|other| self.link(scope.attempt(traced.step, other.attempt))).into_iter().collect(),
            status: status(attempt.status, attempt.error.as_ref()),
            ..span
        }
    }

    fn link(&self, span_id: u64) -> Link {
        Link {
            trace_id: self.trace.scope.trace_id().to_be_bytes().to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
            flags: u32::from(self.trace.scope.sampled()) | HAS_IS_REMOTE,
            ..Link::default()
        }
    }
}

/// Tokens, times and money of an attempt.
fn usage(attributes: &mut Attributes, attempt: &AttemptRecord, conventions: Conventions) {
    let usage = &attempt.usage;
    attributes.int(names::GEN_AI_USAGE_INPUT_TOKENS, usage.input_tokens);
    attributes.int(names::GEN_AI_USAGE_OUTPUT_TOKENS, usage.output_tokens);
    match conventions {
        Conventions::Latest => {
            attributes.int(names::GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, usage.cached_input_tokens);
            attributes.int(names::GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, usage.cache_write_tokens);
            attributes.int(names::GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, usage.reasoning_tokens);
            attributes.double(names::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, attempt.ttft_us.map(seconds));
        }
        Conventions::Legacy => {
            attributes.int(names::GEN_AI_USAGE_PROMPT_TOKENS, usage.input_tokens);
            attributes.int(names::GEN_AI_USAGE_COMPLETION_TOKENS, usage.output_tokens);
        }
    }
    if let Some(reason) = attempt.finish_reason {
        attributes.texts(names::GEN_AI_RESPONSE_FINISH_REASONS, [finish(reason).to_owned()]);
    }
    if let Some(id) = &attempt.request_id {
        attributes.text(own::REQUEST_ID, id);
    }
    if let Some(backend) = &attempt.backend {
        attributes.text(own::BACKEND, backend);
    }
    let destination = match attempt.destination {
        Destination::Inside => "inside",
        Destination::Outside => "outside",
    };
    attributes.text(own::DESTINATION, destination);
    attributes.int(own::BYTES_SENT, attempt.bytes_sent);
    attributes.double(own::QUEUE, Some(seconds(attempt.queue_us)));
    attributes.double(own::COST, attempt.cost_usd.map(dollars));
    if let Some(basis) = attempt.basis.cost {
        attributes.text(own::COST_BASIS, basis_word(basis));
    }
    if let Some(basis) = attempt.basis.tokens {
        attributes.text(own::TOKENS_BASIS, basis_word(basis));
    }
}

/// What the model was asked and what came of it, as the conventions' JSON.
pub(crate) fn content(attributes: &mut Attributes, step: &StepRecord, traced: &TracedStep, attempt: &AttemptRecord) {
    if let Some(request) = &traced.request {
        let messages: Vec<Value> = request
            .messages
            .iter()
            .map(|message| {
                let mut parts = vec![json!({"type": "text", "content": message.content})];
                if let Some(id) = &message.tool_call_id {
                    parts = vec![json!({"type": "tool_call_response", "id": id, "response": message.content})];
                }
                parts.extend(message.tool_calls.iter().map(
                    |call| json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}),
                ));
                json!({"role": message.role, "parts": parts})
            })
            .collect();
        attributes.text(names::GEN_AI_INPUT_MESSAGES, Value::from(messages).to_string());
    }
    if attempt.status == Status::Succeeded && !step.output.is_null() {
        let text = match step.output.get("text").unwrap_or(&step.output) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let parts = json!([{"role": "assistant", "parts": [{"type": "text", "content": text}]}]);
        attributes.text(names::GEN_AI_OUTPUT_MESSAGES, parts.to_string());
    }
}

/// Money as a number: what observability tools add up.
pub(crate) fn dollars(usd: lumos_core::Usd) -> f64 {
    usd.to_string().parse().unwrap_or_default()
}

fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::ToolCalls => "tool_calls",
    }
}

fn basis_word(basis: Basis) -> &'static str {
    match basis {
        Basis::Measured => "measured",
        Basis::Reported => "reported",
        Basis::Estimated => "estimated",
        Basis::Simulated => "simulated",
    }
}

fn failed(attributes: &mut Attributes, status: Status) {
    if let Some(word) = error_type(status) {
        attributes.text(names::ERROR_TYPE, word);
    }
}

fn status(status: Status, error: Option<&ErrorRecord>) -> Option<SpanStatus> {
    is_error(status).then(|| SpanStatus {
        code: StatusCode::Error.into(),
        message: error.map_or_else(|| status.as_str().to_owned(), |error| error.message.clone()),
    })
}
