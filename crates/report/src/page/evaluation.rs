//! How good a deployment's answers are, as `lumos eval` has it.

use serde_json::Value;

use super::html::{Table, escape};
use super::{Builder, Tone, comparison, text, with_interval};

/// Most runs that are listed.
const LISTED: usize = 50;

pub(super) fn show(page: &mut Builder, document: &Value) {
    let (workflow, deployment) = (text(&document["workflow"]), text(&document["deployment"]));
    let figure = |pointer: &str, unit: &str| document.pointer(pointer).map(|figure| with_interval(figure, unit));
    let mut parts: Vec<String> = Vec::new();
    if !document["quality"].is_null() {
        parts.extend(figure("/quality", "").map(|it| format!("quality {it}")));
    }
    parts.extend(figure("/latency_s/p95", " s").map(|it| format!("p95 {it}")));
    parts.extend(figure("/cost_per_1000_usd", "$").map(|it| format!("1,000 runs cost {it}")));
    page.verdict(Tone::Plain, format!("{workflow} on {deployment}: {}", parts.join("; ")));
    comparison::gate(page, &document["gate"]);
    if document["is_partial"] == true {
        page.verdict(Tone::Bad, "the evaluation was ended before all runs were made");
    }
    let about = format!(
        "{} rows of {}, {} runs of each, with the seed {}.",
        document["rows"],
        text(&document["dataset"]),
        document["repeats"],
        document["seed"]
    );
    let mut content = format!("<p>{}</p>", escape(&about));
    let sides = [document];
    content.push_str(&comparison::figures(&sides).html());
    content.push_str(&comparison::charts(page, &sides));
    content.push_str(&worst(document));
    page.section(format!("Evaluation of {workflow} on {deployment}"), content);
}

/// The runs that were worst: those that failed, then those with the lowest quality.
fn worst(document: &Value) -> String {
    let mut outcomes: Vec<&Value> = document["outcomes"].as_array().into_iter().flatten().collect();
    outcomes
        .retain(|outcome| outcome["status"] != "succeeded" || outcome["quality"].as_f64().is_some_and(|it| it < 1.0));
    if outcomes.is_empty() {
        return String::new();
    }
    outcomes.sort_by(|a, b| {
        let key = |of: &Value| if of["status"] == "succeeded" { of["quality"].as_f64().unwrap_or(1.0) } else { -1.0 };
        key(a).total_cmp(&key(b))
    });
    let mut table = Table::new(&["row", "run", "status", "quality", "output"]);
    for outcome in outcomes.iter().take(LISTED) {
        let output = match &outcome["output"] {
            Value::String(text) => text.clone(),
            Value::Null => text(&outcome["error"]["message"]).to_owned(),
            other => other.to_string(),
        };
        table.row([
            text(&outcome["id"]).to_owned(),
            text(&outcome["run_id"]).to_owned(),
            text(&outcome["status"]).to_owned(),
            outcome["quality"].as_f64().map(super::digits).unwrap_or_default(),
            crate::fit(&crate::clean(&output), 200),
        ]);
    }
    let more = outcomes.len().saturating_sub(LISTED);
    let rest = if more > 0 { format!("<p>… and {more} more.</p>") } else { String::new() };
    format!("<details><summary>Runs that were not right</summary>{}{rest}</details>", table.html())
}
