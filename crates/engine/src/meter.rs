//! What is known of an attempt while it goes on, so that one that is cancelled or fails is accounted for too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lumos_core::admission::{Actual, End};
use lumos_core::price::Price;
use lumos_core::scheduler::Bill;
use lumos_core::{AgentError, BackendErrorKind, Basis, CallReport, Delta, DeltaSink, TraceContext, Usage, Usd};

use crate::binding::BoundBackend;
use crate::cache::{Key, ResponseCache};
use crate::event::{Audience, RunEvent};
use crate::gate::{AskFor, Permit};
use crate::occupancy::Occupant;

/// Counts what an attempt has sent and received; outlives it.
pub(crate) struct Meter {
    /// What it needs to be admitted. Its input tokens are an estimate where they could not be counted.
    pub(crate) ask: AskFor,
    /// Where its answer may be found.
    pub(crate) cached: Option<(ResponseCache, Key)>,
    permit: Mutex<Option<Permit>>,
    occupant: Mutex<Option<Occupant>>,
    bytes_sent: AtomicU64,
    output_tokens: AtomicU64,
}

impl Meter {
    pub(crate) fn new(ask: AskFor, cached: Option<(ResponseCache, Key)>) -> Self {
        Self {
            ask,
            cached,
            permit: Mutex::default(),
            occupant: Mutex::default(),
            bytes_sent: AtomicU64::new(0),
            output_tokens: AtomicU64::new(0),
        }
    }

    /// Comes to a machine that is shared.
    pub(crate) fn enter(&self, backend: &BoundBackend, now_us: u64) {
        if let Some(machine) = &backend.occupancy {
            *lock(&self.occupant) = Some(machine.enter(now_us));
        }
    }

    /// Leaves the machine; gives the share of its time, `None` when it is not shared.
    pub(crate) fn leave(&self, now_us: u64) -> Option<u64> {
        Some(lock(&self.occupant).take()?.leave(now_us))
    }

    /// Keeps the right to send, until it is settled.
    pub(crate) fn permit(&self, permit: Permit) {
        *lock(&self.permit) = Some(permit);
    }

    /// Gives the right back unused.
    pub(crate) fn withdraw(&self) {
        if let Some(permit) = self.take() {
            permit.withdraw();
        }
    }

    /// Tells the backend's gate what was used of what it admitted.
    pub(crate) fn settle(&self, bill: &Bill, end: End) {
        let Some(permit) = self.take() else { return };
        let usage = bill.report.as_deref().map(|report| report.usage).unwrap_or_default();
        let (input_tokens, output_tokens) = (usage.input_tokens, usage.output_tokens);
        permit.settle(Actual { input_tokens, output_tokens, cost: bill.cost, end });
    }

    /// Tells the backend's gate that no token was used of what it admitted.
    pub(crate) fn settle_free(&self, end: End) {
        if let Some(permit) = self.take() {
            permit.settle(Actual { input_tokens: Some(0), output_tokens: Some(0), cost: Some(Usd::ZERO), end });
        }
    }

    fn take(&self) -> Option<Permit> {
        lock(&self.permit).take()
    }

    /// What an attempt that was cancelled after `elapsed_us` has used up, as far as can be told.
    ///
    /// Tokens are estimated: the prompt's, and those of the answer that had arrived. A server that has not been sent
    /// anything has done nothing; one that was busy when the attempt ended is taken to have been busy all the time.
    pub(crate) fn bill(&self, backend: &BoundBackend, elapsed_us: u64, now_us: u64) -> Bill {
        let elapsed_us = self.leave(now_us).unwrap_or(elapsed_us);
        let bytes_sent = self.bytes_sent.load(Ordering::Relaxed);
        if backend.is_remote && bytes_sent == 0 {
            return Bill { cost: Some(Usd::ZERO), report: None };
        }
        let report = CallReport {
            usage: Usage {
                input_tokens: self.ask.input_tokens,
                output_tokens: Some(self.output_tokens.load(Ordering::Relaxed)),
                ..Usage::default()
            },
            busy_us: Some(elapsed_us),
            bytes_sent,
            ..CallReport::new(Basis::Estimated)
        };
        Bill { cost: backend.price.cost(&report), report: Some(Box::new(report)) }
    }

    /// The bill of an attempt that failed and was charged for no token: only the bytes that it sent, and for how long it
    /// kept a shared machine busy, are known.
    pub(crate) fn free(&self, backend: &BoundBackend, busy_us: Option<u64>) -> Bill {
        let bytes_sent = self.bytes_sent.load(Ordering::Relaxed);
        let report = CallReport { bytes_sent, busy_us, ..CallReport::new(Basis::Measured) };
        let cost = match backend.price {
            Price::Tokens(_) => Some(Usd::ZERO),
            Price::PerHour(_) | Price::Unknown => backend.price.cost(&report),
        };
        Bill { cost, report: (bytes_sent > 0 || busy_us.is_some()).then(|| Box::new(report)) }
    }
}

/// What a panic interrupted is still what it was.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the end of a failed attempt tells of its backend.
pub(crate) fn end_of(error: &AgentError) -> End {
    let retry_after_us = error.retry_after_us;
    match error.cause {
        // It did answer.
        None => End::Succeeded,
        Some(BackendErrorKind::RateLimited) => End::RateLimited { retry_after_us },
        Some(BackendErrorKind::Transient | BackendErrorKind::Internal | BackendErrorKind::Unusable) => {
            End::Failed { retry_after_us }
        }
        Some(BackendErrorKind::ContextExceeded | BackendErrorKind::InvalidRequest | BackendErrorKind::Unauthorized) => {
            End::Ours
        }
    }
}

/// Counts the pieces of one attempt's answer, and passes them on to the sinks.
pub(crate) struct Deltas<'a> {
    pub(crate) audience: Option<&'a Audience>,
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) step: u32,
    pub(crate) attempt: u32,
    pub(crate) node: &'a str,
}

impl DeltaSink for Deltas<'_> {
    fn delta(&self, delta: Delta<'_>) {
        if let Some(meter) = &self.meter {
            meter.output_tokens.store(delta.output_tokens, Ordering::Relaxed);
        }
        if let Some(audience) = self.audience.filter(|audience| audience.is_live()) {
            audience.tell(&RunEvent::Delta {
                step: self.step,
                node: self.node.to_owned(),
                text: delta.text.to_owned(),
                output_tokens: delta.output_tokens,
            });
        }
    }

    fn sent(&self, bytes: u64) {
        if let Some(meter) = &self.meter {
            meter.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn unsent(&self, bytes: u64) {
        if let Some(meter) = &self.meter {
            meter.bytes_sent.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn trace_context(&self) -> Option<TraceContext> {
        self.audience?.context(self.step, self.attempt)
    }
}
