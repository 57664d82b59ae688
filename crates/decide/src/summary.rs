//! Figures over the runs of one deployment: how good, how fast, how dear, what left the building. Each with its interval and
//! with where it comes from; what is not known is absent, and never zero.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::record::Status;
use lumos_core::{Basis, Usd};
use serde::Serialize;

use crate::eval::{Bill, Outcome, ScorerResult};
use crate::statistics::{Bootstrap, Estimate, mean, quantile_interval, share_interval};

/// A figure with its 95 % interval. An end that the values cannot tell is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The figure; `null` when it is unknown.
    pub value: Option<f64>,
    /// The lower end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// Values that it is made of.
    pub n: u64,
    /// Where it comes from; `null` when it is unknown.
    pub basis: Option<Basis>,
}

/// An amount with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// The amount; `null` when a part of it is unknown.
    pub value: Option<Usd>,
    /// The lower end.
    pub low: Option<Usd>,
    /// The upper end.
    pub high: Option<Usd>,
    /// What is known of it, when that is not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Usd>,
    /// Where it comes from; `null` when it is unknown.
    pub basis: Option<Basis>,
}

/// Mean and percentiles of a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Mean.
    pub mean: Figure,
    /// Median.
    pub p50: Figure,
    /// 95th percentile.
    pub p95: Figure,
    /// 99th percentile.
    pub p99: Figure,
}

/// Figures over the runs of one deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Of those, by how they ended.
    pub statuses: BTreeMap<&'static str, u64>,
    /// Mean of what the scores of a run are on average, from 0 to 1; `null` when nothing scores.
    pub quality: Option<Figure>,
    /// Each scorer's mean.
    pub scores: IndexMap<String, ScorerResult>,
    /// Share of runs that did not succeed.
    pub failures: Figure,
    /// Seconds from start to end, of runs that succeeded.
    pub latency_s: Option<Times>,
    /// Seconds from sending to the first token at the last step that a model answered, of runs that succeeded.
    pub ttft_s: Option<Times>,
    /// What a run costs on average.
    pub cost_usd: Amount,
    /// What 1,000 runs cost.
    pub cost_per_1000_usd: Amount,
    /// What all of them cost.
    pub total_cost_usd: Amount,
    /// What a run costs when machines by the hour are paid for whether busy or idle; absent where that was not simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_cost_usd: Option<Amount>,
    /// What answers from the response cache cost when they were first given; absent without such answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_usd: Option<Usd>,
    /// Tokens of a run's prompts.
    pub input_tokens: Figure,
    /// Tokens of a run's answers.
    pub output_tokens: Figure,
    /// Bytes that leave the trust boundary in a run.
    pub bytes_outside: Figure,
    /// Bytes that left it in all runs.
    pub total_bytes_outside: Option<u64>,
    /// What judges and other scorers took, which is no part of the rest; absent without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judging: Option<Bill>,
}

impl Figure {
    /// A figure of which nothing is known.
    pub const UNKNOWN: Self = Self { value: None, low: None, high: None, n: 0, basis: None };

    /// A figure of an estimate.
    pub fn of(estimate: Option<Estimate>, n: u64, basis: Basis) -> Self {
        estimate.map_or(Self { n, ..Self::UNKNOWN }, |it| Self {
            value: Some(it.value),
            low: it.low,
            high: it.high,
            n,
            basis: Some(basis),
        })
    }
}

impl Amount {
    /// An amount of which nothing is known.
    pub const UNKNOWN: Self = Self { value: None, low: None, high: None, at_least: None, basis: None };

