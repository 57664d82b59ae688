//! The decoder networks that candle offers for GGUF files, behind one interface.

use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::{quantized_gemma3, quantized_llama, quantized_qwen2, quantized_qwen3};

use crate::error::Result;
use crate::positions::Positions;
use crate::vocabulary::{number, text};

/// Architectures that can be loaded, as `general.architecture` names them.
pub(crate) const ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// Used as the context of a model that claims more, unless a deployment asks for more: the tables of rotary
/// positions are computed for the whole context at load.
const DEFAULT_LONGEST_CONTEXT: u32 = 1 << 17;

/// Parameters times tokens of one forward pass of the prefill. It bounds how long a cancelled request keeps
/// computing; it depends on the model alone, because another split of the prompt may round differently.
const PREFILL_WORK: u64 = 1 << 34;

/// A decoder with its KV cache.
pub(crate) struct Network {
    weights: Weights,
    device: Device,
    prefill_chunk: usize,
}

enum Weights {
    Llama(Pair<quantized_llama::ModelWeights>),
    Qwen2(Box<quantized_qwen2::ModelWeights>),
    Qwen3(Pair<quantized_qwen3::ModelWeights>),
    Gemma3(Pair<quantized_gemma3::ModelWeights>),
}

/// A network and a copy that is used up: copies share the weights, and a fresh one also forgets the attention masks
/// that candle would otherwise collect for every length of a prompt.
struct Pair<M> {
    pristine: M,
    used: M,
}

impl<M: Clone> Pair<M> {
    fn new(pristine: M) -> Self {
        Self { used: pristine.clone(), pristine }
    }
}

/// What the header says about the network's sizes, checked so that loading neither panics nor allocates absurdly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Longest prompt plus answer.
    pub(crate) context: u32,
    /// Number of weights.
    pub(crate) parameters: u64,
    /// Rows of the embedding: tokens that the network knows.
    pub(crate) vocabulary: usize,
}

impl Shape {
    /// Reads and checks the sizes; `wanted` limits the context. With them comes what people should know of the context,
    /// if anything. The error is the reason alone.
    pub(crate) fn read(content: &Content, wanted: Option<u32>) -> std::result::Result<(Self, Option<String>), String> {
        let architecture = text(content, "general.architecture").ok_or("`general.architecture` is missing")?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(format!("architecture `{architecture}` is not supported; {} are", ARCHITECTURES.join(", ")));
        }
        let need = |field: &str| {
            let key = format!("{architecture}.{field}");
            number(content, &key).filter(|n| *n > 0).ok_or(format!("`{key}` is missing or not positive"))
        };
        let heads = need("attention.head_count")?;
        let kv_heads = need("attention.head_count_kv")?;
        let width = need("embedding_length")?;
        let blocks = need("block_count")?;
        let trained = need("context_length")?;
        if heads % kv_heads != 0 {
            return Err(format!("{heads} attention heads cannot share {kv_heads} key-value heads"));
        }
        let tensors = content.tensor_infos.len();
        if blocks as usize > tensors {
            return Err(format!("{blocks} blocks cannot be made of {tensors} tensors"));
        }
        if optional(content, architecture, "expert_count") as usize > tensors {
            return Err("more experts than tensors".to_owned());
        }
        let head = match architecture {
            "llama" | "qwen2" if width % heads != 0 => {
                return Err(format!("an embedding of {width} cannot be split into {heads} heads"));
            }
            "llama" | "qwen2" => width / heads,
            _ => need("attention.key_length")?,
        };
        if head > 4096 || optional(content, architecture, "rope.dimension_count") > head {
            return Err(format!("attention heads of {head} elements are not possible"));
        }
        let embedding = content.tensor_infos.get("token_embd.weight").ok_or("tensor `token_embd.weight` is missing")?;
        let [vocabulary, columns] = embedding.shape.dims() else {
            return Err("tensor `token_embd.weight` is no matrix".to_owned());
        };
        if *columns != width as usize {
            return Err(format!("the embedding has {columns} columns, `{architecture}.embedding_length` says {width}"));
        }
        let longest = match architecture {
            // candle computes that many rotary positions for them, whatever the file says.
            "llama" => trained.min(quantized_llama::MAX_SEQ_LEN as u32),
            "gemma3" => trained.min(quantized_gemma3::MAX_SEQ_LEN as u32),
            _ => trained,
        };
        let positions = Positions::read(content, architecture)?;
        let longest = longest.min(positions.longest.unwrap_or(u32::MAX));
        let note = positions.note.or_else(|| {
            (longest < trained).then(|| {
                format!("context of {longest} tokens: candle computes no more of the {trained} that the model has")
            })
        });
        let context = wanted.map_or(longest.min(DEFAULT_LONGEST_CONTEXT), |wanted| wanted.min(longest)).max(1);
        let parameters = content.tensor_infos.values().map(|info| info.shape.elem_count() as u64).sum();
        Ok((Self { context, parameters, vocabulary: *vocabulary }, note))
    }
}

