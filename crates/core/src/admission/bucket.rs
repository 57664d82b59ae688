//! A mirror of a server's token bucket, in which the debits of requests in flight can still be corrected.

use serde::{Deserialize, Serialize};

/// Parts of a token: with so many, a limit per minute is a whole number of parts per microsecond, and nothing rounds.
const PARTS: i64 = 60_000_000;

/// How long a bucket must have been full before all of it is asked for: covers delays that differ by as much.
const SETTLED_US: u64 = 100_000;

/// No level is more, so that sums of them don't overflow.
const CEILING: i64 = i64::MAX / 4;

/// A bucket of `limit` tokens that refills in a minute.
///
/// A capped bucket stands, at any time, at the least of what it would hold had it last been full at some moment of the
/// past. `levels[0]` is that minimum over the moments before the oldest request in flight, `levels[k]` over those between
/// the `k`th and the next: when the debit of a request turns out to be different, only the levels before it move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bucket {
    limit: u32,
    levels: Vec<i64>,
    full_since_us: Option<u64>,
}

/// When a bucket allows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    Now,
    /// Then, if nothing is settled before.
    At(u64),
    /// Not before something is settled.
    Held,
}

impl Bucket {
    /// A full one, while `in_flight` requests are out.
    pub(super) fn full(limit: u32, in_flight: usize) -> Self {
        Self { limit, levels: vec![capacity(limit); in_flight + 1], full_since_us: Some(0) }
    }

    /// Goes over to another limit with what is in it.
    pub(super) fn adopt(&mut self, limit: u32) {
        if limit != self.limit {
            self.limit = limit;
            self.full_since_us = None;
            self.cap();
        }
    }

    /// Lets time pass.
    pub(super) fn refill(&mut self, from_us: u64, to_us: u64) {
        let full_us = self.full_at(from_us);
        let parts = i128::from(self.limit) * i128::from(to_us.saturating_sub(from_us));
        let parts = i64::try_from(parts).unwrap_or(CEILING).min(CEILING);
        for level in &mut self.levels {
            *level = level.saturating_add(parts).min(CEILING);
        }
        self.cap();
        if self.full_since_us.is_none() && full_us <= to_us {
            self.full_since_us = Some(full_us);
        }
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, by_us: u64) {
        self.full_since_us = self.full_since_us.map(|since_us| since_us.saturating_sub(by_us));
    }

    /// Takes tokens out now.
    pub(super) fn take(&mut self, tokens: u64) {
        if tokens > 0 {
            self.remove(parts(tokens));
        }
    }

    /// Takes out whatever is left.
    pub(super) fn drain(&mut self) {
        let level = self.level();
        if level > 0 {
            self.remove(level);
        }
    }

    /// A request that takes `tokens` begins.
    pub(super) fn begin(&mut self, tokens: u64) {
        self.take(tokens);
        self.levels.push(capacity(self.limit));
    }

    /// The request in flight at `index`, in order of their beginning, ends. It took `tokens`, not `assumed`.
    pub(super) fn end(&mut self, index: usize, assumed: u64, tokens: u64, now_us: u64) {
        if index + 1 >= self.levels.len() {
            return;
        }
        let difference = parts(assumed) - parts(tokens);
        for level in &mut self.levels[..=index] {
            *level = level.saturating_add(difference).min(CEILING);
        }
        let since = self.levels.remove(index + 1);
        self.levels[index] = self.levels[index].min(since);
        self.cap();
        if self.level() < capacity(self.limit) {
            self.full_since_us = None;
        } else {
            self.full_since_us.get_or_insert(now_us);
        }
    }

    /// When `tokens` may be taken while `held` are promised to others.
    pub(super) fn ready(&self, now_us: u64, tokens: u64, held: u64) -> Ready {
        let capacity = capacity(self.limit);
        let reserve = (capacity / 50).max(PARTS);
        let wanted = parts(tokens).saturating_add(reserve);
        let held = parts(held);
        if wanted > capacity {
            // It would never be there: all there is must do.
            return match self.full_since_us {
                _ if held > 0 => Ready::Held,
                Some(since_us) if since_us.saturating_add(SETTLED_US) <= now_us => Ready::Now,
                Some(since_us) => Ready::At(since_us.saturating_add(SETTLED_US)),
                None => Ready::At(self.full_at(now_us).saturating_add(SETTLED_US)),
            };
        }
        match wanted.saturating_add(held) {
            target if target > capacity => Ready::Held,
            target if target <= self.level() => Ready::Now,
            target => Ready::At(self.reaches_at(target, now_us)),
        }
    }

    /// Whole tokens in it; fewer than none after more was used than there was.
    #[cfg(test)]
    pub(super) fn tokens(&self) -> i64 {
        self.level().div_euclid(PARTS)
    }

    fn level(&self) -> i64 {
        self.levels.iter().copied().min().unwrap_or(0)
    }

    fn remove(&mut self, parts: i64) {
        for level in &mut self.levels {
            *level = level.saturating_sub(parts);
        }
        self.full_since_us = None;
    }

