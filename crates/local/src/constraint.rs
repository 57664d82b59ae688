//! Structured answers: which tokens may come next so that the whole answer has the required shape.
//!
//! llguidance computes the masks; the trie of the vocabulary's bytes that it needs is built here from the GGUF
//! file's own vocabulary. JSON is compact: no whitespace between its parts, so an answer cannot get lost in it.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use lumos_core::{BackendError, OutputFormat};
use serde_json::{Value, json};
use toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::error::{Error, Result};
use crate::vocabulary::Vocabulary;

/// With this many spare tokens or fewer, every choice is checked for an end in time; with more, now and then.
const CLOSE: u64 = 64;

/// Makes constraints for one vocabulary.
pub(crate) struct Constraints {
    factory: ParserFactory,
    landing: Arc<Landing>,
}

/// What steers an answer to its end when few tokens are left.
struct Landing {
    /// [`closing_rank`] of each token.
    rank: Vec<u8>,
    /// The tokens that end an answer.
    ends: SimpleVob,
}

/// The state of one constrained answer.
pub(crate) struct Constraint {
    matcher: Matcher,
    landing: Arc<Landing>,
    /// When this few tokens are left, the shortest way to the end is worked out again.
    next_check: u64,
    /// Whether quotes and brackets lead to the end.
    is_json: bool,
    /// Whether the answer takes that way from here on.
    ending: bool,
}

struct Env {
    trie: TokTrie,
    vocabulary: Arc<Vocabulary>,
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let canonical = std::str::from_utf8(bytes).ok().and_then(|text| self.vocabulary.encode(text).ok());
        canonical
            // A tokenizer that normalizes or prefixes a space would not give the bytes back.
            .filter(|tokens| self.trie.decode_raw(tokens) == bytes)
            .unwrap_or_else(|| self.trie.greedy_tokenize(bytes))
    }
}

impl Constraints {
    /// Prepares the vocabulary; takes some hundred milliseconds for a large one.
    pub(crate) fn new(vocabulary: &Arc<Vocabulary>) -> Result<Self> {
        let internal = |error: &dyn std::fmt::Display| {
            Error::Internal(format!("the vocabulary cannot be used for structured answers: {error}"))
        };
        let mut words: Vec<Vec<u8>> = (0..vocabulary.len() as u32).map(|id| vocabulary.bytes(id).to_vec()).collect();
        for (id, name) in vocabulary.controls() {
            words[*id as usize] = [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat();
        }
        let ends = vocabulary.ends();
        let info = TokRxInfo::new(words.len() as u32, ends[0]);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
        let rank = words.iter().map(|word| closing_rank(word)).collect();
        let landing = Arc::new(Landing { rank, ends: trie.eos_token_set() });
        let env: TokEnv = Arc::new(Env { trie, vocabulary: Arc::clone(vocabulary) });
        let capabilities = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&env, capabilities, &slices).map_err(|error| internal(&error))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, landing })
    }

    /// The constraint that `format` asks for; `None` for free text.
    pub(crate) fn compile(&self, format: &OutputFormat) -> Result<Option<Constraint>> {
        let Some(matcher) = matcher(&self.factory, format)? else { return Ok(None) };
        let is_json = matches!(format, OutputFormat::JsonSchema(_));
        Ok(Some(Constraint {
            matcher,
            landing: Arc::clone(&self.landing),
            next_check: u64::MAX,
            is_json,
            ending: false,
        }))
    }
}

/// Whether answers of local models can be given this format, which does not depend on the model.
///
/// # Errors
/// `InvalidRequest`, with the reason, when they cannot.
pub fn check_format(format: &OutputFormat) -> std::result::Result<(), BackendError> {
    let slices = llguidance::earley::SlicedBiasComputer::general_slices();
    let bytes = toktrie::ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new(&bytes, InferenceCapabilities::default(), &slices)
        .map_err(|error| Error::Internal(error.to_string()))?;
    factory.quiet();
    factory.limits_mut().verbose_errors = false;
    matcher(&factory, format)?;
    Ok(())
}

/// What follows an answer's shape; `None` for free text.
fn matcher(factory: &ParserFactory, format: &OutputFormat) -> Result<Option<Matcher>> {
    let (what, grammar) = match format {
        OutputFormat::Text => return Ok(None),
        OutputFormat::JsonSchema(schema) => ("JSON schema", json_grammar(schema)?),
        OutputFormat::Regex(pattern) => ("regular expression", TopLevelGrammar::from_regex(pattern)),
        OutputFormat::Choice(choices) => ("choice", choice_grammar(choices)?),
    };
    let refuse = |error: String| {
        let reason = error.lines().next().unwrap_or_default().to_owned();
        Error::Invalid(format!("the {what} cannot steer a local model: {reason}"))
    };
    let mut matcher = Matcher::new(factory.create_parser(grammar));
    if let Some(error) = matcher.get_error() {
        return Err(refuse(error));
    }
    if let Some(warning) = matcher.grammar_warnings().into_iter().next() {
        return Err(refuse(warning));
    }
    Ok(Some(matcher))
}

fn json_grammar(schema: &Value) -> Result<TopLevelGrammar> {
    let mut schema = schema.clone();
    let Some(object) = schema.as_object_mut() else {
        return Err(Error::Invalid("a JSON schema is an object, e.g. {\"type\": \"object\"}".to_owned()));
    };
    object.insert(
        "x-guidance".to_owned(),
        json!({ "item_separator": ",", "key_separator": ":", "whitespace_flexible": false, "coerce_one_of": false }),
    );
    Ok(TopLevelGrammar::from_json_schema(schema))
}

