//! Limits as providers enforce them: token buckets that are refilled continuously.

use std::time::Duration;

/// What is allowed per window. A bucket holds `burst` times a window's worth, full at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests per window.
    pub requests: Option<u64>,
    /// Tokens per window: those of the prompt count when it arrives, those of the answer when it ends.
    pub tokens: Option<u64>,
    /// The window.
    pub window: Duration,
    /// How much of a window's worth may come at once.
    pub burst: f64,
}

impl Limits {
    /// So many requests and tokens per minute, all at once if need be.
    pub fn per_minute(requests: u64, tokens: u64) -> Self {
        Self { requests: Some(requests), tokens: Some(tokens), window: Duration::from_mins(1), burst: 1.0 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    capacity: f64,
    /// Per microsecond.
    rate: f64,
    at_us: u64,
}

impl Bucket {
    fn new(limit: u64, limits: &Limits, at_us: u64) -> Self {
        let capacity = (limit as f64 * limits.burst).max(1.0);
        Self { level: capacity, capacity, rate: limit as f64 / limits.window.as_micros() as f64, at_us }
    }

    fn refill(&mut self, at_us: u64) {
        let passed = at_us.saturating_sub(self.at_us) as f64;
        self.level = (self.level + passed * self.rate).min(self.capacity);
        self.at_us = self.at_us.max(at_us);
    }

    /// Microseconds until `amount` is there.
    fn wait_us(&self, amount: f64) -> Option<u64> {
        let missing = amount - self.level;
        // A refill leaves rounding behind; a millionth of a token is not worth a refusal.
        (missing > 1e-6).then(|| (missing / self.rate).ceil() as u64)
    }
}

/// The buckets of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Buckets {
    pub(crate) fn new(limits: &Limits, at_us: u64) -> Self {
        let bucket = |limit: Option<u64>| limit.map(|limit| Bucket::new(limit, limits, at_us));
        Self { requests: bucket(limits.requests), tokens: bucket(limits.tokens) }
    }

    /// Takes a request with `input` tokens; `Err` with the microseconds to wait.
    pub(crate) fn arrive(&mut self, at_us: u64, input: u64) -> Result<(), u64> {
        let wants = [(&mut self.requests, 1.0), (&mut self.tokens, input as f64)];
        let mut wait = 0;
        for (bucket, amount) in wants {
            if let Some(bucket) = bucket {
                bucket.refill(at_us);
                wait = wait.max(bucket.wait_us(amount).unwrap_or(0));
            }
        }
        if wait > 0 {
            return Err(wait);
        }
        for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, input as f64)] {
            if let Some(bucket) = bucket {
                bucket.level -= amount;
            }
        }
        Ok(())
    }

    /// Counts the `output` tokens of an answer that ended; the bucket may go below zero.
    pub(crate) fn end(&mut self, at_us: u64, output: u64) {
        if let Some(bucket) = &mut self.tokens {
            bucket.refill(at_us);
            bucket.level -= output as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_refilled_continuously() {
        let limits = Limits { requests: Some(60), tokens: None, window: Duration::from_mins(1), burst: 1.0 / 60.0 };
        let mut buckets = Buckets::new(&limits, 0);
        assert_eq!(buckets.arrive(0, 9), Ok(()));
        assert_eq!(buckets.arrive(0, 9), Err(1_000_000));
        let wait = buckets.arrive(400_000, 9).unwrap_err();
        assert!((600_000..=600_001).contains(&wait), "{wait}");
        assert_eq!(buckets.arrive(1_000_000, 9), Ok(()));
    }

    #[test]
    fn answers_count_when_they_end() {
        let limits = Limits { requests: None, ..Limits::per_minute(0, 600) };
        let mut buckets = Buckets::new(&limits, 0);
        assert_eq!(buckets.arrive(0, 600), Ok(()));
        buckets.end(0, 10);
        assert_eq!(buckets.arrive(0, 1), Err(1_100_000));
        assert_eq!(buckets.arrive(1_100_000, 1), Ok(()));
    }
}
