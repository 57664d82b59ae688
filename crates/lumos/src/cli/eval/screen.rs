//! What an evaluation found, for people; the tables of figures are also those of comparisons.

use std::fmt::Write;

use lumos::core::record::Status;
use lumos::core::{Basis, Usd};
use lumos::decide::comparison::Held;
use lumos::decide::eval::{Bill, EvalResults, Outcome};
use lumos::decide::summary::{Amount, Figure, Summary, Times};
use lumos_report::{Column, Role, Table, clean, figure, fit};

use crate::cli::output;

/// A part of times, and its name.
type Part = (&'static str, fn(&Times) -> Figure);

/// Runs that are listed.
const LISTED: usize = 10;

/// Everything that an evaluation found.
pub fn text(results: &EvalResults, held: Option<&[Held]>) -> String {
    let runs = results.summary.runs;
    let mut text = format!(
        "{} {}\n\n",
        output::bold(&format!("{} on {}", clean(&results.workflow), clean(&results.deployment))),
        output::dim(&format!(
            "{} of {}, seed {}; intervals hold 95 %",
            counted(runs, "run"),
            clean(&results.dataset),
            results.seed
        ))
    );
    text.push_str(&output::lines(&figures(&[(&results.deployment, &results.summary)]).lines()));
    text.push('\n');
    text.push_str(&judging(results.summary.judging.as_ref()));
    if results.summary.saved_usd.is_some_and(|saved| saved > Usd::ZERO) {
        let saved = figure::money(results.summary.saved_usd.unwrap_or(Usd::ZERO));
        let _ = writeln!(text, "{} {saved}, which is in no other figure", output::bold("saved by the cache:"));
    }
    text.push_str(&worst(&results.outcomes));
    if results.is_partial {
        let total = results.rows as u64 * u64::from(results.repeats);
        let _ = writeln!(text, "{} {} of {total} runs", output::bold("only a part:"), runs);
    }
    text.push_str(&held.map(gate).unwrap_or_default());
    text
}

/// A table of figures: one row for each, one column for each deployment.
pub fn figures(sides: &[(&str, &Summary)]) -> Table {
    let mut columns = vec![Column::left("")];
    columns.extend(sides.iter().map(|(name, _)| Column::right(clean(name))));
    let mut table = Table::new(columns);
    let mut row = |name: String, cells: Vec<Option<String>>| {
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| figure::NONE.to_owned()));
            table.row(Role::Row, std::iter::once(name).chain(cells).collect());
        }
    };
    let each = |of: &dyn Fn(&Summary) -> Option<String>| sides.iter().map(|(_, summary)| of(summary)).collect();
    row("quality".to_owned(), each(&|it| it.quality.map(|it| cell(&it, &score))));
    let mut labels: Vec<&String> = Vec::new();
    for label in sides.iter().flat_map(|(_, summary)| summary.scores.keys()) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    for label in labels {
        let is_error = sides.iter().any(|(_, it)| it.scores.get(label).is_some_and(|it| it.is_error));
        let name = if is_error { format!("  {label}, less is better") } else { format!("  {label}") };
        row(
            name,
            each(&|it| {
                let result = it.scores.get(label)?;
                let unscored =
                    if result.unscored == 0 { String::new() } else { format!(", {} unscored", result.unscored) };
                Some(cell(&result.mean, &score) + &unscored)
            }),
        );
    }
    let parts: [Part; 4] = [("mean", |it| it.mean), ("p50", |it| it.p50), ("p95", |it| it.p95), ("p99", |it| it.p99)];
    for (part, of) in parts {
        row(
            format!("latency {part}"),
            each(&|it| Some(it.latency_s.as_ref().map_or_else(unknown, |it| cell(&of(it), &seconds)))),
        );
    }
    for (part, of) in &parts[1..3] {
        row(format!("TTFT {part}"), each(&|it| it.ttft_s.as_ref().map(|it| cell(&of(it), &seconds))));
    }
    row("cost per run".to_owned(), each(&|it| Some(amount(&it.cost_usd))));
    row("cost per 1,000".to_owned(), each(&|it| Some(amount(&it.cost_per_1000_usd))));
    row("cost per run, reserved".to_owned(), each(&|it| it.reserved_cost_usd.as_ref().map(amount)));
    row("tokens in".to_owned(), each(&|it| Some(cell(&it.input_tokens, &count))));
    row("tokens out".to_owned(), each(&|it| Some(cell(&it.output_tokens, &count))));
    row("bytes outside per run".to_owned(), each(&|it| Some(cell(&it.bytes_outside, &bytes))));
    row("not succeeded".to_owned(), each(&|it| Some(cell(&it.failures, &percent))));
    row("runs".to_owned(), each(&|it| Some(figure::count(it.runs))));
    table
}

/// What judges took.
pub fn judging(bill: Option<&Bill>) -> String {
    let Some(bill) = bill else { return String::new() };
    let cost = match bill.cost_usd {
        Some(cost) if bill.cost_complete => figure::money(cost),
        Some(cost) if cost > Usd::ZERO => format!("at least {}", figure::money(cost)),
        _ => "an unknown amount".to_owned(),
    };
    let tokens = |count: Option<u64>| count.map_or_else(|| figure::UNKNOWN.to_owned(), figure::count);
    format!(
        "{} {}, {} tokens in, {} out, {cost}; in no other figure\n",
        output::bold("judging took"),
        counted(bill.runs, "run"),
        tokens(bill.input_tokens),
        tokens(bill.output_tokens),
    )
}

