//! The thread that writes: whatever waits is written in one transaction and acknowledged after its commit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use lumos_core::Clock;
use lumos_core::spec::Durability;
use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::oneshot;
use ulid::Ulid;

use super::log::{Blob, Digest, Hash};
use super::rows::{self, Rows, int};
use super::{StoreError, unusable};
use crate::clock::UnixClock;

/// Most messages of one transaction: bounds how long the first of them waits.
const GROUP: usize = 4096;

/// How long an expired lease is kept: a day.
const LONG_US: i64 = 86_400_000_000;

const INSERT_RUN: &str = "
    INSERT INTO runs (run_id, workflow, deployment, seed, status, started_at, owner, parent, parent_events, definition, inputs)
    VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?7, ?8, ?9, ?10)
";

/// Writes only for whoever has the run's latest epoch.
const APPEND: &str = "
    INSERT INTO log (run, seq, at_us, events, blobs, digest)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM runs WHERE id = ?1 AND epoch = ?7)
";

const LEASE: &str = "
    INSERT INTO processes (owner, expires_us) VALUES (?1, ?2)
    ON CONFLICT (owner) DO UPDATE SET expires_us = excluded.expires_us
";

/// Told when something is on disk, or why it is not.
pub(crate) type Done = oneshot::Sender<Result<(), StoreError>>;

/// Where a run is, and in whose hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Its row.
    pub(super) run: i64,
    /// How often it has been taken over.
    pub(super) epoch: i64,
}

/// What the writer is told about runs.
pub(super) enum Message {
    /// This process has taken over a run.
    Taken(Ulid, Key),
    /// More of a run.
    Append(Box<Append>),
    /// This process goes on with a run no longer, and it has not ended.
    Abandoned(Ulid),
}

/// A run that begins.
pub(crate) struct Begin {
    pub(crate) workflow: String,
    pub(crate) deployment: String,
    pub(crate) seed: u64,
    pub(crate) started_at: String,
    /// The run whose log it shares, and how many of its events.
    pub(crate) parent: Option<(i64, u64)>,
    pub(crate) definition: Hash,
    /// In the form of the log.
    pub(crate) inputs: String,
}

/// More of a run's log.
pub(crate) struct Append {
    pub(crate) run: Ulid,
    /// Says that the run begins.
    pub(crate) begin: Option<Box<Begin>>,
    pub(crate) blobs: Vec<Blob>,
    /// Number of the first of the events, from 0.
    pub(crate) seq: u64,
    /// A JSON array; empty when there is nothing new.
    pub(crate) events: String,
    pub(crate) digest: Digest,
    /// Says that the run has paused or ended.
    pub(crate) end: Option<Box<Rows>>,
    pub(crate) durability: Durability,
    pub(crate) done: Done,
}

