//! Where checks put what they find.

use crate::problem::{Problem, Severity, nearest};
use crate::read::{Parsed, Position, Positions};
use crate::template::TemplateError;

/// Most names that a hint lists.
const LISTED: usize = 12;

/// Most problems of one file that are listed.
const MAX_PROBLEMS: usize = 200;

/// Longest time that a file may ask for: some thirty years.
pub(super) const MAX_SECONDS: f64 = 1e9;

/// Collects the problems of one file.
pub(super) struct Sink<'a> {
    file: &'a str,
    positions: &'a Positions,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Sink<'a> {
    /// For a file and its text, which is empty for what was built in memory.
    pub(super) fn new<T>(parsed: &'a Parsed<T>, text: &'a str) -> Self {
        Self { file: &parsed.file, positions: &parsed.positions, text, problems: Vec::new() }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Whether that very path was written.
    pub(super) fn has(&self, path: &str) -> bool {
        self.positions.has(path)
    }

    /// Whether further problems are no longer listed.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Something that keeps the file from being used, at a path such as `nodes.plan.input`.
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.add(path, None, message.into(), hint.into(), Severity::Error);
    }

    /// Like [`Sink::error`], at a byte offset inside the text that is written at `path`.
    pub(super) fn error_within(
        &mut self,
        path: &str,
        (written, offset): (&str, usize),
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        let place = self.within(path, written, offset);
        self.add(path, place, message.into(), hint.into(), Severity::Error);
    }

    /// Where a part of a text stands in the file; `None` when escapes before it make that hard to say.
    fn within(&self, path: &str, written: &str, offset: usize) -> Option<Position> {
        let start = self.positions.of(path).filter(|_| self.positions.has(path))?;
        let line = self.text.split_inclusive('\n').take(start.line as usize - 1).map(str::len).sum::<usize>();
        let column = self.text[line..].char_indices().nth(start.column as usize - 1)?.0;
        let literal = &self.text[line + column..];
        let opening = literal.find('"')? + 1;
        let raw_string = literal[..opening].trim_start_matches('r').trim_start_matches('#') == "\"";
        let before = written.get(..offset)?;
        if !raw_string || !literal[opening..].starts_with(before) {
            return None;
        }
        let last_line = before.rsplit('\n').next().unwrap_or(before);
        let columns = last_line.chars().count() as u32;
        Some(if last_line.len() == before.len() {
            Position { line: start.line, column: start.column + literal[..opening].chars().count() as u32 + columns }
        } else {
            Position { line: start.line + before.matches('\n').count() as u32, column: columns + 1 }
        })
    }

    /// Something that somebody should know.
    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.add(path, None, message.into(), hint.into(), Severity::Warning);
    }

    fn add(&mut self, path: &str, place: Option<Position>, message: String, hint: Option<String>, severity: Severity) {
        if self.is_full() {
            return;
        }
        let place = place.or_else(|| self.positions.of(path));
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

    /// A template that does not compile.
    pub(super) fn template_error(&mut self, path: &str, written: &str, error: TemplateError) {
        let line = error.line.unwrap_or(1);
        let start = written.split_inclusive('\n').take(line as usize - 1).map(str::len).sum::<usize>();
        let place = self.within(path, written, start).filter(|_| line > 1);
        let message = match (place, line) {
            (None, 2..) => format!("{} (line {line} of the template)", error.message),
            _ => error.message,
        };
        self.add(path, place, message, error.hint, Severity::Error);
    }

    /// A number that is below what is allowed.
    pub(super) fn at_least_one(&mut self, path: &str, number: Option<u32>) {
        if number == Some(0) {
            let name = path.rsplit('.').next().unwrap_or(path);
            self.error(path, format!("`{name}` is 0"), "at least 1".to_owned());
        }
    }

    /// A number of seconds that must be positive and fit any clock.
    pub(super) fn seconds(&mut self, path: &str, number: Option<f64>) {
        if let Some(number) = number.filter(|number| !(*number > 0.0 && *number <= MAX_SECONDS)) {
            let name = path.rsplit('.').next().unwrap_or(path);
            self.error(path, format!("`{name}` is {number}"), format!("seconds, above 0 and at most {MAX_SECONDS}"));
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
