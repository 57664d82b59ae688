//! The backend: one model behind one address.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lumos_core::{
    Backend, BackendError, BackendErrorKind, BackendInfo, Basis, CallReport, ChatRequest, Completion, Delta, DeltaSink,
    Embeddings, FinishReason, Message, NoDeltas, OutputFormat, RateLimits, SharedBackend,
};
use serde_json::Value;

use crate::answer::Answer;
use crate::embedding;
use crate::failure::{Failed, error};
use crate::options::RemoteOptions;
use crate::shape::Shape;
use crate::sse::Parser;
use crate::transport::{Reply, Transport};
use crate::wire::{self, Ask, Call, Decoder, Wire};

/// A model behind an address.
///
/// The deltas of a plain answer come as the server sends them; `output_tokens` of a delta counts the server's pieces,
/// which are about one token each. An answer with a shape comes as one delta when it has it, because a first try may
/// have to be taken back.
pub struct RemoteBackend {
    pub(crate) options: RemoteOptions,
    pub(crate) transport: Transport,
    pub(crate) wire: &'static dyn Wire,
}

/// What is known of one exchange while it goes on.
pub(crate) struct Exchange {
    start_us: u64,
    pub(crate) sent: u64,
    ttft_us: Option<u64>,
    request_id: Option<String>,
    rate_limits: Option<RateLimits>,
}

impl Exchange {
    pub(crate) fn begin(backend: &RemoteBackend) -> Self {
        let start_us = backend.options.clock.now_us();
        Self { start_us, sent: 0, ttft_us: None, request_id: None, rate_limits: None }
    }

    pub(crate) fn head(&mut self, reply: &mut Reply<'_>) {
        self.request_id = reply.request_id.take();
        self.rate_limits = reply.rate_limits.take();
    }

    pub(crate) fn report(self, backend: &RemoteBackend) -> CallReport {
        CallReport {
            ttft_us: self.ttft_us,
            busy_us: Some(backend.options.clock.now_us().saturating_sub(self.start_us)),
            bytes_sent: self.sent,
            request_id: self.request_id.map(Into::into),
            rate_limits: self.rate_limits.map(Box::new),
            ..CallReport::new(Basis::Reported)
        }
    }
}

impl RemoteBackend {
    /// A backend for the model that `options` describe. Nothing is sent yet.
    ///
    /// `Err(Unusable)` when an address, a header or a certificate cannot be used.
    #[expect(clippy::new_ret_no_self, reason = "a backend is always shared")]
    pub fn new(options: RemoteOptions) -> Result<SharedBackend, BackendError> {
        let wire = wire::of(options.provider);
        let base = options.base_url.as_deref().or(wire.base()).ok_or_else(|| {
            let message = format!("backend `{}` needs `base_url`, e.g. `http://127.0.0.1:8000/v1`", options.name);
            error(BackendErrorKind::Unusable, message)
        })?;
        let transport = Transport::new(&options, base, wire.headers(options.api_key.as_ref())?)?;
        Ok(Arc::new(Self { options, transport, wire }))
    }

    /// Bytes of `call`'s body, with the fields that the deployment adds and leaves out.
    pub(crate) fn body(&self, call: &mut Call) -> Vec<u8> {
        if let Some(fields) = call.body.as_object_mut() {
            for name in &self.options.omit {
                fields.shift_remove(name);
                if let Some(config) = fields.get_mut("generationConfig").and_then(Value::as_object_mut) {
                    config.shift_remove(name);
                }
            }
            fields.extend(self.options.extra.clone());
        }
        call.body.to_string().into_bytes()
    }

