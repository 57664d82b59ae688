//! Deployments side by side, as `lumos compare` has them.

use serde_json::Value;

use super::html::{Table, escape};
use super::plots::{Series, Spread, curves, grouped, shares};
use super::{Builder, Tone, number, text, with_interval};

pub(super) fn show(page: &mut Builder, document: &Value) {
    let sides: Vec<&Value> = document["sides"].as_array().into_iter().flatten().collect();
    for verdict in document["verdicts"].as_array().into_iter().flatten() {
        let (said, against) = (text(&verdict["text"]), text(&verdict["against"]));
        let source = match text(&document["source"]) {
            "simulated" => ", simulated",
            "records" => ", from recorded runs",
            _ => "",
        };
        page.verdict(Tone::Plain, format!("{said} (held against {against}{source})"));
    }
    gate(page, &document["gate"]);
    if document["is_partial"] == true {
        page.verdict(Tone::Bad, "the comparison was ended before all runs were made");
    }
    let mut content = format!("<p>{}</p>", escape(&about(document)));
    content.push_str(&figures(&sides).html());
    content.push_str(&charts(page, &sides));
    content.push_str(&differences(document));
    for side in &sides {
        page.assume(&side["assumptions"]);
    }
    page.section(format!("Comparison of {}", text(&document["workflow"])), content);
}

fn about(document: &Value) -> String {
    let from = match text(&document["source"]) {
        "live" => "runs of a data set, made for it",
        "records" => "runs that were recorded before",
        _ => "a scenario on a virtual clock",
    };
    let file = document["file"].as_str().map(|file| format!(" ({file})")).unwrap_or_default();
    format!("From {from}{file}, with the seed {}.", document["seed"])
}

/// What a gate says, if there was one.
pub(super) fn gate(page: &mut Builder, gate: &Value) {
    let Some(passed) = gate["passed"].as_bool() else { return };
    let conditions = gate["conditions"].as_array().into_iter().flatten();
    let counted = |passed: bool| conditions.clone().filter(move |it| it["passed"] == passed);
    let told = |condition: &Value| {
        let value = number(&condition["value"]).map_or_else(|| crate::figure::UNKNOWN.to_owned(), super::digits);
        let bound = number(&condition["bound"]).filter(|_| condition["against"].is_string());
        let against = bound.map(|bound| format!(" against {}", super::digits(bound))).unwrap_or_default();
        let why = condition["why"].as_str().map(|why| format!("; {why}")).unwrap_or_default();
        let (deployment, of) = (text(&condition["deployment"]), text(&condition["condition"]));
        format!("{of} for {deployment}, where it is {value}{against}{why}")
    };
    if passed {
        page.verdict(Tone::Good, format!("the gate holds: {} conditions", counted(true).count()));
    }
    for condition in counted(false) {
        page.verdict(Tone::Bad, format!("the gate fails: {}", told(condition)));
    }
    // What holds by chance may be.
    for condition in counted(true).filter(|it| it["why"].is_string()) {
        page.verdict(Tone::Plain, format!("the gate holds: {}", told(condition)));
    }
}

/// The rows that tables of deployments have: name, pointer, unit.
pub(super) const ROWS: &[(&str, &str, &str)] = &[
    ("quality", "/quality", ""),
    ("latency p50", "/latency_s/p50", " s"),
    ("latency p95", "/latency_s/p95", " s"),
    ("latency p99", "/latency_s/p99", " s"),
    ("TTFT p50", "/ttft_s/p50", " s"),
    ("TTFT p95", "/ttft_s/p95", " s"),
    ("cost of a run", "/cost_usd", "$"),
    ("cost of 1,000 runs", "/cost_per_1000_usd", "$"),
    ("with idle machines, a run", "/reserved_cost_usd", "$"),
    ("input tokens", "/input_tokens", ""),
    ("output tokens", "/output_tokens", ""),
    ("bytes outside, a run", "/bytes_outside", ""),
    ("failures, share", "/failures", ""),
];

/// Figures of deployments, one column each.
pub(super) fn figures(sides: &[&Value]) -> Table {
    let names = sides.iter().map(|side| text(&side["deployment"]).to_owned());
    let columns: Vec<String> = [String::new()].into_iter().chain(names).chain(["basis".to_owned()]).collect();
    let mut table = Table::new(&columns);
    table.row(
        ["runs".to_owned()].into_iter().chain(sides.iter().map(|side| side["runs"].to_string())).chain([String::new()]),
    );
    let mut add = |name: &str, pointer: &str, unit: &str| {
        let found: Vec<&Value> = sides.iter().map(|side| side.pointer(pointer).unwrap_or(&Value::Null)).collect();
        if found.iter().all(|figure| figure.is_null()) {
            return;
        }
        let cells = found.iter().map(|figure| with_interval(figure, unit));
        let mut bases: Vec<&str> =
            found.iter().map(|figure| text(&figure["basis"])).filter(|it| !it.is_empty()).collect();
        bases.dedup();
        table.row([name.to_owned()].into_iter().chain(cells).chain([bases.join(", ")]));
    };
    for (name, pointer, unit) in ROWS {
        add(name, pointer, unit);
    }
    let mut scorers: Vec<&String> =
        sides.iter().filter_map(|side| side["scores"].as_object()).flat_map(serde_json::Map::keys).collect();
    scorers.dedup();
    for scorer in scorers {
        // A name may hold what a pointer gives a meaning to.
        let pointer = format!("/scores/{}", scorer.replace('~', "~0").replace('/', "~1"));
        add(&format!("score: {scorer}"), &pointer, "");
    }
    table
}

