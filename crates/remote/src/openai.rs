//! OpenAI's chat completions and embeddings, as OpenAI and as the many compatible servers speak them.

use lumos_core::spec::Provider;
use lumos_core::{BackendError, BackendErrorKind, FinishReason, Message, Role, Usage};
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::failure::error;
use crate::secret::Secret;
use crate::shape;
use crate::sse::Event;
use crate::transport::bearer;
use crate::wire::{Ask, Call, Decoder, Vectors, Wire, read, reported, seed};

/// Most stop texts that OpenAI takes.
const MOST_STOPS: usize = 4;

/// The protocol.
pub(crate) struct OpenAi {
    /// Whether the server is another's: older field names, and settings that OpenAI itself does not have.
    pub(crate) compatible: bool,
}

impl Wire for OpenAi {
    fn name(&self) -> &'static str {
        if self.compatible { "openai-compatible" } else { "openai" }
    }

    fn base(&self) -> Option<&'static str> {
        Provider::OpenAi.base_url().filter(|_| !self.compatible)
    }

    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, BackendError> {
        bearer(key)
    }

    fn objects_only(&self) -> bool {
        !self.compatible
    }

    fn chat(&self, ask: &Ask<'_>) -> Call {
        let decoding = ask.decoding;
        let mut body = json!({
            "model": ask.model,
            "messages": ask.messages.iter().map(message).collect::<Vec<_>>(),
            "temperature": decoding.temperature,
            "seed": seed(decoding.seed),
        });
        body[if self.compatible { "max_tokens" } else { "max_completion_tokens" }] = decoding.max_tokens.into();
        if let Some(top_p) = decoding.top_p {
            body["top_p"] = top_p.into();
        }
        if self.compatible {
            if let Some(top_k) = decoding.top_k {
                body["top_k"] = top_k.into();
            }
            if decoding.repetition_penalty != 1.0 {
                // vLLM's name and llama.cpp's; each ignores the other's.
                body["repetition_penalty"] = decoding.repetition_penalty.into();
                body["repeat_penalty"] = decoding.repetition_penalty.into();
            }
        }
        if !ask.stops.is_empty() {
            let most = if self.compatible { ask.stops.len() } else { MOST_STOPS };
            body["stop"] = ask.stops.iter().take(most).cloned().collect();
        }
        if !ask.tools.is_empty() {
            let tool = |tool: &lumos_core::ToolDefinition| json!({"type": "function", "function": tool});
            body["tools"] = ask.tools.iter().map(tool).collect();
        }
        if let Some(schema) = ask.schema {
            let mut format = json!({"name": "answer", "schema": schema});
            if shape::is_strict(schema) {
                format["strict"] = true.into();
            }
            body["response_format"] = json!({"type": "json_schema", "json_schema": format});
        }
        if ask.stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        Call { path: vec!["chat".to_owned(), "completions".to_owned()], query: Vec::new(), body }
    }

    fn decoder(&self, _: &Ask<'_>) -> Box<dyn Decoder> {
        Box::new(Chunks)
    }

    fn embed(&self, model: &str, texts: &[String], dimensions: Option<u32>) -> Option<Call> {
        let mut body = json!({"model": model, "input": texts, "encoding_format": "float"});
        if let Some(dimensions) = dimensions {
            body["dimensions"] = dimensions.into();
        }
        Some(Call { path: vec!["embeddings".to_owned()], query: Vec::new(), body })
    }

    fn vectors(&self, body: &str) -> Result<Vectors, BackendError> {
        #[derive(Deserialize)]
        struct Reply {
            data: Option<Vec<Entry>>,
            usage: Option<Tokens>,
            error: Option<Value>,
        }
        #[derive(Deserialize)]
        struct Entry {
            index: Option<u64>,
            embedding: Vec<f32>,
        }
        let reply: Reply = read(body)?;
        if let Some(error) = reply.error {
            return Err(reported(&error));
        }
        let data = reply.data.ok_or_else(|| {
            error(BackendErrorKind::Transient, "the server's reply has no `data`; is it an embedding model?")
        })?;
        let mut entries: Vec<(u64, Vec<f32>)> =
            (0..).zip(data).map(|(position, entry)| (entry.index.unwrap_or(position), entry.embedding)).collect();
        entries.sort_by_key(|(index, _)| *index);
        let tokens = reply.usage.and_then(|usage| usage.prompt_tokens);
        Ok((entries.into_iter().map(|(_, vector)| vector).collect(), tokens))
    }
}

