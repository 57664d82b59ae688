//! The rows of a timeline: the tree, its figures and its bars side by side.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use lumos_core::{AttemptRecord, Status, StepRecord, Usd};
use unicode_width::UnicodeWidthStr;

use super::bar::{Bar, Stretch};
use super::counted;
use super::tree::{Branch, Tree, end_us, reason, winner};
use crate::figure::{self, NONE, UNKNOWN};
use crate::steps::with_status;
use crate::table::wrapped;
use crate::table::{Line, Role, clean, fit};

/// Entries of a map, rounds of a loop or attempts that are shown of many, at the top and further down.
const SHOWN: [usize; 2] = [8, 4];
/// Fewest and most characters of a bar.
const BAR: [usize; 2] = [20, 60];
/// Width from which there is room for tokens.
const WIDE: usize = 96;
const GAP: usize = 2;

/// The rows, and over how much time they go.
pub struct Rows {
    all: Vec<Row>,
    total: Vec<String>,
    whole_us: u64,
}

struct Row {
    role: Role,
    is_critical: bool,
    label: String,
    /// Backend, time, cost, tokens; none for a row that stands for what is left out.
    cells: Option<[String; 4]>,
    bar: Bar,
}

struct Builder {
    rows: Vec<Row>,
    shows_all: bool,
    now_us: u64,
}

impl Rows {
    /// The rows of a tree.
    pub fn new(tree: &Tree, shows_all: bool) -> Self {
        let totals = &tree.record.totals;
        let ends =
            tree.record.steps.iter().flat_map(|step| step.end_us.into_iter().chain(step.attempts.iter().map(end_us)));
        // What was cancelled may end after the run.
        let whole_us = if totals.duration_us > 0 { totals.duration_us } else { ends.max().unwrap_or_default() };
        let mut builder = Builder { rows: Vec::new(), shows_all, now_us: whole_us };
        for branch in &tree.roots {
            builder.branch(branch, "", "", 0);
        }
        let all = || tree.record.steps.iter().flat_map(|step| &step.attempts);
        let asked: Vec<&AttemptRecord> = all().filter(|attempt| attempt.backend.is_some()).collect();
        let cost = match totals.cost_usd {
            Some(cost) if totals.cost_complete => figure::money(cost),
            Some(cost) => format!("≥ {}", figure::money(cost)),
            None => UNKNOWN.to_owned(),
        };
        let sum = |sum: Option<u64>| sum.map_or_else(|| UNKNOWN.to_owned(), figure::count);
        let tokens = match asked[..] {
            [] => NONE.to_owned(),
            _ => format!("{} → {}", sum(totals.input_tokens), sum(totals.output_tokens)),
        };
        let total = vec![String::new(), figure::duration(totals.duration_us), cost, tokens];
        Self { all: builder.rows, total, whole_us }
    }

