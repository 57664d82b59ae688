//! Where checks put what they find.

use crate::problem::{Problem, Severity, nearest};
use crate::read::{Parsed, Positions};

/// Most names that a hint lists.
const LISTED: usize = 12;

/// Most problems of one file that are listed.
const MAX_PROBLEMS: usize = 200;

/// Collects the problems of one file.
pub(super) struct Sink<'a> {
    file: &'a str,
    positions: &'a Positions,
    problems: Vec<Problem>,
}

impl<'a> Sink<'a> {
    pub(super) fn new<T>(parsed: &'a Parsed<T>) -> Self {
        Self { file: &parsed.file, positions: &parsed.positions, problems: Vec::new() }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Whether further problems are no longer listed.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Something that keeps the file from being used, at a path such as `nodes.plan.input`.
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.add(path, message.into(), hint.into(), Severity::Error);
    }

    /// Something that somebody should know.
    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.add(path, message.into(), hint.into(), Severity::Warning);
    }

    fn add(&mut self, path: &str, message: String, hint: Option<String>, severity: Severity) {
        if self.is_full() {
            return;
        }
        let place = self.positions.of(path);
        let mut parts = path.splitn(3, '.');
        let (node, field) = match parts.next() {
            Some("nodes" | "backends") => (parts.next().map(str::to_owned), parts.next().map(str::to_owned)),
            _ => (None, Some(path.to_owned())),
        };
        self.problems.push(Problem {
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            node,
            field,
            severity,
            ..Problem::of_file(self.file, message, hint)
        });
    }

    /// A number that is below what is allowed.
    pub(super) fn at_least_one(&mut self, path: &str, number: Option<u32>) {
        if number == Some(0) {
            let name = path.rsplit('.').next().unwrap_or(path);
            self.error(path, format!("`{name}` is 0"), "at least 1".to_owned());
        }
    }

    /// A number of seconds or the like that must be positive.
    pub(super) fn positive(&mut self, path: &str, number: Option<f64>) {
        if let Some(number) = number.filter(|number| number.is_nan() || *number <= 0.0 || number.is_infinite()) {
            let name = path.rsplit('.').next().unwrap_or(path);
            self.error(path, format!("`{name}` is {number}"), "a finite number above 0".to_owned());
        }
    }
}

/// The nearest of the names, or all of them after `lead`.
pub(super) fn suggest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>, lead: &str) -> Option<String> {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return None;
    }
    if let Some(near) = nearest(wanted, names.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let more = if names.len() > LISTED { ", …" } else { "" };
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    Some(format!("{lead} {}{more}", listed.join(", ")))
}

/// Whether a text is `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
