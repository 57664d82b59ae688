//! `lumos replay`: whether a run's log would be the same again, and single nodes asked again elsewhere.

use std::fmt::Write;

use lumos::core::{RunRecord, Status};
use lumos::engine::{Asked, History, Replayed};
use lumos::{Home, Lumos};
use lumos_report::{figure, step_names};
use serde_json::{Value, json};

use super::arguments::{Format, Replay};
use super::failure::{COMMAND_LINE, FAILED, Failure};
use super::session::Session;
use super::{fork, output};

pub fn run(arguments: &Replay, home: Home) -> Result<u8, Failure> {
    let Some(node) = &arguments.only else {
        // Nothing is carried out, so nothing needs to be written.
        return replay(arguments, &Lumos::builder(home).reader().build()?);
    };
    Session::with(home, false, |session| {
        let history = session.lumos.history(&arguments.id)?;
        ask_again(arguments, session, &history, node)
    })
}

fn replay(arguments: &Replay, lumos: &Lumos) -> Result<u8, Failure> {
    let history = &lumos.history(&arguments.id)?;
    let program = match &arguments.deployment {
        Some(deployment) => {
            let bundle = fork::bundle(history, Some(deployment))?;
            lumos.bind(&bundle).map_err(|error| Failure::of_binding(error, &bundle))?
        }
        None => lumos.bind_recorded(history)?,
    };
    let store = lumos.store().ok_or_else(|| Failure::failed("no runs are kept"))?;
    let replayed = store.replay(&program, history.run_id())?;
    let record = history.record();
    match arguments.format {
        Format::Json => {
            let mut document = serde_json::to_value(&record).unwrap_or_default();
            document["replay"] = json!({
                "identical": replayed.difference.is_none(),
                "events": replayed.events,
                "difference": replayed.difference.as_ref().map(|difference| json!({
                    "event": difference.event,
                    "step": difference.step.and_then(|step| step_names(&record).get(step).cloned()),
                    "attempt": difference.attempt,
                    "message": difference.message,
                })),
            });
            output::json(&document)?;
        }
        Format::Human => output::styled(&verdict(&replayed, &record))?,
    }
    Ok(if replayed.difference.is_none() { 0 } else { FAILED })
}

fn verdict(replayed: &Replayed, record: &RunRecord) -> String {
    let Some(difference) = &replayed.difference else {
        let events = figure::count(replayed.events);
        return format!("{} · {events} events · nothing was asked, nothing was paid\n", output::bold("identical"));
    };
    let names = step_names(record);
    let step = difference.step.and_then(|step| names.get(step));
    let place = match (step, difference.attempt) {
        (Some(step), Some(attempt)) => format!("{step} try {attempt}"),
        _ => "the run".to_owned(),
    };
    let message = &difference.message;
    format!("{} at event {}: {place}: {message}\n", output::ended(Status::Failed, "not identical"), difference.event)
}

/// Makes the attempts that gave a node its values again, on the backends of another deployment.
fn ask_again(arguments: &Replay, session: &Session, history: &History, node: &str) -> Result<u8, Failure> {
    let record = history.record();
    let ids = history.steps();
    let names = step_names(&record);
    let fits = |position: &usize| record.steps[*position].node == node || names[*position] == node;
    let has_answer =
        |position: &usize| record.steps[*position].attempts.iter().any(|it| it.status == Status::Succeeded);
    let named: Vec<usize> = (0..ids.len()).filter(fits).collect();
    if named.is_empty() {
        let near = lumos_report::find_step(&record, node).err().map(|error| error.hint());
        return Err(Failure::invalid(COMMAND_LINE, format!("the run has no step of `{node}`"), near));
    }
    let steps: Vec<_> = named.into_iter().filter(has_answer).map(|position| (position, ids[position])).collect();
    if steps.is_empty() {
        let hint = Some("only what was answered can be compared".to_owned());
        return Err(Failure::invalid(COMMAND_LINE, format!("`{node}` gave no answer in that run"), hint));
    }
    let bundle = fork::bundle(history, arguments.deployment.as_deref())?;
    let program = session.ready(&bundle)?;
    let store = session.lumos.store().ok_or_else(|| Failure::failed("no runs are kept"))?;
    let asked = session.wait(store.ask_again(&program, &record, &steps, session.lumos.clock()))?;
    match arguments.format {
        Format::Json => {
            let entries: Vec<Value> = asked.iter().map(|asked| entry(asked, &record, &names)).collect();
            output::json(&json!({ "run_id": record.run_id, "node": node, "steps": entries }))?;
        }
        Format::Human => {
            let texts: Vec<String> = asked.iter().map(|asked| side_by_side(asked, &record, &names)).collect();
            output::styled(&texts.join("\n"))?;
        }
    }
    Ok(if asked.iter().all(|asked| asked.answer.is_some()) { 0 } else { FAILED })
}

fn entry(asked: &Asked, record: &RunRecord, names: &[String]) -> Value {
    let recorded = record.steps[asked.step].attempts.iter().find(|attempt| attempt.attempt == asked.attempt);
    json!({
        "step": names[asked.step],
        "recorded": { "output": asked.recorded, "attempt": recorded },
        "replayed": {
            "output": asked.answer,
            "backend": asked.backend.as_ref().map(|(backend, _)| backend),
            "model": asked.backend.as_ref().map(|(_, model)| model),
            "duration_us": asked.duration_us,
            "cost_usd": asked.cost_usd,
            "input_tokens": asked.tokens.0,
            "output_tokens": asked.tokens.1,
            "bytes_sent": asked.bytes_sent,
            "error": asked.error,
        },
    })
}

fn side_by_side(asked: &Asked, record: &RunRecord, names: &[String]) -> String {
    let unknown = || figure::UNKNOWN.to_owned();
    let recorded = record.steps[asked.step].attempts.iter().find(|attempt| attempt.attempt == asked.attempt);
    let mut text = format!("{}\n", output::bold(&lumos_report::clean(&names[asked.step])));
    if let Some(attempt) = recorded {
        let who = attempt.backend.as_deref().zip(attempt.model.as_deref());
        let cost = attempt.cost_usd.map_or_else(unknown, figure::money);
        text.push_str(&line("recorded", who, attempt.duration_us, &cost));
    }
    text.push_str(&answer(&asked.recorded));
    let who = asked.backend.as_ref().map(|(backend, model)| (backend.as_str(), model.as_str()));
    let cost = asked.cost_usd.map_or_else(unknown, figure::money);
    text.push_str(&line("now", who, asked.duration_us, &cost));
    match (&asked.answer, &asked.error) {
        (Some(value), _) => text.push_str(&answer(value)),
        (None, Some(error)) => text.push_str(&output::error(&error.message, error.hint.as_deref())),
        (None, None) => {}
    }
    if asked.answer.as_ref() == Some(&asked.recorded) {
        text.push_str(&output::dim("the same answer\n"));
    }
    text
}

fn line(when: &str, who: Option<(&str, &str)>, duration_us: u64, cost: &str) -> String {
    let who = who.map_or_else(|| "no model".to_owned(), |(backend, model)| format!("{backend}: {model}"));
    output::dim(&format!("── {when} · {} · {} · {cost}\n", lumos_report::clean(&who), figure::duration(duration_us)))
}

/// A step's value: its text if that is what people read of it.
fn answer(value: &Value) -> String {
    let mut shown = String::new();
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.get("text").is_some_and(Value::is_string) => {
            fields.get("text").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    // Writing to a text cannot fail.
    let _ = writeln!(shown, "{}", output::shown(text.trim_end()));
    shown
}
