//! `lumos runs`: earlier runs, for people and for other programs.

pub mod arguments;
mod export;
mod list;
mod moment;
mod prune;
mod show;
mod verify;

use lumos::Home;
use lumos::core::RunRecord;
use lumos::engine::{Kind, RecordStore, RunSummary, StoreError};

use arguments::{Filters, Runs, RunsCommand};

use super::failure::Failure;
use super::output;

pub use moment::Moment;

pub fn run(arguments: &Runs, home: &Home) -> Result<u8, Failure> {
    match &arguments.command {
        Some(RunsCommand::Show(show)) => show::run(show, home),
        Some(RunsCommand::Verify(verify)) => verify::run(verify, home),
        Some(RunsCommand::Prune(prune)) => prune::run(prune, home),
        Some(RunsCommand::Export(arguments)) => export::run(arguments, home),
        _ => list::run(arguments.list(), home),
    }
}

/// The store for reading, unless nothing was ever kept: looking must not make one, nor need room or the right to write.
fn store(home: &Home) -> Option<RecordStore> {
    let file = home.folder().join("lumos.db");
    let found = std::fs::metadata(&file).ok()?;
    if found.len() == 0 {
        // SQLite takes it for a new one.
        let message = format!("{} is empty: if runs were kept there, they are lost", file.display());
        output::log(&output::warning(&message, Some("restore the file from a copy")));
    }
    Some(RecordStore::reader(home.folder()))
}

/// The record of one run.
fn load(id: &str, home: &Home) -> Result<RunRecord, Failure> {
    let store = store(home).ok_or_else(|| Failure::from(StoreError::UnknownRun(id.to_owned())))?;
    Ok(store.load(id)?)
}

/// The runs of a kind, the newest first.
pub fn matching(home: &Home, kind: &Kind) -> Result<Vec<RunSummary>, Failure> {
    store(home).map_or_else(|| Ok(Vec::new()), |store| Ok(store.list(kind)?))
}

fn kind(filters: &Filters) -> Kind {
    Kind {
        status: filters.status,
        workflow: filters.workflow.clone(),
        deployment: filters.deployment.clone(),
        since: filters.since.map(Moment::rfc3339),
        until: filters.until.map(Moment::rfc3339),
        cost_above: filters.cost_above,
        limit: filters.limit.unwrap_or(usize::MAX),
    }
}
