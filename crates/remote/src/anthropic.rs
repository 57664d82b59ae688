//! Anthropic's messages.

use lumos_core::{BackendError, FinishReason, Message, Role, ToolCall, Usage};
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::secret::Secret;
use crate::sse::Event;
use crate::transport::secret_value;
use crate::wire::{Ask, Call, Decoder, Vectors, Wire, read, reported, system};
use lumos_core::spec::{PromptCache, Provider};

/// The tool whose arguments are the answer, when an answer has a shape.
const ANSWER: &str = "answer";

/// The protocol.
pub(crate) struct Anthropic;

impl Wire for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn base(&self) -> Option<&'static str> {
        Provider::Anthropic.base_url()
    }

    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, BackendError> {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
        if let Some(key) = key {
            headers.insert("x-api-key", secret_value("the key", key.expose())?);
        }
        Ok(headers)
    }

    fn objects_only(&self) -> bool {
        true
    }

    fn chat(&self, ask: &Ask<'_>) -> Call {
        let decoding = ask.decoding;
        let mut body = json!({
            "model": ask.model,
            "max_tokens": decoding.max_tokens,
            "messages": messages(ask.messages),
            "temperature": decoding.temperature.min(1.0),
        });
        if let Some(system) = system(ask.messages) {
            body["system"] = match ask.cache {
                None => system.into(),
                Some(cache) => json!([{"type": "text", "text": system, "cache_control": control(cache)}]),
            };
        }
        if let Some(top_p) = decoding.top_p {
            body["top_p"] = top_p.into();
        }
        if let Some(top_k) = decoding.top_k {
            body["top_k"] = top_k.into();
        }
        // A stop text of nothing but white space is refused; such ones are looked for here.
        let stops: Vec<&String> = ask.stops.iter().filter(|stop| !stop.trim().is_empty()).collect();
        if !stops.is_empty() {
            body["stop_sequences"] = json!(stops);
        }
        let mut tools: Vec<Value> =
            ask.tools.iter().map(|it| tool(&it.name, &it.description, &it.parameters)).collect();
        if let Some(schema) = ask.schema {
            // With one tool `any` means this one; servers in front of other models know it better than a name.
            body["tool_choice"] = json!({"type": "any"});
            if tools.is_empty() {
                body["tool_choice"]["disable_parallel_tool_use"] = true.into();
            }
            tools.push(tool(ANSWER, "Gives the answer in the form that is asked for.", schema));
        }
        if !tools.is_empty() {
            body["tools"] = tools.into();
        }
        if ask.stream {
            body["stream"] = true.into();
        }
        Call { path: vec!["messages".to_owned()], query: Vec::new(), body }
    }

    fn decoder(&self, ask: &Ask<'_>) -> Box<dyn Decoder> {
        Box::new(Blocks { counts: Counts::default(), shaped: ask.schema.is_some(), open: None })
    }

    fn embed(&self, _: &str, _: &[String], _: Option<u32>) -> Option<Call> {
        None
    }

    fn vectors(&self, _: &str) -> Result<Vectors, BackendError> {
        Ok((Vec::new(), None))
    }
}

fn tool(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "description": description, "input_schema": schema})
}

fn call(call: &ToolCall) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
}

fn control(cache: PromptCache) -> Value {
    match cache {
        PromptCache::FiveMinutes => json!({"type": "ephemeral"}),
        PromptCache::OneHour => json!({"type": "ephemeral", "ttl": "1h"}),
    }
}

/// The conversation in blocks: results of tools that follow each other share one message, and empty texts, which
/// are refused, are left out.
fn messages(messages: &[Message]) -> Vec<Value> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    let mut after_tool = false;
    for message in messages.iter().filter(|message| message.role != Role::System) {
        let text = (!message.content.is_empty()).then(|| json!({"type": "text", "text": message.content}));
        let (role, blocks): (_, Vec<Value>) = match message.role {
            Role::Tool => {
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                ("user", vec![json!({"type": "tool_result", "tool_use_id": id, "content": message.content})])
            }
            Role::Assistant => ("assistant", text.into_iter().chain(message.tool_calls.iter().map(call)).collect()),
            Role::System | Role::User => ("user", text.into_iter().collect()),
        };
        match turns.last_mut() {
            Some((last, all)) if *last == role && (after_tool || blocks.is_empty()) => all.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => turns.push((role, blocks)),
        }
        after_tool = message.role == Role::Tool;
    }
    turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

/// Tokens as Anthropic counts them: `input` is what was neither read from nor written to a cache. Later figures
/// are running totals and replace earlier ones.
#[derive(Debug, Default, Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Creation>,
    output_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Creation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

