//! Where the parts of a file were written.

use std::cell::Cell;
use std::collections::BTreeMap;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// Positions by path: `nodes.plan` is where the node's name is written, `nodes.plan.input` that field's value,
/// `nodes.plan.retry.attempts` a value inside it, `output` a field of the file's value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Positions(BTreeMap<String, Position>);

impl Positions {
    /// The place of a path, or of the nearest part around it that was written.
    pub fn of(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(position) = self.0.get(path) {
                return Some(*position);
            }
            path = match path.rfind('.') {
                Some(dot) => &path[..dot],
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }

    /// Whether that very path was written.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(super) fn insert(&mut self, path: String, position: Position) {
        self.0.entry(path).or_insert(position);
    }
}

/// Turns byte offsets into lines and columns.
pub(super) struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// The last answer: files are read forwards, so a long line need not be counted from its start each time.
    last: Cell<(usize, Position)>,
}

impl<'a> LineIndex<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, last: Cell::new((0, Position { line: 1, column: 1 })) }
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let (known, last) = self.last.get();
        let (start, column) = if last.line as usize == line && known <= offset {
            (known, last.column)
        } else {
            (self.starts[line - 1], 1)
        };
        let more = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        let position = Position { line: line as u32, column: column + more as u32 };
        self.last.set((offset, position));
        position
    }

    /// The byte offset of a line and column, both from 1.
    pub(super) fn offset(&self, line: usize, column: usize) -> usize {
        let Some(start) = self.starts.get(line.saturating_sub(1)) else {
            return self.text.len();
        };
        let rest = &self.text[*start..];
        start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
    }
}
