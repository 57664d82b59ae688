//! `lumos run --dry-run`: prints what a run would do.

use std::fmt::Write;

use indexmap::IndexMap;
use lumos::core::load::Bundle;
use lumos::core::price::Price;
use lumos::{Home, Lumos, Prices, price_of};
use lumos_report::{Column, Role, Table, clean, figure};
use serde_json::Value;

use super::arguments::Format;
use super::failure::Failure;
use super::output;
use super::plan::{Plan, PlannedNode, plan};

pub fn run(
    format: Format,
    home: &Home,
    bundle: &Bundle,
    inputs: IndexMap<String, Value>,
    seed: u64,
) -> Result<u8, Failure> {
    let lumos = Lumos::builder(home.clone()).without_store().build()?;
    let plan = plan(bundle, prices(bundle, home)?, lumos.missing_assets(bundle), inputs, seed);
    match format {
        Format::Json => output::json(&plan)?,
        Format::Human => output::styled(&text(&plan, &lumos))?,
    }
    Ok(0)
}

/// The price of each backend; a list price that is missing is an error, as it would be before a run.
fn prices(bundle: &Bundle, home: &Home) -> Result<IndexMap<String, Price>, Failure> {
    let Some(deployment) = &bundle.deployment else { return Ok(IndexMap::new()) };
    let prices = Prices::load(home)?;
    let backends = deployment.parsed.spec.backends.iter();
    let priced = backends.map(|(name, spec)| Ok((name.clone(), price_of(name, spec, prices.catalog())?)));
    priced.collect::<Result<_, _>>().map_err(|error| Failure::of_binding(error, bundle))
}

fn text(plan: &Plan, lumos: &Lumos) -> String {
    let mut text = format!(
        "{} {}\n\n",
        output::bold(&clean(&plan.workflow)),
        output::dim(&format!(
            "on {}, seed {}; nothing is run",
            clean(plan.deployment.as_deref().unwrap_or("no deployment")),
            plan.seed
        ))
    );
    text.push_str(&output::lines(&table(plan).lines()));
    for node in &plan.nodes {
        prompts(&mut text, node);
    }
    text.push('\n');
    if !plan.missing_assets.is_empty() {
        let size = |name: &String| match lumos.assets().catalog().get(name) {
            Some(asset) => format!("{name} ({})", figure::bytes(asset.size())),
            None => format!("{} (not in the catalog)", clean(name)),
        };
        let assets: Vec<String> = plan.missing_assets.iter().map(size).collect();
        let _ = writeln!(text, "{} {}", output::bold("fetched first:"), assets.join(", "));
    }
    let cost = match plan.worst_cost_usd {
        Some(cost) => format!("{}, {}", figure::money(cost), if_reason(&plan.worst_cost_reason)),
        None => format!("unknown: {}", plan.worst_cost_reason),
    };
    let _ = writeln!(text, "{} {cost}", output::bold("worst cost:"));
    let leaves = output::bold("leaves the boundary:");
    if plan.leaves_boundary.is_empty() {
        let _ = writeln!(text, "{leaves} nothing");
    }
    for leaving in &plan.leaves_boundary {
        let labels = if leaving.labels.is_empty() {
            String::new()
        } else {
            format!("; may carry {}", clean(&leaving.labels.join(", ")))
        };
        let _ = writeln!(text, "{leaves} the prompts of {} to {}{labels}", leaving.node, clean(&leaving.backend));
        if let Some(refused) = &leaving.refused {
            let _ = writeln!(text, "  {} {}", output::bold("refused:"), clean(refused));
        }
    }
    text
}

fn if_reason(reason: &str) -> String {
    if reason.starts_with("every") { format!("if {reason}") } else { format!("because {reason}") }
}

fn table(plan: &Plan) -> Table {
    let mut table = Table::new(vec![
        Column::left("node"),
        Column::left("kind"),
        Column::left("agent"),
        Column::left("backend"),
        Column::left("model"),
        Column::right("attempts"),
        Column::right("worst cost"),
    ]);
    let none = || figure::NONE.to_owned();
    for node in &plan.nodes {
        let is_workflow = node.kind == "workflow";
        let backends: Vec<&str> = node.backend.iter().chain(&node.fallback).map(String::as_str).collect();
        let attempts = match node.attempts_at_most {
            _ if is_workflow => none(),
            Some(most) => format!("≤ {}", figure::count(most)),
            None => figure::UNKNOWN.to_owned(),
        };
        let cost = match node.worst_cost_usd {
            _ if is_workflow => none(),
            Some(cost) => figure::money(cost),
            None => figure::UNKNOWN.to_owned(),
        };
        table.row(
            Role::Row,
            vec![
                name(node),
                node.kind.to_owned(),
                node.agent.clone().unwrap_or_else(none),
                if backends.is_empty() { none() } else { backends.join(", else ") },
                node.model.clone().unwrap_or_else(none),
                attempts,
                cost,
            ],
        );
    }
    table
}

fn name(node: &PlannedNode) -> String {
    node.path.iter().chain([&node.node]).map(String::as_str).collect::<Vec<_>>().join("/")
}

/// What a person is asked, and what is known of a node's prompt or, when there is none, of its arguments.
fn prompts(text: &mut String, node: &PlannedNode) {
    let parts: Vec<(&str, Option<String>)> = match &node.prompt {
        Some(prompt) => prompt.iter().map(|(role, text)| (*role, Some(text.clone()))).collect(),
        None => node.arguments.iter().map(|(name, value)| (name.as_str(), argument(value))).collect(),
    };
    let asked = node.question.iter().map(|question| ("asks a person", Some(question.clone())));
    let parts: Vec<(&str, Option<String>)> = asked.chain(parts).collect();
    if parts.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", output::bold(&name(node)));
    for (part, value) in parts {
        let part = clean(part);
        let Some(value) = value else {
            let _ = writeln!(text, "  {part}: {}", output::dim("known when it runs"));
            continue;
        };
        let value = output::shown(value.trim_end());
        let mut lines = value.lines();
        let _ = writeln!(text, "  {part}: {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "    {line}");
        }
    }
}

fn argument(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
