//! What a backend allows.

use crate::money::Usd;
use crate::spec::{BreakerSpec, LimitSpec};

/// The limits of one backend; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Tokens per minute, input and output together.
    pub tpm: Option<u32>,
    /// Input tokens per minute.
    pub input_tpm: Option<u32>,
    /// Output tokens per minute.
    pub output_tpm: Option<u32>,
    /// Requests at the same time.
    pub concurrency: Option<u32>,
    /// Dollars per day (UTC).
    pub usd_per_day: Option<Usd>,
    /// When it is left alone.
    pub breaker: Option<BreakerRule>,
}

/// A circuit breaker in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// Failures that open it.
    pub failures: u32,
    /// Within this time.
    pub window_us: u64,
    /// How long nothing is asked then.
    pub cooldown_us: u64,
}

impl Rules {
    /// The rules that a deployment states. A limit of zero, which no valid deployment has, counts as one.
    pub fn new(limits: &LimitSpec, breaker: Option<&BreakerSpec>) -> Self {
        let at_least_one = |limit: Option<u32>| limit.map(|limit| limit.max(1));
        // A float becomes the nearest number there is: a negative one zero.
        let us = |seconds: f64| (seconds * 1e6) as u64;
        Self {
            rpm: at_least_one(limits.rpm),
            tpm: at_least_one(limits.tpm),
            input_tpm: at_least_one(limits.input_tpm),
            output_tpm: at_least_one(limits.output_tpm),
            concurrency: at_least_one(limits.concurrency),
            usd_per_day: limits.usd_per_day,
            breaker: breaker.map(|breaker| BreakerRule {
                failures: breaker.failures.max(1),
                window_us: us(breaker.window_s),
                cooldown_us: us(breaker.cooldown_s),
            }),
        }
    }

    /// Whether nothing is limited, so that nobody needs to ask.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