fn message(message: &Message) -> Value {
    match message.role {
        Role::System => json!({"role": "system", "content": message.content}),
        Role::User => json!({"role": "user", "content": message.content}),
        Role::Tool => json!({"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}),
        Role::Assistant if message.tool_calls.is_empty() => {
            json!({"role": "assistant", "content": message.content})
        }
        Role::Assistant => {
            let call = |call: &lumos_core::ToolCall| {
                let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                json!({"id": call.id, "type": "function", "function": function})
            };
            let content = (!message.content.is_empty()).then_some(&message.content);
            let calls: Vec<Value> = message.tool_calls.iter().map(call).collect();
            json!({"role": "assistant", "content": content, "tool_calls": calls})
        }
    }
}

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Tokens>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    /// In a stream `delta`, in a whole reply `message`.
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Content>,
    refusal: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<PartialCall>>,
}

/// Mistral's reasoning models send parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
struct PartialCall {
    index: Option<u64>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the protocol's names")]
struct Tokens {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<InputDetails>,
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        Self {
            input_tokens: tokens.prompt_tokens,
            cached_input_tokens: tokens.prompt_tokens_details.and_then(|details| details.cached_tokens),
            output_tokens: tokens.completion_tokens,
            reasoning_tokens: tokens.completion_tokens_details.and_then(|details| details.reasoning_tokens),
            ..Self::default()
        }
    }
}

struct Chunks;

impl Decoder for Chunks {
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<(), BackendError> {
        if event.data.trim() == "[DONE]" {
            answer.ended = true;
            return Ok(());
        }
        take(&event.data, answer)
    }

    fn whole(&mut self, body: &str, answer: &mut Answer) -> Result<(), BackendError> {
        take(body, answer)?;
        answer.ended = true;
        Ok(())
    }
}

fn take(text: &str, answer: &mut Answer) -> Result<(), BackendError> {
    let chunk: Chunk = read(text)?;
    if let Some(error) = chunk.error {
        return Err(reported(&error));
    }
    if answer.id.is_none() {
        answer.id = chunk.id;
    }
    // Servers that send running totals send several; the last one is the sum.
    if let Some(usage) = chunk.usage {
        answer.usage = usage.into();
    }
    let choices = chunk.choices.unwrap_or_default();
    for choice in choices.into_iter().filter(|choice| choice.index.unwrap_or(0) == 0) {
        let mut refused = false;
        if let Some(delta) = choice.delta {
            answer.begun |= delta.reasoning_content.is_some_and(|text| !text.is_empty());
            match delta.content {
                Some(Content::Text(text)) => answer.push_text(&text),
                Some(Content::Parts(parts)) => {
                    for text in parts.iter().filter_map(|part| part.text.as_deref()) {
                        answer.push_text(text);
                    }
                }
                None => {}
            }
            if let Some(refusal) = delta.refusal.filter(|text| !text.is_empty()) {
                refused = true;
                answer.push_text(&refusal);
            }
            for call in delta.tool_calls.into_iter().flatten() {
                let function = call.function.unwrap_or(Function { name: None, arguments: None });
                let arguments = function.arguments.unwrap_or_default();
                answer.push_call(call.index, call.id.as_deref(), function.name.as_deref(), &arguments);
            }
        }
        if refused {
            answer.finish = Some(FinishReason::ContentFilter);
        }
        if let Some(reason) = choice.finish_reason
            && answer.finish != Some(FinishReason::ContentFilter)
        {
            answer.finish = Some(match reason.as_str() {
                "length" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                "tool_calls" | "function_call" => FinishReason::ToolCalls,
                _ => FinishReason::Stop,
            });
        }
    }
    Ok(())
}
