//! The thread that writes: whatever waits is written in one transaction and acknowledged after its commit.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use lumos_core::record::RunRecord;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{StoreError, unusable};

/// Most rows of one transaction: bounds how long the first of them waits.
const GROUP: usize = 4096;

const UPSERT: &str = "
    INSERT INTO runs (run_id, workflow, deployment, status, started_at, duration_us, cost_usd, owner, record)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (run_id) DO UPDATE SET status = excluded.status, duration_us = excluded.duration_us,
        cost_usd = excluded.cost_usd, owner = excluded.owner, record = excluded.record
";

type Done = oneshot::Sender<Result<(), StoreError>>;

/// A row of `runs`, serialised by whoever sends it so that the writer only writes.
pub(super) struct Row {
    run_id: String,
    workflow: String,
    deployment: String,
    status: &'static str,
    started_at: String,
    duration_us: Option<i64>,
    cost_usd: Option<String>,
    owner: Option<String>,
    record: Result<String, String>,
}

impl Row {
    /// `owner` is the process of a run that goes on.
    pub(super) fn of(record: &RunRecord, owner: Option<&str>) -> Self {
        Self {
            run_id: record.run_id.clone(),
            workflow: record.workflow.clone(),
            deployment: record.deployment.clone(),
            status: record.status.as_str(),
            started_at: record.started_at.clone(),
            duration_us: owner.is_none().then(|| i64::try_from(record.totals.duration_us).unwrap_or(i64::MAX)),
            cost_usd: owner.is_none().then(|| record.totals.cost_usd.map(|cost| cost.to_string())).flatten(),
            owner: owner.map(str::to_owned),
            record: serde_json::to_string(record).map_err(|error| error.to_string()),
        }
    }
}

pub(super) struct Writer {
    sender: Option<mpsc::Sender<(Row, Option<Done>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(mut connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel::<(Row, Option<Done>)>();
        let file = path.to_path_buf();
        let thread = std::thread::Builder::new()
            .name("lumos-store".to_owned())
            .spawn(move || {
                while let Ok(first) = receiver.recv() {
                    let group: Vec<_> = std::iter::once(first).chain(receiver.try_iter().take(GROUP - 1)).collect();
                    let result = write(&mut connection, &group).map_err(|reason| unusable(&file, &reason));
                    for done in group.into_iter().filter_map(|(_, done)| done) {
                        // Whoever no longer waits doesn't want to know.
                        let _ = done.send(result.clone());
                    }
                }
            })
            .map_err(|error| unusable(path, &error))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    pub(super) fn send(&self, row: Row, done: Option<Done>) {
        if let Some(sender) = &self.sender {
            // If the writer is gone, `done` is dropped and whoever waits for it learns so.
            let _ = sender.send((row, done));
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

fn write(connection: &mut Connection, group: &[(Row, Option<Done>)]) -> Result<(), String> {
    let transaction = connection.transaction().map_err(|error| error.to_string())?;
    {
        let mut upsert = transaction.prepare_cached(UPSERT).map_err(|error| error.to_string())?;
        for (row, _) in group {
            upsert
                .execute(params![
                    row.run_id,
                    row.workflow,
                    row.deployment,
                    row.status,
                    row.started_at,
                    row.duration_us,
                    row.cost_usd,
                    row.owner,
                    row.record.as_ref().map_err(Clone::clone)?,
                ])
                .map_err(|error| error.to_string())?;
        }
    }
    transaction.commit().map_err(|error| error.to_string())
}
