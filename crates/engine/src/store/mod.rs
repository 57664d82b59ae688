//! Runs in SQLite: written by one connection in grouped commits, read by anybody.

mod error;
mod lease;
mod log;
mod prune;
mod reader;
mod rows;
mod schema;
mod statements;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lumos_core::Usd;
use lumos_core::record::{RunRecord, Status};
use rusqlite::Connection;
use serde::Serialize;

use writer::{Message, Writer};

pub use error::StoreError;
pub(crate) use error::{unopened, unusable};
pub(crate) use log::{Blob, Digest, Hash, Kept, write as write_event};
pub use prune::Pruned;
pub(crate) use reader::{Header, Reader, first_digest};
pub(crate) use rows::Rows;
pub use verify::{Flaw, Verified};
pub(crate) use writer::{Append, Begin, Done, Told};

use crate::database;
use crate::history::{Blueprint, History};
use crate::owner::Owner;

/// How long a process may be silent before another may take its runs over.
const LEASE: Duration = Duration::from_secs(15);

/// Most memory that the writer keeps pages in. Once it is full, pages are used again: to grow by one costs more than to
/// read one again.
const CACHE_KIB: i64 = 16_384;

/// Pages of SQLite's write-ahead log from which on they are carried over into the file: the more there are, the more of
/// them are of the same page and are carried over once.
const CHECKPOINT_PAGES: i64 = 4_000;

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// A ULID.
    pub run_id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The deployment's name.
    pub deployment: String,
    /// How it stands.
    pub status: String,
    /// Start in RFC 3339, UTC.
    pub started_at: String,
    /// Microseconds from start to end; `null` while it runs.
    pub duration_us: Option<u64>,
    /// Sum of the known costs.
    pub cost_usd: Option<String>,
}

/// Which runs are listed; what is `None` does not matter.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// How they stand.
    pub status: Option<Status>,
    /// The workflow's name.
    pub workflow: Option<String>,
    /// The deployment's name.
    pub deployment: Option<String>,
    /// First moment of their start, in RFC 3339, UTC.
    pub since: Option<String>,
    /// First moment after that.
    pub until: Option<String>,
    /// What their known cost exceeds.
    pub cost_above: Option<Usd>,
    /// Most runs, the newest first.
    pub limit: usize,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            status: None,
            workflow: None,
            deployment: None,
            since: None,
            until: None,
            cost_above: None,
            limit: usize::MAX,
        }
    }
}

/// The runs of one `LUMOS_HOME`. Cheap to clone; clones share one writer.
#[derive(Clone)]
pub struct RecordStore {
    path: Arc<Path>,
    lease: Duration,
    /// `None` when it is only read.
    pen: Option<Arc<Pen>>,
}

/// What it takes to write.
struct Pen {
    // Dropped before the lock that says that this process lives.
    writer: Writer,
    owner: Owner,
}

