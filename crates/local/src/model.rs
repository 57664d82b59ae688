//! The backend: a model file, its worker and what is known of it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use lumos_core::spec::Device;
use lumos_core::{Backend, BackendError, BackendInfo, ChatRequest, Clock, Completion, DeltaSink, Embeddings, NoDeltas};

use crate::error::Error;
use crate::generate::Prompter;
use crate::load;
use crate::worker::{Outcome, Work, Worker};

/// What to load and how to run it.
#[derive(Clone)]
pub struct LocalOptions {
    /// The model's name in records.
    pub name: String,
    /// A `.gguf` file, or a folder with `model.safetensors` and `tokenizer.json` (and `config.json` for BERT).
    pub path: PathBuf,
    /// Where to compute.
    pub device: Device,
    /// Longest prompt plus answer in tokens, when less than the model allows.
    pub context: Option<u32>,
    /// Folder for weights that were converted for this CPU; `None` converts them anew at each load.
    pub cache_dir: Option<PathBuf>,
    /// SHA-256 of the weights in hexadecimal where it is known, else empty.
    pub digest: String,
    /// Measures queueing, TTFT and busy time.
    pub clock: Arc<dyn Clock>,
}

/// What is known once the model is loaded.
pub(crate) struct Loaded {
    pub(crate) info: BackendInfo,
    /// Present for chat models.
    pub(crate) prompter: Option<Arc<Prompter>>,
}

/// A model in this process.
pub struct LocalModel {
    options: LocalOptions,
    loaded: Arc<OnceLock<Loaded>>,
    worker: Worker,
}

impl std::fmt::Debug for LocalModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalModel").field("path", &self.options.path).finish_non_exhaustive()
    }
}

impl LocalModel {
    /// A backend for the model at `options.path`. Only looks whether there is something; loading is left to
    /// [`Backend::warm_up`] or the first request.
    ///
    /// `Err(Unusable)` when the path is neither a file nor a folder with `model.safetensors`.
    pub fn open(options: LocalOptions) -> Result<Arc<Self>, BackendError> {
        load::look(&options.path)?;
        let loaded = Arc::new(OnceLock::new());
        let worker = {
            let (name, clock) = (options.name.clone(), Arc::clone(&options.clock));
            let (options, loaded) = (options.clone(), Arc::clone(&loaded));
            Worker::start(&name, clock, move || {
                let (engine, what) = load::load(&options)?;
                // A second load, after a failed one, is the first that sets it.
                let _ = loaded.set(what);
                Ok(engine)
            })?
        };
        Ok(Arc::new(Self { options, loaded, worker }))
    }
}

#[async_trait]
impl Backend for LocalModel {
    fn info(&self) -> BackendInfo {
        match self.loaded.get() {
            Some(loaded) => loaded.info.clone(),
            None => load::cold_info(&self.options),
        }
    }

    async fn warm_up(&self) -> Result<(), BackendError> {
        self.worker.submit(Work::WarmUp, &NoDeltas).await?;
        Ok(())
    }

    fn count_input_tokens(&self, request: &ChatRequest) -> Option<u64> {
        let prompter = self.loaded.get()?.prompter.as_ref()?;
        prompter.tokens(request).ok().map(|tokens| tokens.len() as u64)
    }

    async fn chat(&self, request: ChatRequest, deltas: &dyn DeltaSink) -> Result<Completion, BackendError> {
        match self.worker.submit(Work::Chat(request), deltas).await? {
            Outcome::Chat(completion) => Ok(completion),
            Outcome::Warm | Outcome::Embed(_) => Err(mixed_up().into()),
        }
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, BackendError> {
        match self.worker.submit(Work::Embed(texts), &NoDeltas).await? {
            Outcome::Embed(embeddings) => Ok(embeddings),
            Outcome::Warm | Outcome::Chat(_) => Err(mixed_up().into()),
        }
    }
}

fn mixed_up() -> Error {
    Error::Internal("the worker answered another request".to_owned())
}
