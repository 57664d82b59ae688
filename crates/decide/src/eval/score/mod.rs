//! What each scorer makes of an output and an expectation, where it needs nobody else.

mod forecast;
mod ranking;
mod text;

use serde_json::Value;

use super::scorer::{Scorer, ScorerKind};

/// The score of `output`, which is what an expression of the scorer has taken out already. `Ok(None)` for scorers that need
/// a model or a program.
///
/// # Errors
/// What keeps the output from being scored, as a lowercase fragment: of an output that is of the wrong shape, which scores 0.
pub(super) fn score(scorer: &Scorer, output: &Value, expected: Option<&Value>) -> Option<Result<f64, String>> {
    let none = Value::Null;
    let wanted = expected.unwrap_or(&none);
    Some(match &scorer.kind {
        ScorerKind::Exact { ignore_case } => Ok(text::exact(output, wanted, *ignore_case)),
        ScorerKind::Contains { ignore_case, all } => text::contains(output, wanted, *ignore_case, *all),
        ScorerKind::Regex { pattern } => text::regex(output, pattern.as_ref(), wanted),
        ScorerKind::F1 => text::f1(output, wanted),
        ScorerKind::Number { tolerance, relative } => text::number(output, wanted, *tolerance, *relative),
        ScorerKind::JsonSchema { schema } => text::json_schema(output, schema.as_ref().unwrap_or(wanted)),
        ScorerKind::RecallAt { k } => ranking::recall(output, wanted, *k),
        ScorerKind::Ndcg { k } => ranking::ndcg(output, wanted, *k),
        ScorerKind::Smape => forecast::smape(output, wanted),
        ScorerKind::Mase { season } => forecast::mase(output, wanted, *season),
        ScorerKind::Judge { .. } | ScorerKind::Custom(_) => return None,
    })
}

/// Whether an expectation is of the kind that a scorer needs.
///
/// # Errors
/// What it is instead, as a lowercase fragment.
pub(super) fn check_expected(scorer: &Scorer, expected: Option<&Value>) -> Result<(), String> {
    let Some(wanted) = scorer.wants() else { return Ok(()) };
    let Some(expected) = expected else {
        return Err(format!("`{}` needs an expectation: {wanted}", scorer.label));
    };
    let fits = match &scorer.kind {
        ScorerKind::Contains { .. } | ScorerKind::F1 => text::texts(expected).is_some_and(|texts| !texts.is_empty()),
        ScorerKind::Regex { .. } => expected.as_str().is_some_and(|text| regex::Regex::new(text).is_ok()),
        ScorerKind::Number { .. } => {
            expected.as_f64().is_some() || expected.as_str().is_some_and(|text| text::plain_number(text).is_some())
        }
        ScorerKind::JsonSchema { .. } => jsonschema::validator_for(expected).is_ok(),
        ScorerKind::RecallAt { .. } | ScorerKind::Ndcg { .. } => {
            ranking::grades(expected).is_some_and(|grades| !grades.is_empty())
        }
        ScorerKind::Smape => forecast::actual(expected).is_some_and(|actual| !actual.is_empty()),
        ScorerKind::Mase { season } => forecast::has_scale(expected, *season),
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("`{}` expects {wanted}, and this is {}", scorer.label, short(expected))) }
}

/// The text that an output is: its own, that of its `text` (a generator's or guard's), `choice` (a router's) or `result` (a
/// tool's), or its JSON.
pub(super) fn text_of(output: &Value) -> String {
    match output {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let part = ["text", "choice", "result"].iter().find_map(|key| fields.get(*key));
            match part {
                Some(Value::String(text)) => text.clone(),
                Some(other @ (Value::Number(_) | Value::Bool(_))) => other.to_string(),
                _ => output.to_string(),
            }
        }
        other => other.to_string(),
    }
}

/// A value, or the JSON that a text holds.
fn parsed(output: &Value) -> Option<Value> {
    match output {
        Value::String(text) => serde_json::from_str(text.trim()).ok(),
        other => Some(other.clone()),
    }
}

/// A value on one short line.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
