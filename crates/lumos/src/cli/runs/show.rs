//! `lumos runs show`: what a run did when, how long that took and what it cost; or all about one attempt.

use std::fmt::Write;

use lumos::core::scheduler::AttemptId;
use lumos::core::{AttemptRecord, Exchange, RunRecord, Status, StepRecord};
use lumos::engine::{Asking, StoreError};
use lumos::{Error, Home, Lumos};
use lumos_report::{StepError, find_attempt, step_label, step_names, timeline};
use serde_json::{Value, json};

use super::arguments::Show;
use crate::cli::arguments::Format;
use crate::cli::failure::{COMMAND_LINE, Failure};
use crate::cli::{output, run};

pub fn run(arguments: &Show, home: &Home) -> Result<u8, Failure> {
    let record = super::load(&arguments.id, home)?;
    match (&arguments.attempt, arguments.format) {
        (Some(named), format) => attempt(&record, named, format, home)?,
        (None, Format::Json) => output::json(&record)?,
        (None, Format::Human) => {
            let by = super::store(home).map(|store| store.successor(&record.run_id)).transpose()?.flatten();
            output::styled(&text(&record, arguments, by.as_deref()))?;
        }
    }
    Ok(0)
}

/// `by` is the run that goes on with it under changed files.
fn text(record: &RunRecord, arguments: &Show, by: Option<&str>) -> String {
    let mut text = format!(
        "{} {} {}\n",
        output::bold(&lumos_report::clean(&record.workflow)),
        output::ended(record.status, record.status.as_str()),
        output::dim(&record.started_at),
    );
    for (name, value) in &record.inputs {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(text, "{} = {}", output::bold(&lumos_report::clean(name)), output::shown(&value));
    }
    text.push('\n');
    if record.status == Status::Succeeded {
        text.push_str(&run::answer(&record.output));
        text.push('\n');
    }
    match by {
        Some(by) => _ = writeln!(text, "run {by} goes on with it under changed files"),
        None => text.push_str(&run::ending(record)),
    }
    if arguments.shows_steps {
        text.push_str(&run::steps(record));
    } else {
        text.push_str(&output::lines(&timeline(record, output::width(), arguments.shows_all)));
        text.push_str(&run::kept(record));
    }
    text
}

fn attempt(record: &RunRecord, named: &str, format: Format, home: &Home) -> Result<(), Failure> {
    let (step, attempt) = find_attempt(record, named).map_err(unknown)?;
    let names = step_names(record);
    let at = record.steps.iter().position(|other| std::ptr::eq(other, step));
    let exchange = match asking(record, at.unwrap_or_default(), attempt, home) {
        Ok(Some(asking)) => {
            if !asking.is_as_recorded {
                let message = "what this version of lumos would ask differs from what was asked then";
                output::log(&output::warning(message, Some("the answer and the figures are what was recorded")));
            }
            asking.exchange
        }
        Ok(None) | Err(Error::Store(StoreError::NoLog(_))) => exchange(step, attempt),
        Err(error) => return Err(error.into()),
    };
    let name = at.and_then(|at| names.get(at)).cloned().unwrap_or_else(|| step_label(step));
    match format {
        Format::Json => output::json(&json!({ "step": name, "attempt": attempt, "exchange": exchange })),
        Format::Human => {
            let mut lines = lumos_report::exchange(&name, attempt, &exchange);
            for line in &mut lines {
                line.text = output::shown(&line.text);
            }
            output::styled(&output::lines(&lines))
        }
    }
}

/// What was asked in an attempt, from the run's log.
fn asking(record: &RunRecord, at: usize, attempt: &AttemptRecord, home: &Home) -> Result<Option<Asking>, Error> {
    let lumos = Lumos::builder(home.clone()).reader().build()?;
    let history = lumos.history(&record.run_id)?;
    let program = lumos.bind_recorded(&history)?;
    let Some((step, store)) = history.steps().get(at).copied().zip(lumos.store()) else { return Ok(None) };
    Ok(store.exchange(&program, &record.run_id, AttemptId { step, number: attempt.attempt })?)
}

/// What a record knows of an attempt's exchange: the answer, when it is the one that counted.
fn exchange(step: &StepRecord, attempt: &AttemptRecord) -> Exchange {
    let counted = step.attempts.iter().rev().find(|other| other.status == Status::Succeeded);
    let is_counted = counted.is_some_and(|other| other.attempt == attempt.attempt);
    let output = (is_counted && step.output != Value::Null).then(|| step.output.clone());
    let error = attempt.error.clone().or_else(|| step.error.clone().filter(|_| is_counted));
    Exchange { output, error, ..Exchange::default() }
}

fn unknown(error: StepError) -> Failure {
    Failure::invalid(COMMAND_LINE, error.to_string(), Some(error.hint()))
}
