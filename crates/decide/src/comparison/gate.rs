//! Conditions that figures must meet: `quality >= 0.8, p95_s < 2, cost_usd < 0.01`.

use lumos_core::problem::nearest;
use serde::Serialize;

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
    bound: f64,
    /// As it was written.
    text: String,
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
    "failures",
    "failed_runs",
];

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
    /// names; `NAME.metric` is about one of `deployments`.
    ///
    /// # Errors
    /// A condition that is none, an unknown metric or deployment.
    pub fn read(text: &str, scorers: &[String], deployments: &[String]) -> Result<Self, GateError> {
        let parts: Vec<&str> = text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err(GateError { message: "the gate has no condition".to_owned(), hint: Some(EXAMPLE.to_owned()) });
        }
        parts.into_iter().map(|part| Condition::read(part, scorers, deployments)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether each condition holds of each deployment that it is about.
    pub fn held<'a>(&self, sides: impl IntoIterator<Item = (&'a str, &'a Summary)>) -> Vec<Held> {
        let sides: Vec<(&str, &Summary)> = sides.into_iter().collect();
        let of = |condition: &Condition| {
            let is_meant = |name: &str| condition.deployment.as_deref().is_none_or(|wanted| wanted == name);
            let meant = sides.iter().filter(|(name, _)| is_meant(name));
            meant.map(|(name, summary)| condition.held(name, summary)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// How far a deployment is from meeting all conditions: 0 when it does. Each that fails adds up to 1, by how far the
    /// figure is from its bound, and 2 when the figure is not known.
    pub fn shortfall(&self, deployment: &str, summary: &Summary) -> f64 {
        let is_meant =
            |condition: &&Condition| condition.deployment.as_deref().is_none_or(|wanted| wanted == deployment);
        let of = |condition: &Condition| match figure(&condition.metric, summary).ok().and_then(|it| it.value) {
            None => 2.0,
            Some(value) if condition.relation.holds(value, condition.bound) => 0.0,
            Some(value) => {
                let (apart, size) = ((value - condition.bound).abs(), value.abs() + condition.bound.abs());
                // A bound that is met by a hair's breadth on the wrong side is missed all the same.
                if size > 0.0 { (apart / size).max(1e-9) } else { 1e-9 }
            }
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
        let number = |text: &str| text.trim_start_matches('$').parse::<f64>().ok().filter(|number| number.is_finite());
        let bound = match bound.strip_suffix('%') {
            Some(percent) => number(percent.trim()).map(|percent| percent / 100.0),
            None => number(bound),
        };
        let Some(bound) = bound else {
            return Err(fail(format!("`{text}` compares with no number"), Some(EXAMPLE.to_owned())));
        };
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
        Ok(Self { deployment, metric: metric.to_owned(), relation, bound, text: text.to_owned() })
    }

    fn held(&self, deployment: &str, summary: &Summary) -> Held {
        let figure = figure(&self.metric, summary);
        let (passed, why) = match &figure {
            Err(why) => (false, Some(why.clone())),
            Ok(figure) => match figure.value {
                None => (false, Some("it is not known, and what is not known passes no gate".to_owned())),
                Some(value) => {
                    let passed = self.relation.holds(value, self.bound);
                    let ends = [figure.low, figure.high].into_iter().flatten();
                    let is_sure = ends.into_iter().all(|end| self.relation.holds(end, self.bound) == passed);
                    let other = if passed { "fail" } else { "pass" };
                    (passed, (!is_sure).then(|| format!("within the 95 % interval it may as well {other}")))
                }
            },
        };
        let value = figure.ok().and_then(|figure| figure.value);
        Held { condition: self.text.clone(), deployment: deployment.to_owned(), value, passed, why }
    }
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
            Figure { value: sum(a.value, b.value), ..Figure::UNKNOWN }
        }
        "bytes_outside" => count(summary.total_bytes_outside),
        "failures" => summary.failures,
        "failed_runs" => count(Some(summary.runs - summary.statuses.get("succeeded").copied().unwrap_or(0))),
        scorer => summary.scores.get(scorer).ok_or("nothing was scored by it")?.mean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::outcome;

    fn summary(nanos: Option<i128>) -> Summary {
        let runs: Vec<_> =
            (1..=10).map(|row| outcome(row, 1_500_000, nanos, Some(f64::from(u8::from(row > 1))))).collect();
        Summary::of(&runs, &|_| false, 0)
    }

    fn held(gate: &str, summary: &Summary) -> Vec<(bool, Option<String>)> {
        let gate = Gate::read(gate, &["exact".to_owned()], &["a".to_owned()]).unwrap();
        gate.held([("a", summary)]).into_iter().map(|held| (held.passed, held.why)).collect()
    }

    #[test]
    fn conditions_hold_or_do_not() {
        let found = held(
            "quality >= 0.8, p95_s < 2, cost_usd <= 0.00001; a.exact > 90%, failures = 0, bytes_outside==0",
            &summary(Some(9_000)),
        );
        let passed: Vec<bool> = found.iter().map(|(passed, _)| *passed).collect();
        assert_eq!(passed, [true, true, true, false, true, true]);
        assert!(found[0].1.as_ref().unwrap().contains("may as well fail"), "9 of 10 may be less than 0.8");
        assert_eq!(found[2].1, None);
    }

    #[test]
    fn what_is_not_known_passes_no_gate() {
        let found = held("cost_usd < 100, ttft_p95_s < 9, quality < 2", &summary(None));
        assert!(!found[0].0 && found[0].1.as_ref().unwrap().contains("not known"));
        assert!(found[1].0 && found[2].0);
        let unscored = Summary::of(&[outcome(1, 1, Some(1), None)], &|_| false, 0);
        let gate = Gate::read("quality > 0", &[], &[]).unwrap();
        assert_eq!(gate.held([("x", &unscored)])[0].why.as_deref(), Some("nothing scores it"));
    }

    #[test]
    fn mistakes_say_what_would_be_valid() {
        let shown: Vec<String> = ["", "quality", "qualty > 0.5", "speed > 3", "quality > good", "b.quality > 1", "> 1"]
            .iter()
            .map(|text| {
                let error = Gate::read(text, &["exact".to_owned()], &["a".to_owned()]).expect_err(text);
                format!("{text}: {error}\n  hint: {}", error.hint.as_deref().unwrap_or("none"))
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
