//! `lumos resume`: goes on with runs whose process died, or that waited for a person.

use lumos::core::Status;
use lumos::core::load::Bundle;
use lumos::core::program::LiveValue;
use lumos::core::scheduler::{Decision, StepId};
use lumos::engine::{History, Kind};
use lumos::{Change, Error, Home};
use serde_json::json;

use super::arguments::{Format, Resume};
use super::failure::{FAILED, Failure};
use super::session::{Driven, Session};
use super::{output, run};

pub fn run(arguments: &Resume, home: Home) -> Result<u8, Failure> {
    let format = (!arguments.stream).then_some(arguments.format);
    if arguments.all {
        return all(arguments, home);
    }
    let id = arguments.id.as_deref().unwrap_or_default();
    let driven = Session::with(home, arguments.stream, |session| one(session, id, arguments.accept_changes))?;
    run::told(driven, format)
}

/// Goes on with one run.
fn one(session: &Session, id: &str, accept_changes: bool) -> Result<Driven, Failure> {
    let history = session.lumos.history(id)?;
    if accept_changes && !lumos::changes(&history.blueprint().definition).map_err(Failure::Invalid)?.is_empty() {
        let bundle = history.blueprint().definition.reread().map_err(Failure::Invalid)?;
        let program = session.ready(&bundle)?;
        let changed = session.lumos.resume_changed((&program, &bundle), history.run_id(), &session.cancel);
        let driven = session.drive(changed)?;
        output::log(&format!("run {} goes on as {}\n", history.run_id(), driven.record.run_id));
        return Ok(driven);
    }
    let bundle = unchanged(&history)?;
    let program = session.ready(&bundle)?;
    session.drive(session.lumos.resume_bound(&program, history.run_id(), Vec::new(), &session.cancel))
}

/// Goes on with a run that waits for a person, as that person has decided.
pub fn decided(
    session: &Session,
    history: &History,
    (step, decision): (StepId, Decision<LiveValue>),
) -> Result<Driven, Failure> {
    let bundle = unchanged(history)?;
    let program = session.ready(&bundle)?;
    session.drive(session.lumos.resume_bound(&program, history.run_id(), vec![(step, decision)], &session.cancel))
}

/// The files of a run, unless they have changed.
fn unchanged(history: &History) -> Result<Bundle, Failure> {
    let definition = &history.blueprint().definition;
    let changes = lumos::changes(definition).map_err(Failure::Invalid)?;
    if changes.is_empty() {
        return definition.bundle().map_err(Failure::Invalid);
    }
    let diff: String = changes.iter().map(diff).collect();
    output::log(&diff);
    let hint = "put the files back, or run only what the changes touch with `--accept-changes`".to_owned();
    let error = Error::Changed { run_id: history.run_id().to_owned(), changes };
    Err(Failure::invalid(super::failure::COMMAND_LINE, error.to_string(), Some(hint)))
}

/// A change as `diff -u` shows it.
fn diff(change: &Change) -> String {
    let (before, after) = (change.before.as_deref().unwrap_or_default(), change.after.as_deref().unwrap_or_default());
    let diff = similar::TextDiff::from_lines(before, after);
    let (was, is) = (format!("{} (when the run began)", change.file), format!("{} (now)", change.file));
    output::shown(&diff.unified_diff().header(&was, &is).to_string())
}

/// Goes on with every run whose process died, and with those about whose steps nobody decided in time, one after the
/// other; a run that cannot be taken up holds up no other.
fn all(arguments: &Resume, home: Home) -> Result<u8, Failure> {
    Session::with(home, arguments.stream, |session| {
        let ids = waiting(session)?;
        let (mut code, mut records) = (0, Vec::new());
        for id in &ids {
            if session.cancel.is_cancelled() {
                break;
            }
            let ended = match one(session, id, arguments.accept_changes) {
                Ok(driven) if arguments.format == Format::Json || arguments.stream => {
                    records.push(driven.record.clone());
                    run::told(driven, None)?
                }
                Ok(driven) => run::told(driven, Some(Format::Human))?,
                Err(failure) => {
                    output::log(&format!("run {id} was not taken up\n"));
                    failure.report(Format::Human);
                    FAILED
                }
            };
            code = if code == 0 { ended } else { code };
        }
        if arguments.format == Format::Json && !arguments.stream {
            output::json(&json!({ "runs": records }))?;
        } else if ids.is_empty() {
            output::log("no run was interrupted\n");
        }
        Ok(code)
    })
}

/// Runs that can be gone on with, the oldest first.
fn waiting(session: &Session) -> Result<Vec<String>, Failure> {
    let store = session.lumos.store().ok_or_else(|| Failure::failed("no runs are kept"))?;
    let of = |status| store.list(&Kind { status: Some(status), ..Kind::default() });
    let mut ids: Vec<String> = of(Status::Interrupted)?.into_iter().map(|run| run.run_id).collect();
    for paused in of(Status::Paused)? {
        if !session.lumos.history(&paused.run_id)?.overdue().is_empty() {
            ids.push(paused.run_id);
        }
    }
    ids.sort();
    Ok(ids)
}
