//! Why the store could not do what it was asked.

use std::path::{Path, PathBuf};

use lumos_core::record::Status;

use super::schema::VERSION;
use crate::database::OpenError;

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
    /// What is kept of a run is not what was written.
    #[error("the record store {}: run {run_id} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The run.
        run_id: String,
        /// What is wrong.
        reason: String,
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
    /// Another process carries out the run.
    #[error("another process carries out run {0}")]
    Held(String),
    /// Another process has taken the run over; this one can write no more of it.
    #[error("another process has taken over run {0}")]
    Fenced(String),
    /// The run has ended, so there is nothing to go on with.
    #[error("run {run_id} has ended: {}", status.as_str())]
    Ended {
        /// The run.
        run_id: String,
        /// How it ended.
        status: Status,
    },
    /// Another run goes on with it, under changed files.
    #[error("run {by} goes on with run {run_id}")]
    Replaced {
        /// The run.
        run_id: String,
        /// The other run.
        by: String,
    },
    /// Only the record of the run was kept.
    #[error("run {0} has no log: only its record was kept")]
    NoLog(String),
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
            Self::Damaged { .. } => "`lumos runs verify` shows what is damaged; restore the file from a copy",
            Self::UnknownRun(_) => "`lumos runs list` shows the runs there are",
            Self::Ambiguous { .. } => "give more of the run's id",
            Self::Held(_) => "wait until it ends, or end that process",
            Self::Fenced(_) => "`lumos runs show` shows what becomes of it there",
            Self::Ended { .. } => "`lumos fork` starts a new run from one of its steps",
            Self::Replaced { .. } => "go on with that one",
            Self::NoLog(_) => "runs keep a log unless their deployment says otherwise",
        }
    }
}

/// The error about a file that could not be opened.
pub(crate) fn unopened(path: &Path, error: OpenError) -> StoreError {
    match error {
        OpenError::TooNew(found) => StoreError::TooNew { path: path.to_path_buf(), found },
        OpenError::Foreign(error) => unusable(path, &error),
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
