//! Bytes, redirects, TLS and proxies.

use lumos_core::{BackendErrorKind as Kind, NoDeltas, RateLimit};
use lumos_faults::{Answer, Reply, Script};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions, Secret};

use crate::support::{Heard, PROVIDERS, ask, backend, options, replies, server};

#[tokio::test]
async fn bytes_are_counted_to_the_byte() {
    for provider in PROVIDERS {
        let server = server(Script::always(Answer::new("x"))).await;
        let mut options = options(&server.url(), provider);
        options.headers = vec![("x-team".to_owned(), Secret::new("blue"))];
        options.base_url = Some(format!("{}/a%20b/v1/?api-version=2026-01-01", server.url()));
        let heard = Heard::default();
        let report = RemoteBackend::new(options).unwrap().chat(ask("Größe?"), &heard).await.unwrap().report;
        let received = &server.requests()[0];
        assert_eq!(report.bytes_sent, received.bytes(), "{provider:?} {}", received.head);
        assert_eq!(heard.sent(), received.bytes());
        assert_eq!(received.header("x-team"), Some("blue"));
        assert!(received.path().starts_with("/a%20b/v1/") && received.path().contains("api-version=2026-01-01"));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for provider in PROVIDERS {
        let other = replies([Answer::new("gotcha").into()]).await;
        let target = format!("{}/v1/chat/completions", other.url());
        let server = replies([Reply::redirect(&target)]).await;
        let error = backend(&server, provider).chat(ask("Hi"), &NoDeltas).await.unwrap_err();
        assert!(error.kind == Kind::Unusable && error.message.contains(&target), "{error}");
        assert!(other.requests().is_empty() && other.open() == 0, "the other host heard something");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_unless_it_is_given() {
    let server = server(Script::always(Answer::new("safe")).over_tls()).await;
    let stranger = options(&server.url(), Provider::OpenAi);
    let error = RemoteBackend::new(stranger).unwrap().chat(ask("Hi"), &NoDeltas).await.unwrap_err();
    assert!(error.kind == Kind::Unusable && error.message.contains("is not trusted"), "{error}");
    assert!(error.message.contains(&server.url()) && server.requests().is_empty(), "{error}");

    let mut known = options(&server.url(), Provider::OpenAi);
    known.ca_pem = Some(server.authority_pem().as_bytes().to_vec());
    let completion = RemoteBackend::new(known).unwrap().chat(ask("Hi"), &NoDeltas).await.unwrap();
    assert_eq!(completion.text, "safe");
    assert_eq!(completion.report.bytes_sent, server.requests()[0].bytes());
}

#[tokio::test]
async fn a_proxy_gets_the_requests() {
    let proxy = replies([Answer::new("through the proxy").into()]).await;
    let mut options = options("http://models.invalid", Provider::OpenAi);
    options.proxy = Some(proxy.url());
    let completion = RemoteBackend::new(options).unwrap().chat(ask("Hi"), &NoDeltas).await.unwrap();
    assert_eq!(completion.text, "through the proxy");
    assert_eq!(proxy.requests()[0].path(), "http://models.invalid/v1/chat/completions");
}

#[tokio::test]
async fn limits_that_a_server_states_are_kept() {
    let mut answer = Answer::new("x");
    answer.headers = [("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "59")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let server = replies([answer.into()]).await;
    let report = backend(&server, Provider::OpenAi).chat(ask("Hi"), &NoDeltas).await.unwrap().report;
    let requests = RateLimit { limit: Some(60), remaining: Some(59), reset_us: None };
    assert_eq!(report.rate_limits.unwrap().requests, Some(requests));
}

#[test]
fn options_that_cannot_work_are_refused() {
    type Change = fn(&mut RemoteOptions);
    let cases: [(&str, Change); 7] = [
        ("is no address", |options| options.base_url = Some("nonsense".to_owned())),
        ("starts with `ftp:`", |options| options.base_url = Some("ftp://host/v1".to_owned())),
        ("needs `base_url`", |options| options.base_url = None),
        ("a user or a password", |options| options.base_url = Some("http://me:pass@host/v1".to_owned())),
        ("`proxy` of a backend is no address", |options| options.proxy = Some(":".to_owned())),
        ("cannot be set up", |options| options.ca_pem = Some(b"-----BEGIN CERTIFICATE-----\n!".to_vec())),
        ("cannot be an extra header", |options| options.headers = vec![("a b".to_owned(), Secret::new("x"))]),
    ];
    for (wanted, change) in cases {
        let mut options = options("http://127.0.0.1:1", Provider::OpenAiCompatible);
        change(&mut options);
        let error = RemoteBackend::new(options).err().unwrap_or_else(|| panic!("{wanted}"));
        assert!(error.kind == Kind::Unusable && error.message.contains(wanted), "{wanted}: {error}");
        assert!(!error.message.contains("pass@"), "{error}");
    }
}
