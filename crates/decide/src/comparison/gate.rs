//! Conditions that figures must meet: `quality >= 0.8, p95_s < 2, cost_usd < 0.01`, or `quality >= 0.95 * baseline`.

use lumos_core::problem::nearest;
use serde::Serialize;

use super::difference::Difference;
use crate::statistics::Estimate;
use crate::summary::{Amount, Figure, Summary, Times};

/// What must hold of deployments.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate(Vec<Condition>);

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The deployment that it is about; all of them when absent.
    deployment: Option<String>,
    metric: String,
    relation: Relation,
    bound: Bound,
    /// As it was written.
    text: String,
}

/// What a figure is held against.
#[derive(Debug, Clone, PartialEq)]
enum Bound {
    /// A number.
    Fixed(f64),
    /// So many times what the same figure of another deployment is.
    Share { of: String, times: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// Why a gate cannot be read, as a lowercase fragment with what would be valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GateError {
    /// What is wrong.
    pub message: String,
    /// What would be valid.
    pub hint: Option<String>,
}

/// Whether a condition holds of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// The condition as it was written.
    pub condition: String,
    /// The deployment.
    pub deployment: String,
    /// What the figure is; `null` when it is unknown.
    pub value: Option<f64>,
    /// What it is held against; `null` when that is a figure of another deployment that is unknown.
    pub bound: Option<f64>,
    /// The other deployment, where the bound is of one.
    pub against: Option<String>,
    /// Whether it holds. What is not known doesn't.
    pub passed: bool,
    /// Why, or what to think of.
    pub why: Option<String>,
}

/// The metrics beside scorers.
const METRICS: &[&str] = &[
    "quality",
    "mean_s",
    "p50_s",
    "p95_s",
    "p99_s",
    "ttft_s",
    "ttft_p50_s",
    "ttft_p95_s",
    "ttft_p99_s",
    "cost_usd",
    "cost_per_1000_usd",
    "total_cost_usd",
    "reserved_cost_usd",
    "tokens",
    "input_tokens",
    "output_tokens",
    "bytes_outside",
    "total_bytes_outside",
    "failures",
    "failed_runs",
];

/// Metrics that are counts and sums of the runs themselves, and stand for no others.
const COUNTED: &[&str] = &["total_cost_usd", "total_bytes_outside", "failed_runs"];

/// The longer ones first.
const RELATIONS: &[(&str, Relation)] = &[
    (">=", Relation::AtLeast),
    ("<=", Relation::AtMost),
    ("==", Relation::Equal),
    ("≥", Relation::AtLeast),
    ("≤", Relation::AtMost),
    (">", Relation::More),
    ("<", Relation::Less),
    ("=", Relation::Equal),
];

