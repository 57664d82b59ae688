//! Aligned tables of plain text, and the lines that they are made of.

use std::borrow::Cow;

use lumos_core::Status;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a line is, for whoever wants to colour it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Names of columns.
    Header,
    /// A line that separates.
    Rule,
    /// An ordinary row.
    Row,
    /// A row of something that ended like this.
    Ended(Status),
    /// Sums.
    Total,
    /// A remark below the table.
    Note,
}

/// A line of text without colour and without spaces at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub role: Role,
    /// What it says.
    pub text: String,
}

/// On which side a column's cells are flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub title: Cow<'static, str>,
    /// How its cells stand.
    pub align: Align,
}

/// Rows of cells under named columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<(Role, Vec<String>)>,
}

/// Spaces between columns.
const GAP: usize = 2;

/// Longest rule.
const RULE: usize = 100;

impl Column {
    /// A column of words.
    pub fn left(title: impl Into<Cow<'static, str>>) -> Self {
        Self { title: title.into(), align: Align::Left }
    }

    /// A column of figures.
    pub fn right(title: impl Into<Cow<'static, str>>) -> Self {
        Self { title: title.into(), align: Align::Right }
    }
}

impl Table {
    /// A table without rows.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, control characters become visible.
    pub fn row(&mut self, role: Role, cells: Vec<String>) {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| clean(&cell)).collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push((role, cells));
    }

    /// Removes the column of that name.
    pub(crate) fn drop_column(&mut self, title: &str) {
        if let Some(at) = self.columns.iter().position(|column| column.title == title) {
            self.columns.remove(at);
            for (_, cells) in &mut self.rows {
                cells.remove(at);
            }
        }
    }

    /// Shortens the cells of the first column so that the table is at most `width` wide, down to 12 characters.
    pub(crate) fn narrow_first(&mut self, width: usize) {
        let excess = self.width().saturating_sub(width);
        let first = self.widths().first().copied().unwrap_or_default();
        let most = first.saturating_sub(excess).max(12);
        for (_, cells) in &mut self.rows {
            if let Some(cell) = cells.first_mut() {
                *cell = fit(cell, most);
            }
        }
    }

    /// Columns of the terminal that it takes.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
    }

    fn widths(&self) -> Vec<usize> {
        let cells = |at: usize| self.rows.iter().map(move |(_, cells)| cells[at].width());
        let widest = |(at, column): (usize, &Column)| cells(at).chain([column.title.width()]).max().unwrap_or_default();
        self.columns.iter().enumerate().map(widest).collect()
    }

    /// Its lines: names, a rule, the rows, and a rule before sums. Rules are at most 100 wide.
    pub fn lines(&self) -> Vec<Line> {
        let widths = self.widths();
        let rule = Line { role: Role::Rule, text: "─".repeat(self.width().min(RULE)) };
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title.as_ref()).collect();
        let mut lines = vec![Line { role: Role::Header, text: self.join(&titles, &widths) }, rule.clone()];
        for (role, cells) in &self.rows {
            if *role == Role::Total {
                lines.push(rule.clone());
            }
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            lines.push(Line { role: *role, text: self.join(&cells, &widths) });
        }
        lines
    }

    fn join(&self, cells: &[&str], widths: &[usize]) -> String {
        let mut text = String::new();
        for ((cell, width), column) in cells.iter().zip(widths).zip(&self.columns) {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match column.align {
                Align::Left => text.extend([cell, space.as_str()]),
                Align::Right => text.extend([space.as_str(), cell]),
            }
            text.push_str(&" ".repeat(GAP));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// A text on one line in which control characters are visible, so that it cannot command a terminal.
pub fn clean(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { control_picture(c) } else { c }).collect()
}

fn control_picture(c: char) -> char {
    match c {
        '\n' => '⏎',
        '\t' => ' ',
        c => char::from_u32(0x2400 + c as u32).filter(|_| (c as u32) < 0x20).unwrap_or('�'),
    }
}

/// A text of at most `width` columns, with an ellipsis in place of what is cut from its middle.
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let head = take(text.chars(), room.div_ceil(2));
    let tail: String = take(text.chars().rev(), room / 2).chars().rev().collect();
    format!("{head}…{tail}")
}

/// A text in lines of at most `width`, broken between words; those after the first are indented by two more.
pub fn wrapped(text: &str, width: usize, role: Role) -> Vec<Line> {
    let words = text.trim_start();
    let indent = text.len() - words.len();
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut is_empty = true;
    for word in words.split(' ') {
        if !is_empty && line.width() + 1 + word.width() > width {
            lines.push(Line { role, text: std::mem::replace(&mut line, " ".repeat(indent + 2)) });
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        is_empty = false;
        // A word that is longer than a line, such as an address.
        line.push_str(&fit(word, width.saturating_sub(line.width())));
    }
    lines.push(Line { role, text: line });
    lines
}

fn take(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut room = width;
    chars
        .take_while(|c| {
            let fits = c.width().unwrap_or_default() <= room;
            room -= c.width().unwrap_or_default().min(room);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(vec![Column::left("name"), Column::right("n")]);
        table.row(Role::Row, vec!["日本".to_owned(), "1".to_owned()]);
        table.row(Role::Row, vec!["a\u{1b}[31m\nb".to_owned(), "1,000".to_owned()]);
        table.row(Role::Total, vec!["all".to_owned()]);
        table
    }

    #[test]
    fn columns_are_aligned_by_their_width_on_a_terminal() {
        let text: Vec<String> = table().lines().into_iter().map(|line| line.text).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        name          n
        ───────────────
        日本          1
        a␛[31m⏎b  1,000
        ───────────────
        all
        ");
    }

    #[test]
    fn what_is_too_long_loses_its_middle() {
        assert_eq!(fit("abcdefgh", 5), "ab…gh");
        assert_eq!(fit("abcdefgh", 8), "abcdefgh");
        assert_eq!(fit("日本日本日本", 6), "日…本");
        assert_eq!(fit("abc", 0), "…");
    }

    #[test]
    fn a_column_can_go_and_the_first_be_narrowed() {
        let mut table = table();
        table.row(Role::Row, vec!["a_very_long_name_of_a_node".to_owned(), "1".to_owned()]);
        table.narrow_first(20);
        assert_eq!(table.width(), 20);
        table.drop_column("n");
        assert_eq!(table.width(), 13);
    }
}
