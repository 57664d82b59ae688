//! Rolling-origin backtests: every model forecasts stretches that it has not seen.
//!
//! MASE (Hyndman and Koehler, 2006) is the mean absolute error over that of the seasonal naive forecast within the
//! training part; below 1 is better than repeating the last season. sMAPE is the mean of `2|e| / (|y| + |f|)`, from 0
//! to 2. MASE chooses; where the past repeats exactly, so that MASE has no scale, sMAPE does.

use lumos_core::spec::ForecastModel;

use super::models;

/// Fewest observations that a model is fitted to.
const FEWEST_TRAINING: usize = 7;

/// A model's errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scores {
    /// Mean absolute scaled error; infinite where the scale is zero and the error is not.
    pub(super) mase: f64,
    /// Symmetric mean absolute percentage error, from 0 to 2.
    pub(super) smape: f64,
    /// Root mean square of the errors, in the series' unit.
    pub(super) deviation: f64,
}

/// What a backtest found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Backtest {
    /// Origins tested.
    pub(super) folds: usize,
    /// Steps ahead tested from each; fewer than asked for where the series is short.
    pub(super) horizon: usize,
    /// The models in the order of the agent's file; `None` for one that could not be fitted in some fold.
    pub(super) scores: Vec<(ForecastModel, Option<Scores>)>,
    scaled: bool,
}

impl Backtest {
    /// What picks the metric out of the scores.
    pub(super) fn metric(&self) -> fn(&Scores) -> f64 {
        if self.scaled { |scores| scores.mase } else { |scores| scores.smape }
    }

    /// The metric's name.
    pub(super) fn metric_word(&self) -> &'static str {
        if self.scaled { "mase" } else { "smape" }
    }

    /// The models that were tested, best first; equal ones in the order of the agent's file.
    pub(super) fn ranking(&self) -> Vec<(ForecastModel, Scores)> {
        let metric = self.metric();
        let mut ranking: Vec<_> =
            self.scores.iter().filter_map(|(model, scores)| scores.map(|scores| (*model, scores))).collect();
        ranking.sort_by(|a, b| metric(&a.1).total_cmp(&metric(&b.1)));
        ranking
    }
}

/// Where the folds' training parts end.
struct Origins {
    ends: Vec<usize>,
    horizon: usize,
}

/// Places up to `folds` origins so that every training part holds two seasons where that is possible.
fn origins(observations: usize, season: usize, horizon: usize, folds: usize) -> Origins {
    let two_seasons = FEWEST_TRAINING.max(2 * season);
    let training = if observations > two_seasons { two_seasons } else { FEWEST_TRAINING.max(season + 1) };
    let horizon = horizon.min(observations - training).max(1);
    let last = observations - horizon;
    let room = last - training;
    let step = if folds > 1 { (room / (folds - 1)).clamp(1, horizon) } else { 1 };
    let ends = (0..folds).rev().filter_map(|fold| last.checked_sub(fold * step)).filter(|end| *end >= training);
    Origins { ends: ends.collect(), horizon }
}

/// Tests every model; `values` holds at least two seasons and eight observations.
pub(super) fn run(
    candidates: &[ForecastModel],
    values: &[f64],
    season: usize,
    horizon: usize,
    folds: usize,
    level: f64,
) -> Backtest {
    let Origins { ends, horizon } = origins(values.len(), season, horizon, folds);
    let scales: Vec<_> = ends.iter().map(|&end| scale(&values[..end], season)).collect();
    let scores = candidates
        .iter()
        .map(|&model| {
            let mut sums = Scores { mase: 0.0, smape: 0.0, deviation: 0.0 };
            for (&end, &scale) in ends.iter().zip(&scales) {
                let actual = &values[end..end + horizon];
                let forecast = models::forecast(model, &values[..end], season, horizon, level).ok();
                let Some(forecast) = forecast else { return (model, None) };
                let errors = actual.iter().zip(&forecast.mean).map(|(actual, mean)| actual - mean);
                let absolute = errors.clone().map(f64::abs).sum::<f64>() / horizon as f64;
                sums.mase += if absolute == 0.0 { 0.0 } else { absolute / scale };
                sums.smape += smape(actual, &forecast.mean);
                sums.deviation += errors.map(|error| error * error).sum::<f64>() / horizon as f64;
            }
            let folds = ends.len() as f64;
            let deviation = (sums.deviation / folds).sqrt();
            (model, Some(Scores { mase: sums.mase / folds, smape: sums.smape / folds, deviation }))
        })
        .collect();
    Backtest { folds: ends.len(), horizon, scores, scaled: scales.iter().all(|scale| *scale > 0.0) }
}

