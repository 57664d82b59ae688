//! Vectors: in order, of unit length, in batches.

use lumos_core::BackendErrorKind as Kind;
use lumos_faults::{Answer, Reply, Script, Tokens};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions};

use crate::support::{options, replies, server};

fn texts(number: usize) -> Vec<String> {
    (0..number).map(|index| format!("text {index}")).collect()
}

#[tokio::test]
async fn vectors_come_in_order_and_with_unit_length() {
    for provider in [Provider::OpenAi, Provider::OpenAiCompatible, Provider::Gemini] {
        let vectors = vec![vec![3.0, 4.0], vec![0.0, 2.0]];
        let server = replies([Answer { vectors, tokens: Tokens::new(5, 0), ..Answer::new("") }.into()]).await;
        let options = RemoteOptions { embed: true, dimensions: Some(2), ..options(&server.url(), provider) };
        let backend = RemoteBackend::new(options).unwrap();
        let embeddings = backend.embed(texts(2)).await.unwrap();
        assert_eq!(embeddings.vectors, [[0.6, 0.8], [0.0, 1.0]], "{provider:?}");
        let report = embeddings.report;
        assert_eq!(report.usage.input_tokens, (provider != Provider::Gemini).then_some(5));
        assert_eq!(report.bytes_sent, server.requests()[0].bytes());
        let info = backend.info();
        assert_eq!((info.embed, info.chat, info.dimensions), (true, false, Some(2)));
    }
}

#[tokio::test]
async fn many_texts_go_in_batches() {
    let server = server(Script::by(|request| {
        let count = request.json()["input"].as_array().map_or(0, Vec::len);
        let vectors = (0..count).map(|index| vec![1.0, index as f32]).collect();
        Answer { vectors, tokens: Tokens::new(count as u64, 0), ..Answer::new("") }.into()
    }))
    .await;
    let options = RemoteOptions { embed: true, ..options(&server.url(), Provider::OpenAi) };
    let embeddings = RemoteBackend::new(options).unwrap().embed(texts(150)).await.unwrap();
    assert_eq!((embeddings.vectors.len(), server.requests().len()), (150, 3));
    assert_eq!(embeddings.report.usage.input_tokens, Some(150));
    assert_eq!(server.requests()[2].json()["input"][0], "text 128");
}

#[tokio::test]
async fn what_cannot_embed_says_so() {
    let server = server(Script::always(Reply::status(500))).await;
    for (provider, embed) in [(Provider::Anthropic, true), (Provider::OpenAi, false)] {
        let options = RemoteOptions { embed, ..options(&server.url(), provider) };
        let error = RemoteBackend::new(options).unwrap().embed(texts(1)).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest, "{error}");
    }
    assert!(server.requests().is_empty());
    let options = RemoteOptions { embed: true, ..options(&server.url(), Provider::OpenAi) };
    let error = RemoteBackend::new(options).unwrap().embed(texts(1)).await.unwrap_err();
    assert!(error.kind == Kind::Transient && error.report.is_none(), "{error:?}");
}

#[tokio::test]
async fn vectors_that_are_missing_are_a_failure_with_figures() {
    let server = server(Script::always(Answer { vectors: vec![vec![1.0]], ..Answer::new("") })).await;
    let options = RemoteOptions { embed: true, ..options(&server.url(), Provider::OpenAi) };
    let error = RemoteBackend::new(options).unwrap().embed(texts(2)).await.unwrap_err();
    assert!(error.kind == Kind::Unusable && error.message.contains("gave 1 vectors for 2 texts"), "{error}");
    assert_eq!(error.report.unwrap().bytes_sent, server.requests()[0].bytes());
}