    /// An amount from nano-dollars.
    pub fn of(value: Usd, estimate: Option<Estimate>, basis: Basis) -> Self {
        let usd = |nanos: f64| Usd::from_nanos(nanos.round() as i128);
        let end = |of: fn(&Estimate) -> Option<f64>| estimate.as_ref().and_then(of).map(usd);
        Self { value: Some(value), low: end(|it| it.low), high: end(|it| it.high), at_least: None, basis: Some(basis) }
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, count: i128) -> Self {
        let times = |usd: Option<Usd>| usd.map(|usd| Usd::from_nanos(usd.nanos().saturating_mul(count)));
        let Self { value, low, high, at_least, basis } = self;
        Self { value: times(value), low: times(low), high: times(high), at_least: times(at_least), basis }
    }
}

impl Times {
    /// Of microseconds.
    fn of(us: &[u64], bootstrap: Bootstrap) -> Option<Self> {
        let mut seconds: Vec<f64> = us.iter().map(|us| *us as f64 / 1e6).collect();
        seconds.sort_by(f64::total_cmp);
        let n = seconds.len() as u64;
        let at = |share: f64| Figure::of(quantile_interval(&seconds, share), n, Basis::Measured);
        let mean = Figure::of(bootstrap.mean(&seconds), n, Basis::Measured);
        (n > 0).then(|| Self { mean, p50: at(0.5), p95: at(0.95), p99: at(0.99) })
    }
}

impl Summary {
    /// Over runs; `is_error` says of which scorers less is better. Runs of one row count as one value of means.
    pub fn of(outcomes: &[Outcome], is_error: &dyn Fn(&str) -> bool, seed: u64) -> Self {
        Self::by(outcomes, is_error, Bootstrap::new(seed))
    }

    /// The same with intervals of one's own.
    pub(crate) fn by(outcomes: &[Outcome], is_error: &dyn Fn(&str) -> bool, bootstrap: Bootstrap) -> Self {
        let runs = outcomes.len() as u64;
        let mut statuses = BTreeMap::new();
        for outcome in outcomes {
            *statuses.entry(outcome.status.as_str()).or_default() += 1;
        }
        let good = || outcomes.iter().filter(|outcome| outcome.status == Status::Succeeded);
        let failed = (runs as usize - good().count()) as f64;
        let is_scored = outcomes.iter().any(|outcome| outcome.scores.iter().any(|(label, _)| !is_error(label)));
        let per_run = |of: &dyn Fn(&Outcome) -> Option<f64>, basis: Option<Basis>| {
            let values = by_row(outcomes, of);
            match values {
                Some(values) => {
                    Figure::of(bootstrap.mean(&values), values.len() as u64, basis.unwrap_or(Basis::Measured))
                }
                None => Figure { n: runs, ..Figure::UNKNOWN },
            }
        };
        let weakest = |of: fn(&Outcome) -> Option<Basis>| outcomes.iter().filter_map(of).max();
        let tokens = weakest(|outcome| outcome.figures.tokens_basis);
        let durations: Vec<u64> = good().map(|outcome| outcome.figures.duration_us).collect();
        let firsts: Vec<u64> = good().filter_map(|outcome| outcome.figures.ttft_us).collect();
        let cost_basis = weakest(|outcome| outcome.figures.cost_basis).unwrap_or(Basis::Measured);
        let (total, cost) = costs(outcomes, cost_basis, bootstrap);
        let saved: Vec<Usd> = outcomes.iter().filter_map(|outcome| outcome.figures.saved_usd).collect();
        let bills = outcomes.iter().flat_map(|outcome| outcome.scores.values()).filter_map(|score| score.bill.as_ref());
        Self {
            runs,
            statuses,
            quality: is_scored.then(|| known(outcomes, &|outcome| outcome.quality, false, bootstrap)),
            scores: scores(outcomes, is_error, bootstrap),
            failures: Figure::of(share_interval(failed, runs as usize), runs, Basis::Measured),
            latency_s: Times::of(&durations, bootstrap),
            ttft_s: Times::of(&firsts, bootstrap),
            cost_usd: cost,
            cost_per_1000_usd: cost.times(1_000),
            total_cost_usd: total,
            reserved_cost_usd: None,
            saved_usd: (!saved.is_empty()).then(|| saved.into_iter().sum()),
            input_tokens: per_run(&|outcome| outcome.figures.input_tokens.map(|count| count as f64), tokens),
            output_tokens: per_run(&|outcome| outcome.figures.output_tokens.map(|count| count as f64), tokens),
            bytes_outside: per_run(&|outcome| outcome.figures.bytes_outside.map(|bytes| bytes as f64), None),
            total_bytes_outside: outcomes.iter().map(|outcome| outcome.figures.bytes_outside).sum(),
            judging: Bill::sum(bills),
        }
    }
}

