//! What is scored, by whom, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use lumos_core::record::{RunRecord, Status};
use lumos_core::{Usd, template::Template};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dataset::Row;
use super::score;
use super::scorer::Scorer;

/// A run of a row, as a scorer sees it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The row.
    pub row: &'a Row,
    /// What happened.
    pub record: &'a RunRecord,
    /// What is to be scored: the run's output or a node's, or the part of it that the scorer looks at.
    pub output: &'a Value,
    /// What was expected.
    pub expected: Option<&'a Value>,
}

impl Case<'_> {
    /// Everything that a program needs to know.
    pub fn document(&self) -> Value {
        json!({
            "id": self.row.id,
            "inputs": self.row.inputs,
            "expected": self.expected,
            "output": self.output,
            "run_id": self.record.run_id,
            "workflow": self.record.workflow,
            "deployment": self.record.deployment,
        })
    }
}

/// Scores what lumos cannot: a judge, a program, a closure of the embedding program.
#[async_trait]
pub trait ExternalScorer: Send + Sync {
    /// A score from 0 to 1; `seed` is that of whatever is random.
    ///
    /// # Errors
    /// Why there is none, as a lowercase fragment. The row then counts as not scored, not as 0.
    async fn score(&self, case: &Case<'_>, seed: u64) -> Result<Score, String>;
}

#[async_trait]
impl<F> ExternalScorer for F
where
    F: Fn(&Case<'_>) -> Result<f64, String> + Send + Sync,
{
    async fn score(&self, case: &Case<'_>, _: u64) -> Result<Score, String> {
        self(case).map(Score::of)
    }
}

/// External scorers by how they were written.
pub type Externals = BTreeMap<String, Arc<dyn ExternalScorer>>;

/// What a scorer says of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Score {
    /// The score; `null` when there is none.
    pub score: Option<f64>,
    /// Why it is what it is, or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it took to find out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
}

impl Score {
    /// A score that needs no words.
    pub fn of(score: f64) -> Self {
        Self { score: Some(score), ..Self::default() }
    }

    /// A score, and why.
    pub fn because(score: Option<f64>, reason: impl Into<String>) -> Self {
        Self { score, reason: Some(reason.into()), bill: None }
    }
}

/// What scoring took: runs of judges and of workflows that score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bill {
    /// Runs.
    pub runs: u64,
    /// Their cost, as far as it is known; `null` when none is.
    pub cost_usd: Option<Usd>,
    /// Whether all of it is known.
    pub cost_complete: bool,
    /// Tokens of prompts; `null` when unknown.
    pub input_tokens: Option<u64>,
    /// Tokens of answers; `null` when unknown.
    pub output_tokens: Option<u64>,
    /// Bytes that left the trust boundary; `null` when unknown.
    pub bytes_outside: Option<u64>,
}

impl Bill {
    /// That of one run.
    pub fn of(record: &RunRecord) -> Self {
        let totals = &record.totals;
        Self {
            runs: 1,
            cost_usd: totals.cost_usd,
            cost_complete: totals.cost_complete,
            input_tokens: totals.input_tokens,
            output_tokens: totals.output_tokens,
            bytes_outside: totals.bytes_outside,
        }
    }

    /// The sum of bills; `None` of none.
    pub fn sum<'a>(bills: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        fn both(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            Some(a? + b?)
        }
        bills.into_iter().copied().reduce(|a, b| Self {
            runs: a.runs + b.runs,
            cost_usd: match (a.cost_usd, b.cost_usd) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            },
            cost_complete: a.cost_complete && b.cost_complete,
            input_tokens: both(a.input_tokens, b.input_tokens),
            output_tokens: both(a.output_tokens, b.output_tokens),
            bytes_outside: both(a.bytes_outside, b.bytes_outside),
        })
    }
}

