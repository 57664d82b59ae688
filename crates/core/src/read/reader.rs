//! What all three kinds of file share: collecting problems and positions while fields are taken one by one.

use std::collections::BTreeSet;

use super::position::{LineIndex, Positions};
use super::raw::{Raw, skip_blanks};
use crate::problem::{Problem, Severity, nearest};

/// Most names that a hint lists.
const LISTED: usize = 40;

/// Most problems of one file that are listed.
const MAX_PROBLEMS: usize = 200;

/// Collects problems and positions of one file.
pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    lines: LineIndex<'a>,
    problems: Vec<Problem>,
    found: usize,
    positions: Positions,
    broken: BTreeSet<String>,
    path: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let lines = LineIndex::new(text);
        let mut positions = Positions::default();
        positions.insert(String::new(), lines.position(0));
        Self { file, text, lines, problems: Vec::new(), found: 0, positions, broken: BTreeSet::new(), path: Vec::new() }
    }

    /// The problems in the order of the file, the positions, and the names of what could not be read.
    pub(super) fn into_parts(mut self) -> (Vec<Problem>, Positions, BTreeSet<String>) {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        (self.problems, self.positions, self.broken)
    }

    /// Where a slice of the file's text begins.
    pub(super) fn offset(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize).min(self.text.len())
    }

    /// Runs with one more name on the path, noting where it is.
    pub(super) fn within<T>(&mut self, name: &str, at: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.to_owned());
        let position = self.lines.position(at);
        self.positions.insert(self.path.join("."), position);
        let value = read(self);
        self.path.pop();
        value
    }

    /// Runs `read` and says whether it found no problem.
    pub(super) fn sound<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = self.found;
        let value = read(self);
        (value, self.found == before)
    }

    /// Notes that something by that name was written but could not be read.
    pub(super) fn broken(&mut self, name: &str) {
        self.broken.insert(name.to_owned());
    }

    pub(super) fn problem(&mut self, part: Raw<'_>, message: impl Into<String>, hint: Option<String>) {
        self.problem_at(self.offset(part.text), message, hint);
    }

    pub(super) fn problem_at(&mut self, offset: usize, message: impl Into<String>, hint: Option<String>) {
        self.found += 1;
        if self.is_full() {
            return;
        }
        let position = self.lines.position(offset);
        let owned = self.path.len() > 1 && matches!(self.path[0].as_str(), "nodes" | "backends");
        let (node, field) = if owned { (Some(self.path[1].clone()), &self.path[2..]) } else { (None, &self.path[..]) };
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: Some(position.line),
            column: Some(position.column),
            node,
            field: (!field.is_empty()).then(|| field.join(".")),
            message: message.into(),
            hint,
            severity: Severity::Error,
        });
    }

    /// Whether further problems are no longer listed.
    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// The one problem of a file that is no RON.
    pub(super) fn syntax_error(&mut self, offset: usize, code: ron::Error) {
        let code = if offset == self.text.len() { ron::Error::Eof } else { code };
        let (message, hint) = match code {
            ron::Error::Eof if skip_blanks(self.text).is_empty() => (
                "the file is empty".to_owned(),
                Some("it holds one value, such as Workflow(…), Deployment(…) or an agent's role(…)".to_owned()),
            ),
            code => super::decode::syntax(&code),
        };
        self.problem_at(offset, message, hint);
    }

    /// The fields of `Name(…)` or `(…)`.
    pub(super) fn fields<'r>(&mut self, raw: Raw<'r>, name: &'static str) -> Option<Fields<'r>> {
        if raw.name().is_some_and(|found| found != name) {
            let hint = Some("leave out the name: (…)".to_owned());
            self.problem(raw, format!("expected fields in parentheses, found {}", raw.description()), hint);
            return None;
        }
        let Some(body) = raw.body() else {
            let found = raw.description();
            self.problem(
                raw,
                format!("expected fields in parentheses, found {found}"),
                Some("(name: value, …)".to_owned()),
            );
            return None;
        };
        self.body(body, name)
    }

    /// The fields of a parenthesised body.
    pub(super) fn body<'r>(&mut self, body: Raw<'r>, owner: &'static str) -> Option<Fields<'r>> {
        let Some(entries) = body.fields() else {
            self.problem(body, format!("{owner} takes named fields"), Some("(name: value, …)".to_owned()));
            return None;
        };
        let mut fields = Fields { owner, at: self.offset(body.text), entries: Vec::new(), known: Vec::new() };
        let mut seen = BTreeSet::new();
        for (name, value) in entries {
            if seen.insert(name) {
                fields.entries.push(Field { name, value, taken: false });
            } else {
                let at = self.offset(name);
                self.problem_at(at, format!("field `{name}` is written twice"), Some("keep one of them".to_owned()));
            }
        }
        Some(fields)
    }
}

