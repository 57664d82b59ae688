//! The suite that every backend must pass, on the scripted server in all protocols; and that it finds what is wrong.

use lumos_core::SharedBackend;
use lumos_faults::conformance::{self, Expectations};
use lumos_faults::{Answer, Ending, Received, Reply, Script, Tokens};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions};
use serde_json::Value;

use crate::support::{PROVIDERS, backend, options, server};

/// A model that knows what the suite asks, and its tokens.
fn model(request: &Received) -> Reply {
    let (body, text) = (request.json(), String::from_utf8_lossy(&request.body).into_owned());
    if text.len() > 8_000 {
        let error = r#"{"error": {"message": "too long", "code": "context_length_exceeded"}}"#;
        return Reply::Status(400, Vec::new(), error.to_owned());
    }
    let config = &body["generationConfig"];
    let limits = [&body["max_tokens"], &body["max_completion_tokens"], &config["maxOutputTokens"]];
    let most = limits.into_iter().find_map(Value::as_u64).unwrap_or(0) as usize;
    let said = match () {
        () if text.contains("\"legs\"") => r#"{"legs":"four","tame":true}"#,
        () if text.contains("\"choice\"") => r#"{"choice":"green"}"#,
        () => "one two three four five six seven eight nine ten eleven twelve thirteen",
    };
    let mut answer = Answer::new(said);
    if body.get("tools").is_some() {
        answer.calls = vec![("c".to_owned(), "answer".to_owned(), answer.pieces.concat())];
        answer.pieces.clear();
        answer.ending = Ending::Calls;
    }
    let stops = [&body["stop"], &body["stop_sequences"], &config["stopSequences"]];
    if let Some(stop) = stops.into_iter().find_map(|stops| stops[0].as_str())
        && let Some(at) = answer.pieces.iter().position(|piece| piece.contains(stop))
    {
        answer.pieces.truncate(at);
    }
    if answer.pieces.len() > most {
        answer.pieces.truncate(most);
        answer.ending = Ending::Length;
    }
    answer.tokens = Tokens::new(5, answer.pieces.len().max(1) as u64);
    answer.into()
}

fn expected() -> Expectations {
    Expectations { too_many_tokens: Some(3000), ..Expectations::default() }
}

#[tokio::test]
async fn every_protocol_passes() {
    for provider in PROVIDERS {
        let server = server(Script::by(model)).await;
        let done = conformance::suite(backend(&server, provider), expected()).await;
        done.unwrap_or_else(|failures| panic!("{provider:?}: {failures:#?}"));
    }
    let server = server(Script::by(model)).await;
    let options = RemoteOptions { stream: false, ..options(&server.url(), Provider::Gemini) };
    let whole: SharedBackend = RemoteBackend::new(options).unwrap();
    let done = conformance::suite(whole, Expectations { streams: false, ..expected() }).await;
    done.unwrap_or_else(|failures| panic!("unstreamed: {failures:#?}"));
}

#[tokio::test]
async fn a_server_that_ignores_what_it_is_asked_is_found_out() {
    let server = server(Script::always(Answer::new("nothing but this"))).await;
    let failures = conformance::suite(backend(&server, Provider::OpenAi), expected()).await.unwrap_err();
    for wanted in ["the token limit: it ended", "a schema: ", "a choice: ", "too long: it gives"] {
        assert!(failures.iter().any(|failure| failure.contains(wanted)), "{wanted}: {failures:#?}");
    }
}
