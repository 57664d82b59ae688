//! Figures and conditions in words.

use lumos_core::spec::{Bounds, FigureSpec, GivenSpec, RangeSpec};
use serde_json::Value;

use super::scan::Truth;
use crate::statistics::Estimate;

/// A number to three digits that count, with its unit.
pub(super) fn amount(number: f64, unit: &str) -> String {
    let mut digits = digits(number);
    // Cents are written as such.
    if unit == "$" && digits.len() >= 2 && digits.as_bytes()[digits.len() - 2] == b'.' {
        digits.push('0');
    }
    with_unit(digits, unit)
}

fn with_unit(digits: String, unit: &str) -> String {
    match unit {
        "" => digits,
        "$" => match digits.strip_prefix('-') {
            Some(rest) => format!("-${rest}"),
            None => format!("${digits}"),
        },
        unit => format!("{digits} {unit}"),
    }
}

fn digits(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs().log10().floor() as i32;
    // Of large numbers, too, three digits count.
    let step = 10_f64.powi((magnitude - 2).max(0));
    let rounded = if magnitude > 2 { (number / step).round() * step } else { number };
    let decimals = (2 - magnitude).clamp(0, 12) as usize;
    let text = format!("{rounded:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = grouped(whole);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
}

/// A whole number with commas between thousands.
fn grouped(whole: &str) -> String {
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("-", rest));
    let digits = whole.char_indices().flat_map(|(at, digit)| {
        let comma = (at > 0 && (whole.len() - at) % 3 == 0).then_some(',');
        comma.into_iter().chain([digit])
    });
    sign.chars().chain(digits).collect()
}

/// A value of a range: in full where only whole numbers mean something, so that a threshold is not rounded past itself.
fn ranged(range: &RangeSpec, number: f64) -> String {
    if range.whole { with_unit(grouped(&format!("{number:.0}")), &range.unit) } else { amount(number, &range.unit) }
}

/// A value of a choice.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Number(number) => amount(number.as_f64().unwrap_or_default(), ""),
        other => other.to_string(),
    }
}

/// A value as it is, to find it again.
pub(super) fn exact(value: &Value) -> String {
    match value.as_f64() {
        Some(number) => number.to_string(),
        None => self::value(value),
    }
}

/// What is given, with its value.
pub(super) fn is(given: &GivenSpec, value: &Value) -> String {
    match (given, value.as_f64()) {
        (GivenSpec::Range(range), Some(number)) => format!("{} is {}", range.says, ranged(range, number)),
        _ => format!("{} is {}", given.says(), self::value(value)),
    }
}

/// Between which ends something is; an absent one is as far as was looked.
pub(super) fn stretch(given: &GivenSpec, ends: (Option<f64>, Option<f64>)) -> String {
    let shown = |number: f64| match given {
        GivenSpec::Range(range) => ranged(range, number),
        GivenSpec::OneOf { .. } => amount(number, ""),
    };
    match (ends.0.map(shown), ends.1.map(shown)) {
        (Some(low), Some(high)) if low == high => low,
        (Some(low), Some(high)) => format!("between {low} and {high}"),
        (Some(low), None) => format!("at least {low}"),
        (None, Some(high)) => format!("at most {high}"),
        (None, None) => match given {
            GivenSpec::Range(range) => format!("between {} and {}", shown(range.from), shown(range.to)),
            GivenSpec::OneOf { .. } => "any of them".to_owned(),
        },
    }
}

/// What a figure must be.
pub(super) fn needs(bounds: Bounds, unit: &str) -> String {
    match (bounds.least, bounds.most) {
        (Some(least), Some(most)) if least.to_bits() == most.to_bits() => amount(least, unit),
        (Some(least), Some(most)) => format!("between {} and {}", amount(least, unit), amount(most, unit)),
        (Some(least), None) => format!("at least {}", amount(least, unit)),
        (None, Some(most)) => format!("at most {}", amount(most, unit)),
        (None, None) => "anything".to_owned(),
    }
}

/// A condition where nothing that is varied decides: what the figure must be, with its interval where that leaves it open.
pub(super) fn open(spec: &FigureSpec, bounds: Bounds, figure: Option<Estimate>) -> String {
    let ends = figure.and_then(|figure| Some((figure.low?, figure.high?)));
    let interval = match (ends, Truth::of(bounds, figure)) {
        (Some((low, high)), Truth::Unclear) => {
            format!(", which its interval from {} leaves open", between(low, high, &spec.unit))
        }
        (None, Truth::Unclear) => ", which is not known".to_owned(),
        _ => String::new(),
    };
    format!("{} is {}{interval}", spec.says, needs(bounds, &spec.unit))
}

/// What is added to a condition under which the figure may be what it must, but need not.
pub(super) fn perhaps(spec: &FigureSpec, bounds: Bounds) -> String {
    format!("even then {} is {} in a part of its interval only", spec.says, needs(bounds, &spec.unit))
}

fn between(low: f64, high: f64, unit: &str) -> String {
    format!("{} to {}", amount(low, if unit == "$" { unit } else { "" }), amount(high, unit))
}

/// A figure with how far it may be off, and whether it is known everywhere.
pub(super) fn range(value: f64, (low, high): (f64, f64), unit: &str, is_known: bool) -> String {
    let inner = if unit == "$" { unit } else { "" };
    let (shown, low, high) = (amount(value, inner), amount(low, inner), amount(high, inner));
    let ends = (low != shown || high != shown).then(|| format!("{low}–{high}"));
    let unknown = (!is_known).then(|| "unknown at some of it".to_owned());
    let within: Vec<String> = ends.into_iter().chain(unknown).collect();
    if within.is_empty() { amount(value, unit) } else { format!("{} ({})", amount(value, unit), within.join(", ")) }
}

/// All values of a range.
pub(super) fn given(range: &RangeSpec) -> String {
    let within = |number: f64| {
        let unit = if range.unit == "$" { "$" } else { "" };
        ranged(&RangeSpec { unit: unit.to_owned(), ..range.clone() }, number)
    };
    format!("{} ({}–{})", ranged(range, range.at), within(range.from), within(range.to))
}
