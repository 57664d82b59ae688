//! `lumos run`: opens a workflow, runs it, and prints the answer and the steps.

use lumos::core::load::{Bundle, find_deployment};
use lumos::core::{ErrorRecord, RunRecord, Status, StepRecord};
use lumos::engine::RunRequest;
use lumos::{Error, Home};
use serde_json::Value;

use super::arguments::{Format, Run};
use super::failure::{FAILED, Failure};
use super::session::{Driven, Session};
use super::{dry_run, failure, inputs, output, questions};

pub fn run(arguments: &Run, home: Home, seed: u64) -> Result<u8, Failure> {
    let workflow = &arguments.workflow;
    let deployment = arguments.deployment.clone().or_else(|| find_deployment("local", workflow));
    let (bundle, warnings) = Bundle::open(workflow, deployment.as_deref()).map_err(Failure::Invalid)?;
    failure::warn(&warnings);
    let values = inputs::read(arguments, &bundle)?;
    if arguments.is_dry {
        return dry_run::run(arguments.printing.format, &home, &bundle, values, seed);
    }
    let request = RunRequest { inputs: values, seed, trace_parent: parent() };
    let driven = Session::with(home, arguments.printing.stream, |session| {
        let program = session.ready(&bundle)?;
        session.drive(session.lumos.run(&program, request, &session.cancel))
    })?;
    #[cfg(feature = "otel")]
    let written = arguments.metrics.as_deref().map(|path| super::telemetry::write_metrics(path, &driven.record));
    let code = told(driven, arguments.printing.of_result())?;
    #[cfg(feature = "otel")]
    written.transpose()?;
    Ok(code)
}

/// The caller's span.
pub fn parent() -> Option<Box<lumos::core::TraceContext>> {
    #[cfg(feature = "otel")]
    return super::telemetry::parent();
    #[cfg(not(feature = "otel"))]
    None
}

/// Prints how a run ended, unless it was streamed, and gives the exit code.
pub fn told(driven: Driven, format: Option<Format>) -> Result<u8, Failure> {
    let Driven { record, lost } = driven;
    if let Some(format) = format {
        print(&record, format, lost.is_none())?;
    }
    match lost {
        Some(error) => {
            Failure::from(Error::from(error)).report(Format::Human);
            Ok(FAILED)
        }
        None => Ok(record.status.exit_code()),
    }
}

fn print(record: &RunRecord, format: Format, is_kept: bool) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(record);
    }
    let mut text = String::new();
    if record.status == Status::Succeeded {
        text.push_str(&answer(&record.output));
        text.push('\n');
    }
    text.push_str(&steps(record));
    output::styled(&text)?;
    // What is wrong with the store says more about a run that it stopped.
    if is_kept || record.status != Status::Interrupted {
        output::log(&ending(record));
    }
    Ok(())
}

/// A run's output as people read it.
pub fn answer(output: &Value) -> String {
    let text = match output {
        Value::String(text) => output::shown(text),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    format!("{}\n", text.trim_end())
}

/// The step table, and under which name it is kept.
pub fn steps(record: &RunRecord) -> String {
    output::lines(&lumos_report::step_table(record, output::width())) + &kept(record)
}

/// Under which name a run is kept.
pub fn kept(record: &RunRecord) -> String {
    let kept = format!(
        "run {} · seed {} · deployment {}",
        record.run_id,
        record.seed,
        lumos_report::clean(&record.deployment)
    );
    format!("{}\n", output::dim(&kept))
}

/// Why a run did not succeed, or what it waits for; empty when it did.
pub fn ending(record: &RunRecord) -> String {
    if matches!(record.status, Status::Succeeded | Status::Running) {
        return String::new();
    }
    if record.status == Status::Paused {
        return questions::of(record);
    }
    let status = record.status.as_str();
    if let Some(error @ ErrorRecord { message, hint }) = &record.error {
        // The innermost step that failed like this: its sub-workflows fail with it.
        let is_cause = |step: &&StepRecord| step.status == Status::Failed && step.error.as_ref() == Some(error);
        let cause = record.steps.iter().filter(is_cause).max_by_key(|step| step.path.len());
        let what = match cause.filter(|_| record.status == Status::Failed) {
            Some(step) => format!("node `{}` failed: {message}", lumos_report::step_label(step)),
            None => format!("{status}: {message}"),
        };
        return output::error(&what, hint.as_deref());
    }
    let kept = match record.status {
        Status::Interrupted => format!("`lumos resume {}` goes on with it", record.run_id),
        _ => format!("`lumos runs show {}` shows what finished", record.run_id),
    };
    output::error(status, Some(&kept))
}
