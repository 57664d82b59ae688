//! How one deployment differs from another, figure by figure, pair by pair where both did the same.

use std::collections::BTreeMap;

use lumos_core::Usd;
use lumos_core::record::Status;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::Side;
use crate::eval::Outcome;
use crate::statistics::{Bootstrap, Estimate, mean};

/// What one can say of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// The deployment has less.
    Less,
    /// The deployment has more.
    More,
    /// The interval holds 0: they may be the same.
    Noise,
    /// There are too few runs to tell.
    TooFew,
    /// One of the two is not known.
    Unknown,
}

/// How a deployment differs from the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The deployment.
    pub deployment: String,
    /// The one that it is held against.
    pub against: String,
    /// What differs, e.g. `latency_s.p95`.
    pub figure: &'static str,
    /// What the deployment has more than the other; of money, nano-dollars.
    pub absolute: Option<Estimate>,
    /// The same as a share of the other's; `null` where the other has nothing.
    pub relative: Option<Estimate>,
    /// Whether both did the same rows, and pairs were compared.
    pub paired: bool,
    /// Pairs, or runs of the one with fewer.
    pub n: u64,
    /// What one can say.
    pub says: Says,
}

impl Serialize for Difference {
    /// Money is written in dollars, as everywhere.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Difference", 8)?;
        fields.serialize_field("deployment", &self.deployment)?;
        fields.serialize_field("against", &self.against)?;
        fields.serialize_field("figure", self.figure)?;
        match self.absolute.filter(|_| self.is_money()) {
            Some(nanos) => fields.serialize_field("absolute", &Dollars::from(nanos))?,
            None => fields.serialize_field("absolute", &self.absolute)?,
        }
        fields.serialize_field("relative", &self.relative)?;
        fields.serialize_field("paired", &self.paired)?;
        fields.serialize_field("n", &self.n)?;
        fields.serialize_field("says", &self.says)?;
        fields.end()
    }
}

/// An estimate of nano-dollars in dollars.
#[derive(serde::Serialize)]
struct Dollars {
    value: Usd,
    low: Option<Usd>,
    high: Option<Usd>,
}

impl From<Estimate> for Dollars {
    fn from(nanos: Estimate) -> Self {
        let usd = |nanos: f64| Usd::from_nanos(nanos.round() as i128);
        Self { value: usd(nanos.value), low: nanos.low.map(usd), high: nanos.high.map(usd) }
    }
}

impl Difference {
    /// A difference that estimates tell.
    pub(super) fn of(
        (deployment, against): (&str, &str),
        figure: &'static str,
        (absolute, relative): (Option<Estimate>, Option<Estimate>),
        (paired, n): (bool, u64),
    ) -> Self {
        let says = match &absolute {
            None => Says::Unknown,
            Some(it) => match it.sign() {
                Some(std::cmp::Ordering::Less) => Says::Less,
                Some(_) => Says::More,
                None if it.low.is_none() || it.high.is_none() => Says::TooFew,
                None => Says::Noise,
            },
        };
        let (deployment, against) = (deployment.to_owned(), against.to_owned());
        Self { deployment, against, figure, absolute, relative, paired, n, says }
    }

    /// Whether it is an amount of money, in nano-dollars.
    pub fn is_money(&self) -> bool {
        self.figure.ends_with("_usd")
    }
}

/// A figure of a run.
type Of = fn(&Outcome) -> Option<f64>;

/// The figures whose means differ; the last says whether they lie between 0 and 1.
const MEANS: &[(&str, Of, bool)] = &[
    ("quality", |run| run.quality, true),
    ("cost_usd", |run| run.figures.known_cost().map(|cost| cost.nanos() as f64), false),
    ("failures", |run| Some(f64::from(u8::from(run.status != Status::Succeeded))), true),
    ("input_tokens", |run| run.figures.input_tokens.map(|count| count as f64), false),
    ("output_tokens", |run| run.figures.output_tokens.map(|count| count as f64), false),
    ("bytes_outside", |run| run.figures.bytes_outside.map(|bytes| bytes as f64), false),
];

/// The figures whose percentiles differ.
const TIMES: &[(&str, Of, f64)] = &[
    ("latency_s.p50", latency, 0.5),
    ("latency_s.p95", latency, 0.95),
    ("latency_s.p99", latency, 0.99),
    ("ttft_s.p50", first, 0.5),
    ("ttft_s.p95", first, 0.95),
];

fn latency(run: &Outcome) -> Option<f64> {
    (run.status == Status::Succeeded).then_some(run.figures.duration_us as f64 / 1e6)
}

fn first(run: &Outcome) -> Option<f64> {
    run.figures.ttft_us.filter(|_| run.status == Status::Succeeded).map(|us| us as f64 / 1e6)
}

/// How `b` differs from `a`.
pub fn between(a: &Side, b: &Side, seed: u64) -> Vec<Difference> {
    between_by(a, b, Bootstrap::new(seed))
}

