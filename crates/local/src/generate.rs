//! Generates an answer token by token.

use std::sync::Arc;

use lumos_core::{Basis, CallReport, ChatRequest, Clock, Completion, FinishReason, OutputFormat, Usage};

use crate::constraint::{Constraint, Constraints};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::sampler::Sampler;
use crate::template::ChatTemplate;
use crate::text::AnswerText;
use crate::vocabulary::Vocabulary;

/// Turns chat requests into tokens; shared by the worker and by those who only count.
pub(crate) struct Prompter {
    /// The vocabulary.
    pub(crate) vocabulary: Arc<Vocabulary>,
    /// The chat template.
    pub(crate) template: ChatTemplate,
}

impl Prompter {
    /// Tokens of the prompt.
    pub(crate) fn tokens(&self, request: &ChatRequest) -> Result<Vec<u32>> {
        let prompt = self.template.render(&request.messages, self.vocabulary.controls())?;
        self.vocabulary
            .encode_prompt(&prompt)
            .map_err(|error| Error::Internal(format!("the tokenizer failed: {error}")))
    }
}

/// A loaded chat model.
pub(crate) struct Generator {
    network: Network,
    prompter: Arc<Prompter>,
    constraints: Option<Constraints>,
    context: usize,
    clock: Arc<dyn Clock>,
    /// Time spent in the network by the current request.
    forward_us: u64,
}

/// What the worker gives to whoever waits for an answer.
pub(crate) trait Progress {
    /// Whether nobody waits any more.
    fn is_cancelled(&self) -> bool;
    /// Takes the next piece; `output_tokens` counts from the beginning.
    fn piece(&self, text: &str, output_tokens: u64);
}

/// An answer in the making.
struct Answer {
    text: AnswerText,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens of the answer that the format left no choice about.
    prescribed: u64,
    finish: Option<FinishReason>,
}

impl Answer {
    fn output_tokens(&self) -> u64 {
        (self.tokens.len() - self.prompt) as u64
    }
}

impl Generator {
    pub(crate) fn new(network: Network, prompter: Arc<Prompter>, context: usize, clock: Arc<dyn Clock>) -> Self {
        Self { network, prompter, constraints: None, context, clock, forward_us: 0 }
    }

    /// Answers `request`. `queue_us` and `busy_us` of the report are left to the worker.
    pub(crate) fn chat(&mut self, request: &ChatRequest, progress: &dyn Progress) -> Result<Completion> {
        let start = self.clock.now_us();
        let decoding = &request.decoding;
        if decoding.max_tokens == 0 {
            return Err(Error::Invalid("max_tokens 0 leaves no room for an answer; give at least 1".to_owned()));
        }
        let talks_of_tools = |message: &lumos_core::Message| message.role == lumos_core::Role::Tool;
        if !request.tools.is_empty() || request.messages.iter().any(talks_of_tools) {
            return Err(Error::Invalid(
                "a local model calls no tools; bind the agent to a backend that does".to_owned(),
            ));
        }
        let mut sampler = Sampler::new(decoding)?;
        let prompt = self.prompter.tokens(request)?;
        let answer = decoding.max_tokens as usize;
        if prompt.len() + answer > self.context {
            return Err(Error::Context { prompt: prompt.len(), answer, context: self.context });
        }
        if request.format != OutputFormat::Text && self.constraints.is_none() {
            self.constraints = Some(Constraints::new(&self.prompter.vocabulary)?);
        }
        let mut constraint = match &self.constraints {
            Some(constraints) => constraints.compile(&request.format)?,
            None => None,
        };

        // What one request leaves behind never reaches the next one.
        self.network.reset();
        self.forward_us = 0;
        let chunk = self.network.prefill_chunk();
        let mut logits = self.read(&prompt, 0, chunk, progress)?;
        let stops = if constraint.is_some() { Vec::new() } else { self.stops(request) };
        let input_tokens = prompt.len() as u64;
        let mut answer =
            Answer { text: AnswerText::new(stops), prompt: prompt.len(), tokens: prompt, prescribed: 0, finish: None };
        let mut ttft_us = None;
        let most = u64::from(decoding.max_tokens);
        loop {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let seen = answer.tokens.len();
            step(&self.prompter.vocabulary, &mut answer, &mut sampler, &mut logits, constraint.as_mut(), most)?;
            if answer.output_tokens() > 0 {
                ttft_us.get_or_insert_with(|| self.clock.now_us().saturating_sub(start));
            }
            if answer.finish.is_some() && answer.text.finish() {
                answer.finish = Some(FinishReason::Stop);
            }
            let output_tokens = answer.output_tokens();
            progress.piece(answer.text.release(), output_tokens);
            if answer.finish.is_some() {
                break;
            }
            let chunk = self.network.append_chunk();
            logits = self.read(&answer.tokens[seen..], seen, chunk, progress)?;
        }
        tracing::debug!(
            target: "lumos_local::chat",
            input_tokens,
            output_tokens = answer.output_tokens(),
            ttft_us,
            forward_us = self.forward_us,
            total_us = self.clock.now_us().saturating_sub(start),
            "answered"
        );
        Ok(Completion {
            report: CallReport {
                usage: Usage {
                    input_tokens: Some(input_tokens),
                    cached_input_tokens: Some(0),
                    output_tokens: Some(answer.output_tokens()),
                    prescribed_tokens: constraint.is_some().then_some(answer.prescribed),
                    ..Usage::default()
                },
                ttft_us,
                finish_reason: answer.finish,
                ..CallReport::new(Basis::Measured)
            },
            text: answer.text.into_text(),
            tool_calls: Vec::new(),
        })
    }

