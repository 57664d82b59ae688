//! The step table: what each attempt of a run took, cost and used, and where its figures come from.

use std::collections::BTreeSet;

use lumos_core::{AttemptRecord, Basis, Destination, FinishReason, RunRecord, Status, StepRecord, Usd};

use crate::figure::{self, NONE, UNKNOWN};
use crate::label::step_label;
use crate::table::{Column, Line, Role, Table};

const MODEL: &str = "model";

/// The step table of a run, at most `width` wide where that can be.
///
/// One row per attempt, or per step that had none; `forecast[2]` is an entry of a map, `judge#1` a round of a loop,
/// `research/judge` a step of a sub-workflow. `?` is a figure that nobody knows, `—` one that does not exist. Where
/// models don't fit, they are listed below.
pub fn step_table(record: &RunRecord, width: usize) -> Vec<Line> {
    let mut table = Table::new(vec![
        Column::left("node"),
        Column::left("backend"),
        Column::left(MODEL),
        Column::right("queue"),
        Column::right("TTFT"),
        Column::right("time"),
        Column::right("tokens in"),
        Column::right("cached"),
        Column::right("out"),
        Column::right("cost"),
        Column::right("critical"),
    ]);
    for step in &record.steps {
        add_step(&mut table, step, record.totals.critical_path_us);
    }
    table.row(Role::Total, total(record));
    let mut notes = Vec::new();
    if table.width() > width {
        table.drop_column(MODEL);
        notes.extend(models(record));
        table.narrow_first(width);
    }
    notes.extend(summary(record));
    let mut lines = table.lines();
    lines.extend(notes.into_iter().map(|text| Line { role: Role::Note, text }));
    lines
}

fn add_step(table: &mut Table, step: &StepRecord, critical_path_us: u64) {
    let label = step_label(step);
    let critical = step
        .critical_us
        .filter(|_| step.kind != "workflow")
        .and_then(|us| figure::share(us, critical_path_us))
        .unwrap_or_else(|| NONE.to_owned());
    let Some((last, earlier)) = step.attempts.split_last() else {
        let mut cells = vec![NONE.to_owned(); 11];
        cells[0] = with_status(label, step.status);
        if let (Some(ready), Some(end)) = (step.ready_us, step.end_us) {
            cells[5] = figure::duration(end.saturating_sub(ready));
        }
        cells[10] = critical;
        table.row(Role::Ended(step.status), cells);
        return;
    };
    let several = !earlier.is_empty();
    let name = |attempt: &AttemptRecord| {
        if several { format!("{label} try {}", attempt.attempt) } else { label.clone() }
    };
    for attempt in earlier {
        let cells = attempt_cells(with_status(name(attempt), attempt.status), attempt, NONE.to_owned());
        table.row(Role::Ended(attempt.status), cells);
    }
    // A guard refuses by an attempt that succeeds: then the step says more.
    let status = if last.status == Status::Succeeded { step.status } else { last.status };
    table.row(Role::Ended(status), attempt_cells(with_status(name(last), status), last, critical));
}

