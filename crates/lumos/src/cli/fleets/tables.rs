//! Fleets and break-even points, for people.

use std::fmt::Write;

use indexmap::IndexMap;
use lumos::core::Usd;
use lumos::sim::plan::{Assumption, BreakEven, Fleet, Sized};
use lumos::sim::results::Results;
use lumos_report::{Column, Role, Table, clean, figure};

use crate::cli::output;

/// Columns of a bar of the tornado chart, to either side.
const HALF: usize = 20;

/// Everything that was planned.
pub fn text(
    deployment: &str,
    sized: &[Sized],
    chosen: &IndexMap<String, Fleet>,
    together: &Results,
    compared: &[BreakEven],
) -> String {
    let mut text = format!("{}  {}\n\n", output::bold(&clean(deployment)), output::dim("all figures simulated"));
    text.push_str(&output::lines(&candidates(sized).lines()));
    for found in sized.iter().filter(|found| !found.meets_slo) {
        let fleet = described(&found.fleet);
        let reason = found.reason.as_deref().unwrap_or("the SLO is missed");
        let _ = writeln!(text, "{} {}, {fleet}: {}", output::bold("not enough:"), clean(&found.backend), clean(reason));
    }
    text.push('\n');
    let missing: Vec<&str> =
        sized.iter().map(|found| found.backend.as_str()).filter(|backend| !chosen.contains_key(*backend)).collect();
    if missing.is_empty() {
        let fleets: Vec<String> = chosen
            .iter()
            .map(|(name, fleet)| format!("{} {} {}", clean(name), fleet.replicas, described(fleet)))
            .collect();
        let month: Option<Usd> = chosen.values().map(Fleet::month).sum();
        let month = month.map_or_else(|| figure::UNKNOWN.to_owned(), figure::money);
        let _ = writeln!(text, "{} {} for {month} per month", output::bold("smallest:"), fleets.join(", "));
        let word = if together.meets_slo == Some(true) { "met" } else { "missed" };
        let p95 =
            together.latency_s.as_ref().map_or("unstable".to_owned(), |it| figure::duration((it.p95 * 1e6) as u64));
        let share = together.good_share.unwrap_or(0.0) * 100.0;
        let _ = writeln!(
            text,
            "{} SLO {word}: {share:.1} % of runs are good, p95 {p95}, {:.3} good runs/s",
            output::bold("together:"),
            together.goodput_per_s.unwrap_or(0.0)
        );
    } else {
        let _ =
            writeln!(text, "{} nothing that was tried suffices for {}", output::bold("smallest:"), missing.join(", "));
    }
    for found in compared {
        text.push('\n');
        text.push_str(&break_even(found));
    }
    text
}

fn described(fleet: &Fleet) -> String {
    let candidate = &fleet.candidate;
    let devices =
        if candidate.tensor_parallel > 1 { format!("{} × ", candidate.tensor_parallel) } else { String::new() };
    let format = candidate.quantization.map_or(String::new(), |format| format!(" {format:?}"));
    format!("× ({devices}{}{format})", candidate.hardware)
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
        Column::right("busy"),
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
                service.and_then(|it| it.utilization).map_or_else(none, |busy| format!("{:.0} %", busy * 100.0)),
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

fn break_even(found: &BreakEven) -> String {
    let mut text = format!("{} ", output::bold(&format!("break-even with {}:", clean(&found.api))));
    let Some(point) = &found.runs_per_month else {
        let _ = writeln!(
            text,
            "none; a run costs {} there, and {} here beside the machines",
            figure::money(found.api_per_run_usd),
            figure::money(found.fleet_per_run_usd)
        );
        return text;
    };
    let half = point.half.map_or(String::new(), |half| format!(" ± {}", rounded(half)));
    let _ = writeln!(
        text,
        "{}{half} runs per month (95 %, over seeds): {} of machines against {} per run there and {} here",
        rounded(point.value),
        figure::money(found.fleet_month_usd),
        figure::money(found.api_per_run_usd),
        figure::money(found.fleet_per_run_usd)
    );
    let load = rounded(found.served_per_month);
    let _ = if found.is_reached {
        writeln!(text, "  At the scenario's {load} runs per month the machines are cheaper.")
    } else {
        writeln!(text, "  The scenario's {load} runs per month are fewer: the API is cheaper.")
    };
    text.push_str(&tornado(point.value, &found.assumptions));
    text
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
        let end = |index: usize| match assumption.runs_per_month[index] {
            Some(runs) => format!("{}: {}", assumption.ends[index], rounded(runs)),
            None => format!("{}: none", assumption.ends[index]),
        };
        let _ = writeln!(text, "  {bar}  {} ({}, {})", assumption.what, end(0), end(1));
    }
    text
}

/// A count with three digits that count.
fn rounded(number: f64) -> String {
    let digits = 10f64.powf((number.abs().max(1.0).log10().floor() - 2.0).max(0.0));
    figure::count(((number / digits).round() * digits) as u64)
}
