//! Numbers with a checksum: payment cards (ISO/IEC 7812, Luhn) and IBANs (ISO 13616, mod 97).

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::detect::{pattern, stands_alone};

/// What may stand between two groups of digits: space, dash and their typographic kin.
const SEPARATORS: [char; 7] = [' ', '-', '\u{a0}', '\u{202f}', '\u{2010}', '\u{2011}', '\u{2013}'];

static DIGIT_RUN: LazyLock<Regex> =
    LazyLock::new(|| pattern("[0-9]+(?:[ \\-\u{a0}\u{202f}\u{2010}\u{2011}\u{2013}][0-9]+)*"));
static IBAN_START: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[A-Za-z]{2}[0-9]{2}"));

/// Lengths of IBANs by country (SWIFT IBAN registry, release 99).
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

/// Card numbers: 13 to 19 digits that begin as issued numbers do and pass Luhn's check.
///
/// In a longer run of groups, such as a card followed by its expiry, groups are tried in the layouts in which cards
/// are printed; each group takes part in a bounded number of tries.
pub(super) fn cards(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for run in DIGIT_RUN.find_iter(text) {
        let groups = groups(text, run.range());
        let mut at = 0;
        while at < groups.len() {
            let last = (at..groups.len().min(at + 7)).rev().find(|&last| {
                let whole = at == 0 && last + 1 == groups.len();
                is_card(text, &groups[at..=last], whole)
            });
            if let Some(last) = last {
                found.push(groups[at].start..groups[last].end);
                at = last;
            }
            at += 1;
        }
    }
    found
}

/// The groups of digits in a run.
fn groups(text: &str, run: Range<usize>) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = run.start;
    for (at, separator) in text[run.clone()].match_indices(SEPARATORS) {
        groups.push(start..run.start + at);
        start = run.start + at + separator.len();
    }
    groups.push(start..run.end);
    groups
}

fn is_card(text: &str, groups: &[Range<usize>], whole: bool) -> bool {
    let sizes: Vec<_> = groups.iter().map(Range::len).collect();
    let total: usize = sizes.iter().sum();
    if !(13..=19).contains(&total) {
        return false;
    }
    let printed = matches!(sizes[..], [_] | [4, 4, 4, 4] | [4, 4, 4, 4, 1..=3] | [4, 6, 4 | 5] | [4, 3, 3, 3]);
    let plausible = printed || (whole && sizes.iter().all(|size| *size >= 3));
    let span = groups[0].start..groups[groups.len() - 1].end;
    let digits: Vec<u8> = groups.iter().flat_map(|group| text[group.clone()].bytes().map(|b| b - b'0')).collect();
    plausible && matches!(digits[0], 2..=6) && luhn(&digits) && stands_alone(text, &span, &['.', ',', '/', ':'])
}

/// Luhn's check: from the right, every second digit doubled (and its digits added), the sum is a multiple of ten.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| {
            let value = u32::from(digit) << (at % 2);
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// IBANs: a country's code and length, and the check of ISO 7064 MOD 97-10.
pub(super) fn ibans(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for start in IBAN_START.find_iter(text) {
        let country = start.as_str()[..2].to_ascii_uppercase();
        let Ok(at) = IBAN_LENGTHS.binary_search_by_key(&country.as_str(), |entry| entry.0) else { continue };
        if let Some(span) = iban_at(text, start.start(), IBAN_LENGTHS[at].1) {
            found.push(span);
        }
    }
    found
}

