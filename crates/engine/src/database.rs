//! Opening the files of a home: SQLite in WAL mode, of a version that this lumos knows, by several processes at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// How long another process is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause before the next try where SQLite does not wait by itself.
const PAUSE: Duration = Duration::from_micros(100);

/// What a file is made of.
pub(crate) struct Layout {
    /// Each takes a file from the version of its position, as SQLite's `user_version` has it, to the next; a new file
    /// goes through all of them.
    pub(crate) migrations: &'static [&'static str],
    /// Bytes of a page, where SQLite's own size does not fit.
    pub(crate) page: Option<u32>,
    /// SQLite's word for how much of what is written survives a power failure.
    pub(crate) synchronous: &'static str,
}

/// Why a file could not be opened.
pub(crate) enum OpenError {
    /// It has this version, which a later lumos wrote.
    TooNew(i32),
    Foreign(Foreign),
    Sqlite(rusqlite::Error),
}

/// The file has tables, and no version of lumos's.
#[derive(Debug, thiserror::Error)]
#[error("file is another program's database")]
pub(crate) struct Foreign;

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Opens, or makes, a file.
pub(crate) fn open(path: &Path, layout: &Layout) -> Result<Connection, OpenError> {
    let mut pauses = (PATIENCE.as_micros() / PAUSE.as_micros()) as u32;
    loop {
        match try_open(path, layout) {
            // Going over to WAL does not wait for another process that does the same.
            Err(OpenError::Sqlite(rusqlite::Error::SqliteFailure(error, _)))
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) && pauses > 0 =>
            {
                pauses -= 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn try_open(path: &Path, layout: &Layout) -> Result<Connection, OpenError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // In one statement, because another process may be making the tables.
    let state = "SELECT (SELECT user_version FROM pragma_user_version), EXISTS (SELECT 1 FROM sqlite_schema)";
    let (found, has_tables): (i32, bool) = connection.query_row(state, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let version = layout.migrations.len() as i32;
    if found > version {
        return Err(OpenError::TooNew(found));
    }
    if found < 0 || (found == 0 && has_tables) {
        return Err(OpenError::Foreign(Foreign));
    }
    if let Some(page) = layout.page {
        // Means something only before the file's first page is written.
        connection.pragma_update(None, "page_size", page)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", layout.synchronous)?;
    if found < version {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have done it meanwhile.
        let found: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for migration in layout.migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(connection)
}

/// Opens a file without writing to it, so that it can be read where nothing can be written: on a full disk, on a mount
/// that is read-only. A file of an earlier version is brought up to date first.
pub(crate) fn open_to_read(path: &Path, layout: &Layout) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let read = |connection: rusqlite::Result<Connection>| -> rusqlite::Result<(Connection, i32)> {
        let connection = connection?;
        connection.busy_timeout(PATIENCE)?;
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((connection, version))
    };
    let opened = read(Connection::open_with_flags(path, flags)).or_else(|error| {
        // A file that was closed in order has no log beside it. SQLite would make one, which it cannot here.
        let log = PathBuf::from(format!("{}-wal", path.display()));
        if !path.is_file() || std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(error);
        }
        read(Connection::open_with_flags(immutable(path), flags)).map_err(|_| error)
    });
    let (connection, found) = opened?;
    match found.cmp(&(layout.migrations.len() as i32)) {
        std::cmp::Ordering::Equal => Ok(connection),
        std::cmp::Ordering::Less => open(path, layout),
        std::cmp::Ordering::Greater => Err(OpenError::TooNew(found)),
    }
}

/// The name of a file that nobody changes meanwhile.
fn immutable(path: &Path) -> String {
    let escaped = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{escaped}?immutable=1")
}
