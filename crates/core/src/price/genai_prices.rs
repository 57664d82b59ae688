//! Reading the price data of genai-prices (`data.json`, both of its layouts; MIT, github.com/pydantic/genai-prices).
//!
//! What that format can say and a catalog can't (prices by the hour of the day, per request, per second of audio) is told
//! as skipped, model by model, instead of being read as something else.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use super::catalog::{Catalog, Entry};
use super::date::Date;
use super::matching;
use super::token::{Batch, Rates, Schedule, Tier, TokenPrice};
use crate::money::Usd;
use crate::problem::Problem;

/// What could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The prices.
    pub entries: Vec<Entry>,
    /// The models without a price that a catalog can hold.
    pub skipped: Vec<Skipped>,
}

/// A model that was left out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Its provider.
    pub provider: String,
    /// Its id there.
    pub model: String,
    /// Why, as a lowercase fragment.
    pub reason: String,
}

#[derive(Deserialize)]
struct Provider {
    id: String,
    #[serde(default)]
    pricing_urls: Option<Vec<String>>,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default, rename = "match")]
    clause: Value,
    #[serde(default)]
    prices: Value,
    #[serde(default)]
    price_variants: Option<Vec<Variant>>,
    #[serde(default)]
    prices_checked: Option<Date>,
}

type Prices = IndexMap<String, Value>;

/// A class's price and its tiers, by rising start.
type ClassPrice = (Usd, Vec<(u64, Usd)>);

#[derive(Deserialize)]
struct Conditional {
    #[serde(default)]
    constraint: Option<Constraint>,
    prices: Prices,
}

#[derive(Deserialize)]
struct Variant {
    when: IndexMap<String, String>,
    prices: Prices,
    #[serde(default)]
    constraint: Option<Constraint>,
}

#[derive(Deserialize)]
struct Constraint {
    #[serde(default)]
    start_date: Option<Date>,
}

#[derive(Deserialize)]
struct Tiered {
    base: Value,
    tiers: Vec<Start>,
}

#[derive(Deserialize)]
struct Start {
    start: u64,
    price: Value,
}

/// Prices of which the unit is not a token of text, without which a text exchange is priced in full all the same.
const BESIDE_TEXT: &[&str] = &["audio", "image", "video", "searches", "pages", "seconds", "characters"];

/// The prices of `text`, a `data.json`; `origin` names it in problems. A model that `known` has under one of its names
/// keeps the name and the aliases that it has there, and an entry whose price is still the same stays as it is. `as_of` is
/// taken where the data doesn't say when a price was checked.
///
/// # Errors
/// What keeps the file from being such data.
pub fn from_genai_prices(origin: &str, text: &str, known: &Catalog, as_of: Date) -> Result<Imported, Vec<Problem>> {
    let providers: Vec<Provider> = serde_json::from_str(text).map_err(|error| {
        let hint = "prices are read from a catalog in RON or from the data.json of genai-prices".to_owned();
        let mut problem = Problem::of_file(origin, format!("this is no data of genai-prices: {error}"), Some(hint));
        problem.line = u32::try_from(error.line()).ok();
        problem.column = u32::try_from(error.column()).ok();
        vec![problem]
    })?;
    let mut imported = Imported { entries: Vec::new(), skipped: Vec::new() };
    for provider in &providers {
        let id = matching::provider(&provider.id);
        let url = provider.pricing_urls.iter().flatten().next();
        let source = url.map_or_else(|| "genai-prices".to_owned(), |url| format!("{url} (genai-prices)"));
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for model in &provider.models {
            // The id of one model must not be an alias of another.
            taken.insert(model.id.to_lowercase());
        }
        for model in &provider.models {
            match entries(&id, &source, model, as_of) {
                Ok(entries) => add(&mut imported, entries, known, &mut taken),
                Err(reason) => {
                    imported.skipped.push(Skipped { provider: id.clone(), model: model.id.clone(), reason });
                }
            }
        }
    }
    Ok(imported)
}

