//! The statements that write runs, and the transactions that they are part of.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, params};
use ulid::Ulid;

use super::rows::{self, int};
use super::writer::{Append, Key};

const INSERT_RUN: &str = "
    INSERT INTO runs (run_id, workflow, deployment, seed, status, started_at, owner, parent, parent_events, definition,
                      inputs, trace_parent, form)
    VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?7, ?8, ?9, ?10, ?11, 2)
";

/// Inserts one row by `VALUES`: SQLite keeps copies of the pages that any other form changes, in case it fails halfway.
const APPEND: &str = "INSERT INTO log (run, seq, at_us, events, blobs, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Whether a run is still in the hands that have this epoch.
const IS_HELD: &str = "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1 AND epoch = ?2)";

const INSERT_BLOB: &str = "INSERT OR IGNORE INTO blobs (hash, data) VALUES (?1, ?2)";

const LEASE: &str = "
    INSERT INTO processes (owner, expires_us) VALUES (?1, ?2)
    ON CONFLICT (owner) DO UPDATE SET expires_us = excluded.expires_us
";

/// A run that this process carries out.
pub(super) struct Held {
    pub(super) key: Key,
    /// The file's version at which the epoch was last found to be the latest.
    pub(super) seen: Option<i64>,
}

/// What one message came to, unless the whole group failed.
pub(super) enum Written {
    Yes,
    /// Somebody else has taken the run over.
    Fenced,
    /// An earlier part of the run is missing.
    Broken,
}

/// One that is rolled back unless it is committed. Unlike SQLite's own words for it, its statements are prepared once.
pub(super) struct Transaction<'c>(&'c Connection);

impl<'c> Transaction<'c> {
    /// Of somebody who is going to write.
    pub(super) fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(connection))
    }

    /// A number that differs from an earlier one when another connection has changed anything in between.
    pub(super) fn version(&self) -> rusqlite::Result<i64> {
        self.0.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some errors roll back by themselves.
        if !self.0.is_autocommit() {
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

/// Says until when this process's runs are its own, unless it says so again.
pub(super) fn renew(connection: &Connection, owner: &str, expires_us: u64) -> rusqlite::Result<()> {
    connection.prepare_cached(LEASE)?.execute(params![owner, int(expires_us)])?;
    Ok(())
}

/// The statements that write runs, each looked up at most once for a group.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    insert_run: Option<CachedStatement<'c>>,
    is_held: Option<CachedStatement<'c>>,
    append: Option<CachedStatement<'c>>,
    insert_blob: Option<CachedStatement<'c>>,
    update_run: Option<CachedStatement<'c>>,
    ending: Option<CachedStatement<'c>>,
}

impl<'c> Statements<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            insert_run: None,
            is_held: None,
            append: None,
            insert_blob: None,
            update_run: None,
            ending: None,
        }
    }

    pub(super) fn append(
        &mut self,
        runs: &mut HashMap<Ulid, Held>,
        append: &Append,
        (owner, version): (&str, i64),
    ) -> rusqlite::Result<Written> {
        let connection = self.connection;
        if let Some(begin) = &append.begin {
            prepared(&mut self.insert_run, connection, INSERT_RUN)?.execute(params![
                append.run.to_string(),
                begin.workflow,
                begin.deployment,
                begin.seed as i64,
                begin.started_at,
                owner,
                begin.parent.map(|(run, _)| run),
                begin.parent.map(|(_, events)| int(events)),
                begin.definition.0,
                begin.inputs,
                begin.trace_parent,
            ])?;
            let key = Key { run: connection.last_insert_rowid(), epoch: 0 };
            runs.insert(append.run, Held { key, seen: Some(version) });
        }
        let Some(Held { key, seen }) = runs.get_mut(&append.run) else { return Ok(Written::Broken) };
        if *seen != Some(version) {
            let is_held = prepared(&mut self.is_held, connection, IS_HELD)?;
            if !is_held.query_row(params![key.run, key.epoch], |row| row.get(0))? {
                return Ok(Written::Fenced);
            }
            *seen = Some(version);
        }
        if !append.events.is_empty() {
            let hashes: Vec<u8> = append.blobs.iter().flat_map(|blob| blob.hash.0).collect();
            prepared(&mut self.append, connection, APPEND)?.execute(params![
                key.run,
                int(append.seq),
                int(append.at_us),
                append.events,
                (!hashes.is_empty()).then_some(hashes),
                append.digest.bytes,
            ])?;
        }
        for blob in &append.blobs {
            let insert = prepared(&mut self.insert_blob, connection, INSERT_BLOB)?;
            insert.execute(params![blob.hash.0, blob.data.as_slice()])?;
        }
        if let Some(end) = &append.end {
            let totals = &end.totals;
            prepared(&mut self.update_run, connection, rows::UPDATE_RUN)?.execute(params![
                key.run,
                key.epoch,
                end.status,
                int(totals.duration_us),
                int(totals.critical_path_us),
                totals.cost_usd.map(rows::nano),
                totals.cost_complete,
                totals.input_tokens.map(int),
                totals.cached_input_tokens.map(int),
                totals.output_tokens.map(int),
                int(totals.attempts),
                totals.bytes_outside.map(int),
            ])?;
            prepared(&mut self.ending, connection, rows::WRITE_ENDING)?.execute(params![key.run, end.steps])?;
        }
        Ok(Written::Yes)
    }
}

fn prepared<'s, 'c>(
    slot: &'s mut Option<CachedStatement<'c>>,
    connection: &'c Connection,
    sql: &str,
) -> rusqlite::Result<&'s mut CachedStatement<'c>> {
    match slot {
        Some(statement) => Ok(statement),
        none => Ok(none.insert(connection.prepare_cached(sql)?)),
    }
}