fn attempt_cells(label: String, attempt: &AttemptRecord, critical: String) -> Vec<String> {
    let asked = attempt.backend.is_some();
    let known = |figure: Option<String>| match figure {
        Some(figure) => figure,
        None => (if asked { UNKNOWN } else { NONE }).to_owned(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
    // Without output tokens there is no first one.
    let has_ttft = attempt.ttft_us.is_some() || attempt.finish_reason.is_some();
    vec![
        label,
        text(&attempt.backend),
        text(&attempt.model),
        if asked { figure::time(attempt.queue_us, attempt.status) } else { NONE.to_owned() },
        if has_ttft { known(attempt.ttft_us.map(figure::duration)) } else { NONE.to_owned() },
        figure::time(attempt.duration_us, attempt.status),
        known(attempt.usage.input_tokens.map(figure::count)),
        known(attempt.usage.cached_input_tokens.map(figure::count)),
        known(attempt.usage.output_tokens.map(figure::count)),
        known(attempt.cost_usd.map(figure::money)),
        critical,
    ]
}

pub(crate) fn with_status(label: String, status: Status) -> String {
    if status == Status::Succeeded { label } else { format!("{label} ({})", status.as_str()) }
}

/// The attempts that the run has made itself and that asked somebody.
pub(crate) fn asked(record: &RunRecord) -> impl Iterator<Item = &AttemptRecord> {
    let attempts = record.steps.iter().flat_map(|step| &step.attempts);
    attempts.filter(|attempt| attempt.backend.is_some() && !attempt.shared)
}

fn total(record: &RunRecord) -> Vec<String> {
    let totals = &record.totals;
    let no_model = asked(record).next().is_none();
    let tokens = |sum: Option<u64>| match sum {
        _ if no_model => NONE.to_owned(),
        Some(sum) => figure::count(sum),
        None => UNKNOWN.to_owned(),
    };
    let cost = match totals.cost_usd {
        Some(cost) if totals.cost_complete => figure::money(cost),
        Some(cost) => format!("≥ {}", figure::money(cost)),
        None => UNKNOWN.to_owned(),
    };
    let mut cells = vec![String::new(); 11];
    "total".clone_into(&mut cells[0]);
    cells[5] = figure::duration(totals.duration_us);
    cells[6] = tokens(totals.input_tokens);
    cells[7] = tokens(totals.cached_input_tokens);
    cells[8] = tokens(totals.output_tokens);
    cells[9] = cost;
    cells
}

/// Which model each backend serves, where the table has no room for it.
fn models(record: &RunRecord) -> Option<String> {
    let mut served: Vec<String> = Vec::new();
    let attempts = record.steps.iter().flat_map(|step| &step.attempts);
    for attempt in attempts.filter(|attempt| attempt.backend.is_some()) {
        let name = |text: &Option<String>| crate::table::clean(text.as_deref().unwrap_or(UNKNOWN));
        let line = format!("{} = {}", name(&attempt.backend), name(&attempt.model));
        if !served.contains(&line) {
            served.push(line);
        }
    }
    (!served.is_empty()).then(|| format!("models: {}", served.join(", ")))
}

/// The sums in words, and the basis of each sort of figure.
fn summary(record: &RunRecord) -> Vec<String> {
    let totals = &record.totals;
    let mut first = vec![
        format!("{} in all", figure::duration(totals.duration_us)),
        format!("critical path {}", figure::duration(totals.critical_path_us)),
        calls(record),
        match totals.cost_usd {
            Some(cost) if totals.cost_complete => format!("cost {}", figure::money(cost)),
            Some(cost) if cost > Usd::ZERO => format!("cost at least {}", figure::money(cost)),
            _ => "cost unknown".to_owned(),
        },
    ];
    first.extend(circumstances(record));
    let mut notes = vec![first.join(" · "), bases(record)];
    notes.extend(unknown_costs(record));
    notes
}

/// How often models were called.
pub(crate) fn calls(record: &RunRecord) -> String {
    match asked(record).count() {
        0 => "no model was called".to_owned(),
        1 => "1 model call".to_owned(),
        calls => format!("{} model calls", figure::count(calls as u64)),
    }
}

/// What a run cost beside its attempts, what it saved, and what left the boundary.
pub(crate) fn circumstances(record: &RunRecord) -> Vec<String> {
    let totals = &record.totals;
    let mut facts = Vec::new();
    if let Some(reserved) = totals.reserved_usd {
        facts.push(format!("machines reserved meanwhile {}", figure::money(reserved)));
    }
    if let Some(saved) = totals.saved_usd {
        facts.push(format!("{} saved by the response cache", figure::money(saved)));
    }
    let outside = || asked(record).filter(|attempt| attempt.destination == Destination::Outside);
    let known: u64 = outside().filter_map(|attempt| attempt.bytes_sent).sum();
    facts.extend(match totals.bytes_outside {
        _ if outside().next().is_none() => Some("nothing left the boundary".to_owned()),
        Some(0) => None,
        Some(bytes) => Some(format!("{} left the boundary", figure::bytes(bytes))),
        None if known == 0 => Some("how much left the boundary is unknown".to_owned()),
        None => Some(format!("at least {} left the boundary", figure::bytes(known))),
    });
    if let Some(old) = &record.continues {
        facts.push(format!("goes on with run {} under changed files", crate::table::clean(old)));
    }
    if let Some(parent) = &record.forked_from {
        let shared = record.steps.iter().flat_map(|step| &step.attempts).filter(|attempt| attempt.shared).count();
        let tries = match shared {
            0 => "nothing of what was tried is".to_owned(),
            1 => "1 try is".to_owned(),
            _ => format!("{} tries are", figure::count(shared as u64)),
        };
        facts.push(format!(
            "forked from run {}: {tries} part of that run and paid for there",
            crate::table::clean(parent)
        ));
    }
    facts
}

/// Whose cost is not in the total.
pub(crate) fn unknown_costs(record: &RunRecord) -> Option<String> {
    if record.totals.cost_complete {
        return None;
    }
    let unknown: BTreeSet<&str> = asked(record)
        .filter(|attempt| attempt.cost_usd.is_none())
        .filter_map(|attempt| attempt.backend.as_deref())
        .collect();
    let backends: Vec<String> = unknown.into_iter().map(crate::table::clean).collect();
    let of = if backends.is_empty() { String::new() } else { format!(" of {}", backends.join(", ")) };
    Some(format!("? is unknown: the cost{of} is not in the total"))
}

/// Where each sort of figure comes from.
pub(crate) fn bases(record: &RunRecord) -> String {
    let all = || record.steps.iter().flat_map(|step| &step.attempts);
    let words = |bases: BTreeSet<Basis>| bases.into_iter().map(basis).collect::<Vec<_>>().join(" or ");
    let mut parts = Vec::new();
    let latency: BTreeSet<Basis> = all().map(|attempt| attempt.basis.latency).collect();
    let tokens: BTreeSet<Basis> = asked(record).filter_map(|attempt| attempt.basis.tokens).collect();
    let cost: BTreeSet<Basis> = asked(record).filter_map(|attempt| attempt.basis.cost).collect();
    for (name, bases, how) in
        [("latency", latency, ""), ("tokens", tokens, ""), ("cost", cost, " from the deployment's prices")]
    {
        let how = if bases.contains(&Basis::Estimated) { how } else { "" };
        if !bases.is_empty() {
            parts.push(format!("{name} {}{how}", words(bases)));
        }
    }
    if parts.is_empty() { "nothing was attempted".to_owned() } else { parts.join(" · ") }
}

/// The word used in records.
pub(crate) fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Measured => "measured",
        Basis::Reported => "reported",
        Basis::Estimated => "estimated",
        Basis::Simulated => "simulated",
    }
}

/// Why generation ended.
pub(crate) fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::ToolCalls => "tool_calls",
    }
}

#[cfg(test)]
mod tests;