    /// Sends `call` and waits for the head of its reply.
    pub(crate) async fn send(
        &self,
        mut call: Call,
        accept: &'static str,
        exchange: &mut Exchange,
        deltas: &dyn DeltaSink,
    ) -> Result<Reply<'_>, Failed> {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        let url = self.transport.url(&path, &call.query);
        let body = self.body(&mut call);
        let mut reply = self.transport.post(url, body, accept, &mut exchange.sent, deltas).await?;
        exchange.head(&mut reply);
        Ok(reply)
    }

    /// An error that names the server and no secret.
    pub(crate) fn named(&self, error: BackendError) -> BackendError {
        let message = error.message.replace("the server's reply", &format!("the reply of {}", self.transport.server));
        let message = message.replace("the server ", &format!("{} ", self.transport.server));
        self.transport.scrub(BackendError { message, ..error })
    }

    /// Asks once. The report comes back with an error too where the request had left.
    async fn ask(
        &self,
        ask: &Ask<'_>,
        deltas: &dyn DeltaSink,
        audience: Option<&dyn DeltaSink>,
    ) -> Result<(Answer, CallReport), BackendError> {
        let mut exchange = Exchange::begin(self);
        let mut answer = Answer::new(ask.stops);
        let done = self.exchange(ask, deltas, audience, &mut answer, &mut exchange).await;
        let reached = exchange.sent > 0;
        let id = answer.id.take();
        let mut report = exchange.report(self);
        report.usage = answer.usage;
        report.finish_reason = answer.finish();
        report.request_id = report.request_id.or(id.map(Into::into));
        match done {
            Ok(()) => Ok((answer, report)),
            Err(Failed { error, billed }) => Err(self.named(error).with_report((reached && billed).then_some(report))),
        }
    }

    async fn exchange(
        &self,
        ask: &Ask<'_>,
        deltas: &dyn DeltaSink,
        audience: Option<&dyn DeltaSink>,
        answer: &mut Answer,
        exchange: &mut Exchange,
    ) -> Result<(), Failed> {
        let timeouts = self.options.timeouts;
        let call = self.wire.chat(ask);
        let mut decoder = self.wire.decoder(ask);
        let accept = if ask.stream { "text/event-stream" } else { "application/json" };
        let sending = self.send(call, accept, exchange, deltas);
        let waited = tokio::time::timeout(timeouts.first_token, sending).await;
        let mut reply = waited.map_err(|_| self.late(false))??;
        match reply.media_type().as_str() {
            "text/event-stream" => self.stream(reply, &mut *decoder, audience, answer, exchange).await?,
            "application/json" => {
                let text = self.within(timeouts.first_token, exchange, reply.text()).await??;
                decoder.whole(&text, answer)?;
            }
            other => return Err(self.foreign(other).into()),
        }
        if answer.finish.is_none() && answer.ended && answer.begun {
            // Some servers say that it ended, but not why.
            answer.finish = Some(FinishReason::Stop);
        }
        if answer.finish.is_none() {
            let message = format!("the answer of {} broke off before its end", self.transport.server);
            return Err(error(BackendErrorKind::Transient, message).into());
        }
        if let Some(audience) = audience {
            tell(audience, answer, true);
        }
        Ok(())
    }

    async fn stream(
        &self,
        mut reply: Reply<'_>,
        decoder: &mut dyn Decoder,
        audience: Option<&dyn DeltaSink>,
        answer: &mut Answer,
        exchange: &mut Exchange,
    ) -> Result<(), Failed> {
        let timeouts = self.options.timeouts;
        let mut parser = Parser::default();
        let mut open = true;
        while open && !answer.ended {
            let chunk = if answer.begun {
                let waited = tokio::time::timeout(timeouts.idle, reply.chunk()).await;
                waited.map_err(|_| self.late(true))?
            } else {
                self.within(timeouts.first_token, exchange, reply.chunk()).await?
            };
            let malformed = |why: crate::sse::Malformed| {
                error(BackendErrorKind::Transient, format!("the reply of {} is damaged: {why}", self.transport.server))
            };
            if let Some(bytes) = chunk? {
                parser.push(&bytes).map_err(malformed)?;
            } else {
                open = false;
                parser.finish().map_err(malformed)?;
            }
            while let Some(event) = parser.next() {
                decoder.event(&event, answer)?;
                if answer.has_text() && exchange.ttft_us.is_none() {
                    exchange.ttft_us = Some(self.options.clock.now_us().saturating_sub(exchange.start_us));
                }
            }
            if let Some(audience) = audience {
                tell(audience, answer, false);
            }
        }
        if open {
            reply.end().await;
        }
        Ok(())
    }

    /// What `work` gives within `limit` from the start of the exchange.
    async fn within<T>(
        &self,
        limit: Duration,
        exchange: &Exchange,
        work: impl Future<Output = T>,
    ) -> Result<T, BackendError> {
        let passed = self.options.clock.now_us().saturating_sub(exchange.start_us);
        let left = limit.saturating_sub(Duration::from_micros(passed));
        tokio::time::timeout(left, work).await.map_err(|_| self.late(false))
    }

    fn late(&self, begun: bool) -> BackendError {
        let (timeouts, server) = (self.options.timeouts, &self.transport.server);
        let message = if begun {
            let limit = timeouts.idle.as_secs_f64();
            format!(
                "{server} fell silent for {limit} s in the midst of its answer; raise the idle timeout if that is usual"
            )
        } else {
            let limit = timeouts.first_token.as_secs_f64();
            format!("no answer from {server} within {limit} s; raise the first-token timeout if that is usual")
        };
        error(BackendErrorKind::Transient, message)
    }

    fn foreign(&self, media_type: &str) -> BackendError {
        let server = &self.transport.server;
        let shown = if media_type.is_empty() { "an unknown type" } else { media_type };
        let message = format!("the reply of {server} is {shown}, not JSON or a stream of events; check `base_url`");
        error(BackendErrorKind::Transient, message)
    }

    /// Asks for an answer with a shape, a second time if the first has not got it.
    async fn shaped(
        &self,
        request: &ChatRequest,
        shape: &Shape,
        deltas: &dyn DeltaSink,
    ) -> Result<Completion, BackendError> {
        let mut messages = request.messages.clone();
        shape.instruct(&mut messages);
        let mut before: Option<CallReport> = None;
        loop {
            let ask = self.asked(request, &messages, &[], shape.schema());
            let (answer, report) = match self.ask(&ask, deltas, None).await {
                Ok(done) => done,
                Err(mut error) => {
                    let later = error.report.take().map(|report| *report);
                    let all = match (before, later) {
                        (Some(before), Some(later)) => Some(before.then(later)),
                        (before, later) => before.or(later),
                    };
                    return Err(error.with_report(all));
                }
            };
            let is_repair = before.is_some();
            let report = before.map_or_else(|| report.clone(), |before| before.then(report.clone()));
            let cut = matches!(report.finish_reason, Some(FinishReason::Length | FinishReason::ContentFilter));
            if answer.has_calls() {
                return self.completion(&answer, answer.text().to_owned(), report);
            }
            match shape.accept(answer.text()) {
                Ok(text) => {
                    deltas.delta(Delta { text: &text, output_tokens: report.usage.output_tokens.unwrap_or(1) });
                    return self.completion(&answer, text, report);
                }
                // Asking again cures neither a limit nor a filter.
                Err(_) if cut => {
                    let text = answer.text().to_owned();
                    deltas.delta(Delta { text: &text, output_tokens: report.usage.output_tokens.unwrap_or(1) });
                    return self.completion(&answer, text, report);
                }
                Err(why) if is_repair => {
                    let message = format!(
                        "the model {} does not give an answer of the wanted shape, even when told what is wrong: {why}",
                        self.options.model
                    );
                    return Err(self.named(error(BackendErrorKind::Transient, message)).with_report(Some(report)));
                }
                Err(why) => {
                    tracing::debug!(backend = self.options.name, why, "the answer lacks its shape; asking again");
                    shape.complain(&mut messages, answer.text(), &why);
                    before = Some(report);
                }
            }
        }
    }

    fn completion(&self, answer: &Answer, text: String, report: CallReport) -> Result<Completion, BackendError> {
        match answer.calls() {
            Ok(tool_calls) => Ok(Completion { text, tool_calls, report }),
            Err(error) => Err(self.named(error).with_report(Some(report))),
        }
    }

    fn asked<'a>(
        &'a self,
        request: &'a ChatRequest,
        messages: &'a [Message],
        stops: &'a [String],
        schema: Option<&'a Value>,
    ) -> Ask<'a> {
        Ask {
            model: &self.options.model,
            messages,
            decoding: &request.decoding,
            stops,
            tools: &request.tools,
            schema,
            stream: self.options.stream,
            cache: self.options.prompt_cache,
        }
    }
}

