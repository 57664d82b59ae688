//! The bootstrap: figures of values drawn again from those that there are.
//!
//! Intervals of means and of ratios of means are bias-corrected and accelerated (BCa; Efron 1987), with the levels widened
//! for few values as Hesterberg (2015, "What Teachers Should Know about the Bootstrap", section 5.4) does, so that 5 values
//! give what Student's factor would. Those of differences of percentiles are plain percentiles of resamples.

use distrs::Normal;
use lumos_core::chance::{combine, mix};

use super::quantile::{is_told, quantile};
use super::{Estimate, LEVEL, mean, share_interval, student};

/// A figure of two sets, which it may put in another order.
type Statistic<'a> = &'a dyn Fn(&mut [f64], &mut [f64]) -> Option<f64>;

/// Draws values again and again; the same seed draws the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Seed of the draws.
    pub seed: u64,
    /// How often all values are drawn.
    pub resamples: usize,
}

impl Bootstrap {
    /// 4,000 resamples.
    pub fn new(seed: u64) -> Self {
        Self { seed, resamples: 4_000 }
    }

    /// The mean of values.
    pub fn mean(&self, values: &[f64]) -> Option<Estimate> {
        self.bca(values.len(), |at| values[at], |_| 1.0)
    }

    /// The mean of values between 0 and 1. Where all are 0 or 1, or the same, its interval is Wilson's of a share: resampling
    /// would find that all right answers of ten are all that ever come.
    pub fn score(&self, values: &[f64]) -> Option<Estimate> {
        let is_share = values.iter().all(|value| *value == 0.0 || *value == 1.0);
        if is_share || values.iter().all(|value| *value == values[0]) {
            return share_interval(values.iter().sum(), values.len());
        }
        self.mean(values)
    }

    /// The mean of what `b` has more than `a`, pair by pair. `unit` says that the values lie between 0 and 1: where no pair
    /// differs, others still may.
    pub fn difference(&self, a: &[f64], b: &[f64], unit: bool) -> Option<Estimate> {
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
        if unit && !differences.is_empty() && differences.iter().all(|difference| *difference == 0.0) {
            let most = share_interval(0.0, differences.len())?.high?;
            return Some(Estimate::between(0.0, (-most, most)));
        }
        self.bca(differences.len(), |at| differences[at], |_| 1.0)
    }

    /// The mean of `b` over that of `a`, less 1, pair by pair; `None` when the mean of `a` is 0.
    pub fn relative(&self, a: &[f64], b: &[f64]) -> Option<Estimate> {
        let n = a.len().min(b.len());
        if mean(&a[..n])? <= 0.0 {
            return None;
        }
        self.bca(n, |at| b[at] - a[at], |at| a[at])
    }

