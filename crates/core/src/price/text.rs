//! The catalog as text: RON, one line per price.
//!
//! Reading is strict: an unknown field is an error, an amount is a decimal in quotes (so that neither a float nor a NaN
//! can be one), and what contradicts itself is told for every price at once.

use std::fmt::Write as _;

use serde::Deserialize;

use super::catalog::Entry;
use super::date::Date;
use super::token::{Batch, Rates, Schedule, Tier, TokenPrice};
use crate::money::Usd;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(rename = "Prices", deny_unknown_fields)]
struct File {
    version: u32,
    prices: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename = "Price", deny_unknown_fields)]
struct Row {
    provider: String,
    model: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    from: Option<Date>,
    input: Usd,
    #[serde(default)]
    cached_input: Option<Usd>,
    #[serde(default)]
    cache_write: Option<Usd>,
    #[serde(default)]
    cache_write_1h: Option<Usd>,
    #[serde(default)]
    output: Option<Usd>,
    #[serde(default)]
    tiers: Vec<TierRow>,
    #[serde(default)]
    batch_discount: Option<u8>,
    #[serde(default)]
    batch: Option<BatchRow>,
    #[serde(default)]
    open_weight: bool,
    as_of: Date,
    source: String,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename = "Tier", deny_unknown_fields)]
struct TierRow {
    above: u64,
    input: Usd,
    #[serde(default)]
    cached_input: Option<Usd>,
    #[serde(default)]
    cache_write: Option<Usd>,
    #[serde(default)]
    cache_write_1h: Option<Usd>,
    #[serde(default)]
    output: Option<Usd>,
}

#[derive(Deserialize)]
#[serde(rename = "Batch", deny_unknown_fields)]
struct BatchRow {
    input: Usd,
    #[serde(default)]
    cached_input: Option<Usd>,
    #[serde(default)]
    cache_write: Option<Usd>,
    #[serde(default)]
    cache_write_1h: Option<Usd>,
    #[serde(default)]
    output: Option<Usd>,
    #[serde(default)]
    tiers: Vec<TierRow>,
}

impl From<TierRow> for Tier {
    fn from(row: TierRow) -> Self {
        let TierRow { above, input, cached_input, cache_write, cache_write_1h, output } = row;
        Self { above, rates: Rates { input, cached_input, cache_write, cache_write_1h, output } }
    }
}

impl From<BatchRow> for Schedule {
    fn from(row: BatchRow) -> Self {
        let BatchRow { input, cached_input, cache_write, cache_write_1h, output, tiers } = row;
        let rates = Rates { input, cached_input, cache_write, cache_write_1h, output };
        Self { rates, tiers: tiers.into_iter().map(Tier::from).collect() }
    }
}