impl RecordStore {
    /// Opens, or makes, the store of a home folder: the file `lumos.db` in it.
    ///
    /// # Errors
    /// When the folder or the file cannot be made or written, or was written by a later version.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        Self::open_with(home, LEASE)
    }

    /// Like [`Self::open`]; a process that has been silent for `lease` may be taken for dead.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_with(home: &Path, lease: Duration) -> Result<Self, StoreError> {
        let path = home.join("lumos.db");
        std::fs::create_dir_all(home).map_err(|error| unusable(&path, &error))?;
        let owner = Owner::register(home).map_err(|error| unusable(&path, &error))?;
        let connection = connect(&path)?;
        // Room for the pages of a group of runs, so that each is written once; taken only as far as it is needed.
        for (pragma, value) in [("cache_size", -CACHE_KIB), ("wal_autocheckpoint", CHECKPOINT_PAGES)] {
            connection.pragma_update(None, pragma, value).map_err(|error| unusable(&path, &error))?;
        }
        let writer = Writer::start(connection, &path, owner.id.clone(), lease)?;
        Ok(Self { path: path.into(), lease, pen: Some(Arc::new(Pen { writer, owner })) })
    }

    /// The store of a home folder for reading only: nothing is written, not even where something could be.
    pub fn reader(home: &Path) -> Self {
        Self { path: home.join("lumos.db").into(), lease: LEASE, pen: None }
    }

    /// Runs of a kind, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, kind: &Kind) -> Result<Vec<RunSummary>, StoreError> {
        reader::list(&self.path, &open_to_read(&self.path)?, kind)
    }

    /// The record of the run whose id is, or begins with, `id`.
    ///
    /// # Errors
    /// When there is no such run, or more than one, or the file cannot be read.
    pub fn load(&self, id: &str) -> Result<RunRecord, StoreError> {
        self.read(|reader| {
            let header = reader.find(id)?;
            reader.record(&header)
        })
    }

    /// The run whose id is, or begins with, `id`, with what it was made by.
    ///
    /// # Errors
    /// As for [`Self::load`]; [`StoreError::NoLog`] when only its record was kept.
    pub fn history(&self, id: &str) -> Result<History, StoreError> {
        self.read(|reader| {
            let header = reader.find(id)?;
            History::read(reader, &header)
        })
    }

    /// The whole id of a run, and what it was made by; its log is not read.
    ///
    /// # Errors
    /// As for [`Self::history`].
    pub fn blueprint(&self, id: &str) -> Result<(String, Blueprint), StoreError> {
        self.read(|reader| {
            let header = reader.find(id)?;
            let blueprint = reader.blueprint(&header)?;
            Ok((header.run_id, blueprint))
        })
    }

    /// The run that goes on with a run under changed files.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn successor(&self, id: &str) -> Result<Option<String>, StoreError> {
        self.read(|reader| {
            let header = reader.find(id)?;
            reader.successor(&header)
        })
    }

    /// Reads in one transaction, so that all of it is of one moment.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut connection = open_to_read(&self.path)?;
        let transaction = connection.transaction().map_err(|error| unusable(&self.path, &error))?;
        read(&mut Reader::new(&transaction, &self.path))
    }

    /// Takes over a run that was interrupted or paused.
    ///
    /// # Errors
    /// When it has ended, another process carries it out, or only its record was kept.
    pub(crate) fn take(&self, id: &str) -> Result<Header, StoreError> {
        let mut connection = connect(&self.path)?;
        let lease_us = self.lease.as_micros() as u64;
        let pen = self.pen.as_ref().ok_or_else(|| self.gone())?;
        // This process may have left the run a moment ago.
        pen.writer.settle();
        let (header, key) = lease::take(&mut connection, &self.path, id, &pen.owner.id, lease_us)?;
        pen.writer.send(Message::Taken(header.ulid(), key));
        Ok(header)
    }

    pub(crate) fn append(&self, append: Box<Append>, done: Done) {
        self.send(Message::Append(append, done));
    }

    /// For who does nothing else until it is on disk.
    pub(crate) fn append_awaited(&self, append: Box<Append>, done: Done) {
        if let Some(pen) = &self.pen {
            pen.writer.write(append, done);
        }
    }

    pub(crate) fn abandon(&self, run: ulid::Ulid) {
        self.send(Message::Abandoned(run));
    }

    /// Without a writer the message is dropped, and whoever waits for an answer learns so.
    fn send(&self, message: Message) {
        if let Some(pen) = &self.pen {
            pen.writer.send(message);
        }
    }

    /// Removes runs that began before `before`, in RFC 3339, UTC, and have ended; those that failed are kept if asked
    /// for, and those whose log a run that stays shares. Values that no run refers to any more go too.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prune(&self, before: &str, keep_failed: bool, is_dry: bool) -> Result<Pruned, StoreError> {
        prune::prune(&mut connect(&self.path)?, &self.path, before, keep_failed, is_dry)
    }

    /// Looks for damage: in the file, in the logs, and between logs and tables. Of one run, or of everything.
    ///
    /// # Errors
    /// When the file cannot be read at all, or there is no such run.
    pub fn verify(&self, id: Option<&str>) -> Result<Verified, StoreError> {
        self.read(|reader| verify::verify(reader, id))
    }

    /// The error of a store that cannot write any more.
    pub(crate) fn gone(&self) -> StoreError {
        StoreError::Unusable { path: self.path.to_path_buf(), reason: "nothing can be written any more".to_owned() }
    }
}

fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    database::open_to_read(path, &schema::LAYOUT).map_err(|error| unopened(path, error))
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    database::open(path, &schema::LAYOUT).map_err(|error| unopened(path, error))
}
