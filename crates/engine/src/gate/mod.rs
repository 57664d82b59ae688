//! The gate before a limited backend: who wants to send a request waits here until its limits allow it.
//!
//! What is allowed is decided by [`lumos_core::admission`]; the gate keeps the ledger, in memory or shared by all
//! processes through `limits.db`, queues those who wait and sleeps for them.

mod account;
mod error;
mod estimate;
mod operation;
mod shared;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lumos_core::admission::{Actual, Ask, Decision, End, Ledger, Rules, Ticket};
use lumos_core::scheduler::Failure;
use lumos_core::{Clock, Usd};
use tokio::sync::Notify;

pub use account::account;
pub use error::LimitsError;
pub use shared::SharedLedger;

use estimate::Estimator;
use operation::Operation;

/// How soon a settlement in another process is seen while only one can help.
const POLL: Duration = Duration::from_millis(20);

/// How soon it is seen while time helps as well.
const SLOW_POLL: Duration = Duration::from_millis(100);

/// How soon the end of a lease is seen in a ledger that is not shared, where settlements tell of themselves.
const OWN_POLL: Duration = Duration::from_secs(1);

/// What a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskFor {
    /// Its input tokens, as well as they can be told; the gate learns by how much estimates fall short.
    pub input_tokens: Option<u64>,
    /// The most tokens it may generate.
    pub output_tokens: u64,
    /// The most it can cost, where known.
    pub worst_cost: Option<Usd>,
    /// The longest it can take; after that, or when its process has died, it counts as having used all it asked for.
    pub lease_us: u64,
}

/// The gate before one backend; one per backend and process. First come, first served within the process.
pub struct Gate {
    rules: Rules,
    ledger: Kept,
    clock: Arc<dyn Clock>,
    /// Held by whoever is first in the queue.
    queue: tokio::sync::Mutex<()>,
    /// Told when something was settled; only the first in the queue listens.
    settled: Arc<Notify>,
    estimator: Mutex<Estimator>,
    tickets: AtomicU64,
}

/// Where the ledger is.
enum Kept {
    Own(Box<Mutex<Ledger>>),
    Shared(SharedLedger, Arc<str>),
}

impl Gate {
    /// A gate for the account `key` (see [`account`]). `clock` counts from the Unix epoch, as a `shared` ledger's does;
    /// without one the ledger is in memory.
    pub fn new(rules: Rules, key: &str, shared: Option<SharedLedger>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let ledger = match shared {
            Some(shared) => Kept::Shared(shared, key.into()),
            None => Kept::Own(Box::default()),
        };
        Arc::new(Self {
            rules,
            ledger,
            clock,
            queue: tokio::sync::Mutex::default(),
            settled: Arc::default(),
            estimator: Mutex::default(),
            tickets: AtomicU64::new(crate::clock::unique()),
        })
    }

    /// Waits until the limits allow the request. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// When the backend's breaker is open, its budget for the day cannot cover the request, or `limits.db` cannot be
    /// used.
    pub async fn admit(self: &Arc<Self>, ask: AskFor) -> Result<Permit, Failure> {
        let asked_us = self.clock.now_us();
        let _first = self.queue.lock().await;
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let mut asking = Asking { gate: self, ticket, open: true };
        loop {
            let input_tokens = self.estimator().reserve(ask.input_tokens);
            let AskFor { output_tokens, worst_cost, lease_us, .. } = ask;
            let ask_now = Ask { ticket, input_tokens, output_tokens, worst_cost, lease_us, owner: None };
            let decision = self.decide(ask_now).await?;
            let now_us = self.clock.now_us();
            match decision {
                Decision::Admitted => {
                    asking.open = false;
                    let waited_us = now_us.saturating_sub(asked_us);
                    let estimated = ask.input_tokens;
                    return Ok(Permit { gate: self.clone(), ticket, estimated, waited_us, open: true });
                }
                Decision::Rejected(failure) => return Err(failure),
                Decision::Wait { until_us } => {
                    self.wait(until_us.map(|until_us| until_us.saturating_sub(now_us))).await;
                }
            }
        }
    }

    async fn decide(&self, ask: Ask) -> Result<Decision, Failure> {
        match &self.ledger {
            Kept::Own(ledger) => Ok(Operation::Admit(ask).apply(&mut lock(ledger), &self.rules, self.clock.now_us())),
            Kept::Shared(shared, key) => shared.admit(key, &self.rules, ask).await,
        }
    }

    async fn wait(&self, us: Option<u64>) {
        let longest = match (&self.ledger, us) {
            (Kept::Own(_), _) => OWN_POLL,
            (Kept::Shared(..), None) => POLL,
            (Kept::Shared(..), Some(_)) => SLOW_POLL,
        };
        let pause = us.map_or(longest, |us| Duration::from_micros(us).min(longest));
        // Whichever comes first: the ledger is asked again in any case.
        let _ = tokio::time::timeout(pause, self.settled.notified()).await;
    }

    fn end(&self, operation: Operation) {
        match &self.ledger {
            Kept::Own(ledger) => {
                operation.apply(&mut lock(ledger), &self.rules, self.clock.now_us());
                self.settled.notify_one();
            }
            Kept::Shared(shared, key) => shared.tell(key, &self.rules, operation, &self.settled),
        }
    }

    fn estimator(&self) -> std::sync::MutexGuard<'_, Estimator> {
        lock(&self.estimator)
    }
}

/// Somebody who asks for admission; gone before it is given, it withdraws whatever is known of it. What it says to a
/// shared ledger is heard after what it asked.
struct Asking<'a> {
    gate: &'a Gate,
    ticket: Ticket,
    open: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.open {
            self.gate.end(Operation::Withdraw(self.ticket));
        }
    }
}

/// The right to send one request. Dropped, it counts as cancelled, with everything used that was asked for.
#[must_use = "dropped at once, it counts as a request that was cancelled"]
pub struct Permit {
    gate: Arc<Gate>,
    ticket: Ticket,
    estimated: Option<u64>,
    waited_us: u64,
    open: bool,
}

impl Permit {
    /// How long it was waited for.
    pub fn waited_us(&self) -> u64 {
        self.waited_us
    }

    /// Tells what the request did use.
    pub fn settle(mut self, actual: Actual) {
        self.open = false;
        self.gate.estimator().learn(self.estimated, actual.input_tokens);
        self.gate.end(Operation::Settle(self.ticket, actual));
    }

    /// Gives it back: nothing was sent.
    pub fn withdraw(mut self) {
        self.open = false;
        self.gate.end(Operation::Withdraw(self.ticket));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.open {
            self.gate.end(Operation::Settle(self.ticket, Actual::unknown(End::Cancelled)));
        }
    }
}

/// What a panic interrupted is no worse than what a killed process leaves behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
