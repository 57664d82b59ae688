//! Filters beyond those of `minijinja`: numbers as people write them.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

/// Most decimals that [`fixed`] prints.
const MAX_DECIMALS: u32 = 20;

/// `{{ 3.14159 | fixed(2) }}` is `3.14`: a number with that many decimals (2 by default).
pub(super) fn fixed(value: &Value, decimals: Option<u32>) -> Result<String, Error> {
    let decimals = decimals.unwrap_or(2);
    if decimals > MAX_DECIMALS {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("fixed prints at most {MAX_DECIMALS} decimals")));
    }
    let places = decimals as usize;
    let text = if value.is_integer() {
        let point = if places == 0 { "" } else { "." };
        format!("{value}{point}{:0<places$}", "")
    } else {
        format!("{:.places$}", number(value, "fixed")?)
    };
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    Ok(if is_zero { text.trim_start_matches('-').to_owned() } else { text })
}

/// `{{ 1234567.5 | thousands }}` is `1,234,567.5`; takes a number or the text of one, such as what `fixed` gives.
pub(super) fn thousands(value: &Value) -> Result<String, Error> {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_integer() => value.to_string(),
        None => number(value, "thousands")?.to_string(),
    };
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let (whole, decimals) = match digits.find('.') {
        Some(point) => digits.split_at(point),
        None => (digits, ""),
    };
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("thousands needs a number, not `{text}`")));
    }
    let mut grouped = String::with_capacity(text.len() + whole.len() / 3);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    Ok(format!("{sign}{grouped}{decimals}"))
}

fn number(value: &Value, filter: &str) -> Result<f64, Error> {
    let number = if value.is_number() { f64::try_from(value.clone()).ok() } else { None };
    number.filter(|number| number.is_finite()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("{filter} needs a finite number, not {}", value.kind()))
    })
}
