//! Reading records. A run whose process has died is shown as interrupted.

use std::path::Path;

use lumos_core::record::{RunRecord, Status};
use rusqlite::params;

use super::owner::Owner;
use super::{RunSummary, StoreError, connect, unusable};

/// Most runs that an ambiguous prefix is answered with.
const CANDIDATES: usize = 5;

/// Run ids begin with the time, so their order is that of the runs' starts.
pub(super) fn list(path: &Path, limit: usize) -> Result<Vec<RunSummary>, StoreError> {
    let fail = |error: rusqlite::Error| unusable(path, &error);
    let connection = connect(path)?;
    let mut query = connection
        .prepare(
            "SELECT run_id, workflow, deployment, status, started_at, duration_us, cost_usd, owner
             FROM runs ORDER BY run_id DESC LIMIT ?1",
        )
        .map_err(fail)?;
    let rows = query
        .query_map(params![i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            let status: String = row.get(3)?;
            let owner: Option<String> = row.get(7)?;
            let duration_us: Option<i64> = row.get(5)?;
            Ok(RunSummary {
                run_id: row.get(0)?,
                workflow: row.get(1)?,
                deployment: row.get(2)?,
                status: if is_orphan(path, owner.as_deref()) {
                    Status::Interrupted.as_str().to_owned()
                } else {
                    status
                },
                started_at: row.get(4)?,
                duration_us: duration_us.and_then(|us| u64::try_from(us).ok()),
                cost_usd: row.get(6)?,
            })
        })
        .map_err(fail)?;
    rows.collect::<Result<_, _>>().map_err(fail)
}

pub(super) fn load(path: &Path, id: &str) -> Result<RunRecord, StoreError> {
    let fail = |error: rusqlite::Error| unusable(path, &error);
    let connection = connect(path)?;
    let mut query = connection
        .prepare(
            "SELECT run_id, record, owner FROM runs WHERE run_id BETWEEN ?1 AND ?1 || '~' ORDER BY run_id LIMIT ?2",
        )
        .map_err(fail)?;
    let found: Vec<(String, String, Option<String>)> = query
        .query_map(params![id.to_uppercase(), CANDIDATES as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(fail)?
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    match found.as_slice() {
        [] => Err(StoreError::UnknownRun(id.to_owned())),
        [(_, record, owner)] => {
            let mut record: RunRecord = serde_json::from_str(record).map_err(|error| unusable(path, &error))?;
            if is_orphan(path, owner.as_deref()) {
                record.status = Status::Interrupted;
            }
            Ok(record)
        }
        several => Err(StoreError::Ambiguous {
            prefix: id.to_owned(),
            runs: several.iter().map(|(run_id, _, _)| run_id.clone()).collect(),
        }),
    }
}

fn is_orphan(path: &Path, owner: Option<&str>) -> bool {
    owner.is_some_and(|owner| !Owner::is_alive(path.parent().unwrap_or(path), owner))
}
