//! The forecasting models, each from a history to means and intervals.
//!
//! Exponential smoothing has additive errors only (`AZN`): its intervals are in closed form, those of multiplicative
//! errors would be simulated with a generator that nobody seeds.

use augurs::ets::{AutoETS, AutoSpec};
use augurs::mstl::MSTLModel;
use augurs::{Fit as _, Predict as _};
use distrs::Normal;
use lumos_core::spec::ForecastModel;

use super::backtest::Scores;

/// Means and intervals, one entry per step ahead.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forecast {
    pub(super) mean: Vec<f64>,
    pub(super) lower: Vec<f64>,
    pub(super) upper: Vec<f64>,
}

impl Forecast {
    /// The same value at every step, with certainty.
    pub(super) fn constant(value: f64, horizon: usize) -> Self {
        let steps = vec![value; horizon];
        Self { mean: steps.clone(), lower: steps.clone(), upper: steps }
    }

    /// `mean` with normal intervals of the given standard deviations.
    fn normal(mean: Vec<f64>, deviations: impl Iterator<Item = f64>, level: f64) -> Self {
        let quantile = Normal::ppf(f64::midpoint(1.0, level), 0.0, 1.0);
        let widths: Vec<_> = deviations.map(|deviation| quantile * deviation).collect();
        let lower = mean.iter().zip(&widths).map(|(mean, width)| mean - width).collect();
        let upper = mean.iter().zip(&widths).map(|(mean, width)| mean + width).collect();
        Self { mean, lower, upper }
    }

    /// The forecast with intervals no narrower than the errors of the backtest suggest: models judge themselves by
    /// how they fit the past, which is better than they forecast.
    pub(super) fn widened(self, scores: &Scores, level: f64) -> Self {
        let quantile = Normal::ppf(f64::midpoint(1.0, level), 0.0, 1.0);
        let least = quantile * scores.deviation;
        let lower = self.lower.iter().zip(&self.mean).map(|(lower, mean)| lower.min(mean - least)).collect();
        let upper = self.upper.iter().zip(&self.mean).map(|(upper, mean)| upper.max(mean + least)).collect();
        Self { mean: self.mean, lower, upper }
    }

    /// The weighted mean of forecasts over the same steps; weights add up to 1.
    pub(super) fn mean_of(parts: &[(f64, Self)], horizon: usize) -> Self {
        let mean = |of: fn(&Self) -> &Vec<f64>| -> Vec<f64> {
            (0..horizon).map(|at| parts.iter().map(|(weight, part)| weight * of(part)[at]).sum()).collect()
        };
        Self { mean: mean(|it| &it.mean), lower: mean(|it| &it.lower), upper: mean(|it| &it.upper) }
    }

    /// Nothing below `min`.
    pub(super) fn at_least(mut self, min: Option<f64>) -> Self {
        if let Some(min) = min {
            let values = [&mut self.mean, &mut self.lower, &mut self.upper];
            values.into_iter().flatten().for_each(|value| *value = value.max(min));
        }
        self
    }

    fn is_sound(&self, horizon: usize) -> bool {
        let complete = [&self.mean, &self.lower, &self.upper].iter().all(|values| values.len() == horizon);
        complete
            && (0..horizon).all(|at| {
                let (lower, mean, upper) = (self.lower[at], self.mean[at], self.upper[at]);
                [lower, mean, upper].iter().all(|value| value.is_finite()) && lower <= mean && mean <= upper
            })
    }
}

/// Fits `model` to `values` and forecasts `horizon` steps.
pub(super) fn forecast(
    model: ForecastModel,
    values: &[f64],
    season: usize,
    horizon: usize,
    level: f64,
) -> Result<Forecast, String> {
    let forecast = match model {
        ForecastModel::SeasonalNaive => seasonal_naive(values, season, horizon, level)?,
        ForecastModel::Ets => {
            let fitted = ets()?.fit(values).map_err(|error| error.to_string())?;
            from_augurs(fitted.predict(horizon, level).map_err(|error| error.to_string())?)?
        }
        ForecastModel::Mstl => {
            if season < 2 || values.len() < 2 * season {
                return Err("a decomposition needs two seasons".to_owned());
            }
            // The decomposition computes in `f32`: centred values keep their digits.
            let centre = values.iter().sum::<f64>() / values.len() as f64;
            let centred: Vec<_> = values.iter().map(|value| value - centre).collect();
            let model = MSTLModel::new(vec![season], ets()?.into_trend_model());
            let fitted = model.fit(&centred).map_err(|error| error.to_string())?;
            let forecast = from_augurs(fitted.predict(horizon, level).map_err(|error| error.to_string())?)?;
            let back = |values: Vec<f64>| values.into_iter().map(|value| value + centre).collect();
            Forecast { mean: back(forecast.mean), lower: back(forecast.lower), upper: back(forecast.upper) }
        }
    };
    if forecast.is_sound(horizon) { Ok(forecast) } else { Err("the forecast is no finite interval".to_owned()) }
}

