//! Break-even points and what they depend on, for people.

use std::fmt::Write;

use lumos::core::Usd;
use lumos::sim::plan::{Assumption, BreakEven, Side};
use lumos::sim::results::Interval;
use lumos_report::{Column, Role, Table, Tornado, TornadoBar, clean, figure};

use crate::cli::output;

/// Columns of a bar of the tornado chart, to either side.
const HALF: usize = 20;

/// Machines beside an API.
pub fn text(found: &BreakEven) -> String {
    let mut text = format!("{} ", output::bold(&format!("break-even with {}:", clean(&found.api))));
    let unpriced = found.fleet_side.unpriced.iter().chain(&found.api_side.unpriced);
    let unpriced: Vec<String> = unpriced.map(|service| clean(service)).collect();
    match &found.runs_per_month {
        Some(point) => {
            let tried = match found.capacity_per_month {
                Some(most) if point.value > most => {
                    format!("; the fleets were tried with no more than {}", rounded(most))
                }
                _ => String::new(),
            };
            let interval = interval(point, found.seeds);
            let _ = writeln!(text, "{} runs per month that succeed{interval}{tried}", rounded(point.value));
        }
        None if !unpriced.is_empty() => {
            let _ = writeln!(text, "unknown, because no price is known of {}", unpriced.join(", "));
        }
        None if found.beyond_capacity.is_some() => {
            let _ = writeln!(
                text,
                "never at this fleet's capacity: it would be at {} runs per month that succeed, and the SLO holds up to {}; \
                 more machines cost more",
                found.beyond_capacity.map_or_else(none, rounded),
                found.capacity_per_month.map_or_else(none, rounded),
            );
        }
        None if found.api_side.succeeded == 0 => text.push_str("none; no run succeeds there\n"),
        None if found.fleet_side.succeeded == 0 => text.push_str("none; no run succeeds on the machines\n"),
        None => text.push_str("none; a run costs no less on the machines, even if they were free\n"),
    }
    text.push('\n');
    text.push_str(&output::lines(&sides(found).lines()));
    text.push('\n');
    text.push_str(&verdict(found));
    match &found.runs_per_month {
        Some(point) => text.push_str(&tornado(point.value, &found.assumptions)),
        // What it takes to come within reach, if anything does.
        None => found.assumptions.iter().filter(|it| it.runs_per_month.iter().any(Option::is_some)).for_each(|it| {
            let _ = writeln!(text, "  {} ({}, {})", it.what, end(it, 0), end(it, 1));
        }),
    }
    text
}

/// How far seeds differ.
fn interval(point: &Interval, seeds: u64) -> String {
    match point.half {
        None => " (one seed, which has no interval)".to_owned(),
        // Differences that rounding hides are no zero.
        Some(half) if half < 0.0005 * point.value => format!(" ({seeds} seeds differ by less than 0.1 %)"),
        Some(_) if point.value == 0.0 => format!(" (the same with {seeds} seeds)"),
        Some(half) => format!(" ± {} (95 %, over {seeds} seeds)", rounded(half)),
    }
}

fn sides(found: &BreakEven) -> Table {
    let load = format!("a month of {} runs", rounded(found.arrived_per_month));
    let mut table = Table::new(vec![
        Column::left("deployment"),
        Column::right("machines per month"),
        Column::right("tokens per success"),
        Column::right(load),
        Column::right("succeeded"),
        Column::right("good"),
        Column::left("SLO"),
    ]);
    for (side, what) in [(&found.fleet_side, " (fleets)"), (&found.api_side, "")] {
        let amount = |usd: Option<Usd>| usd.map_or_else(|| figure::UNKNOWN.to_owned(), figure::money);
        let per_success = |usd: Option<Usd>| {
            if side.succeeded == 0 { none() } else { amount(usd) }
        };
        table.row(
            Role::Row,
            vec![
                format!("{}{what}", clean(&side.deployment)),
                // Whoever keeps no machines pays nothing for them.
                side.month_usd.filter(|usd| *usd == Usd::ZERO).map_or_else(|| amount(side.month_usd), |_| none()),
                per_success(side.per_run_usd),
                amount(side.at_load_usd),
                format!("{} of {}", figure::count(side.succeeded), figure::count(side.runs)),
                good(side),
                if side.meets_slo { "met" } else { "missed" }.to_owned(),
            ],
        );
    }
    table
}