    /// How much larger a percentile of `b` is than that of `a`, pair by pair. The ends are absent where there are too few
    /// values to tell.
    pub fn quantile_difference(&self, a: &[f64], b: &[f64], share: f64) -> Option<Estimate> {
        let n = a.len().min(b.len());
        let of = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            quantile(&values, share)
        };
        let value = of(&b[..n])? - of(&a[..n])?;
        if !is_told(n, share) {
            return Some(Estimate::bare(value));
        }
        let (mut drawn_a, mut drawn_b) = (vec![0.0; n], vec![0.0; n]);
        let rank = ((n as f64 * share).ceil() as usize).clamp(1, n) - 1;
        let mut found: Vec<f64> = (0..self.resamples)
            .map(|round| {
                let mut draws = Draws::new(self.seed, round);
                for at in 0..n {
                    let drawn = draws.below(n);
                    (drawn_a[at], drawn_b[at]) = (a[drawn], b[drawn]);
                }
                let kth = |values: &mut [f64]| *values.select_nth_unstable_by(rank, f64::total_cmp).1;
                kth(&mut drawn_b) - kth(&mut drawn_a)
            })
            .collect();
        found.sort_by(f64::total_cmp);
        let tail = (1.0 - LEVEL) / 2.0;
        Some(Estimate::between(value, (interpolated(&found, tail), interpolated(&found, 1.0 - tail))))
    }

    /// The mean of `b` less that of `a`, which are not pairs.
    pub fn apart(&self, a: &[f64], b: &[f64]) -> Option<Estimate> {
        self.independent(a, b, &|a, b| Some(mean(b)? - mean(a)?))
    }

    /// The mean of `b` over that of `a`, less 1, which are not pairs; `None` when the mean of `a` is 0.
    pub fn apart_relative(&self, a: &[f64], b: &[f64]) -> Option<Estimate> {
        if mean(a)? <= 0.0 {
            return None;
        }
        self.independent(a, b, &|a, b| Some(mean(b)? / mean(a)? - 1.0))
    }

    /// How much larger a percentile of `b` is than that of `a`, which are not pairs.
    pub fn quantile_apart(&self, a: &[f64], b: &[f64], share: f64) -> Option<Estimate> {
        let of = |values: &mut [f64]| {
            let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
            (!values.is_empty()).then(|| *values.select_nth_unstable_by(rank, f64::total_cmp).1)
        };
        let found = self.independent(a, b, &|a, b| Some(of(b)? - of(a)?))?;
        Some(if is_told(a.len().min(b.len()), share) { found } else { Estimate::bare(found.value) })
    }

    /// A figure of two sets that are drawn apart: percentiles of resamples, widened for few values.
    fn independent(&self, a: &[f64], b: &[f64], of: Statistic<'_>) -> Option<Estimate> {
        let (mut drawn_a, mut drawn_b) = (a.to_vec(), b.to_vec());
        let value = of(&mut drawn_a, &mut drawn_b).filter(|value| value.is_finite())?;
        let n = a.len().min(b.len());
        if n < 2 {
            return Some(Estimate::bare(value));
        }
        let mut found: Vec<f64> = (0..self.resamples)
            .filter_map(|round| {
                let mut draws = Draws::new(self.seed, round);
                drawn_a.fill_with(|| a[draws.below(a.len())]);
                drawn_b.fill_with(|| b[draws.below(b.len())]);
                of(&mut drawn_a, &mut drawn_b).filter(|value| value.is_finite())
            })
            .collect();
        found.sort_by(f64::total_cmp);
        let tail = Normal::cdf(-student(n) * (n as f64 / (n - 1) as f64).sqrt(), 0.0, 1.0);
        Some(Estimate::between(value, (interpolated(&found, tail), interpolated(&found, 1.0 - tail))))
    }

    /// The ratio of the means of two parts of each value. With a denominator of 1 it is a mean.
    fn bca(&self, n: usize, part: impl Fn(usize) -> f64, whole: impl Fn(usize) -> f64) -> Option<Estimate> {
        let sums = |drawn: &mut dyn Iterator<Item = usize>| {
            drawn.fold((0.0, 0.0), |(parts, wholes), at| (parts + part(at), wholes + whole(at)))
        };
        let (parts, wholes) = sums(&mut (0..n));
        let value = parts / wholes;
        if n == 0 || !value.is_finite() {
            return None;
        }
        if n == 1 {
            return Some(Estimate::bare(value));
        }
        let mut found: Vec<f64> = (0..self.resamples)
            .map(|round| {
                let mut draws = Draws::new(self.seed, round);
                let (parts, wholes) = sums(&mut (0..n).map(|_| draws.below(n)));
                parts / wholes
            })
            .filter(|ratio| ratio.is_finite())
            .collect();
        found.sort_by(f64::total_cmp);
        if found.first() == found.last() {
            return Some(Estimate::between(value, (value, value)));
        }
        // How far the resamples lie to one side of the value, ties half to each.
        let (below, up_to) = (found.partition_point(|it| *it < value), found.partition_point(|it| *it <= value));
        let share = (below + up_to) as f64 / (2 * found.len()) as f64;
        let bias = Normal::ppf(share.clamp(1e-6, 1.0 - 1e-6), 0.0, 1.0);
        let acceleration = acceleration((0..n).map(|at| (parts - part(at)) / (wholes - whole(at))));
        let z = student(n) * (n as f64 / (n - 1) as f64).sqrt();
        let at = |z: f64| {
            let moved = bias + z;
            let level = Normal::cdf(bias + moved / (1.0 - acceleration * moved).max(1e-6), 0.0, 1.0);
            interpolated(&found, level)
        };
        Some(Estimate::between(value, (at(-z), at(z))))
    }
}

