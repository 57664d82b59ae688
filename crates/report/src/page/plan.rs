//! The smallest fleet that meets an SLO, and from which volume on it is cheaper than an API, as `lumos plan` has it.

use plotly::common::DashType;
use serde_json::Value;

use super::html::{Table, escape};
use super::plots::{Curve, curves, tornado, upright};
use super::simulation::{money, side_by_side};
use super::{Builder, Tone, digits, number, text};

/// Points of a line.
const POINTS: u32 = 40;

pub(super) fn show(page: &mut Builder, document: &Value) {
    let chosen = document["chosen"].as_object();
    let fleets: Vec<String> = chosen
        .into_iter()
        .flatten()
        .map(|(backend, fleet)| format!("{} × {} for {backend}", fleet["replicas"], text(&fleet["hardware"])))
        .collect();
    let comparisons: Vec<&Value> = document["break_even"].as_array().into_iter().flatten().collect();
    let month = comparisons.first().and_then(|first| money(&first["fleet_month_usd"]));
    let cost = month.map(|month| format!(", at {month} a month")).unwrap_or_default();
    if fleets.is_empty() {
        page.verdict(Tone::Bad, "no fleet that was tried meets the SLO (simulated)");
    } else {
        page.verdict(Tone::Good, format!("{} meet the SLO{cost} (simulated)", fleets.join(" and ")));
    }
    for comparison in &comparisons {
        page.verdict(Tone::Plain, break_even(comparison));
    }
    let mut content = candidates(document);
    for comparison in &comparisons {
        content.push_str(&volume(page, comparison));
        content.push_str(&assumptions(page, comparison));
    }
    if !document["together"].is_null() {
        content.push_str("<h3>The chosen fleets together</h3>");
        content.push_str(&side_by_side(page, &[&document["together"]]));
    }
    page.section(format!("Plan for {}", text(&document["scenario"])), content);
}

fn break_even(comparison: &Value) -> String {
    let api = text(&comparison["api"]);
    let point = &comparison["runs_per_month"];
    let Some(runs) = number(&point["value"]) else {
        return format!("own machines are never cheaper than {api}: a run costs no less on them");
    };
    let half = number(&point["half"]).map(|half| format!(" ± {}", digits(half))).unwrap_or_default();
    let reached = match comparison["is_reached"].as_bool() {
        Some(true) => "which is within what they serve",
        _ => "which is more than they serve",
    };
    format!("own machines are cheaper than {api} from {}{half} runs a month on, {reached} (simulated)", digits(runs))
}

fn candidates(document: &Value) -> String {
    let mut table =
        Table::new(&["backend", "fleet", "meets the SLO", "a month", "per million tokens", "p95", "why not"]);
    for candidate in document["candidates"].as_array().into_iter().flatten() {
        let fleet = &candidate["fleet"];
        let quantization = fleet["quantization"].as_str().map(|it| format!(", {it}")).unwrap_or_default();
        let name = format!("{} × {}{quantization}", fleet["replicas"], text(&fleet["hardware"]));
        let p95 = number(&candidate["results"]["latency_s"]["p95"]).map(|it| format!("{} s", digits(it)));
        table.row([
            text(&candidate["backend"]).to_owned(),
            name,
            if candidate["meets_slo"] == true { "yes" } else { "no" }.to_owned(),
            money(&candidate["month_usd"]).unwrap_or_else(|| "?".to_owned()),
            money(&candidate["per_million_tokens_usd"]).unwrap_or_default(),
            p95.unwrap_or_default(),
            text(&candidate["reason"]).to_owned(),
        ]);
    }
    format!("<h3>Fleets that were tried</h3>{}", table.html())
}

/// What a month costs by its runs, on own machines and at an API.
fn volume(page: &mut Builder, comparison: &Value) -> String {
    let api = text(&comparison["api"]);
    let (Some(at_api), Some(month), Some(here)) = (
        number(&comparison["api_per_run_usd"]),
        number(&comparison["fleet_month_usd"]),
        number(&comparison["fleet_per_run_usd"]),
    ) else {
        return format!("<p>Costs of {} cannot be compared: a price is not known.</p>", escape(api));
    };
    let point = number(&comparison["runs_per_month"]["value"]);
    let served = number(&comparison["served_per_month"]).unwrap_or_default();
    let most = (served.max(point.unwrap_or_default()) * 1.15).max(1.0);
    let line = |name: &str, fixed: f64, each: f64| Curve {
        name: name.to_owned(),
        points: (0..=POINTS)
            .map(|at| most * f64::from(at) / f64::from(POINTS))
            .map(|x| (x, fixed + each * x))
            .collect(),
        is_stepped: false,
    };
    let lines = [line("own machines", month, here), line(api, 0.0, at_api)];
    let top = (month + here * most).max(at_api * most);
    let mut plot = curves(&lines, ("runs a month", "dollars a month"));
    if let Some(point) = point {
        upright(&mut plot, ("break-even", DashType::Dash), point, top);
    }
    if served > 0.0 {
        upright(&mut plot, ("served within the SLO", DashType::Dot), served, top);
    }
    let mut table = Table::new(&["", "a month", "a run"]);
    let dollars = |amount: f64| format!("${}", digits(amount));
    table.row(["own machines".to_owned(), dollars(month), dollars(here)]);
    table.row([api.to_owned(), dollars(0.0), dollars(at_api)]);
    let runs = |runs: f64| format!("{} runs a month", digits(runs));
    table.row(["break-even".to_owned(), point.map_or_else(|| "never".to_owned(), runs), String::new()]);
    table.row(["served within the SLO".to_owned(), runs(served), String::new()]);
    page.figure(&format!("Cost against volume: own machines and {api}"), &plot, &table)
}

fn assumptions(page: &mut Builder, comparison: &Value) -> String {
    let (Some(middle), Some(list)) =
        (number(&comparison["runs_per_month"]["value"]), comparison["assumptions"].as_array())
    else {
        return String::new();
    };
    let mut table = Table::new(&["assumption", "at one end", "runs a month", "at the other", "runs a month"]);
    let mut rows: Vec<(String, f64, f64)> = Vec::new();
    for assumption in list {
        let what = text(&assumption["what"]).to_owned();
        let ends = [0, 1].map(|at| number(&assumption["runs_per_month"][at]));
        let shown = |at: usize| ends[at].map_or_else(|| "never".to_owned(), digits);
        let name = |at: usize| text(&assumption["ends"][at]).to_owned();
        table.row([what.clone(), name(0), shown(0), name(1), shown(1)]);
        if let [Some(a), Some(b)] = ends {
            rows.push((what, a, b));
        }
    }
    if rows.is_empty() {
        return table.html();
    }
    let caption = "How far single assumptions move the break-even";
    page.figure(caption, &tornado(&rows, middle, "runs a month"), &table)
}
