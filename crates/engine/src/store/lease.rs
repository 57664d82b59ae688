//! Who carries out a run: the process that owns it, as long as it lives and renews its lease.

use std::path::Path;

use lumos_core::Clock;
use lumos_core::record::Status;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::reader::{Header, Reader};
use super::rows::int;
use super::statements::renew;
use super::writer::Key;
use super::{StoreError, unusable};
use crate::clock::UnixClock;
use crate::owner::Owner;

/// How a run stands, given what its row says: one that goes on in a process that is gone has been interrupted.
pub(super) fn status(
    connection: &Connection,
    home: &Path,
    written: &str,
    owner: Option<&str>,
) -> rusqlite::Result<Status> {
    let status = Status::from_word(written).unwrap_or(Status::Failed);
    if status == Status::Running && !is_held(connection, home, owner)? {
        return Ok(Status::Interrupted);
    }
    Ok(status)
}

/// Whether a process still carries out what it owns: it lives, and has renewed its lease in time.
fn is_held(connection: &Connection, home: &Path, owner: Option<&str>) -> rusqlite::Result<bool> {
    let Some(owner) = owner.filter(|owner| Owner::is_alive(home, owner)) else { return Ok(false) };
    let expires_us: Option<i64> = connection
        .prepare_cached("SELECT expires_us FROM processes WHERE owner = ?1")?
        .query_row([owner], |row| row.get(0))
        .optional()?;
    Ok(expires_us.is_some_and(|expires_us| expires_us > int(UnixClock.now_us())))
}

/// Takes a run over: whoever had it can write no more of it.
pub(super) fn take(
    connection: &mut Connection,
    path: &Path,
    id: &str,
    owner: &str,
    lease_us: u64,
) -> Result<(Header, Key), StoreError> {
    let fail = |error: rusqlite::Error| unusable(path, &error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let header = Reader::new(&transaction, path).find(id)?;
    match header.status {
        Status::Interrupted | Status::Paused if header.definition.is_none() => {
            return Err(StoreError::NoLog(header.run_id));
        }
        Status::Interrupted | Status::Paused => {}
        Status::Running => return Err(StoreError::Held(header.run_id)),
        status => {
            return Err(match Reader::new(&transaction, path).successor(&header)? {
                Some(by) => StoreError::Replaced { run_id: header.run_id, by },
                None => StoreError::Ended { run_id: header.run_id, status },
            });
        }
    }
    let claim = "UPDATE runs SET epoch = epoch + 1, owner = ?2, status = 'running' WHERE id = ?1 RETURNING epoch";
    let epoch = transaction.query_row(claim, (header.id, owner), |row| row.get(0)).map_err(fail)?;
    renew(&transaction, owner, UnixClock.now_us() + lease_us).map_err(fail)?;
    transaction.commit().map_err(fail)?;
    let key = Key { run: header.id, epoch };
    Ok((header, key))
}
