//! Log records: one for each failed attempt and one for the end of each run, with the span that they belong to.

use lumos_core::record::{ErrorRecord, Status};
use lumos_engine::RunTrace;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use crate::attributes::{Attributes, any, error_type, is_final, own, served};
use crate::names;
use crate::settings::Settings;
use crate::spans::content;

/// The event that carries messages.
const DETAILS: &str = "gen_ai.client.inference.operation.details";

/// What is said of a run.
pub(crate) fn logs(trace: &RunTrace, settings: &Settings) -> Vec<LogRecord> {
    let (record, scope) = (&trace.record, &trace.scope);
    let log = |at_us: u64, span: u64, severity: SeverityNumber, body: String, attributes: Attributes| LogRecord {
        time_unix_nano: trace.began_unix_us.saturating_add(at_us).saturating_mul(1000),
        severity_number: severity.into(),
        severity_text: word(severity).to_owned(),
        body: Some(any(Any::StringValue(body))),
        attributes: attributes.0,
        flags: u32::from(scope.sampled()),
        trace_id: scope.trace_id().to_be_bytes().to_vec(),
        span_id: span.to_be_bytes().to_vec(),
        ..LogRecord::default()
    };
    let mut logs = Vec::new();
    for (step, traced) in record.steps.iter().zip(&trace.steps).filter(|_| is_final(record)) {
        for attempt in step.attempts.iter().filter(|attempt| !attempt.shared) {
            let end_us = attempt.start_us + attempt.queue_us + attempt.duration_us;
            let span = scope.attempt(traced.step, attempt.attempt);
            if attempt.status == Status::Failed {
                let mut attributes = Attributes::default();
                attributes.text(own::RUN_ID, &record.run_id);
                attributes.text(own::NODE, &step.node);
                attributes.int(own::ATTEMPT, Some(u64::from(attempt.attempt)));
                attributes.text(names::ERROR_TYPE, Status::Failed.as_str());
                let body =
                    format!("attempt {} of `{}` failed{}", attempt.attempt, step.node, why(attempt.error.as_ref()));
                logs.push(log(end_us, span, SeverityNumber::Warn, body, attributes));
            }
            if settings.content.on_events && attempt.backend.is_some() {
                let mut attributes = served(attempt, &step.kind, settings.conventions);
                content(&mut attributes, step, traced, attempt);
                let details = log(end_us, span, SeverityNumber::Info, String::new(), attributes);
                logs.push(LogRecord { event_name: DETAILS.to_owned(), body: None, ..details });
            }
        }
    }
    let mut attributes = Attributes::default();
    attributes.text(own::RUN_ID, &record.run_id);
    attributes.text(own::STATUS, record.status.as_str());
    let severity = match error_type(record.status) {
        Some(word) => {
            attributes.text(names::ERROR_TYPE, word);
            SeverityNumber::Error
        }
        None => SeverityNumber::Info,
    };
    let body = format!("run of `{}` {}{}", record.workflow, record.status.as_str(), why(record.error.as_ref()));
    logs.push(log(record.totals.duration_us, scope.root(), severity, body, attributes));
    logs
}

fn why(error: Option<&ErrorRecord>) -> String {
    error.map(|error| format!(": {}", error.message)).unwrap_or_default()
}

fn word(severity: SeverityNumber) -> &'static str {
    match severity {
        SeverityNumber::Error => "ERROR",
        SeverityNumber::Warn => "WARN",
        _ => "INFO",
    }
}
