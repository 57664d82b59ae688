//! Plain answers: requests as the protocols want them, streams, cancellation.

use std::time::Duration;

use lumos_core::{Basis, Decoding, FinishReason, Message, NoDeltas, OutputFormat, Role};
use lumos_faults::{Answer, Ending, Script};
use lumos_remote::{PromptCache, Provider, RemoteBackend, RemoteOptions};
use serde_json::{Map, Value, json};

use crate::support::{Heard, KEY, PROVIDERS, answered, ask, backend, options, replies, server};

#[tokio::test]
async fn an_answer_streams_in_every_protocol() {
    for provider in PROVIDERS {
        for stream in [true, false] {
            let mut answer = Answer::new("one two three");
            answer.between = Duration::from_millis(2);
            let server = server(Script::always(answer)).await;
            let options = RemoteOptions { stream, ..options(&server.url(), provider) };
            let backend = RemoteBackend::new(options).unwrap();
            let heard = Heard::default();
            let completion = backend.chat(ask("Hi"), &heard).await.unwrap();
            let report = &completion.report;
            assert_eq!(completion.text, "one two three", "{provider:?}");
            assert_eq!(heard.text(), completion.text, "{provider:?}");
            assert_eq!(report.finish_reason, Some(FinishReason::Stop), "{provider:?}");
            assert_eq!((report.usage.input_tokens, report.usage.output_tokens), (Some(3), Some(3)), "{provider:?}");
            assert_eq!((report.tokens_basis, report.request_id.as_deref()), (Basis::Reported, Some("req-1")));
            assert_eq!(report.ttft_us.is_some(), stream, "{provider:?}");
            assert!(report.ttft_us <= report.busy_us, "{report:?}");
            if stream {
                assert!(heard.pieces.lock().unwrap().len() >= 3, "{provider:?} {:?}", heard.pieces);
            }
        }
    }
}

#[tokio::test]
async fn time_to_the_first_token_is_time_to_the_first_text() {
    let mut answer = Answer::new("one two three four");
    answer.first = Duration::from_millis(60);
    answer.between = Duration::from_millis(30);
    let report = answered(Provider::OpenAi, answer).await.report;
    let (ttft, busy) = (report.ttft_us.unwrap(), report.busy_us.unwrap());
    // One empty piece comes before the text.
    assert!((80_000..1_000_000).contains(&ttft), "{ttft}");
    assert!(busy >= ttft + 60_000, "{busy} {ttft}");
}

#[tokio::test]
async fn how_an_answer_ends_is_told() {
    for provider in PROVIDERS {
        for (ending, wanted) in [
            (Ending::Stop, FinishReason::Stop),
            (Ending::Length, FinishReason::Length),
            (Ending::Filter, FinishReason::ContentFilter),
        ] {
            let completion = answered(provider, Answer { ending, ..Answer::new("a b") }).await;
            assert_eq!(completion.report.finish_reason, Some(wanted), "{provider:?}");
        }
    }
}

/// The body that `provider` sends for a request with everything in it.
async fn sent(provider: Provider, change: impl FnOnce(&mut RemoteOptions)) -> (Value, String) {
    let server = replies([Answer::new("x").into()]).await;
    let mut options = options(&server.url(), provider);
    change(&mut options);
    let mut request = ask("Hi");
    request.messages.insert(0, Message::new(Role::System, "Be brief."));
    request.messages.push(Message::new(Role::Assistant, "Yes?"));
    request.messages.push(Message::new(Role::User, "Go on."));
    request.decoding = Decoding {
        temperature: 1.5,
        top_p: Some(0.9),
        top_k: Some(40),
        repetition_penalty: 1.1,
        max_tokens: 7,
        stop: ["a", "b", "c", "d", " ", "f"].map(str::to_owned).to_vec(),
        seed: u64::MAX - 5,
    };
    RemoteBackend::new(options).unwrap().chat(request, &NoDeltas).await.unwrap();
    let received = server.requests().remove(0);
    (received.json(), received.head)
}

#[tokio::test]
async fn openai_is_asked_in_its_terms() {
    let (body, head) = sent(Provider::OpenAi, |_| {}).await;
    let text = |role: &str, content: &str| json!({"role": role, "content": content});
    assert_eq!(
        body,
        json!({
            "model": "the-model",
            "messages": [
                text("system", "Be brief."), text("user", "Hi"), text("assistant", "Yes?"), text("user", "Go on."),
            ],
            "temperature": 1.5, "seed": 5, "max_completion_tokens": 7, "top_p": 0.9,
            "stop": ["a", "b", "c", "d"], "stream": true, "stream_options": {"include_usage": true},
        })
    );
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {KEY}\r\n")), "{head}");
}

