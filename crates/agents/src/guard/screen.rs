//! Finding and replacing, so that screening a screened text finds nothing.
//!
//! What was found is blanked in a copy of the same length and the detectors run again, until they find nothing: a
//! text that is only seen once its neighbour is gone is found in the same call. Placeholders that are in the text
//! already are blanked first, so a replaced text looks to the detectors as the blanked copy did.

use std::ops::Range;
use std::sync::LazyLock;

use lumos_core::spec::Detector;
use regex::{Regex, RegexBuilder};

use super::detect;
use crate::build::BuildError;

/// What stands for blanked bytes; no pattern and no denied text holds it.
pub(super) const BLANK: char = '\0';
/// Rounds after which a text counts as made to keep the guard busy.
const MOST_ROUNDS: usize = 64;
/// Most bytes that the compiled deny list may take.
const DENY_BYTES: usize = 64 << 20;

static PLACEHOLDERS: LazyLock<Regex> = LazyLock::new(|| {
    let words: Vec<_> = Kind::ALL.iter().map(|kind| kind.word().to_uppercase()).collect();
    Regex::new(&format!(r"\[(?:{})\]", words.join("|"))).expect("words make a pattern")
});

/// Kinds of finding; where findings overlap, the first kind here names them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Iban,
    Card,
    Ssn,
    Email,
    Ip,
    Phone,
    Denied,
}

impl Kind {
    const ALL: [Self; 7] = [Self::Iban, Self::Card, Self::Ssn, Self::Email, Self::Ip, Self::Phone, Self::Denied];

    /// The word in findings, and in capitals and brackets in texts.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ssn => "ssn",
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Phone => "phone",
            Self::Denied => "denied",
        }
    }
}

/// Something found, with offsets in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A screened text.
pub(super) struct Screened {
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
}

/// What to look for.
pub(super) struct Screen {
    detectors: Vec<Detector>,
    deny: Option<Regex>,
}

impl Screen {
    pub(super) fn new(detectors: &[Detector], deny: &[String]) -> Result<Self, BuildError> {
        let mut detectors = detectors.to_vec();
        detectors.sort_unstable();
        detectors.dedup();
        Ok(Self { detectors, deny: deny_pattern(deny)? })
    }

    /// Finds and replaces; an error when the text keeps giving new findings.
    pub(super) fn apply(&self, text: &str) -> Result<Screened, String> {
        let mut copy = text.to_owned();
        let placeholders: Vec<_> = PLACEHOLDERS.find_iter(text).map(|found| found.range()).collect();
        blank(&mut copy, placeholders);
        let mut found: Vec<(Range<usize>, Kind)> = Vec::new();
        for _ in 0..MOST_ROUNDS {
            let new = self.round(&copy);
            if new.is_empty() {
                found.sort_unstable_by_key(|(span, _)| span.start);
                return Ok(replace(text, &found));
            }
            blank(&mut copy, new.iter().map(|(span, _)| span.clone()));
            found.extend(new);
        }
        Err(format!("the text still gives new findings after {MOST_ROUNDS} rounds of screening"))
    }

    /// Disjoint findings of one pass over `text`.
    fn round(&self, text: &str) -> Vec<(Range<usize>, Kind)> {
        let mut found = Vec::new();
        for detector in &self.detectors {
            let (kind, spans) = match detector {
                Detector::Email => (Kind::Email, detect::emails(text)),
                Detector::Phone => (Kind::Phone, super::phone::phones(text)),
                Detector::Card => (Kind::Card, super::numbers::cards(text)),
                Detector::Iban => (Kind::Iban, super::numbers::ibans(text)),
                Detector::Ssn => (Kind::Ssn, detect::ssns(text)),
                Detector::Ip => (Kind::Ip, detect::ips(text)),
            };
            found.extend(spans.into_iter().map(|span| (span, kind)));
        }
        if let Some(deny) = &self.deny {
            found.extend(deny.find_iter(text).map(|hit| (hit.range(), Kind::Denied)));
        }
        found.sort_unstable_by_key(|(span, kind)| (span.start, *kind));
        let mut disjoint: Vec<(Range<usize>, Kind)> = Vec::with_capacity(found.len());
        for (span, kind) in found {
            match disjoint.last_mut() {
                Some((last, named)) if span.start < last.end => {
                    last.end = last.end.max(span.end);
                    *named = (*named).min(kind);
                }
                _ => disjoint.push((span, kind)),
            }
        }
        disjoint
    }
}

/// A pattern for any of the denied texts, without case and with any white space between words.
fn deny_pattern(deny: &[String]) -> Result<Option<Regex>, BuildError> {
    let mut parts = Vec::with_capacity(deny.len());
    for (at, text) in deny.iter().enumerate() {
        let words: Vec<_> = text.split_whitespace().map(regex::escape).collect();
        if words.is_empty() || text.contains(BLANK) {
            return Err(BuildError::new(format!("deny[{at}]"), format!("{text:?} cannot be denied"))
                .with_hint("wanted a text with at least one visible character"));
        }
        parts.push(words.join(r"\s+"));
    }
    if parts.is_empty() {
        return Ok(None);
    }
    // Of two denied texts that start at the same place the longer one is found.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    RegexBuilder::new(&parts.join("|"))
        .case_insensitive(true)
        .size_limit(DENY_BYTES)
        .dfa_size_limit(DENY_BYTES)
        .build()
        .map(Some)
        .map_err(|error| BuildError::new("deny", format!("the list is too large: {error}")).with_hint("shorten it"))
}