/// The same with intervals of one's own.
pub(crate) fn between_by(a: &Side, b: &Side, bootstrap: Bootstrap) -> Vec<Difference> {
    let names = (b.deployment.as_str(), a.deployment.as_str());
    let common = rows(&a.outcomes, |_| Some(0.0));
    let shared = rows(&b.outcomes, |_| Some(0.0)).keys().filter(|row| common.contains_key(*row)).count();
    // A handful of rows that happen to be the same would speak for all others.
    let paired = shared > 0 && shared == common.len().min(rows(&b.outcomes, |_| Some(0.0)).len());
    let mut found = Vec::new();
    for (figure, of, unit) in MEANS {
        // Of costs and tokens every run must be known; what was not scored is left out in pairs.
        let is_complete = |side: &Side| *figure == "quality" || side.outcomes.iter().all(|run| of(run).is_some());
        let (left, right) = (rows(&a.outcomes, of), rows(&b.outcomes, of));
        let (left, right) = if paired { pairs(&left, &right) } else { (all(&left), all(&right)) };
        let n = left.len().min(right.len()) as u64;
        let estimates = if is_complete(a) && is_complete(b) {
            if paired {
                (bootstrap.difference(&left, &right, *unit), bootstrap.relative(&left, &right))
            } else {
                (bootstrap.apart(&left, &right), bootstrap.apart_relative(&left, &right))
            }
        } else {
            (None, None)
        };
        found.push(Difference::of(names, figure, estimates, (paired, n)));
    }
    for (figure, of, share) in TIMES {
        let by_run = |side: &Side| -> BTreeMap<(String, u32), f64> {
            { side.outcomes.iter() }.filter_map(|run| Some(((run.id.clone(), run.repeat), of(run)?))).collect()
        };
        let (left, right) = (by_run(a), by_run(b));
        let keys: Vec<&(String, u32)> = left.keys().filter(|key| right.contains_key(*key)).collect();
        let (left, right): (Vec<f64>, Vec<f64>) = if paired {
            keys.iter().map(|key| (left[*key], right[*key])).unzip()
        } else {
            (left.values().copied().collect(), right.values().copied().collect())
        };
        let n = left.len().min(right.len()) as u64;
        let absolute = if paired {
            bootstrap.quantile_difference(&left, &right, *share)
        } else {
            bootstrap.quantile_apart(&left, &right, *share)
        };
        found.push(Difference::of(names, figure, (absolute, None), (paired, n)));
    }
    found
}

/// The mean of each row's runs, where all of them have the figure.
fn rows(outcomes: &[Outcome], of: impl Fn(&Outcome) -> Option<f64>) -> BTreeMap<&str, f64> {
    let mut values: BTreeMap<&str, Option<Vec<f64>>> = BTreeMap::new();
    for outcome in outcomes {
        let entry = values.entry(&outcome.id).or_insert_with(|| Some(Vec::new()));
        *entry = entry.take().zip(of(outcome)).map(|(mut values, value)| {
            values.push(value);
            values
        });
    }
    values.into_iter().filter_map(|(id, values)| Some((id, mean(&values?)?))).collect()
}

fn pairs(a: &BTreeMap<&str, f64>, b: &BTreeMap<&str, f64>) -> (Vec<f64>, Vec<f64>) {
    a.iter().filter_map(|(id, a)| Some((*a, *b.get(id)?))).unzip()
}

fn all(rows: &BTreeMap<&str, f64>) -> Vec<f64> {
    rows.values().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Summary;
    use crate::summary::tests::outcome;

    pub(super) fn side(name: &str, outcomes: Vec<Outcome>) -> Side {
        let summary = Summary::of(&outcomes, &|_| false, 0);
        Side { deployment: name.to_owned(), summary, outcomes, assumptions: Vec::new() }
    }

    fn find<'a>(found: &'a [Difference], figure: &str) -> &'a Difference {
        found.iter().find(|difference| difference.figure == figure).unwrap()
    }

    #[test]
    fn pairs_tell_what_runs_apart_do_not() {
        // Rows differ widely, and b costs 30 % of a in each.
        let a: Vec<Outcome> = (1..=40)
            .map(|row| outcome(row, row as u64 * 1_000, Some((row * row) as i128 * 1_000), Some(1.0)))
            .collect();
        let b: Vec<Outcome> =
            (1..=40).map(|row| outcome(row, row as u64 * 1_000, Some((row * row) as i128 * 300), Some(1.0))).collect();
        let apart: Vec<Outcome> =
            { b.iter().cloned() }.map(|run| Outcome { id: format!("other-{}", run.id), ..run }).collect();
        let found = between(&side("a", a.clone()), &side("b", b), 1);
        let cost = find(&found, "cost_usd");
        assert!(cost.paired && cost.says == Says::Less);
        assert!((cost.relative.unwrap().value + 0.7).abs() < 1e-9);
        assert_eq!((find(&found, "quality").says, find(&found, "latency_s.p95").says), (Says::Noise, Says::TooFew));
        assert_eq!(find(&found, "latency_s.p50").says, Says::Noise);
        let others = between(&side("a", a), &side("b", apart), 1);
        let cost_apart = find(&others, "cost_usd");
        let width = |difference: &Difference| difference.relative.map(|it| it.high.unwrap() - it.low.unwrap()).unwrap();
        assert!(!cost_apart.paired && width(cost_apart) > width(cost) + 0.05);
    }

    #[test]
    fn an_unknown_cost_makes_no_difference_known() {
        let a: Vec<Outcome> = (1..=9).map(|row| outcome(row, 1_000, Some(10), None)).collect();
        let mut b = a.clone();
        b[4].figures.cost_complete = false;
        let found = between(&side("a", a), &side("b", b), 1);
        let cost = find(&found, "cost_usd");
        assert_eq!((cost.says, cost.absolute, cost.relative), (Says::Unknown, None, None));
        assert_eq!(find(&found, "quality").says, Says::Unknown, "nothing was scored");
    }
}
