//! Embedders.

use lumos_core::{Backend, BackendErrorKind, NoDeltas};
use lumos_local::LocalModel;

use crate::fixtures::{ask, options, tiny_llama, write_bert, write_static_embedder};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[tokio::test]
async fn static_vectors_are_normalised_means_of_the_known_tokens() {
    let folder = tempfile::tempdir().unwrap();
    write_static_embedder(folder.path());
    let model = LocalModel::open(options(folder.path())).unwrap();
    assert!(model.info().embed && !model.info().chat);
    let got = model.embed(texts(&["the", "The cat", "cat dog cat", "dog", ""])).await.unwrap();
    let length = (3.0_f32 * 3.0 + 6.0 * 6.0).sqrt();
    for (vector, expected) in
        got.vectors.iter().zip([[0.6, 0.8], [3.0 / length, 6.0 / length], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    {
        assert!(close(vector, &expected), "{vector:?} is not {expected:?}");
    }
    assert_eq!(got.report.usage.input_tokens, Some(1 + 2 + 3 + 1));
    assert!(got.report.busy_us.is_some() && got.report.finish_reason.is_none());
    assert_eq!(model.info().dimensions, Some(2));
}

#[tokio::test]
async fn bert_vectors_do_not_depend_on_their_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    write_bert(folder.path());
    let model = LocalModel::open(options(folder.path())).unwrap();
    let many = texts(&["the cat sat", "cat", "the the the the the", "sat the", "the cat sat"]);
    let together = model.embed(many.clone()).await.unwrap();
    assert_eq!(together.vectors.len(), 5);
    assert_eq!(together.vectors, model.embed(many.clone()).await.unwrap().vectors);
    for (text, vector) in many.into_iter().zip(&together.vectors) {
        let alone = model.embed(vec![text]).await.unwrap();
        assert!(close(&alone.vectors[0], vector), "{:?} is not {vector:?}", alone.vectors[0]);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    assert!(!close(&together.vectors[0], &together.vectors[1]));
    assert_eq!(model.info().dimensions, Some(16));
    assert_eq!(model.info().context_tokens, Some(12));
    // [CLS], [SEP] and ten of the words fit; nothing fails on the rest.
    let long = model.embed(texts(&[&"cat ".repeat(50)])).await.unwrap();
    assert_eq!(long.report.usage.input_tokens, Some(12));
    assert!(model.embed(Vec::new()).await.unwrap().vectors.is_empty());
}

#[tokio::test]
async fn a_model_is_asked_for_what_it_can_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = tiny_llama(folder.path()).embed(texts(&["x"])).await.unwrap_err();
    assert!(error.kind == BackendErrorKind::InvalidRequest && error.message.contains("embedder"), "{error}");
    write_static_embedder(folder.path());
    let model = LocalModel::open(options(folder.path())).unwrap();
    let error = model.chat(ask("hi", 4), &NoDeltas).await.unwrap_err();
    assert!(error.kind == BackendErrorKind::InvalidRequest && error.message.contains("chat model"), "{error}");
}
