//! Structured answers: which tokens may come next so that the whole answer has the required shape.
//!
//! llguidance computes the masks; the trie of the vocabulary's bytes that it needs is built here from the GGUF
//! file's own vocabulary. JSON is compact: no whitespace between its parts, so an answer cannot get lost in it.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use lumos_core::OutputFormat;
use serde_json::{Value, json};
use toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::error::{Error, Result};
use crate::vocabulary::Vocabulary;

/// Makes constraints for one vocabulary.
pub(crate) struct Constraints {
    factory: ParserFactory,
    landing: Arc<Landing>,
}

/// What steers an answer to its end when few tokens are left.
struct Landing {
    /// For each token, how well it closes what is open; greater is better.
    rank: Vec<u8>,
}

/// The state of one constrained answer.
pub(crate) struct Constraint {
    matcher: Matcher,
    landing: Arc<Landing>,
    /// When this few tokens are left, the shortest way to the end is worked out again.
    next_check: u64,
    /// Whether the answer must take that way now.
    landing_now: bool,
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
        let landing = Arc::new(Landing { rank: words.iter().map(|word| closing_rank(word)).collect() });
        let ends = vocabulary.ends();
        let info = TokRxInfo::new(words.len() as u32, ends[0]);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
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
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        if let Some(error) = matcher.get_error() {
            return Err(refuse(error));
        }
        if let Some(warning) = matcher.grammar_warnings().into_iter().next() {
            return Err(refuse(warning));
        }
        Ok(Some(Constraint { matcher, landing: Arc::clone(&self.landing), next_check: u64::MAX, landing_now: false }))
    }
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

/// How well a token closes what is open in a JSON text.
fn closing_rank(word: &[u8]) -> u8 {
    if word.is_empty() || word[0] == TokTrie::SPECIAL_TOKEN_MARKER {
        return 0;
    }
    let closers = word.iter().filter(|byte| matches!(byte, b'"' | b']' | b'}')).count();
    if closers == word.len() { 1 + closers.min(8) as u8 } else { 0 }
}

impl Constraint {
    /// Tokens that may come next when `left` may still be generated; `None` when the answer is complete.
    pub(crate) fn allowed(&mut self, left: u64) -> Result<Option<SimpleVob>> {
        if self.matcher.is_stopped() {
            return self.check().map(|()| None);
        }
        let mask = self.matcher.compute_mask().map_err(|error| failed(&error))?;
        if !self.landing_now && left <= self.next_check {
            let end = self.shortest_end(left)?;
            self.landing_now = left <= end + 1;
            self.next_check = left.saturating_sub((left.saturating_sub(end) / 4).max(1));
        }
        if self.landing_now {
            return self.closing(mask).map(Some);
        }
        Ok(Some(mask))
    }

    /// Takes a token that [`Constraint::allowed`] allowed; returns those that must follow it whatever the model says,
    /// at most `most`.
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

    fn check(&self) -> Result<()> {
        let reason = self.matcher.stop_reason();
        if reason.is_ok() { Ok(()) } else { Err(failed(&reason)) }
    }

    /// Tokens that the answer takes from here to its end when each step closes what it can; gives up after `most`.
    fn shortest_end(&self, most: u64) -> Result<u64> {
        let mut ahead = self.matcher.clone();
        for steps in 0..most {
            if ahead.is_stopped() {
                return Ok(steps);
            }
            let mask = ahead.compute_mask().map_err(|error| failed(&error))?;
            let best = self.closing_token(&mask, &ahead);
            let Some(token) = best else { return Ok(steps) };
            ahead.consume_token(token).map_err(|error| failed(&error))?;
        }
        Ok(most)
    }

    fn closing(&self, mask: SimpleVob) -> Result<SimpleVob> {
        let mut only = SimpleVob::alloc(mask.len());
        if let Some(token) = self.closing_token(&mask, &self.matcher) {
            only.allow_token(token);
        }
        if only.is_zero() { Ok(mask) } else { Ok(only) }
    }

    /// The allowed token that leads to the end soonest: the end itself, else the one that closes most, else the
    /// first.
    fn closing_token(&self, mask: &SimpleVob, matcher: &Matcher) -> Option<u32> {
        let ends = matcher.tok_env().ok()?.tok_trie().eos_token_set();
        if let Some(end) = mask.first_bit_set_here_and_in(&ends) {
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
