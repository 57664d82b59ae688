//! Answers with a shape: asked for by each provider's means, checked, and repaired once.

use lumos_core::{BackendErrorKind as Kind, ChatRequest, FinishReason, NoDeltas, OutputFormat};
use lumos_faults::{Answer, Ending, Received, Script};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions, Structured};
use serde_json::{Value, json};

use crate::support::{Heard, PROVIDERS, ask, backend, options, replies, server};

fn schema() -> Value {
    json!({
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false
    })
}

fn shaped(format: OutputFormat) -> ChatRequest {
    let mut request = ask("How many?");
    request.decoding.stop = vec!["}".to_owned()];
    ChatRequest { format, ..request }
}

/// `text` as the answer to a request with a shape: for Anthropic the arguments of the tool.
fn answer(provider: Provider, text: &str) -> Answer {
    let mut answer = Answer::new(text);
    if provider == Provider::Anthropic && text.starts_with('{') {
        answer.pieces.clear();
        answer.calls = vec![("toolu_1".to_owned(), "answer".to_owned(), text.to_owned())];
        answer.ending = Ending::Calls;
    }
    answer
}

#[tokio::test]
async fn a_schema_is_asked_for_by_each_providers_own_means() {
    for provider in PROVIDERS {
        for stream in [true, false] {
            let server = server(Script::always(answer(provider, r#"{"n": 3}"#))).await;
            let options = RemoteOptions { stream, ..options(&server.url(), provider) };
            let heard = Heard::default();
            let request = shaped(OutputFormat::JsonSchema(schema()));
            let completion = RemoteBackend::new(options).unwrap().chat(request, &heard).await.unwrap();
            let value: Value = serde_json::from_str(&completion.text).unwrap();
            assert_eq!((value, heard.text()), (json!({"n": 3}), completion.text.clone()), "{provider:?}");
            assert_eq!(completion.report.finish_reason, Some(FinishReason::Stop), "{provider:?}");
            assert!(completion.tool_calls.is_empty(), "{provider:?}");
            assert_eq!(completion.report.ttft_us.is_some(), stream);

            let body = server.requests()[0].json();
            match provider {
                Provider::OpenAi | Provider::OpenAiCompatible => {
                    let wanted = json!({"name": "answer", "schema": schema(), "strict": true});
                    assert_eq!(body["response_format"], json!({"type": "json_schema", "json_schema": wanted}));
                }
                Provider::Anthropic => {
                    assert_eq!(body["tools"][0]["input_schema"], schema());
                    assert_eq!(body["tools"][0]["name"], "answer");
                    assert_eq!(body["tool_choice"], json!({"type": "any", "disable_parallel_tool_use": true}));
                }
                Provider::Gemini => {
                    assert_eq!(body["generationConfig"]["responseMimeType"], "application/json");
                    assert_eq!(body["generationConfig"]["responseJsonSchema"], schema());
                }
            }
            // The shape ends the answer, stop texts do not.
            assert!(!body.to_string().contains("stop"), "{body}");
        }
    }
}

#[tokio::test]
async fn a_choice_comes_out_as_plain_text() {
    let format = OutputFormat::Choice(vec!["yes".to_owned(), "no".to_owned()]);
    for provider in PROVIDERS {
        let server = replies([answer(provider, r#"{"choice": "no"}"#).into()]).await;
        let heard = Heard::default();
        let completion = backend(&server, provider).chat(shaped(format.clone()), &heard).await.unwrap();
        assert_eq!((completion.text.as_str(), heard.text().as_str()), ("no", "no"));
        assert!(server.requests()[0].json().to_string().contains(r#""enum":["yes","no"]"#));
    }
}

#[tokio::test]
async fn a_wrong_answer_is_repaired_once_and_both_calls_are_reported() {
    let cases = [
        (OutputFormat::JsonSchema(schema()), r#"{"n": "three"}"#, r#"{"n": 3}"#),
        (OutputFormat::Choice(vec!["yes".to_owned()]), "perhaps", "yes"),
        (OutputFormat::Regex("[0-9]{4}".to_owned()), "last year", "2025"),
    ];
    for provider in PROVIDERS {
        for (format, wrong, right) in &cases {
            let server = replies([answer(provider, wrong).into(), answer(provider, right).into()]).await;
            let heard = Heard::default();
            let completion = backend(&server, provider).chat(shaped(format.clone()), &heard).await.unwrap();
            assert_eq!((completion.text.as_str(), heard.text().as_str()), (*right, *right), "{provider:?}");
            let requests = server.requests();
            assert_eq!(completion.report.usage.input_tokens, Some(6), "{provider:?}");
            assert_eq!(completion.report.bytes_sent, requests.iter().map(Received::bytes).sum::<u64>());
            assert_eq!(heard.sent.lock().unwrap().len(), 2);
            let second = requests[1].json().to_string();
            assert!(second.contains("This answer cannot be used"), "{second}");
            assert!(second.contains(&Value::from(*wrong).to_string().trim_matches('"').to_owned()), "{second}");
        }
    }
}

#[tokio::test]
async fn a_second_wrong_answer_is_a_failure_with_the_figures_of_both() {
    for provider in PROVIDERS {
        let server = server(Script::always(answer(provider, "perhaps"))).await;
        let heard = Heard::default();
        let request = shaped(OutputFormat::Choice(vec!["yes".to_owned()]));
        let error = backend(&server, provider).chat(request, &heard).await.unwrap_err();
        assert!(error.kind == Kind::Transient && error.message.contains("perhaps"), "{error}");
        assert_eq!(error.report.unwrap().usage.input_tokens, Some(6));
        assert_eq!((server.requests().len(), heard.text().as_str()), (2, ""));
    }
}

#[tokio::test]
async fn a_failure_of_the_repair_keeps_what_the_first_answer_used() {
    let server = replies([Answer::new("perhaps").into(), lumos_faults::Reply::status(429)]).await;
    let request = shaped(OutputFormat::Choice(vec!["yes".to_owned()]));
    let error = backend(&server, Provider::OpenAi).chat(request, &NoDeltas).await.unwrap_err();
    assert_eq!((error.kind, error.report.unwrap().usage.input_tokens), (Kind::RateLimited, Some(3)));
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_not_asked_for_again() {
    for provider in PROVIDERS {
        let cut = Answer { ending: Ending::Length, ..answer(provider, "[1, ") };
        let server = server(Script::always(cut)).await;
        let request = shaped(OutputFormat::JsonSchema(schema()));
        let completion = backend(&server, provider).chat(request, &NoDeltas).await.unwrap();
        assert_eq!(completion.report.finish_reason, Some(FinishReason::Length));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn servers_without_means_of_their_own_are_asked_in_the_prompt() {
    for provider in PROVIDERS {
        let server = replies([Answer::new("Here: {\"n\": 3}").into()]).await;
        let options = RemoteOptions { structured: Structured::Prompt, ..options(&server.url(), provider) };
        let request = shaped(OutputFormat::JsonSchema(schema()));
        let completion = RemoteBackend::new(options).unwrap().chat(request, &NoDeltas).await.unwrap();
        assert_eq!(completion.text, "{\"n\": 3}");
        let body = server.requests()[0].json();
        assert!(body.get("response_format").is_none() && body.get("tools").is_none(), "{body}");
        assert!(body.to_string().contains("satisfies this JSON schema"), "{body}");
    }
}
