//! Retention: runs that are old enough go, and with them the values that nobody refers to any more.

use std::collections::BTreeSet;
use std::path::Path;

use lumos_core::record::Status;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde::Serialize;

use super::lease;
use super::{StoreError, unusable};

/// What a pruning removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The runs.
    pub runs: Vec<String>,
    /// Values that only they referred to.
    pub values: u64,
    /// Bytes of those values.
    pub bytes: u64,
}

/// Forget fewer pages than this and the file is left as large as it is.
const WORTH_VACUUM: i64 = 256;

pub(super) fn prune(
    connection: &mut Connection,
    path: &Path,
    before: &str,
    keep_failed: bool,
    is_dry: bool,
) -> Result<Pruned, StoreError> {
    let fail = |error: rusqlite::Error| unusable(path, &error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let pruned = remove(&transaction, path, before, keep_failed).map_err(fail)?;
    if is_dry {
        transaction.rollback().map_err(fail)?;
        return Ok(pruned);
    }
    transaction.commit().map_err(fail)?;
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0)).map_err(fail)?;
    if free >= WORTH_VACUUM {
        // Needs the file for itself; whoever uses it meanwhile goes first, and the room is used again later.
        if let Err(error) = connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);") {
            tracing::debug!(%error, "the store's file stays as large as it is");
        }
    }
    Ok(pruned)
}

fn remove(transaction: &Transaction<'_>, path: &Path, before: &str, keep_failed: bool) -> rusqlite::Result<Pruned> {
    let home = path.parent().unwrap_or(path);
    let mut old = Vec::new();
    let mut stay = BTreeSet::new();
    let mut query =
        transaction.prepare("SELECT id, run_id, status, started_at, owner, parent FROM runs ORDER BY id DESC")?;
    let mut rows = query.query([])?;
    // A fork is younger than the run whose log it shares, so whether it stays is known first.
    while let Some(row) = rows.next()? {
        let (id, run_id, word): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (started_at, owner, parent): (String, Option<String>, Option<i64>) =
            (row.get(3)?, row.get(4)?, row.get(5)?);
        let status = lease::status(transaction, home, &word, owner.as_deref())?;
        let is_open = matches!(status, Status::Running | Status::Paused | Status::Interrupted);
        let is_kept = is_open || (keep_failed && matches!(status, Status::Failed | Status::Refused | Status::Limited));
        if is_kept || started_at.as_str() >= before || stay.contains(&id) {
            stay.extend(parent);
        } else {
            old.push((id, run_id));
        }
    }
    drop(rows);
    for (id, _) in &old {
        for table in ["log", "endings"] {
            transaction.prepare_cached(&format!("DELETE FROM {table} WHERE run = ?1"))?.execute([id])?;
        }
        transaction.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([id])?;
    }
    let (values, bytes) = if old.is_empty() { (0, 0) } else { sweep(transaction)? };
    old.reverse();
    Ok(Pruned { runs: old.into_iter().map(|(_, run_id)| run_id).collect(), values, bytes })
}

/// Removes the values that no log refers to; gives their number and bytes.
fn sweep(transaction: &Transaction<'_>) -> rusqlite::Result<(u64, u64)> {
    let mut used: BTreeSet<[u8; 32]> = BTreeSet::new();
    let mut query = transaction
        .prepare("SELECT blobs FROM log WHERE blobs IS NOT NULL UNION ALL SELECT definition FROM runs WHERE definition IS NOT NULL")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let hashes = row.get_ref(0)?.as_blob()?;
        used.extend(hashes.chunks_exact(32).filter_map(|hash| <[u8; 32]>::try_from(hash).ok()));
    }
    let (mut values, mut bytes) = (0, 0);
    let mut unused = Vec::new();
    let mut query = transaction.prepare("SELECT hash, length(data) FROM blobs")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (hash, length): ([u8; 32], i64) = (row.get(0)?, row.get(1)?);
        if !used.contains(&hash) {
            (values, bytes) = (values + 1, bytes + length as u64);
            unused.push(hash);
        }
    }
    let mut delete = transaction.prepare("DELETE FROM blobs WHERE hash = ?1")?;
    for hash in unused {
        delete.execute(params![hash])?;
    }
    Ok((values, bytes))
}
