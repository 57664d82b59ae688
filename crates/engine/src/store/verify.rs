//! Looking for damage, as `fsck` does.

use lumos_core::program::Outline;
use lumos_core::record::Status;
use serde::Serialize;

use super::StoreError;
use super::log::Hash;
use super::reader::{Header, Reader};
use super::rows::nano;
use crate::history::History;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Number of runs.
    pub runs: u64,
    /// Number of events in their logs.
    pub events: u64,
    /// What is wrong; empty when all is well.
    pub flaws: Vec<Flaw>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// The run; `None` when it is about the whole file.
    pub run_id: Option<String>,
    /// What is wrong: a lowercase fragment.
    pub message: String,
}

pub(super) fn verify(reader: &mut Reader<'_>, id: Option<&str>) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let headers = if let Some(id) = id {
        vec![reader.find(id)?]
    } else {
        verified.flaws.extend(of_the_file(reader)?);
        reader.headers()?
    };
    for header in headers {
        verified.runs += 1;
        let flaw = |message: String| Flaw { run_id: Some(header.run_id.clone()), message };
        match of_a_run(reader, &header) {
            Ok((events, messages)) => {
                verified.events += events;
                verified.flaws.extend(messages.into_iter().map(flaw));
            }
            Err(StoreError::Damaged { reason, .. }) => verified.flaws.push(flaw(reason)),
            Err(error) => return Err(error),
        }
    }
    Ok(verified)
}

/// Damaged pages, and values that are not what their names say.
fn of_the_file(reader: &Reader<'_>) -> Result<Vec<Flaw>, StoreError> {
    let flaw = |message| Flaw { run_id: None, message };
    let mut flaws = Vec::new();
    let mut look = || -> rusqlite::Result<()> {
        let mut check = reader.connection.prepare("PRAGMA quick_check")?;
        let mut rows = check.query([])?;
        while let Some(row) = rows.next()? {
            let said: String = row.get(0)?;
            if said != "ok" {
                flaws.push(flaw(said));
            }
        }
        let mut blobs = reader.connection.prepare("SELECT hash, data FROM blobs")?;
        let mut rows = blobs.query([])?;
        while let Some(row) = rows.next()? {
            let hash = Hash(row.get(0)?);
            if Hash::of(row.get_ref(1)?.as_blob()?) != hash {
                flaws.push(flaw(format!("the value {} is not what was written", hash.hex())));
            }
        }
        Ok(())
    };
    look().map_err(|error| reader.fail(&error))?;
    Ok(flaws)
}

/// Number of its events, and what its log and the tables disagree about.
fn of_a_run(reader: &mut Reader<'_>, header: &Header) -> Result<(u64, Vec<String>), StoreError> {
    if header.definition.is_none() {
        reader.record(header)?;
        return Ok((0, Vec::new()));
    }
    let history = History::read(reader, header)?;
    let outline = history.outline();
    let has_ended = history.folded.state.outcome().is_some();
    let mut flaws = Vec::new();
    match header.status {
        Status::Running | Status::Interrupted if has_ended => {
            flaws.push("it has ended, and the table does not say so".to_owned());
        }
        Status::Running | Status::Interrupted => {}
        status if status == outline.status => flaws.extend(of_the_tables(reader, header, &outline)?),
        status => {
            flaws.push(format!(
                "it is `{}` by its log and `{}` in the table",
                outline.status.as_str(),
                status.as_str()
            ));
        }
    }
    Ok((history.folded.events, flaws))
}

fn of_the_tables(reader: &Reader<'_>, header: &Header, outline: &Outline<'_>) -> Result<Vec<String>, StoreError> {
    type Row = (Option<i64>, Option<i64>, Option<i64>, i64, i64);
    let query = "SELECT cost_nano, duration_us, attempts, (SELECT count(*) FROM steps WHERE run = runs.id),
                        (SELECT count(*) FROM attempts WHERE run = runs.id)
                 FROM runs WHERE id = ?1";
    let found: Row = reader
        .connection
        .prepare_cached(query)
        .and_then(|mut query| {
            query.query_row([header.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        })
        .map_err(|error| reader.fail(&error))?;
    let attempts: usize = outline.steps.iter().map(|step| step.attempts.len()).sum();
    let totals = &outline.totals;
    let expected: Row = (
        totals.cost_usd.map(nano),
        Some(totals.duration_us as i64),
        Some(totals.attempts as i64),
        outline.steps.len() as i64,
        attempts as i64,
    );
    let names = ["its cost", "its time", "its number of attempts", "the rows of `steps`", "the rows of `attempts`"];
    let same = [
        found.0 == expected.0,
        found.1 == expected.1,
        found.2 == expected.2,
        found.3 == expected.3,
        found.4 == expected.4,
    ];
    let differing = names.iter().zip(same).filter(|(_, same)| !same);
    Ok(differing.map(|(name, _)| format!("the log and the table disagree about {name}")).collect())
}
