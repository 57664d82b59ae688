//! Answers in the words of the three protocols.

use serde_json::{Value, json};

use crate::script::{Answer, Ending, Received, Tokens, UsageShown};

/// Whose protocol a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    OpenAi,
    Anthropic,
    Gemini,
    Embeddings,
    GeminiEmbeddings,
}

impl Protocol {
    fn of(request: &Received) -> Self {
        let path = request.path().split('?').next().unwrap_or_default();
        match path {
            _ if path.ends_with("/messages") => Self::Anthropic,
            _ if path.ends_with("enerateContent") => Self::Gemini,
            _ if path.ends_with("/embeddings") => Self::Embeddings,
            _ if path.ends_with(":batchEmbedContents") => Self::GeminiEmbeddings,
            _ => Self::OpenAi,
        }
    }
}

/// An answer that is ready to be sent.
pub(crate) struct Rendered {
    /// Whether it is a stream of events.
    pub(crate) stream: bool,
    /// What is sent, in pieces.
    pub(crate) parts: Vec<String>,
}

/// `answer` as the protocol of `request` writes it.
pub(crate) fn render(request: &Received, answer: &Answer) -> Rendered {
    let protocol = Protocol::of(request);
    let body = request.json();
    let stream = body["stream"] == true || request.path().contains("streamGenerateContent");
    let stream = stream && !matches!(protocol, Protocol::Embeddings | Protocol::GeminiEmbeddings);
    if !stream {
        let whole = match protocol {
            Protocol::OpenAi => openai_whole(answer),
            Protocol::Anthropic => anthropic_whole(answer),
            Protocol::Gemini => gemini_whole(answer),
            Protocol::Embeddings => embeddings(answer),
            Protocol::GeminiEmbeddings => {
                let vectors: Vec<Value> = answer.vectors.iter().map(|vector| json!({"values": vector})).collect();
                json!({"embeddings": vectors})
            }
        };
        return Rendered { stream, parts: vec![whole.to_string()] };
    }
    let parts = match protocol {
        Protocol::Anthropic => anthropic_events(answer),
        Protocol::Gemini => plain_events(gemini_chunks(answer), false),
        _ => plain_events(openai_chunks(answer), true),
    };
    Rendered { stream, parts }
}

fn plain_events(chunks: Vec<Value>, done: bool) -> Vec<String> {
    let mut events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    if done {
        events.push("data: [DONE]\n\n".to_owned());
    }
    events
}

/// The tokens to state, in order.
fn stated(answer: &Answer) -> Vec<Tokens> {
    let tokens = answer.tokens;
    match answer.usage {
        UsageShown::Never => Vec::new(),
        UsageShown::Once => vec![tokens],
        UsageShown::Twice => vec![Tokens { output: tokens.output / 2, ..tokens }, tokens],
    }
}

fn openai_finish(answer: &Answer) -> &'static str {
    match answer.ending {
        Ending::Stop => "stop",
        Ending::Length => "length",
        Ending::Filter => "content_filter",
        Ending::Calls => "tool_calls",
    }
}

fn openai_usage(tokens: Tokens) -> Value {
    let mut usage = json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
    });
    if let Some(cached) = tokens.cached {
        usage["prompt_tokens_details"] = json!({"cached_tokens": cached, "audio_tokens": 0});
    }
    if let Some(reasoning) = tokens.reasoning {
        usage["completion_tokens_details"] = json!({"reasoning_tokens": reasoning});
    }
    usage
}

fn openai_chunks(answer: &Answer) -> Vec<Value> {
    let chunk = |choices: Value| {
        let kind = "chat.completion.chunk";
        json!({"id": "chatcmpl-1", "object": kind, "model": "m", "choices": choices, "usage": null})
    };
    let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]));
    let mut chunks = vec![delta(json!({"role": "assistant", "content": ""}))];
    chunks.extend(answer.pieces.iter().map(|piece| delta(json!({"content": piece}))));
    for (index, (id, name, arguments)) in answer.calls.iter().enumerate() {
        let start = json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
        chunks.push(delta(json!({"tool_calls": [start]})));
        let half = arguments.char_indices().nth(arguments.chars().count() / 2).map_or(0, |(at, _)| at);
        for piece in [&arguments[..half], &arguments[half..]] {
            chunks.push(delta(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})));
        }
    }
    chunks.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": openai_finish(answer)}])));
    for tokens in stated(answer) {
        let mut last = chunk(json!([]));
        last["usage"] = openai_usage(tokens);
        chunks.push(last);
    }
    chunks
}

fn openai_whole(answer: &Answer) -> Value {
    let call = |(id, name, arguments): &(String, String, String)| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"id": id, "type": "function", "function": function})
    };
    let calls: Vec<Value> = answer.calls.iter().map(call).collect();
    let mut message = json!({"role": "assistant", "content": answer.pieces.concat()});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": openai_finish(answer)});
    let mut whole = json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice]});
    if let Some(tokens) = stated(answer).last() {
        whole["usage"] = openai_usage(*tokens);
    }
    whole
}

fn embeddings(answer: &Answer) -> Value {
    // In reverse, because the index counts, not the order.
    let entry =
        |(index, vector): (usize, &Vec<f32>)| json!({"object": "embedding", "index": index, "embedding": vector});
    let data: Vec<Value> = answer.vectors.iter().enumerate().rev().map(entry).collect();
    let mut whole = json!({"object": "list", "model": "m", "data": data});
    if answer.usage != UsageShown::Never {
        whole["usage"] = json!({"prompt_tokens": answer.tokens.input, "total_tokens": answer.tokens.input});
    }
    whole
}

