//! Fleets, for people.

use std::fmt::Write;

use lumos::core::Usd;
use lumos::sim::plan::{Capacity, Coverage, Fleet, Sized, Together};
use lumos::sim::results::Verdict;
use lumos_report::{Column, Role, Table, clean, figure};

use super::{Found, breakeven};
use crate::cli::output;
use crate::cli::simulate::tables::verdict;

/// Everything that was planned.
pub fn text(found: &Found) -> String {
    let mut text = format!("{}  {}\n", output::bold(&clean(&found.deployment)), output::dim("all figures simulated"));
    text.push_str(&searched(&found.coverage));
    text.push('\n');
    text.push_str(&output::lines(&candidates(&found.sized).lines()));
    for sized in found.sized.iter().filter(|sized| !sized.meets_slo) {
        let made_of = made_of(&sized.fleet);
        let reason = sized.reason.as_deref().unwrap_or("the SLO is missed");
        let _ =
            writeln!(text, "{} {} on {made_of}: {}", output::bold("not enough:"), clean(&sized.backend), clean(reason));
    }
    text.push_str(&without_price(&found.sized));
    text.push('\n');
    if let Some(together) = &found.together {
        text.push_str(&chosen(together, &found.coverage));
    } else {
        let missing: Vec<String> = found.missing().into_iter().map(clean).collect();
        let nothing = "nothing that was tried meets the SLO for";
        let _ = writeln!(text, "{} {nothing} {}", output::bold("smallest:"), missing.join(", "));
    }
    match (&found.capacity, &found.together) {
        (Some(capacity), _) => text.push_str(&goodput(capacity, &found.coverage)),
        (None, Some(together)) if matches!(together.results.verdict, Verdict::Unclear { .. }) => {
            let _ = writeln!(text, "{} not told by a load that is too short: see above", output::bold("goodput:"));
        }
        _ => {}
    }
    for compared in &found.compared {
        text.push('\n');
        text.push_str(&breakeven::text(compared));
    }
    text
}

/// Which part of the load fleets were searched with.
fn searched(coverage: &Coverage) -> String {
    let Some([from_s, until_s]) = coverage.searched_s else { return String::new() };
    let planned = figure::duration((coverage.planned_s.unwrap_or(0.0) * 1e6) as u64);
    let part = match coverage.period {
        Some("day") => format!("{}–{}, the busiest part of the day", clock(from_s), clock(until_s)),
        Some("trace") => {
            let at = |seconds: f64| figure::duration((seconds * 1e6) as u64);
            format!("{}–{}, the busiest part of the trace", at(from_s), at(until_s))
        }
        _ => {
            let cycle = figure::duration((coverage.period_s.unwrap_or(0.0) * 1e6) as u64);
            let lasts = figure::duration(((until_s - from_s) * 1e6) as u64);
            format!("the first {lasts}; on and off take {cycle} on average")
        }
    };
    format!("searched with {part}; what was found is checked over all of {planned}\n")
}