/// The IBAN of `length` characters that begins at `start`; single separators between its characters don't count.
fn iban_at(text: &str, start: usize, length: usize) -> Option<Range<usize>> {
    let mut characters = Vec::with_capacity(length);
    let mut separated = false;
    let mut end = start;
    for (at, c) in text[start..].char_indices() {
        if characters.len() == length {
            break;
        }
        if c.is_ascii_alphanumeric() {
            characters.push(c.to_ascii_uppercase());
            separated = false;
            end = start + at + 1;
        } else if SEPARATORS.contains(&c) && !separated {
            separated = true;
        } else {
            return None;
        }
    }
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if characters.len() < length || text[end..].chars().next().is_some_and(word) {
        return None;
    }
    characters.rotate_left(4);
    let remainder = characters.iter().fold(0u32, |remainder, c| {
        let value = c.to_digit(36).unwrap_or(0);
        (remainder * if value > 9 { 100 } else { 10 } + value) % 97
    });
    (remainder == 1).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(find: fn(&str) -> Vec<Range<usize>>, text: &str) -> Vec<&str> {
        find(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn cards_are_found_and_nothing_else() {
        for (text, wanted) in [
            ("4111 1111 1111 1111", "4111 1111 1111 1111"),
            ("pay 5500-0000-0000-0004 now", "5500-0000-0000-0004"),
            ("340000000000009", "340000000000009"),
            ("3782 822463 10005", "3782 822463 10005"),
            ("6011000000000004.", "6011000000000004"),
            ("30000000000004", "30000000000004"),
            ("4222222222222", "4222222222222"),
            ("3530111333300000", "3530111333300000"),
            ("2223003122003222", "2223003122003222"),
            ("6304000000000000", "6304000000000000"),
            ("4111\u{a0}1111\u{a0}1111\u{a0}1111", "4111\u{a0}1111\u{a0}1111\u{a0}1111"),
            ("card 4111 1111 1111 1111 12 25", "4111 1111 1111 1111"),
            ("17 4111111111111111 3", "4111111111111111"),
            ("(4111-1111-1111-1111)", "4111-1111-1111-1111"),
        ] {
            assert_eq!(all(cards, text), [wanted], "{text}");
        }
        for text in [
            "4111 1111 1111 1112",
            "4111111111111",
            "411111111111111111111",
            "0000 0000 0000 0000",
            "1700000000000",
            "9780306406157",
            "0.4111111111111111",
            "41111111111111116789012",
            "x4111111111111111",
            "4111,1111,1111,1111",
            "2024-01-05 2024-01-06",
            "1234567812345670",
        ] {
            assert!(all(cards, text).is_empty(), "{text}: {:?}", all(cards, text));
        }
    }

    #[test]
    fn one_wrong_digit_or_two_swapped_neighbours_fail_luhn() {
        let card: Vec<u8> = "4539578763621486".bytes().map(|b| b - b'0').collect();
        assert!(luhn(&card));
        for at in 0..card.len() {
            let mut wrong = card.clone();
            wrong[at] = (wrong[at] + 1) % 10;
            assert!(!luhn(&wrong), "digit {at}");
        }
    }

    #[test]
    fn ibans_are_found_and_nothing_else() {
        for (text, wanted) in [
            ("DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
            ("to GB82WEST12345698765432.", "GB82WEST12345698765432"),
            ("fr14 2004 1010 0505 0001 3m02 606", "fr14 2004 1010 0505 0001 3m02 606"),
            ("NO9386011117947 please", "NO9386011117947"),
            ("MT84MALT011000012345MTLCAST001S", "MT84MALT011000012345MTLCAST001S"),
            ("BE68-5390-0754-7034", "BE68-5390-0754-7034"),
            ("CH93 0076 2011 6238 5295 7 is ours", "CH93 0076 2011 6238 5295 7"),
        ] {
            assert_eq!(all(ibans, text), [wanted], "{text}");
        }
        for text in [
            "DE89 3704 0044 0532 0130 01",
            "DE88370400440532013000",
            "DE8937040044053201300",
            "DE893704004405320130000",
            "XX89370400440532013000",
            "ADE89370400440532013000",
            "DE89  3704 0044 0532 0130 00",
            "GB82WEST1234569876543",
        ] {
            assert!(all(ibans, text).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_country_table_is_sorted_for_its_search() {
        assert!(IBAN_LENGTHS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
