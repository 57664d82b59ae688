//! Limits as a server enforces them: token buckets, full at first and refilled continuously. Requests and input tokens
//! count when a request arrives, output tokens when they end.

use lumos_core::spec::LimitSpec;

/// Parts of a token: with so many, a limit per minute is a whole number of parts per microsecond.
const PARTS: i64 = 60_000_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    limit: i64,
    level: i64,
    at_us: u64,
}

impl Bucket {
    fn new(limit: u32) -> Self {
        let limit = i64::from(limit);
        Self { limit, level: limit * PARTS, at_us: 0 }
    }

    fn refill(&mut self, at_us: u64) {
        let passed = i128::from(at_us.saturating_sub(self.at_us)) * i128::from(self.limit);
        let level = i128::from(self.level).saturating_add(passed).min(i128::from(self.limit * PARTS));
        self.level = i64::try_from(level).unwrap_or(i64::MAX);
        self.at_us = self.at_us.max(at_us);
    }

    /// Microseconds until so many tokens are there.
    fn wait_us(&self, tokens: u64) -> u64 {
        let missing = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(PARTS).saturating_sub(self.level);
        u64::try_from(missing).map_or(0, |missing| missing.div_ceil(self.limit.unsigned_abs().max(1)))
    }

    fn take(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(PARTS));
    }
}

/// The buckets of one account at a server.
#[derive(Debug, Clone)]
pub struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    input: Option<Bucket>,
    output: Option<Bucket>,
    concurrency: u32,
    in_flight: u32,
}

impl Buckets {
    /// Full ones.
    pub fn new(limits: &LimitSpec) -> Self {
        let bucket = |limit: Option<u32>| limit.map(Bucket::new);
        Self {
            requests: bucket(limits.rpm),
            tokens: bucket(limits.tpm),
            input: bucket(limits.input_tpm),
            output: bucket(limits.output_tpm),
            concurrency: limits.concurrency.unwrap_or(u32::MAX),
            in_flight: 0,
        }
    }

    /// Takes a request with `input` tokens.
    ///
    /// # Errors
    /// The microseconds after which it would be taken.
    pub fn arrive(&mut self, at_us: u64, input: u64) -> Result<(), u64> {
        let mut wanted = [
            (&mut self.requests, 1),
            (&mut self.tokens, input),
            (&mut self.input, input),
            // An answer may bring it below zero, which keeps the next one out.
            (&mut self.output, 0),
        ];
        let mut wait_us = u64::from(self.in_flight >= self.concurrency);
        for (bucket, tokens) in &mut wanted {
            if let Some(bucket) = bucket {
                bucket.refill(at_us);
                wait_us = wait_us.max(bucket.wait_us(*tokens));
            }
        }
        if wait_us > 0 {
            return Err(wait_us);
        }
        for (bucket, tokens) in wanted {
            if let Some(bucket) = bucket {
                bucket.take(tokens);
            }
        }
        self.in_flight += 1;
        Ok(())
    }

    /// A request that was taken ends with `output` tokens.
    pub fn end(&mut self, at_us: u64, output: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for bucket in [&mut self.tokens, &mut self.output].into_iter().flatten() {
            bucket.refill(at_us);
            bucket.take(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_refilled_continuously_and_answers_count_at_their_end() {
        let limits = LimitSpec { rpm: Some(60), tpm: Some(600), ..LimitSpec::default() };
        let mut buckets = Buckets::new(&limits);
        assert_eq!(buckets.arrive(0, 600), Ok(()));
        buckets.end(0, 10);
        assert_eq!(buckets.arrive(0, 1), Err(1_100_000));
        assert_eq!(buckets.arrive(1_100_000, 1), Ok(()));
        let mut requests = Buckets::new(&LimitSpec { rpm: Some(60), ..LimitSpec::default() });
        assert!((0..60).all(|_| requests.arrive(0, 9).is_ok()));
        assert_eq!(requests.arrive(0, 9), Err(1_000_000));
        assert_eq!(requests.arrive(400_000, 9), Err(600_000));
        assert_eq!(requests.arrive(1_000_000, 9), Ok(()));
    }
}