/// A figure of a side with its interval.
fn spread(figure: Option<&Value>) -> Option<Spread> {
    let figure = figure?;
    Some(Spread { value: number(&figure["value"])?, low: number(&figure["low"]), high: number(&figure["high"]) })
}

/// Names of figures, and where they are in a side.
type Pointers<'a> = &'a [(&'a str, &'a str)];

/// Plots of deployments side by side: times, costs, quality, and how times are distributed where each run is known.
pub(super) fn charts(page: &mut Builder, sides: &[&Value]) -> String {
    let mut html = String::new();
    let of = |pointers: Pointers<'_>| -> (Vec<String>, Vec<Series>) {
        let groups = pointers.iter().map(|(name, _)| (*name).to_owned()).collect();
        let series = sides.iter().map(|side| Series {
            name: text(&side["deployment"]).to_owned(),
            values: pointers.iter().map(|(_, pointer)| spread(side.pointer(pointer))).collect(),
        });
        (groups, series.collect())
    };
    let plots: [(&str, &str, Pointers<'_>); 4] = [
        (
            "Latency of runs that succeeded, with 95 % intervals",
            "seconds",
            &[("p50", "/latency_s/p50"), ("p95", "/latency_s/p95"), ("p99", "/latency_s/p99")],
        ),
        (
            "Time to the first token",
            "seconds",
            &[("p50", "/ttft_s/p50"), ("p95", "/ttft_s/p95"), ("p99", "/ttft_s/p99")],
        ),
        (
            "Cost of a run, by use and with idle machines",
            "dollars",
            &[("by use", "/cost_usd"), ("with idle machines", "/reserved_cost_usd")],
        ),
        ("Quality", "from 0 to 1", &[("quality", "/quality")]),
    ];
    for (caption, unit, pointers) in plots {
        let (groups, series) = of(pointers);
        if series.iter().all(|one| one.values.iter().all(Option::is_none)) {
            continue;
        }
        let table = {
            let columns: Vec<String> = ["deployment".to_owned()].into_iter().chain(groups.iter().cloned()).collect();
            let mut table = Table::new(&columns);
            for side in sides {
                let cells = pointers.iter().map(|(_, pointer)| match side.pointer(pointer) {
                    Some(figure) if !figure.is_null() => with_interval(figure, ""),
                    _ => crate::figure::UNKNOWN.to_owned(),
                });
                table.row([text(&side["deployment"]).to_owned()].into_iter().chain(cells));
            }
            table
        };
        html.push_str(&page.figure(caption, &grouped(&groups, &series, unit), &table));
    }
    html + &distributions(page, sides)
}

/// The share of runs that took at most so long, where each run is known.
fn distributions(page: &mut Builder, sides: &[&Value]) -> String {
    let latencies = |side: &Value| -> Vec<f64> {
        let outcomes = side["outcomes"].as_array().into_iter().flatten();
        let succeeded = outcomes.filter(|outcome| outcome["status"] == "succeeded");
        succeeded.filter_map(|outcome| number(&outcome["duration_us"])).map(|us| us / 1e6).collect()
    };
    let known: Vec<(&str, Vec<f64>)> = sides
        .iter()
        .map(|side| (text(&side["deployment"]), latencies(side)))
        .filter(|(_, all)| all.len() > 1)
        .collect();
    if known.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = known.iter().map(|(name, values)| shares(name, values.clone())).collect();
    let mut table = Table::new(&["deployment", "runs", "fastest", "median", "slowest"]);
    for (name, values) in &known {
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        let at = |at: usize| values.get(at).map(|value| format!("{} s", super::digits(*value))).unwrap_or_default();
        table.row([(*name).to_owned(), values.len().to_string(), at(0), at(values.len() / 2), at(values.len() - 1)]);
    }
    let caption = "How latency is distributed: the share of runs that took at most so long";
    page.figure(caption, &curves(&lines, ("seconds", "% of runs")), &table)
}

fn differences(document: &Value) -> String {
    let mut table = Table::new(&["difference", "deployment", "against", "absolute", "relative", "says"]);
    let mut any = false;
    for difference in document["differences"].as_array().into_iter().flatten() {
        any = true;
        let shown = |of: &Value, factor: f64, unit: &str| {
            let scaled = |name: &str| number(&of[name]).map(|value| serde_json::json!(value * factor));
            if of.is_null() {
                return String::new();
            }
            let figure = serde_json::json!({"value": scaled("value"), "low": scaled("low"), "high": scaled("high")});
            with_interval(&figure, unit)
        };
        table.row([
            text(&difference["figure"]).to_owned(),
            text(&difference["deployment"]).to_owned(),
            text(&difference["against"]).to_owned(),
            shown(&difference["absolute"], 1.0, ""),
            shown(&difference["relative"], 100.0, " %"),
            text(&difference["says"]).replace('_', " "),
        ]);
    }
    if any { format!("<h3>Differences, with 95 % intervals</h3>{}", table.html()) } else { String::new() }
}
