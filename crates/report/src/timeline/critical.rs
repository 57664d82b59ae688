//! What decided how long a run took, and which part of it was lost to waiting and to tries without an answer; and which
//! nodes the cost went to.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use lumos_core::{AttemptRecord, RunRecord, Status, StepRecord, Usd};
use unicode_width::UnicodeWidthStr;

use super::tree::{Tree, end_us, is_critical, span, winner};
use crate::figure;
use crate::table::{Line, Role, clean, fit};

/// Steps of the critical path that are shown of many.
const SHOWN: usize = 8;
/// Longest name of a step, and what the columns beside it take.
const NAME: usize = 28;
const BESIDE: usize = 60;

/// The steps of the critical path in the order of time.
pub fn lines(tree: &Tree, width: usize, shows_all: bool) -> Vec<Line> {
    let whole_us = tree.record.totals.critical_path_us;
    let steps = tree.record.steps.iter().zip(&tree.names).filter(|(step, _)| is_critical(step));
    let mut path: Vec<(&StepRecord, &str, u64)> =
        steps.map(|(step, name)| (step, name.as_str(), step.critical_us.unwrap_or_default())).collect();
    path.sort_by_key(|(step, ..)| (step.ready_us, step.end_us));
    if path.is_empty() || whole_us == 0 {
        return Vec::new();
    }
    let mut others: Vec<(&StepRecord, &str, u64)> = Vec::new();
    if !shows_all {
        let mut longest: Vec<u64> = path.iter().map(|(_, _, us)| *us).collect();
        longest.sort_unstable_by_key(|us| Reverse(*us));
        // What counts is at least a hundredth of the path.
        let least = longest.get(SHOWN - 1).copied().unwrap_or_default().max(whole_us / 100);
        (path, others) = path.into_iter().partition(|(_, _, us)| *us >= least);
        others.extend(path.split_off(path.len().min(2 * SHOWN)));
    }
    let mut rows: Vec<(String, u64, Vec<String>)> = path
        .iter()
        .map(|(step, name, us)| (fit(&clean(name), width.saturating_sub(BESIDE).clamp(10, NAME)), *us, parts(step)))
        .collect();
    rows.extend(grouped(&others, whole_us, width).into_iter().map(|(name, us)| (name, us, Vec::new())));
    let names = rows.iter().map(|(name, ..)| name.width()).max().unwrap_or_default();
    let title = format!("critical path {}: what decided how long the run took", figure::duration(whole_us));
    let mut lines = vec![empty(), Line { role: Role::Header, text: title }];
    for (name, us, parts) in rows {
        let space = " ".repeat(names.saturating_sub(name.width()));
        let share = figure::share(us, whole_us).unwrap_or_default();
        let mut text = format!("  {name}{space}  {:>9}  {share:>5}", figure::duration(us));
        let indent = text.width() + 2;
        let mut is_first = true;
        for part in parts {
            let gap = if is_first { 2 } else { 3 };
            if is_first || text.width() + gap + part.width() <= width {
                text.push_str(if is_first { "  " } else { " · " });
            } else {
                let next = " ".repeat(indent);
                lines.push(Line { role: Role::Row, text: std::mem::replace(&mut text, next) });
            }
            text.push_str(&part);
            is_first = false;
        }
        lines.push(Line { role: Role::Row, text });
    }
    lines
}

/// Steps that are too short to be shown one by one: those of a node together, as far as they matter.
fn grouped(steps: &[(&StepRecord, &str, u64)], whole_us: u64, width: usize) -> Vec<(String, u64)> {
    const NODES: usize = 4;
    let mut nodes: BTreeMap<(&[String], &str), (u64, u64)> = BTreeMap::new();
    for (step, _, us) in steps {
        let (number, sum) = nodes.entry((&step.path, &step.node)).or_default();
        (*number, *sum) = (*number + 1, *sum + us);
    }
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|(_, (_, us))| Reverse(*us));
    let counts = nodes.iter().take(NODES).take_while(|(_, (_, us))| *us >= whole_us / 100).count();
    let rest = nodes.split_off(counts);
    let room = width.saturating_sub(BESIDE).clamp(10, NAME);
    let mut rows: Vec<(String, u64)> = Vec::new();
    for ((path, node), (number, us)) in nodes {
        let times = format!(" ×{}", figure::count(number));
        let name: Vec<&str> = path.iter().map(String::as_str).chain([node]).collect();
        rows.push((fit(&clean(&name.join("/")), room.saturating_sub(times.width())) + &times, us));
    }
    let (number, us) = rest.iter().fold((0, 0), |(all, sum), (_, (number, us))| (all + number, sum + us));
    if number > 0 {
        rows.push((format!("… {} more", figure::count(number)), us));
    }
    rows
}