/// Adds the entries of one model under the name by which it is known.
fn add(imported: &mut Imported, entries: Vec<Entry>, known: &Catalog, taken: &mut BTreeSet<String>) {
    for mut entry in entries {
        let own = known.model_called(&entry.provider, &entry.model);
        if let Some(own) = own {
            entry.model.clone_from(&own.model);
            entry.open_weight = own.open_weight;
            let same = known.entries().iter().find(|known| known.key() == entry.key());
            entry.aliases = same.map_or_else(Vec::new, |same| same.aliases.clone());
            if let Some(same) = same.filter(|same| same.price.standard == entry.price.standard) {
                // Older layouts have no batches, and to repeat a price is no newer word about its date or source.
                let is_news = entry.price.batch.is_some() && entry.price.batch != same.price.batch;
                if !is_news {
                    entry = same.clone();
                }
            }
        } else if entry.from.is_none() {
            let is_free = |alias: &String| known.model_called(&entry.provider, alias).is_none();
            entry.aliases.retain(|alias| is_free(alias) && taken.insert(alias.to_lowercase()));
        } else {
            entry.aliases.clear();
        }
        // Two ids of the source can be one model of the catalog; the first is the model's own.
        let is_new = !imported.entries.iter().rev().any(|other| other.key() == entry.key());
        if is_new {
            imported.entries.push(entry);
        }
    }
}

fn entries(provider: &str, source: &str, model: &Model, as_of: Date) -> Result<Vec<Entry>, String> {
    let conditionals: Vec<Conditional> = match &model.prices {
        Value::Array(_) => serde_json::from_value(model.prices.clone()).map_err(|error| error.to_string())?,
        Value::Object(_) => {
            let prices = serde_json::from_value(model.prices.clone()).map_err(|error| error.to_string())?;
            vec![Conditional { constraint: None, prices }]
        }
        _ => Vec::new(),
    };
    let starts: Vec<Option<Date>> = conditionals
        .iter()
        .map(|conditional| match &conditional.constraint {
            None => Ok(None),
            Some(Constraint { start_date: Some(date) }) => Ok(Some(*date)),
            Some(_) => Err("its price depends on the time of day".to_owned()),
        })
        .collect::<Result<_, _>>()?;
    let mut entries = Vec::new();
    for (at, conditional) in conditionals.iter().enumerate() {
        let until = starts.iter().flatten().filter(|start| Some(**start) > starts[at]).min();
        entries.push(Entry {
            provider: provider.to_owned(),
            model: model.id.clone(),
            aliases: aliases(&model.clause, &model.id),
            from: starts[at],
            price: price(&conditional.prices, batch(model, until.copied()))?,
            open_weight: false,
            as_of: model.prices_checked.unwrap_or(as_of),
            source: source.to_owned(),
            note: None,
        });
    }
    if entries.is_empty() { Err("it has no prices".to_owned()) } else { Ok(entries) }
}

/// What differs in a batch, for a price that holds until a day.
fn batch(model: &Model, until: Option<Date>) -> Option<&Prices> {
    let is_batch = |variant: &&Variant| {
        let begins = variant.constraint.as_ref().and_then(|constraint| constraint.start_date);
        let is_in_time = until.is_none_or(|until| begins.is_none_or(|begins| begins < until));
        variant.when.len() == 1 && variant.when.get("processing").is_some_and(|it| it == "batch") && is_in_time
    };
    model.price_variants.iter().flatten().find(is_batch).map(|variant| &variant.prices)
}

fn price(prices: &Prices, batch: Option<&Prices>) -> Result<TokenPrice, String> {
    let standard = schedule(prices)?;
    let batch = batch.map(|differences| {
        let mut all = prices.clone();
        all.extend(differences.iter().map(|(key, value)| (key.clone(), value.clone())));
        schedule(&all)
    });
    let batch = batch.transpose()?.map(|batch| match discount(&standard, &batch) {
        Some(percent) => Batch::Discount(percent),
        None => Batch::Rates(batch),
    });
    let price = TokenPrice { standard, batch };
    let problems = price.problems();
    if problems.is_empty() { Ok(price) } else { Err(problems.join("; ")) }
}

