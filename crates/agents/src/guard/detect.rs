//! Patterns for e-mail addresses, US social security numbers and IP addresses. All take linear time.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[\p{L}\p{N}_%+][\p{L}\p{N}\p{M}._%+'\-]*@(?:[\p{L}\p{N}](?:[\p{L}\p{N}\p{M}\-]*[\p{L}\p{N}\p{M}])?\.)+(?:xn--[a-z0-9\-]+|\p{L}[\p{L}\p{M}]+)",
    )
});
/// Names of images for dense screens, such as `icon@2x.png`.
static IMAGE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)@[0-9]x\.(?:png|jpe?g|gif|svg|webp|avif)$"));
static SSN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b([0-9]{3})([- ])([0-9]{2})([- ])([0-9]{4})\b"));
static BARE_SSN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:ssn|social security(?: number| no)?)[^0-9\n\x00]{0,12}([0-9]{9})\b"));
static IPV4: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b"));
static IPV6: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})?"));

pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern compiles")
}

/// The character before and the one after `span`.
pub(super) fn around(text: &str, span: &Range<usize>) -> (Option<char>, Option<char>) {
    (text[..span.start].chars().next_back(), text[span.end..].chars().next())
}

/// Whether a number stands by itself: not inside a word, nor joined to other digits by one of `joints`.
pub(super) fn stands_alone(text: &str, span: &Range<usize>, joints: &[char]) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (before, after) = around(text, span);
    if word(before) || word(after) {
        return false;
    }
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let joined_before = before.is_some_and(|c| joints.contains(&c)) && digit(text[..span.start].chars().rev().nth(1));
    let joined_after = after.is_some_and(|c| joints.contains(&c)) && digit(text[span.end..].chars().nth(1));
    !joined_before && !joined_after
}

/// E-mail addresses, in any script.
pub(super) fn emails(text: &str) -> Vec<Range<usize>> {
    EMAIL.find_iter(text).filter(|found| !IMAGE.is_match(found.as_str())).map(|found| found.range()).collect()
}

/// US social security numbers: written with dashes or spaces, or nine digits after the words; numbers that are
/// never issued (area 000, 666 and from 900, group 00, serial 0000) are none.
pub(super) fn ssns(text: &str) -> Vec<Range<usize>> {
    let issued = |area: &str, group: &str, serial: &str| {
        !matches!(area, "000" | "666") && area < "900" && group != "00" && serial != "0000"
    };
    let mut found = Vec::new();
    for hit in SSN.captures_iter(text) {
        let span = hit.get(0).expect("group 0 is the match").range();
        let joints: &[char] = if &hit[2] == " " { &['-', '.', '/', ' '] } else { &['-', '.', '/'] };
        if hit[2] == hit[4] && issued(&hit[1], &hit[3], &hit[5]) && stands_alone(text, &span, joints) {
            found.push(span);
        }
    }
    for hit in BARE_SSN.captures_iter(text) {
        let digits = hit.get(1).expect("the group is not optional");
        let number = digits.as_str();
        if issued(&number[..3], &number[3..5], &number[5..]) {
            found.push(digits.range());
        }
    }
    found
}

/// IPv4 and IPv6 addresses.
pub(super) fn ips(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for hit in IPV4.find_iter(text) {
        if hit.as_str().parse::<Ipv4Addr>().is_ok() && stands_alone(text, &hit.range(), &['.', '-']) {
            found.push(hit.range());
        }
    }
    for hit in IPV6.find_iter(text) {
        let trimmed = hit.as_str().trim_end_matches(':');
        // `fe80::` ends in colons of its own, `fe80::1:` in one that belongs to the sentence.
        let length = if hit.as_str().parse::<Ipv6Addr>().is_ok() { hit.len() } else { trimmed.len() };
        let span = hit.start()..hit.start() + length;
        let address = &text[span.clone()];
        let plausible = address.len() >= 3 && address.bytes().any(|b| b.is_ascii_digit());
        let (before, after) = around(text, &span);
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let after_inside = if length < hit.len() { false } else { inside(after) };
        if plausible && !inside(before) && !after_inside && address.parse::<Ipv6Addr>().is_ok() {
            found.push(span);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(find: fn(&str) -> Vec<Range<usize>>, text: &str) -> Vec<&str> {
        find(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn emails_are_found_and_nothing_else() {
        for (text, wanted) in [
            ("mail bob@example.com.", "bob@example.com"),
            ("<first.last+tag@sub.example.co.uk>", "first.last+tag@sub.example.co.uk"),
            ("'o'brien@example.ie'", "o'brien@example.ie"),
            ("jörg@müller.example,", "jörg@müller.example"),
            ("mailto:a@xn--80ak6aa92e.xn--p1ai", "a@xn--80ak6aa92e.xn--p1ai"),
        ] {
            assert_eq!(all(emails, text), [wanted], "{text}");
        }
        for text in ["@handle", "a@b", "user@localhost", "icon@2x.png", "a @ b.com", "x@.com", "5@3.14", "a@b.c"] {
            assert!(all(emails, text).is_empty(), "{text}: {:?}", all(emails, text));
        }
    }

    #[test]
    fn ssns_are_found_and_nothing_else() {
        for (text, wanted) in [
            ("SSN 123-45-6789.", "123-45-6789"),
            ("no 899 99 9999 more", "899 99 9999"),
            ("ssn: 123456789", "123456789"),
            ("Social Security number is 001010001", "001010001"),
        ] {
            assert_eq!(all(ssns, text), [wanted], "{text}");
        }
        for text in [
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "999-99-9999",
            "123-00-4567",
            "123-45-0000",
            "123-45 6789",
            "1123-45-6789",
            "123-45-67890",
            "123-45-6789-1",
            "2-123-45-6789",
            "123456789",
            "1 123 45 6789",
            "A123-45-6789",
        ] {
            assert!(all(ssns, text).is_empty(), "{text}");
        }
    }

    #[test]
    fn addresses_are_found_and_nothing_else() {
        for (text, wanted) in [
            ("at 192.168.0.1:8080", "192.168.0.1"),
            ("10.0.0.0/8", "10.0.0.0"),
            ("ends with 8.8.8.8.", "8.8.8.8"),
            ("http://[2001:db8::1]/", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("loopback ::1, then", "::1"),
            ("::ffff:192.168.1.1", "::ffff:192.168.1.1"),
            ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
            ("the net 2001:db8:: is", "2001:db8::"),
            ("peer fe80::1: down", "fe80::1"),
        ] {
            let found = all(ips, text);
            assert!(found.contains(&wanted), "{text}: {found:?}");
        }
        for text in [
            "256.1.1.1",
            "1.2.3",
            "1.2.3.4.5",
            "v1.2.3.4",
            "12:30:45",
            "00:1A:2B:3C:4D:5E",
            "std::io",
            "a::b",
            "::",
            "add::bad",
            "3.14",
            "10:45",
            "ratio 1:2:3",
        ] {
            assert!(all(ips, text).is_empty(), "{text}: {:?}", all(ips, text));
        }
    }
}