#[tokio::test]
async fn compatible_servers_get_older_names_and_more_settings() {
    let (body, _) = sent(Provider::OpenAiCompatible, |_| {}).await;
    assert_eq!((&body["max_tokens"], &body["max_completion_tokens"]), (&json!(7), &Value::Null));
    assert_eq!(
        (&body["top_k"], &body["repeat_penalty"], &body["repetition_penalty"]),
        (&json!(40), &json!(1.1), &json!(1.1))
    );
    assert_eq!(body["stop"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn anthropic_is_asked_in_its_terms() {
    let (body, head) = sent(Provider::Anthropic, |options| options.prompt_cache = Some(PromptCache::OneHour)).await;
    let text = |role: &str, text: &str| json!({"role": role, "content": [{"type": "text", "text": text}]});
    assert_eq!(
        body,
        json!({
            "model": "the-model", "max_tokens": 7,
            "messages": [text("user", "Hi"), text("assistant", "Yes?"), text("user", "Go on.")],
            "temperature": 1.0,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "top_p": 0.9, "top_k": 40, "stop_sequences": ["a", "b", "c", "d", "f"], "stream": true,
        })
    );
    assert!(
        head.contains(&format!("x-api-key: {KEY}\r\n")) && head.contains("anthropic-version: 2023-06-01"),
        "{head}"
    );
    assert_eq!(sent(Provider::Anthropic, |_| {}).await.0["system"], "Be brief.");
}

#[tokio::test]
async fn gemini_is_asked_in_its_terms() {
    let (body, head) = sent(Provider::Gemini, |_| {}).await;
    let text = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    assert_eq!(
        body,
        json!({
            "contents": [text("user", "Hi"), text("model", "Yes?"), text("user", "Go on.")],
            "generationConfig": {
                "temperature": 1.5, "maxOutputTokens": 7, "seed": 5, "topP": 0.9, "topK": 40,
                "stopSequences": ["a", "b", "c", "d", " "],
            },
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
        })
    );
    assert!(head.starts_with("POST /v1/models/the-model:streamGenerateContent?alt=sse HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("x-goog-api-key: {KEY}\r\n")), "{head}");
}

#[tokio::test]
async fn fields_are_left_out_and_added_as_the_deployment_says() {
    let (body, _) = sent(Provider::OpenAi, |options| {
        options.omit = vec!["temperature".to_owned(), "seed".to_owned()];
        options.extra = Map::from_iter([("reasoning_effort".to_owned(), json!("low"))]);
    })
    .await;
    assert_eq!((body.get("temperature"), body.get("seed"), &body["reasoning_effort"]), (None, None, &json!("low")));
    let (body, _) = sent(Provider::Gemini, |options| options.omit = vec!["seed".to_owned()]).await;
    assert_eq!(body["generationConfig"].get("seed"), None);
}

#[tokio::test]
async fn a_stop_text_that_the_server_ignores_is_cut_all_the_same() {
    for provider in PROVIDERS {
        let server = replies([Answer::new("one two STOP three").into()]).await;
        let mut request = ask("Hi");
        request.decoding.stop = vec!["STOP".to_owned()];
        let heard = Heard::default();
        let completion = backend(&server, provider).chat(request, &heard).await.unwrap();
        assert_eq!((completion.text.as_str(), heard.text().as_str()), ("one two ", "one two "));
        // Read to its end, because the tokens come last.
        assert_eq!(completion.report.usage.output_tokens, Some(4));
    }
}

#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    for first in [Duration::from_mins(1), Duration::ZERO] {
        let mut answer = Answer::new("one two three four five six seven");
        answer.first = first;
        answer.between = Duration::from_millis(200);
        let server = server(Script::sequence(vec![answer.into(), Answer::new("again").into()])).await;
        let backend = backend(&server, Provider::OpenAi);
        let heard = Heard::default();
        {
            let call = backend.chat(ask("Hi"), &heard);
            let moment = Duration::from_millis(500);
            assert!(tokio::time::timeout(moment, call).await.is_err(), "the answer takes longer");
            assert_eq!((server.requests().len(), server.open()), (1, 1));
        }
        let closed = server.wait(Duration::from_millis(100), |server| server.open() == 0).await;
        assert!(closed, "the connection is open 100 ms after the call was dropped");
        assert_eq!(heard.sent(), server.requests()[0].bytes(), "what left is known of a dropped call");
        assert_eq!(backend.chat(ask("Hi"), &NoDeltas).await.unwrap().text, "again");
    }
}

#[tokio::test]
async fn a_connection_serves_one_call_after_the_other() {
    let server = server(Script::always(Answer::new("a b"))).await;
    let backend = backend(&server, Provider::OpenAi);
    for _ in 0..5 {
        backend.chat(ask("Hi"), &NoDeltas).await.unwrap();
    }
    // A second one only when the end of a reply is late.
    assert!(server.requests().len() == 5 && server.open() <= 2, "{} connections", server.open());
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_anything_is_sent() {
    let server = replies([Answer::new("x").into()]).await;
    let backend = backend(&server, Provider::OpenAi);
    let mut no_room = ask("Hi");
    no_room.decoding.max_tokens = 0;
    let mut nothing = ask("Hi");
    nothing.messages.clear();
    let mut no_choice = ask("Hi");
    no_choice.format = OutputFormat::Choice(Vec::new());
    for request in [no_room, nothing, no_choice] {
        let error = backend.chat(request, &NoDeltas).await.unwrap_err();
        assert_eq!(error.kind, lumos_core::BackendErrorKind::InvalidRequest, "{error}");
    }
    assert!(server.requests().is_empty());
}
