//! Percentiles, with intervals that assume nothing about how the values are distributed.

use super::{Estimate, LEVEL};

/// The smallest value that at least `share` of the sorted values do not exceed; `None` of nothing.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// A percentile of sorted values, between two of them: the number of values below the true one is binomial, whatever the
/// distribution. With too few values an end is absent: the largest of 20 says nothing of how large p95 may be.
pub fn quantile_interval(sorted: &[f64], share: f64) -> Option<Estimate> {
    let value = quantile(sorted, share)?;
    let (low, high) = ranks(sorted.len(), share);
    let at = |rank: Option<usize>| rank.and_then(|rank| sorted.get(rank - 1).copied());
    Some(Estimate { value, low: at(low), high: at(high) })
}

/// Whether `n` values tell where a percentile lies.
pub fn is_told(n: usize, share: f64) -> bool {
    let (low, high) = ranks(n, share);
    low.is_some() && high.is_some()
}

/// Ranks from 1 of the values between which the percentile lies, each end missed with at most half of what the level
/// leaves.
fn ranks(n: usize, share: f64) -> (Option<usize>, Option<usize>) {
    let tail = (1.0 - LEVEL) / 2.0;
    // `below[k]`: the probability that at most k of n values lie below the percentile.
    let mut total = 0.0;
    let (mut low, mut high) = (None, None);
    let odds = (share / (1.0 - share)).ln();
    let mut log_term = n as f64 * (1.0 - share).ln();
    for k in 0..=n {
        total += log_term.exp();
        // The percentile lies below value r when fewer than r values do: P(K <= r - 1).
        if total <= tail {
            low = Some(k + 1);
        }
        if high.is_none() && total >= 1.0 - tail && k < n {
            high = Some(k + 1);
        }
        log_term += ((n - k) as f64 / (k + 1) as f64).ln() + odds;
    }
    (low.filter(|rank| *rank <= n), high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [0.0, 0.5, 0.95, 0.99, 1.0].map(|share| quantile(&values, share).unwrap()),
            [1.0, 50.0, 95.0, 99.0, 100.0]
        );
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_median_of_ten_lies_between_the_second_and_the_ninth() {
        // Conover, Practical Nonparametric Statistics: P(K <= 1) = 0.0107 for n = 10, so ranks 2 and 9 hold 97.9 %.
        assert_eq!(ranks(10, 0.5), (Some(2), Some(9)));
        assert_eq!(ranks(5, 0.5), (None, None));
        assert_eq!(ranks(6, 0.5), (Some(1), Some(6)));
    }

    #[test]
    fn few_values_do_not_bound_a_high_percentile() {
        // 0.95^n is below 0.025 from n = 72 on.
        assert!(ranks(71, 0.95).1.is_none() && ranks(72, 0.95).1 == Some(72));
        assert!(is_told(72, 0.95) && !is_told(71, 0.95) && !is_told(300, 0.99) && is_told(368, 0.99));
        assert!(ranks(20_000, 0.95).1.is_some(), "small terms don't vanish");
    }
}