impl Gate {
    /// Reads conditions separated by commas. A metric is one of those that every comparison has, or a scorer that `scorers`
    /// names; `NAME.metric` is about one of `deployments`. What it is held against is a number, or the same figure of another
    /// deployment, `0.95 * NAME`; `baseline` is the first, and is itself not held against itself.
    ///
    /// # Errors
    /// A condition that is none, an unknown metric or deployment, another deployment where there is but one.
    pub fn read(text: &str, scorers: &[String], deployments: &[String]) -> Result<Self, GateError> {
        let parts: Vec<&str> = text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err(GateError { message: "the gate has no condition".to_owned(), hint: Some(EXAMPLE.to_owned()) });
        }
        parts.into_iter().map(|part| Condition::read(part, scorers, deployments)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether each condition holds of each deployment that it is about. Differences from the first deployment tell how sure it
    /// is of conditions that hold one against the other.
    pub fn held<'a>(
        &self,
        sides: impl IntoIterator<Item = (&'a str, &'a Summary)>,
        differences: &[Difference],
    ) -> Vec<Held> {
        let sides: Vec<(&str, &Summary)> = sides.into_iter().collect();
        let of = |condition: &Condition| {
            let is_meant = |name: &str| match (&condition.deployment, &condition.bound) {
                (Some(wanted), _) => wanted == name,
                (None, Bound::Share { of, .. }) => of != name,
                (None, Bound::Fixed(_)) => true,
            };
            let meant = sides.iter().filter(|(name, _)| is_meant(name));
            meant.map(|side| condition.held(*side, &sides, differences)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// How far a deployment is from meeting all conditions: 0 when it does. Each that fails adds up to 1, by how far the
    /// figure is from its bound, and 2 when either is not known.
    pub fn shortfall(&self, deployment: &str, summary: &Summary) -> f64 {
        let is_meant =
            |condition: &&Condition| condition.deployment.as_deref().is_none_or(|wanted| wanted == deployment);
        let of = |condition: &Condition| {
            let value = figure(&condition.metric, summary).ok().and_then(|it| it.value);
            let (Some(value), Bound::Fixed(bound)) = (value, &condition.bound) else { return 2.0 };
            if condition.relation.holds(value, *bound) {
                return 0.0;
            }
            let (apart, size) = ((value - bound).abs(), value.abs() + bound.abs());
            // A bound that is met by a hair's breadth on the wrong side is missed all the same.
            if size > 0.0 { (apart / size).max(1e-9) } else { 1e-9 }
        };
        self.0.iter().filter(is_meant).map(of).sum()
    }
}

/// What a gate looks like.
const EXAMPLE: &str = "write e.g. 'quality >= 0.8, p95_s < 2, cost_usd < 0.01'";

impl Condition {
    fn read(text: &str, scorers: &[String], deployments: &[String]) -> Result<Self, GateError> {
        let fail = |message: String, hint: Option<String>| GateError { message, hint };
        let relation = { text.char_indices() }.find_map(|(at, _)| {
            let found = RELATIONS.iter().find(|(sign, _)| text[at..].starts_with(sign));
            found.map(|(sign, relation)| (&text[..at], *relation, &text[at + sign.len()..]))
        });
        let Some((metric, relation, bound)) = relation else {
            return Err(fail(format!("`{text}` compares nothing"), Some(EXAMPLE.to_owned())));
        };
        let (metric, bound) = (metric.trim(), bound.trim());
        let of = |name: &&String| metric.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'));
        let deployment = deployments.iter().find(of).cloned();
        let metric = deployment.as_ref().map_or(metric, |name| &metric[name.len() + 1..]);
        let known = || METRICS.iter().copied().chain(scorers.iter().map(String::as_str));
        if !known().any(|name| name == metric) {
            let hint = match nearest(metric, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            };
            return Err(fail(format!("there is no metric `{metric}`"), Some(hint)));
        }
        let bound = match number(bound) {
            Some(bound) => Bound::Fixed(bound),
            None => Bound::share(bound, metric, deployments)
                .map_err(|(message, hint)| fail(format!("`{text}` {message}"), Some(hint)))?,
        };
        Ok(Self { deployment, metric: metric.to_owned(), relation, bound, text: text.to_owned() })
    }

    fn held(
        &self,
        (deployment, summary): (&str, &Summary),
        sides: &[(&str, &Summary)],
        differences: &[Difference],
    ) -> Held {
        let found = figure(&self.metric, summary);
        let mut held = Held {
            condition: self.text.clone(),
            deployment: deployment.to_owned(),
            value: found.as_ref().ok().and_then(|figure| figure.value),
            bound: None,
            against: match &self.bound {
                Bound::Share { of, .. } => Some(of.clone()),
                Bound::Fixed(_) => None,
            },
            passed: false,
            why: None,
        };
        const UNKNOWN: &str = "it is not known, and what is not known passes no gate";
        // The bound, and the ends of the interval of the figure as they lie to it.
        let (bound, ends) = match &self.bound {
            Bound::Fixed(bound) => (*bound, found.as_ref().map_or((None, None), |figure| (figure.low, figure.high))),
            Bound::Share { of, times } => {
                let other = sides.iter().find(|(name, _)| name == of).map(|(_, summary)| figure(&self.metric, summary));
                let base = match other {
                    Some(Ok(other @ Figure { value: Some(value), .. })) => (value, other),
                    Some(Err(why)) => return Held { why: Some(format!("of `{of}`: {why}")), ..held },
                    _ => return Held { why: Some(format!("of `{of}`: {UNKNOWN}")), ..held },
                };
                let difference = differences.iter().find(|it| {
                    it.deployment == deployment && it.against == *of && Some(it.figure) == differing(&self.metric)
                });
                let ends = found.as_ref().map_or((None, None), |figure| apart(figure, base, *times, difference));
                (base.0 * times, ends)
            }
        };
        held.bound = Some(bound);
        match (found, held.value) {
            (Err(why), _) => held.why = Some(why),
            (Ok(_), None) => held.why = Some(UNKNOWN.to_owned()),
            (Ok(_), Some(value)) => {
                held.passed = self.relation.holds(value, bound);
                if !COUNTED.contains(&self.metric.as_str()) {
                    held.why = self.relation.doubt(value, ends, bound);
                }
            }
        }
        held
    }
}

/// A number that a figure may be held against.
fn number(text: &str) -> Option<f64> {
    let number = |text: &str| text.trim_start_matches('$').parse::<f64>().ok().filter(|number| number.is_finite());
    match text.strip_suffix('%') {
        Some(percent) => number(percent.trim()).map(|percent| percent / 100.0),
        None => number(text),
    }
}

impl Bound {
    /// Reads `0.95 * NAME`, or `NAME` alone. An error is what to say of the condition, and what would be valid.
    fn share(text: &str, metric: &str, deployments: &[String]) -> Result<Self, (String, String)> {
        let (times, named) = match text.split_once(['*', '×']) {
            Some((times, named)) => (number(times.trim()), named.trim()),
            None => (Some(1.0), text),
        };
        let named = named.strip_suffix(&format!(".{metric}")).unwrap_or(named);
        let known = || std::iter::once(BASELINE).chain(deployments.iter().map(String::as_str));
        let Some(times) = times.filter(|_| !named.is_empty()) else {
            return Err(("compares with no number".to_owned(), EXAMPLE.to_owned()));
        };
        if !known().any(|name| name == named) {
            let hint = match (deployments.len() > 1, nearest(named, known())) {
                (false, _) => EXAMPLE.to_owned(),
                (true, Some(near)) => format!("did you mean `{near}`?"),
                (true, None) => format!("{EXAMPLE}, or 'quality >= 0.95 * baseline'"),
            };
            return Err(("compares with no number".to_owned(), hint));
        }
        match deployments {
            [first, _, ..] => {
                let is_first = named == BASELINE && !deployments.iter().any(|name| name == BASELINE);
                let of = if is_first { first.clone() } else { named.to_owned() };
                Ok(Self::Share { of, times })
            }
            _ => Err((
                "compares with another deployment, and there is none".to_owned(),
                "only `lumos compare` of several deployments holds one against another".to_owned(),
            )),
        }
    }
}

/// The first deployment, which the others are held against.
const BASELINE: &str = "baseline";

/// The difference between deployments that tells of a metric.
fn differing(metric: &str) -> Option<&'static str> {
    Some(match metric {
        "quality" => "quality",
        "cost_usd" | "cost_per_1000_usd" => "cost_usd",
        "reserved_cost_usd" => "reserved_cost_usd",
        "failures" => "failures",
        "input_tokens" => "input_tokens",
        "output_tokens" => "output_tokens",
        "bytes_outside" => "bytes_outside",
        "p50_s" => "latency_s.p50",
        "p95_s" => "latency_s.p95",
        "p99_s" => "latency_s.p99",
        "ttft_s" | "ttft_p50_s" => "ttft_s.p50",
        "ttft_p95_s" => "ttft_s.p95",
        _ => return None,
    })
}

/// The ends of an interval, as far as they are known.
type Ends = (Option<f64>, Option<f64>);

/// The ends of a figure's interval as they lie to `times` the figure of another: by how the two differ, run by run where they can
/// be paired, else by the intervals of both.
fn apart(figure: &Figure, (base, other): (f64, Figure), times: f64, difference: Option<&Difference>) -> Ends {
    let ends = |estimate: &Estimate, of: &dyn Fn(f64) -> f64| (estimate.low.map(of), estimate.high.map(of));
    // Of what lies between 0 and 1 resampling pairs that are all the same would find that all others are the same too, which
    // the absolute difference doesn't; that of money is in other units.
    let is_share = difference.is_some_and(|it| matches!(it.figure, "quality" | "failures"));
    let absolute = || difference.filter(|it| !it.is_money()).and_then(|it| it.absolute.as_ref());
    if let Some(relative) = difference.filter(|_| !is_share).and_then(|it| it.relative.as_ref()) {
        return ends(relative, &|end| base * (1.0 + end));
    }
    if let Some(absolute) = absolute() {
        return ends(absolute, &|end| base + end);
    }
    // What the other may be off by is as good as the figure being off by so much.
    let sum = |end: Option<f64>, other: Option<f64>| Some(end? + (base - other?) * times);
    (sum(figure.low, other.high), sum(figure.high, other.low))
}

impl Relation {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::AtLeast => value >= bound,
            Self::More => value > bound,
        }
    }