/// Overwrites `spans` of `text`, byte for byte.
fn blank(text: &mut String, spans: impl IntoIterator<Item = Range<usize>>) {
    let mut bytes = std::mem::take(text).into_bytes();
    for span in spans {
        bytes[span].fill(BLANK as u8);
    }
    *text = String::from_utf8(bytes).expect("spans begin and end between characters");
}

/// Puts placeholders in the place of disjoint, sorted findings.
fn replace(text: &str, found: &[(Range<usize>, Kind)]) -> Screened {
    let mut out = String::with_capacity(text.len());
    let mut findings = Vec::with_capacity(found.len());
    let (mut byte, mut chars) = (0, 0);
    for (span, kind) in found {
        let before = &text[byte..span.start];
        let start = chars + before.chars().count();
        let end = start + text[span.clone()].chars().count();
        out.push_str(before);
        out.push('[');
        out.push_str(&kind.word().to_uppercase());
        out.push(']');
        findings.push(Finding { kind: *kind, start, end });
        (byte, chars) = (span.end, end);
    }
    out.push_str(&text[byte..]);
    Screened { text: out, findings }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Detector; 6] =
        [Detector::Email, Detector::Phone, Detector::Card, Detector::Iban, Detector::Ssn, Detector::Ip];

    fn screen(deny: &[&str]) -> Screen {
        let deny: Vec<_> = deny.iter().map(|text| (*text).to_owned()).collect();
        Screen::new(&ALL, &deny).unwrap()
    }

    fn redact(text: &str, deny: &[&str]) -> String {
        screen(deny).apply(text).unwrap().text
    }

    #[test]
    fn overlapping_findings_become_one() {
        assert_eq!(redact("secret@example.com", &["secret"]), "[EMAIL]");
        assert_eq!(redact("my secret plan", &["secret", "secret plan"]), "my [DENIED]");
    }

    #[test]
    fn a_finding_behind_a_finding_is_found_in_the_same_call() {
        // The number is part of a longer word until the address before it is gone.
        let text = "x@example.comx 1.2.3.4";
        let once = redact(text, &[]);
        assert_eq!(redact(&once, &[]), once);
    }

    #[test]
    fn placeholders_are_no_findings() {
        let text = "[EMAIL] and [DENIED]";
        let screened = screen(&["email", "denied", "] and"]).apply(text).unwrap();
        assert_eq!((screened.text.as_str(), screened.findings.len()), (text, 0));
    }

    #[test]
    fn denied_texts_are_compared_without_case_in_any_script() {
        assert_eq!(redact("Наш ПАРОЛЬ: (x+y)", &["пароль", "(X+Y)"]), "Наш [DENIED]: [DENIED]");
        assert!(Screen::new(&[], &[" ".into()]).is_err());
        assert!(Screen::new(&[], &["a\0b".into()]).is_err());
    }

    #[test]
    fn offsets_count_characters() {
        let screened = screen(&[]).apply("ééé a@b.org ü 1.2.3.4").unwrap();
        let spans: Vec<_> = screened.findings.iter().map(|f| (f.kind, f.start, f.end)).collect();
        assert_eq!(spans, [(Kind::Email, 4, 11), (Kind::Ip, 14, 21)]);
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,6}",
            "[0-9 .:/@+()-]{0,12}",
            Just("bob@example.com".to_owned()),
            Just("4111 1111 1111 1111".to_owned()),
            Just("DE89370400440532013000".to_owned()),
            Just("+44 20 7946 0958".to_owned()),
            Just("123-45-6789".to_owned()),
            Just("fe80::1".to_owned()),
            Just("10.0.0.1".to_owned()),
            Just("[EMAIL]".to_owned()),
            Just("secret".to_owned()),
            "\\PC{0,4}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn screening_twice_changes_nothing(pieces in prop::collection::vec(piece(), 0..12)) {
            let text = pieces.concat();
            let screen = screen(&["secret", "email", "a"]);
            let once = screen.apply(&text).unwrap();
            let twice = screen.apply(&once.text).unwrap();
            prop_assert_eq!(&twice.text, &once.text);
            prop_assert!(twice.findings.is_empty());
        }

        #[test]
        fn findings_are_sorted_disjoint_and_inside_the_text(pieces in prop::collection::vec(piece(), 0..12)) {
            let text = pieces.concat();
            let mut last = 0;
            for finding in screen(&["secret"]).apply(&text).unwrap().findings {
                prop_assert!(last <= finding.start && finding.start < finding.end);
                last = finding.end;
            }
            prop_assert!(last <= text.chars().count());
        }
    }
}