/// The one whole percentage by which every rate is lower, if there is one.
fn discount(standard: &Schedule, batch: &Schedule) -> Option<u8> {
    let all = |schedule: &Schedule| {
        let rates = std::iter::once(schedule.rates).chain(schedule.tiers.iter().map(|tier| tier.rates));
        rates
            .flat_map(|it| [Some(it.input), it.cached_input, it.cache_write, it.cache_write_1h, it.output])
            .collect::<Vec<_>>()
    };
    let above = |schedule: &Schedule| schedule.tiers.iter().map(|tier| tier.above).collect::<Vec<_>>();
    if above(standard) != above(batch) {
        return None;
    }
    let pairs: Vec<_> = all(standard).into_iter().zip(all(batch)).collect();
    (1..=100u8).find(|percent| {
        pairs.iter().all(|pair| match pair {
            (Some(full), Some(less)) => full.nanos() * i128::from(100 - percent) == less.nanos() * 100,
            (full, less) => full == less,
        })
    })
}

fn schedule(prices: &Prices) -> Result<Schedule, String> {
    let classes = ["input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok"];
    let is_beside = |key: &str| BESIDE_TEXT.iter().any(|word| key.contains(word));
    if let Some(other) = prices.keys().find(|key| !classes.contains(&key.as_str()) && !is_beside(key)) {
        return Err(format!("`{other}` is no price of tokens"));
    }
    let mut read: [Option<ClassPrice>; 5] = Default::default();
    for (class, place) in classes.iter().zip(&mut read) {
        let value = prices.get(*class).filter(|value| !value.is_null());
        *place = value.map(class_price).transpose().map_err(|error| format!("{class}: {error}"))?;
    }
    if read[0].is_none() {
        return Err("it has no price per token of input".to_owned());
    }
    let mut starts: Vec<u64> = read.iter().flatten().flat_map(|(_, tiers)| tiers.iter().map(|tier| tier.0)).collect();
    starts.sort_unstable();
    starts.dedup();
    let rates = |above: Option<u64>| {
        let at = |class: &Option<ClassPrice>| {
            let (base, tiers) = class.as_ref()?;
            let tier = tiers.iter().rev().find(|(start, _)| above.is_some_and(|above| *start <= above));
            Some(tier.map_or(*base, |(_, price)| *price))
        };
        Rates {
            input: at(&read[0]).unwrap_or_default(),
            cached_input: at(&read[1]),
            cache_write: at(&read[2]),
            cache_write_1h: at(&read[3]),
            output: at(&read[4]),
        }
    };
    let tiers = starts.iter().map(|start| Tier { above: *start, rates: rates(Some(*start)) }).collect();
    Ok(Schedule { rates: rates(None), tiers })
}

fn class_price(value: &Value) -> Result<ClassPrice, String> {
    if !value.is_object() {
        return Ok((amount(value)?, Vec::new()));
    }
    let tiered: Tiered = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    let tiers = tiered.tiers.iter().map(|tier| Ok((tier.start, amount(&tier.price)?)));
    let mut tiers: Vec<(u64, Usd)> = tiers.collect::<Result<_, String>>()?;
    tiers.sort_by_key(|tier| tier.0);
    Ok((amount(&tiered.base)?, tiers))
}

/// A JSON number, or a number as a text, as money. Sums of floats leave digits such as those of 1.0399999999999998
/// behind: it is rounded to nine decimals.
fn amount(value: &Value) -> Result<Usd, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other => return Err(format!("`{other}` is no amount")),
    };
    decimal(&text).ok_or_else(|| format!("`{text}` is no amount"))
}

