//! Google's Gemini: `generateContent`, streamed, and `batchEmbedContents`.

use lumos_core::spec::Provider;
use lumos_core::{BackendError, BackendErrorKind, FinishReason, Message, Role, ToolCall, Usage};
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::failure::error;
use crate::secret::Secret;
use crate::sse::Event;
use crate::transport::secret_value;
use crate::wire::{Ask, Call, Decoder, Vectors, Wire, read, reported, seed, system};

/// Most stop texts that are taken.
const MOST_STOPS: usize = 5;

/// The protocol.
pub(crate) struct Gemini;

impl Wire for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn base(&self) -> Option<&'static str> {
        Provider::Gemini.base_url()
    }

    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, BackendError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert("x-goog-api-key", secret_value("the key", key.expose())?);
        }
        Ok(headers)
    }

    fn objects_only(&self) -> bool {
        false
    }

    fn chat(&self, ask: &Ask<'_>) -> Call {
        let decoding = ask.decoding;
        let mut config = json!({
            "temperature": decoding.temperature.min(2.0),
            "maxOutputTokens": decoding.max_tokens,
            "seed": seed(decoding.seed),
        });
        if let Some(top_p) = decoding.top_p {
            config["topP"] = top_p.into();
        }
        if let Some(top_k) = decoding.top_k {
            config["topK"] = top_k.into();
        }
        if !ask.stops.is_empty() {
            config["stopSequences"] = ask.stops.iter().take(MOST_STOPS).cloned().collect();
        }
        if let Some(schema) = ask.schema {
            config["responseMimeType"] = "application/json".into();
            config["responseJsonSchema"] = schema.clone();
        }
        let mut body = json!({"contents": contents(ask.messages), "generationConfig": config});
        if let Some(system) = system(ask.messages) {
            body["systemInstruction"] = json!({"parts": [{"text": system}]});
        }
        if !ask.tools.is_empty() {
            let tool = |tool: &lumos_core::ToolDefinition| {
                let (name, description) = (&tool.name, &tool.description);
                json!({"name": name, "description": description, "parametersJsonSchema": tool.parameters})
            };
            body["tools"] = json!([{"functionDeclarations": ask.tools.iter().map(tool).collect::<Vec<_>>()}]);
        }
        let (method, query) =
            if ask.stream { ("streamGenerateContent", vec![("alt", "sse")]) } else { ("generateContent", Vec::new()) };
        Call { path: path(ask.model, method), query, body }
    }

    fn decoder(&self, _: &Ask<'_>) -> Box<dyn Decoder> {
        Box::new(Candidates)
    }

    fn embed(&self, model: &str, texts: &[String], dimensions: Option<u32>) -> Option<Call> {
        let request = |text: &String| {
            let mut request =
                json!({"model": format!("models/{}", bare(model)), "content": {"parts": [{"text": text}]}});
            if let Some(dimensions) = dimensions {
                request["outputDimensionality"] = dimensions.into();
            }
            request
        };
        let body = json!({"requests": texts.iter().map(request).collect::<Vec<_>>()});
        Some(Call { path: path(model, "batchEmbedContents"), query: Vec::new(), body })
    }

    fn vectors(&self, body: &str) -> Result<Vectors, BackendError> {
        #[derive(Deserialize)]
        struct Reply {
            embeddings: Option<Vec<Embedding>>,
            error: Option<Value>,
        }
        #[derive(Deserialize)]
        struct Embedding {
            values: Vec<f32>,
        }
        let reply: Reply = read(body)?;
        if let Some(error) = reply.error {
            return Err(reported(&error));
        }
        let embeddings = reply.embeddings.unwrap_or_default();
        Ok((embeddings.into_iter().map(|embedding| embedding.values).collect(), None))
    }
}

