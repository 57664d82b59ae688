//! Phone numbers: E.164 with `+` or `00`, North American numbers, national numbers with a trunk `0`, and bare digits
//! after a word such as `phone`. Dates, decimals, lists of numbers and long identifiers are none.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::detect::{pattern, stands_alone};

static NORTH_AMERICAN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:(\+1|\b001|\b1)[ .\-\u{a0}]?)?(?:(\()[2-9][0-9]{2}\)[ \-.\u{a0}]?|\b[2-9][0-9]{2}[ \-.\u{a0}\u{2011}\u{2013}])([2-9][0-9]{2})[ \-.\u{a0}\u{2011}\u{2013}][0-9]{4}(?:[ ,]{0,2}(?:x|ext\.?|extension) ?[0-9]{1,6})?\b",
    )
});
static NORTH_AMERICAN_SOLID: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\+1[ .\-]?[2-9][0-9]{2}[ .\-]?[2-9][0-9]{6}\b"));
static INTERNATIONAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(\+|\b00)[ ]?[2-9][0-9]{0,14}(?:[ \-./\u{a0}\u{2011}\u{2013}]{0,2}\([0-9]{1,5}\))?(?:[ \-./\u{a0}\u{2011}\u{2013}]?[0-9]{1,8}){0,6}",
    )
});
static TRUNK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:\(0[1-9][0-9]{0,4}\)|\b0[1-9][0-9]{0,4})(?:[ \-/.\u{a0}\u{2011}\u{2013}]{1,2}[0-9]{2,8}){1,4}\b")
});
static MOBILE_SOLID: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b0(?:[67][0-9]{8,9}|1[567][0-9]{8,9})\b"));
static AFTER_WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:tele)?(?:phone|fax|mobile|whatsapp|tel)\b[^0-9+(\n\x00]{0,15}([+(]?[0-9](?:[ .\-/()\u{a0}]{0,2}[0-9]){6,14})\b",
    )
});
/// A day at the start of a candidate, in any of the usual orders.
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[0-9]{1,2}[-./ ][0-9]{1,2}[-./ ](?:19|20)[0-9]{2}|(?:19|20)[0-9]{2}[-./ ][0-9]{1,2}[-./ ][0-9]{1,2})(?:[^0-9]|$)",
    )
});

