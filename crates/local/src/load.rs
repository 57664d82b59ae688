//! Loads a model from its files.

use std::path::Path;
use std::sync::Arc;

use lumos_core::BackendInfo;

use crate::device::Resolved;
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::generate::{Generator, Progress, Prompter};
use crate::model::{Loaded, LocalOptions};
use crate::network::{Network, Shape};
use crate::requantize::{self, Prepared};
use crate::template::ChatTemplate;
use crate::vocabulary::{Vocabulary, text};
use crate::worker::{Engine, Outcome, Work};
use crate::{device, gguf};

/// A loaded model of either kind.
pub(crate) enum Model {
    Chat(Box<Generator>),
    Embedder(Box<Embedder>),
}

impl Engine for Model {
    fn execute(&mut self, work: Work, progress: &dyn Progress) -> Result<Outcome> {
        match (self, work) {
            (_, Work::WarmUp) => Ok(Outcome::Warm),
            (Self::Chat(generator), Work::Chat(request)) => generator.chat(&request, progress).map(Outcome::Chat),
            (Self::Embedder(embedder), Work::Embed(texts)) => embedder.embed(texts, progress).map(Outcome::Embed),
            (Self::Chat(_), Work::Embed(_)) => Err(Error::Invalid(
                "this is a chat model and gives no embeddings; bind the node to an embedder".to_owned(),
            )),
            (Self::Embedder(_), Work::Chat(_)) => {
                Err(Error::Invalid("this is an embedder and does not chat; bind the node to a chat model".to_owned()))
            }
        }
    }
}

/// Whether there is something to load at `path`.
pub(crate) fn look(path: &Path) -> Result<()> {
    if path.is_dir() { Embedder::look(path) } else { gguf::open_file(path).map(drop) }
}

/// What is known before loading.
pub(crate) fn cold_info(options: &LocalOptions) -> BackendInfo {
    let embed = options.path.is_dir();
    BackendInfo {
        model: options.name.clone(),
        provider: "local".to_owned(),
        chat: !embed,
        embed,
        context_tokens: options.context,
        dimensions: None,
        digest: options.digest.clone(),
        detail: "not loaded yet".to_owned(),
    }
}

/// Loads the model that `options` name.
pub(crate) fn load(options: &LocalOptions) -> Result<(Model, Loaded)> {
    if options.path.is_dir() { load_embedder(options) } else { load_chat(options, &device::resolve(options.device)?) }
}

fn load_embedder(options: &LocalOptions) -> Result<(Model, Loaded)> {
    let embedder = Embedder::load(&options.path, options.device)?;
    let info = BackendInfo {
        context_tokens: Some(embedder.context() as u32),
        dimensions: Some(embedder.dimensions() as u32),
        detail: embedder.detail.clone(),
        ..cold_info(options)
    };
    Ok((Model::Embedder(Box::new(embedder)), Loaded { info, prompter: None }))
}

fn load_chat(options: &LocalOptions, on: &Resolved) -> Result<(Model, Loaded)> {
    let path = &options.path;
    let unusable = |reason: String| Error::unusable(path, reason);
    let content = gguf::read_header(path)?;
    let (shape, limits) = Shape::read(&content, options.context).map_err(unusable)?;
    if let Some(limits) = &limits {
        tracing::info!(model = options.name, "{limits}");
    }
    let vocabulary = Vocabulary::from_gguf(&content).map_err(unusable)?;
    if vocabulary.len() > shape.vocabulary {
        return Err(unusable(format!(
            "the tokenizer has {} tokens, the network only {}",
            vocabulary.len(),
            shape.vocabulary
        )));
    }
    let (bos, eos) = vocabulary.template_texts();
    let template = ChatTemplate::new(text(&content, "tokenizer.chat_template"), bos, eos);

    let cache = options.cache_dir.as_deref();
    let prepared = requantize::prepare(path, content, &on.device, cache, &options.digest)?;
    let Prepared { content, mut reader, quantization, note } = prepared;
    let mut network = Network::load(content, &mut reader, shape, &on.device).map_err(unusable)?;
    if !on.device.is_cpu() {
        network.rehearse(shape.context).map_err(|error| unusable(error.to_string()))?;
    }
    let detail = [
        Some(on.describe()),
        Some(quantization.to_string()),
        note,
        limits,
        template.fallback.clone(),
        vocabulary.note.clone(),
    ];
    let info = BackendInfo {
        context_tokens: Some(shape.context),
        detail: detail.into_iter().flatten().collect::<Vec<_>>().join(", "),
        ..cold_info(options)
    };
    let prompter = Arc::new(Prompter { vocabulary: Arc::new(vocabulary), template });
    let context = shape.context as usize;
    let generator = Generator::new(network, Arc::clone(&prompter), context, Arc::clone(&options.clock));
    Ok((Model::Chat(Box::new(generator)), Loaded { info, prompter: Some(prompter) }))
}
