//! Looking for damage, as `fsck` does.

use lumos_core::TraceContext;
use lumos_core::record::Status;
use lumos_core::scheduler::Event;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::StoreError;
use super::log::{Hash, Kept};
use super::reader::{Header, Reader};
use super::rows::{Rows, int, nano};
use super::schema::MIGRATIONS;
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
    if let Some(id) = id {
        let header = reader.find(id)?;
        verified.look_at(reader, &header);
        return Ok(verified);
    }
    let of_the_file = |message| Flaw { run_id: None, message };
    let checks = [damaged_pages, schema, damaged_values, impossible, orphans];
    for check in checks {
        let mut messages = Vec::new();
        if let Err(error) = check(reader.connection, &mut messages) {
            messages.push(error.to_string());
        }
        verified.flaws.extend(messages.into_iter().map(of_the_file));
    }
    for id in rows(reader)? {
        match reader.header(id) {
            Ok(Some(header)) => verified.look_at(reader, &header),
            Ok(None) => {}
            Err(error) => {
                verified.runs += 1;
                verified.flaws.push(of_the_file(format!("row {id} of `runs` cannot be read: {}", reason(error))));
            }
        }
    }
    Ok(verified)
}

impl Verified {
    fn look_at(&mut self, reader: &mut Reader<'_>, header: &Header) {
        self.runs += 1;
        let flaw = |message: String| Flaw { run_id: Some(header.run_id.clone()), message };
        match of_a_run(reader, header) {
            Ok((events, messages)) => {
                self.events += events;
                self.flaws.extend(messages.into_iter().map(flaw));
            }
            Err(error) => self.flaws.push(flaw(reason(error))),
        }
    }
}

/// What is wrong, without the file's name.
fn reason(error: StoreError) -> String {
    match error {
        StoreError::Damaged { reason, .. } | StoreError::Unusable { reason, .. } => reason,
        other => other.to_string(),
    }
}

/// The rows of the runs, the oldest first.
fn rows(reader: &Reader<'_>) -> Result<Vec<i64>, StoreError> {
    let read = || -> rusqlite::Result<Vec<i64>> {
        reader.connection.prepare("SELECT id FROM runs ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(|error| reader.fail(&error))
}

/// Damaged pages.
fn damaged_pages(connection: &Connection, flaws: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut check = connection.prepare("PRAGMA quick_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            flaws.push(said);
        }
    }
    Ok(())
}

/// Tables, views and indexes that are not there, or not as this version of the file has them. Others may be there.
fn schema(connection: &Connection, flaws: &mut Vec<String>) -> rusqlite::Result<()> {
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let fresh = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(version as usize) {
        fresh.execute_batch(migration)?;
    }
    let mut query = connection.prepare("SELECT sql FROM sqlite_schema WHERE type = ?1 AND name = ?2")?;
    let mut expected =
        fresh.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")?;
    let mut rows = expected.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name, sql): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        match query.query_row([&kind, &name], |row| row.get::<_, String>(0)).optional()? {
            None => flaws.push(format!("the {kind} `{name}` is not there")),
            Some(found) if found != sql => flaws.push(format!("the {kind} `{name}` is not what it should be")),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Runs with values that no version of lumos writes.
fn impossible(connection: &Connection, flaws: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut query = connection.prepare(
        "SELECT id, trace_parent, typeof(epoch) <> 'integer' OR epoch < 0 OR typeof(form) <> 'integer' OR form NOT IN (1, 2)
                OR (parent IS NULL) <> (parent_events IS NULL) OR (definition IS NULL) = (record IS NULL)
         FROM runs ORDER BY id",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let read = || -> rusqlite::Result<bool> {
            let parent: Option<String> = row.get(1)?;
            Ok(row.get(2)? || parent.is_some_and(|parent| TraceContext::of_headers(&parent).is_none()))
        };
        if read().unwrap_or(true) {
            flaws.push(format!("row {id} of `runs` has values that it cannot have"));
        }
    }
    Ok(())
}

/// Values that are not what their names say.
fn damaged_values(connection: &Connection, flaws: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut blobs = connection.prepare("SELECT rowid, hash, data FROM blobs")?;
    let mut rows = blobs.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let read = || -> rusqlite::Result<(Hash, bool)> {
            let hash = Hash(row.get(1)?);
            Ok((hash, Hash::of(row.get_ref(2)?.as_blob()?) == hash))
        };
        match read() {
            Ok((_, true)) => {}
            Ok((hash, false)) => flaws.push(format!("the value {} is not what was written", hash.hex())),
            Err(error) => flaws.push(format!("row {id} of `blobs` cannot be read: {error}")),
        }
    }
    Ok(())
}

