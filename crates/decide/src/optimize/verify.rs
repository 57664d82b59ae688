//! How far composition was off: what runs took for real, held against what was composed, run by run.

use serde::Serialize;

use super::compose::Measured;
use crate::eval::Outcome;
use crate::statistics::{Bootstrap, Estimate, mean};
use lumos_core::record::Status;

/// How far an objective was off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Off {
    /// `quality`, `cost_usd`, `latency_s`, `bytes_outside` or `failures`.
    pub figure: &'static str,
    /// The mean of what was composed.
    pub composed: Option<f64>,
    /// The mean of what was measured.
    pub measured: Option<f64>,
    /// By how much more was measured than composed, run by run.
    pub difference: Option<Estimate>,
    /// The same as a share of what was composed; absent of shares and scores.
    pub relative: Option<Estimate>,
    /// Runs in which both are known.
    pub n: u64,
    /// Whether the interval of the difference holds 0: no error can be told from chance.
    pub within_noise: Option<bool>,
}

type Of = fn(&Outcome) -> Option<f64>;

const FIGURES: &[(&str, Of, bool)] = &[
    ("quality", |run| run.quality, true),
    ("cost_usd", |run| run.figures.known_cost().map(|cost| cost.nanos() as f64 / 1e9), false),
    ("latency_s", |run| (run.status == Status::Succeeded).then_some(run.figures.duration_us as f64 / 1e6), false),
    ("bytes_outside", |run| run.figures.bytes_outside.map(|bytes| bytes as f64), false),
    ("failures", |run| Some(f64::from(u8::from(run.status != Status::Succeeded))), true),
];

/// How far an assignment's real runs are from what was composed for it.
pub fn off(measured: &Measured, assignment: &[usize], real: &[Outcome], seed: u64) -> Vec<Off> {
    off_by(&measured.outcomes(assignment), real, Bootstrap::new(seed))
}

/// The same with intervals of one's own.
pub(super) fn off_by(composed: &[Outcome], real: &[Outcome], bootstrap: Bootstrap) -> Vec<Off> {
    let of = |(figure, of, unit): &(&'static str, Of, bool)| {
        let pairs = composed.iter().filter_map(|then| {
            let now = real.iter().find(|now| (now.row, now.repeat) == (then.row, then.repeat))?;
            Some((then.row, (of(then)?, of(now)?)))
        });
        let (a, b) = by_row(pairs);
        let difference = bootstrap.difference(&a, &b, *unit);
        let holds = |it: &Estimate| it.low.zip(it.high).map(|(low, high)| low <= 0.0 && high >= 0.0);
        Off {
            figure,
            composed: mean(&a),
            measured: mean(&b),
            within_noise: difference.as_ref().and_then(holds),
            difference,
            relative: if *unit { None } else { bootstrap.relative(&a, &b) },
            n: a.len() as u64,
        }
    };
    FIGURES.iter().map(of).collect()
}

/// The means of each row's runs.
fn by_row(pairs: impl Iterator<Item = (usize, (f64, f64))>) -> (Vec<f64>, Vec<f64>) {
    let mut rows: std::collections::BTreeMap<usize, (Vec<f64>, Vec<f64>)> = std::collections::BTreeMap::new();
    for (row, (a, b)) in pairs {
        let entry = rows.entry(row).or_default();
        entry.0.push(a);
        entry.1.push(b);
    }
    rows.values().filter_map(|(a, b)| Some((mean(a)?, mean(b)?))).unzip()
}
