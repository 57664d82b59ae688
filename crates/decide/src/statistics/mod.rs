//! How sure one can be of a figure: 95 % intervals of means, shares, ratios and percentiles, and of their differences
//! between two that did the same work. Everything is a function of the values and a seed.

mod bootstrap;
mod quantile;

#[cfg(test)]
pub(crate) mod coverage;

pub use bootstrap::Bootstrap;
pub use quantile::{quantile, quantile_interval};

use serde::{Deserialize, Serialize};

/// The share of intervals that hold the truth.
pub const LEVEL: f64 = 0.95;

/// A figure with its 95 % interval. An end that the values cannot tell is absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

impl Estimate {
    /// A figure of which nothing else is known.
    pub fn bare(value: f64) -> Self {
        Self { value, low: None, high: None }
    }

    /// A figure between two ends.
    pub fn between(value: f64, (low, high): (f64, f64)) -> Self {
        Self { value, low: Some(low), high: Some(high) }
    }

    /// Whether the interval lies above 0, or below; `None` when it holds 0 or has an end that is not known.
    pub fn sign(&self) -> Option<std::cmp::Ordering> {
        match (self.low, self.high) {
            (Some(low), _) if low > 0.0 => Some(std::cmp::Ordering::Greater),
            (_, Some(high)) if high < 0.0 => Some(std::cmp::Ordering::Less),
            _ => None,
        }
    }

    /// The same in another unit.
    #[must_use]
    pub fn per(self, unit: f64) -> Self {
        Self { value: self.value / unit, low: self.low.map(|low| low / unit), high: self.high.map(|high| high / unit) }
    }
}

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Wilson's interval (1927) for a share of `n`, of which `hits` were: honest where all or none were, as resampling is not.
pub fn share_interval(hits: f64, n: usize) -> Option<Estimate> {
    if n == 0 {
        return None;
    }
    let (n, z) = (n as f64, distrs::Normal::ppf(f64::midpoint(1.0, LEVEL), 0.0, 1.0));
    let (share, z2) = (hits / n, z * z);
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends of the scale the interval reaches the share itself, which rounding may miss.
    Some(Estimate::between(share, ((middle - half).clamp(0.0, share), (middle + half).clamp(share, 1.0))))
}

/// Student's interval of a mean, for figures each of which is a mean of much: simulations with different seeds.
pub fn student_interval(values: &[f64]) -> Option<Estimate> {
    let mean = mean(values)?;
    let n = values.len() as f64;
    if values.len() < 2 {
        return Some(Estimate::bare(mean));
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = student(values.len()) * (variance / n).sqrt();
    Some(Estimate::between(mean, (mean - half, mean + half)))
}

/// Student's factor for the mean of `n` values, at least 2.
fn student(n: usize) -> f64 {
    distrs::StudentsT::ppf(f64::midpoint(1.0, LEVEL), (n - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, wanted: f64) {
        assert!(found.is_some_and(|found| (found - wanted).abs() < 5e-4), "{found:?} is not {wanted}");
    }

    #[test]
    fn a_share_of_all_is_not_certain() {
        // Wilson's 95 % interval of 10 of 10 is 0.722 to 1; of 8 of 10, 0.490 to 0.943 (R: prop.test, correct = FALSE).
        let all = share_interval(10.0, 10).unwrap();
        assert_eq!((all.value, all.high), (1.0, Some(1.0)));
        near(all.low, 0.7225);
        let most = share_interval(8.0, 10).unwrap();
        near(most.low, 0.4902);
        near(most.high, 0.9433);
        let none = share_interval(0.0, 10).unwrap();
        assert_eq!(none.low, Some(0.0));
        near(none.high, 0.2775);
        assert_eq!(share_interval(0.0, 0), None);
    }

    #[test]
    fn a_mean_of_few_is_wide() {
        // t with 3 degrees of freedom at 97.5 % is 3.1824; the standard error of 1, 2, 3, 4 is 0.6455.
        let found = student_interval(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        near(found.low, 2.5 - 2.0543);
        near(found.high, 2.5 + 2.0543);
        assert_eq!(student_interval(&[7.0]), Some(Estimate::bare(7.0)));
        assert_eq!(student_interval(&[]), None);
    }

    #[test]
    fn a_sign_is_there_when_zero_is_not() {
        use std::cmp::Ordering;
        let of = |low, high| Estimate { value: 0.0, low, high }.sign();
        assert_eq!(of(Some(0.1), None), Some(Ordering::Greater));
        assert_eq!(of(None, Some(-0.1)), Some(Ordering::Less));
        assert_eq!(of(Some(-0.1), Some(0.1)), None);
        assert_eq!(of(None, None), None);
    }
}
