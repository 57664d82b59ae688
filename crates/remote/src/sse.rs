//! Server-sent events, put together from the bytes as they come; a line and an event are bounded.

use std::collections::VecDeque;

/// Most bytes of an event.
const MOST_EVENT: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` field; empty when there is none.
    pub(crate) kind: String,
    /// The `data:` lines, joined by line breaks.
    pub(crate) data: String,
}

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A line is not UTF-8.
    #[error("a line of the stream is not UTF-8")]
    Encoding,
    /// An event goes on and on.
    #[error("an event of the stream has more than {MOST_EVENT} bytes")]
    TooLong,
}

/// Reads a stream of events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, whose line feed may still come.
    after_return: bool,
    kind: String,
    data: String,
    has_data: bool,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let length = end.unwrap_or(bytes.len());
            if self.line.len() + self.data.len() + length > MOST_EVENT {
                return Err(Malformed::TooLong);
            }
            self.line.extend_from_slice(&bytes[..length]);
            if let Some(end) = end {
                self.after_return = bytes[end] == b'\r';
                self.end_line()?;
                bytes = &bytes[end + 1..];
            } else {
                bytes = &[];
            }
        }
        Ok(())
    }

    /// Ends the stream; an event whose blank line is missing counts all the same.
    pub(crate) fn finish(&mut self) -> Result<(), Malformed> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        self.dispatch();
        Ok(())
    }

    /// The next complete event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let mut bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&bytes).map_err(|_| Malformed::Encoding)?;
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            self.dispatch();
        } else {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                }
                "event" => value.clone_into(&mut self.kind),
                // A comment (an empty name), an id or a retry time.
                _ => {}
            }
        }
        bytes.clear();
        self.line = bytes;
        Ok(())
    }

    fn dispatch(&mut self) {
        let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        if std::mem::take(&mut self.has_data) {
            self.ready.push_back(Event { kind, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<(String, String)>, Malformed> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.push(piece)?;
        }
        parser.finish()?;
        Ok(std::iter::from_fn(|| parser.next()).map(|event| (event.kind, event.data)).collect())
    }

    fn pair(kind: &str, data: &str) -> (String, String) {
        (kind.to_owned(), data.to_owned())
    }

    #[test]
    fn fields_comments_and_line_ends_are_understood() {
        let stream = b": hello\r\n\r\nevent: a\rdata: 1\rdata:2\r\rid: 7\ndata\n\ndata:  two spaces";
        assert_eq!(read(&[stream]).unwrap(), [pair("a", "1\n2"), pair("", ""), pair("", " two spaces")]);
    }

    #[test]
    fn bad_bytes_and_endless_events_are_errors() {
        assert_eq!(read(&[b"data: \xff\n\n"]), Err(Malformed::Encoding));
        let line = vec![b'a'; MOST_EVENT / 2];
        assert_eq!(read(&[b"data: ", &line, &line]), Err(Malformed::TooLong));
        let mut lines = b"data: ".to_vec();
        lines.extend_from_slice(&line);
        lines.push(b'\n');
        assert_eq!(read(&[&lines, &lines]), Err(Malformed::TooLong));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            text in "(data: [aé\u{20ac}]{0,3}(\r\n|\n|\r)|event: [xy](\n|\r\n)|:c\n|\n|\r\n){0,12}",
            cuts in proptest::collection::vec(0_usize..80, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
