//! Texts, numbers and shapes.

use regex::Regex;
use serde_json::{Map, Value};

use super::{parsed, short, text_of};

/// One text, or those of a list; `None` for anything else.
pub(super) fn texts(expected: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    match expected {
        Value::Array(list) => list.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

pub(super) fn exact(output: &Value, expected: &Value, ignore_case: bool) -> f64 {
    let folded = |text: &str| if ignore_case { text.trim().to_lowercase() } else { text.trim().to_owned() };
    let is_right = match expected {
        Value::Array(list) if !output.is_array() => list.iter().any(|one| exact(output, one, ignore_case) == 1.0),
        Value::String(wanted) => folded(&text_of(output)) == folded(wanted),
        Value::Number(wanted) => {
            let found = output.as_f64().or_else(|| plain_number(&text_of(output)));
            found == wanted.as_f64()
        }
        Value::Bool(wanted) => folded(&text_of(output)).eq_ignore_ascii_case(&wanted.to_string()),
        other => parsed(output).is_some_and(|found| found == *other),
    };
    f64::from(u8::from(is_right))
}

pub(super) fn contains(output: &Value, expected: &Value, ignore_case: bool, all: bool) -> Result<f64, String> {
    let folded = |text: &str| if ignore_case { text.to_lowercase() } else { text.to_owned() };
    let found = folded(&text_of(output));
    let wanted = texts(expected).ok_or_else(|| format!("{} is no text", short(expected)))?;
    let mut there = wanted.iter().map(|text| found.contains(&folded(text)));
    Ok(f64::from(u8::from(if all { there.all(|it| it) } else { there.any(|it| it) })))
}

pub(super) fn regex(output: &Value, pattern: Option<&Regex>, expected: &Value) -> Result<f64, String> {
    let text = text_of(output);
    let is_found = match pattern {
        Some(pattern) => pattern.is_match(&text),
        None => Regex::new(expected.as_str().unwrap_or_default()).map_err(|error| error.to_string())?.is_match(&text),
    };
    Ok(f64::from(u8::from(is_found)))
}

/// The best F1 of words over the texts that are expected, in the normal form of SQuAD: small letters, no punctuation, no
/// articles.
pub(super) fn f1(output: &Value, expected: &Value) -> Result<f64, String> {
    let found = words(&text_of(output));
    let wanted = texts(expected).ok_or_else(|| format!("{} is no text", short(expected)))?;
    Ok(wanted.iter().map(|text| overlap(&found, &words(text))).fold(0.0, f64::max))
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let plain: String = lower.chars().filter(|c| !is_punctuation(*c)).collect();
    plain.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).map(str::to_owned).collect()
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || matches!(c, '‘' | '’' | '“' | '”' | '´' | '`' | '–' | '—' | '…')
}

fn overlap(found: &[String], wanted: &[String]) -> f64 {
    if found.is_empty() || wanted.is_empty() {
        return f64::from(u8::from(found.is_empty() && wanted.is_empty()));
    }
    let mut left = wanted.to_vec();
    let mut common = 0usize;
    for word in found {
        if let Some(at) = left.iter().position(|it| it == word) {
            left.swap_remove(at);
            common += 1;
        }
    }
    // 2 · precision · recall / (precision + recall).
    2.0 * common as f64 / (found.len() + wanted.len()) as f64
}

pub(super) fn number(output: &Value, expected: &Value, tolerance: f64, relative: bool) -> Result<f64, String> {
    let wanted = expected.as_f64().or_else(|| plain_number(expected.as_str()?));
    let wanted = wanted.ok_or_else(|| format!("{} is no number", short(expected)))?;
    let text = text_of(output);
    let found = output.as_f64().or_else(|| plain_number(&text)).or_else(|| last_number(&text));
    let found = found.ok_or_else(|| format!("there is no number in {}", short(output)))?;
    let allowed = if relative { tolerance * wanted.abs() } else { tolerance };
    // A difference that only rounding makes is none.
    let slack = 1e-9 * wanted.abs().max(1.0);
    Ok(f64::from(u8::from((found - wanted).abs() <= allowed + slack)))
}

/// A text that is a number, with separators of thousands, a currency or a percent sign.
pub(super) fn plain_number(text: &str) -> Option<f64> {
    let text = text.trim().trim_start_matches(['$', '€', '£']).trim_end_matches(['%', '.']).trim();
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    let number: f64 = text.replace([',', '_'], "").parse().ok().filter(|_| is_number)?;
    number.is_finite().then_some(number)
}

/// The last number in a text: where a chain of thoughts ends.
fn last_number(text: &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let mut end = text.len();
    while let Some(last) = text[..end].rfind(|c: char| c.is_ascii_digit()) {
        let start = text[..last]
            .rfind(|c: char| !is_part(c))
            .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
        let sign =
            if text[..start].ends_with('-') && !text[..start - 1].ends_with(char::is_alphanumeric) { "-" } else { "" };
        let number = text[start..=last].trim_start_matches([',', '.']);
        if let Ok(found) = format!("{sign}{}", number.replace(',', "")).parse() {
            return Some(found);
        }
        end = start;
    }
    None
}

pub(super) fn json_schema(output: &Value, schema: &Value) -> Result<f64, String> {
    let validator = jsonschema::validator_for(schema).map_err(|error| format!("this is no JSON schema: {error}"))?;
    // A generator with a schema of its own holds the value as `data`, beside its text.
    let is_both = |fields: &&Map<String, Value>| fields.len() == 2 && fields.contains_key("text");
    let data = output.as_object().filter(is_both).and_then(|fields| fields.get("data"));
    let found = data.cloned().or_else(|| parsed(output));
    let found = found.ok_or_else(|| format!("{} is no JSON", short(output)))?;
    match validator.validate(&found) {
        Ok(()) => Ok(1.0),
        Err(error) => Err(format!(
            "at {}: {error}",
            match error.instance_path().as_str() {
                "" => "the top",
                path => path,
            }
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exact_is_about_values_not_about_how_they_are_written() {
        assert_eq!(exact(&json!(" Paris\n"), &json!("Paris"), false), 1.0);
        assert_eq!(exact(&json!("paris"), &json!("Paris"), false), 0.0);
        assert_eq!(exact(&json!("paris"), &json!("Paris"), true), 1.0);
        assert_eq!(exact(&json!("42.0"), &json!(42), false), 1.0);
        assert_eq!(exact(&json!({"text": "yes"}), &json!(["no", "yes"]), false), 1.0);
        assert_eq!(exact(&json!(["a", "b"]), &json!(["a", "b"]), false), 1.0);
        assert_eq!(exact(&json!(["b", "a"]), &json!(["a", "b"]), false), 0.0);
        assert_eq!(exact(&json!("{\"b\": 1, \"a\": 2}"), &json!({"a": 2, "b": 1}), false), 1.0);
        assert_eq!(exact(&json!({"choice": "billing"}), &json!("billing"), false), 1.0);
        assert_eq!(exact(&json!(""), &json!(0), false), 0.0);
    }

    #[test]
    fn contains_takes_one_or_all() {
        let of = |expected: Value, all| contains(&json!("Order early in May."), &expected, true, all).unwrap();
        assert_eq!((of(json!("may"), false), of(json!("june"), false)), (1.0, 0.0));
        assert_eq!((of(json!(["june", "early"]), false), of(json!(["june", "early"]), true)), (1.0, 0.0));
    }

    #[test]
    fn f1_is_that_of_squad() {
        let of = |found: &str, wanted: Value| f1(&json!(found), &wanted).unwrap();
        assert_eq!(of("The Eiffel Tower.", json!("eiffel tower")), 1.0);
        // Common words 2, of 3 and 2: precision 2/3, recall 1.
        assert!((of("big eiffel tower", json!("Eiffel tower")) - 0.8).abs() < 1e-12);
        assert_eq!(of("it", json!(["nothing", "it"])), 1.0);
        assert_eq!(of("x x", json!("x")), 2.0 / 3.0);
        assert_eq!(of("", json!("x")), 0.0);
    }

    #[test]
    fn the_last_number_counts() {
        let of = |found: Value, wanted: f64, tolerance| number(&found, &json!(wanted), tolerance, false);
        assert_eq!(of(json!("7 + 5 = 12, so the total is $1,212.50."), 1212.5, 0.0), Ok(1.0));
        assert_eq!(of(json!("from 3 to -4"), -4.0, 0.0), Ok(1.0));
        assert_eq!(of(json!("pages 3-4"), 4.0, 0.0), Ok(1.0));
        assert_eq!(of(json!(0.1 + 0.2), 0.3, 0.0), Ok(1.0));
        assert_eq!((of(json!("10"), 10.6, 0.5), of(json!("10"), 10.5, 0.5)), (Ok(0.0), Ok(1.0)));
        assert_eq!(number(&json!({"result": 95}), &json!("100"), 0.05, true), Ok(1.0));
        assert!(of(json!("none"), 1.0, 0.0).is_err());
        assert_eq!(of(json!("é5"), 5.0, 0.0), Ok(1.0));
    }

    #[test]
    fn shapes_are_those_of_the_json_that_a_text_holds() {
        let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
        assert_eq!(json_schema(&json!("{\"n\": 3}"), &schema), Ok(1.0));
        assert_eq!(json_schema(&json!({"text": "…", "data": {"n": 3}}), &schema), Ok(1.0));
        // A field of that name is one like any other, in what a text holds and in a value.
        let listed = json!({"type": "object", "required": ["data"]});
        assert_eq!(json_schema(&json!("{\"data\": [1], \"text\": \"…\"}"), &listed), Ok(1.0));
        assert_eq!(json_schema(&json!({"data": [1], "next": null}), &listed), Ok(1.0));
        assert!(json_schema(&json!({"n": "3"}), &schema).unwrap_err().starts_with("at /n: "));
        assert!(json_schema(&json!("n = 3"), &schema).unwrap_err().contains("no JSON"));
    }
}
