//! `lumos prices`: what models cost, who says so, and bringing it up to date.

use std::fmt::Write;

use lumos::core::Usage;
use lumos::core::price::{Batch, Change, Cost, Entry, LookupError, Rates, Schedule, Skipped};
use lumos::{Home, Prices, engine};
use lumos_report::{Column, Role, Table, clean, figure, fit};
use serde_json::{Value, json};

use super::arguments::{self, CheckPrice, Format, ListPrices, PricesCommand, UpdatePrices};
use super::failure::{COMMAND_LINE, Failure};
use super::{home, output};

/// Widest that a source is shown in a list.
const SOURCE: usize = 40;

/// Changes that people are shown.
const SHOWN: usize = 40;

pub fn run(arguments: &arguments::Prices, home: &Home) -> Result<u8, Failure> {
    let prices = Prices::load(home)?;
    match &arguments.command {
        PricesCommand::List(list) => self::list(list, &prices),
        PricesCommand::Check(check) => self::check(check, &prices),
        PricesCommand::Update(update) => self::update(update, prices),
    }
}

fn list(arguments: &ListPrices, prices: &Prices) -> Result<u8, Failure> {
    let on = arguments.on.unwrap_or_else(engine::today);
    let mut entries = prices.catalog().on(on);
    if let Some(provider) = &arguments.provider {
        let known = prices.catalog().provider_called(provider).map_err(unknown)?;
        entries.retain(|entry| entry.provider == known);
    }
    if let Some(filter) = &arguments.filter {
        let filter = filter.to_lowercase();
        let has = |name: &String| name.to_lowercase().contains(&filter);
        entries.retain(|entry| has(&entry.model) || entry.aliases.iter().any(has));
    }
    if arguments.format == Format::Json {
        let entries: Vec<Value> = entries.iter().map(|entry| document(entry, prices)).collect();
        output::json(&json!({ "on": on, "prices": entries }))?;
        return Ok(0);
    }
    if entries.is_empty() {
        output::log("no prices; `lumos prices list` without a filter shows all\n");
        return Ok(0);
    }
    let mut table = Table::new(vec![
        Column::left("provider"),
        Column::left("model"),
        Column::right("input"),
        Column::right("cached"),
        Column::right("write"),
        Column::right("output"),
        Column::left("as of"),
        Column::left("source"),
    ]);
    for entry in &entries {
        let rates = &entry.price.standard.rates;
        let mark = if entry.price.standard.tiers.is_empty() { "" } else { "+" };
        let source = entry.source.trim_start_matches("https://");
        // By whose hand it came is in `check`.
        let source = source.split_once(" (").map_or(source, |(page, _)| page);
        table.row(
            Role::Row,
            vec![
                entry.provider.clone(),
                entry.model.clone(),
                format!("{}{mark}", rates.input),
                optional(rates.cached_input),
                optional(rates.cache_write),
                optional(rates.output),
                entry.as_of.to_string(),
                fit(source, SOURCE),
            ],
        );
    }
    let mut text = output::lines(&table.lines());
    let tiered = if entries.iter().any(|entry| !entry.price.standard.tiers.is_empty()) {
        "; + costs more for long inputs"
    } else {
        ""
    };
    text.push_str(&output::dim(&format!("dollars per million tokens on {on}{tiered}")));
    text.push('\n');
    output::styled(&text)?;
    Ok(0)
}

/// An entry as a document.
fn document(entry: &Entry, prices: &Prices) -> Value {
    let mut document = serde_json::to_value(entry).unwrap_or_default();
    document["built_in"] = json!(!prices.is_own(entry));
    document
}

fn unknown(error: LookupError) -> Failure {
    let hint = error.hint().or_else(|| Some("`lumos prices list` shows what there is".to_owned()));
    Failure::invalid(COMMAND_LINE, error.to_string(), hint)
}

fn optional(rate: Option<lumos::core::Usd>) -> String {
    rate.map_or_else(|| figure::NONE.to_owned(), |rate| rate.to_string())
}

fn check(arguments: &CheckPrice, prices: &Prices) -> Result<u8, Failure> {
    let on = arguments.on.unwrap_or_else(engine::today);
    let catalog = prices.catalog();
    let found = match &arguments.provider {
        Some(provider) => catalog.lookup(provider, &arguments.model, on).map(|entry| vec![entry]),
        None => catalog.lookup_everywhere(&arguments.model, on),
    };
    let found = found.map_err(unknown)?;
    if arguments.cached.checked_add(arguments.write).is_none_or(|part| part > arguments.input) {
        let hint = Some("--input counts all input, with what is read from and written to a cache".to_owned());
        return Err(Failure::invalid(COMMAND_LINE, "--cached and --write are more than --input", hint));
    }
    if arguments.write_1h > arguments.write {
        let hint = Some("--write counts all that is written, for whatever time".to_owned());
        return Err(Failure::invalid(COMMAND_LINE, "--write-1h is more than --write", hint));
    }
    if arguments.format == Format::Json {
        let entries: Vec<Value> = found
            .iter()
            .map(|entry| {
                let (usage, cost) = example(entry, arguments);
                let output = usage.output_tokens.unwrap_or_default();
                let mut document = document(entry, prices);
                document["example"] = json!({
                    "usage": usage,
                    "batch": arguments.is_batch,
                    "cost_usd": cost.map(|cost| cost.usd),
                    "exact": cost.is_some_and(|cost| cost.exact),
                    "worst_cost_usd": entry.price.worst_cost(arguments.input, output),
                });
                document
            })
            .collect();
        output::json(&json!({ "on": on, "prices": entries }))?;
        return Ok(0);
    }
    let texts: Vec<String> = found.iter().map(|entry| described(entry, arguments, prices)).collect();
    output::styled(&texts.join("\n"))?;
    Ok(0)
}