fn bare(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

fn path(model: &str, method: &str) -> Vec<String> {
    vec!["models".to_owned(), format!("{}:{method}", bare(model))]
}

fn call(call: &ToolCall) -> Value {
    json!({"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}})
}

/// The conversation; a tool's result names its tool, which is looked up by the call's id.
fn contents(messages: &[Message]) -> Vec<Value> {
    let mut contents: Vec<(&'static str, Vec<Value>)> = Vec::new();
    let mut after_tool = false;
    for message in messages.iter().filter(|message| message.role != Role::System) {
        let text = (!message.content.is_empty()).then(|| json!({"text": message.content}));
        let (role, parts): (_, Vec<Value>) = match message.role {
            Role::Tool => {
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                let calls = messages.iter().flat_map(|message| &message.tool_calls);
                let name = { calls }.find(|call| call.id == id).map_or("", |call| call.name.as_str());
                let response = json!({"id": id, "name": name, "response": {"result": message.content}});
                ("user", vec![json!({"functionResponse": response})])
            }
            Role::Assistant => ("model", text.into_iter().chain(message.tool_calls.iter().map(call)).collect()),
            Role::System | Role::User => ("user", text.into_iter().collect()),
        };
        let is_tool = message.role == Role::Tool;
        match contents.last_mut() {
            Some((_, all)) if is_tool && after_tool => all.extend(parts),
            _ if parts.is_empty() => {}
            _ => contents.push((role, parts)),
        }
        after_tool = is_tool;
    }
    contents.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    candidates: Option<Vec<Candidate>>,
    usage_metadata: Option<Tokens>,
    prompt_feedback: Option<Feedback>,
    response_id: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    index: Option<u64>,
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    parts: Option<Vec<Part>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    /// Whether the text is a thought.
    thought: Option<bool>,
    function_call: Option<FunctionCall>,
}

#[derive(Deserialize)]
struct FunctionCall {
    id: Option<String>,
    name: Option<String>,
    args: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the protocol's names")]
struct Tokens {
    prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

impl From<Tokens> for Usage {
    /// Counts of zero are left out of the document, so that what is missing beside a prompt's count is zero.
    fn from(tokens: Tokens) -> Self {
        let Some(prompt) = tokens.prompt_token_count else { return Self::default() };
        let thoughts = tokens.thoughts_token_count.unwrap_or(0);
        Self {
            input_tokens: Some(prompt.saturating_add(tokens.tool_use_prompt_token_count.unwrap_or(0))),
            cached_input_tokens: Some(tokens.cached_content_token_count.unwrap_or(0)),
            output_tokens: Some(tokens.candidates_token_count.unwrap_or(0).saturating_add(thoughts)),
            reasoning_tokens: Some(thoughts),
            ..Self::default()
        }
    }
}

struct Candidates;

impl Decoder for Candidates {
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<(), BackendError> {
        take(read(&event.data)?, answer)
    }

    fn whole(&mut self, body: &str, answer: &mut Answer) -> Result<(), BackendError> {
        // Without `alt=sse` a stream is a list of what would be its events.
        let chunks: Vec<Chunk> = if body.trim_start().starts_with('[') { read(body)? } else { vec![read(body)?] };
        for chunk in chunks {
            take(chunk, answer)?;
        }
        answer.ended = true;
        Ok(())
    }
}

fn take(chunk: Chunk, answer: &mut Answer) -> Result<(), BackendError> {
    if let Some(error) = chunk.error {
        return Err(reported(&error));
    }
    if answer.id.is_none() {
        answer.id = chunk.response_id;
    }
    if let Some(tokens) = chunk.usage_metadata {
        answer.usage = tokens.into();
    }
    if chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
        answer.finish = Some(FinishReason::ContentFilter);
    }
    let candidates = chunk.candidates.unwrap_or_default();
    for candidate in candidates.into_iter().filter(|candidate| candidate.index.unwrap_or(0) == 0) {
        for part in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            match part.text {
                Some(_) if part.thought == Some(true) => answer.begun = true,
                Some(text) => answer.push_text(&text),
                None => {}
            }
            if let Some(call) = part.function_call {
                let (name, arguments) = (call.name.as_deref(), call.args.unwrap_or_else(|| json!({})));
                let id = call.id.filter(|id| !id.is_empty());
                let id = id.unwrap_or_else(|| answer.next_call_id());
                answer.push_call(None, Some(&id), name, &arguments.to_string());
            }
        }
        if let Some(reason) = candidate.finish_reason {
            answer.finish = Some(match reason.as_str() {
                "MAX_TOKENS" => FinishReason::Length,
                "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => {
                    let message = format!("the model failed to call a tool ({reason})");
                    return Err(error(BackendErrorKind::Transient, message));
                }
                "STOP" | "OTHER" | "FINISH_REASON_UNSPECIFIED" => FinishReason::Stop,
                // Safety, recitation, blocklists, personal data.
                _ => FinishReason::ContentFilter,
            });
        }
    }
    Ok(())
}