fn optional(content: &Content, architecture: &str, field: &str) -> u32 {
    number(content, &format!("{architecture}.{field}")).unwrap_or(0)
}

impl Network {
    /// Loads the weights that `content` lists from `reader`. The error is the reason alone.
    pub(crate) fn load<R: Read + Seek>(
        mut content: Content,
        reader: &mut R,
        shape: Shape,
        device: &Device,
    ) -> std::result::Result<Self, String> {
        let architecture = text(&content, "general.architecture").unwrap_or_default().to_owned();
        content.metadata.insert(format!("{architecture}.context_length"), Value::U32(shape.context));
        // candle checks less than a damaged file can hold; what the checks above missed must not end the process.
        let weights = catch_unwind(AssertUnwindSafe(|| {
            Ok(match architecture.as_str() {
                "llama" => {
                    Weights::Llama(Pair::new(quantized_llama::ModelWeights::from_gguf(content, reader, device)?))
                }
                "qwen2" => Weights::Qwen2(Box::new(quantized_qwen2::ModelWeights::from_gguf(content, reader, device)?)),
                "qwen3" => {
                    Weights::Qwen3(Pair::new(quantized_qwen3::ModelWeights::from_gguf(content, reader, device)?))
                }
                _ => Weights::Gemma3(Pair::new(quantized_gemma3::ModelWeights::from_gguf(content, reader, device)?)),
            })
        }))
        .unwrap_or_else(|_| Err(candle_core::Error::msg("its tensors do not fit together")))
        .map_err(|error: candle_core::Error| format!("the weights cannot be loaded: {error}"))?;
        let prefill_chunk = match weights {
            // candle's mask for Gemma is wrong when a part of the prompt is in the cache already.
            Weights::Gemma3(_) => usize::MAX,
            _ => (PREFILL_WORK / shape.parameters.max(1)).clamp(16, 128).next_power_of_two() as usize,
        };
        Ok(Self { weights, device: device.clone(), prefill_chunk })
    }

    /// Most tokens to give to [`Network::forward`] while reading a prompt.
    pub(crate) fn prefill_chunk(&self) -> usize {
        self.prefill_chunk
    }

    /// Most tokens to give to [`Network::forward`] after the prompt.
    pub(crate) fn append_chunk(&self) -> usize {
        if matches!(self.weights, Weights::Gemma3(_)) { 1 } else { self.prefill_chunk }
    }

    /// Reads a few tokens, so that a GPU's kernels are compiled and its libraries started before the first request.
    pub(crate) fn rehearse(&mut self, context: u32) -> Result<()> {
        let longest = (context as usize).saturating_sub(1).min(self.prefill_chunk).min(128);
        if longest > 0 {
            self.forward(&vec![0; longest], 0)?;
            self.forward(&[0], longest)?;
        }
        self.reset();
        Ok(())
    }

    /// Forgets everything read before.
    pub(crate) fn reset(&mut self) {
        match &mut self.weights {
            Weights::Llama(pair) => pair.used = pair.pristine.clone(),
            Weights::Qwen2(model) => model.clear_kv_cache(),
            Weights::Qwen3(pair) => pair.used = pair.pristine.clone(),
            Weights::Gemma3(pair) => pair.used = pair.pristine.clone(),
        }
    }

    /// Reads `tokens`, the first of which has this position, and returns the logits of what may follow the last one.
    pub(crate) fn forward(&mut self, tokens: &[u32], position: usize) -> Result<Vec<f32>> {
        let input = Tensor::new(tokens, &self.device)?.unsqueeze(0)?;
        let logits = match &mut self.weights {
            Weights::Llama(pair) => pair.used.forward(&input, position)?,
            Weights::Qwen2(model) => model.forward(&input, position)?,
            Weights::Qwen3(pair) => pair.used.forward(&input, position)?,
            Weights::Gemma3(pair) => pair.used.forward(&input, position)?,
        };
        Ok(logits.squeeze(0)?.to_dtype(DType::F32)?.to_vec1()?)
    }
}