fn ets() -> Result<AutoETS, String> {
    let spec: AutoSpec = "AZN".parse().map_err(|error: augurs::ets::Error| error.to_string())?;
    Ok(AutoETS::from_spec(1, spec))
}

fn from_augurs(forecast: augurs::Forecast) -> Result<Forecast, String> {
    let intervals = forecast.intervals.ok_or("the model gives no intervals")?;
    Ok(Forecast { mean: forecast.point, lower: intervals.lower, upper: intervals.upper })
}

/// The value one season ago, with intervals from the spread of seasonal differences (Hyndman and Athanasopoulos,
/// Forecasting: Principles and Practice, 3rd edition, 5.5).
fn seasonal_naive(values: &[f64], season: usize, horizon: usize, level: f64) -> Result<Forecast, String> {
    let last = values.len().checked_sub(season).ok_or("the series is shorter than a season")?;
    let differences: Vec<_> = (season..values.len()).map(|at| values[at] - values[at - season]).collect();
    let squares: f64 = differences.iter().map(|difference| difference * difference).sum();
    let deviation = if differences.is_empty() { 0.0 } else { (squares / differences.len() as f64).sqrt() };
    let mean = (0..horizon).map(|step| values[last + step % season]).collect();
    let deviations = (0..horizon).map(|step| deviation * ((step / season + 1) as f64).sqrt());
    Ok(Forecast::normal(mean, deviations, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seasonal_naive_repeats_the_last_season_and_widens_with_each() {
        let values = [1.0, 5.0, 2.0, 6.0, 4.0, 8.0];
        let forecast = seasonal_naive(&values, 2, 4, 0.9).unwrap();
        assert_eq!(forecast.mean, [4.0, 8.0, 4.0, 8.0]);
        // Differences over a season are 1, 1, 2, 2: a root mean square of √2.5; z(95%) is 1.644854.
        let width = |k: f64| 1.644854 * 2.5f64.sqrt() * k.sqrt();
        for (at, k) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0)] {
            assert!((forecast.upper[at] - forecast.mean[at] - width(k)).abs() < 1e-5);
            assert!((forecast.mean[at] - forecast.lower[at] - width(k)).abs() < 1e-5);
        }
    }

    #[test]
    fn mstl_follows_trend_and_season() {
        let wave = |t: usize| 1000.0 + 2.0 * t as f64 + [30.0, -10.0, 5.0, -25.0][t % 4];
        let values: Vec<_> = (0..40).map(wave).collect();
        let forecast = forecast(ForecastModel::Mstl, &values, 4, 8, 0.9).unwrap();
        for (step, mean) in forecast.mean.iter().enumerate() {
            assert!((mean - wave(40 + step)).abs() < 3.0, "{step}: {mean} {}", wave(40 + step));
        }
    }

    #[test]
    fn ets_follows_a_trend_and_says_the_same_twice() {
        let values: Vec<_> = (0..30).map(|t| 10.0 + 3.0 * t as f64 + f64::from(t % 3)).collect();
        let first = forecast(ForecastModel::Ets, &values, 1, 3, 0.9).unwrap();
        assert!((first.mean[2] - 107.0).abs() < 4.0, "{first:?}");
        assert_eq!(forecast(ForecastModel::Ets, &values, 1, 3, 0.9).unwrap(), first);
    }

    #[test]
    fn what_cannot_be_fitted_is_an_error() {
        assert!(forecast(ForecastModel::Mstl, &[1.0; 9], 5, 2, 0.9).is_err());
        assert!(forecast(ForecastModel::Ets, &[1.0, 2.0], 1, 2, 0.9).is_err());
        assert!(forecast(ForecastModel::SeasonalNaive, &[1.0], 2, 2, 0.9).is_err());
    }
}
