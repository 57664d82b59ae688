//! Writing: whatever waits is written in one transaction, by a thread of its own, and acknowledged after its commit. A run
//! that is alone is written where it is carried out, because waking a thread and being woken by it takes as long as a
//! disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lumos_core::Clock;
use lumos_core::spec::Durability;
use rusqlite::{Connection, params};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use ulid::Ulid;

use super::log::{Blob, Digest, Hash};
use super::rows::{Rows, int};
use super::statements::{Held, Statements, Transaction, Written, renew};
use super::{StoreError, unusable};
use crate::clock::UnixClock;

/// Most messages of one transaction: bounds how long the first of them waits.
const GROUP: usize = 4096;

/// How long an expired lease is kept: a day.
const LONG_US: i64 = 86_400_000_000;

/// What became of something that was to be written, and its memory.
type Outcome = (Result<(), StoreError>, Box<Append>);

/// Told when something is on disk, or why it is not. What was written goes back to who sent it: memory that one thread
/// takes and another gives back costs both of them more than the row.
pub(crate) type Done = oneshot::Sender<Outcome>;

/// Hears what [`Done`] is told.
pub(crate) type Told = oneshot::Receiver<Outcome>;

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
    Append(Box<Append>, Done),
    /// This process goes on with a run no longer, and it has not ended.
    Abandoned(Ulid),
    /// Somebody waits until what was sent before has been written, which is when this is dropped.
    Awaited(#[allow(dead_code, reason = "tells by its end")] mpsc::Sender<()>),
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
    /// `traceparent` and, after a line end, `tracestate` of the caller's span.
    pub(crate) trace_parent: Option<String>,
}

/// More of a run's log.
pub(crate) struct Append {
    pub(crate) run: Ulid,
    /// Says that the run begins.
    pub(crate) begin: Option<Box<Begin>>,
    pub(crate) blobs: Vec<Blob>,
    /// Number of the first of the events, from 0.
    pub(crate) seq: u64,
    /// When it was handed over, in microseconds since the Unix epoch.
    pub(crate) at_us: u64,
    /// A JSON array; empty when there is nothing new.
    pub(crate) events: String,
    pub(crate) digest: Digest,
    /// Says that the run has paused or ended.
    pub(crate) end: Option<Box<Rows>>,
    pub(crate) durability: Durability,
}

pub(super) struct Writer {
    sender: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
    desk: Arc<Desk>,
}

/// What the thread that writes shares with those who write without it.
struct Desk {
    /// Messages that were sent and have not been written.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        // A transaction that a panic ends is rolled back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            file: path.to_path_buf(),
            owner,
            lease_us: lease.as_micros() as u64,
            renew_at_us: 0,
            is_full: true,
            runs: HashMap::new(),
            lost: Vec::new(),
        };
        let desk = Arc::new(Desk { waiting: AtomicUsize::new(0), state: Mutex::new(state) });
        let shared = desk.clone();
        let thread = std::thread::Builder::new()
            .name("lumos-store".to_owned())
            .spawn(move || serve(&shared, &receiver, lease / 3))
            .map_err(|error| unusable(path, &error))?;
        Ok(Self { sender: Some(sender), thread: Some(thread), desk })
    }

    pub(super) fn send(&self, message: Message) {
        if let Some(sender) = &self.sender {
            self.desk.waiting.fetch_add(1, Ordering::Relaxed);
            // If the writer is gone, the message is dropped and whoever waits for it learns so.
            let _ = sender.send(message);
        }
    }

    /// Waits until everything that was sent has been written, or could not be.
    pub(super) fn settle(&self) {
        if self.desk.waiting.load(Ordering::Relaxed) > 0 {
            let (sender, receiver) = mpsc::channel();
            self.send(Message::Awaited(sender));
            let _ = receiver.recv();
        }
    }

    /// Like [`Self::send`], for a message that is waited for: it is on disk on return if no other run is in this
    /// process's hands.
    pub(super) fn write(&self, append: Box<Append>, done: Done) {
        if let Some(mut state) = self.alone(&append) {
            tokio::task::block_in_place(|| state.take(vec![Message::Append(append, done)]));
        } else {
            self.send(Message::Append(append, done));
        }
    }

    /// The right to write more of a run here, where the disk may be waited for and nobody else is kept waiting by that.
    fn alone(&self, append: &Append) -> Option<MutexGuard<'_, State>> {
        let may_block = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        // What was sent of this run before is written first. Others' messages come in any order.
        if !may_block || self.desk.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let state = self.desk.state.try_lock().ok()?;
        let others = state.runs.len() - usize::from(state.runs.contains_key(&append.run));
        (others == 0).then_some(state)
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