    /// Header, rows, sums and what the signs mean.
    pub fn lines(&self, width: usize) -> Vec<Line> {
        let shows = [true, true, true, width >= WIDE && self.total[3] != NONE];
        let titles = ["on", "time", "cost", "tokens"];
        let filled = || self.all.iter().filter_map(|row| row.cells.as_ref());
        let mut widths: Vec<usize> = (0..4)
            .map(|at| {
                let cells = filled().map(|cells| cells[at].width()).chain([self.total[at].width()]);
                let most = if at == 0 { 14 } else { usize::MAX };
                if shows[at] { cells.max().unwrap_or_default().max(titles[at].width()).min(most) } else { 0 }
            })
            .collect();
        if filled().all(|cells| cells[0].is_empty()) {
            widths[0] = 0;
        }
        let figures: usize = widths.iter().filter(|width| **width > 0).map(|width| width + GAP).sum();
        let longest = self.all.iter().filter(|row| row.cells.is_some()).map(|row| row.label.width());
        let room = width.saturating_sub(GAP + figures + GAP + BAR[0]).max(12);
        let label = longest.max().unwrap_or_default().clamp(5, room);
        let cells = width.saturating_sub(GAP + label + figures + GAP).clamp(BAR[0], BAR[1]);
        let line = |mark: &str, name: &str, columns: &[String], bar: &str| {
            let mut text = format!("{mark:GAP$}");
            pad(&mut text, &fit(name, label), label, false);
            for ((column, width), at) in columns.iter().zip(&widths).zip(0..) {
                if *width > 0 {
                    text.push_str(&" ".repeat(GAP));
                    pad(&mut text, &fit(column, *width), *width, at > 0);
                }
            }
            text.extend([" ".repeat(GAP).as_str(), bar]);
            text.truncate(text.trim_end().len());
            text
        };
        let end = figure::duration(self.whole_us);
        let axis = format!("0{}{end}", " ".repeat(cells.saturating_sub(1 + end.width())));
        let rule = Line { role: Role::Rule, text: "─".repeat(GAP + label + figures + GAP + cells) };
        let header = line("", "step", &titles.map(str::to_owned), &axis);
        let mut lines = vec![Line { role: Role::Header, text: header }, rule.clone()];
        let mut used = BTreeSet::new();
        for row in &self.all {
            let Some(columns) = &row.cells else {
                lines.push(Line { role: row.role, text: format!("{:GAP$}{}", "", fit(&row.label, width - GAP)) });
                continue;
            };
            let drawn = row.bar.draw(cells, self.whole_us);
            used.extend(drawn.iter().flatten().copied());
            let bar: String = drawn.into_iter().map(|cell| cell.map_or(' ', Stretch::sign)).collect();
            let mark = if row.is_critical { "*" } else { "" };
            lines.push(Line { role: row.role, text: line(mark, &row.label, columns, &bar) });
        }
        lines.push(rule);
        lines.push(Line { role: Role::Total, text: line("", "total", &self.total, "") });
        let mut legend: Vec<String> =
            used.into_iter().map(|stretch| format!("{} {}", stretch.sign(), stretch.meaning())).collect();
        if self.all.iter().any(|row| row.is_critical) {
            legend.push("* on the critical path".to_owned());
        }
        if !legend.is_empty() {
            lines.extend(wrapped(&legend.join(" · "), width, Role::Note));
        }
        lines
    }
}

fn pad(text: &mut String, cell: &str, width: usize, is_figure: bool) {
    let space = " ".repeat(width.saturating_sub(cell.width()));
    if is_figure { text.extend([space.as_str(), cell]) } else { text.extend([cell, space.as_str()]) }
}

impl Builder {
    fn branch(&mut self, branch: &Branch, stem: &str, below: &str, depth: usize) {
        let attempts: Vec<&AttemptRecord> = branch.attempts().collect();
        let span = branch.span(self.now_us);
        let label = match branch.step {
            Some(step) => with_status(branch.label.clone(), step.status),
            None => format!("{} ×{}{}", branch.label, figure::count(branch.children.len() as u64), states(branch)),
        };
        let bar = match (branch.step, &span) {
            (_, None) => Bar::default(),
            (Some(step), Some(span)) if branch.children.is_empty() => match &step.attempts[..] {
                [] => Bar::plain(span.clone(), step.status),
                [only] if only.status == Status::Succeeded => Bar::attempt(only, self.now_us).ending(step.status),
                [only] => Bar::attempt(only, self.now_us),
                _ => Bar::whole(span.clone(), Some(step.status)),
            },
            (step, Some(span)) => Bar::whole(span.clone(), step.map(|step| step.status)),
        };
        let time = span.map_or_else(|| NONE.to_owned(), |span| figure::duration(span.end - span.start));
        self.rows.push(Row {
            role: branch.step.map_or(Role::Row, |step| Role::Ended(step.status)),
            is_critical: branch.is_critical(),
            label: clean(&format!("{stem}{label}")),
            cells: Some([clean(&backend(branch, &attempts)), time, cost(&attempts), tokens(&attempts)]),
            bar,
        });
        if let Some(step) = branch.step.filter(|step| step.attempts.len() > 1) {
            self.tries(step, below, branch.children.is_empty(), depth);
        }
        let chosen = if branch.step.is_none() {
            self.chosen(&branch.children, depth)
        } else {
            (0..branch.children.len()).collect()
        };
        let is_cut = chosen.len() < branch.children.len();
        for (place, at) in chosen.iter().enumerate() {
            let is_last = place + 1 == chosen.len() && !is_cut;
            let (stem, next) = stems(below, is_last);
            self.branch(&branch.children[*at], &stem, &next, depth + usize::from(branch.step.is_none()));
        }
        if is_cut {
            let hidden: Vec<&Branch> = (0..branch.children.len())
                .filter(|at| chosen.binary_search(at).is_err())
                .map(|at| &branch.children[at])
                .collect();
            self.left_out(format!("{below}… {}", self.rest(&hidden)));
        }
    }

