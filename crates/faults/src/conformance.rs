//! What every backend must do, whoever serves the model: the contract of [`Backend`](lumos_core::Backend), checked
//! from outside.
//!
//! The checks are about the protocol, not about wit: any model that gives some text passes.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lumos_core::{
    BackendErrorKind, ChatRequest, Completion, Decoding, Delta, DeltaSink, FinishReason, Message, NoDeltas,
    OutputFormat, Role, SharedBackend,
};
use serde_json::{Value, json};

/// What may be expected of a backend.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// Whether answers come in pieces, so that there is a time to the first token.
    pub streams: bool,
    /// Whether tokens are counted.
    pub usage: bool,
    /// Whether the provider itself holds an answer to a schema. Without it a small model may miss the shape, which
    /// must then be an error with figures and never a wrong answer.
    pub shapes: bool,
    /// Whether the same request gives the same answer.
    pub repeats: bool,
    /// More tokens than the model's context holds; `None` leaves the check out.
    pub too_many_tokens: Option<usize>,
    /// Whether bytes leave the process.
    pub remote: bool,
    /// How long one answer may take.
    pub limit: Duration,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            streams: true,
            usage: true,
            shapes: true,
            repeats: true,
            too_many_tokens: None,
            remote: true,
            limit: Duration::from_mins(2),
        }
    }
}

/// Keeps the pieces of an answer and the bytes that were announced.
#[derive(Default)]
struct Heard {
    pieces: Mutex<Vec<String>>,
    sent: Mutex<u64>,
}

impl DeltaSink for Heard {
    fn delta(&self, delta: Delta<'_>) {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).push(delta.text.to_owned());
    }

    fn sent(&self, bytes: u64) {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
    }
}

/// The checks of one backend; each failure is a sentence.
struct Suite {
    backend: SharedBackend,
    expected: Expectations,
    failures: Vec<String>,
}

/// Checks a chat model. `Err` has a sentence per failure.
pub async fn suite(backend: SharedBackend, expected: Expectations) -> Result<(), Vec<String>> {
    let mut suite = Suite { backend, expected, failures: Vec::new() };
    if let Err(error) = suite.backend.warm_up().await {
        return Err(vec![format!("warm-up: {error}")]);
    }
    suite.a_short_answer().await;
    suite.stop_texts().await;
    suite.the_token_limit().await;
    suite.a_schema().await;
    suite.a_choice().await;
    suite.the_same_again().await;
    suite.cancellation().await;
    suite.several_at_once().await;
    suite.too_long().await;
    suite.refusals().await;
    if suite.failures.is_empty() { Ok(()) } else { Err(suite.failures) }
}

