//! An answer while it grows: its text without stop texts, the calls of tools, tokens and how it ended.

use lumos_core::{BackendError, BackendErrorKind, FinishReason, ToolCall, Usage};
use serde_json::{Map, Value};

/// What a server has said so far.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    text: String,
    /// Bytes of `text` that were handed out.
    released: usize,
    stops: Vec<String>,
    /// Whether a stop text was met: what follows is dropped.
    stopped: bool,
    calls: Vec<PartialCall>,
    /// Pieces that carried text.
    pieces: u64,
    /// Whether there was any sign of an answer: text, thought or a call.
    pub(crate) begun: bool,
    /// Tokens; the last that the server stated.
    pub(crate) usage: Usage,
    /// Why it ended, once it has.
    pub(crate) finish: Option<FinishReason>,
    /// The server's name for it.
    pub(crate) id: Option<String>,
    /// Whether the server said that nothing follows.
    pub(crate) ended: bool,
}

#[derive(Debug)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Answer {
    /// An empty answer that ends before any of `stops`.
    pub(crate) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, ..Self::default() }
    }

    /// Appends text.
    pub(crate) fn push_text(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        self.begun = true;
        self.pieces += 1;
        if self.stopped {
            return;
        }
        let before = self.text.len();
        self.text.push_str(piece);
        self.cut_at_stop(before);
    }

    /// Forgets the text, which was only said on the way to the answer.
    pub(crate) fn restart(&mut self) {
        self.text.clear();
        self.released = 0;
    }

    /// Text came at least once.
    pub(crate) fn has_text(&self) -> bool {
        self.pieces > 0
    }

    /// Pieces so far: a server sends about one per token.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces
    }

    /// The part that is certain to stay and was not handed out yet.
    pub(crate) fn release(&mut self, last: bool) -> &str {
        let from = self.released;
        let held = if last { 0 } else { self.held_back() };
        self.released = self.text.len() - held;
        &self.text[from..self.released]
    }

    /// Adds to the call of a tool that `index` names, or, without an index, to a new one where `id` is given and
    /// to the last one where it is not.
    pub(crate) fn push_call(&mut self, index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str) {
        self.begun = true;
        let id = id.filter(|id| !id.is_empty());
        let position = match index {
            Some(_) => self.calls.iter().position(|call| call.index == index),
            None if id.is_some() => None,
            None => self.calls.len().checked_sub(1),
        };
        let position = position.unwrap_or_else(|| {
            let id = self.next_call_id();
            self.calls.push(PartialCall { index, id, name: String::new(), arguments: String::new() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[position];
        if let Some(id) = id {
            id.clone_into(&mut call.id);
        }
        // Some servers repeat the name with every piece.
        if let Some(name) = name.filter(|name| !name.is_empty() && call.name != *name) {
            call.name.push_str(name);
        }
        call.arguments.push_str(arguments);
    }

    /// A name for the next call, where the server gives none.
    pub(crate) fn next_call_id(&self) -> String {
        format!("call_{}", self.calls.len())
    }

    /// Whether the model asks for a tool.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// How it ended: a stop text of ours wins over what the server says.
    pub(crate) fn finish(&self) -> Option<FinishReason> {
        match self.finish {
            Some(_) if self.stopped => Some(FinishReason::Stop),
            // Several servers end with `stop` although they call a tool.
            Some(FinishReason::Stop) if self.has_calls() => Some(FinishReason::ToolCalls),
            other => other,
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The calls; `Err` when a call's arguments are no JSON.
    pub(crate) fn calls(&self) -> Result<Vec<ToolCall>, BackendError> {
        let whole = |call: &PartialCall| {
            let arguments = match call.arguments.trim() {
                "" => Value::Object(Map::new()),
                text => serde_json::from_str(text).map_err(|error| {
                    let why = match self.finish {
                        Some(FinishReason::Length) => "were cut off by the token limit; raise max_tokens".to_owned(),
                        _ => format!("are no JSON: {error}"),
                    };
                    let message = format!("the arguments that the model gave for tool {:?} {why}", call.name);
                    BackendError::new(BackendErrorKind::Transient, message)
                })?,
            };
            Ok(ToolCall { id: call.id.clone(), name: call.name.clone(), arguments })
        };
        self.calls.iter().map(whole).collect()
    }

    /// Cuts the text before the first stop text that ends after byte `before`.
    fn cut_at_stop(&mut self, before: usize) {
        let first = self.stops.iter().filter_map(|stop| {
            let mut from = before.saturating_sub(stop.len() - 1);
            while !self.text.is_char_boundary(from) {
                from -= 1;
            }
            self.text[from..].find(stop.as_str()).map(|at| from + at)
        });
        if let Some(at) = first.min() {
            self.text.truncate(at.max(self.released));
            self.stopped = true;
        }
    }

    /// Bytes at the end that may be the beginning of a stop text.
    fn held_back(&self) -> usize {
        if self.stopped {
            return 0;
        }
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|end| self.text.ends_with(&stop[..*end])).max().unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0).min(self.text.len() - self.released)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stopped(pieces: &[&str], stops: &[&str]) -> (String, String) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut answer = Answer::new(&stops);
        let mut out = String::new();
        for piece in pieces {
            answer.push_text(piece);
            out.push_str(answer.release(false));
        }
        out.push_str(answer.release(true));
        (out, answer.text().to_owned())
    }

    #[test]
    fn a_stop_text_across_pieces_is_never_shown() {
        for (pieces, wanted) in [
            (&["one E", "N", "D two"][..], "one "),
            (&["one E", "NT"], "one ENT"),
            (&["the EN"], "the EN"),
            (&["END"], ""),
        ] {
            assert_eq!(stopped(pieces, &["END"]), (wanted.to_owned(), wanted.to_owned()), "{pieces:?}");
        }
    }

    #[test]
    fn calls_are_put_together_by_index_or_by_order() {
        let mut answer = Answer::new(&[]);
        answer.push_call(Some(0), Some("a"), Some("look"), "{\"x\"");
        answer.push_call(Some(1), Some("b"), Some("walk"), "");
        answer.push_call(Some(0), None, Some("look"), ": 1}");
        let calls = answer.calls().unwrap();
        assert_eq!(
            (calls[0].id.as_str(), calls[0].name.as_str(), &calls[0].arguments),
            ("a", "look", &json!({"x": 1}))
        );
        assert_eq!((calls[1].name.as_str(), &calls[1].arguments), ("walk", &json!({})));

        let mut answer = Answer::new(&[]);
        answer.push_call(None, Some("a"), Some("look"), "{}");
        answer.push_call(None, Some("b"), Some("walk"), "{");
        answer.push_call(None, None, None, "}");
        assert_eq!(answer.calls().unwrap().len(), 2);
        answer.push_call(None, None, None, "?");
        assert!(answer.calls().unwrap_err().message.contains("\"walk\" are no JSON"));
    }
}