struct State {
    connection: Connection,
    file: PathBuf,
    owner: String,
    lease_us: u64,
    /// When the lease is to be renewed; in microseconds since the Unix epoch, like its expiry.
    renew_at_us: u64,
    /// Whether the connection waits for the disk at each commit.
    is_full: bool,
    /// The runs that this process carries out. There may be many, and nobody sees their order.
    runs: HashMap<Ulid, Held>,
    /// Runs that it had to leave, which nobody could be told yet.
    lost: Vec<Key>,
}

/// Writes what is sent until nothing will come any more, and keeps the lease alive meanwhile.
fn serve(desk: &Desk, receiver: &mpsc::Receiver<Message>, pause: Duration) {
    desk.state().forget_the_dead();
    loop {
        let first = match receiver.recv_timeout(pause) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                desk.state().keep_alive();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut state = desk.state();
        let mut group = vec![first];
        group.extend(receiver.try_iter().take(GROUP - 1));
        // Neighbours in the tables, one after the other.
        group.sort_by_key(Message::run);
        let written = group.len();
        state.take(group);
        desk.waiting.fetch_sub(written, Ordering::Relaxed);
    }
    desk.state().leave();
}

impl State {
    /// Removes the leases of processes that are long gone. If that fails, they do no harm.
    fn forget_the_dead(&self) {
        let now_us = int(UnixClock.now_us());
        let _ = self.connection.execute("DELETE FROM processes WHERE expires_us < ?1", [now_us - LONG_US]);
    }

    /// What expires now expires when the process ends anyway.
    fn leave(&self) {
        let _ = self.connection.execute("DELETE FROM processes WHERE owner = ?1", [&self.owner]);
    }

    /// Renews the lease if there is anything that it is needed for.
    fn keep_alive(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let now_us = UnixClock.now_us();
        if let Err(error) = renew(&self.connection, &self.owner, now_us + self.lease_us) {
            tracing::warn!(%error, "the lease on this process's runs cannot be renewed");
        }
        self.renew_at_us = now_us + self.lease_us / 3;
    }

    /// Writes a group and tells those who wait for it.
    fn take(&mut self, group: Vec<Message>) {
        match self.write(&group) {
            Ok(written) => {
                for (message, written) in group.into_iter().zip(written) {
                    let Message::Append(append, done) = message else { continue };
                    let result = match written {
                        Written::Yes => Ok(()),
                        Written::Fenced => Err(StoreError::Fenced(append.run.to_string())),
                        Written::Broken => Err(StoreError::Unusable {
                            path: self.file.clone(),
                            reason: "an earlier part of the run was not written".to_owned(),
                        }),
                    };
                    if result.is_err() || append.end.is_some() {
                        self.runs.remove(&append.run);
                    }
                    // Whoever no longer waits doesn't want to know.
                    let _ = done.send((result, append));
                }
            }
            Err(error) => {
                let error = unusable(&self.file, &*error);
                tracing::warn!(%error, "runs cannot be kept");
                for message in group {
                    // A log with a hole could not be read: nothing more of the run is written, and others may have it.
                    let lost = message.run().and_then(|run| self.runs.remove(&run));
                    self.lost.extend(lost.map(|held| held.key));
                    if let Message::Append(append, done) = message {
                        let _ = done.send((Err(error.clone()), append));
                    }
                }
            }
        }
    }

