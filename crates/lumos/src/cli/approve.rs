//! `lumos approve`: decides about a step that a run waits with, and goes on with the run.

use lumos::Home;
use lumos::core::StepRecord;
use lumos::core::program::LiveValue;
use lumos::core::scheduler::{By, Decision, Failure as RunFailure, StepId};
use lumos::engine::History;

use super::arguments::Approve;
use super::failure::{COMMAND_LINE, Failure};
use super::session::Session;
use super::steps::step_at;
use super::{inputs, resume, run};

pub fn run(arguments: &Approve, home: Home) -> Result<u8, Failure> {
    let driven = Session::with(home, arguments.printing.stream, |session| {
        let history = session.lumos.history(&arguments.id)?;
        resume::refuse_replaced(session, history.run_id())?;
        let step = asked_step(&history, arguments.step.as_deref())?;
        if history.overdue().contains(&step) {
            return Err(too_late(&history, step));
        }
        let decision = decision(arguments, &history, step)?;
        resume::decided(session, &history, (step, decision))
    })?;
    run::told(driven, arguments.printing.of_result())
}

/// The default holds already.
fn too_late(history: &History, step: StepId) -> Failure {
    let record = history.record();
    let at = history.steps().iter().position(|other| *other == step);
    let name = at.and_then(|at| lumos_report::step_names(&record).get(at).cloned()).unwrap_or_default();
    let of = |field: fn(&StepRecord) -> Option<&String>| at.and_then(|at| field(&record.steps[at])).cloned();
    let due_at = of(|step| step.due_at.as_ref()).unwrap_or_default();
    let default = of(|step| step.default.as_ref()).unwrap_or_default();
    let message = format!("too late: `{name}` could be decided about until {due_at}, and is {default} by default");
    let hint = Some(format!("`lumos resume {}` goes on with the run", record.run_id));
    Failure::Failed { message, hint }
}

fn decision(arguments: &Approve, history: &History, step: StepId) -> Result<Decision<LiveValue>, Failure> {
    let by = By::Person;
    if arguments.is_rejected {
        return Ok(Decision::Rejected { reason: arguments.reason.clone(), by });
    }
    let Some(file) = &arguments.edit else { return Ok(Decision::Approved { by }) };
    let edited = history.edited(step, inputs::object(file, "the arguments")?);
    let wrong = |failure: RunFailure| Failure::invalid(&file.display().to_string(), failure.message, failure.hint);
    Ok(Decision::Edited(edited.map_err(wrong)?))
}

/// The step that is meant, if the run waits with it; without a name the only one that it waits with.
fn asked_step(history: &History, name: Option<&str>) -> Result<StepId, Failure> {
    let record = history.record();
    let (ids, names) = (history.steps(), lumos_report::step_names(&record));
    let asked = history.asked();
    let waiting: Vec<String> =
        (0..ids.len()).filter(|at| asked.contains(&ids[*at])).map(|at| format!("`{}`", names[at])).collect();
    if waiting.is_empty() {
        let message = format!("run {} waits for nobody: it is {}", record.run_id, record.status.as_str());
        return Err(Failure::invalid(COMMAND_LINE, message, None));
    }
    let hint = Some(format!("it waits with {}", waiting.join(", ")));
    let Some(name) = name else {
        return match asked[..] {
            [step] => Ok(step),
            _ => Err(Failure::invalid(COMMAND_LINE, "the run waits with several steps: name one", hint)),
        };
    };
    let (_, step) = step_at(history, name)?;
    if asked.contains(&step) {
        return Ok(step);
    }
    Err(Failure::invalid(COMMAND_LINE, format!("nobody is asked about `{name}`"), hint))
}