/// The entries of a file, without a look at how they fit together.
pub(super) fn read(origin: &str, text: &str) -> Result<Vec<Entry>, Vec<Problem>> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let file: File = options.from_str(text).map_err(|error| {
        let hint = matches!(error.code, ron::Error::ExpectedString)
            .then(|| "amounts and dates are in quotes, e.g. input: \"0.15\", as_of: \"2026-11-10\"".to_owned());
        let mut problem = Problem::of_file(origin, error.code.to_string(), hint);
        problem.line = u32::try_from(error.span.start.line).ok();
        problem.column = u32::try_from(error.span.start.col).ok();
        vec![problem]
    })?;
    if file.version != 1 {
        let message = format!("version {} is not known", file.version);
        return Err(vec![Problem::of_file(origin, message, Some("write `version: 1`".to_owned()))]);
    }
    let mut problems = Vec::new();
    let mut entries = Vec::with_capacity(file.prices.len());
    for row in file.prices {
        let name = format!("{}/{}", row.provider, row.model);
        match entry(row) {
            Ok(entry) => entries.push(entry),
            Err(message) => problems.push(Problem::of_file(origin, format!("{name}: {message}"), None)),
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}

fn entry(row: Row) -> Result<Entry, String> {
    let batch = match (row.batch_discount, row.batch) {
        (None, None) => None,
        (Some(percent), None) => Some(Batch::Discount(percent)),
        (None, Some(rates)) => Some(Batch::Rates(rates.into())),
        (Some(_), Some(_)) => return Err("write either batch_discount or batch, not both".to_owned()),
    };
    let rates = Rates {
        input: row.input,
        cached_input: row.cached_input,
        cache_write: row.cache_write,
        cache_write_1h: row.cache_write_1h,
        output: row.output,
    };
    let tiers = row.tiers.into_iter().map(Tier::from).collect();
    Ok(Entry {
        provider: row.provider,
        model: row.model,
        aliases: row.aliases,
        from: row.from,
        price: TokenPrice { standard: Schedule { rates, tiers }, batch },
        open_weight: row.open_weight,
        as_of: row.as_of,
        source: row.source,
        note: row.note,
    })
}

/// The file of these entries, each on a line of its own.
pub(super) fn write(entries: &[Entry]) -> String {
    let mut text = String::from("Prices(\n    version: 1,\n    prices: [\n");
    for entry in entries {
        let _ = writeln!(text, "        ({}),", line(entry));
    }
    text.push_str("    ],\n)\n");
    text
}

fn line(entry: &Entry) -> String {
    let mut fields = vec![format!("provider: {}", quoted(&entry.provider)), format!("model: {}", quoted(&entry.model))];
    if !entry.aliases.is_empty() {
        let aliases: Vec<String> = entry.aliases.iter().map(|alias| quoted(alias)).collect();
        fields.push(format!("aliases: [{}]", aliases.join(", ")));
    }
    fields.extend(entry.from.map(|from| format!("from: \"{from}\"")));
    schedule(&entry.price.standard, &mut fields);
    match &entry.price.batch {
        Some(Batch::Discount(percent)) => fields.push(format!("batch_discount: {percent}")),
        Some(Batch::Rates(rates)) => {
            let mut inner = Vec::new();
            schedule(rates, &mut inner);
            fields.push(format!("batch: ({})", inner.join(", ")));
        }
        None => {}
    }
    if entry.open_weight {
        fields.push("open_weight: true".to_owned());
    }
    fields.push(format!("as_of: \"{}\"", entry.as_of));
    fields.push(format!("source: {}", quoted(&entry.source)));
    fields.extend(entry.note.as_ref().map(|note| format!("note: {}", quoted(note))));
    fields.join(", ")
}

fn schedule(schedule: &Schedule, fields: &mut Vec<String>) {
    rates(&schedule.rates, fields);
    if !schedule.tiers.is_empty() {
        let tiers = schedule.tiers.iter().map(|tier| {
            let mut inner = vec![format!("above: {}", tier.above)];
            rates(&tier.rates, &mut inner);
            format!("({})", inner.join(", "))
        });
        fields.push(format!("tiers: [{}]", tiers.collect::<Vec<_>>().join(", ")));
    }
}

fn rates(rates: &Rates, fields: &mut Vec<String>) {
    fields.push(format!("input: \"{}\"", rates.input));
    let classes = [
        ("cached_input", rates.cached_input),
        ("cache_write", rates.cache_write),
        ("cache_write_1h", rates.cache_write_1h),
        ("output", rates.output),
    ];
    fields.extend(classes.into_iter().filter_map(|(name, rate)| Some(format!("{name}: \"{}\"", rate?))));
}

/// A string as RON writes it; the escapes of Rust are those of RON.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "provider: \"p\", model: \"m\", input: \"1\", as_of: \"2026-11-10\", source: \"s\"";

    fn problems(row: &str) -> String {
        let text = format!("Prices(version: 1, prices: [({row})])");
        let problems = read("x.ron", &text).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_written_is_read_again() {
        let row = "provider: \"p\", model: \"m\", aliases: [\"m-1\", \"π\\\"\\\\\\n\"], from: \"2026-01-02\", input: \"1.25\", \
                   cached_input: \"0.125\", cache_write: \"2\", cache_write_1h: \"3\", output: \"10\", \
                   tiers: [(above: 200000, input: \"2.5\", output: \"15\")], \
                   batch: (input: \"0.5\", output: \"5\", tiers: [(above: 200000, input: \"1.25\", output: \"7.5\")]), \
                   open_weight: true, as_of: \"2026-11-10\", source: \"s\", note: \"n\"";
        let entries =
            read("x.ron", &format!("Prices(version: 1, prices: [({row}), ({LINE}, batch_discount: 50)])")).unwrap();
        let text = write(&entries);
        assert!(text.contains(row), "{text}");
        assert_eq!(read("x.ron", &text).unwrap(), entries);
    }

    #[test]
    fn what_is_no_price_is_refused_with_its_place() {
        for (row, expected) in [
            (LINE.replace("\"1\"", "1.0"), "x.ron:1:"),
            (LINE.replace("\"1\"", "\"NaN\""), "`NaN` is not an amount in dollars"),
            (LINE.replace("input", "inputs"), "inputs"),
            (LINE.replace("2026-11-10", "2026-11-31"), "`2026-11-31` is not a date"),
            (LINE.replace(", source: \"s\"", ""), "source"),
            (format!("{LINE}, input: \"2\""), "input"),
            (format!("{LINE}, batch_discount: 50, batch: (input: \"1\")"), "p/m: write either batch_discount or batch"),
        ] {
            let problems = problems(&row);
            assert!(problems.contains(expected), "{expected} not in {problems}");
        }
        assert!(read("x.ron", "Prices(version: 2, prices: [])").is_err());
        assert!(read("x.ron", "Assets(version: 1, prices: [])").is_err());
        assert!(read("x.ron", &"(".repeat(100_000)).is_err());
    }
}