fn none() -> String {
    figure::NONE.to_owned()
}

fn good(side: &Side) -> String {
    side.good_share.map_or_else(none, |share| format!("{:.1} %", share * 100.0))
}

/// Which is to be chosen: what misses the SLO is not, however cheap.
fn verdict(found: &BreakEven) -> String {
    let missed = |side: &Side| {
        format!("{} misses the SLO under this load: it is no choice, whatever it costs.", clean(&side.deployment))
    };
    let load = rounded(found.arrived_per_month);
    // What is chosen is cheaper for as many runs that succeed; of those that arrive, more may fail on the other side.
    let cheaper = |side: &str, own: &Side, other: &Side| {
        let bills = own.at_load_usd.zip(other.at_load_usd);
        let pays_more = bills.is_some_and(|(own, other)| other < own);
        let of_fewer =
            format!(", for as many that succeed: the smaller bill of {} is for fewer", clean(&other.deployment));
        let why = if pays_more { of_fewer.as_str() } else { "" };
        format!("At the scenario's {load} runs per month {side} cheaper{why}.")
    };
    let told = match (found.fleet_side.meets_slo, found.api_side.meets_slo) {
        (true, true) => match found.choice {
            Some("fleet") => cheaper("the machines are", &found.fleet_side, &found.api_side),
            Some(_) => cheaper("the API is", &found.api_side, &found.fleet_side),
            None => return String::new(),
        },
        (true, false) => missed(&found.api_side),
        (false, true) => missed(&found.fleet_side),
        (false, false) => "Both miss the SLO under this load.".to_owned(),
    };
    format!("{}\n", output::bold(&told))
}

/// How far each assumption moves the break-even: a bar from its lowest to its highest, the point itself in the middle.
fn tornado(point: f64, assumptions: &[Assumption]) -> String {
    let ends = assumptions.iter().flat_map(|it| it.runs_per_month).flatten();
    let most = ends.map(|end| (end - point).abs()).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut text = String::new();
    for assumption in assumptions {
        let [a, b] = assumption.runs_per_month;
        let (low, high) = (a.unwrap_or(f64::INFINITY).min(b.unwrap_or(f64::INFINITY)), a.zip(b).map(|(a, b)| a.max(b)));
        let cells = |distance: f64| ((distance / most * HALF as f64).round().clamp(0.0, HALF as f64)) as usize;
        let left = cells(point - low);
        let right = high.map_or(HALF, |high| cells(high - point));
        let bar = format!("{:>HALF$}│{:<HALF$}", "█".repeat(left), "█".repeat(right));
        let _ = writeln!(text, "  {bar}  {} ({}, {})", assumption.what, end(assumption, 0), end(assumption, 1));
    }
    text
}

/// One end of an assumption, and what it makes of the break-even.
fn end(assumption: &Assumption, index: usize) -> String {
    let end = &assumption.ends[index];
    match assumption.runs_per_month[index] {
        Some(runs) => format!("{end}: {}", rounded(runs)),
        None if assumption.beyond_capacity[index] => format!("{end}: never at this fleet's capacity"),
        None => format!("{end}: none"),
    }
}

/// The same as a picture; `None` where there is no break-even.
pub fn chart(found: &BreakEven) -> Option<Tornado> {
    let point = found.runs_per_month?.value;
    let bar = |assumption: &Assumption| {
        let end = |index: usize| (assumption.ends[index].clone(), assumption.runs_per_month[index]);
        TornadoBar { what: assumption.what.clone(), ends: [end(0), end(1)] }
    };
    Some(Tornado {
        title: format!("Break-even of {} with {}", clean(&found.fleet_side.deployment), clean(&found.api)),
        scale: "runs per month that succeed, from which the machines are cheaper (simulated)".to_owned(),
        point,
        bars: found.assumptions.iter().map(bar).collect(),
    })
}

/// A count with three digits that count.
fn rounded(number: f64) -> String {
    let digits = 10f64.powf((number.abs().max(1.0).log10().floor() - 2.0).max(0.0));
    figure::count(((number / digits).round() * digits) as u64)
}