    fn write(&mut self, group: &[Message]) -> Result<Vec<Written>, Box<dyn std::error::Error + Send + Sync>> {
        let is_full = group.iter().any(|message| match message {
            Message::Append(append, _) => append.durability == Durability::Full,
            _ => false,
        });
        if is_full != self.is_full {
            self.connection.pragma_update(None, "synchronous", if is_full { "FULL" } else { "NORMAL" })?;
            self.is_full = is_full;
        }
        let now_us = UnixClock.now_us();
        let transaction = Transaction::begin(&self.connection)?;
        let version = transaction.version()?;
        let mut statements = Statements::new(&self.connection);
        let mut written = Vec::with_capacity(group.len());
        for message in group {
            written.push(match message {
                Message::Taken(run, key) => {
                    self.runs.insert(*run, Held { key: *key, seen: None });
                    Written::Yes
                }
                Message::Abandoned(run) => {
                    self.lost.extend(self.runs.remove(run).map(|held| held.key));
                    Written::Yes
                }
                Message::Awaited(_) => Written::Yes,
                Message::Append(append, _) => statements.append(&mut self.runs, append, (&self.owner, version))?,
            });
        }
        for key in &self.lost {
            let abandon = "UPDATE runs SET owner = NULL WHERE id = ?1 AND epoch = ?2";
            self.connection.prepare_cached(abandon)?.execute(params![key.run, key.epoch])?;
        }
        if now_us >= self.renew_at_us {
            renew(&self.connection, &self.owner, now_us + self.lease_us)?;
        }
        transaction.commit()?;
        self.lost.clear();
        if now_us >= self.renew_at_us {
            self.renew_at_us = now_us + self.lease_us / 3;
        }
        Ok(written)
    }
}

impl Message {
    /// The run that it is about.
    fn run(&self) -> Option<Ulid> {
        match self {
            Self::Taken(run, _) | Self::Abandoned(run) => Some(*run),
            Self::Append(append, _) => Some(append.run),
            Self::Awaited(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connect;

    const LEASE: Duration = Duration::from_secs(15);

    fn begins(run: Ulid) -> (Box<Append>, (Done, Told)) {
        let begin = Begin {
            workflow: "w".to_owned(),
            deployment: "d".to_owned(),
            seed: 0,
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            parent: None,
            definition: Hash::of(b"w"),
            inputs: "{}".to_owned(),
            trace_parent: None,
        };
        let append = Append {
            run,
            begin: Some(Box::new(begin)),
            blobs: Vec::new(),
            seq: 0,
            at_us: 0,
            events: "[]".to_owned(),
            digest: Digest::first(&[], true),
            end: None,
            durability: Durability::Full,
        };
        (Box::new(append), oneshot::channel())
    }

    fn writer(home: &Path) -> Writer {
        let path = home.join("lumos.db");
        Writer::start(connect(&path).unwrap(), &path, "me".to_owned(), LEASE).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_run_that_is_alone_is_on_disk_without_waiting_for_the_thread() {
        let home = tempfile::tempdir().unwrap();
        let writer = writer(home.path());
        let state = writer.desk.state();
        // Whoever holds the connection is not waited for.
        let (append, (done, mut told)) = begins(Ulid(1));
        writer.write(append, done);
        assert!(told.try_recv().is_err());
        drop(state);
        told.await.unwrap().0.unwrap();
        writer.send(Message::Abandoned(Ulid(1)));
        // What was sent before comes first.
        while writer.desk.waiting.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        drop(writer.desk.state());
        let (append, (done, mut told)) = begins(Ulid(2));
        writer.write(append, done);
        told.try_recv().unwrap().0.unwrap();
        let (append, (done, told)) = begins(Ulid(3));
        assert!(writer.alone(&append).is_none());
        writer.write(append, done);
        told.await.unwrap().0.unwrap();
    }

    #[tokio::test]
    async fn where_nothing_else_could_go_on_the_disk_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let writer = writer(home.path());
        let (append, (done, told)) = begins(Ulid(1));
        assert!(writer.alone(&append).is_none());
        writer.write(append, done);
        told.await.unwrap().0.unwrap();
    }
}