    /// Reads `tokens` in pieces of `chunk`, so that a cancelled request ends soon, and returns the logits after the
    /// last one.
    fn read(&mut self, tokens: &[u32], position: usize, chunk: usize, progress: &dyn Progress) -> Result<Vec<f32>> {
        let start = self.clock.now_us();
        let mut logits = Vec::new();
        let mut position = position;
        for piece in tokens.chunks(chunk) {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            logits = self.network.forward(piece, position)?;
            position += piece.len();
        }
        self.forward_us += self.clock.now_us().saturating_sub(start);
        Ok(logits)
    }

    fn stops(&self, request: &ChatRequest) -> Vec<String> {
        let mut stops = request.decoding.stop.clone();
        if self.prompter.template.fallback.is_some() {
            // ChatML's end is no token of every vocabulary.
            stops.push("<|im_end|>".to_owned());
        }
        stops
    }
}

/// Chooses the next token and appends it, with those that must follow it.
fn step(
    vocabulary: &Vocabulary,
    answer: &mut Answer,
    sampler: &mut Sampler,
    logits: &mut [f32],
    mut constraint: Option<&mut Constraint>,
    most: u64,
) -> Result<()> {
    let left = most - answer.output_tokens();
    // Many networks have a padded embedding; its last rows are no tokens.
    let known = logits.len().min(vocabulary.len());
    let logits = &mut logits[..known];
    let token = match constraint.as_deref_mut() {
        None => sampler.sample(logits, &answer.tokens, None)?,
        Some(constraint) => {
            let chosen = constraint.choose(left, |allowed| sampler.sample(logits, &answer.tokens, Some(allowed)))?;
            let Some(token) = chosen else {
                answer.finish = Some(FinishReason::Stop);
                return Ok(());
            };
            token
        }
    };
    answer.tokens.push(token);
    if vocabulary.is_end(token) {
        answer.finish = Some(FinishReason::Stop);
        return Ok(());
    }
    if answer.text.push(vocabulary.bytes(token)) {
        answer.finish = Some(FinishReason::Stop);
    }
    if let Some(constraint) = constraint {
        for forced in constraint.advance(token, left - 1)? {
            answer.tokens.push(forced);
            answer.text.push(vocabulary.bytes(forced));
            answer.prescribed += 1;
        }
        if constraint.is_complete() {
            answer.finish = Some(FinishReason::Stop);
        }
    }
    if answer.finish.is_none() && answer.output_tokens() >= most {
        answer.finish = Some(FinishReason::Length);
    }
    Ok(())
}
