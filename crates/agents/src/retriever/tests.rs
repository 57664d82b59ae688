//! The retriever over folders, with an embedder that hashes words.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lumos_core::spec::Chunking;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::script::{Script, attempt};

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("milk.md"), "# Milk\n\nMilk arrives from the dairy on Mondays.").unwrap();
    fs::write(notes.join("bread.txt"), "The bakery delivers bread every morning.").unwrap();
    fs::write(notes.join("terms.csv"), "supplier,lead_days\nDairy Co,3\nBakery Ltd,1\n").unwrap();
    folder
}

fn retriever(base: &Path, mode: RetrievalMode) -> Retriever {
    let spec = RetrieverSpec {
        model: "embedder".into(),
        sources: vec!["notes".into()],
        chunk: Chunking::default(),
        mode,
        rrf_k: Some(60),
        bm25_weight: None,
        csv_columns: Vec::new(),
    };
    let context = BuildContext {
        base: base.to_owned(),
        asset: Arc::new(|name| Err(format!("no asset {name}"))),
        index_dir: base.join("indexes"),
    };
    Retriever::new(&spec, context).unwrap()
}

async fn ask(agent: &Retriever, backend: &Arc<Script>, query: &str) -> Result<AgentOutput, AgentError> {
    let backend: SharedBackend = backend.clone();
    attempt(agent, Some(backend), &[("query", json!(query)), ("top_k", json!(2))]).await
}

