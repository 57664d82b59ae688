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
    if comparison["api_side"]["meets_slo"] == false {
        return format!("{api} misses the SLO under this load: it is no choice, whatever it costs (simulated)");
    }
    let point = &comparison["runs_per_month"];
    let Some(runs) = number(&point["value"]) else {
        let beyond = (number(&comparison["beyond_capacity"]), number(&comparison["capacity_per_month"]));
        return match beyond {
            (Some(beyond), Some(most)) => format!(
                "own machines are never cheaper than {api} at this fleet's capacity: that would be from {} runs a month on, and \
                 it bears {} within the SLO (simulated)",
                digits(beyond),
                digits(most)
            ),
            _ if comparison["fleet_per_run_usd"].is_null() || comparison["api_per_run_usd"].is_null() => {
                format!("own machines cannot be compared with {api}: a price is not known, or no run succeeds")
            }
            _ => format!("own machines are never cheaper than {api}: a run costs no less on them"),
        };
    };
    // Seeds that agree are no proof to the single run.
    let half = number(&point["half"]).filter(|half| *half >= runs / 1000.0);
    let half = half.map(|half| format!(" ± {}", digits(half))).unwrap_or_default();
    let reached = match comparison["is_reached"].as_bool() {
        Some(true) => "which is within the scenario's load",
        _ => "which is more than the scenario's load",
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
    // What the API's deployment keeps is paid by the month there too.
    let (Some(at_api), Some(kept), Some(month), Some(here)) = (
        number(&comparison["api_per_run_usd"]),
        number(&comparison["api_side"]["month_usd"]),
        number(&comparison["fleet_month_usd"]),
        number(&comparison["fleet_per_run_usd"]),
    ) else {
        return format!("<p>Costs of {} cannot be compared: a price is not known.</p>", escape(api));
    };
    let point = number(&comparison["runs_per_month"]["value"]);
    let served = number(&comparison["served_per_month"]).unwrap_or_default();
    let borne = number(&comparison["capacity_per_month"]);
    let most = (served.max(point.unwrap_or_default()).max(borne.unwrap_or_default()) * 1.15).max(1.0);
    // What the machines don't bear has no price there.
    let end = borne.filter(|_| comparison["capacity_is_at_least"] != true).unwrap_or(most);
    let line = |name: &str, fixed: f64, each: f64, end: f64| Curve {
        name: name.to_owned(),
        points: (0..=POINTS).map(|at| end * f64::from(at) / f64::from(POINTS)).map(|x| (x, fixed + each * x)).collect(),
        is_stepped: false,
    };
    let lines = [line("own machines", month, here, end), line(api, kept, at_api, most)];
    let top = (month + here * most).max(kept + at_api * most);
    let mut plot = curves(&lines, ("runs a month", "dollars a month"));
    if let Some(point) = point {
        upright(&mut plot, ("break-even", DashType::Dash), point, top);
    }
    if served > 0.0 {
        upright(&mut plot, ("the scenario's load", DashType::Dot), served, top);
    }
    let mut table = Table::new(&["", "a month", "a run"]);
    let dollars = |amount: f64| format!("${}", digits(amount));
    table.row(["own machines".to_owned(), dollars(month), dollars(here)]);
    table.row([api.to_owned(), dollars(kept), dollars(at_api)]);
    let runs = |runs: f64| format!("{} runs a month", digits(runs));
    table.row(["break-even".to_owned(), point.map_or_else(|| "never".to_owned(), runs), String::new()]);
    table.row(["the scenario's load".to_owned(), runs(served), String::new()]);
    table.row(["borne within the SLO".to_owned(), borne.map_or_else(|| "?".to_owned(), runs), String::new()]);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_break_even_is_told_only_where_the_fleet_bears_it_and_prices_are_known() {
        let found = |point: Value, beyond: Value, price: Value| {
            break_even(&json!({
                "api": "bought", "runs_per_month": point, "beyond_capacity": beyond, "capacity_per_month": 14_900_000,
                "is_reached": true, "fleet_per_run_usd": "0.00001", "api_per_run_usd": price,
            }))
        };
        let told = found(json!({ "value": 9_070_000, "half": null }), Value::Null, json!("0.0003"));
        assert!(told.contains("cheaper than bought from") && told.contains("within the scenario's load"), "{told}");
        let told = found(Value::Null, json!(15_600_000), json!("0.0003"));
        assert!(told.contains("never cheaper than bought at this fleet's capacity"), "{told}");
        let told = found(Value::Null, Value::Null, Value::Null);
        assert!(told.contains("cannot be compared with bought"), "{told}");
        assert!(found(Value::Null, Value::Null, json!("0.0003")).contains("a run costs no less on them"));
    }

    #[test]
    fn what_the_other_deployment_keeps_by_the_hour_is_paid_there_too() {
        let shown = |kept: Value| {
            let mut page = Builder { verdicts: Vec::new(), sections: Vec::new(), assumptions: Vec::new(), plots: 0 };
            let comparison = json!({
                "api": "bought", "api_per_run_usd": "0.001", "api_side": { "month_usd": kept },
                "fleet_month_usd": "1146", "fleet_per_run_usd": "0", "served_per_month": 2_000_000,
                "runs_per_month": { "value": 1_000_000, "half": null },
            });
            volume(&mut page, &comparison)
        };
        let told = shown(json!("146"));
        assert!(told.contains("bought</th><td>$146</td><td>$0.00100</td>"), "{told}");
        assert!(told.contains("[146.0,"), "the line begins at what is kept: {told}");
        assert!(shown(json!("0")).contains("bought</th><td>$0</td>"));
        assert!(shown(Value::Null).contains("cannot be compared"));
    }
}
