//! No secret comes out, whatever a server does with it.

use lumos_core::NoDeltas;
use lumos_faults::{Answer, Reply, Script};
use lumos_remote::{Provider, RemoteBackend, Secret};

use crate::support::{KEY, PROVIDERS, ask, options, server};

#[tokio::test]
async fn a_server_that_echoes_the_key_is_quoted_without_it() {
    let echoes: [fn(&str) -> Reply; 6] = [
        |key| Reply::Status(401, Vec::new(), format!(r#"{{"error": {{"message": "wrong key {key}!"}}}}"#)),
        |key| Reply::Status(500, Vec::new(), format!("{}{key}", "x".repeat(290))),
        |key| Reply::redirect(&format!("http://elsewhere.invalid/?key={key}")),
        |key| {
            let mut answer = Answer::new("x");
            answer.headers = vec![("x-goog-request-id".to_owned(), key.to_owned())];
            Reply::MediaType(answer, format!("text/{key}"))
        },
        |key| Reply::Status(200, Vec::new(), format!(r#"{{"error": {{"message": "{key}", "code": 429}}}}"#)),
        |key| Reply::Status(200, Vec::new(), format!(r#"{{"choices": "{key}"}}"#)),
    ];
    for provider in PROVIDERS {
        for echo in echoes {
            let server = server(Script::always(echo(KEY))).await;
            let backend = RemoteBackend::new(options(&server.url(), provider)).unwrap();
            let error = backend.chat(ask("Hi"), &NoDeltas).await.unwrap_err();
            assert!(server.requests()[0].head.contains(KEY), "the server knows the key");
            // A prefix of the key that a cut left over would be a leak as well.
            let shown = format!("{error} {error:?} {}", serde_json::to_string(&error).unwrap());
            assert!(!shown.contains(&KEY[..8]), "{provider:?}: {shown}");
        }
    }
}

#[test]
fn options_and_headers_hide_their_secrets() {
    let mut options = options("http://127.0.0.1:1", Provider::OpenAi);
    options.api_key = Some(Secret::new(format!("{KEY}\n")));
    let error = RemoteBackend::new(options.clone()).err().expect("a key with a line break is refused");
    assert!(error.message.contains("line break") && !error.message.contains(KEY), "{error}");
    assert_eq!(format!("{:?}", options.api_key), "Some([secret])");
}
