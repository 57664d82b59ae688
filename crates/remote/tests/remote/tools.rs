//! Tools: definitions out, calls back, results out.

use lumos_core::{ChatRequest, FinishReason, Message, NoDeltas, Role, ToolCall, ToolDefinition};
use lumos_faults::{Answer, Ending, Script};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions};
use serde_json::{Value, json};

use crate::support::{PROVIDERS, ask, options, replies, server};

fn request() -> ChatRequest {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = ToolDefinition { name: "weather".to_owned(), description: "Today's weather.".to_owned(), parameters };
    ChatRequest { tools: vec![tool], ..ask("Is it warm in Rome and in Oslo?") }
}

fn call(id: &str, city: &str) -> ToolCall {
    ToolCall { id: id.to_owned(), name: "weather".to_owned(), arguments: json!({"city": city}) }
}

#[tokio::test]
async fn calls_come_back_whole() {
    for provider in PROVIDERS {
        for stream in [true, false] {
            let mut answer = Answer { ending: Ending::Calls, ..Answer::new("Let me see.") };
            let wanted = [call("c1", "Rome"), call("c2", "Oslo")];
            answer.calls =
                wanted.iter().map(|call| (call.id.clone(), call.name.clone(), call.arguments.to_string())).collect();
            let server = server(Script::always(answer)).await;
            let options = RemoteOptions { stream, ..options(&server.url(), provider) };
            let completion = RemoteBackend::new(options).unwrap().chat(request(), &NoDeltas).await.unwrap();
            assert_eq!(completion.tool_calls, wanted, "{provider:?} {stream}");
            assert_eq!(completion.report.finish_reason, Some(FinishReason::ToolCalls), "{provider:?}");
            assert_eq!(completion.text, "Let me see.");
            assert!(server.requests()[0].json()["tools"].to_string().contains("Today's weather."));
        }
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_are_a_passing_failure() {
    let mut answer = Answer { ending: Ending::Calls, ..Answer::new("") };
    answer.calls = vec![("c1".to_owned(), "weather".to_owned(), "{\"city\": ".to_owned())];
    let server = replies([answer.into()]).await;
    let backend = RemoteBackend::new(options(&server.url(), Provider::OpenAi)).unwrap();
    let error = backend.chat(request(), &NoDeltas).await.unwrap_err();
    assert!(error.is_retryable() && error.message.contains("weather"), "{error}");
    assert_eq!(error.report.unwrap().usage.input_tokens, Some(3));
}

/// The messages that `provider` sends after two calls were answered.
async fn conversation(provider: Provider) -> Value {
    let server = replies([Answer::new("Yes.").into()]).await;
    let mut request = request();
    let mut asked = Message::new(Role::Assistant, "");
    asked.tool_calls = vec![call("c1", "Rome"), call("c2", "Oslo")];
    request.messages.push(asked);
    request.messages.push(Message::tool_result("c1", "30"));
    request.messages.push(Message::tool_result("c2", "10"));
    RemoteBackend::new(options(&server.url(), provider)).unwrap().chat(request, &NoDeltas).await.unwrap();
    let body = server.requests()[0].json();
    let messages = if provider == Provider::Gemini { &body["contents"] } else { &body["messages"] };
    Value::from(messages.as_array().unwrap()[1..].to_vec())
}

#[tokio::test]
async fn results_go_out_in_each_protocols_terms() {
    let function = |city: &str| json!({"name": "weather", "arguments": format!("{{\"city\":\"{city}\"}}")});
    assert_eq!(
        conversation(Provider::OpenAi).await,
        json!([
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": function("Rome")},
                {"id": "c2", "type": "function", "function": function("Oslo")},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "30"},
            {"role": "tool", "tool_call_id": "c2", "content": "10"},
        ])
    );
    assert_eq!(
        conversation(Provider::Anthropic).await,
        json!([
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {"city": "Oslo"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "30"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "10"},
            ]},
        ])
    );
    assert_eq!(
        conversation(Provider::Gemini).await,
        json!([
            {"role": "model", "parts": [
                {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}}},
                {"functionCall": {"id": "c2", "name": "weather", "args": {"city": "Oslo"}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "c1", "name": "weather", "response": {"result": "30"}}},
                {"functionResponse": {"id": "c2", "name": "weather", "response": {"result": "10"}}},
            ]},
        ])
    );
}
