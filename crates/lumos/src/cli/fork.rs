//! `lumos fork`: a new run that shares the beginning of another's log.

use std::path::Path;

use lumos::Home;
use lumos::core::load::{Bundle, DeploymentSource};
use lumos::engine::{Fork, History};

use super::arguments;
use super::failure::Failure;
use super::session::Session;
use super::steps::step_at;
use super::{inputs, output, run};

pub fn run(arguments: &arguments::Fork, home: Home, seed: Option<u64>) -> Result<u8, Failure> {
    let driven = Session::with(home, arguments.printing.stream, |session| {
        let history = session.lumos.history(&arguments.id)?;
        warn_of_changes(&history);
        let bundle = bundle(&history, arguments.deployment.as_deref())?;
        let (_, at) = step_at(&history, &arguments.at)?;
        let given = inputs::others(&arguments.input, &history.record().inputs, &bundle)?;
        let fork = Fork { run_id: history.run_id().to_owned(), at, inputs: given, seed, trace_parent: run::parent() };
        let program = session.ready(&bundle)?;
        session.drive(session.lumos.fork(&program, &fork, &session.cancel))
    })?;
    run::told(driven, arguments.printing.of_result())
}

/// What a run was made by, with another deployment if one is named.
pub fn bundle(history: &History, deployment: Option<&Path>) -> Result<Bundle, Failure> {
    let definition = history.blueprint().definition.clone();
    let definition = match deployment {
        Some(named) => {
            let folder = definition.workflows.first().map(|workflow| workflow.folder.clone()).unwrap_or_default();
            definition.deployed(&DeploymentSource::load(named, &folder).map_err(Failure::Invalid)?)
        }
        None => definition,
    };
    definition.bundle().map_err(Failure::Invalid)
}

/// A fork follows what was recorded, which is not what the files say if they have changed.
fn warn_of_changes(history: &History) {
    let changes = lumos::changes(&history.blueprint().definition);
    if !changes.is_ok_and(|changes| changes.is_empty()) {
        let hint = "start a new run to follow the files";
        let message =
            format!("the files have changed since run {} began; the fork follows them as they were", history.run_id());
        output::log(&output::warning(&message, Some(hint)));
    }
}