fn tell(audience: &dyn DeltaSink, answer: &mut Answer, last: bool) {
    let output_tokens = answer.pieces();
    let text = answer.release(last);
    if !text.is_empty() {
        audience.delta(Delta { text, output_tokens });
    }
}

#[async_trait]
impl Backend for RemoteBackend {
    fn info(&self) -> BackendInfo {
        let options = &self.options;
        BackendInfo {
            model: options.model.clone(),
            provider: self.wire.name().to_owned(),
            chat: !options.embed,
            embed: options.embed,
            context_tokens: options.context,
            dimensions: options.dimensions,
            digest: String::new(),
            detail: format!("at {}", self.transport.server),
        }
    }

    /// Unknown: the tokenizer is at the server. [`lumos_core::estimate_input_tokens`] guesses.
    fn count_input_tokens(&self, _: &ChatRequest) -> Option<u64> {
        None
    }

    async fn chat(&self, request: ChatRequest, deltas: &dyn DeltaSink) -> Result<Completion, BackendError> {
        if self.options.embed {
            let message = format!("{} is bound as an embedder and does not chat", self.options.model);
            return Err(error(BackendErrorKind::InvalidRequest, message));
        }
        if request.messages.is_empty() {
            let message = "the request has no messages; give at least one";
            return Err(error(BackendErrorKind::InvalidRequest, message));
        }
        if request.decoding.max_tokens == 0 {
            let message = "max_tokens 0 leaves no room for an answer; give at least 1";
            return Err(error(BackendErrorKind::InvalidRequest, message));
        }
        if request.format != OutputFormat::Text
            && let Some(shape) = Shape::new(&request.format, self.options.structured, self.wire.objects_only())?
        {
            return self.shaped(&request, &shape, deltas).await;
        }
        let ask = self.asked(&request, &request.messages, &request.decoding.stop, None);
        let (answer, report) = self.ask(&ask, deltas, Some(deltas)).await?;
        self.completion(&answer, answer.text().to_owned(), report)
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, BackendError> {
        embedding::embed(self, texts, &NoDeltas).await
    }
}