/// Reads `12.5`, `1e-5` and the like, rounded half to even to nine decimals.
fn decimal(text: &str) -> Option<Usd> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 30 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unscaled = Usd::from_nanos(digits.parse().ok()?);
    let shift = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = |shift: u32| 10u64.checked_pow(shift);
    match shift {
        0.. => unscaled.scaled(power(shift.unsigned_abs())?, 1),
        _ => power(shift.unsigned_abs()).map_or(Some(Usd::ZERO), |power| unscaled.scaled(1, power)),
    }
}

/// The names that a clause accepts as they are or as a beginning. A clause with exceptions says more than names can, and
/// gives none.
fn aliases(clause: &Value, id: &str) -> Vec<String> {
    let mut names = Vec::new();
    let clauses = match clause.get("or") {
        Some(Value::Array(clauses)) => clauses.as_slice(),
        _ => std::slice::from_ref(clause),
    };
    for clause in clauses {
        for word in ["equals", "starts_with"] {
            if let Some(name) = clause.get(word).and_then(Value::as_str) {
                names.push(name.trim_end_matches(['-', '@', ':', '.']).to_owned());
            }
        }
    }
    let mut seen: BTreeSet<String> = BTreeSet::from([id.to_lowercase()]);
    names.retain(|name| !name.is_empty() && seen.insert(name.to_lowercase()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both layouts, with what each can say.
    const DATA: &str = r#"[
      {"id": "google", "name": "Google", "pricing_urls": ["https://g/pricing", "https://g/2"], "models": [
        {"id": "tiered", "match": {"or": [{"starts_with": "tiered-"}, {"equals": "tiered-1"}, {"equals": "plain"}, {"regex": "^x"}]},
         "prices": {"input_mtok": {"base": 1.25, "tiers": [{"start": 400000, "price": 5}, {"start": 200000, "price": 2.5}]},
                    "output_mtok": {"base": 10, "tiers": [{"start": 200000, "price": 15}]}, "web_searches_kcount": 35},
         "price_variants": [
           {"when": {"service_tier": "flex"}, "prices": {"input_mtok": 0.1}},
           {"when": {"processing": "batch"}, "constraint": {"start_date": "2026-10-14"}, "prices": {"output_mtok": 5}}]},
        {"id": "plain", "match": {"equals": "plain"}, "prices_checked": "2026-05-01",
         "prices": {"input_mtok": 1e-5, "cache_read_mtok": "1.0399999999999998", "output_mtok": 3}},
        {"id": "hours", "match": {"equals": "hours"}, "prices": [
          {"prices": {"input_mtok": 1, "output_mtok": 2}},
          {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 2, "output_mtok": 4}}]},
        {"id": "requests", "prices": {"input_mtok": 1, "output_mtok": 2, "requests_kcount": 5}},
        {"id": "free", "prices": {}},
        {"id": "wrong", "prices": {"input_mtok": -1}}
      ]},
      {"id": "p", "models": [
        {"id": "dated", "match": {"starts_with": "dated"}, "prices": [
          {"prices": {"input_mtok": 2, "output_mtok": 8}},
          {"constraint": {"start_date": "2026-10-20"}, "prices": {"input_mtok": 1, "output_mtok": 4}}],
         "price_variants": [
           {"when": {"processing": "batch"}, "constraint": {"start_date": "2026-10-20"}, "prices": {"input_mtok": 0.5, "output_mtok": 2}},
           {"when": {"processing": "batch"}, "constraint": {"start_date": "2026-10-14"}, "prices": {"input_mtok": 1.5, "output_mtok": 6}}]},
        {"id": "vendor/known-instruct", "match": {"equals": "k"}, "prices": {"input_mtok": 7}}
      ]}
    ]"#;

    fn imported() -> Imported {
        let known = "Prices(version: 1, prices: [(provider: \"p\", model: \"known\", aliases: [\"Vendor/Known-Instruct\"], \
                     input: \"6\", open_weight: true, as_of: \"2026-01-01\", source: \"s\", note: \"n\")])";
        let known = Catalog::parse("k.ron", known).unwrap();
        from_genai_prices("data.json", DATA, &known, "2026-11-10".parse().unwrap()).unwrap()
    }

    #[test]
    fn tiers_dates_batches_and_names_are_read() {
        let imported = imported();
        let catalog = Catalog::new(imported.entries).unwrap();
        insta::assert_snapshot!(catalog.to_ron(), @r#"
        Prices(
            version: 1,
            prices: [
                (provider: "google", model: "plain", input: "0.00001", cached_input: "1.04", output: "3", as_of: "2026-05-01", source: "https://g/pricing (genai-prices)"),
                (provider: "google", model: "tiered", aliases: ["tiered-1"], input: "1.25", output: "10", tiers: [(above: 200000, input: "2.5", output: "15"), (above: 400000, input: "5", output: "15")], batch: (input: "1.25", output: "5", tiers: [(above: 200000, input: "2.5", output: "5"), (above: 400000, input: "5", output: "5")]), as_of: "2026-11-10", source: "https://g/pricing (genai-prices)"),
                (provider: "p", model: "dated", input: "2", output: "8", batch_discount: 25, as_of: "2026-11-10", source: "genai-prices"),
                (provider: "p", model: "dated", from: "2026-10-20", input: "1", output: "4", batch_discount: 50, as_of: "2026-11-10", source: "genai-prices"),
                (provider: "p", model: "known", aliases: ["Vendor/Known-Instruct"], input: "7", open_weight: true, as_of: "2026-11-10", source: "genai-prices"),
            ],
        )
        "#);
    }

    #[test]
    fn a_price_that_is_still_the_same_stays_as_it_is() {
        let known = "Prices(version: 1, prices: [(provider: \"p\", model: \"dated\", input: \"2\", output: \"8\", \
                     batch_discount: 25, as_of: \"2026-01-01\", source: \"s\", note: \"n\")])";
        let known = Catalog::parse("k.ron", known).unwrap();
        let without_batches = DATA.replace("\"processing\"", "\"service_tier\"");
        for data in [DATA, &without_batches] {
            let imported = from_genai_prices("d.json", data, &known, "2026-11-10".parse().unwrap()).unwrap();
            assert!(imported.entries.contains(&known.entries()[0]));
        }
        let dearer = DATA.replace("\"input_mtok\": 2, \"output_mtok\": 8", "\"input_mtok\": 3, \"output_mtok\": 8");
        let imported = from_genai_prices("d.json", &dearer, &known, "2026-11-10".parse().unwrap()).unwrap();
        let entry = imported.entries.iter().find(|entry| entry.key() == ("p", "dated", None)).unwrap();
        assert_eq!((entry.as_of.to_string().as_str(), entry.note.as_deref()), ("2026-11-10", None));
    }

    #[test]
    fn what_a_catalog_cannot_hold_is_told() {
        let skipped: Vec<String> =
            imported().skipped.iter().map(|it| format!("{}/{}: {}", it.provider, it.model, it.reason)).collect();
        insta::assert_snapshot!(skipped.join("\n"), @r"
        google/hours: its price depends on the time of day
        google/requests: `requests_kcount` is no price of tokens
        google/free: it has no price per token of input
        google/wrong: input_mtok: `-1` is no amount
        ");
    }

    #[test]
    fn what_is_no_such_data_is_refused() {
        for text in ["", "{}", "[{\"id\": \"p\"}]", "Prices(version: 1, prices: [])", "[{\"id\": 1, \"models\": []}]"] {
            let problems =
                from_genai_prices("d.json", text, &Catalog::default(), "2026-11-10".parse().unwrap()).unwrap_err();
            assert!(problems[0].message.starts_with("this is no data of genai-prices"), "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_to_nine_places() {
        for (text, expected) in [
            ("0.15", "0.15"),
            ("1e-5", "0.00001"),
            ("1.5E+2", "150"),
            ("1.0399999999999998", "1.04"),
            ("0.0000000005", "0"),
            ("0.0000000015", "0.000000002"),
            ("1e-40", "0"),
        ] {
            assert_eq!(decimal(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "-1", "+1", ".", "1e", "1e400", "NaN", "0x1", "1 ", "1e99999999999"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