    /// Why one cannot be sure that it holds of a value between these ends, or doesn't.
    fn doubt(self, value: f64, (low, high): Ends, bound: f64) -> Option<String> {
        let is_held = self.holds(value, bound);
        // The ends beyond which it would be otherwise.
        let turning: &[Option<f64>] = match self {
            Self::Less | Self::AtMost => &[if is_held { high } else { low }],
            Self::AtLeast | Self::More => &[if is_held { low } else { high }],
            Self::Equal if is_held => &[low, high],
            Self::Equal => &[if value > bound { low } else { high }],
        };
        let is_turned = |end: f64| match self {
            Self::Equal if !is_held => (end <= bound) == (value > bound),
            _ => self.holds(end, bound) != is_held,
        };
        if turning.iter().flatten().any(|end| is_turned(*end)) {
            let other = if is_held { "fail" } else { "pass" };
            return Some(format!("within the 95 % interval it may as well {other}"));
        }
        turning.iter().any(Option::is_none).then(|| "there are too few runs to be sure".to_owned())
    }
}

/// A metric's figure.
///
/// # Errors
/// Why there is none.
fn figure(metric: &str, summary: &Summary) -> Result<Figure, String> {
    let time = |times: &Option<Times>, of: fn(&Times) -> Figure| {
        times.as_ref().map(of).ok_or_else(|| "no run has such a time".to_owned())
    };
    let money = |amount: &Amount| {
        let dollars = |usd: lumos_core::Usd| usd.nanos() as f64 / 1e9;
        let figure = Figure {
            value: amount.value.map(dollars),
            low: amount.low.map(dollars),
            high: amount.high.map(dollars),
            n: summary.runs,
            basis: amount.basis,
        };
        match (figure.value, amount.at_least) {
            (None, Some(least)) => Err(format!("it is at least ${least}, and what the rest costs is not known")),
            (None, None) => Err("what it costs is not known".to_owned()),
            _ => Ok(figure),
        }
    };
    let count = |value: Option<u64>| Figure { value: value.map(|it| it as f64), ..Figure::UNKNOWN };
    Ok(match metric {
        "quality" => summary.quality.ok_or("nothing scores it")?,
        "mean_s" => time(&summary.latency_s, |it| it.mean)?,
        "p50_s" => time(&summary.latency_s, |it| it.p50)?,
        "p95_s" => time(&summary.latency_s, |it| it.p95)?,
        "p99_s" => time(&summary.latency_s, |it| it.p99)?,
        "ttft_s" | "ttft_p50_s" => time(&summary.ttft_s, |it| it.p50)?,
        "ttft_p95_s" => time(&summary.ttft_s, |it| it.p95)?,
        "ttft_p99_s" => time(&summary.ttft_s, |it| it.p99)?,
        "cost_usd" => money(&summary.cost_usd)?,
        "cost_per_1000_usd" => money(&summary.cost_per_1000_usd)?,
        "total_cost_usd" => money(&summary.total_cost_usd)?,
        "reserved_cost_usd" => {
            money(&summary.reserved_cost_usd.ok_or("nothing is reserved by the hour, or it was not simulated")?)?
        }
        "input_tokens" => summary.input_tokens,
        "output_tokens" => summary.output_tokens,
        "tokens" => {
            let sum = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
            let (a, b) = (summary.input_tokens, summary.output_tokens);
            // What has many of the ones tends to have many of the others.
            let (low, high) = (sum(a.low, b.low), sum(a.high, b.high));
            Figure { value: sum(a.value, b.value), low, high, ..Figure::UNKNOWN }
        }
        "bytes_outside" => summary.bytes_outside,
        "total_bytes_outside" => count(summary.total_bytes_outside),
        "failures" => summary.failures,
        "failed_runs" => {
            let failed = summary.runs - summary.statuses.get("succeeded").copied().unwrap_or(0);
            count(summary.failures.value.map(|_| failed))
        }
        scorer => summary.scores.get(scorer).ok_or("nothing was scored by it")?.mean,
    })
}

#[cfg(test)]
mod tests;