/// The mean of a row's runs, for each row; `None` when a run has no such figure: a mean without it would be too small.
fn by_row(outcomes: &[Outcome], of: &dyn Fn(&Outcome) -> Option<f64>) -> Option<Vec<f64>> {
    let mut rows: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for outcome in outcomes {
        rows.entry(outcome.row).or_default().push(of(outcome)?);
    }
    Some(rows.values().filter_map(|values| mean(values)).collect())
}

/// The mean over the rows whose runs are scored.
fn known(outcomes: &[Outcome], of: &dyn Fn(&Outcome) -> Option<f64>, is_error: bool, bootstrap: Bootstrap) -> Figure {
    let scored: Vec<Outcome> = outcomes.iter().filter(|outcome| of(outcome).is_some()).cloned().collect();
    let values = by_row(&scored, of).unwrap_or_default();
    let estimate = if is_error { bootstrap.mean(&values) } else { bootstrap.score(&values) };
    Figure::of(estimate, values.len() as u64, Basis::Measured)
}

fn scores(
    outcomes: &[Outcome],
    is_error: &dyn Fn(&str) -> bool,
    bootstrap: Bootstrap,
) -> IndexMap<String, ScorerResult> {
    let mut labels: IndexMap<String, u64> = IndexMap::new();
    for (label, score) in outcomes.iter().flat_map(|outcome| &outcome.scores) {
        *labels.entry(label.clone()).or_default() += u64::from(score.score.is_none());
    }
    let of = |(label, unscored): (String, u64)| {
        let is_error = is_error(&label);
        let mean = known(outcomes, &|outcome| outcome.scores.get(&label)?.score, is_error, bootstrap);
        let result = ScorerResult { is_error, mean, unscored };
        (label, result)
    };
    labels.into_iter().map(of).collect()
}

/// What all runs cost, and one of them on average.
fn costs(outcomes: &[Outcome], basis: Basis, bootstrap: Bootstrap) -> (Amount, Amount) {
    if outcomes.is_empty() {
        return (Amount::UNKNOWN, Amount::UNKNOWN);
    }
    let sum: Usd = outcomes.iter().filter_map(|outcome| outcome.figures.cost_usd).sum();
    let one = sum.scaled(1, outcomes.len() as u64).unwrap_or(sum);
    let nanos = |outcome: &Outcome| outcome.figures.known_cost().map(|cost| cost.nanos() as f64);
    if let Some(rows) = by_row(outcomes, &nanos) {
        return (Amount::of(sum, None, basis), Amount::of(one, bootstrap.mean(&rows), basis));
    }
    let is_known = outcomes.iter().any(|outcome| outcome.figures.cost_usd.is_some());
    let least = |usd: Usd| Amount { at_least: is_known.then_some(usd), ..Amount::UNKNOWN };
    (least(sum), least(one))
}

#[cfg(test)]
pub(crate) mod tests {
    use lumos_core::record::Status;
    use serde_json::Value;

    use super::*;
    use crate::eval::{Figures, Score};