/// Whether a gate holds.
pub fn gate(held: &[Held]) -> String {
    let mut text = String::new();
    for it in held {
        let amount = |value: f64| format!("{}", (value * 1e9).round() / 1e9);
        let value = it.value.map_or_else(|| "unknown".to_owned(), amount);
        let bound = it.bound.filter(|_| it.against.is_some());
        let against = bound.map(|bound| format!(" against {}", amount(bound))).unwrap_or_default();
        let why = it.why.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        let (word, status) = if it.passed { ("holds", Status::Succeeded) } else { ("fails", Status::Failed) };
        let _ = writeln!(
            text,
            "{} {} on {}: {value}{against}{why}",
            output::ended(status, &format!("gate {word}:")),
            clean(&it.condition),
            clean(&it.deployment)
        );
    }
    text
}

/// The runs that did not do what was expected, the worst first.
fn worst(outcomes: &[Outcome]) -> String {
    let is_good = |outcome: &&Outcome| outcome.status != Status::Succeeded || outcome.quality.is_none_or(|it| it < 1.0);
    let mut found: Vec<&Outcome> = outcomes.iter().filter(is_good).collect();
    if found.is_empty()
        || found.iter().all(|it| it.quality.is_none() && it.status == Status::Succeeded && it.scores.is_empty())
    {
        return String::new();
    }
    found.sort_by(|a, b| {
        let key = |it: &Outcome| (it.quality.unwrap_or(-1.0), it.row, it.repeat);
        key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut table = Table::new(vec![
        Column::left("row"),
        Column::right("quality"),
        Column::left("status"),
        Column::left("what came"),
        Column::left("why"),
        Column::left("run"),
    ]);
    for outcome in found.iter().take(LISTED) {
        let what = match &outcome.output {
            serde_json::Value::Null => figure::NONE.to_owned(),
            serde_json::Value::String(text) => fit(&clean(text.trim()), 40),
            other => fit(&other.to_string(), 40),
        };
        let said = outcome.error.as_ref().map(|error| error.message.clone());
        let said = said.or_else(|| outcome.scores.values().find_map(|score| score.reason.clone()));
        let role = if outcome.status == Status::Succeeded { Role::Row } else { Role::Ended(outcome.status) };
        table.row(
            role,
            vec![
                fit(&outcome.id, 24),
                outcome.quality.map_or_else(unknown, score),
                outcome.status.as_str().to_owned(),
                what,
                said.map_or_else(|| figure::NONE.to_owned(), |said| fit(&clean(&said), 48)),
                outcome.run_id.clone(),
            ],
        );
    }
    let mut text = output::lines(&table.lines());
    if found.len() > LISTED {
        let _ = writeln!(
            text,
            "{}",
            output::dim(&format!("and {} more; --format json has them all", found.len() - LISTED))
        );
    }
    text
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", figure::count(number), if number == 1 { "" } else { "s" })
}

fn unknown() -> String {
    figure::UNKNOWN.to_owned()
}

/// `0.83 (0.55 – 0.95)`, where something else says where it comes from.
pub fn cell_of(figure: &Figure, shown: &dyn Fn(f64) -> String) -> String {
    cell(&Figure { basis: None, ..*figure }, shown).trim_end().to_owned()
}

/// The same of an amount.
pub fn amount_of(it: &Amount) -> String {
    amount(&Amount { basis: None, ..*it }).trim_end().to_owned()
}

/// `0.83 (0.55 – 0.95) measured`.
fn cell(figure: &Figure, shown: &dyn Fn(f64) -> String) -> String {
    let Some(value) = figure.value else { return unknown() };
    let basis = figure.basis.map(mark).unwrap_or_default();
    format!("{}{} {basis}", shown(value), interval(figure.low.map(shown), figure.high.map(shown), &shown(value)))
}

fn amount(amount: &Amount) -> String {
    let Some(value) = amount.value else {
        return amount.at_least.map_or_else(unknown, |least| format!("≥ {}", figure::money(least)));
    };
    let basis = amount.basis.map(mark).unwrap_or_default();
    let value = figure::money(value);
    format!("{value}{} {basis}", interval(amount.low.map(figure::money), amount.high.map(figure::money), &value))
}

/// Nothing where the interval is the figure itself.
fn interval(low: Option<String>, high: Option<String>, value: &str) -> String {
    match (low, high) {
        (Some(low), Some(high)) if low == value && high == value => String::new(),
        (None, None) => String::new(),
        (low, high) => format!(" ({} – {})", low.unwrap_or_else(unknown), high.unwrap_or_else(unknown)),
    }
}

/// Where a figure comes from, as a word that every figure carries.
fn mark(basis: Basis) -> &'static str {
    match basis {
        Basis::Measured => "measured",
        Basis::Reported => "reported",
        Basis::Estimated => "estimated",
        Basis::Simulated => "simulated",
    }
}

fn score(value: f64) -> String {
    format!("{value:.3}")
}

fn seconds(value: f64) -> String {
    figure::duration((value.max(0.0) * 1e6).round() as u64)
}

fn count(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        format!("{value:.1}")
    } else {
        figure::count(value.max(0.0).round() as u64)
    }
}

fn bytes(value: f64) -> String {
    figure::bytes(value.max(0.0).round() as u64)
}

fn percent(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}
