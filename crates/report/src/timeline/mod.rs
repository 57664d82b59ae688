//! The timeline of a run: what ran when, beside what, for how long and at what cost, then what decided how long it took,
//! what went wrong and what it cost.
//!
//! ```text
//!   step               on        time      cost  0               2.41 s
//! * plan               api     412 ms  $0.00012  ████
//!   forecast ×3                1.20 s  $0.00042      ────────────
//! * ├ [1]              api     1.20 s  $0.00014      ────────────
//!   │ ├ try 1 failed   api    12.0 ms         ?      ×
//!   │ └ try 2 retry    api     250 ms  $0.00014               ███
//! ```

mod bar;
mod critical;
mod decisions;
mod rows;
pub(crate) mod tree;
mod troubles;

use lumos_core::RunRecord;

use crate::figure;
use crate::steps;
use crate::table::{Line, Role, wrapped};
use rows::Rows;
use tree::Tree;

/// The timeline of a run, at most `width` wide, but not below 72.
///
/// One row per step and, where a step had several attempts, per attempt, as a tree: the steps of sub-workflows stand
/// below their step, the entries of a map and the rounds of a loop below their node. Of many entries some are shown,
/// those that failed or decided how long the run took before others, unless `shows_all`. `?` is a figure that nobody
/// knows, `—` one that does not exist.
pub fn timeline(record: &RunRecord, width: usize, shows_all: bool) -> Vec<Line> {
    let width = width.max(72);
    let tree = Tree::new(record);
    let rows = Rows::new(&tree, shows_all);
    let mut lines = rows.lines(width);
    lines.extend(critical::lines(&tree, width, shows_all));
    lines.extend(troubles::lines(&tree, width, shows_all));
    lines.extend(decisions::lines(&tree, width, shows_all));
    lines.push(Line { role: Role::Row, text: String::new() });
    lines.extend(notes(record).into_iter().flat_map(|text| wrapped(&text, width, Role::Note)));
    lines
}

/// What a run cost where, and where the figures come from.
fn notes(record: &RunRecord) -> Vec<String> {
    let mut first = vec![steps::calls(record)];
    first.extend(steps::circumstances(record));
    let mut notes = vec![first.join(" · ")];
    notes.extend(critical::costs(record));
    notes.push(steps::bases(record));
    notes.extend(steps::unknown_costs(record));
    notes
}

/// `1 step`, `3 steps`.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", figure::count(number as u64), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
