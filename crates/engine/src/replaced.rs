//! Runs that other runs go on with under changed files: what is known from them, and how they end.

use lumos_core::load::Bundle;
use lumos_core::program::Program;
use lumos_core::record::Status;
use lumos_core::scheduler::{Event, EventKind};
use lumos_core::spec::Durability;

use crate::binding::BoundProgram;
use crate::history::{Folded, History};
use crate::journal::Journal;
use crate::recall::Recall;
use crate::store::{Header, Reader, RecordStore, Rows, StoreError};

/// What is known from the runs, if any, that a run goes on with under changed files; they are ended, if whoever began
/// this could not any more.
pub(crate) async fn taken_over(
    store: &RecordStore,
    bound: &BoundProgram,
    header: &Header,
) -> Result<Option<Recall>, StoreError> {
    let Some((parent, 0)) = header.parent else { return Ok(None) };
    let found = store.read(|reader| {
        let Some(old) = reader.header(parent)? else { return Ok(None) };
        let bundle = reader.bundle(header, bound.definition())?;
        known(reader, old, (&bundle, bound.program())).map(Some)
    })?;
    let Some((recall, replaced)) = found else { return Ok(None) };
    end(store, replaced).await?;
    Ok(Some(recall))
}

/// A run that another one goes on with under changed files is not gone on with any more.
pub(crate) fn refuse(store: &RecordStore, header: &Header) -> Result<(), StoreError> {
    match store.successor(&header.run_id)? {
        Some(by) => Err(StoreError::Replaced { run_id: header.run_id.clone(), by }),
        None => Ok(()),
    }
}

/// What is known from a run and those that it goes on with under changed files, and these runs, the newest first; `now` is
/// how the workflow is defined now.
pub(crate) fn known(
    reader: &mut Reader<'_>,
    first: Header,
    now: (&Bundle, &Program),
) -> Result<(Recall, Vec<(Header, History)>), StoreError> {
    let history = History::read(reader, &first)?;
    let mut recall = Recall::read(reader, &first, &history, now, &|_| true)?;
    let mut runs = vec![(first, history)];
    while let Some((parent, 0)) = runs.last().and_then(|(header, _)| header.parent)
        && let Some(earlier) = reader.header(parent)?
    {
        let history = History::read(reader, &earlier)?;
        recall = recall.or(Recall::read(reader, &earlier, &history, now, &|_| true)?);
        runs.push((earlier, history));
    }
    Ok((recall, runs))
}

/// Ends runs that another one goes on with, unless they have ended or another process ends them.
pub(crate) async fn end(store: &RecordStore, replaced: Vec<(Header, History)>) -> Result<(), StoreError> {
    for (old, history) in replaced {
        if matches!(old.status, Status::Paused | Status::Interrupted)
            && let Ok(old) = store.take(&old.run_id)
        {
            cancel(store, &old, history).await?;
        }
    }
    Ok(())
}

/// Ends a run that this process has taken over.
pub(crate) async fn cancel(store: &RecordStore, header: &Header, mut history: History) -> Result<(), StoreError> {
    let Folded { program, state, digest, events, .. } = &mut history.folded;
    let mut journal = Journal::resume(store.clone(), header.ulid(), (*digest, *events), Durability::Full);
    let event = Event { at_us: state.now_us(), kind: EventKind::Cancelled };
    journal.append(event.clone());
    state.handle(program, event, &mut Vec::new());
    journal.end(Rows::of(&history.outline())).await
}