/// The fields of one value, taken one by one; what is left in the end is unknown.
pub(super) struct Fields<'a> {
    owner: &'static str,
    at: usize,
    entries: Vec<Field<'a>>,
    known: Vec<&'static str>,
}

struct Field<'a> {
    name: &'a str,
    value: Raw<'a>,
    taken: bool,
}

/// What a field's value is decoded to.
pub(super) trait Decode: Sized {
    /// The value, or `None` after a problem was noted.
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self>;
}

impl<'a> Fields<'a> {
    /// An empty set of fields, for a name without parentheses.
    pub(super) fn none(owner: &'static str, at: usize) -> Self {
        Self { owner, at, entries: Vec::new(), known: Vec::new() }
    }

    /// The field's value, undecoded; `None` when it is absent or says `None`.
    pub(super) fn raw(&mut self, name: &'static str) -> Option<Raw<'a>> {
        self.known.push(name);
        let field = self.entries.iter_mut().find(|field| field.name == name)?;
        field.taken = true;
        field.value.option()
    }

    /// The field's value; `None` when it is absent or wrong.
    pub(super) fn take<T: Decode>(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<T> {
        self.take_with(reader, name, T::decode)
    }

    /// The field's value as `read` decodes it.
    pub(super) fn take_with<T>(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'_>, Raw<'_>) -> Option<T>,
    ) -> Option<T> {
        let raw = self.raw(name)?;
        reader.within(name, reader.offset(raw.text), |reader| read(reader, raw))
    }

    /// The field's value; its absence is a problem.
    pub(super) fn require<T: Decode>(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<T> {
        self.require_with(reader, name, T::decode)
    }

    /// The field's value as `read` decodes it; its absence is a problem.
    pub(super) fn require_with<T>(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'_>, Raw<'_>) -> Option<T>,
    ) -> Option<T> {
        if let Some(raw) = self.raw(name) {
            return reader.within(name, reader.offset(raw.text), |reader| read(reader, raw));
        }
        reader.path.push(name.to_owned());
        reader.problem_at(self.at, format!("{} needs the field `{name}`", self.owner), None);
        reader.path.pop();
        None
    }

    /// Says that a field of the format is not there yet.
    pub(super) fn unavailable(&mut self, reader: &mut Reader<'_>, name: &'static str, hint: &str) {
        if let Some(field) = self.entries.iter_mut().find(|field| field.name == name) {
            field.taken = true;
            let at = reader.offset(field.name);
            reader.within(name, at, |reader| {
                reader.problem_at(at, format!("`{name}` is not available in this version"), Some(hint.to_owned()));
            });
        }
    }

    /// Says that every field that nobody took is unknown.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for field in self.entries.iter().filter(|field| !field.taken) {
            if reader.is_full() {
                return;
            }
            let at = reader.offset(field.name);
            let hint = hint_of_names(field.name, &self.known);
            reader.within(field.name, at, |reader| {
                reader.problem_at(at, format!("{} has no field `{}`", self.owner, field.name), Some(hint));
            });
        }
    }
}

/// The nearest of the names, or all of them.
pub(super) fn hint_of_names(found: &str, names: &[&str]) -> String {
    if let Some(near) = nearest(found, names.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if names.is_empty() {
        return "it takes none".to_owned();
    }
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    format!("one of {}", listed.join(", "))
}