/// What belongs to runs that are not there.
fn orphans(connection: &Connection, flaws: &mut Vec<String>) -> rusqlite::Result<()> {
    for table in ["log", "endings"] {
        let query = format!("SELECT DISTINCT run FROM {table} WHERE run NOT IN (SELECT id FROM runs) ORDER BY run");
        let mut query = connection.prepare(&query)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let run: Value = row.get(0)?;
            let number = if let Value::Integer(number) = run { number.to_string() } else { format!("{run:?}") };
            flaws.push(format!("`{table}` has rows of a run that is not there, number {number}"));
        }
    }
    Ok(())
}

/// Number of its events, and what its log and the tables disagree about.
fn of_a_run(reader: &mut Reader<'_>, header: &Header) -> Result<(u64, Vec<String>), StoreError> {
    if header.definition.is_none() {
        reader.record(header)?;
        return Ok((0, Vec::new()));
    }
    let history = History::read(reader, header)?;
    references(reader, header)?;
    let by_its_log = history.folded.state.status();
    let has_ended = history.folded.state.outcome().is_some();
    let mut flaws = Vec::new();
    match header.status {
        Status::Running | Status::Interrupted if has_ended => {
            flaws.push("it has ended, and the table does not say so".to_owned());
        }
        Status::Running | Status::Interrupted => {}
        // What an earlier version counted otherwise cannot be compared.
        status if status == by_its_log && header.is_of_first_form() => {}
        status if status == by_its_log => flaws.extend(of_the_tables(reader, header, &history)?),
        status => {
            flaws.push(format!("it is `{}` by its log and `{}` in the table", by_its_log.as_str(), status.as_str()));
        }
    }
    Ok((history.folded.events, flaws))
}

/// Finds rows of the log that refer to other values than they list: what is not listed goes when runs are pruned.
fn references(reader: &Reader<'_>, header: &Header) -> Result<(), StoreError> {
    let fail = |error: rusqlite::Error| reader.fail(&error);
    let mut query = reader
        .connection
        .prepare_cached("SELECT seq, events, blobs FROM log WHERE run = ?1 ORDER BY seq")
        .map_err(fail)?;
    let mut rows = query.query([header.id]).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let read =
            || -> rusqlite::Result<(i64, String, Option<Vec<u8>>)> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
        let (seq, events, listed) = read().map_err(|error| reader.damaged(header, error.to_string()))?;
        let events: Vec<Event<Kept>> =
            serde_json::from_str(&events).map_err(|error| reader.damaged(header, format!("event {seq}: {error}")))?;
        let listed: Vec<&[u8]> = listed.as_deref().unwrap_or_default().chunks(32).collect();
        for event in events {
            event.map(|kept| match kept {
                Kept::Blob(hash) if !listed.contains(&&hash.0[..]) => {
                    let reason = format!("the row of event {seq} does not list the value {}", hash.hex());
                    Err(reader.damaged(header, reason))
                }
                _ => Ok(()),
            })?;
        }
    }
    Ok(())
}

fn of_the_tables(reader: &Reader<'_>, header: &Header, history: &History) -> Result<Vec<String>, StoreError> {
    let Rows { totals, steps, .. } = Rows::of(&history.outline());
    let counts = |tokens: Option<u64>| tokens.map(int).into();
    let expected: [(&str, &str, Value); 12] = [
        ("workflow", "its workflow", history.folded.program.name().to_owned().into()),
        ("deployment", "its deployment", history.blueprint.deployment.clone().into()),
        ("duration_us", "its time", int(totals.duration_us).into()),
        ("critical_path_us", "its critical path", int(totals.critical_path_us).into()),
        ("cost_nano", "its cost", totals.cost_usd.map(nano).into()),
        ("cost_complete", "whether its cost is known", totals.cost_complete.into()),
        ("input_tokens", "its input tokens", counts(totals.input_tokens)),
        ("cached_input_tokens", "its cached tokens", counts(totals.cached_input_tokens)),
        ("output_tokens", "its output tokens", counts(totals.output_tokens)),
        ("attempts", "its number of attempts", int(totals.attempts).into()),
        ("bytes_outside", "the bytes that it sent outside", counts(totals.bytes_outside)),
        ("(SELECT steps FROM endings WHERE run = runs.id)", "the rows of `steps` and `attempts`", steps.into()),
    ];
    let columns: Vec<&str> = expected.iter().map(|(column, ..)| *column).collect();
    let query = format!("SELECT {} FROM runs WHERE id = ?1", columns.join(", "));
    let found: Vec<Value> = reader
        .connection
        .prepare_cached(&query)
        .and_then(|mut query| query.query_row([header.id], |row| (0..columns.len()).map(|at| row.get(at)).collect()))
        .map_err(|error| reader.fail(&error))?;
    let differing = expected.iter().zip(&found).filter(|((.., expected), found)| expected != *found);
    Ok(differing.map(|((_, name, _), _)| format!("the log and the table disagree about {name}")).collect())
}
