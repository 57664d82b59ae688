//! What is known of an attempt while it goes on, so that one that is cancelled or fails is accounted for too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lumos_core::scheduler::Bill;
use lumos_core::{Basis, CallReport, Delta, DeltaSink, Usage, Usd};

use crate::binding::BoundBackend;
use crate::event::{Audience, RunEvent};

/// Counts what an attempt has sent and received; outlives it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Of its prompt; an estimate where they could not be counted.
    input_tokens: u64,
    bytes_sent: AtomicU64,
    output_tokens: AtomicU64,
}

impl Meter {
    pub(crate) fn new(input_tokens: u64) -> Self {
        Self { input_tokens, ..Self::default() }
    }

    /// What an attempt that was cancelled after `elapsed_us` has used up, as far as can be told.
    ///
    /// Tokens are estimated: the prompt's, and those of the answer that had arrived. A server that has not been sent
    /// anything has done nothing; one that was busy when the attempt ended is taken to have been busy all the time.
    pub(crate) fn bill(&self, backend: &BoundBackend, elapsed_us: u64) -> Bill {
        let bytes_sent = self.bytes_sent.load(Ordering::Relaxed);
        if backend.is_remote && bytes_sent == 0 {
            return Bill { cost: Some(Usd::ZERO), report: None };
        }
        let report = CallReport {
            usage: Usage {
                input_tokens: Some(self.input_tokens),
                output_tokens: Some(self.output_tokens.load(Ordering::Relaxed)),
                ..Usage::default()
            },
            busy_us: Some(elapsed_us),
            bytes_sent,
            ..CallReport::new(Basis::Estimated)
        };
        Bill { cost: backend.price.cost(&report), report: Some(Box::new(report)) }
    }

    /// The bill of an attempt that failed without having cost anything: only the bytes that it sent are known.
    pub(crate) fn free(&self) -> Bill {
        match self.bytes_sent.load(Ordering::Relaxed) {
            0 => Bill::default(),
            bytes_sent => {
                let report = CallReport { bytes_sent, ..CallReport::new(Basis::Measured) };
                Bill { cost: Some(Usd::ZERO), report: Some(Box::new(report)) }
            }
        }
    }
}

/// Counts the pieces of one attempt's answer, and passes them on to the sinks.
pub(crate) struct Deltas<'a> {
    pub(crate) audience: Option<&'a Audience>,
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) step: u32,
    pub(crate) node: &'a str,
}

impl DeltaSink for Deltas<'_> {
    fn delta(&self, delta: Delta<'_>) {
        if let Some(meter) = &self.meter {
            meter.output_tokens.store(delta.output_tokens, Ordering::Relaxed);
        }
        if let Some(audience) = self.audience {
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
}
