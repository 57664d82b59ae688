//! Recorded runs: what happened when, and what each node cost.

use indexmap::IndexMap;
use lumos_core::RunRecord;
use lumos_core::record::Status;
use serde_json::Value;

use super::html::{Table, escape};
use super::plots::{Fall, Series, Spread, stacked, waterfall};
use super::{Builder, Tone, digits, number, text};
use crate::figure;

/// Most runs that are shown one by one.
const SHOWN: usize = 5;

/// Most attempts of a waterfall.
const ATTEMPTS: usize = 200;

pub(super) fn show(page: &mut Builder, runs: &[&Value]) {
    for run in runs.iter().take(SHOWN) {
        one(page, run);
    }
    if runs.len() > 1 {
        several(page, runs);
    }
}

fn one(page: &mut Builder, run: &Value) {
    let (workflow, id) = (text(&run["workflow"]), text(&run["run_id"]));
    let status = text(&run["status"]);
    let duration = number(&run["totals"]["duration_us"]).map(|us| figure::duration(us as u64)).unwrap_or_default();
    let cost = cost_of(&run["totals"]);
    let tone = if status == "succeeded" { Tone::Good } else { Tone::Bad };
    let why = run["error"]["message"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    page.verdict(tone, format!("run {id} of {workflow} {status} after {duration}, at {cost}{why}"));
    let on = match text(&run["deployment"]) {
        "none" => "Without a deployment".to_owned(),
        deployment => format!("On {deployment}"),
    };
    let about = format!("{on}, begun at {}, with the seed {}.", text(&run["started_at"]), run["seed"]);
    let mut content = format!("<p>{}</p>", escape(&about));
    content.push_str(&falls(page, run));
    content.push_str(&cost_by_node(page, &[run]));
    page.section(format!("Run {id}"), content);
}

fn cost_of(totals: &Value) -> String {
    match (number(&totals["cost_usd"]), totals["cost_complete"].as_bool()) {
        (None, _) => "an unknown cost".to_owned(),
        (Some(cost), Some(false)) => format!("at least ${}", digits(cost)),
        (Some(cost), _) => format!("${}", digits(cost)),
    }
}

/// The name of each step, as people know it.
fn names(run: &Value) -> Vec<String> {
    let steps: Vec<&Value> = run["steps"].as_array().into_iter().flatten().collect();
    match serde_json::from_value::<RunRecord>(run.clone()) {
        Ok(record) => crate::step_names(&record),
        // An older version's record may lack a field that names don't need.
        Err(_) => steps.iter().map(|step| text(&step["node"]).to_owned()).collect(),
    }
}

/// When each attempt waited, got its first token, and ended.
fn falls(page: &mut Builder, run: &Value) -> String {
    let mut rows: Vec<Fall> = Vec::new();
    let mut table = Table::new(&[
        "attempt",
        "backend",
        "status",
        "start",
        "queue",
        "first token",
        "duration",
        "tokens in",
        "tokens out",
        "cost",
    ]);
    let names = names(run);
    for (step, name) in run["steps"].as_array().into_iter().flatten().zip(&names) {
        let attempts: Vec<&Value> = step["attempts"].as_array().into_iter().flatten().collect();
        for attempt in &attempts {
            if rows.len() == ATTEMPTS {
                break;
            }
            let name = if attempts.len() > 1 { format!("{name}:{}", attempt["attempt"]) } else { name.clone() };
            let seconds = |field: &str| number(&attempt[field]).unwrap_or_default() / 1e6;
            let (first, all) = (seconds("ttft_us"), seconds("duration_us"));
            rows.push(Fall {
                name: name.clone(),
                start: seconds("start_us"),
                parts: vec![seconds("queue_us"), first.min(all), (all - first).max(0.0)],
            });
            let status = Status::from_word(text(&attempt["status"])).unwrap_or(Status::Succeeded);
            let known = |field: &str, show: &dyn Fn(u64) -> String| {
                number(&attempt[field]).map_or_else(|| figure::NONE.to_owned(), |it| show(it as u64))
            };
            let took = |us| figure::time(us, status);
            table.row([
                name,
                text(&attempt["backend"]).to_owned(),
                text(&attempt["status"]).to_owned(),
                known("start_us", &figure::duration),
                known("queue_us", &took),
                known("ttft_us", &figure::duration),
                known("duration_us", &took),
                known("input_tokens", &figure::count),
                known("output_tokens", &figure::count),
                number(&attempt["cost_usd"])
                    .map_or_else(|| figure::UNKNOWN.to_owned(), |it| format!("${}", digits(it))),
            ]);
        }
    }
    if rows.is_empty() {
        return "<p>No attempt was made.</p>".to_owned();
    }
    let plot = waterfall(&rows, &["waiting", "to the first token", "from then on"]);
    page.figure("What happened when", &plot, &table)
}

/// What each node cost, by run or on average.
fn cost_by_node(page: &mut Builder, runs: &[&Value]) -> String {
    let mut costs: IndexMap<String, Vec<Option<f64>>> = IndexMap::new();
    for (at, run) in runs.iter().enumerate() {
        for step in run["steps"].as_array().into_iter().flatten() {
            for attempt in step["attempts"].as_array().into_iter().flatten() {
                if attempt["backend"].is_null() {
                    continue;
                }
                let entry = costs.entry(text(&step["node"]).to_owned()).or_insert_with(|| vec![None; runs.len()]);
                if let Some(cost) = number(&attempt["cost_usd"]) {
                    entry[at] = Some(entry[at].unwrap_or_default() + cost);
                }
            }
        }
    }
    if costs.values().flatten().flatten().all(|cost| *cost == 0.0) {
        return String::new();
    }
    let groups: Vec<String> = runs.iter().map(|run| short(text(&run["run_id"]))).collect();
    let series: Vec<Series> = costs
        .iter()
        .map(|(name, values)| Series {
            name: name.clone(),
            values: values.iter().map(|value| value.map(|value| Spread { value, low: None, high: None })).collect(),
        })
        .collect();
    let columns: Vec<&str> = ["run"].into_iter().chain(costs.keys().map(String::as_str)).collect();
    let mut table = Table::new(&columns);
    for (at, run) in runs.iter().enumerate() {
        let cells = costs
            .values()
            .map(|values| values[at].map_or_else(|| figure::UNKNOWN.to_owned(), |cost| format!("${}", digits(cost))));
        table.row([text(&run["run_id"]).to_owned()].into_iter().chain(cells));
    }
    page.figure("Cost by node", &stacked(&groups, &series, "dollars"), &table)
}

/// The end of a run's id, which is what differs.
fn short(id: &str) -> String {
    let from = id.char_indices().rev().nth(7).map_or(0, |(at, _)| at);
    format!("…{}", &id[from..])
}

fn several(page: &mut Builder, runs: &[&Value]) {
    let mut table =
        Table::new(&["run", "workflow", "deployment", "status", "started", "duration", "cost", "bytes outside"]);
    for run in runs {
        let totals = &run["totals"];
        table.row([
            text(&run["run_id"]).to_owned(),
            text(&run["workflow"]).to_owned(),
            text(&run["deployment"]).to_owned(),
            text(&run["status"]).to_owned(),
            text(&run["started_at"]).to_owned(),
            number(&totals["duration_us"]).map(|us| figure::duration(us as u64)).unwrap_or_default(),
            cost_of(totals),
            number(&totals["bytes_outside"]).map(|it| figure::bytes(it as u64)).unwrap_or_default(),
        ]);
    }
    let mut content = table.html();
    let mut lines = Vec::new();
    let mut deployments: IndexMap<&str, Vec<f64>> = IndexMap::new();
    for run in runs.iter().filter(|run| run["status"] == "succeeded") {
        if let Some(us) = number(&run["totals"]["duration_us"]) {
            deployments.entry(text(&run["deployment"])).or_default().push(us / 1e6);
        }
    }
    let mut spread = Table::new(&["deployment", "runs", "fastest", "median", "slowest"]);
    for (name, mut values) in deployments {
        values.sort_by(f64::total_cmp);
        let at = |at: usize| values.get(at).map(|value| format!("{} s", digits(*value))).unwrap_or_default();
        spread.row([name.to_owned(), values.len().to_string(), at(0), at(values.len() / 2), at(values.len() - 1)]);
        lines.push(super::plots::shares(name, values));
    }
    if !lines.is_empty() {
        let plot = super::plots::curves(&lines, ("seconds", "% of runs that took at most so long"));
        content.push_str(&page.figure("How latency is distributed", &plot, &spread));
    }
    content.push_str(&cost_by_node(page, runs));
    page.section(format!("{} recorded runs", runs.len()), content);
}