/// Phone numbers.
pub(super) fn phones(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for hit in NORTH_AMERICAN.captures_iter(text) {
        let whole = hit.get(0).expect("group 0 is the match");
        let marked = hit.get(1).is_some() || hit.get(2).is_some();
        // Three groups between other numbers and spaces are a list, not a phone number.
        let joints: &[char] = if marked { &['-', '.'] } else { &['-', '.', ' ', '/', ','] };
        if !hit[3].ends_with("11") && stands_alone(text, &whole.range(), joints) {
            found.push(whole.range());
        }
    }
    for hit in NORTH_AMERICAN_SOLID.find_iter(text) {
        if stands_alone(text, &hit.range(), &['-', '.']) {
            found.push(hit.range());
        }
    }
    for hit in INTERNATIONAL.captures_iter(text) {
        let whole = hit.get(0).expect("group 0 is the match");
        let digits = digits(whole.as_str());
        let grouped = digits < whole.len() - hit[1].len();
        let (fewest, most) = match (&hit[1], grouped) {
            ("+", _) => (8, 15),
            (_, true) => (10, 17),
            (_, false) => (12, 17),
        };
        if (fewest..=most).contains(&digits) && stands_alone(text, &whole.range(), &['.', '-', ',', '+']) {
            found.push(whole.range());
        }
    }
    for hit in TRUNK.find_iter(text) {
        let dots = hit.as_str().contains('.');
        let in_pairs = hit.as_str().split(['.', ' ', '-']).all(|group| group.len() == 2);
        if (9..=12).contains(&digits(hit.as_str()))
            && (!dots || in_pairs)
            && !DATE.is_match(hit.as_str())
            && stands_alone(text, &hit.range(), &['-', '.', '/', ' ', ','])
        {
            found.push(hit.range());
        }
    }
    for hit in MOBILE_SOLID.find_iter(text) {
        if stands_alone(text, &hit.range(), &['-', '.', ',', ' ', '/']) {
            found.push(hit.range());
        }
    }
    for hit in AFTER_WORD.captures_iter(text) {
        let number = hit.get(1).expect("the group is not optional");
        if !DATE.is_match(number.as_str()) && stands_alone(text, &number.range(), &[',', '-']) {
            found.push(number.range());
        }
    }
    found
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the findings, overlapping ones merged.
    fn all(text: &str) -> Vec<&str> {
        let mut spans = phones(text);
        spans.sort_by_key(|span| span.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if span.start < last.end => last.end = last.end.max(span.end),
                _ => merged.push(span),
            }
        }
        merged.into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn phones_are_found() {
        for (text, wanted) in [
            ("+14155552671", "+14155552671"),
            ("+1 (415) 555-2671", "+1 (415) 555-2671"),
            ("call (415) 555-2671 now", "(415) 555-2671"),
            ("415-555-2671", "415-555-2671"),
            ("415.555.2671.", "415.555.2671"),
            ("reach me: 415 555 2671", "415 555 2671"),
            ("1-800-555-0199", "1-800-555-0199"),
            ("001-406-804-4319", "001-406-804-4319"),
            ("277.541.2154x728", "277.541.2154x728"),
            ("(415)555-2671 ext. 12, please", "(415)555-2671 ext. 12"),
            ("+1-415-555-2671x10482", "+1-415-555-2671x10482"),
            ("888.400.2158x108-Office", "888.400.2158x108"),
            ("+44 20 7946 0958", "+44 20 7946 0958"),
            ("+442079460958", "+442079460958"),
            ("+44 (0)20 7946 0958", "+44 (0)20 7946 0958"),
            ("+49 30 1234567, Berlin", "+49 30 1234567"),
            ("+33 1 23 45 67 89", "+33 1 23 45 67 89"),
            ("+91-98765-43210", "+91-98765-43210"),
            ("+86 138 1234 5678", "+86 138 1234 5678"),
            ("0044 20 7946 0958", "0044 20 7946 0958"),
            ("00442079460958", "00442079460958"),
            ("020 7946 0958", "020 7946 0958"),
            ("(020) 7946 0958", "(020) 7946 0958"),
            ("07911 123456", "07911 123456"),
            ("07911123456", "07911123456"),
            ("030/1234567", "030/1234567"),
            ("01 23 45 67 89", "01 23 45 67 89"),
            ("01.23.45.67.89", "01.23.45.67.89"),
            ("phone: 4155552671", "4155552671"),
            ("Tel. 555-2671", "555-2671"),
        ] {
            assert_eq!(all(text), [wanted], "{text}");
        }
    }

    #[test]
    fn ordinary_numbers_and_dates_are_no_phones() {
        for text in [
            "2024-01-05",
            "05.01.2024",
            "01-02-2024",
            "01/02/2024 12:30",
            "01.02.2024 10",
            "2024-01-05 10:30:00",
            "1234567890",
            "4155552671",
            "1,234,567,890",
            "1 234 567 890",
            "3.14159265358979",
            "order 100200300400",
            "250 300 1200 900",
            "90 250 300 1200",
            "12-34-56",
            "1700000000",
            "1700000000000",
            "911",
            "+5",
            "+12%",
            "20 000 000",
            "10.0.0.1",
            "192.168.100.200",
            "415-911-2671",
            "415-911-2671x12",
            "1001-406-804-4319",
            "277.541.2154xyz",
            "115-555-2671",
            "415-055-2671",
            "0.123456789",
            "4111 1111 1111 1111",
            "978-0-306-40615-7",
            "123-45-6789",
            "week 52, 2012",
            "1,624,383.90",
            "ID-0123456",
            "0012345678",
            "5 + 123456789",
            "2010-02-05 1643690.90 2010-02-12 1641957.44",
        ] {
            assert!(all(text).is_empty(), "{text}: {:?}", all(text));
        }
    }
}