/// A time of day.
fn clock(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

fn candidates(sized: &[Sized]) -> Table {
    let mut table = Table::new(vec![
        Column::left("backend"),
        Column::left("hardware"),
        Column::right("parallel"),
        Column::left("weights"),
        Column::right("batch"),
        Column::right("replicas"),
        Column::right("per month"),
        Column::right("per 1M tokens"),
        Column::right("active"),
        Column::right("p95"),
        Column::right("good"),
        Column::left("SLO"),
        Column::right("tries"),
    ]);
    let none = || figure::NONE.to_owned();
    for found in sized {
        let candidate = &found.fleet.candidate;
        let results = found.results.as_deref();
        let service = results.and_then(|it| it.services.iter().find(|service| service.service == found.backend));
        let amount = |usd: Option<Usd>| match usd {
            Some(usd) => figure::money(usd),
            None if found.meets_slo => figure::UNKNOWN.to_owned(),
            None => none(),
        };
        table.row(
            Role::Row,
            vec![
                clean(&found.backend),
                clean(&candidate.hardware),
                candidate.tensor_parallel.to_string(),
                candidate.quantization.map_or("own".to_owned(), |format| format!("{format:?}")),
                candidate.max_seqs.map_or("default".to_owned(), |most| most.to_string()),
                if found.meets_slo { found.fleet.replicas.to_string() } else { none() },
                amount(found.month_usd),
                amount(found.per_million_tokens_usd),
                service.and_then(|it| it.utilization).map_or_else(none, |active| format!("{:.0} %", active * 100.0)),
                results
                    .and_then(|it| it.latency_s.as_ref())
                    .map_or_else(none, |it| figure::duration((it.p95 * 1e6) as u64)),
                results.and_then(|it| it.good_share).map_or_else(none, |share| format!("{:.1} %", share * 100.0)),
                if found.meets_slo { "met" } else { "missed" }.to_owned(),
                found.tries.to_string(),
            ],
        );
    }
    table
}

/// Hardware that cannot be compared, because nobody said what it costs.
fn without_price(sized: &[Sized]) -> String {
    let mut text = String::new();
    let mut told: Vec<(&str, &str)> = Vec::new();
    for found in sized.iter().filter(|found| found.fleet.replica_hour.is_none() && found.tries > 0) {
        let (backend, hardware) = (found.backend.as_str(), found.fleet.candidate.hardware.as_str());
        if told.contains(&(backend, hardware)) {
            continue;
        }
        told.push((backend, hardware));
        let _ = writeln!(
            text,
            "{} {hardware} is chosen for {} only where nothing with a price suffices: give --device-hour {hardware}=USD",
            output::bold("no price:"),
            clean(backend)
        );
    }
    text
}

fn chosen(together: &Together, coverage: &Coverage) -> String {
    let fleets: Vec<String> = together
        .fleets
        .iter()
        .map(|(name, fleet)| format!("{} {} × ({})", clean(name), fleet.replicas, made_of(fleet)))
        .collect();
    let month = month(together.fleets.values());
    let mut text = format!("{} {} for {month} per month\n", output::bold("smallest:"), fleets.join(", "));
    if together.added > 0 {
        let replicas = if together.added == 1 { "replica" } else { "replicas" };
        let _ = writeln!(
            text,
            "          {} {replicas} more than one by one: what each backend misses adds up",
            together.added
        );
    }
    let results = &together.results;
    let over = match coverage.period {
        Some(period) if !coverage.is_whole => format!(" over the whole {period}"),
        _ => String::new(),
    };
    let word = if results.meets_slo == Some(true) { "met" } else { "missed" };
    let _ = write!(text, "{} SLO {word}{over}", output::bold("together:"));
    if let (Some(share), Some(times)) = (results.good_share, &results.latency_s) {
        let _ = write!(
            text,
            ": {:.1} % of runs are good, p95 {}, {:.3} good runs/s",
            share * 100.0,
            figure::duration((times.p95 * 1e6) as u64),
            results.goodput_per_s.unwrap_or(0.0)
        );
    }
    text.push('\n');
    text.push_str(&verdict(&results.verdict));
    if results.meets_slo != Some(true) && !coverage.is_whole {
        text.push_str("          What is searched is not the worst of it: plan without --runs.\n");
    }
    text
}

/// What fleets cost by the month; that of which nothing is known is no zero.
fn month<'a>(fleets: impl Iterator<Item = &'a Fleet>) -> String {
    let months: Vec<Option<Usd>> = fleets.map(Fleet::month).collect();
    let known: Usd = months.iter().flatten().copied().sum();
    match months.iter().flatten().count() {
        0 => "an unknown price".to_owned(),
        count if count < months.len() => format!("at least {}", figure::money(known)),
        _ => figure::money(known),
    }
}

/// What a replica is made of.
fn made_of(fleet: &Fleet) -> String {
    let candidate = &fleet.candidate;
    let devices =
        if candidate.tensor_parallel > 1 { format!("{} × ", candidate.tensor_parallel) } else { String::new() };
    let format = candidate.quantization.map_or(String::new(), |format| format!(" {format:?}"));
    let batch = candidate.max_seqs.map_or(String::new(), |most| format!(", batches of {most}"));
    format!("{devices}{}{format}{batch}", candidate.hardware)
}

fn goodput(capacity: &Capacity, coverage: &Coverage) -> String {
    let least = if capacity.is_at_least { "at least " } else { "" };
    let most = if capacity.is_at_least { "at most " } else { "" };
    let there = match coverage.period {
        Some("day" | "trace") if !coverage.is_whole => " at the busiest time",
        _ => "",
    };
    format!(
        "{} the SLO holds up to {least}×{:.2} of the load, {:.3} good runs/s{there}; the scenario uses {most}{:.0} % of that\n",
        output::bold("goodput:"),
        capacity.load_factor,
        capacity.good_runs_per_s,
        capacity.used * 100.0
    )
}