/// How fast the standard error changes with the figure, from the figures without one value each.
fn acceleration(without: impl Iterator<Item = f64>) -> f64 {
    let without: Vec<f64> = without.filter(|value| value.is_finite()).collect();
    let Some(middle) = mean(&without) else { return 0.0 };
    let sum = |power: i32| without.iter().map(|value| (middle - value).powi(power)).sum::<f64>();
    let spread = sum(2).powf(1.5);
    if spread > 0.0 { sum(3) / (6.0 * spread) } else { 0.0 }
}

/// A percentile of sorted values, between two of them where it falls between: the k-th of n is that of k / (n + 1), so that
/// few resamples make no narrower intervals than many (Davison and Hinkley 1997, section 5.2.3).
fn interpolated(sorted: &[f64], share: f64) -> f64 {
    let most = (sorted.len() - 1) as f64;
    let at = (share * (sorted.len() + 1) as f64 - 1.0).clamp(0.0, most);
    let (low, rest) = (at.floor() as usize, at.fract());
    let high = sorted[(low + 1).min(sorted.len() - 1)];
    sorted[low] + (high - sorted[low]) * rest
}

/// Draws of one resample.
struct Draws(u64);

impl Draws {
    fn new(seed: u64, round: usize) -> Self {
        Self(combine(seed, round as u64))
    }

    /// A number below `n`, evenly but for 2⁻⁶⁴ · n.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_hardly_differs() {
        let values: Vec<f64> = (0..40).map(|at| f64::from(at * at % 17)).collect();
        let [a, again, b] = [1, 1, 2].map(|seed| Bootstrap::new(seed).mean(&values).unwrap());
        assert_eq!(a, again);
        assert_ne!(a, b);
        assert!((a.low.unwrap() - b.low.unwrap()).abs() < 0.2, "{a:?} {b:?}");
    }

    #[test]
    fn an_interval_of_many_even_values_is_what_the_normal_one_is() {
        let values: Vec<f64> = (0..400).map(|at| f64::from(at % 20)).collect();
        let found = Bootstrap::new(7).mean(&values).unwrap();
        // Standard deviation 5.773 (n - 1), of the mean 0.2887; 1.96 of them to either side.
        assert!((found.low.unwrap() - (9.5 - 0.566)).abs() < 0.05, "{found:?}");
        assert!((found.high.unwrap() - (9.5 + 0.566)).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn what_is_not_known_has_no_ends() {
        let bootstrap = Bootstrap::new(0);
        assert_eq!(bootstrap.mean(&[]), None);
        assert_eq!(bootstrap.mean(&[0.3]), Some(Estimate::bare(0.3)));
        assert_eq!(bootstrap.score(&[]), None);
        assert_eq!(bootstrap.score(&[1.0; 10]), share_interval(10.0, 10));
        assert!(bootstrap.score(&[0.5; 4]).is_some_and(|it| it.low.is_some_and(|low| low < 0.3)));
        assert_eq!(bootstrap.relative(&[0.0, 0.0], &[1.0, 2.0]), None);
        let few: Vec<f64> = (0..20).map(f64::from).collect();
        let many: Vec<f64> = few.iter().map(|value| value + 3.0).collect();
        assert_eq!(bootstrap.quantile_difference(&few, &many, 0.95), Some(Estimate::bare(3.0)));
        assert_eq!(bootstrap.quantile_difference(&few, &many, 0.5), Some(Estimate::between(3.0, (3.0, 3.0))));
    }

    #[test]
    fn pairs_that_never_differed_may_differ_yet() {
        let bootstrap = Bootstrap::new(0);
        let same = bootstrap.difference(&[1.0; 20], &[1.0; 20], true).unwrap();
        assert!((same.high.unwrap() - 0.161).abs() < 0.001 && same.low == same.high.map(|high| -high), "{same:?}");
        assert_eq!(bootstrap.difference(&[5.0; 3], &[7.0; 3], false), Some(Estimate::between(2.0, (2.0, 2.0))));
    }

    #[test]
    fn a_ratio_of_pairs_is_surer_than_its_parts() {
        let a: Vec<f64> = (1..=50).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|value| value * 0.3).collect();
        let found = Bootstrap::new(3).relative(&a, &b).unwrap();
        assert!(
            (found.value + 0.7).abs() < 1e-12 && (found.high.unwrap() - found.low.unwrap()).abs() < 1e-9,
            "{found:?}"
        );
    }
}
