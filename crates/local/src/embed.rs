//! Embedders from safetensors: BERT (mean pooling) and static token vectors (model2vec).

use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use lumos_core::{Basis, CallReport, Embeddings, Usage, spec};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::device;
use crate::error::{Error, Result};
use crate::generate::Progress;
use crate::gguf::open_file;

/// Texts that BERT reads at once. Padding to the longest of a batch costs less than it gains up to about here.
const BATCH: usize = 16;

/// A loaded embedder.
pub(crate) struct Embedder {
    tokenizer: Tokenizer,
    network: Network,
    dimensions: usize,
    /// Longest text in tokens; what exceeds it is cut off.
    context: usize,
    pub(crate) detail: String,
}

enum Network {
    /// One row of `dimensions` per token, and the row of each token.
    Static {
        vectors: Vec<f32>,
        unknown: Option<u32>,
    },
    Bert {
        model: Box<BertModel>,
        device: Device,
    },
}

/// Files of an embedder in `folder`.
struct Files {
    weights: PathBuf,
    tokenizer: PathBuf,
    config: PathBuf,
}

impl Embedder {
    /// Whether `folder` holds an embedder's files; the error names what is missing.
    pub(crate) fn look(folder: &Path) -> Result<()> {
        let files = Files::of(folder);
        open_file(&files.weights)?;
        open_file(&files.tokenizer).map(drop)
    }

    /// Loads the embedder in `folder`. Static vectors are added up on the CPU whatever the device.
    pub(crate) fn load(folder: &Path, device: spec::Device) -> Result<Self> {
        Self::look(folder)?;
        let files = Files::of(folder);
        let mut tokenizer =
            Tokenizer::from_file(&files.tokenizer).map_err(|error| Error::unusable(&files.tokenizer, error))?;
        // The files' own settings pad every text to a fixed length.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| Error::unusable(&files.tokenizer, error))?;

        let unusable = |error: candle_core::Error| Error::unusable(&files.weights, error);
        #[allow(unsafe_code, reason = "a model file is not changed while it is in use, as for every mapped file")]
        let tensors = unsafe { MmapedSafetensors::new(&files.weights) }.map_err(unusable)?;
        let names: Vec<String> = tensors.tensors().into_iter().map(|(name, _)| name).collect();
        if names.iter().any(|name| name == "embeddings") {
            return Self::load_static(&files, &tensors, tokenizer);
        }
        drop(tensors);
        if names.iter().any(|name| name.ends_with("embeddings.word_embeddings.weight")) {
            return Self::load_bert(&files, tokenizer, device);
        }
        Err(Error::unusable(
            &files.weights,
            "neither a BERT (`embeddings.word_embeddings.weight`) nor static token vectors (`embeddings`)",
        ))
    }