    /// The attempts of a step that had several.
    fn tries(&mut self, step: &StepRecord, below: &str, are_last: bool, depth: usize) {
        let most = self.most(depth);
        let count = step.attempts.len();
        // The first ones and the last one say how it began and how it ended.
        let is_cut = count > most.saturating_add(2);
        let is_shown = |at: usize| !is_cut || at + 1 < most || at + 1 == count;
        for (at, attempt) in step.attempts.iter().enumerate() {
            if !is_shown(at) {
                if at + 2 == count {
                    self.left_out(format!("{below}… {} more tries", figure::count((count - most) as u64)));
                }
                continue;
            }
            let (stem, _) = stems(below, are_last && at + 1 == count);
            let mut words: Vec<&str> = reason(step, at).into_iter().collect();
            if attempt.status != Status::Succeeded {
                words.push(attempt.status.as_str());
            }
            let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
            let end = if attempt.status == Status::Running { self.now_us } else { end_us(attempt) };
            let backend = attempt.backend.clone().unwrap_or_default();
            self.rows.push(Row {
                role: Role::Ended(attempt.status),
                is_critical: false,
                label: format!("{stem}try {}{words}", attempt.attempt),
                cells: Some([
                    clean(&backend),
                    figure::duration(end.saturating_sub(attempt.start_us)),
                    cost(&[attempt]),
                    tokens(&[attempt]),
                ]),
                bar: Bar::attempt(attempt, self.now_us),
            });
        }
    }

    fn left_out(&mut self, label: String) {
        self.rows.push(Row { role: Role::Note, is_critical: false, label, cells: None, bar: Bar::default() });
    }

    fn most(&self, depth: usize) -> usize {
        if self.shows_all { usize::MAX } else { SHOWN[depth.min(1)] }
    }

    /// Positions of the entries to show: those that decided the run's time, went wrong or were tried again, and the
    /// slowest.
    fn chosen(&self, entries: &[Branch], depth: usize) -> Vec<usize> {
        let most = self.most(depth);
        if entries.len() <= most.saturating_add(2) {
            return (0..entries.len()).collect();
        }
        let rank = |at: &usize| {
            let entry = &entries[*at];
            let took = entry.span(self.now_us).map(|span| span.end - span.start);
            (!entry.is_critical(), !is_bad(entry), !is_retried(entry), Reverse(took), *at)
        };
        let mut all: Vec<usize> = (0..entries.len()).collect();
        all.sort_by_cached_key(rank);
        all.truncate(most);
        all.sort_unstable();
        all
    }