impl Counts {
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        if later.cache_creation.is_some() {
            self.cache_creation = later.cache_creation;
        }
    }

    fn usage(&self) -> Usage {
        let split = self.cache_creation.as_ref();
        let long = split.and_then(|split| split.ephemeral_1h_input_tokens);
        let short = split.and_then(|split| split.ephemeral_5m_input_tokens);
        let sum = match (short, long) {
            (None, None) => None,
            (short, long) => Some(short.unwrap_or(0) + long.unwrap_or(0)),
        };
        let written = self.cache_creation_input_tokens.or(sum);
        let cached = self.cache_read_input_tokens;
        Usage {
            input_tokens: self
                .input_tokens
                .map(|input| input.saturating_add(cached.unwrap_or(0)).saturating_add(written.unwrap_or(0))),
            cached_input_tokens: cached,
            cache_write_tokens: written,
            cache_write_1h_tokens: long,
            output_tokens: self.output_tokens,
            reasoning_tokens: None,
            prescribed_tokens: None,
        }
    }
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    /// `message_start`.
    message: Option<Start>,
    /// `content_block_start`.
    content_block: Option<Block>,
    /// `content_block_delta` and `message_delta`.
    delta: Option<Delta>,
    /// `message_delta`.
    usage: Option<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Start {
    id: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Value>,
}

#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    stop_reason: Option<String>,
}

struct Blocks {
    counts: Counts,
    /// Whether the answer shall come as the arguments of a tool; text is what a model says that calls none.
    shaped: bool,
    /// The block of a tool that is being sent.
    open: Option<Open>,
}

struct Open {
    index: Option<u64>,
    /// Whether it is the tool whose arguments are the answer.
    is_answer: bool,
    /// What the block began with; counts when no piece follows.
    input: Option<Value>,
}

impl Blocks {
    fn begin(&mut self, index: Option<u64>, block: Block, answer: &mut Answer) {
        match block.kind.as_str() {
            "text" => answer.push_text(block.text.as_deref().unwrap_or_default()),
            "tool_use" => {
                let is_answer = self.shaped && block.name.as_deref() == Some(ANSWER);
                if is_answer {
                    answer.restart();
                } else {
                    answer.push_call(index, block.id.as_deref(), block.name.as_deref(), "");
                }
                let input = block.input.filter(|input| input.as_object().is_some_and(|fields| !fields.is_empty()));
                answer.begun = true;
                self.open = Some(Open { index, is_answer, input });
            }
            _ => {}
        }
    }

    fn arguments(&mut self, text: &str, answer: &mut Answer) {
        let Some(open) = &mut self.open else { return };
        if !text.is_empty() {
            open.input = None;
        }
        if open.is_answer {
            answer.push_text(text);
        } else {
            answer.push_call(open.index, None, None, text);
        }
    }

    fn end(&mut self, answer: &mut Answer) {
        if let Some(input) = self.open.as_mut().and_then(|open| open.input.take()) {
            self.arguments(&input.to_string(), answer);
        }
        self.open = None;
    }

    fn stop(reason: &str, answer: &mut Answer) {
        answer.finish = Some(match reason {
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "refusal" => FinishReason::ContentFilter,
            "tool_use" if answer.has_calls() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        });
    }
}

impl Decoder for Blocks {
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<(), BackendError> {
        let part: Part = read(&event.data)?;
        if let Some(error) = part.error {
            return Err(reported(&error));
        }
        if let Some(start) = part.message {
            answer.id = start.id;
            self.counts.update(start.usage.unwrap_or_default());
        }
        if let Some(usage) = part.usage {
            self.counts.update(usage);
        }
        answer.usage = self.counts.usage();
        match part.kind.as_str() {
            "content_block_start" => {
                if let Some(block) = part.content_block {
                    self.begin(part.index, block, answer);
                }
            }
            "content_block_delta" => {
                let Some(delta) = part.delta else { return Ok(()) };
                answer.begun |= delta.thinking.is_some();
                if let Some(text) = delta.text {
                    answer.push_text(&text);
                }
                if let Some(json) = delta.partial_json {
                    self.arguments(&json, answer);
                }
            }
            "content_block_stop" => self.end(answer),
            "message_delta" => {
                if let Some(reason) = part.delta.and_then(|delta| delta.stop_reason) {
                    Self::stop(&reason, answer);
                }
            }
            "message_stop" => answer.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn whole(&mut self, body: &str, answer: &mut Answer) -> Result<(), BackendError> {
        #[derive(Deserialize)]
        struct Reply {
            id: Option<String>,
            content: Option<Vec<Block>>,
            stop_reason: Option<String>,
            usage: Option<Counts>,
            error: Option<Value>,
        }
        let reply: Reply = read(body)?;
        if let Some(error) = reply.error {
            return Err(reported(&error));
        }
        for (index, block) in (0..).zip(reply.content.unwrap_or_default()) {
            self.begin(Some(index), block, answer);
            self.end(answer);
        }
        self.counts.update(reply.usage.unwrap_or_default());
        answer.usage = self.counts.usage();
        answer.id = reply.id;
        if let Some(reason) = reply.stop_reason {
            Self::stop(&reason, answer);
        }
        answer.ended = true;
        Ok(())
    }
}
