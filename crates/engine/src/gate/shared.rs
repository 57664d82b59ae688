//! Ledgers in `limits.db`, shared by all processes of one home: one thread reads, changes and writes them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use indexmap::{IndexMap, IndexSet};
use lumos_core::Clock;
use lumos_core::admission::{Ask, Decision, Ledger, Rules};
use lumos_core::scheduler::Failure;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::{Notify, oneshot};

use super::error::LimitsError;
use super::operation::Operation;
use crate::database::{self, Layout, OpenError};
use crate::owner::Owner;

/// Most operations of one transaction.
const GROUP: usize = 256;

/// How long another process's transaction, which takes microseconds, is given before the next look.
const BUSY: Duration = Duration::from_micros(100);

/// After so many looks something else is wrong.
const BUSY_LOOKS: i32 = 100_000;

const LAYOUT: Layout = Layout {
    migrations: &["CREATE TABLE ledgers (account TEXT PRIMARY KEY, ledger TEXT NOT NULL) WITHOUT ROWID"],
    // A ledger with a few hundred requests in flight fits on a few pages.
    page: Some(16_384),
    // What a power failure undoes has long been refilled.
    synchronous: "NORMAL",
};

const UPSERT: &str = "
    INSERT INTO ledgers (account, ledger) VALUES (?1, ?2)
    ON CONFLICT (account) DO UPDATE SET ledger = excluded.ledger
";

/// The ledgers of one `LUMOS_HOME`. Cheap to clone; clones share one thread, which ends with the last of them, after
/// everything it was told is written.
#[derive(Clone)]
pub struct SharedLedger(Arc<Handle>);

struct Handle {
    path: PathBuf,
    owner: Arc<Owner>,
    sender: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

struct Message {
    account: Arc<str>,
    rules: Rules,
    operation: Operation,
    answer: Answer,
}

/// Whom to tell when it is written.
enum Answer {
    Asker(oneshot::Sender<Result<Decision, LimitsError>>),
    Queue(Arc<Notify>),
}

impl SharedLedger {
    /// Opens, or makes, the file `limits.db` in a home folder, and settles what processes that have died held. `clock`
    /// counts from the Unix epoch.
    ///
    /// # Errors
    /// When the folder or the file cannot be made or written, or was written by a later version.
    pub fn open(home: &Path, clock: Arc<dyn Clock>) -> Result<Self, LimitsError> {
        let path = home.join("limits.db");
        let unusable = |reason: &dyn std::fmt::Display| LimitsError::unusable(&path, reason);
        std::fs::create_dir_all(home).map_err(|error| unusable(&error))?;
        let connection = connect(&path)?;
        let owner = Arc::new(Owner::register(home).map_err(|error| unusable(&error))?);
        let mut keeper = Keeper {
            connection,
            home: home.to_path_buf(),
            path: path.clone(),
            owner: owner.clone(),
            clock,
            version: None,
            ledgers: IndexMap::new(),
        };
        keeper.settle_dead().map_err(|error| unusable(&error))?;
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("lumos-limits".to_owned())
            .spawn(move || {
                while let Ok(first) = receiver.recv() {
                    keeper.handle(std::iter::once(first).chain(receiver.try_iter().take(GROUP - 1)).collect());
                }
            })
            .map_err(|error| unusable(&error))?;
        Ok(Self(Arc::new(Handle { path, owner, sender: Some(sender), thread: Some(thread) })))
    }

    /// Asks for admission. When the future is dropped before its answer comes, the admission must be withdrawn.
    pub(super) async fn admit(&self, account: &Arc<str>, rules: &Rules, ask: Ask) -> Result<Decision, Failure> {
        let (sender, receiver) = oneshot::channel();
        let ask = Ask { owner: Some(self.0.owner.number), ..ask };
        self.send(account, rules, Operation::Admit(ask), Answer::Asker(sender));
        let gone = || Err(LimitsError::unusable(&self.0.path, &"the thread that keeps them has ended"));
        let answer = receiver.await.unwrap_or_else(|_| gone());
        answer.map_err(|error| Failure::fatal(error.to_string()).with_hint(error.hint()))
    }

    /// Has something done without waiting for it; `settled` is told when it is.
    pub(super) fn tell(&self, account: &Arc<str>, rules: &Rules, operation: Operation, settled: &Arc<Notify>) {
        self.send(account, rules, operation, Answer::Queue(settled.clone()));
    }

