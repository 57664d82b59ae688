//! The retriever: passages of files, ranked by words (BM25), by meaning (embeddings), or by both: fused by their
//! scores, or by reciprocal rank where `rrf_k` asks for it.
//!
//! Its value is `{query, passages: [{id, source, text, score, rank, start, end}]}`, best first, ranks from 1, offsets
//! in characters of the source. Words that match nothing give an empty list, not an error. The index is built when
//! the agent is first used and again when its files change. The figures are those of the query's embedding, and of
//! what an embedder elsewhere was sent for the index.

mod corpus;
mod lexical;
mod passages;
mod sources;
mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lumos_core::spec::{RetrievalMode, RetrieverSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, Arguments, CallReport, Prepared, SharedBackend};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::arguments;
use crate::build::{BuildContext, BuildError};
use corpus::{Corpus, Fusion};
use passages::Cutter;
use sources::SourceFile;
use store::{Recipe, Store, blocking};

/// Passages when the node does not say how many.
const TOP_K: u64 = 5;
/// Most passages of one answer.
const MOST_TOP_K: u64 = 1000;
/// Most characters of a query.
const MOST_QUERY: usize = 100_000;

/// Finds passages.
pub struct Retriever {
    sources: Vec<String>,
    context: BuildContext,
    cutter: Cutter,
    mode: RetrievalMode,
    fusion: Fusion,
    /// By the key of the store: one agent may be bound to several embedders.
    loaded: Mutex<BTreeMap<String, Loaded>>,
}

struct Loaded {
    files: Vec<SourceFile>,
    corpus: Arc<Corpus>,
}

impl Retriever {
    pub(crate) fn new(spec: &RetrieverSpec, context: BuildContext) -> Result<Self, BuildError> {
        if spec.sources.is_empty() {
            return Err(BuildError::new("sources", "the retriever has no sources")
                .with_hint("name files or folders beside the agent's file, or `asset:NAME`"));
        }
        for (at, source) in spec.sources.iter().enumerate() {
            let field = format!("sources[{at}]");
            if source.trim().is_empty() {
                return Err(BuildError::new(field, "the source is empty"));
            }
            let path = context.base.join(source);
            if !source.starts_with("asset:") && !path.exists() {
                return Err(BuildError::new(field, format!("there is no file or folder {}", path.display()))
                    .with_hint("paths are relative to the agent's file"));
            }
        }
        Ok(Self {
            sources: spec.sources.clone(),
            cutter: Cutter::new(spec)?,
            mode: spec.mode,
            fusion: match (spec.bm25_weight, spec.rrf_k) {
                (None, Some(k)) => Fusion::Ranks(k),
                (weight, _) => Fusion::Scores(weight.unwrap_or(RetrieverSpec::BM25_WEIGHT)),
            },
            context,
            loaded: Mutex::default(),
        })
    }

    /// The sources as written, and where they are.
    fn roots(&self) -> Result<Vec<(String, PathBuf)>, AgentError> {
        self.sources
            .iter()
            .map(|source| match self.context.locate(source) {
                Ok(path) => Ok((source.trim_start_matches("asset:").to_owned(), path)),
                Err(why) => Err(AgentError::fatal(format!("source `{source}`: {why}"))),
            })
            .collect()
    }

    /// The passages as they are now, and the figures of what was sent to index them.
    async fn corpus(&self, embedder: Option<&SharedBackend>) -> Result<(Arc<Corpus>, Option<CallReport>), AgentError> {
        let roots = self.roots()?;
        let key = match embedder {
            Some(embedder) => {
                // The digest of the weights, part of the key, is known once they are loaded.
                embedder.warm_up().await?;
                let info = embedder.info();
                format!("{} {} {}", info.provider, info.model, info.digest)
            }
            None => String::new(),
        };
        let key = format!("{key}\n{:?}\n{}\n{roots:?}", self.mode, self.cutter.describe());
        let files = blocking(move || sources::list(&roots)).await?;
        let mut loaded = self.loaded.lock().await;
        if let Some(known) = loaded.get(&key).filter(|known| known.files == files) {
            return Ok((Arc::clone(&known.corpus), None));
        }
        let recipe = Recipe {
            cutter: &self.cutter,
            words: self.mode != RetrievalMode::Dense,
            embedder: embedder.map(AsRef::as_ref),
        };
        let (corpus, sent) = Store::new(&self.context.index_dir, &key).corpus(files.clone(), recipe).await?;
        let corpus = Arc::new(corpus);
        loaded.insert(key, Loaded { files, corpus: Arc::clone(&corpus) });
        Ok((corpus, sent))
    }

    fn embedder<'a>(&self, backend: Option<&'a SharedBackend>) -> Result<Option<&'a SharedBackend>, AgentError> {
        match (self.mode, backend) {
            (RetrievalMode::Bm25, _) => Ok(None),
            (_, Some(backend)) => Ok(Some(backend)),
            (_, None) => Err(AgentError::fatal("the retriever needs an embedder, but none is bound to it")
                .with_hint("bind its alias in the deployment, or set `mode: Bm25`")),
        }
    }
}

/// The arguments: what to look for, and how many passages.
fn read(arguments: &Arguments) -> Result<(String, usize), AgentError> {
    let query = arguments::text(arguments, "query")?.trim().to_owned();
    if query.is_empty() {
        return Err(AgentError::fatal("the query is empty").with_hint("wanted some words to look for"));
    }
    if query.chars().count() > MOST_QUERY {
        return Err(AgentError::fatal(format!("the query has more than {MOST_QUERY} characters"))
            .with_hint("ask for less at once"));
    }
    let top_k = arguments::whole(arguments, "top_k", Some(TOP_K), 1..=MOST_TOP_K)?;
    Ok((query, top_k as usize))
}

#[async_trait]
impl Agent for Retriever {
    fn prepare(&self, arguments: &Arguments, backend: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        read(arguments)?;
        self.embedder(backend)?;
        Ok(Prepared::default())
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let (query, top_k) = read(call.arguments)?;
        let embedder = self.embedder(call.backend.as_ref())?;
        let (corpus, sent) = self.corpus(embedder).await?;
        let (vector, report) = match embedder {
            Some(embedder) => {
                let embedded = embedder.embed(vec![query.clone()]).await;
                let mut embedded = embedded.map_err(|error| store::after(sent.clone(), error))?;
                (embedded.vectors.pop(), Some(store::both(sent, embedded.report)))
            }
            None => (None, None),
        };
        let (words, fusion, searched) = (query.clone(), self.fusion, Arc::clone(&corpus));
        let hits = blocking(move || searched.search(&words, vector.as_deref(), fusion, top_k))
            .await
            .map_err(|error| error.with_report(report.clone()))?;
        let passages: Vec<Value> = (1..)
            .zip(hits)
            .map(|(rank, (number, score)): (u32, _)| {
                let passage = &corpus.passages[number];
                json!({
                    "id": passage.id,
                    "source": passage.source,
                    "text": passage.text,
                    "score": (score * 1e6).round() / 1e6,
                    "rank": rank,
                    "start": passage.start,
                    "end": passage.end,
                })
            })
            .collect();
        Ok(AgentOutput { value: json!({"query": query, "passages": passages}), report })
    }
}

#[cfg(test)]
mod tests;