    /// What the entries have in common that are not shown.
    fn rest(&self, hidden: &[&Branch]) -> String {
        let mut parts: Vec<String> = Vec::new();
        for status in [
            Status::Failed,
            Status::Refused,
            Status::Limited,
            Status::Interrupted,
            Status::Cancelled,
            Status::Skipped,
            Status::Running,
            Status::Paused,
        ] {
            let count = hidden.iter().filter(|entry| entry.step.is_some_and(|step| step.status == status)).count();
            if count > 0 {
                parts.push(format!("{} {}", figure::count(count as u64), status.as_str()));
            }
        }
        let retried = hidden.iter().filter(|entry| is_retried(entry)).count();
        if retried > 0 {
            parts.push(format!("{} tried again", figure::count(retried as u64)));
        }
        let spans = hidden.iter().filter_map(|entry| entry.span(self.now_us));
        let mut times: Vec<u64> = spans.map(|span| span.end - span.start).collect();
        times.sort_unstable();
        if let (Some(middle), Some(most)) = (times.get(times.len().saturating_sub(1) / 2), times.last()) {
            parts.push(format!("p50 {}, longest {}", figure::duration(*middle), figure::duration(*most)));
        }
        let more = format!("{} more", figure::count(hidden.len() as u64));
        if parts.is_empty() { more } else { format!("{more}: {}", parts.join(", ")) }
    }
}

/// What stands before a row and before the rows below it.
fn stems(below: &str, is_last: bool) -> (String, String) {
    let (own, next) = if is_last { ("└ ", "  ") } else { ("├ ", "│ ") };
    (format!("{below}{own}"), format!("{below}{next}"))
}

fn is_bad(branch: &Branch) -> bool {
    let went_wrong = |step: &StepRecord| {
        matches!(step.status, Status::Failed | Status::Refused | Status::Limited | Status::Interrupted)
    };
    branch.step.is_some_and(went_wrong) || branch.children.iter().any(is_bad)
}

fn is_retried(branch: &Branch) -> bool {
    branch.step.is_some_and(|step| step.attempts.len() > 1) || branch.children.iter().any(is_retried)
}

/// How many entries of a group did not succeed.
fn states(branch: &Branch) -> String {
    let count =
        |status| branch.children.iter().filter(|child| child.step.is_some_and(|step| step.status == status)).count();
    let parts: Vec<String> = [Status::Failed, Status::Skipped, Status::Cancelled, Status::Running]
        .into_iter()
        .filter(|status| count(*status) > 0)
        .map(|status| format!("{} {}", figure::count(count(status) as u64), status.as_str()))
        .collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// The backend whose answer counted, or the only one that was asked.
fn backend(branch: &Branch, attempts: &[&AttemptRecord]) -> String {
    if let Some(step) = branch.step.filter(|step| !step.attempts.is_empty()) {
        let attempt = winner(step).or(step.attempts.last());
        return attempt.and_then(|attempt| attempt.backend.clone()).unwrap_or_default();
    }
    let asked: BTreeSet<&str> = attempts.iter().filter_map(|attempt| attempt.backend.as_deref()).collect();
    match (asked.len(), asked.first()) {
        (1, Some(only)) => (*only).to_owned(),
        (0, _) => String::new(),
        (several, _) => counted(several, "backend", "backends"),
    }
}

fn cost(attempts: &[&AttemptRecord]) -> String {
    let known: Vec<Usd> = attempts.iter().filter_map(|attempt| attempt.cost_usd).collect();
    let is_complete = known.len() == attempts.len();
    match (attempts, &known[..]) {
        ([], _) => NONE.to_owned(),
        (_, []) => UNKNOWN.to_owned(),
        (_, known) => {
            let sum = figure::money(known.iter().copied().sum());
            if is_complete { sum } else { format!("≥ {sum}") }
        }
    }
}

fn tokens(attempts: &[&AttemptRecord]) -> String {
    let asked = || attempts.iter().filter(|attempt| attempt.backend.is_some());
    if asked().next().is_none() {
        return NONE.to_owned();
    }
    let sum = |of: fn(&AttemptRecord) -> Option<u64>| {
        let sum = asked().try_fold(0u64, |sum, attempt| Some(sum.saturating_add(of(attempt)?)));
        sum.map_or_else(|| UNKNOWN.to_owned(), figure::count)
    };
    format!("{} → {}", sum(|attempt| attempt.usage.input_tokens), sum(|attempt| attempt.usage.output_tokens))
}
