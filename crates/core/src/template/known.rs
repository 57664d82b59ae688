//! Filters and tests that a template names, before it is rendered: `minijinja` looks them up only when it gets there.

use minijinja::{ErrorKind, State};

use super::complexity::{codes, outside_quotes};
use super::{TemplateError, environment};
use crate::problem::nearest;

/// Names for the hint; whether one is there is asked of `minijinja`.
const FILTERS: [&str; 44] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "chain",
    "count",
    "default",
    "dictsort",
    "escape",
    "first",
    "fixed",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "thousands",
    "title",
    "tojson",
    "trim",
    "upper",
];

/// As [`FILTERS`], for what follows `is`.
const TESTS: [&str; 20] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "integer",
    "iterable",
    "lower",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
];

/// Refuses a template that names a filter or test that is not there.
pub(super) fn check(text: &str) -> Result<(), TemplateError> {
    let mut state = environment().empty_state();
    for code in codes(text) {
        for (kind, name) in names(code.text) {
            kind.check(&mut state, name)?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Filter,
    Test,
}

impl Kind {
    fn check(self, state: &mut State<'_, '_>, name: &str) -> Result<(), TemplateError> {
        let (unknown, what, names): (_, _, &[&str]) = match self {
            Self::Filter => {
                (state.apply_filter(name, &[]).is_err_and(|e| e.kind() == ErrorKind::UnknownFilter), "filter", &FILTERS)
            }
            Self::Test => {
                (state.perform_test(name, &[]).is_err_and(|e| e.kind() == ErrorKind::UnknownTest), "test", &TESTS)
            }
        };
        if !unknown {
            return Ok(());
        }
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", names.join(", ")),
        };
        Err(TemplateError::new(format!("there is no {what} `{name}`")).with_hint(hint))
    }
}

/// Names after `|`, and after `is` and `is not`.
fn names(code: &str) -> Vec<(Kind, &str)> {
    let mut names = Vec::new();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut word_start = None;
    for (at, c) in outside_quotes(code).chain([(code.len(), ' ')]) {
        if is_part(c) {
            word_start.get_or_insert(at);
            continue;
        }
        let Some(start) = word_start.take() else { continue };
        let (before, word) = (code[..start].trim_end(), &code[start..at]);
        if !word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            continue;
        }
        let ends_with_word = |text: &str, word: &str| {
            text.strip_suffix(word).is_some_and(|rest| !rest.ends_with(is_part) && !rest.ends_with('.'))
        };
        let negated = before.strip_suffix("not").map_or(before, str::trim_end);
        if before.ends_with('|') {
            names.push((Kind::Filter, word));
        } else if ends_with_word(before, "is") && word != "not" || (negated != before && ends_with_word(negated, "is"))
        {
            names.push((Kind::Test, word));
        }
    }
    names
}
