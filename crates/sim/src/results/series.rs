//! One measured quantity: its exact sum, a histogram for its percentiles, and parts of both for their intervals.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Most parts into which runs are divided, in order of arrival, to see how much means vary.
pub const BATCHES: usize = 20;

/// Student's t for 95 % by degrees of freedom from 1; beyond the table the normal distribution is near enough.
const T95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// A figure with its 95 % confidence interval, which is `None` when there is too little to tell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Half the width of the interval.
    pub half: Option<f64>,
}

impl Interval {
    /// The mean of independent figures, with Student's interval.
    pub fn of(figures: &[f64]) -> Self {
        let count = figures.len();
        let value = figures.iter().sum::<f64>() / count.max(1) as f64;
        if count < 2 {
            return Self { value, half: None };
        }
        let variance = figures.iter().map(|figure| (figure - value).powi(2)).sum::<f64>() / (count - 1) as f64;
        let t = T95.get(count - 2).copied().unwrap_or(1.96);
        Self { value, half: Some(t * (variance / count as f64).sqrt()) }
    }
}

/// A quantity over many runs.
#[derive(Debug, Clone)]
pub struct Series {
    histogram: Histogram<u64>,
    sum: u128,
    max: u64,
    batches: [(u128, u64); BATCHES],
}

impl Default for Series {
    fn default() -> Self {
        Self {
            // Three digits: percentiles are within 0.1 %. Such a histogram can always be made.
            histogram: Histogram::new(3).unwrap_or_else(|_| unreachable!("three significant digits are allowed")),
            sum: 0,
            max: 0,
            batches: [(0, 0); BATCHES],
        }
    }
}

impl Series {
    /// One more value, of a run of that batch.
    pub fn record(&mut self, batch: usize, value: u64) {
        // A histogram that grows by itself takes every value.
        let _ = self.histogram.record(value);
        self.sum += u128::from(value);
        self.max = self.max.max(value);
        let batch = &mut self.batches[batch.min(BATCHES - 1)];
        batch.0 += u128::from(value);
        batch.1 += 1;
    }

    /// Values so far.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Their sum.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Their mean; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum as f64 / self.count() as f64)
    }

    /// Their mean with an interval from the means of the batches, which are nearly independent when they are long. A batch
    /// weighs as much as it has values: the last one may just have begun.
    pub fn mean_interval(&self) -> Option<Interval> {
        let value = self.mean()?;
        let filled: Vec<(f64, f64)> =
            self.batches.iter().filter(|batch| batch.1 > 0).map(|(sum, count)| (*sum as f64, *count as f64)).collect();
        let parts = filled.len();
        if parts < 2 {
            return Some(Interval { value, half: None });
        }
        let squares: f64 = filled.iter().map(|(sum, count)| (sum - count * value).powi(2)).sum();
        let variance = squares / (self.count() as f64).powi(2) * parts as f64 / (parts - 1) as f64;
        let t = T95.get(parts - 2).copied().unwrap_or(1.96);
        Some(Interval { value, half: Some(t * variance.sqrt()) })
    }

    /// Makes one batch of each two, so that there is room for as many again.
    pub(crate) fn coarsen(&mut self) {
        for batch in 0..BATCHES {
            let of = |index: usize| self.batches.get(index).copied().unwrap_or((0, 0));
            let (first, second) = (of(2 * batch), of(2 * batch + 1));
            self.batches[batch] = (first.0 + second.0, first.1 + second.1);
        }
    }

    /// The value that a share of all values does not exceed; within 0.1 %. `None` without values.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        // The histogram tells the upper end of a range.
        (self.count() > 0).then(|| self.histogram.value_at_quantile(share).min(self.max))
    }

    /// The largest value; `None` without values.
    pub fn max(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max)
    }

    /// The share of values that are at most `value`; `None` without values.
    pub fn share_within(&self, value: u64) -> Option<f64> {
        (self.count() > 0).then(|| self.histogram.quantile_below(value))
    }

    /// Adds what another simulation measured; exact, so the order of merging doesn't matter.
    pub fn merge(&mut self, other: &Self) {
        // A histogram that grows by itself takes every other.
        let _ = self.histogram.add(&other.histogram);
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        for (batch, more) in self.batches.iter_mut().zip(&other.batches) {
            batch.0 += more.0;
            batch.1 += more.1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_series_are_what_one_would_have_been() {
        let mut parts = [Series::default(), Series::default()];
        let mut whole = Series::default();
        for value in 0..10_000u64 {
            parts[(value % 2) as usize].record((value / 500) as usize, value * value);
            whole.record((value / 500) as usize, value * value);
        }
        let [mut first, second] = parts;
        first.merge(&second);
        assert_eq!(first.batches, whole.batches);
        assert_eq!((first.sum(), first.quantile(0.95), first.max()), (whole.sum(), whole.quantile(0.95), whole.max()));
    }

    #[test]
    fn no_percentile_is_above_the_largest_value() {
        let mut series = Series::default();
        series.record(0, 3_000_001);
        assert_eq!([series.quantile(0.5), series.quantile(0.99), series.max()], [Some(3_000_001); 3]);
    }

    #[test]
    fn a_batch_that_has_just_begun_weighs_little() {
        let mut series = Series::default();
        for value in 0..190u64 {
            series.record((value / 10) as usize, 100 + value % 2 * 20 + value / 10);
        }
        let before = series.mean_interval().unwrap().half.unwrap();
        series.record(19, 200);
        let after = series.mean_interval().unwrap().half.unwrap();
        assert!((0.9..1.1).contains(&(after / before)), "{before} {after}");
        series.coarsen();
        assert_eq!(series.batches.iter().filter(|batch| batch.1 > 0).count(), 10);
        let coarse = series.mean_interval().unwrap();
        assert!(coarse.half.unwrap() > after, "what grows is seen: {coarse:?}");
    }

    #[test]
    fn the_interval_is_students() {
        let interval = Interval::of(&[9.0, 10.0, 11.0]);
        assert!((interval.value - 10.0).abs() < 1e-12);
        assert!((interval.half.unwrap() - 4.303 / 3f64.sqrt()).abs() < 1e-9);
        assert_eq!(Interval::of(&[1.0]).half, None);
    }
}
