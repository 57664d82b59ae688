//! Typed access to a node's arguments, with errors that name the argument and what it should be.

use lumos_core::{AgentError, Arguments};
use serde_json::Value;

/// Most bytes of a text argument.
const MOST_BYTES: usize = 256 << 20;

/// The text under `name`. Numbers and booleans count as the text that they print as.
pub(crate) fn text(arguments: &Arguments, name: &str) -> Result<String, AgentError> {
    check_text(arguments, name)?;
    Ok(match &arguments[name] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    })
}

/// Looks whether [`text`] would find a text under `name`, without copying it.
pub(crate) fn check_text(arguments: &Arguments, name: &str) -> Result<(), AgentError> {
    match arguments.get(name) {
        None | Some(Value::Null) => Err(missing(arguments, name)),
        Some(Value::String(text)) if text.len() > MOST_BYTES => Err(AgentError::fatal(format!(
            "argument `{name}` has {} bytes, more than the {MOST_BYTES} allowed",
            text.len()
        ))
        .with_hint("pass less text")),
        Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(()),
        Some(value) => Err(wrong(name, value, "a text")
            .with_hint(format!("render it inside a text, e.g. `{name}: \"{{{{ value | tojson }}}}\"`"))),
    }
}

/// The whole number under `name`, or `default` when it is absent; a text that holds one counts.
pub(crate) fn whole(
    arguments: &Arguments,
    name: &str,
    default: Option<u64>,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, AgentError> {
    let number = match arguments.get(name) {
        None | Some(Value::Null) => return default.ok_or_else(|| missing(arguments, name)),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Number(number)) => number
            .as_u64()
            .or_else(|| number.as_f64().filter(|x| *x >= 0.0 && *x < 1e15 && x.fract() == 0.0).map(|x| x as u64)),
        Some(_) => None,
    };
    match number {
        Some(number) if range.contains(&number) => Ok(number),
        _ => Err(wrong(name, &arguments[name], &format!("a whole number from {} to {}", range.start(), range.end()))),
    }
}

/// The list of texts under `name`.
pub(crate) fn texts(arguments: &Arguments, name: &str) -> Result<Vec<String>, AgentError> {
    let value = arguments.get(name).ok_or_else(|| missing(arguments, name))?;
    let entries = value.as_array().ok_or_else(|| wrong(name, value, "a list of texts"))?;
    entries
        .iter()
        .map(|entry| entry.as_str().map(str::to_owned).ok_or_else(|| wrong(name, entry, "a list of texts")))
        .collect()
}

/// An error for an argument that is not there.
pub(crate) fn missing(arguments: &Arguments, name: &str) -> AgentError {
    let given: Vec<_> = arguments.keys().map(|key| format!("`{key}`")).collect();
    let given = if given.is_empty() { "nothing".to_owned() } else { given.join(", ") };
    AgentError::fatal(format!("argument `{name}` is missing"))
        .with_hint(format!("the node passes {given}; give it `{name}`, or put it in `with`"))
}

/// An error for an argument of another kind than `wanted`.
pub(crate) fn wrong(name: &str, value: &Value, wanted: &str) -> AgentError {
    AgentError::fatal(format!("argument `{name}` is {}, wanted {wanted}", describe(value)))
}

/// What a value is, short enough for a message.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(entries) => format!("a list of {} entries", entries.len()),
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Arguments {
        Arguments::from_iter([("it".to_owned(), value)])
    }

    #[test]
    fn texts_are_texts_and_what_prints_as_one() {
        assert_eq!(text(&of(json!("a")), "it").unwrap(), "a");
        assert_eq!(text(&of(json!(1.5)), "it").unwrap(), "1.5");
        let error = text(&of(json!([1])), "it").unwrap_err();
        assert_eq!(error.message, "argument `it` is a list of 1 entries, wanted a text");
        assert!(error.hint.unwrap().contains("tojson"));
    }

    #[test]
    fn whole_numbers_come_from_numbers_and_texts_in_range() {
        for value in [json!(7), json!("7"), json!(7.0)] {
            assert_eq!(whole(&of(value), "it", None, 1..=9).unwrap(), 7);
        }
        for value in [json!(0), json!(10), json!(-1), json!(1.5), json!("x"), json!([]), json!(1e300)] {
            assert!(whole(&of(value.clone()), "it", Some(3), 1..=9).is_err(), "{value}");
        }
        assert_eq!(whole(&Arguments::new(), "it", Some(3), 1..=9).unwrap(), 3);
    }

    #[test]
    fn a_missing_argument_is_named_beside_those_given() {
        let error = text(&of(json!(1)), "query").unwrap_err();
        assert_eq!(error.message, "argument `query` is missing");
        assert!(error.hint.unwrap().starts_with("the node passes `it`;"));
    }
}