fn ids(output: &AgentOutput) -> Vec<&str> {
    let passages = output.value["passages"].as_array().unwrap();
    passages.iter().map(|passage| passage["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn passages_come_with_place_and_score() {
    let folder = folder();
    let backend = Arc::new(Script::default());
    let output = ask(&retriever(folder.path(), RetrievalMode::Hybrid), &backend, "dairy milk mondays").await.unwrap();
    let first = &output.value["passages"][0];
    assert_eq!(
        first,
        &json!({
            "id": "milk.md#0", "source": "milk.md", "text": "# Milk\n\nMilk arrives from the dairy on Mondays.",
            "score": 0.032787, "rank": 1, "start": 0, "end": 47,
        })
    );
    assert_eq!(output.value["query"], "dairy milk mondays");
    assert_eq!(output.report.unwrap().usage.input_tokens, Some(3), "the query alone is counted");
}

#[tokio::test]
async fn what_is_sent_elsewhere_for_an_index_is_counted_once() {
    let folder = folder();
    let backend = Arc::new(Script { sends: 100, ..Script::default() });
    let agent = retriever(folder.path(), RetrievalMode::Hybrid);
    let first = ask(&agent, &backend, "dairy milk mondays").await.unwrap().report.unwrap();
    let second = ask(&agent, &backend, "dairy milk mondays").await.unwrap().report.unwrap();
    assert_eq!((first.bytes_sent, second.bytes_sent), (200, 100));
    assert!(first.usage.input_tokens > Some(20), "{first:?}");
    assert_eq!(second.usage.input_tokens, Some(3));
}

#[tokio::test]
async fn each_mode_finds_by_its_own_means() {
    let folder = folder();
    let backend = Arc::new(Script::default());
    let words = retriever(folder.path(), RetrievalMode::Bm25);
    let arguments = [("query", json!("Bakeries deliver"))];
    let output = attempt(&words, None, &arguments).await.unwrap();
    assert_eq!((ids(&output)[0], output.report.clone()), ("bread.txt#0", None));
    let none = attempt(&words, None, &[("query", json!("zebra"))]).await.unwrap();
    assert_eq!(none.value["passages"], json!([]));
    let dense = retriever(folder.path(), RetrievalMode::Dense);
    assert_eq!(ids(&ask(&dense, &backend, "lead_days supplier 1 bakery ltd").await.unwrap())[0], "terms.csv#1");
}

#[tokio::test]
async fn the_index_is_built_once_and_again_when_a_file_changes() {
    let folder = folder();
    let backend = Arc::new(Script::default());
    let agent = retriever(folder.path(), RetrievalMode::Hybrid);
    ask(&agent, &backend, "milk").await.unwrap();
    assert_eq!(backend.embedded.load(Ordering::SeqCst), 4 + 1);
    ask(&agent, &backend, "milk").await.unwrap();
    assert_eq!(backend.embedded.load(Ordering::SeqCst), 4 + 2);
    // Another process finds it on disk.
    ask(&retriever(folder.path(), RetrievalMode::Hybrid), &backend, "milk").await.unwrap();
    assert_eq!(backend.embedded.load(Ordering::SeqCst), 4 + 3);
    // A file that was only touched has the same content.
    let bread = folder.path().join("notes/bread.txt");
    fs::write(&bread, "The bakery delivers bread every morning.").unwrap();
    ask(&agent, &backend, "milk").await.unwrap();
    assert_eq!(backend.embedded.load(Ordering::SeqCst), 4 + 4);
    fs::write(&bread, "The bakery has closed for good.......xx.").unwrap();
    let output = ask(&agent, &backend, "closed").await.unwrap();
    assert_eq!(backend.embedded.load(Ordering::SeqCst), 8 + 5);
    assert_eq!(output.value["passages"][0]["text"], "The bakery has closed for good.......xx.");
    // Other weights make another index.
    let other = Arc::new(Script { digest: "other".into(), ..Script::default() });
    ask(&agent, &other, "milk").await.unwrap();
    assert_eq!(other.embedded.load(Ordering::SeqCst), 4 + 1);
}

#[tokio::test]
async fn first_calls_at_once_build_one_index() {
    let folder = folder();
    let backend = Arc::new(Script::default());
    let agents: Vec<_> = (0..3).map(|_| retriever(folder.path(), RetrievalMode::Hybrid)).collect();
    let asked = |agent| ask(agent, &backend, "milk");
    let outputs = tokio::join!(asked(&agents[0]), asked(&agents[0]), asked(&agents[1]), asked(&agents[2]));
    let values = [outputs.0, outputs.1, outputs.2, outputs.3].map(|output| output.unwrap().value);
    assert!(values.iter().all(|value| *value == values[0]));
    assert_eq!(backend.embedded.load(Ordering::SeqCst), 4 + 4);
}

/// Every file below `folder`.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test]
async fn a_damaged_index_is_built_again() {
    let folder = folder();
    let backend = Arc::new(Script::default());
    let wanted = ask(&retriever(folder.path(), RetrievalMode::Hybrid), &backend, "milk").await.unwrap().value;
    let files = files_below(&folder.path().join("indexes"));
    assert!(files.iter().any(|file| file.ends_with("vectors.f32")));
    for file in files.iter().filter(|file| file.file_name().is_some_and(|name| name != "lock")) {
        let Ok(bytes) = fs::read(file) else { continue };
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        let again = ask(&retriever(folder.path(), RetrievalMode::Hybrid), &backend, "milk").await.unwrap();
        assert_eq!(again.value, wanted, "{}", file.display());
    }
}

#[tokio::test]
async fn nothing_is_left_behind_by_a_build_that_fails_or_is_dropped() {
    let folder = folder();
    fs::write(folder.path().join("notes/bad.txt"), b"\xff").unwrap();
    let agent = retriever(folder.path(), RetrievalMode::Hybrid);
    let backend = Arc::new(Script::default());
    let error = ask(&agent, &backend, "milk").await.unwrap_err();
    assert!(error.message.contains("bad.txt is not UTF-8"), "{error:?}");
    fs::remove_file(folder.path().join("notes/bad.txt")).unwrap();
    backend.stalls.store(true, Ordering::SeqCst);
    {
        let mut dropped = Box::pin(ask(&agent, &backend, "milk"));
        while backend.embedded.load(Ordering::SeqCst) == 0 {
            assert!(futures_util::poll!(&mut dropped).is_pending());
            tokio::task::yield_now().await;
        }
    }
    backend.stalls.store(false, Ordering::SeqCst);
    let left: Vec<_> = files_below(&folder.path().join("indexes"));
    assert_eq!(left.iter().filter(|file| !file.ends_with("lock")).count(), 0, "{left:?}");
    assert_eq!(ids(&ask(&agent, &backend, "milk").await.unwrap())[0], "milk.md#0");
}

#[tokio::test]
async fn bad_arguments_and_sources_are_named() {
    let folder = folder();
    let agent = retriever(folder.path(), RetrievalMode::Bm25);
    let fails = async |arguments: &[(&str, Value)]| attempt(&agent, None, arguments).await.unwrap_err().message;
    assert_eq!(fails(&[("query", json!("  "))]).await, "the query is empty");
    assert!(fails(&[]).await.contains("`query` is missing"));
    assert!(fails(&[("query", json!("x")), ("top_k", json!(0))]).await.contains("from 1 to 1000"));
    let dense = retriever(folder.path(), RetrievalMode::Dense);
    let error = attempt(&dense, None, &[("query", json!("x"))]).await.unwrap_err();
    assert!(error.hint.unwrap().contains("Bm25"));
    fs::remove_dir_all(folder.path().join("notes")).unwrap();
    fs::create_dir(folder.path().join("notes")).unwrap();
    assert!(fails(&[("query", json!("x"))]).await.starts_with("no documents in `notes`"));
    fs::write(folder.path().join("notes/empty.md"), "\n").unwrap();
    assert_eq!(fails(&[("query", json!("x"))]).await, "the sources hold no text");
}

#[test]
fn sources_are_looked_for_when_the_agent_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let build = |sources: Vec<String>, max_chars, overlap_chars| {
        let spec = RetrieverSpec {
            model: "embedder".into(),
            sources,
            chunk: Chunking { max_chars, overlap_chars },
            mode: RetrievalMode::Bm25,
            rrf_k: None,
            bm25_weight: None,
            csv_columns: Vec::new(),
        };
        let context = BuildContext {
            base: folder.path().to_owned(),
            asset: Arc::new(|name| Err(format!("no asset {name}"))),
            index_dir: folder.path().to_owned(),
        };
        Retriever::new(&spec, context).map(drop)
    };
    assert_eq!(build(vec![], 800, 0).unwrap_err().field, "sources");
    assert_eq!(build(vec!["asset:x".into(), "nowhere".into()], 800, 0).unwrap_err().field, "sources[1]");
    assert_eq!(build(vec!["asset:x".into()], 0, 0).unwrap_err().field, "chunk.max_chars");
    assert_eq!(build(vec!["asset:x".into()], 10, 10).unwrap_err().field, "chunk.overlap_chars");
}