fn choice_grammar(choices: &[String]) -> Result<TopLevelGrammar> {
    if choices.is_empty() || choices.iter().any(String::is_empty) {
        return Err(Error::Invalid("a choice needs at least one text, and none of them may be empty".to_owned()));
    }
    // A JSON string is a Lark string: the same quotes and escapes.
    let options: Vec<String> = choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
    Ok(TopLevelGrammar::from_lark(format!("start: {}", options.join(" | "))))
}

/// How well a token closes what is open in a JSON text; greater is better.
///
/// A quote comes first: inside a string, brackets are text and close nothing. At the place of a value it opens an
/// empty string, which the next quote closes.
fn closing_rank(word: &[u8]) -> u8 {
    let closers = word.iter().filter(|byte| matches!(byte, b'"' | b']' | b'}')).count();
    match word.first() {
        Some(b'"') if closers == word.len() => 16 + closers.min(8) as u8,
        Some(b']' | b'}') if closers == word.len() => 2 + closers.min(8) as u8,
        // Rather a digit than a sign, which would have to be followed by one.
        Some(b'0'..=b'9') if word.len() == 1 => 1,
        _ => 0,
    }
}

impl Constraint {
    /// The next token of the answer, chosen by `sample` from those that its shape allows; `None` when the answer is
    /// complete. `left` is how many tokens may still follow, this one included.
    ///
    /// When they become few, a choice after which the shape could not be completed in time gives way to the shortest
    /// end.
    pub(crate) fn choose(&mut self, left: u64, sample: impl FnOnce(&SimpleVob) -> Result<u32>) -> Result<Option<u32>> {
        if self.matcher.is_stopped() {
            let reason = self.matcher.stop_reason();
            return if reason.is_ok() { Ok(None) } else { Err(failed(&reason)) };
        }
        let mask = self.matcher.compute_mask().map_err(|error| failed(&error))?;
        if self.ending {
            return Ok(self.closing_token(&mask));
        }
        let token = sample(&mask)?;
        if left > self.next_check {
            return Ok(Some(token));
        }
        let mut ahead = self.matcher.clone();
        ahead.consume_token(token).map_err(|error| failed(&error))?;
        let end = self.shortest_end(ahead, left)?;
        if end >= left {
            if !self.is_json {
                // The way to the end of a pattern is only guessed at: the model may find a better one.
                self.next_check = left / 2;
                return Ok(Some(token));
            }
            self.ending = true;
            return Ok(self.closing_token(&mask));
        }
        let slack = left - 1 - end;
        self.next_check = if slack > CLOSE.max(2 * end) { left - slack / 8 } else { left };
        Ok(Some(token))
    }

    /// Takes a token that [`Constraint::choose`] gave; returns those that must follow it whatever the model says, at
    /// most `most`.
    pub(crate) fn advance(&mut self, token: u32, most: u64) -> Result<Vec<u32>> {
        self.matcher.consume_token(token).map_err(|error| failed(&error))?;
        if self.matcher.is_stopped() || most == 0 {
            return Ok(Vec::new());
        }
        let mut forced = self.matcher.compute_ff_tokens();
        forced.truncate(most as usize);
        self.matcher.consume_tokens(&forced).map_err(|error| failed(&error))?;
        Ok(forced)
    }

    /// Whether the answer has its shape now and cannot go on.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && self.matcher.stop_reason().is_ok()
    }

    /// Tokens from the state of `ahead` to the end when each step closes what it can; gives up after `most`.
    fn shortest_end(&self, mut ahead: Matcher, most: u64) -> Result<u64> {
        let mut steps = 0;
        while steps < most && !ahead.is_stopped() {
            let forced = ahead.consume_ff_tokens().len() as u64;
            if forced > 0 {
                steps += forced;
                continue;
            }
            let mask = ahead.compute_mask().map_err(|error| failed(&error))?;
            let Some(token) = self.closing_token(&mask) else { break };
            ahead.consume_token(token).map_err(|error| failed(&error))?;
            steps += 1;
        }
        Ok(steps)
    }

    /// The allowed token that leads to the end soonest: the end itself, else the one that closes most, else the
    /// first.
    fn closing_token(&self, mask: &SimpleVob) -> Option<u32> {
        if let Some(end) = mask.first_bit_set_here_and_in(&self.landing.ends) {
            return Some(end as u32);
        }
        let mut best: Option<(usize, u8)> = None;
        mask.iter_set_entries(|id| {
            let rank = self.landing.rank.get(id).copied().unwrap_or(0);
            if best.is_none_or(|(_, value)| rank > value) {
                best = Some((id, rank));
            }
        });
        best.map(|(id, _)| id as u32)
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    let text = error.to_string();
    Error::Invalid(format!(
        "the required shape is too complex to follow: {}; simplify it",
        text.lines().next().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_cannot_steer_are_known_without_a_model() {
        for good in [
            OutputFormat::Text,
            OutputFormat::Regex("[a-z]+( [0-9]{1,3})?".to_owned()),
            OutputFormat::JsonSchema(json!({"type": "object", "properties": {"n": {"type": "integer"}}})),
            OutputFormat::Choice(vec!["yes".to_owned(), "no".to_owned()]),
        ] {
            check_format(&good).unwrap();
        }
        for bad in [
            OutputFormat::Regex(r"\bword\b".to_owned()),
            OutputFormat::JsonSchema(json!({"type": "array", "uniqueItems": true})),
            OutputFormat::Choice(Vec::new()),
        ] {
            let error = check_format(&bad).unwrap_err();
            assert!(error.message.contains("cannot steer") || error.message.contains("at least one"), "{error:?}");
        }
    }
}
