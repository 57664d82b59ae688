//! A scenario with each of its deployments, as `lumos simulate` has it.

use serde_json::Value;

use super::html::Table;
use super::plots::{Curve, Series, Spread, curves, stacked};
use super::{Builder, Tone, digits, number, text};

/// The percentiles that results have.
const PERCENTILES: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("max", 100.0)];

pub(super) fn show(page: &mut Builder, document: &Value) {
    let results: Vec<&Value> = document["results"].as_array().into_iter().flatten().collect();
    for result in &results {
        verdict(page, result);
    }
    let content = side_by_side(page, &results);
    page.section(format!("Simulation of {}", text(&document["scenario"])), content);
}

fn verdict(page: &mut Builder, result: &Value) {
    let deployment = text(&result["deployment"]);
    let state = text(&result["verdict"]["state"]);
    let p95 = number(&result["latency_s"]["p95"]).map(|it| format!("p95 {} s", digits(it)));
    let run = money(&result["reserved_cost_per_succeeded_run_usd"])
        .or_else(|| money(&result["cost_per_succeeded_run_usd"]))
        .map(|it| format!("a run costs {it}"));
    let facts = [p95, run].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let (tone, slo) = match result["meets_slo"].as_bool() {
        Some(true) => (Tone::Good, "meets the SLO"),
        Some(false) => (Tone::Bad, "misses the SLO"),
        None => (Tone::Plain, "has no SLO to meet"),
    };
    let (tone, state) = match state {
        "unstable" => (Tone::Bad, ", and is unstable"),
        "overloaded" => (tone, ", and is overloaded for a time"),
        "unclear" => (tone, ", in a load too short to tell whether it keeps up"),
        _ => (tone, ""),
    };
    page.verdict(tone, format!("{deployment} {slo}{state}: {facts} (simulated)"));
}

/// Tables and plots of results side by side.
pub(super) fn side_by_side(page: &mut Builder, results: &[&Value]) -> String {
    let mut html = overview(results).html();
    let lines: Vec<Curve> = results
        .iter()
        .map(|result| Curve {
            name: text(&result["deployment"]).to_owned(),
            points: PERCENTILES
                .iter()
                .filter_map(|(name, share)| Some((number(&result["latency_s"][*name])?, *share)))
                .collect(),
            is_stepped: false,
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if !lines.is_empty() {
        let columns: Vec<&str> = ["deployment", "mean"].into_iter().chain(PERCENTILES.iter().map(|it| it.0)).collect();
        let mut table = Table::new(&columns);
        for result in results {
            let mean = number(&result["latency_s"]["mean"]["value"]);
            let rest = PERCENTILES.iter().map(|(name, _)| number(&result["latency_s"][*name]));
            let cells = [mean].into_iter().chain(rest).map(|it| it.map(digits).unwrap_or_default());
            table.row([text(&result["deployment"]).to_owned()].into_iter().chain(cells));
        }
        let plot = curves(&lines, ("seconds", "% of runs that took at most so long"));
        html.push_str(&page.figure("How latency is distributed", &plot, &table));
    }
    html.push_str(&cost_by_node(page, results));
    html.push_str(&services(results));
    for result in results {
        page.assume(&result["assumptions"]);
        page.assume(&result["warnings"]);
    }
    html
}

fn overview(results: &[&Value]) -> Table {
    let columns = [
        "deployment",
        "runs",
        "succeeded",
        "runs/s",
        "good share",
        "p50",
        "p95",
        "p99",
        "a run, by use",
        "a run, with idle",
    ];
    let mut table = Table::new(&columns);
    for result in results {
        let seconds =
            |name: &str| number(&result["latency_s"][name]).map(|it| format!("{} s", digits(it))).unwrap_or_default();
        let share = number(&result["good_share"]).map(|it| format!("{} %", digits(it * 100.0))).unwrap_or_default();
        table.row([
            text(&result["deployment"]).to_owned(),
            result["runs"].to_string(),
            result["succeeded"].to_string(),
            number(&result["succeeded_per_s"]).map(digits).unwrap_or_default(),
            share,
            seconds("p50"),
            seconds("p95"),
            seconds("p99"),
            money(&result["cost_per_succeeded_run_usd"]).unwrap_or_else(|| "?".to_owned()),
            money(&result["reserved_cost_per_succeeded_run_usd"]).unwrap_or_else(|| "?".to_owned()),
        ]);
    }
    table
}

/// What each node adds to the cost of a run.
fn cost_by_node(page: &mut Builder, results: &[&Value]) -> String {
    let mut nodes: Vec<&str> = Vec::new();
    for node in results.iter().filter_map(|result| result["nodes"].as_array()).flatten() {
        let name = text(&node["node"]);
        if !nodes.contains(&name) && number(&node["cost_usd"]).is_some_and(|cost| cost > 0.0) {
            nodes.push(name);
        }
    }
    if nodes.is_empty() {
        return String::new();
    }
    let cost = |result: &Value, name: &str| {
        let runs = number(&result["succeeded"]).filter(|runs| *runs > 0.0)?;
        let node = result["nodes"].as_array()?.iter().find(|node| text(&node["node"]) == name)?;
        Some(number(&node["cost_usd"])? / runs)
    };
    let groups: Vec<String> = results.iter().map(|result| text(&result["deployment"]).to_owned()).collect();
    let series: Vec<Series> = nodes
        .iter()
        .map(|name| {
            let spread = |value: f64| Spread { value, low: None, high: None };
            Series { name: (*name).to_owned(), values: results.iter().map(|it| cost(it, name).map(spread)).collect() }
        })
        .collect();
    let columns: Vec<&str> = ["deployment"].into_iter().chain(nodes.iter().copied()).collect();
    let mut table = Table::new(&columns);
    for result in results {
        let cells =
            nodes.iter().map(|name| cost(result, name).map_or_else(|| "?".to_owned(), |it| format!("${}", digits(it))));
        table.row([text(&result["deployment"]).to_owned()].into_iter().chain(cells));
    }
    page.figure("Cost of a run by node, by use", &stacked(&groups, &series, "dollars"), &table)
}

fn services(results: &[&Value]) -> String {
    let columns =
        ["service", "deployment", "model", "requests", "429", "failed", "busy", "cost", "idle machines", "basis"];
    let mut table = Table::new(&columns);
    for result in results {
        for service in result["services"].as_array().into_iter().flatten() {
            let busy = number(&service["utilization"]).map(|it| format!("{} %", digits(it * 100.0)));
            table.row([
                text(&service["service"]).to_owned(),
                text(&result["deployment"]).to_owned(),
                text(&service["model"]).to_owned(),
                service["requests"].to_string(),
                service["rate_limited"].to_string(),
                service["failed"].to_string(),
                busy.unwrap_or_default(),
                money(&service["cost_usd"]).unwrap_or_else(|| "?".to_owned()),
                money(&service["idle_usd"]).unwrap_or_default(),
                text(&service["basis"]).to_owned(),
            ]);
        }
    }
    format!("<h3>Services</h3>{}", table.html())
}

/// An amount in dollars.
pub(super) fn money(value: &Value) -> Option<String> {
    number(value).map(|amount| format!("${}", digits(amount)))
}