pub(super) struct Writer {
    sender: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        path: &Path,
        owner: String,
        lease: Duration,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel();
        let state = State {
            connection,
            owner,
            lease_us: lease.as_micros() as u64,
            renew_at_us: 0,
            is_full: true,
            runs: BTreeMap::new(),
            lost: Vec::new(),
        };
        let file = path.to_path_buf();
        let thread = std::thread::Builder::new()
            .name("lumos-store".to_owned())
            .spawn(move || state.serve(&receiver, &file))
            .map_err(|error| unusable(path, &error))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    pub(super) fn send(&self, message: Message) {
        if let Some(sender) = &self.sender {
            // If the writer is gone, the message is dropped and whoever waits for it learns so.
            let _ = sender.send(message);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What one message came to, unless the whole group failed.
enum Written {
    Yes,
    /// Somebody else has taken the run over.
    Fenced,
    /// An earlier part of the run is missing.
    Broken,
}

struct State {
    connection: Connection,
    owner: String,
    lease_us: u64,
    /// When the lease is to be renewed; in microseconds since the Unix epoch, like its expiry.
    renew_at_us: u64,
    /// Whether the connection waits for the disk at each commit.
    is_full: bool,
    /// The runs that this process carries out.
    runs: BTreeMap<Ulid, Key>,
    /// Runs that it had to leave, which nobody could be told yet.
    lost: Vec<Key>,
}

impl State {
    fn serve(mut self, receiver: &mpsc::Receiver<Message>, file: &Path) {
        // Leases of processes that are long gone. If that fails, they do no harm.
        let now_us = int(UnixClock.now_us());
        let _ = self.connection.execute("DELETE FROM processes WHERE expires_us < ?1", [now_us - LONG_US]);
        while let Some(group) = self.next_group(receiver) {
            match self.write(&group) {
                Ok(written) => {
                    for (message, written) in group.into_iter().zip(written) {
                        let Message::Append(append) = message else { continue };
                        let result = match written {
                            Written::Yes => Ok(()),
                            Written::Fenced => Err(StoreError::Fenced(append.run.to_string())),
                            Written::Broken => Err(StoreError::Unusable {
                                path: file.to_path_buf(),
                                reason: "an earlier part of the run was not written".to_owned(),
                            }),
                        };
                        if result.is_err() || append.end.is_some() {
                            self.runs.remove(&append.run);
                        }
                        // Whoever no longer waits doesn't want to know.
                        let _ = append.done.send(result);
                    }
                }
                Err(error) => {
                    let error = unusable(file, &*error);
                    tracing::warn!(%error, "runs cannot be kept");
                    for message in group {
                        // A log with a hole could not be read: nothing more of the run is written, and others may have it.
                        self.lost.extend(self.runs.remove(&message.run()));
                        if let Message::Append(append) = message {
                            let _ = append.done.send(Err(error.clone()));
                        }
                    }
                }
            }
        }
        // What expires now expires when the process ends anyway.
        let _ = self.connection.execute("DELETE FROM processes WHERE owner = ?1", [&self.owner]);
    }

    /// Everything that waits; `None` when nothing will come any more. Keeps the lease alive meanwhile.
    fn next_group(&mut self, receiver: &mpsc::Receiver<Message>) -> Option<Vec<Message>> {
        let first = loop {
            if self.runs.is_empty() {
                break receiver.recv().ok()?;
            }
            match receiver.recv_timeout(Duration::from_micros(self.lease_us / 3)) {
                Ok(message) => break message,
                Err(RecvTimeoutError::Timeout) => {
                    let now_us = UnixClock.now_us();
                    if let Err(error) = renew(&self.connection, &self.owner, now_us + self.lease_us) {
                        tracing::warn!(%error, "the lease on this process's runs cannot be renewed");
                    }
                    self.renew_at_us = now_us + self.lease_us / 3;
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        };
        let mut group = vec![first];
        group.extend(receiver.try_iter().take(GROUP - 1));
        Some(group)
    }

    fn write(&mut self, group: &[Message]) -> Result<Vec<Written>, Box<dyn std::error::Error + Send + Sync>> {
        let is_full = group.iter().any(|message| match message {
            Message::Append(append) => append.durability == Durability::Full,
            _ => false,
        });
        if is_full != self.is_full {
            self.connection.pragma_update(None, "synchronous", if is_full { "FULL" } else { "NORMAL" })?;
            self.is_full = is_full;
        }
        let now_us = UnixClock.now_us();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut written = Vec::with_capacity(group.len());
        for message in group {
            written.push(match message {
                Message::Taken(run, key) => {
                    self.runs.insert(*run, *key);
                    Written::Yes
                }
                Message::Abandoned(run) => {
                    self.lost.extend(self.runs.remove(run));
                    Written::Yes
                }
                Message::Append(append) => self::append(&transaction, &mut self.runs, append, &self.owner, now_us)?,
            });
        }
        for key in &self.lost {
            let abandon = "UPDATE runs SET owner = NULL WHERE id = ?1 AND epoch = ?2";
            transaction.prepare_cached(abandon)?.execute(params![key.run, key.epoch])?;
        }
        if now_us >= self.renew_at_us {
            renew(&transaction, &self.owner, now_us + self.lease_us)?;
        }
        transaction.commit()?;
        self.lost.clear();
        if now_us >= self.renew_at_us {
            self.renew_at_us = now_us + self.lease_us / 3;
        }
        Ok(written)
    }
}

/// Says until when this process's runs are its own, unless it says so again.
pub(super) fn renew(connection: &Connection, owner: &str, expires_us: u64) -> rusqlite::Result<()> {
    connection.prepare_cached(LEASE)?.execute(params![owner, int(expires_us)])?;
    Ok(())
}

fn append(
    connection: &Connection,
    runs: &mut BTreeMap<Ulid, Key>,
    append: &Append,
    owner: &str,
    now_us: u64,
) -> rusqlite::Result<Written> {
    if let Some(begin) = &append.begin {
        connection.prepare_cached(INSERT_RUN)?.execute(params![
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
        ])?;
        runs.insert(append.run, Key { run: connection.last_insert_rowid(), epoch: 0 });
    }
    let Some(key) = runs.get(&append.run).copied() else { return Ok(Written::Broken) };
    if !append.events.is_empty() {
        let hashes: Vec<u8> = append.blobs.iter().flat_map(|blob| blob.hash.0).collect();
        let rows = connection.prepare_cached(APPEND)?.execute(params![
            key.run,
            int(append.seq),
            int(now_us),
            append.events,
            (!hashes.is_empty()).then_some(hashes),
            append.digest.0,
            key.epoch,
        ])?;
        if rows == 0 {
            return Ok(Written::Fenced);
        }
    }
    for blob in &append.blobs {
        let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO blobs (hash, data) VALUES (?1, ?2)")?;
        insert.execute(params![blob.hash.0, blob.data])?;
    }
    if let Some(end) = &append.end {
        let totals = &end.totals;
        let rows = connection.prepare_cached(rows::UPDATE_RUN)?.execute(params![
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
            int(totals.bytes_outside),
        ])?;
        if rows == 0 {
            return Ok(Written::Fenced);
        }
        end.write_steps(connection, key.run)?;
    }
    Ok(Written::Yes)
}

impl Message {
    fn run(&self) -> Ulid {
        match self {
            Self::Taken(run, _) | Self::Abandoned(run) => *run,
            Self::Append(append) => append.run,
        }
    }
}
