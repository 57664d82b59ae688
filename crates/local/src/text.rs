//! Puts an answer together from the bytes of its tokens: whole characters only, and nothing of a stop text.

/// An answer while it grows.
pub(crate) struct AnswerText {
    /// What is decoded so far.
    text: String,
    /// Bytes at the end that do not make a character yet.
    pending: Vec<u8>,
    /// Bytes of `text` that were handed out.
    released: usize,
    stops: Vec<String>,
}

impl AnswerText {
    /// An empty answer that ends before any of `stops`.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { text: String::new(), pending: Vec::new(), released: 0, stops }
    }

    /// Appends the bytes of a token; true when a stop text is complete, which ends the answer.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let before = self.text.len();
        self.pending.extend_from_slice(bytes);
        self.decode(false);
        self.cut_at_stop(before)
    }

    /// Ends the answer: bytes that never became a character turn into U+FFFD. True when that completes a stop text.
    pub(crate) fn finish(&mut self) -> bool {
        let before = self.text.len();
        self.decode(true);
        let stopped = self.cut_at_stop(before);
        // Nothing can follow that would make a stop text of it.
        self.stops.clear();
        stopped
    }

    /// The part that is certain to stay and was not handed out yet.
    pub(crate) fn release(&mut self) -> &str {
        let from = self.released;
        self.released = self.text.len() - self.held_back();
        &self.text[from..self.released]
    }

    /// The whole answer.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn decode(&mut self, last: bool) {
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    self.text.push_str(valid);
                    rest = &[];
                }
                Err(error) => {
                    let (valid, bad) = rest.split_at(error.valid_up_to());
                    self.text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    match error.error_len() {
                        Some(length) => {
                            self.text.push(char::REPLACEMENT_CHARACTER);
                            rest = &bad[length..];
                        }
                        None if last => {
                            self.text.push(char::REPLACEMENT_CHARACTER);
                            rest = &[];
                        }
                        None => {
                            rest = bad;
                            break;
                        }
                    }
                }
            }
        }
        let keep = rest.len();
        self.pending.drain(..self.pending.len() - keep);
    }

    /// Cuts the answer before the first stop text that ends after byte `before`.
    fn cut_at_stop(&mut self, before: usize) -> bool {
        let first = self
            .stops
            .iter()
            .filter_map(|stop| {
                let mut from = before.saturating_sub(stop.len() - 1);
                while !self.text.is_char_boundary(from) {
                    from -= 1;
                }
                self.text[from..].find(stop.as_str()).map(|at| from + at)
            })
            .min();
        if let Some(at) = first {
            self.text.truncate(at);
            self.pending.clear();
            self.stops.clear();
        }
        first.is_some()
    }

    /// Bytes at the end that may be the beginning of a stop text.
    fn held_back(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|end| self.text.ends_with(&stop[..*end])).max().unwrap_or(0)
        };
        let held = self.stops.iter().map(longest).max().unwrap_or(0);
        // What is out cannot be taken back: an earlier release may already have passed a shorter beginning.
        held.min(self.text.len() - self.released)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, String, bool) {
        let mut answer = AnswerText::new(stops.iter().map(ToString::to_string).collect());
        let mut released = Vec::new();
        let mut stopped = false;
        for piece in pieces {
            stopped = answer.push(piece);
            released.push(answer.release().to_owned());
            if stopped {
                break;
            }
        }
        if !stopped {
            stopped = answer.finish();
            released.push(answer.release().to_owned());
        }
        (released, answer.into_text(), stopped)
    }

    #[test]
    fn a_character_split_between_tokens_comes_out_whole() {
        let euro = "€".as_bytes();
        let (released, text, _) = run(&[], &[b"1 ", &euro[..1], &euro[1..2], &euro[2..], b"!"]);
        assert_eq!(released, ["1 ", "", "", "€", "!", ""]);
        assert_eq!(text, "1 €!");
    }

    #[test]
    fn impossible_bytes_become_replacement_characters() {
        let (_, text, _) = run(&[], &[b"a\xFFb", b"\xE2\x82", b"c", b"\xF0\x9F"]);
        assert_eq!(text, "a\u{FFFD}b\u{FFFD}c\u{FFFD}");
    }

    #[test]
    fn a_stop_text_across_tokens_is_never_shown() {
        let (released, text, stopped) = run(&["END", "\n\n"], &[b"one E", b"N", b"T\n", b"two EN", b"D three"]);
        assert!(stopped);
        assert_eq!(text, "one ENT\ntwo ");
        assert_eq!(released, ["one ", "", "ENT", "\ntwo ", ""]);
    }

    #[test]
    fn a_beginning_of_a_stop_text_is_shown_when_the_answer_ends_there() {
        let (released, text, stopped) = run(&["END"], &[b"the EN"]);
        assert_eq!((released.concat(), text.as_str(), stopped), ("the EN".to_owned(), "the EN", false));
    }

    proptest! {
        #[test]
        fn pieces_make_up_the_text_before_the_first_stop(
            text in "[abé€]{0,24}", cuts in proptest::collection::vec(0_usize..60, 0..8), stop in "[abé]{1,3}",
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (released, got, stopped) = run(&[&stop], &pieces);
            prop_assert_eq!(&released.concat(), &got);
            prop_assert_eq!(stopped, text.contains(&stop));
            prop_assert_eq!(got.as_str(), text.split(&stop).next().unwrap_or_default());
        }
    }
}