/// The usage of the example, and what it costs.
fn example(entry: &Entry, arguments: &CheckPrice) -> (Usage, Option<Cost>) {
    let default = if entry.price.standard.rates.output.is_some() { 1_000 } else { 0 };
    let usage = Usage {
        input_tokens: Some(arguments.input),
        cached_input_tokens: Some(arguments.cached),
        cache_write_tokens: Some(arguments.write),
        cache_write_1h_tokens: Some(arguments.write_1h),
        output_tokens: Some(arguments.output.unwrap_or(default)),
        reasoning_tokens: None,
        prescribed_tokens: None,
    };
    (usage, entry.price.cost(&usage, arguments.is_batch))
}

fn described(entry: &Entry, arguments: &CheckPrice, prices: &Prices) -> String {
    let mut text = format!("{}\n", output::bold(&clean(&format!("{} of {}", entry.model, entry.provider))));
    let mut said = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<9} {}", clean(&value));
    };
    if !entry.aliases.is_empty() {
        said("also", entry.aliases.join(", "));
    }
    if entry.open_weight {
        said("weights", "open: it can be served by oneself".to_owned());
    }
    said("as of", entry.as_of.to_string());
    said("source", entry.source.clone());
    if prices.is_own(entry) {
        said("set by", home::short(prices.file()));
    }
    if let Some(note) = &entry.note {
        said("note", note.clone());
    }
    for (from, other) in periods(entry, prices) {
        said(&from, other);
    }
    text.push('\n');
    text.push_str(&output::lines(&rates(entry).lines()));
    let (usage, cost) = example(entry, arguments);
    let _ = writeln!(text, "\n{}", sentence(entry, arguments, &usage, cost));
    text
}

/// The prices of the model on other days, and since when this one holds.
fn periods(entry: &Entry, prices: &Prices) -> Vec<(String, String)> {
    let is_same = |other: &&Entry| other.provider == entry.provider && other.model == entry.model;
    let dated: Vec<&Entry> = prices.catalog().entries().iter().filter(is_same).collect();
    if dated.len() < 2 && entry.from.is_none() {
        return Vec::new();
    }
    let line = |other: &&Entry| {
        let since = other.from.map_or_else(|| "at first".to_owned(), |from| format!("from {from}"));
        let rates = &other.price.standard.rates;
        let this = if *other == entry { ", this one" } else { "" };
        format!("{since}: {} in, {} out{this}", rates.input, optional(rates.output))
    };
    let word = |at: usize| if at == 0 { "in force" } else { "" };
    dated.iter().enumerate().map(|(at, other)| (word(at).to_owned(), line(other))).collect()
}

/// The rates of every kind of request.
fn rates(entry: &Entry) -> Table {
    let mut table = Table::new(vec![
        Column::left("dollars per million tokens"),
        Column::right("input"),
        Column::right("cached"),
        Column::right("write 5 min"),
        Column::right("write 1 h"),
        Column::right("output"),
    ]);
    let mut row = |what: String, rates: &Rates| {
        let classes = [rates.cached_input, rates.cache_write, rates.cache_write_1h, rates.output];
        let cells = [what, rates.input.to_string()].into_iter().chain(classes.map(optional)).collect();
        table.row(Role::Row, cells);
    };
    let mut schedule = |what: &str, schedule: &Schedule| {
        row(what.to_owned(), &schedule.rates);
        for tier in &schedule.tiers {
            row(format!("{what}, above {} of input", figure::count(tier.above)), &tier.rates);
        }
    };
    schedule("standard", &entry.price.standard);
    match &entry.price.batch {
        Some(Batch::Rates(rates)) => schedule("batch", rates),
        Some(Batch::Discount(percent)) => {
            table.row(Role::Note, vec![format!("batch: {percent} % less")]);
        }
        None => {}
    }
    table
}