    fn load_static(files: &Files, tensors: &MmapedSafetensors, tokenizer: Tokenizer) -> Result<Self> {
        let unusable = |reason: String| Error::unusable(&files.weights, reason);
        let tensor = |name: &str| {
            let loaded = tensors.load(name, &Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::F32));
            loaded.map_err(|error| unusable(error.to_string()))
        };
        let vectors = tensor("embeddings")?;
        let [rows, dimensions] = *vectors.dims() else {
            return Err(unusable("tensor `embeddings` is no matrix".to_owned()));
        };
        if dimensions == 0 || rows < tokenizer.get_vocab_size(true) {
            return Err(unusable(format!(
                "{rows} token vectors of {dimensions} elements do not fit the tokenizer's {} tokens",
                tokenizer.get_vocab_size(true)
            )));
        }
        if let Some(extra) = ["weights", "mapping"].into_iter().find(|name| tensors.get(name).is_ok()) {
            return Err(unusable(format!("static vectors with `{extra}` are not supported; export them applied")));
        }
        let vectors = vectors.flatten_all().and_then(|flat| flat.to_vec1()).map_err(|e| unusable(e.to_string()))?;
        let unknown = tokenizer.token_to_id("[UNK]");
        Ok(Self {
            tokenizer,
            network: Network::Static { vectors, unknown },
            dimensions,
            // model2vec reads this many tokens of a text.
            context: 512,
            detail: "cpu, static token vectors".to_owned(),
        })
    }

    fn load_bert(files: &Files, tokenizer: Tokenizer, wanted: spec::Device) -> Result<Self> {
        let bad_config = |error: &dyn std::fmt::Display| Error::unusable(&files.config, error);
        let read = std::fs::read(&files.config).map_err(|error| bad_config(&error))?;
        let config: Config = serde_json::from_slice(&read).map_err(|error| bad_config(&error))?;
        let (width, heads) = (config.hidden_size, config.num_attention_heads);
        if heads == 0 || width == 0 || width % heads != 0 {
            return Err(bad_config(&format!("a hidden size of {width} cannot be split into {heads} heads")));
        }
        if tokenizer.get_vocab_size(true) > config.vocab_size {
            return Err(bad_config(&"the tokenizer has more tokens than `vocab_size`"));
        }
        let on = device::resolve(wanted)?;
        let unusable = |error: candle_core::Error| Error::unusable(&files.weights, error);
        #[allow(unsafe_code, reason = "a model file is not changed while it is in use, as for every mapped file")]
        let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[&files.weights], DType::F32, &on.device) };
        let model = BertModel::load(weights.map_err(unusable)?, &config).map_err(unusable)?;
        let limit = sentence_limit(&files.weights).unwrap_or(usize::MAX);
        Ok(Self {
            tokenizer,
            network: Network::Bert { model: Box::new(model), device: on.device.clone() },
            dimensions: width,
            context: config.max_position_embeddings.min(limit).max(2),
            detail: format!("{}, BERT, mean pooling", on.describe()),
        })
    }

    /// Length of a vector.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Longest text in tokens.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// One vector of unit length per text. A text without a single known token has no direction: its vector is zero.
    pub(crate) fn embed(&self, texts: Vec<String>, progress: &dyn Progress) -> Result<Embeddings> {
        let special = matches!(self.network, Network::Bert { .. });
        let mut tokens = Vec::with_capacity(texts.len());
        for text in texts {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let encoding = self.tokenizer.encode_fast(text, special);
            let encoding = encoding.map_err(|error| Error::Internal(format!("the tokenizer failed: {error}")))?;
            tokens.push(self.fit(encoding.get_ids()));
        }
        let input: usize = tokens.iter().map(Vec::len).sum();
        let mut vectors = match &self.network {
            Network::Static { vectors, unknown } => {
                tokens.iter().map(|ids| mean_of_rows(vectors, self.dimensions, ids, *unknown)).collect()
            }
            Network::Bert { model, device } => bert(model, device, &tokens, progress)?,
        };
        for vector in &mut vectors {
            normalise(vector);
        }
        Ok(Embeddings {
            vectors,
            report: CallReport {
                usage: Usage {
                    input_tokens: Some(input as u64),
                    cached_input_tokens: Some(0),
                    output_tokens: Some(0),
                    ..Usage::default()
                },
                ..CallReport::new(Basis::Measured)
            },
        })
    }

    /// Cuts a text to the context; BERT's closing `[SEP]` stays.
    fn fit(&self, ids: &[u32]) -> Vec<u32> {
        let mut fitted = ids[..ids.len().min(self.context)].to_vec();
        if let (Network::Bert { .. }, Some(last), Some(end)) = (&self.network, fitted.last_mut(), ids.last()) {
            *last = *end;
        }
        fitted
    }
}

impl Files {
    fn of(folder: &Path) -> Self {
        Self {
            weights: folder.join("model.safetensors"),
            tokenizer: folder.join("tokenizer.json"),
            config: folder.join("config.json"),
        }
    }
}

/// The limit that a sentence-transformers export states next to its weights.
fn sentence_limit(weights: &Path) -> Option<usize> {
    let text = std::fs::read(weights.with_file_name("sentence_bert_config.json")).ok()?;
    let config: Value = serde_json::from_slice(&text).ok()?;
    usize::try_from(config.get("max_seq_length")?.as_u64()?).ok().filter(|limit| *limit > 0)
}

fn mean_of_rows(vectors: &[f32], dimensions: usize, ids: &[u32], unknown: Option<u32>) -> Vec<f32> {
    let mut sum = vec![0.0; dimensions];
    // The length is normalised afterwards, so the sum stands for the mean.
    for id in ids.iter().filter(|id| Some(**id) != unknown) {
        let row = &vectors[*id as usize * dimensions..][..dimensions];
        sum.iter_mut().zip(row).for_each(|(total, value)| *total += value);
    }
    sum
}

fn bert(model: &BertModel, device: &Device, tokens: &[Vec<u32>], progress: &dyn Progress) -> Result<Vec<Vec<f32>>> {
    // Texts of like length share a batch; equal lengths keep their order, so the batches depend on the request alone.
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|at| tokens[*at].len());
    let mut vectors = vec![Vec::new(); tokens.len()];
    for batch in order.chunks(BATCH) {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let longest = batch.iter().map(|at| tokens[*at].len()).max().unwrap_or(0);
        let shape = (batch.len(), longest);
        let padded = |value: &dyn Fn(&[u32], usize) -> u32| {
            let rows = batch.iter().flat_map(|at| (0..longest).map(|i| value(&tokens[*at], i)));
            Tensor::from_vec(rows.collect::<Vec<_>>(), shape, device)
        };
        let ids = padded(&|ids, i| ids.get(i).copied().unwrap_or(0))?;
        let mask = padded(&|ids, i| u32::from(i < ids.len()))?;
        let states = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let weights = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sums = states.to_dtype(DType::F32)?.broadcast_mul(&weights)?.sum(1)?.to_vec2::<f32>()?;
        for (at, sum) in batch.iter().zip(sums) {
            vectors[*at] = sum;
        }
    }
    Ok(vectors)
}

fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        for x in vector {
            *x = (f64::from(*x) / length) as f32;
        }
    }
}
