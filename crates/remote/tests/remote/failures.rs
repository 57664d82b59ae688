//! Every way in which a server can fail, and what is made of it.

use std::time::Duration;

use lumos_core::{BackendErrorKind as Kind, FinishReason, NoDeltas};
use lumos_faults::{Answer, Break, Limits, Reply, Script};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions};

use crate::support::{Heard, PROVIDERS, ask, backend, failed, options, replies, server};

#[tokio::test]
async fn a_429_is_retryable_and_says_when() {
    for provider in PROVIDERS {
        let error = failed(provider, Reply::status(429)).await;
        assert_eq!((error.kind, error.retry_after_us, error.is_retryable()), (Kind::RateLimited, None, true));
        let error = failed(provider, Reply::retry_after(429, "2")).await;
        assert_eq!((error.kind, error.retry_after_us), (Kind::RateLimited, Some(2_000_000)));
        assert!(error.report.is_none(), "a refusal costs nothing");
    }
}

#[tokio::test]
async fn limits_that_a_server_enforces_are_met_and_waited_for() {
    // Four a second, two at once.
    let limits = Limits { requests: Some(4), tokens: None, window: Duration::from_secs(1), burst: 0.5 };
    let server = server(Script::always(Answer::new("x")).limited(limits)).await;
    let backend = backend(&server, Provider::OpenAi);
    let mut errors = Vec::new();
    for _ in 0..6 {
        errors.extend(backend.chat(ask("Hi"), &NoDeltas).await.err());
    }
    assert!(errors.len() >= 2 && errors.len() == server.rejected(), "{errors:?}");
    let wait = errors.last().and_then(|error| error.retry_after_us).expect("the server says when");
    assert!((1..=251_000).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_micros(wait)).await;
    backend.chat(ask("Hi"), &NoDeltas).await.expect("after the wait there is room");
}

#[tokio::test]
async fn an_end_without_a_reason_is_an_end_and_an_empty_reply_is_none() {
    let whole = Reply::Status(200, Vec::new(), r#"{"choices": [{"message": {"content": "done"}}]}"#.to_owned());
    let server = replies([whole, Reply::Status(200, Vec::new(), "{}".to_owned())]).await;
    let backend = backend(&server, Provider::OpenAiCompatible);
    let completion = backend.chat(ask("Hi"), &NoDeltas).await.unwrap();
    assert_eq!((completion.text.as_str(), completion.report.finish_reason), ("done", Some(FinishReason::Stop)));
    let error = backend.chat(ask("Hi"), &NoDeltas).await.unwrap_err();
    assert!(error.kind == Kind::Transient && error.report.is_some(), "{error}");
}

#[tokio::test]
async fn a_status_decides_about_a_retry() {
    for (code, kind) in [
        (400, Kind::InvalidRequest),
        (401, Kind::Unauthorized),
        (403, Kind::Unauthorized),
        (404, Kind::Unusable),
        (500, Kind::Transient),
        (503, Kind::Transient),
        (529, Kind::Transient),
    ] {
        let error = failed(Provider::Anthropic, Reply::status(code)).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(&format!("scripted {code}")) || error.message.contains("overloaded"), "{error}");
        assert!(error.message.contains("http://127.0.0.1:"), "{error}");
    }
    assert_eq!(failed(Provider::OpenAi, Reply::retry_after(503, "1")).await.retry_after_us, Some(1_000_000));
}

#[tokio::test]
async fn a_spoiled_answer_is_a_passing_failure_with_figures() {
    for provider in PROVIDERS {
        for how in [Break::Cut, Break::End, Break::InvalidUtf8, Break::InvalidJson, Break::Error] {
            let server = replies([Reply::Broken(Answer::new("one two three four five six"), how)]).await;
            let heard = Heard::default();
            let error = backend(&server, provider).chat(ask("Hi"), &heard).await.unwrap_err();
            assert_eq!(error.kind, Kind::Transient, "{provider:?} {how:?} {error}");
            let report = error.report.as_ref().expect("the server may have charged for it");
            assert_eq!(report.bytes_sent, server.requests()[0].bytes(), "{provider:?} {how:?}");
            assert_eq!(report.usage.output_tokens.filter(|_| provider != Provider::Anthropic), None);
            assert!(report.ttft_us.is_some() && !heard.text().is_empty(), "{provider:?} {how:?} {error}");
            assert!(error.message.contains("127.0.0.1") || how == Break::InvalidJson, "{how:?} {error}");
        }
    }
}