    /// A run of a row that took so many microseconds and nano-dollars.
    pub(crate) fn outcome(row: usize, us: u64, nanos: Option<i128>, score: Option<f64>) -> Outcome {
        let figures = Figures {
            duration_us: us,
            ttft_us: Some(us / 2),
            cost_usd: nanos.map(Usd::from_nanos),
            cost_complete: nanos.is_some(),
            saved_usd: None,
            input_tokens: Some(10),
            output_tokens: Some(5),
            bytes_outside: Some(0),
            attempts: 1,
            tokens_basis: Some(Basis::Reported),
            cost_basis: nanos.map(|_| Basis::Estimated),
        };
        Outcome {
            row,
            line: row as u32,
            id: row.to_string(),
            repeat: 0,
            run_id: format!("run-{row}"),
            status: Status::Succeeded,
            error: None,
            output: Value::Null,
            quality: score,
            scores: score.map(|score| ("exact".to_owned(), Score::of(score))).into_iter().collect(),
            figures,
        }
    }

    fn of(outcomes: &[Outcome]) -> Summary {
        Summary::of(outcomes, &|_| false, 0)
    }

    #[test]
    fn one_unknown_cost_makes_the_mean_unknown() {
        let mut runs: Vec<Outcome> = (1..=4).map(|row| outcome(row, 1_000_000, Some(100), Some(1.0))).collect();
        let known = of(&runs);
        assert_eq!(known.cost_usd.value, Some(Usd::from_nanos(100)));
        assert_eq!(known.cost_per_1000_usd.value, Some(Usd::from_nanos(100_000)));
        assert_eq!((known.cost_usd.basis, known.input_tokens.basis), (Some(Basis::Estimated), Some(Basis::Reported)));
        runs[3] = outcome(4, 1_000_000, None, Some(1.0));
        runs[3].figures.input_tokens = None;
        let unknown = of(&runs);
        assert_eq!((unknown.cost_usd.value, unknown.cost_usd.at_least), (None, Some(Usd::from_nanos(75))));
        assert_eq!((unknown.input_tokens.value, unknown.input_tokens.basis), (None, None));
        assert_eq!(unknown.output_tokens.value, Some(5.0));
    }

    #[test]
    fn what_was_not_scored_is_in_no_mean_and_is_counted() {
        let mut runs: Vec<Outcome> = (1..=4).map(|row| outcome(row, 1, Some(0), Some(1.0))).collect();
        runs[0].quality = None;
        runs[0].scores["exact"] = Score::because(None, "the judge was silent");
        let summary = of(&runs);
        assert_eq!(summary.quality.map(|it| (it.value, it.n)), Some((Some(1.0), 3)));
        assert_eq!((summary.scores["exact"].unscored, summary.scores["exact"].mean.n), (1, 3));
        assert!(summary.quality.unwrap().low.unwrap() < 0.5, "three of three prove little");
    }

    #[test]
    fn runs_of_one_row_are_one_value() {
        let mut runs: Vec<Outcome> =
            (0..30).map(|at| outcome(1 + at / 10, 1, Some(0), Some(f64::from(u8::from(at < 10))))).collect();
        let repeated = of(&runs).quality.unwrap();
        for (at, run) in runs.iter_mut().enumerate() {
            run.row = at + 1;
        }
        let single = of(&runs).quality.unwrap();
        assert_eq!((repeated.n, single.n), (3, 30));
        let width = |figure: Figure| figure.high.unwrap() - figure.low.unwrap();
        assert!(width(repeated) > 2.0 * width(single), "{repeated:?} {single:?}");
    }

    #[test]
    fn runs_that_failed_have_no_latency_but_a_cost() {
        let mut runs: Vec<Outcome> = (1..=4).map(|row| outcome(row, row as u64 * 1_000_000, Some(100), None)).collect();
        runs[3].status = Status::Failed;
        let summary = of(&runs);
        assert_eq!(summary.latency_s.unwrap().p50.value, Some(2.0));
        assert_eq!((summary.failures.value, summary.statuses["failed"]), (Some(0.25), 1));
        assert_eq!(summary.total_cost_usd.value, Some(Usd::from_nanos(400)));
        assert_eq!(summary.quality, None);
        assert_eq!(of(&[]).cost_usd, Amount::UNKNOWN);
    }
}