/// Mean absolute difference of values one season apart.
fn scale(training: &[f64], season: usize) -> f64 {
    let pairs = training.iter().skip(season).zip(training);
    let sum: f64 = pairs.map(|(later, earlier)| (later - earlier).abs()).sum();
    sum / (training.len() - season) as f64
}

fn smape(actual: &[f64], forecast: &[f64]) -> f64 {
    let terms = actual.iter().zip(forecast).map(|(actual, forecast)| {
        let size = actual.abs() + forecast.abs();
        if size == 0.0 { 0.0 } else { 2.0 * (actual - forecast).abs() / size }
    });
    terms.sum::<f64>() / actual.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_do_not_overlap_where_there_is_room() {
        let placed = |observations, season, horizon, folds| {
            let Origins { ends, horizon } = origins(observations, season, horizon, folds);
            (ends, horizon)
        };
        assert_eq!(placed(143, 52, 8, 3), (vec![119, 127, 135], 8));
        assert_eq!(placed(120, 52, 8, 3), (vec![104, 108, 112], 8));
        assert_eq!(placed(106, 52, 8, 3), (vec![104], 2));
        assert_eq!(placed(104, 52, 8, 3), (vec![80, 88, 96], 8));
        assert_eq!(placed(8, 1, 12, 3), (vec![7], 1));
        assert_eq!(placed(8, 4, 3, 3), (vec![7], 1));
    }

    #[test]
    fn every_training_part_leaves_a_whole_horizon() {
        for season in [1, 2, 4, 7, 12, 52] {
            for observations in 8.max(2 * season)..(3 * season + 20) {
                for horizon in [1, 3, 8, 60] {
                    for folds in [1, 3, 7] {
                        let Origins { ends, horizon } = origins(observations, season, horizon, folds);
                        assert!(!ends.is_empty() && ends.len() <= folds && horizon >= 1);
                        assert!(ends.is_sorted_by(|a, b| a < b));
                        assert!(ends.iter().all(|end| *end > season && *end >= 7 && end + horizon <= observations));
                    }
                }
            }
        }
    }

    #[test]
    fn errors_are_as_defined() {
        // Naive forecasts of 1, 2, …, 12 are one short of each next value: MAE 1, scale 1, MASE 1 one step ahead.
        let values: Vec<_> = (1..=12).map(f64::from).collect();
        let backtest = run(&[ForecastModel::SeasonalNaive], &values, 1, 1, 2, 0.9);
        let scores = backtest.scores[0].1.unwrap();
        assert_eq!((backtest.folds, backtest.horizon, scores.mase, scores.deviation), (2, 1, 1.0, 1.0));
        assert!((scores.smape - f64::midpoint(2.0 / 21.0, 2.0 / 23.0)).abs() < 1e-12);
    }

    #[test]
    fn a_season_that_repeats_exactly_is_judged_by_smape() {
        let values: Vec<_> = (0..24).map(|t| f64::from(t % 4)).collect();
        let backtest = run(&[ForecastModel::Mstl, ForecastModel::SeasonalNaive], &values, 4, 4, 3, 0.9);
        assert_eq!(backtest.metric_word(), "smape");
        let naive = backtest.scores[1].1.unwrap();
        assert_eq!((naive.mase, naive.smape), (0.0, 0.0));
    }
}