#[tokio::test]
async fn silence_before_and_within_an_answer_ends_in_time() {
    let stalled = Reply::Broken(Answer::new("one two three four five six"), Break::Stall);
    for (reply, wanted, begun) in [(Reply::Silence, "no answer from", false), (stalled, "fell silent", true)] {
        for provider in PROVIDERS {
            let server = replies([reply.clone()]).await;
            let mut options = options(&server.url(), provider);
            options.timeouts.first_token = Duration::from_millis(if begun { 5_000 } else { 150 });
            options.timeouts.idle = Duration::from_millis(if begun { 150 } else { 5_000 });
            let call = RemoteBackend::new(options).unwrap();
            let call = call.chat(ask("Hi"), &NoDeltas);
            let error = tokio::time::timeout(Duration::from_secs(2), call).await.expect("in time").unwrap_err();
            assert!(error.kind == Kind::Transient && error.message.contains(wanted), "{error}");
            assert_eq!(error.report.expect("figures").ttft_us.is_some(), begun);
            assert!(server.wait(Duration::from_millis(100), |server| server.open() == 0).await, "closed");
        }
    }
}

#[tokio::test]
async fn a_slow_first_byte_within_the_limit_is_waited_for() {
    let mut answer = Answer::new("late");
    answer.first = Duration::from_millis(300);
    let server = replies([answer.into()]).await;
    let mut options = options(&server.url(), Provider::Anthropic);
    // Shorter than the wait, but it only counts between pieces.
    options.timeouts.idle = Duration::from_millis(100);
    let completion = RemoteBackend::new(options).unwrap().chat(ask("Hi"), &NoDeltas).await.unwrap();
    assert_eq!(completion.text, "late");
}

#[tokio::test]
async fn a_stream_of_pings_is_no_answer() {
    // An event without any text keeps a connection busy, but does not begin an answer.
    let mut answer = Answer::new("");
    answer.pieces = vec![String::new(); 100];
    answer.between = Duration::from_millis(20);
    let server = replies([answer.into()]).await;
    let mut options = options(&server.url(), Provider::OpenAi);
    options.timeouts.first_token = Duration::from_millis(200);
    let error = RemoteBackend::new(options).unwrap().chat(ask("Hi"), &NoDeltas).await.unwrap_err();
    assert!(error.message.contains("no answer from"), "{error}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_once() {
    let server = replies([Reply::Close, Answer::new("here").into(), Reply::Close, Reply::Close]).await;
    let backend = backend(&server, Provider::OpenAi);
    let heard = Heard::default();
    let completion = backend.chat(ask("Hi"), &heard).await.unwrap();
    let bytes = server.requests()[0].bytes();
    assert_eq!((completion.text.as_str(), completion.report.bytes_sent, heard.sent()), ("here", 2 * bytes, 2 * bytes));
    let error = backend.chat(ask("Hi"), &NoDeltas).await.unwrap_err();
    assert!(error.kind == Kind::Transient && error.message.contains("broke off"), "{error}");
    assert_eq!((server.requests().len(), error.report.unwrap().bytes_sent), (4, 2 * bytes));
}

#[tokio::test]
async fn another_media_type_is_refused_with_its_name() {
    for provider in PROVIDERS {
        let error = failed(provider, Reply::MediaType(Answer::new("x"), "text/html; charset=utf-8".to_owned())).await;
        assert!(error.kind == Kind::Transient && error.message.contains("text/html"), "{error}");
    }
}

#[tokio::test]
async fn a_gigabyte_is_cut_at_the_bound() {
    for provider in [Provider::OpenAi, Provider::Gemini] {
        let server = server(Script::always(Reply::Huge(1 << 30))).await;
        let error = backend(&server, provider).chat(ask("Hi"), &NoDeltas).await.unwrap_err();
        assert!(error.kind == Kind::Transient && error.message.contains("bytes"), "{error}");
        assert!(server.wait(Duration::from_millis(500), |server| server.open() == 0).await, "closed");
        // The bound of an event, and what sockets hold.
        assert!(server.written() < 32 << 20, "{} bytes were taken", server.written());
    }
    let server = server(Script::always(Answer::new(&"word ".repeat(2_000)))).await;
    let options = RemoteOptions { max_response_bytes: 50_000, ..options(&server.url(), Provider::OpenAi) };
    let error = RemoteBackend::new(options).unwrap().chat(ask("Hi"), &NoDeltas).await.unwrap_err();
    assert!(error.message.contains("more than 50000 bytes"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let url = format!("http://{free}");
    let heard = Heard::default();
    let error = RemoteBackend::new(options(&url, Provider::OpenAi)).unwrap().chat(ask("Hi"), &heard).await.unwrap_err();
    assert_eq!(error.message, format!("{url} refused the connection; is it running?"));
    assert_eq!(heard.sent(), 0, "nothing left");
    assert!(error.kind == Kind::Transient && error.report.is_none());

    let nowhere = options("http://no-such-host.invalid", Provider::OpenAi);
    let error = RemoteBackend::new(nowhere).unwrap().chat(ask("Hi"), &heard).await.unwrap_err();
    assert!(error.kind == Kind::Transient && error.message.contains("no-such-host.invalid"), "{error}");
}
