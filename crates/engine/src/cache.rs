//! The response cache: an answer to the very same request is given again, and costs nothing.
//!
//! An entry is found by the SHA-256 of everything that determines the answer: who serves which model, and the whole
//! request. The seed counts only where something is drawn.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lumos_core::{
    Backend, BackendError, BackendInfo, Basis, CallReport, ChatRequest, Completion, Delta, DeltaSink, Embeddings,
    FinishReason, Usage,
};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::binding::BoundBackend;
use crate::database::{self, Layout};
use crate::store::{StoreError, unopened, unusable};

const LAYOUT: Layout = Layout {
    migrations: &["CREATE TABLE answers (key BLOB PRIMARY KEY, completion TEXT NOT NULL) WITHOUT ROWID"],
    page: None,
    // An answer that is lost with the machine is asked for again.
    synchronous: "NORMAL",
};

/// Answers that were given before, in the file `cache.db` of a home. Cheap to clone; clones share a connection.
#[derive(Clone)]
pub struct ResponseCache {
    connection: Arc<Mutex<Connection>>,
    path: Arc<Path>,
}

/// What an answer is found by.
pub(crate) type Key = [u8; 32];

impl ResponseCache {
    /// Opens, or makes, the cache of a home folder.
    ///
    /// # Errors
    /// When the folder or the file cannot be made or written, or was written by a later version.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        let path = home.join("cache.db");
        std::fs::create_dir_all(home).map_err(|error| unusable(&path, &error))?;
        let connection = database::open(&path, &LAYOUT).map_err(|error| unopened(&path, error))?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), path: path.into() })
    }

    /// The answer with this key. A cache that cannot be read has none: the answer is asked for again.
    pub(crate) async fn get(&self, key: Key) -> Option<Completion> {
        self.on_thread(move |connection| {
            let text: Option<String> = connection
                .query_row("SELECT completion FROM answers WHERE key = ?1", [key], |row| row.get(0))
                .optional()?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        })
        .await
        .flatten()
    }

    async fn put(&self, key: Key, completion: &Completion) {
        let Ok(text) = serde_json::to_string(completion) else { return };
        self.on_thread(move |connection| {
            connection.execute("INSERT OR REPLACE INTO answers (key, completion) VALUES (?1, ?2)", (key, text))
        })
        .await;
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Option<T> {
        let connection = self.connection.clone();
        let done =
            tokio::task::spawn_blocking(move || work(&connection.lock().unwrap_or_else(PoisonError::into_inner)));
        match done.await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::warn!(path = %self.path.display(), %error, "the response cache cannot be used");
                None
            }
            Err(_) => None,
        }
    }
}

/// The key of a request to a backend.
pub(crate) fn key(bound: &BoundBackend, request: &ChatRequest) -> Key {
    #[derive(Serialize)]
    struct Determinants<'a> {
        provider: &'a str,
        model: &'a str,
        digest: &'a str,
        detail: &'a str,
        request: &'a ChatRequest,
    }
    let info = bound.backend.info();
    let mut request = std::borrow::Cow::Borrowed(request);
    if request.decoding.temperature == 0.0 && request.decoding.seed != 0 {
        request.to_mut().decoding.seed = 0;
    }
    let mut hasher = Sha256::new();
    // Where a remote model is served is part of its detail. Neither writing to a hasher nor serialising texts can fail.
    let written = serde_json::to_writer(
        &mut hasher,
        &Determinants {
            provider: &info.provider,
            model: &info.model,
            digest: &info.digest,
            detail: if bound.is_remote { &info.detail } else { "" },
            request: &request,
        },
    );
    debug_assert!(written.is_ok());
    hasher.finalize().into()
}

/// A backend that looks for an answer in the cache before it asks.
pub(crate) struct Cached {
    pub(crate) bound: Arc<BoundBackend>,
    pub(crate) cache: ResponseCache,
}

#[async_trait]
impl Backend for Cached {
    fn info(&self) -> BackendInfo {
        self.bound.backend.info()
    }

    async fn warm_up(&self) -> Result<(), BackendError> {
        self.bound.backend.warm_up().await
    }

    fn count_input_tokens(&self, request: &ChatRequest) -> Option<u64> {
        self.bound.backend.count_input_tokens(request)
    }

    async fn chat(&self, request: ChatRequest, deltas: &dyn DeltaSink) -> Result<Completion, BackendError> {
        let key = key(&self.bound, &request);
        if let Some(completion) = self.cache.get(key).await {
            deltas.delta(Delta { text: &completion.text, output_tokens: 0 });
            let nothing = Some(0);
            let report = CallReport {
                usage: Usage { input_tokens: nothing, output_tokens: nothing, ..Usage::default() },
                busy_us: nothing,
                finish_reason: completion.report.finish_reason,
                saved_usd: self.bound.price.cost(&completion.report),
                ..CallReport::new(Basis::Measured)
            };
            return Ok(Completion { report, ..completion });
        }
        let completion = self.bound.backend.chat(request, deltas).await?;
        // What a provider withheld may be given another time.
        if completion.report.finish_reason != Some(FinishReason::ContentFilter) {
            self.cache.put(key, &completion).await;
        }
        Ok(completion)
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, BackendError> {
        self.bound.backend.embed(texts).await
    }
}