fn anthropic_finish(answer: &Answer) -> &'static str {
    match answer.ending {
        Ending::Stop => "end_turn",
        Ending::Length => "max_tokens",
        Ending::Filter => "refusal",
        Ending::Calls => "tool_use",
    }
}

/// Anthropic's `input_tokens` are those that no cache had a part in.
fn anthropic_usage(tokens: Tokens) -> Value {
    let (read, written) = (tokens.cached.unwrap_or(0), tokens.cache_write.unwrap_or(0));
    let long = tokens.cache_write_1h.unwrap_or(0);
    let mut usage = json!({
        "input_tokens": tokens.input.saturating_sub(read + written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": tokens.output,
    });
    if tokens.cache_write_1h.is_some() {
        usage["cache_creation"] =
            json!({"ephemeral_5m_input_tokens": written.saturating_sub(long), "ephemeral_1h_input_tokens": long});
    }
    usage
}

fn anthropic_events(answer: &Answer) -> Vec<String> {
    let event = |kind: &str, mut value: Value| {
        value["type"] = kind.into();
        format!("event: {kind}\ndata: {value}\n\n")
    };
    let states = stated(answer);
    let mut message = json!({"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"});
    if let Some(tokens) = states.first() {
        message["usage"] = anthropic_usage(Tokens { output: 1, ..*tokens });
    }
    let mut events = vec![event("message_start", json!({"message": message})), event("ping", json!({}))];
    let mut index = 0;
    if !answer.pieces.is_empty() {
        events.push(event("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})));
        for piece in &answer.pieces {
            let delta = json!({"type": "text_delta", "text": piece});
            events.push(event("content_block_delta", json!({"index": 0, "delta": delta})));
        }
        events.push(event("content_block_stop", json!({"index": 0})));
        index = 1;
    }
    for (id, name, arguments) in &answer.calls {
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        events.push(event("content_block_start", json!({"index": index, "content_block": block})));
        let half = arguments.char_indices().nth(arguments.chars().count() / 2).map_or(0, |(at, _)| at);
        for piece in ["", &arguments[..half], &arguments[half..]] {
            let delta = json!({"type": "input_json_delta", "partial_json": piece});
            events.push(event("content_block_delta", json!({"index": index, "delta": delta})));
        }
        events.push(event("content_block_stop", json!({"index": index})));
        index += 1;
    }
    let delta = json!({"stop_reason": anthropic_finish(answer), "stop_sequence": null});
    if states.is_empty() {
        events.push(event("message_delta", json!({"delta": delta})));
    }
    for tokens in states {
        events.push(event("message_delta", json!({"delta": delta, "usage": {"output_tokens": tokens.output}})));
    }
    events.push(event("message_stop", json!({})));
    events
}

fn anthropic_whole(answer: &Answer) -> Value {
    let mut content = Vec::new();
    if !answer.pieces.is_empty() {
        content.push(json!({"type": "text", "text": answer.pieces.concat()}));
    }
    for (id, name, arguments) in &answer.calls {
        let input: Value = serde_json::from_str(arguments).unwrap_or_default();
        content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
    }
    let mut whole =
        json!({"id": "msg_1", "type": "message", "content": content, "stop_reason": anthropic_finish(answer)});
    if let Some(tokens) = stated(answer).last() {
        whole["usage"] = anthropic_usage(*tokens);
    }
    whole
}

fn gemini_finish(answer: &Answer) -> &'static str {
    match answer.ending {
        Ending::Stop | Ending::Calls => "STOP",
        Ending::Length => "MAX_TOKENS",
        Ending::Filter => "SAFETY",
    }
}

/// Counts of zero are left out, as Google's JSON does.
fn gemini_usage(tokens: Tokens) -> Value {
    let thoughts = tokens.reasoning.unwrap_or(0);
    let mut usage = json!({"promptTokenCount": tokens.input, "totalTokenCount": tokens.input + tokens.output});
    let parts = [
        ("candidatesTokenCount", tokens.output.saturating_sub(thoughts)),
        ("thoughtsTokenCount", thoughts),
        ("cachedContentTokenCount", tokens.cached.unwrap_or(0)),
    ];
    for (name, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        usage[name] = count.into();
    }
    usage
}

fn gemini_candidate(parts: Vec<Value>, finish: Option<&str>) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    json!({"candidates": [candidate], "responseId": "resp-1"})
}

fn gemini_calls(answer: &Answer) -> Vec<Value> {
    let call = |(id, name, arguments): &(String, String, String)| {
        let args: Value = serde_json::from_str(arguments).unwrap_or_default();
        json!({"functionCall": {"id": id, "name": name, "args": args}})
    };
    answer.calls.iter().map(call).collect()
}

fn gemini_chunks(answer: &Answer) -> Vec<Value> {
    let text = |piece: &String| gemini_candidate(vec![json!({"text": piece})], None);
    let mut chunks: Vec<Value> = answer.pieces.iter().map(text).collect();
    let states = stated(answer);
    for (chunk, tokens) in chunks.iter_mut().zip(states.iter().rev().skip(1)) {
        chunk["usageMetadata"] = gemini_usage(*tokens);
    }
    let mut last = gemini_candidate(gemini_calls(answer), Some(gemini_finish(answer)));
    if let Some(tokens) = states.last() {
        last["usageMetadata"] = gemini_usage(*tokens);
    }
    chunks.push(last);
    chunks
}

fn gemini_whole(answer: &Answer) -> Value {
    let mut parts = vec![json!({"text": answer.pieces.concat()})];
    parts.extend(gemini_calls(answer));
    let mut whole = gemini_candidate(parts, Some(gemini_finish(answer)));
    if let Some(tokens) = stated(answer).last() {
        whole["usageMetadata"] = gemini_usage(*tokens);
    }
    whole
}
