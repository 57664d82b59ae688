//! What a run is given, against what the workflow takes.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::sink::{Sink, suggest};
use super::workflow::fits;
use crate::problem::Problem;
use crate::read::Parsed;
use crate::spec::{InputKind, InputSpec, WorkflowSpec};

/// A value that a run is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// A text to be read as the input's type, as from `-i key=value`.
    Text(String),
    /// A value that must be of the input's type, as from a JSON file.
    Json(Json),
}

/// The value of every input, in the order of the file: what is given, else its default, else `""`, `0`, `false` or
/// `null`.
///
/// # Errors
/// Unknown inputs, missing ones that are required, and values that don't fit their type.
pub fn check_inputs(
    workflow: &Parsed<WorkflowSpec>,
    given: &IndexMap<String, Given>,
) -> Result<IndexMap<String, Json>, Vec<Problem>> {
    let takes = &workflow.spec.inputs;
    let mut sink = Sink::new(workflow, "");
    for name in given.keys().filter(|name| !takes.contains_key(*name)) {
        let hint = suggest(name, takes.keys().map(String::as_str), "it takes")
            .unwrap_or_else(|| "it takes no inputs".to_owned());
        sink.error("inputs", format!("workflow `{}` has no input `{name}`", workflow.spec.name), hint);
    }
    let mut values = IndexMap::with_capacity(takes.len());
    for (name, input) in takes {
        let path = format!("inputs.{name}");
        let value = match given.get(name) {
            Some(given) => match convert(input.kind, given) {
                Ok(value) => value,
                Err((message, hint)) => {
                    sink.error(&path, format!("input `{name}`: {message}"), hint);
                    continue;
                }
            },
            None if input.required => {
                let about =
                    if input.description.is_empty() { String::new() } else { format!(" ({})", input.description) };
                sink.error(&path, format!("input `{name}` is required"), format!("-i {name}=…{about}"));
                continue;
            }
            None => absent(input),
        };
        values.insert(name.clone(), value);
    }
    let problems = sink.into_problems();
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

fn absent(input: &InputSpec) -> Json {
    input.default.clone().unwrap_or_else(|| match input.kind {
        InputKind::Text => "".into(),
        InputKind::Number | InputKind::Integer => 0.into(),
        InputKind::Bool => false.into(),
        InputKind::Json => Json::Null,
    })
}

fn convert(kind: InputKind, given: &Given) -> Result<Json, (String, Option<String>)> {
    match given {
        Given::Json(value) => {
            if kind == InputKind::Integer
                && let Some(whole) = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
                && !value.is_i64()
            {
                return Ok((whole as i64).into());
            }
            fits(kind, value)
                .map_err(|expected| (format!("expected {expected}, found {}", short(&value.to_string())), None))?;
            Ok(value.clone())
        }
        Given::Text(text) => {
            let fail = |expected: &str| (format!("expected {expected}, found `{}`", short(text)), None);
            let trimmed = text.trim();
            match kind {
                InputKind::Text => Ok(text.as_str().into()),
                InputKind::Number => match trimmed.parse::<i64>() {
                    Ok(whole) => Ok(whole.into()),
                    Err(_) => match trimmed.parse::<f64>() {
                        Ok(number) if number.is_finite() => Ok(number.into()),
                        _ => Err(fail("a finite number")),
                    },
                },
                InputKind::Integer => trimmed.parse::<i64>().map(Json::from).map_err(|_| fail("a whole number")),
                InputKind::Bool => trimmed.parse::<bool>().map(Json::from).map_err(|_| fail("true or false")),
                InputKind::Json => serde_json::from_str(trimmed).map_err(|error| {
                    let hint = "a text is written in double quotes, e.g. '\"text\"'".to_owned();
                    (format!("not JSON: {error}"), Some(hint))
                }),
            }
        }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