/// Checks an embedder. `Err` has a sentence per failure.
pub async fn embedder(backend: SharedBackend, dimensions: usize) -> Result<(), Vec<String>> {
    let mut failures = Vec::new();
    let texts = ["a cat", "a small cat", "the stock market fell", "a cat"].map(str::to_owned).to_vec();
    match backend.embed(texts).await {
        Err(error) => failures.push(format!("embedding: {error}")),
        Ok(embeddings) => {
            let vectors = &embeddings.vectors;
            if vectors.len() != 4 {
                return Err(vec![format!("embedding: {} vectors for 4 texts", vectors.len())]);
            }
            for vector in vectors {
                let length: f32 = vector.iter().map(|entry| entry * entry).sum();
                if vector.len() != dimensions || (length - 1.0).abs() > 1e-3 {
                    failures.push(format!("embedding: {} entries of length² {length}", vector.len()));
                }
            }
            let like = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let (same, near, far) =
                (like(&vectors[0], &vectors[3]), like(&vectors[0], &vectors[1]), like(&vectors[0], &vectors[2]));
            if same < 0.999 || near <= far {
                failures
                    .push(format!("embedding: likeness {same} of equals, {near} of neighbours, {far} of strangers"));
            }
        }
    }
    match backend.embed(Vec::new()).await {
        Ok(nothing) if nothing.vectors.is_empty() => {}
        other => failures.push(format!("embedding nothing gives {other:?}")),
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn ask(text: &str, max_tokens: u32) -> ChatRequest {
    let decoding = Decoding { max_tokens, seed: 7, ..Decoding::default() };
    ChatRequest::new(vec![Message::new(Role::User, text)], decoding, OutputFormat::Text)
}

impl Suite {
    fn fail(&mut self, check: &str, why: impl std::fmt::Display) {
        self.failures.push(format!("{check}: {why}"));
    }

    /// An answer in time, with what holds of every answer checked.
    async fn answer(&mut self, check: &str, request: ChatRequest) -> Option<Completion> {
        let heard = Heard::default();
        let result = tokio::time::timeout(self.expected.limit, self.backend.chat(request, &heard)).await;
        let completion = match result {
            Err(_) => {
                self.fail(check, "no answer in time");
                return None;
            }
            Ok(Err(error)) => {
                self.fail(check, format!("{error:?}"));
                return None;
            }
            Ok(Ok(completion)) => completion,
        };
        let (pieces, sent) = (heard.pieces, heard.sent);
        let said = pieces.into_inner().unwrap_or_else(PoisonError::into_inner).concat();
        let sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.consistent(check, &completion, &said, sent);
        Some(completion)
    }

    fn consistent(&mut self, check: &str, completion: &Completion, said: &str, sent: u64) {
        let Completion { text, report, .. } = completion;
        if said != text {
            self.fail(check, format!("the pieces make up {said:?}, the answer is {text:?}"));
        }
        if report.finish_reason.is_none() {
            self.fail(check, "nobody says how it ended");
        }
        if self.expected.streams && !text.is_empty() && report.ttft_us.is_none() {
            self.fail(check, "there is no time to the first token");
        }
        if let (Some(ttft), Some(busy)) = (report.ttft_us, report.busy_us)
            && ttft > busy
        {
            self.fail(check, format!("the first token came after {ttft} µs of {busy}"));
        }
        let usage = report.usage;
        if self.expected.usage {
            let plausible = usage.input_tokens.is_some_and(|tokens| tokens > 0)
                && usage.output_tokens.is_some_and(|tokens| tokens > 0 || text.is_empty());
            if !plausible || usage.cached_input_tokens > usage.input_tokens {
                self.fail(check, format!("the tokens are {usage:?}"));
            }
        }
        if report.bytes_sent != sent || (report.bytes_sent > 0) != self.expected.remote {
            self.fail(check, format!("{} bytes were sent, {sent} announced", report.bytes_sent));
        }
    }

    async fn a_short_answer(&mut self) {
        let check = "a short answer";
        let Some(completion) = self.answer(check, ask("What is the capital of France?", 12)).await else { return };
        if completion.text.trim().is_empty() {
            self.fail(check, "the answer is empty");
        }
        if self.expected.usage && completion.report.usage.output_tokens > Some(12) {
            self.fail(check, format!("{:?} of 12 tokens", completion.report.usage.output_tokens));
        }
    }

    /// A word of an answer stops the next one before it.
    async fn stop_texts(&mut self) {
        let check = "a stop text";
        let request = ask("Tell me about cats.", 12);
        let Some(free) = self.answer(check, request.clone()).await else { return };
        let Some(word) = free.text.split_whitespace().nth(2).map(str::to_owned) else {
            return self.fail(check, format!("{:?} is too short to be stopped", free.text));
        };
        let mut stopped = request;
        stopped.decoding.stop = vec![word.clone()];
        let Some(completion) = self.answer(check, stopped).await else { return };
        if completion.text.contains(&word) {
            self.fail(check, format!("{word:?} is in {:?}", completion.text));
        }
        let wanted = free.text.split(&word).next().unwrap_or_default();
        if self.expected.repeats && completion.text.trim_end() != wanted.trim_end() {
            self.fail(check, format!("{:?}, wanted {wanted:?}", completion.text));
        }
        if self.expected.repeats && completion.report.finish_reason != Some(FinishReason::Stop) {
            self.fail(check, format!("it ended with {:?}", completion.report.finish_reason));
        }
    }

    async fn the_token_limit(&mut self) {
        let check = "the token limit";
        let Some(completion) = self.answer(check, ask("Tell me a long story about cats.", 5)).await else {
            return;
        };
        if completion.report.finish_reason != Some(FinishReason::Length) {
            self.fail(check, format!("it ended with {:?}: {:?}", completion.report.finish_reason, completion.text));
        }
        if self.expected.usage && !(1..=5).contains(&completion.report.usage.output_tokens.unwrap_or(0)) {
            self.fail(check, format!("{:?} of 5 tokens", completion.report.usage.output_tokens));
        }
    }

    /// An answer in `format`, or, where nobody holds the model to it, an honest failure.
    async fn shaped(&mut self, check: &str, text: &str, format: OutputFormat) -> Option<Completion> {
        let mut request = ask(text, 80);
        request.format = format;
        if self.expected.shapes {
            return self.answer(check, request).await;
        }
        match tokio::time::timeout(self.expected.limit, self.backend.chat(request, &NoDeltas)).await {
            Err(_) => self.fail(check, "no answer in time"),
            Ok(Ok(completion)) => return Some(completion),
            Ok(Err(error)) if error.kind == BackendErrorKind::Transient && error.report.is_some() => {}
            Ok(Err(error)) => self.fail(check, format!("{error:?}")),
        }
        None
    }

    async fn a_schema(&mut self) {
        let check = "a schema";
        let schema = json!({
            "type": "object",
            "properties": {"legs": {"enum": ["two", "four"]}, "tame": {"type": "boolean"}},
            "required": ["legs", "tame"],
            "additionalProperties": false,
        });
        let format = OutputFormat::JsonSchema(schema.clone());
        let Some(completion) = self.shaped(check, "Describe a dog.", format).await else { return };
        let cut = completion.report.finish_reason == Some(FinishReason::Length);
        let value = serde_json::from_str::<Value>(&completion.text);
        if !value.is_ok_and(|value| jsonschema::is_valid(&schema, &value)) && (self.expected.shapes || !cut) {
            self.fail(check, format!("{:?} does not satisfy it", completion.text));
        }
    }

    async fn a_choice(&mut self) {
        let check = "a choice";
        let choices = ["red", "green", "blue"].map(str::to_owned).to_vec();
        let format = OutputFormat::Choice(choices.clone());
        let Some(completion) = self.shaped(check, "What colour is grass?", format).await else { return };
        let cut = completion.report.finish_reason == Some(FinishReason::Length);
        if !choices.contains(&completion.text) && (self.expected.shapes || !cut) {
            self.fail(check, format!("{:?} is none of them", completion.text));
        }
    }

    async fn the_same_again(&mut self) {
        if !self.expected.repeats {
            return;
        }
        let check = "the same again";
        let mut texts = BTreeSet::new();
        for _ in 0..2 {
            if let Some(completion) = self.answer(check, ask("Name a river.", 10)).await {
                texts.insert(completion.text);
            }
        }
        if texts.len() > 1 {
            self.fail(check, format!("two answers: {texts:?}"));
        }
    }

    async fn cancellation(&mut self) {
        /// Tells when the first piece is there.
        struct First(tokio::sync::Notify);
        impl DeltaSink for First {
            fn delta(&self, _: Delta<'_>) {
                self.0.notify_one();
            }
        }
        let check = "cancellation";
        let first = First(tokio::sync::Notify::new());
        let call = self.backend.chat(ask("Write a long story.", 200), &first);
        let begun = tokio::time::timeout(self.expected.limit, async {
            tokio::select! {
                result = call => Err(result),
                () = first.0.notified() => Ok(()),
            }
        });
        match begun.await {
            Err(_) => self.fail(check, "no piece in time"),
            Ok(Err(Err(error))) => self.fail(check, format!("{error:?}")),
            // It was faster than the cancellation, or does not stream.
            Ok(Err(Ok(_)) | Ok(())) => {}
        }
        self.answer(check, ask("Say hello.", 4)).await;
    }

    async fn several_at_once(&mut self) {
        let check = "several at once";
        let calls = (0..4).map(|index| {
            let request = ask(&format!("Say the number {index}."), 4);
            let backend = SharedBackend::clone(&self.backend);
            async move { backend.chat(request, &NoDeltas).await }
        });
        let Ok(results) = tokio::time::timeout(self.expected.limit, join_all(calls)).await else {
            return self.fail(check, "no answers in time");
        };
        for error in results.into_iter().filter_map(Result::err) {
            self.fail(check, format!("{error:?}"));
        }
    }

    async fn too_long(&mut self) {
        let check = "a prompt that is too long";
        let Some(tokens) = self.expected.too_many_tokens else { return };
        let result = tokio::time::timeout(
            self.expected.limit,
            self.backend.chat(ask(&"one two three four ".repeat(tokens / 4), 4), &NoDeltas),
        )
        .await;
        match result {
            Ok(Err(error))
                if matches!(error.kind, BackendErrorKind::ContextExceeded | BackendErrorKind::InvalidRequest) => {}
            other => self.fail(check, format!("it gives {other:?}")),
        }
    }

    async fn refusals(&mut self) {
        let check = "a refusal";
        let mut nothing = ask("", 4);
        nothing.messages.clear();
        let mut no_choice = ask("Choose.", 4);
        no_choice.format = OutputFormat::Choice(Vec::new());
        for request in [nothing, no_choice, ask("Hi", 0)] {
            match self.backend.chat(request, &NoDeltas).await {
                Err(error) if error.kind == BackendErrorKind::InvalidRequest => {}
                other => self.fail(check, format!("{other:?}")),
            }
        }
        match self.backend.embed(vec!["a text".to_owned()]).await {
            Err(error) if error.kind == BackendErrorKind::InvalidRequest => {}
            other => self.fail(check, format!("a chat model embeds: {other:?}")),
        }
    }
}