    fn cap(&mut self) {
        let capacity = capacity(self.limit);
        if let Some(last) = self.levels.last_mut() {
            *last = (*last).min(capacity);
        }
    }

    fn full_at(&self, now_us: u64) -> u64 {
        self.reaches_at(capacity(self.limit), now_us)
    }

    fn reaches_at(&self, target: i64, now_us: u64) -> u64 {
        let missing = target.saturating_sub(self.level()).max(0) as u64;
        now_us.saturating_add(missing.div_ceil(u64::from(self.limit.max(1))))
    }
}

fn capacity(limit: u32) -> i64 {
    i64::from(limit) * PARTS
}

fn parts(tokens: u64) -> i64 {
    i64::from(u32::try_from(tokens).unwrap_or(u32::MAX)) * PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn refills_continuously_up_to_the_limit() {
        let mut bucket = Bucket::full(60, 0);
        bucket.take(60);
        assert_eq!(bucket.ready(0, 1, 0), Ready::At(2_200_000), "one and the reserve of 1.2");
        bucket.refill(0, 10 * SECOND + 1);
        assert_eq!(bucket.tokens(), 10);
        bucket.refill(10 * SECOND + 1, 1000 * SECOND);
        assert_eq!(bucket.tokens(), 60);
    }

    #[test]
    fn what_is_promised_is_not_refilled_beyond_the_limit() {
        let mut bucket = Bucket::full(100, 0);
        bucket.refill(0, 600 * SECOND);
        assert_eq!(bucket.ready(0, 50, 60), Ready::Held);
        assert_eq!(bucket.ready(0, 38, 60), Ready::Now);
    }

    #[test]
    fn all_of_it_is_given_only_after_it_has_been_full_for_a_moment() {
        let mut bucket = Bucket::full(1, 0);
        assert_eq!(bucket.ready(0, 1, 0), Ready::At(SETTLED_US));
        bucket.take(1);
        assert_eq!(bucket.ready(0, 1, 0), Ready::At(60 * SECOND + SETTLED_US));
        bucket.refill(0, 60 * SECOND + 5);
        assert_eq!(bucket.ready(60 * SECOND + 5, 1, 0), Ready::At(60 * SECOND + SETTLED_US));
        assert_eq!(bucket.ready(60 * SECOND + SETTLED_US, 7, 0), Ready::Now);
        assert_eq!(bucket.ready(60 * SECOND + SETTLED_US, 7, 1), Ready::Held);
    }

    #[test]
    fn a_refund_does_not_give_back_what_a_full_bucket_could_not_refill() {
        let mut bucket = Bucket::full(60, 0);
        bucket.begin(40);
        bucket.refill(0, 20 * SECOND);
        bucket.take(50);
        bucket.end(0, 40, 5, 20 * SECOND);
        // Had 5 left at once, it would have been full after 5 s.
        assert_eq!(bucket.tokens(), 10);
    }

    /// Something that happens to a bucket.
    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Begin { assumed: u64, actual: u64 },
        End(usize),
        Take(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..30 * SECOND).prop_map(Step::Pass),
            (0u64..50, 0u64..50).prop_map(|(assumed, actual)| Step::Begin { assumed, actual }),
            any::<usize>().prop_map(Step::End),
            (0u64..50).prop_map(Step::Take),
        ]
    }

    proptest! {
        /// Once nothing is in flight, the bucket stands exactly where one stands that knew the right figures at once.
        #[test]
        fn corrections_are_exact(limit in 1u32..200, steps in prop::collection::vec(step(), 1..60)) {
            let (mut bucket, mut oracle) = (Bucket::full(limit, 0), Bucket::full(limit, 0));
            let mut in_flight = Vec::new();
            let mut now = 0;
            let end = |bucket: &mut Bucket, in_flight: &mut Vec<(u64, u64)>, index: usize, now| {
                let (assumed, actual) = in_flight.remove(index);
                bucket.end(index, assumed, actual, now);
            };
            for step in steps {
                match step {
                    Step::Pass(us) => {
                        bucket.refill(now, now + us);
                        oracle.refill(now, now + us);
                        now += us;
                    }
                    Step::Begin { assumed, actual } => {
                        bucket.begin(assumed);
                        oracle.take(actual);
                        in_flight.push((assumed, actual));
                    }
                    Step::End(index) if !in_flight.is_empty() => {
                        let index = index % in_flight.len();
                        end(&mut bucket, &mut in_flight, index, now);
                    }
                    Step::End(_) => {}
                    Step::Take(tokens) => {
                        bucket.take(tokens);
                        oracle.take(tokens);
                    }
                }
                prop_assert!(bucket.level() <= capacity(limit));
            }
            while !in_flight.is_empty() {
                end(&mut bucket, &mut in_flight, 0, now);
            }
            prop_assert_eq!(bucket.level(), oracle.level());
            prop_assert_eq!(bucket.levels.len(), 1);
        }
    }
}
