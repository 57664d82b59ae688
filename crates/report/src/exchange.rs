//! What one attempt was given and what it gave, as people read it.

use lumos_core::{AttemptRecord, ChatRequest, Destination, Exchange, Message, OutputFormat, Role as Speaker};
use serde_json::Value;

use crate::figure::{self, NONE, UNKNOWN};
use crate::steps;
use crate::table::{Line, Role};

/// An attempt in full: its figures, the prompt or the arguments, and the answer or the error.
///
/// Texts of several lines stay texts of several lines; control characters in them are the reader's to make visible.
pub fn exchange(name: &str, attempt: &AttemptRecord, exchange: &Exchange) -> Vec<Line> {
    let mut lines = vec![line(Role::Header, &format!("{name} try {}: {}", attempt.attempt, attempt.status.as_str()))];
    lines.push(line(Role::Note, &times(attempt).join(" · ")));
    lines.push(line(Role::Note, &usage(attempt).join(" · ")));
    match &exchange.request {
        Some(request) => prompt(request, &mut lines),
        None => section("arguments", exchange.arguments.as_ref(), &mut lines),
    }
    section("answer", exchange.output.as_ref(), &mut lines);
    if let Some(error) = &exchange.error {
        lines.extend([line(Role::Row, ""), line(Role::Header, "error")]);
        lines.extend(error.message.lines().map(|text| line(Role::Ended(attempt.status), text)));
        lines.extend(error.hint.iter().map(|hint| line(Role::Note, &format!("hint: {hint}"))));
    }
    lines
}

fn line(role: Role, text: &str) -> Line {
    Line { role, text: text.trim_end().to_owned() }
}

/// Who was asked, and how long everything took.
fn times(attempt: &AttemptRecord) -> Vec<String> {
    let mut parts = Vec::new();
    let is_asked = attempt.backend.is_some();
    if let Some(backend) = &attempt.backend {
        let name = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        parts.push(format!("{backend}: {} by {}", name(&attempt.model), name(&attempt.provider)));
    }
    parts.push(format!("started at {}", figure::duration(attempt.start_us)));
    if is_asked {
        parts.push(format!("waited {}", figure::time(attempt.queue_us, attempt.status)));
    }
    if let Some(ttft_us) = attempt.ttft_us {
        parts.push(format!("first token after {}", figure::duration(ttft_us)));
    }
    parts.push(format!("took {}", figure::time(attempt.duration_us, attempt.status)));
    parts
}

/// What an attempt used, cost and sent.
fn usage(attempt: &AttemptRecord) -> Vec<String> {
    let mut parts = Vec::new();
    let tokens = |count: Option<u64>| count.map_or_else(|| UNKNOWN.to_owned(), figure::count);
    let is_asked = attempt.backend.is_some();
    if is_asked {
        let usage = &attempt.usage;
        let cached = usage.cached_input_tokens.map(|count| format!(" ({} cached)", figure::count(count)));
        parts.push(format!("{} tokens in{}", tokens(usage.input_tokens), cached.unwrap_or_default()));
        let hidden = usage.reasoning_tokens.map(|count| format!(" ({} reasoning)", figure::count(count)));
        parts.push(format!("{} out{}", tokens(usage.output_tokens), hidden.unwrap_or_default()));
    }
    parts.push(
        attempt.cost_usd.map_or_else(|| "cost unknown".to_owned(), |cost| format!("cost {}", figure::money(cost))),
    );
    if is_asked {
        parts.push(match attempt.destination {
            Destination::Inside => "inside the boundary".to_owned(),
            Destination::Outside => {
                let bytes = attempt.bytes_sent.map_or_else(|| "an unknown number of bytes".to_owned(), figure::bytes);
                format!("{bytes} sent outside the boundary")
            }
        });
    }
    parts.extend(attempt.finish_reason.map(|reason| format!("ended by {}", steps::finish(reason))));
    parts.extend(attempt.request_id.as_ref().map(|id| format!("request {id}")));
    parts
}

fn prompt(request: &ChatRequest, lines: &mut Vec<Line>) {
    for message in &request.messages {
        lines.extend([line(Role::Row, ""), line(Role::Header, speaker(message))]);
        lines.extend(message.content.lines().map(|text| line(Role::Row, text)));
        for call in &message.tool_calls {
            lines.push(line(Role::Row, &format!("→ {} {} ({})", call.name, call.arguments, call.id)));
        }
    }
    let decoding = &request.decoding;
    let mut parts = vec![format!("temperature {}", decoding.temperature)];
    parts.extend(decoding.top_p.map(|top_p| format!("top_p {top_p}")));
    parts.extend(decoding.top_k.map(|top_k| format!("top_k {top_k}")));
    parts.push(format!("at most {} tokens", figure::count(u64::from(decoding.max_tokens))));
    parts.push(format!("seed {}", decoding.seed));
    parts.extend(match &request.format {
        OutputFormat::Text => None,
        OutputFormat::JsonSchema(_) => Some("JSON by a schema".to_owned()),
        OutputFormat::Regex(regex) => Some(format!("by the pattern {regex}")),
        OutputFormat::Choice(choices) => Some(format!("one of {}", choices.join(", "))),
    });
    if !request.tools.is_empty() {
        let names: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        parts.push(format!("tools {}", names.join(", ")));
    }
    lines.extend([line(Role::Row, ""), line(Role::Note, &parts.join(" · "))]);
}

fn speaker(message: &Message) -> &'static str {
    match message.role {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
        Speaker::Tool => "tool",
    }
}

/// A value under its name; nothing when it is not known, `—` when it is empty.
fn section(name: &str, value: Option<&Value>, lines: &mut Vec<Line>) {
    let Some(value) = value else { return };
    let text = match value {
        Value::Null => NONE.to_owned(),
        // Agents give an object with a text; its other fields say how it came about.
        Value::Object(fields) if fields.len() == 1 && fields.get("text").is_some_and(Value::is_string) => {
            fields.get("text").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    lines.extend([line(Role::Row, ""), line(Role::Header, name)]);
    lines.extend(text.lines().map(|text| line(Role::Row, text)));
}

#[cfg(test)]
mod tests {
    use lumos_core::{Decoding, ErrorRecord, Status};
    use serde_json::json;

    use super::*;
    use crate::sample::attempt;

    fn text(lines: Vec<Line>) -> String {
        lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_call_of_a_model() {
        let messages = vec![Message::new(Speaker::System, "Be brief."), Message::new(Speaker::User, "Why?\n\nSay it.")];
        let request =
            ChatRequest::new(messages, Decoding::default(), OutputFormat::Choice(vec!["a".into(), "b".into()]));
        let made = Exchange {
            arguments: Some(json!({ "input": "Why?" })),
            request: Some(request),
            output: Some(json!({ "text": "Because." })),
            error: None,
        };
        insta::assert_snapshot!(text(exchange("answer", &attempt(1, Some("small")), &made)));
    }

    #[test]
    fn a_failed_call_of_which_only_the_record_is_left() {
        let mut failed = attempt(2, Some("api"));
        (failed.status, failed.cost_usd, failed.ttft_us, failed.finish_reason) = (Status::Failed, None, None, None);
        failed.usage = lumos_core::Usage::default();
        let error = ErrorRecord { message: "the server answered 503".to_owned(), hint: Some("ask later".to_owned()) };
        let made = Exchange { error: Some(error), ..Exchange::default() };
        insta::assert_snapshot!(text(exchange("round#0/answer", &failed, &made)));
    }
}