fn empty() -> Line {
    Line { role: Role::Row, text: String::new() }
}

/// What a step's time went to, where that is not its work.
fn parts(step: &StepRecord) -> Vec<String> {
    let Some(whole) = span(step, 0) else { return Vec::new() };
    let counted = winner(step);
    let begin = counted.map_or(whole.end, |attempt| attempt.start_us.clamp(whole.start, whole.end));
    let others = || step.attempts.iter().filter(|attempt| counted.is_none_or(|it| it.attempt != attempt.attempt));
    let before = |of: fn(&AttemptRecord) -> bool| covered(others().filter(|other| of(other)), whole.start, begin);
    let lost = before(|_| true);
    let unaccepted = before(|other| other.status == Status::Succeeded);
    let waited = counted.map_or(0, |attempt| attempt.queue_us);
    let gap = (begin - whole.start).saturating_sub(lost);
    let is_asked = counted.and_then(|attempt| attempt.backend.as_ref()).is_some();
    let first = counted.filter(|_| is_asked).and_then(|attempt| attempt.ttft_us).unwrap_or_default();
    let least = (whole.end - whole.start) / 50;
    [
        ("tries without an answer", lost.saturating_sub(unaccepted)),
        ("answers that were not accepted", unaccepted),
        (if others().next().is_some() { "between tries" } else { "before it started" }, gap),
        ("waiting for the backend", waited),
        ("first token after", first),
    ]
    .into_iter()
    .filter(|(_, us)| *us > least)
    .map(|(name, us)| format!("{name} {}", figure::duration(us)))
    .collect()
}

/// How much of the time from `from` to `to` some of the attempts were going on.
fn covered<'a>(attempts: impl Iterator<Item = &'a AttemptRecord>, from: u64, to: u64) -> u64 {
    let mut spans: Vec<(u64, u64)> =
        attempts.map(|it| (it.start_us.clamp(from, to), end_us(it).clamp(from, to))).collect();
    spans.sort_unstable();
    let (mut sum, mut until) = (0, from);
    for (start, end) in spans {
        sum += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    sum
}

/// Which nodes the known cost went to, and how much of it to tries whose answer was not used.
pub fn costs(record: &RunRecord) -> Vec<String> {
    const NODES: usize = 4;
    let mut nodes: BTreeMap<&str, Usd> = BTreeMap::new();
    let mut unused = (Usd::ZERO, 0usize, 0usize);
    for step in &record.steps {
        let node = step.path.first().unwrap_or(&step.node);
        let counted = winner(step);
        for attempt in step.attempts.iter().filter(|attempt| !attempt.shared) {
            let is_used = counted.is_none_or(|it| it.attempt == attempt.attempt);
            match attempt.cost_usd {
                Some(cost) => {
                    *nodes.entry(node).or_default() += cost;
                    unused = if is_used { unused } else { (unused.0 + cost, unused.1 + 1, unused.2) };
                }
                None if !is_used => unused.2 += 1,
                None => {}
            }
        }
    }
    let whole = nanos(nodes.values().copied().sum());
    let mut dearest: Vec<(&str, Usd)> = nodes.into_iter().filter(|(_, cost)| *cost > Usd::ZERO).collect();
    dearest.sort_by_key(|(_, cost)| Reverse(*cost));
    let mut lines = Vec::new();
    if dearest.len() > 1 {
        let shown = dearest.iter().take(NODES).filter_map(|(node, cost)| {
            Some(format!("{} {} ({})", clean(node), figure::money(*cost), figure::share(nanos(*cost), whole)?))
        });
        let mut parts: Vec<String> = shown.collect();
        if dearest.len() > NODES {
            let rest: Usd = dearest[NODES..].iter().map(|(_, cost)| *cost).sum();
            parts.push(format!("{} more {}", dearest.len() - NODES, figure::money(rest)));
        }
        lines.push(format!("cost by node: {}", parts.join(", ")));
    }
    let (cost, known, unknown) = unused;
    if cost > Usd::ZERO {
        let tries = super::counted(known, "try", "tries");
        let mut line = format!("{} of the cost went to {tries} whose answer was not used", figure::money(cost));
        if unknown > 0 {
            let _ = write!(line, ", and an unknown amount to {unknown} more");
        }
        lines.push(line);
    } else if unknown > 0 {
        lines.push(format!(
            "what {} cost whose answer was not used is unknown",
            super::counted(unknown, "try", "tries")
        ));
    }
    lines
}

fn nanos(amount: Usd) -> u64 {
    u64::try_from(amount.nanos()).unwrap_or(if amount < Usd::ZERO { 0 } else { u64::MAX })
}
