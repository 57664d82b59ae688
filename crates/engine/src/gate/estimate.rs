//! Learns by how much estimates of input tokens fall short of what servers count.

/// Requests after which an estimate may be trusted to be too high.
const ENOUGH: u32 = 8;

/// The least factor until then.
const CAUTIOUS: f64 = 1.25;

/// On top of the worst that was seen.
const MARGIN: f64 = 1.05;

/// No factor is outside: what would be is no estimate.
const BOUNDS: std::ops::RangeInclusive<f64> = 0.5..=4.0;

/// Input tokens of a request of which nothing is known, before any was counted.
const UNKNOWN: u64 = 1024;

/// The worst ratio of counted to estimated input tokens seen so far.
#[derive(Debug, Default)]
pub(super) struct Estimator {
    seen: u32,
    worst: f64,
    longest: Option<u64>,
}

impl Estimator {
    /// What to reserve for an estimate; for none, as much as the longest request so far.
    pub(super) fn reserve(&self, estimated: Option<u64>) -> u64 {
        let Some(estimated) = estimated else { return self.longest.unwrap_or(UNKNOWN) };
        let factor = (self.worst * MARGIN).max(if self.seen < ENOUGH { CAUTIOUS } else { 0.0 });
        (estimated as f64 * factor.clamp(*BOUNDS.start(), *BOUNDS.end())).ceil() as u64
    }

    /// Takes note of what an estimate turned out to be.
    pub(super) fn learn(&mut self, estimated: Option<u64>, counted: Option<u64>) {
        let Some(counted) = counted else { return };
        self.longest = self.longest.max(Some(counted));
        if let Some(estimated) = estimated.filter(|estimated| *estimated > 0) {
            self.worst = self.worst.max(counted as f64 / estimated as f64);
            self.seen = self.seen.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_ratio_counts_within_bounds() {
        let mut estimator = Estimator::default();
        assert_eq!(estimator.reserve(Some(1000)), 1250);
        for _ in 0..ENOUGH {
            assert_eq!(estimator.reserve(Some(1000)), 1250);
            estimator.learn(Some(100), Some(60));
        }
        assert_eq!(estimator.reserve(Some(1000)), 630);
        estimator.learn(Some(100), Some(200));
        estimator.learn(Some(100), Some(90));
        assert_eq!(estimator.reserve(Some(1000)), 2100);
        estimator.learn(Some(1), Some(1000));
        assert_eq!(estimator.reserve(Some(1000)), 4000);
        estimator.learn(Some(0), Some(5));
        estimator.learn(Some(5), None);
        assert_eq!(estimator.reserve(Some(1000)), 4000);
    }

    #[test]
    fn without_an_estimate_the_longest_request_is_assumed() {
        let mut estimator = Estimator::default();
        assert_eq!(estimator.reserve(None), UNKNOWN);
        estimator.learn(None, Some(7));
        estimator.learn(None, Some(5));
        assert_eq!(estimator.reserve(None), 7);
    }
}
