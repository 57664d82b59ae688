//! `lumos resume`: goes on with runs whose process died, or that waited for a person.

use lumos::core::Status;
use lumos::core::load::Definition;
use lumos::core::program::LiveValue;
use lumos::core::scheduler::{Decision, StepId};
use lumos::engine::{History, Kind, StoreError};
use lumos::{Change, Error, Home};
use serde_json::json;

use super::arguments::{Format, Resume};
use super::failure::{COMMAND_LINE, FAILED, Failure};
use super::session::{Driven, Session};
use super::{output, run};

pub fn run(arguments: &Resume, home: Home) -> Result<u8, Failure> {
    if arguments.all {
        return all(arguments, home);
    }
    let id = arguments.id.as_deref().unwrap_or_default();
    let driven = Session::with(home, arguments.printing.stream, |session| one(session, id, arguments.accept_changes))?;
    run::told(driven, arguments.printing.of_result())
}

/// Says which run goes on with one that was left for changed files.
///
/// # Errors
/// When there is one.
pub fn refuse_replaced(session: &Session, run_id: &str) -> Result<(), Failure> {
    let store = session.lumos.store().ok_or_else(|| Failure::failed("no runs are kept"))?;
    match store.successor(run_id)? {
        Some(by) => Err(StoreError::Replaced { run_id: run_id.to_owned(), by }.into()),
        None => Ok(()),
    }
}

/// Goes on with one run.
fn one(session: &Session, id: &str, accept_changes: bool) -> Result<Driven, Failure> {
    let (run_id, blueprint) = session.lumos.blueprint(id)?;
    refuse_replaced(session, &run_id)?;
    let changes = lumos::changes(&blueprint.definition).map_err(Failure::Invalid)?;
    if changes.is_empty() || !accept_changes {
        return go_on(session, &run_id, &blueprint.definition, changes, Vec::new());
    }
    let bundle = blueprint.definition.reread().map_err(Failure::Invalid)?;
    let program = session.ready(&bundle)?;
    let changed = session.lumos.resume_changed((&program, &bundle), &run_id, &session.cancel);
    let driven = session.drive(changed)?;
    output::log(&format!("run {run_id} goes on as {}\n", driven.record.run_id));
    Ok(driven)
}

/// Goes on with a run that waits for a person, as that person has decided.
pub fn decided(
    session: &Session,
    history: &History,
    decision: (StepId, Decision<LiveValue>),
) -> Result<Driven, Failure> {
    let definition = &history.blueprint().definition;
    let changes = lumos::changes(definition).map_err(Failure::Invalid)?;
    go_on(session, history.run_id(), definition, changes, vec![decision])
}

/// Goes on with a run whose files are what they were; otherwise shows what has changed.
fn go_on(
    session: &Session,
    run_id: &str,
    definition: &Definition,
    changes: Vec<Change>,
    decisions: Vec<(StepId, Decision<LiveValue>)>,
) -> Result<Driven, Failure> {
    if !changes.is_empty() {
        output::log(&changes.iter().map(diff).collect::<String>());
        let hint = "put the files back, or run only what the changes touch with `--accept-changes`".to_owned();
        let error = Error::Changed { run_id: run_id.to_owned(), changes };
        return Err(Failure::invalid(COMMAND_LINE, error.to_string(), Some(hint)));
    }
    let bundle = definition.bundle().map_err(Failure::Invalid)?;
    let program = session.ready(&bundle)?;
    session.drive(session.lumos.resume_bound(&program, run_id, decisions, &session.cancel))
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
    let printing = arguments.printing;
    Session::with(home, printing.stream, |session| {
        let ids = waiting(session)?;
        let (mut code, mut records) = (0, Vec::new());
        for id in &ids {
            if session.cancel.is_cancelled() {
                break;
            }
            let ended = match one(session, id, arguments.accept_changes) {
                Ok(driven) if printing.format() == Format::Json => {
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
        if printing.of_result() == Some(Format::Json) {
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
    let mut waiting = Vec::new();
    for id in ids {
        // What another run goes on with ends with the first step of that one.
        if store.successor(&id)?.is_none() {
            waiting.push(id);
        }
    }
    Ok(waiting)
}
