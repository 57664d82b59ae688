//! Figures as people read them: rounded to three digits, with a unit. Unknown is `?` and never zero.

use lumos_core::Usd;
use lumos_core::record::Status;

/// A figure that nobody knows.
pub const UNKNOWN: &str = "?";

/// A figure that does not exist, such as the tokens of a step without a model.
pub const NONE: &str = "—";

/// Microseconds: `3 µs`, `41.2 ms`, `1.24 s`, `2 min 05 s`, `1 h 02 min`.
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        // What would round up to the next unit is shown in it.
        1_000..999_500 => format!("{} ms", three_digits(us, 1_000)),
        999_500..59_950_000 => format!("{} s", three_digits(us, 1_000_000)),
        _ => {
            let seconds = us.saturating_add(500_000) / 1_000_000;
            if seconds < 3_600 {
                format!("{} min {:02} s", seconds / 60, seconds % 60)
            } else {
                let minutes = (seconds + 30) / 60;
                format!("{} h {:02} min", minutes / 60, minutes % 60)
            }
        }
    }
}

/// A time of an attempt. Of one that was interrupted nobody knows more than how long it took at least.
pub fn time(us: u64, status: Status) -> String {
    match us {
        _ if status != Status::Interrupted => duration(us),
        0 => UNKNOWN.to_owned(),
        _ => format!("≥ {}", duration(us)),
    }
}

/// A count with separators: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in powers of 1000: `512 B`, `98.4 MB`.
pub fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..999_500 => format!("{} kB", three_digits(number, 1_000)),
        999_500..999_500_000 => format!("{} MB", three_digits(number, 1_000_000)),
        _ => format!("{} GB", three_digits(number, 1_000_000_000)),
    }
}

/// Dollars: at least cents, and below a dollar three digits that count: `$12.34`, `$0.0123`, `$0.00000278`.
pub fn money(amount: Usd) -> String {
    let nanos = amount.nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let cut = match nanos {
        0 => return "$0".to_owned(),
        1_000_000_000.. => 10_000_000,
        _ => 10u128.pow(nanos.ilog10().saturating_sub(2)),
    };
    let rounded = (nanos + cut / 2) / cut * cut;
    let (dollars, rest) = (rounded / 1_000_000_000, rounded % 1_000_000_000);
    let decimals = format!("{rest:09}");
    let kept = decimals.trim_end_matches('0');
    let dollars = count(u64::try_from(dollars).unwrap_or(u64::MAX));
    if kept.len() <= 2 { format!("{sign}${dollars}.{kept:0<2}") } else { format!("{sign}${dollars}.{kept}") }
}

/// A part of a whole: `42 %`, `<1 %`; `None` when there is no whole.
pub fn share(part: u64, whole: u64) -> Option<String> {
    let percent = u128::from(part) * 100;
    let whole = u128::from(whole);
    let rounded = (percent + whole / 2).checked_div(whole)?;
    Some(if rounded == 0 && part > 0 { "<1 %".to_owned() } else { format!("{rounded} %") })
}

/// `number / unit` with three digits, of which those behind the point are kept even when they are zero.
fn three_digits(number: u64, unit: u64) -> String {
    let value = number as f64 / unit as f64;
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_the_unit_that_suits_them() {
        let shown =
            [0, 3, 999, 1_000, 41_249, 412_000, 999_499, 999_500, 1_240_000, 59_949_999, 59_950_000, 3_599_600_000]
                .map(duration);
        assert_eq!(
            shown,
            [
                "0 µs",
                "3 µs",
                "999 µs",
                "1.00 ms",
                "41.2 ms",
                "412 ms",
                "999 ms",
                "1.00 s",
                "1.24 s",
                "59.9 s",
                "1 min 00 s",
                "1 h 00 min"
            ]
        );
        assert_eq!(duration(125_400_000), "2 min 05 s");
        assert!(duration(u64::MAX).ends_with(" min"));
    }

    #[test]
    fn of_interrupted_attempts_the_least_is_known() {
        assert_eq!([0, 1_000].map(|us| time(us, Status::Succeeded)), ["0 µs", "1.00 ms"]);
        assert_eq!([0, 1_000].map(|us| time(us, Status::Interrupted)), ["?", "≥ 1.00 ms"]);
    }

    #[test]
    fn counts_and_bytes() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 999, 1_500, 98_362_432, 1_117_320_768].map(bytes),
            ["0 B", "999 B", "1.50 kB", "98.4 MB", "1.12 GB"]
        );
    }

    #[test]
    fn money_keeps_what_counts() {
        let shown = |text: &str| money(text.parse().unwrap());
        assert_eq!(shown("0"), "$0");
        assert_eq!(shown("0.000000001"), "$0.000000001");
        assert_eq!(shown("0.000012345"), "$0.0000123");
        assert_eq!(shown("0.0129999"), "$0.013");
        assert_eq!(shown("0.1"), "$0.10");
        assert_eq!(shown("0.9999"), "$1.00");
        assert_eq!(shown("1234.567"), "$1,234.57");
    }

    #[test]
    fn a_share_of_nothing_is_no_share() {
        assert_eq!(share(1, 0), None);
        assert_eq!(share(1, 3).unwrap(), "33 %");
        assert_eq!(share(1, 1_000).unwrap(), "<1 %");
        assert_eq!(share(0, 10).unwrap(), "0 %");
        assert_eq!(share(u64::MAX, u64::MAX).unwrap(), "100 %");
    }
}