/// What the example costs, in words.
fn sentence(entry: &Entry, arguments: &CheckPrice, usage: &Usage, cost: Option<Cost>) -> String {
    let mut parts = vec![format!("{} tokens in", figure::count(arguments.input))];
    if arguments.cached > 0 {
        parts.push(format!("{} of them from a cache", figure::count(arguments.cached)));
    }
    if arguments.write > 0 {
        parts.push(format!("{} into a cache", figure::count(arguments.write)));
    }
    if arguments.write_1h > 0 {
        parts.push(format!("{} of these for an hour", figure::count(arguments.write_1h)));
    }
    let output = usage.output_tokens.unwrap_or_default();
    if output > 0 {
        parts.push(format!("{} out", figure::count(output)));
    }
    if arguments.is_batch {
        parts.push("in a batch".to_owned());
    }
    let of = parts.join(", ");
    match cost {
        Some(Cost { usd, exact: true }) => format!("{of}: {}", output::bold(&format!("${usd}"))),
        Some(Cost { usd, exact: false }) => {
            format!("{of}: at most {}, because no price of a batch is known", output::bold(&format!("${usd}")))
        }
        None if output > 0 && entry.price.standard.rates.output.is_none() => {
            format!("{of}: no cost, because {} sells no output", clean(&entry.provider))
        }
        None => format!("{of}: no cost, because {} doesn't sell a cache of an hour", clean(&entry.provider)),
    }
}

fn update(arguments: &UpdatePrices, prices: Prices) -> Result<u8, Failure> {
    let as_of = arguments.as_of.unwrap_or_else(engine::today);
    let update = prices.read_update(&arguments.from, arguments.provider.as_deref(), as_of)?;
    let changes = prices.changes(&update);
    let file = prices.file().to_owned();
    let is_news = !changes.is_empty();
    let shown = match arguments.format {
        Format::Json => {
            let mut document = told_to_programs(&changes, &update.skipped);
            document["file"] = json!(file);
            document["written"] = json!(is_news);
            serde_json::to_string_pretty(&document).map_err(|error| Failure::failed(error.to_string()))? + "\n"
        }
        Format::Human => told_to_people(&changes, &update.skipped),
    };
    if is_news {
        prices.clone().write(update).map_err(|error| {
            Failure::failed(format!("cannot write `{}`: {error}; the old prices hold", home::short(&file)))
        })?;
    }
    output::styled(&shown)?;
    if arguments.format == Format::Human {
        let end = if is_news { format!("written to {}\n", home::short(&file)) } else { "nothing is new\n".to_owned() };
        output::log(&end);
    }
    Ok(0)
}

fn told_to_programs(changes: &[Change<'_>], skipped: &[Skipped]) -> Value {
    let (mut added, mut changed, mut restated) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Added(entry) => added.push(json!(entry)),
            Change::Repriced { old, new } => changed.push(json!({ "old": old, "new": new })),
            Change::Restated { old, new } => restated.push(json!({ "old": old, "new": new })),
        }
    }
    json!({ "added": added, "changed": changed, "restated": restated, "skipped": skipped })
}

fn told_to_people(changes: &[Change<'_>], skipped: &[Skipped]) -> String {
    let mut table =
        Table::new(vec![Column::left("price"), Column::left("model"), Column::left("dollars per million tokens")]);
    let name = |entry: &Entry| {
        let from = entry.from.map(|from| format!(" from {from}")).unwrap_or_default();
        format!("{}/{}{from}", entry.provider, entry.model)
    };
    let (mut repriced, mut added, mut restated) = (Vec::new(), Vec::new(), 0);
    for change in changes {
        match change {
            Change::Repriced { old, new } => repriced.push(vec!["changed".to_owned(), name(new), difference(old, new)]),
            Change::Added(entry) => {
                let rates = &entry.price.standard.rates;
                let price = format!("input {}, output {}", rates.input, optional(rates.output));
                added.push(vec!["added".to_owned(), name(entry), price]);
            }
            Change::Restated { .. } => restated += 1,
        }
    }
    let rows: Vec<_> = repriced.into_iter().chain(added).collect();
    let more = rows.len().saturating_sub(SHOWN);
    let is_empty = rows.is_empty();
    for row in rows.into_iter().take(SHOWN) {
        table.row(Role::Row, row);
    }
    let mut text = if is_empty { String::new() } else { output::lines(&table.lines()) };
    let mut note = |note: String| {
        let _ = writeln!(text, "{}", output::dim(&note));
    };
    if more > 0 {
        note(format!("and {more} more; `--format json` has all"));
    }
    if restated > 0 {
        note(format!("{restated} with the same price but other names, dates, sources or notes"));
    }
    if !skipped.is_empty() {
        let first = &skipped[0];
        let example = clean(&format!("{}/{}: {}", first.provider, first.model, first.reason));
        note(format!("{} left out, e.g. {example}", skipped.len()));
    }
    text
}

/// What differs between two prices of the same model.
fn difference(old: &Entry, new: &Entry) -> String {
    let (before, after) = (&old.price.standard, &new.price.standard);
    let classes = |rates: &Rates| {
        [
            ("input", Some(rates.input)),
            ("cached", rates.cached_input),
            ("write", rates.cache_write),
            ("write 1 h", rates.cache_write_1h),
            ("output", rates.output),
        ]
    };
    let mut parts = Vec::new();
    for ((class, old), (_, new)) in classes(&before.rates).into_iter().zip(classes(&after.rates)) {
        if old != new {
            parts.push(format!("{class} {} → {}", optional(old), optional(new)));
        }
    }
    if before.tiers != after.tiers {
        parts.push("long inputs".to_owned());
    }
    if old.price.batch != new.price.batch {
        parts.push("batch".to_owned());
    }
    parts.join(", ")
}