/// A score as programs write it: a number, a text that is one, `true`, `false`, or an object with `score` and perhaps
/// `reason`.
///
/// # Errors
/// When it is none of them, or not from 0 to 1.
pub fn score_from(value: &Value) -> Result<Score, String> {
    let number = |value: &Value| match value {
        Value::Bool(is_good) => Some(f64::from(u8::from(*is_good))),
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    let parsed: Option<Value> = value.as_str().and_then(|text| serde_json::from_str(text.trim()).ok());
    let value = parsed.as_ref().unwrap_or(value);
    let (score, reason) = match value {
        Value::Object(fields) => (fields.get("score").and_then(number), fields.get("reason").and_then(Value::as_str)),
        other => (number(other), None),
    };
    match score {
        Some(score) if (0.0..=1.0).contains(&score) => {
            Ok(Score { score: Some(score), reason: reason.map(str::to_owned), bill: None })
        }
        Some(score) => Err(format!("the score {score} is not from 0 to 1")),
        None => Err(format!(
            "{} is no score: wanted a number from 0 to 1, or {{\"score\": …, \"reason\": …}}",
            score::short(value)
        )),
    }
}

/// The output of the run or of a node; `None` when there is none, because it did not succeed.
pub(super) fn output_of(record: &RunRecord, node: Option<&str>) -> Option<Value> {
    let Some(node) = node else {
        return (record.status == Status::Succeeded).then(|| record.output.clone());
    };
    let (path, name) = node.rsplit_once('/').map_or(("", node), |(path, name)| (path, name));
    let is_it = |path_of: &[String], name_of: &str| name_of == name && path_of.join("/") == path;
    let steps: Vec<_> = record.steps.iter().filter(|step| is_it(&step.path, &step.node)).collect();
    // Of a loop the last round counts; of a map all entries, in order.
    let round = steps.iter().filter_map(|step| step.iteration).max();
    let last: Vec<_> = steps.iter().filter(|step| step.iteration == round).collect();
    if last.is_empty() || last.iter().any(|step| step.status != Status::Succeeded) {
        return None;
    }
    if last.iter().any(|step| step.index.is_some()) {
        return Some(last.iter().map(|step| step.output.clone()).collect());
    }
    last.last().map(|step| step.output.clone())
}

/// The part of an output that a scorer looks at.
pub(super) fn part(of: Option<&Template>, output: Value, row: &Row) -> Result<Value, String> {
    let Some(of) = of else { return Ok(output) };
    let inputs: Value =
        row.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into();
    let scope = IndexMap::from([("output".to_owned(), output), ("inputs".to_owned(), inputs)]);
    of.evaluate(&scope).map_err(|error| format!("`of`: {error}"))
}

/// What a scorer that needs nobody else says of a run.
pub(super) fn own_score(scorer: &Scorer, output: &Value, expected: Option<&Value>) -> Option<Score> {
    Some(match score::score(scorer, output, expected)? {
        Ok(score) => Score::of(score),
        // An answer of the wrong shape is a wrong one; how large its error is, nobody knows.
        Err(reason) => Score::because((!scorer.is_error()).then_some(0.0), reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_may_write_scores_as_they_like() {
        let of = |value: Value| score_from(&value).map(|score| (score.score, score.reason));
        assert_eq!(of(json!(0.5)), Ok((Some(0.5), None)));
        assert_eq!(of(json!("1\n")), Ok((Some(1.0), None)));
        assert_eq!(of(json!(true)), Ok((Some(1.0), None)));
        assert_eq!(of(json!("{\"score\": 0.25, \"reason\": \"short\"}")), Ok((Some(0.25), Some("short".to_owned()))));
        for value in [json!(7), json!(-0.1), json!("good"), json!({}), json!(null), json!("NaN")] {
            assert!(of(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn a_bill_with_an_unknown_part_is_not_complete() {
        let known = Bill {
            runs: 1,
            cost_usd: Some(Usd::from_nanos(5)),
            cost_complete: true,
            input_tokens: Some(3),
            ..Bill::default()
        };
        let unknown = Bill { runs: 1, cost_usd: None, cost_complete: false, input_tokens: None, ..Bill::default() };
        let sum = Bill::sum([&known, &unknown]).unwrap();
        assert_eq!(
            (sum.runs, sum.cost_usd, sum.cost_complete, sum.input_tokens),
            (2, Some(Usd::from_nanos(5)), false, None)
        );
        assert_eq!(Bill::sum([]), None);
    }
}
