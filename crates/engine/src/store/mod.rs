//! Records of runs in SQLite: written by one thread in grouped, durable commits, read by anybody.

mod owner;
mod reader;
mod writer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lumos_core::record::RunRecord;
use rusqlite::Connection;
use serde::Serialize;

use owner::Owner;
use writer::{Message, Row, Writer};

use crate::clock::Stamp;
use crate::database::{self, Layout, OpenError};

/// Version of the schema, kept in SQLite's `user_version`.
const VERSION: i32 = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS runs (
        run_id      TEXT PRIMARY KEY,
        workflow    TEXT NOT NULL,
        deployment  TEXT NOT NULL,
        status      TEXT NOT NULL,
        started_at  TEXT NOT NULL,
        duration_us INTEGER,
        cost_usd    TEXT,
        owner       TEXT,
        record      TEXT NOT NULL
    );
";

const LAYOUT: Layout = Layout {
    version: VERSION,
    schema: SCHEMA,
    // A record of a few steps fills a third of a page, so that few of them need pages of their own.
    page: Some(16_384),
    synchronous: "FULL",
};

/// Why the store could not be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened, read or written.
    #[error("the record store {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system says.
        reason: String,
    },
    /// The disk is full.
    #[error("the record store {}: the disk is full", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later lumos.
    #[error("the record store {} has schema {found}, but this lumos knows up to {VERSION}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i32,
    },
    /// A run that is not there.
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    /// A prefix that fits several runs.
    #[error("`{prefix}` fits several runs: {}", runs.join(", "))]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// Some of the runs that begin with it.
        runs: Vec<String>,
    },
}

impl StoreError {
    /// What the reader can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => {
                "make the folder writable, move the file away to begin a new one, or set LUMOS_HOME to another folder"
            }
            Self::Full { .. } => "free some space, or set LUMOS_HOME to a folder on another disk",
            Self::TooNew { .. } => "use the newer lumos that wrote it, or set LUMOS_HOME to another folder",
            Self::UnknownRun(_) => "`lumos runs list` shows the runs there are",
            Self::Ambiguous { .. } => "give more of the run's id",
        }
    }
}

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

/// The records of all runs of one `LUMOS_HOME`. Cheap to clone; clones share one writer.
#[derive(Clone)]
pub struct RecordStore {
    path: Arc<Path>,
    owner: Arc<Owner>,
    writer: Arc<Writer>,
}

impl RecordStore {
    /// Opens, or makes, the store of a home folder: the file `lumos.db` in it.
    ///
    /// # Errors
    /// When the folder or the file cannot be made or written, or was written by a later version.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        let path = home.join("lumos.db");
        std::fs::create_dir_all(home).map_err(|error| unusable(&path, &error))?;
        let owner = Owner::register(home).map_err(|error| unusable(&path, &error))?;
        let connection = connect(&path)?;
        let writer = Writer::start(connection, &path)?;
        Ok(Self { path: path.into(), owner: Arc::new(owner), writer: Arc::new(writer) })
    }

    /// Notes that a run has begun; does not wait for the disk. `record` is asked only if the run does not end at once.
    pub(crate) fn begin(&self, stamp: Stamp, record: impl FnOnce() -> RunRecord + Send + 'static) {
        let owner = self.owner.clone();
        let row = Box::new(move || Row::of(record(), Some(&owner.id)));
        self.writer.send(Message::Begun(stamp.id(), row));
    }

    /// Keeps the record of a run that has ended; returns once it is on disk.
    pub(crate) fn finish(
        &self,
        stamp: Stamp,
        record: RunRecord,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let (done, wait) = tokio::sync::oneshot::channel();
        self.writer.send(Message::Ended(stamp.id(), Row::of(record, None), done));
        async move {
            let reason = "its writer has ended".to_owned();
            wait.await.unwrap_or_else(|_| Err(StoreError::Unusable { path: self.path.to_path_buf(), reason }))
        }
    }

    /// The newest runs first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, limit: usize) -> Result<Vec<RunSummary>, StoreError> {
        reader::list(&self.path, limit)
    }

    /// The record of the run whose id is, or begins with, `id`.
    ///
    /// # Errors
    /// When there is no such run, or more than one, or the file cannot be read.
    pub fn load(&self, id: &str) -> Result<RunRecord, StoreError> {
        reader::load(&self.path, id)
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    database::open(path, &LAYOUT).map_err(|error| unopened(path, error))
}

/// The error about a file that could not be opened.
pub(crate) fn unopened(path: &Path, error: OpenError) -> StoreError {
    match error {
        OpenError::TooNew(found) => StoreError::TooNew { path: path.to_path_buf(), found },
        OpenError::Sqlite(error) => unusable(path, &error),
    }
}

pub(crate) fn unusable(path: &Path, error: &(dyn std::error::Error + 'static)) -> StoreError {
    let path = path.to_path_buf();
    if is_full(error) { StoreError::Full { path } } else { StoreError::Unusable { path, reason: error.to_string() } }
}

/// Whether the disk had no room: SQLite says so, except when the file that its readers share could not grow.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use rusqlite::{ErrorCode, ffi};

    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return error.kind() == std::io::ErrorKind::StorageFull;
    }
    let sqlite = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
    sqlite.is_some_and(|error| error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}
