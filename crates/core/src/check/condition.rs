//! Conditions that can never hold: constants, and comparisons that exclude each other.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::sink::{Sink, suggest};
use crate::spec::{NodeKind, WorkflowSpec};
use crate::template::Template;

/// Checks a `when`.
pub(super) fn check(sink: &mut Sink<'_>, spec: &WorkflowSpec, path: &str, when: &Template) {
    if when.references().is_empty() {
        match when.evaluate_bool(&IndexMap::<String, Json>::new()) {
            Ok(true) => sink.warning(path, "the condition always holds", "remove `when`".to_owned()),
            Ok(false) => sink.error(
                path,
                "the condition never holds",
                "remove the node, or let `when` read an input or a node".to_owned(),
            ),
            Err(error) => sink.error(path, error.message, error.hint),
        }
        return;
    }
    let Some(alternatives) = parse(when.source()) else { return };
    let reasons: Vec<Reason> = alternatives.iter().filter_map(|all| impossible(spec, all)).collect();
    if let Some(first) = reasons.first().filter(|_| reasons.len() == alternatives.len()) {
        sink.error(path, format!("the condition can never hold: {}", first.message), first.hint.clone());
    }
}

struct Reason {
    message: String,
    hint: Option<String>,
}

/// One comparison of something that is read with a constant.
struct Comparison<'a> {
    path: &'a str,
    operator: &'a str,
    constant: Constant<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Constant<'a> {
    Text(&'a str),
    Number(f64),
}

/// Alternatives (`or`) of conditions that must hold together (`and`). A condition that is no plain comparison is left
/// out; `None` when the expression has brackets or the like, so that nothing can be said.
fn parse(source: &str) -> Option<Vec<Vec<Comparison<'_>>>> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim_matches(['-', '+', ' ']);
    let mut quote = None;
    for c in inner.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) if c == '\\' => return None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if matches!(c, '(' | '[' | '{' | '~' | '|') => return None,
            _ => {}
        }
    }
    let words = ["if", "else"];
    if split_words(inner, &words).len() > 1 {
        return None;
    }
    let alternatives = split_words(inner, &["or"]);
    Some(
        alternatives
            .into_iter()
            .map(|all| split_words(all, &["and"]).into_iter().filter_map(comparison).collect())
            .collect(),
    )
}

/// Splits at whole words outside quotes.
fn split_words<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut start, mut word_start, mut quote) = (0, None, None);
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if quote.is_some() {
            if Some(c) == quote {
                quote = None;
            }
            continue;
        }
        if c.is_alphanumeric() || matches!(c, '_' | '.') {
            word_start.get_or_insert(at);
            continue;
        }
        if let Some(word) = word_start.take()
            && words.contains(&&text[word..at])
        {
            parts.push(text[start..word].trim());
            start = at;
        }
        if matches!(c, '"' | '\'') {
            quote = Some(c);
        }
    }
    parts.push(text[start.min(text.len())..].trim());
    parts
}

fn comparison(text: &str) -> Option<Comparison<'_>> {
    let unquoted = |side: &str| side.starts_with(['"', '\'']);
    let (at, operator) = ["==", "!=", "<=", ">=", "<", ">"]
        .into_iter()
        .filter_map(|operator| Some((text.find(operator)?, operator)))
        .min_by_key(|(at, operator)| (*at, std::cmp::Reverse(operator.len())))?;
    let (left, right) = (text[..at].trim(), text[at + operator.len()..].trim());
    let is_path = |side: &str| {
        !side.is_empty()
            && side.split('.').all(super::sink::is_name)
            && !matches!(side, "true" | "false" | "none" | "True" | "False" | "None")
    };
    if is_path(left) {
        return Some(Comparison { path: left, operator, constant: constant(right)? });
    }
    if is_path(right) && (!unquoted(left) || constant(left).is_some()) {
        let flipped = match operator {
            "<" => ">",
            ">" => "<",
            "<=" => ">=",
            ">=" => "<=",
            same => same,
        };
        return Some(Comparison { path: right, operator: flipped, constant: constant(left)? });
    }
    None
}

fn constant(text: &str) -> Option<Constant<'_>> {
    if let Some(open) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let inner = text.strip_prefix(open)?.strip_suffix(open)?;
        return (!inner.contains(open)).then_some(Constant::Text(inner));
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Constant::Number)
}

/// Why comparisons that must hold together can't.
fn impossible(spec: &WorkflowSpec, all: &[Comparison<'_>]) -> Option<Reason> {
    all.iter().find_map(|comparison| outside_choices(spec, comparison)).or_else(|| contradiction(all))
}

/// A router's choice or a guard's outcome compared with something it never is.
fn outside_choices(spec: &WorkflowSpec, comparison: &Comparison<'_>) -> Option<Reason> {
    let Constant::Text(text) = comparison.constant else { return None };
    if comparison.operator != "==" {
        return None;
    }
    let (name, field) = comparison.path.split_once('.')?;
    let choices: Vec<&str> = match (&spec.nodes.get(name)?.kind, field) {
        (NodeKind::Router { routes, .. }, "choice") => routes.keys().map(String::as_str).collect(),
        (NodeKind::Guard { .. }, "outcome") => vec!["allow", "redact", "refuse"],
        _ => return None,
    };
    (!choices.contains(&text)).then(|| Reason {
        message: format!("`{}` is never \"{text}\"", comparison.path),
        hint: suggest(text, choices, "it is one of"),
    })
}

fn contradiction(all: &[Comparison<'_>]) -> Option<Reason> {
    for (at, first) in all.iter().enumerate() {
        for second in all[..at].iter().filter(|second| second.path == first.path) {
            if !compatible(first, second) {
                return Some(Reason {
                    message: format!(
                        "it wants `{}` to be both {} and {}",
                        first.path,
                        described(second),
                        described(first)
                    ),
                    hint: Some("use `or`, or remove one of them".to_owned()),
                });
            }
        }
    }
    None
}

fn described(comparison: &Comparison<'_>) -> String {
    let constant = match comparison.constant {
        Constant::Text(text) => format!("\"{text}\""),
        Constant::Number(number) => number.to_string(),
    };
    if comparison.operator == "==" { constant } else { format!("{} {constant}", comparison.operator) }
}

/// Whether one value can satisfy both.
fn compatible(first: &Comparison<'_>, second: &Comparison<'_>) -> bool {
    match (first.constant, second.constant) {
        (Constant::Number(a), Constant::Number(b)) => {
            let holds = |value: f64, comparison: &Comparison<'_>, constant: f64| match comparison.operator {
                "==" => value == constant,
                "!=" => value != constant,
                "<" => value < constant,
                "<=" => value <= constant,
                ">" => value > constant,
                _ => value >= constant,
            };
            let (low, high) = (a.min(b), a.max(b));
            let candidates = [low - 1.0, low, f64::midpoint(low, high), high, high + 1.0];
            candidates.iter().any(|value| holds(*value, first, a) && holds(*value, second, b))
        }
        (Constant::Text(a), Constant::Text(b)) => match (first.operator, second.operator) {
            ("==", "==") => a == b,
            ("==", "!=") | ("!=", "==") => a != b,
            _ => true,
        },
        (Constant::Text(_), Constant::Number(_)) | (Constant::Number(_), Constant::Text(_)) => {
            (first.operator, second.operator) != ("==", "==")
        }
    }
}