    fn send(&self, account: &Arc<str>, rules: &Rules, operation: Operation, answer: Answer) {
        if let Some(sender) = &self.0.sender {
            // If the thread is gone, the message is dropped and whoever waits for an answer learns so.
            let _ = sender.send(Message { account: account.clone(), rules: *rules, operation, answer });
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Keeper {
    connection: Connection,
    home: PathBuf,
    path: PathBuf,
    owner: Arc<Owner>,
    clock: Arc<dyn Clock>,
    /// SQLite's `data_version` for which `ledgers` are what the file holds.
    version: Option<i64>,
    ledgers: IndexMap<Arc<str>, Ledger>,
}

impl Keeper {
    fn handle(&mut self, group: Vec<Message>) {
        let result = self.transact(&group).map_err(|reason| LimitsError::unusable(&self.path, &reason));
        if let Err(error) = &result {
            self.ledgers.clear();
            tracing::warn!(%error, "limits are not kept; requests in flight count until their leases or this process end");
        }
        for (index, message) in group.into_iter().enumerate() {
            match message.answer {
                Answer::Asker(sender) => {
                    let decision = result.as_ref().map_err(Clone::clone).map(|decisions| decisions[index].clone());
                    // Whoever no longer waits has withdrawn.
                    let _ = sender.send(decision);
                }
                Answer::Queue(settled) => settled.notify_one(),
            }
        }
    }

    /// Settles, in all ledgers, what processes that have died held.
    fn settle_dead(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now_us = self.clock.now_us();
        let mut changed = Vec::new();
        {
            let mut select = transaction.prepare("SELECT account, ledger FROM ledgers")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                // One that cannot be read is told of when it is asked for.
                let text = row.get_ref(1)?.as_str().unwrap_or_default();
                let Ok(mut ledger) = serde_json::from_str::<Ledger>(text) else { continue };
                let dead = self.owner.dead(&self.home, ledger.owners());
                // What is allowed is not known here, and does not matter: only what was used is.
                if ledger.settle_dead(&Rules::default(), now_us, &dead) {
                    changed.push((row.get(0)?, ledger));
                }
            }
        }
        write(&transaction, changed.iter().map(|(account, ledger): &(String, Ledger)| (account.as_str(), ledger)))?;
        transaction.commit()
    }

    /// Carries out all of it, or nothing; a decision for each.
    fn transact(&mut self, group: &[Message]) -> Result<Vec<Decision>, String> {
        let text = |error: rusqlite::Error| error.to_string();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(text)?;
        let version = transaction.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(text)?;
        if self.version != Some(version) {
            self.ledgers.clear();
            self.version = Some(version);
        }
        // Read while the file is locked, so that it doesn't go back from one process to the other.
        let now_us = self.clock.now_us();
        let mut decisions = Vec::with_capacity(group.len());
        let mut changed = IndexSet::new();
        for Message { account, rules, operation, .. } in group {
            if !self.ledgers.contains_key(account) {
                let mut select =
                    transaction.prepare_cached("SELECT ledger FROM ledgers WHERE account = ?1").map_err(text)?;
                let row: Option<String> = select.query_row([account], |row| row.get(0)).optional().map_err(text)?;
                let ledger = match row {
                    Some(row) => serde_json::from_str(&row).map_err(|error| format!("`{account}`: {error}"))?,
                    None => Ledger::default(),
                };
                self.ledgers.insert(account.clone(), ledger);
            }
            let Some(ledger) = self.ledgers.get_mut(account) else { continue };
            let mut decision = operation.apply(ledger, rules, now_us);
            if ledger.is_held_up(&decision) {
                let dead = self.owner.dead(&self.home, ledger.owners());
                if ledger.settle_dead(rules, now_us, &dead) {
                    decision = operation.apply(ledger, rules, now_us);
                }
            }
            if ledger.take_changed() {
                changed.insert(account);
            }
            decisions.push(decision);
        }
        if changed.is_empty() {
            return Ok(decisions);
        }
        write(&transaction, changed.iter().map(|account| (&***account, &self.ledgers[*account]))).map_err(text)?;
        transaction.commit().map_err(text)?;
        Ok(decisions)
    }
}

fn write<'a>(connection: &Connection, ledgers: impl Iterator<Item = (&'a str, &'a Ledger)>) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(UPSERT)?;
    for (account, ledger) in ledgers {
        let ledger =
            serde_json::to_string(ledger).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        upsert.execute(params![account, ledger])?;
    }
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, LimitsError> {
    let mut connection = database::open(path, &LAYOUT).map_err(|error| match error {
        OpenError::TooNew(found) => LimitsError::TooNew { path: path.to_path_buf(), found },
        OpenError::Foreign(error) => LimitsError::unusable(path, &error),
        OpenError::Sqlite(error) => LimitsError::unusable(path, &error),
    })?;
    let busy = connection.busy_handler(Some(|looks| {
        std::thread::sleep(BUSY);
        looks < BUSY_LOOKS
    }));
    busy.map_err(|error| LimitsError::unusable(path, &error))?;
    Ok(connection)
}
