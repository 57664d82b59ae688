//! The thread that writes: whatever waits is written in one transaction and acknowledged after its commit.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use lumos_core::record::RunRecord;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;
use ulid::Ulid;

use super::{StoreError, unusable};

/// Most messages of one transaction: bounds how long the first of them waits.
const GROUP: usize = 4096;

/// How long nothing but beginnings waits for what comes next: a run that ends by then is written once.
const PATIENCE: Duration = Duration::from_millis(5);

const UPSERT: &str = "
    INSERT INTO runs (run_id, workflow, deployment, status, started_at, duration_us, cost_usd, owner, record)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (run_id) DO UPDATE SET status = excluded.status, duration_us = excluded.duration_us,
        cost_usd = excluded.cost_usd, owner = excluded.owner, record = excluded.record
";

/// Told when a row is on disk, or why it is not.
type Done = oneshot::Sender<Result<(), StoreError>>;

/// What the writer is told about runs.
pub(super) enum Message {
    /// One has begun; its row is made only if it is written.
    Begun(Ulid, Box<dyn FnOnce() -> Row + Send>),
    /// One has ended.
    Ended(Ulid, Row, Done),
}

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
    pub(super) fn of(record: RunRecord, owner: Option<&str>) -> Self {
        let ended = owner.is_none();
        Self {
            status: record.status.as_str(),
            duration_us: ended.then(|| i64::try_from(record.totals.duration_us).unwrap_or(i64::MAX)),
            cost_usd: record.totals.cost_usd.filter(|_| ended).map(|cost| cost.to_string()),
            owner: owner.map(str::to_owned),
            record: serde_json::to_string(&record).map_err(|error| error.to_string()),
            run_id: record.run_id,
            workflow: record.workflow,
            deployment: record.deployment,
            started_at: record.started_at,
        }
    }
}

pub(super) struct Writer {
    sender: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(mut connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel();
        let file = path.to_path_buf();
        let thread = std::thread::Builder::new()
            .name("lumos-store".to_owned())
            .spawn(move || {
                while let Some(group) = next_group(&receiver) {
                    let (rows, waiting) = rows(group);
                    let result = write(&mut connection, &rows).map_err(|error| unusable(&file, &*error));
                    for done in waiting {
                        // Whoever no longer waits doesn't want to know.
                        let _ = done.send(result.clone());
                    }
                }
            })
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

/// Everything that waits; `None` when nothing will come any more.
fn next_group(receiver: &mpsc::Receiver<Message>) -> Option<Vec<Message>> {
    let mut group = vec![receiver.recv().ok()?];
    loop {
        group.extend(receiver.try_iter().take(GROUP - group.len()));
        if group.len() == GROUP || group.iter().any(|message| matches!(message, Message::Ended(..))) {
            return Some(group);
        }
        match receiver.recv_timeout(PATIENCE) {
            Ok(message) => group.push(message),
            Err(_) => return Some(group),
        }
    }
}

/// The rows to write, and who waits for them. Nobody needs to know that a run has begun which has ended since.
fn rows(group: Vec<Message>) -> (Vec<Row>, Vec<Done>) {
    let ended: BTreeSet<Ulid> = group
        .iter()
        .filter_map(|message| match message {
            Message::Ended(id, ..) => Some(*id),
            Message::Begun(..) => None,
        })
        .collect();
    let (mut rows, mut waiting) = (Vec::with_capacity(group.len()), Vec::with_capacity(ended.len()));
    for message in group {
        match message {
            Message::Begun(id, row) if !ended.contains(&id) => rows.push(row()),
            Message::Begun(..) => {}
            Message::Ended(_, row, done) => {
                rows.push(row);
                waiting.push(done);
            }
        }
    }
    (rows, waiting)
}

fn write(connection: &mut Connection, rows: &[Row]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let transaction = connection.transaction()?;
    {
        let mut upsert = transaction.prepare_cached(UPSERT)?;
        for row in rows {
            upsert.execute(params![
                row.run_id,
                row.workflow,
                row.deployment,
                row.status,
                row.started_at,
                row.duration_us,
                row.cost_usd,
                row.owner,
                row.record.as_ref().map_err(Clone::clone)?,
            ])?;
        }
    }
    Ok(transaction.commit()?)
}
