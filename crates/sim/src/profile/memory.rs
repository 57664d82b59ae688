//! What fits: weights, working memory and the KV cache on each GPU of a replica.

use super::setup::{ProfileError, Setup};

/// Tokens of a block of the KV cache.
pub const BLOCK_TOKENS: u32 = 16;

/// Bytes that the driver's context, communication buffers and captured graphs take on each GPU.
const FIXED_BYTES: u64 = 2 << 30;

/// The memory of one GPU of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Bytes of activations at their peak, graphs and libraries.
    pub reserved_bytes: u64,
    /// Bytes of the KV cache of one token, over the layers that keep every token.
    pub kv_bytes_per_token: u64,
    /// Bytes of the KV cache of one sequence in layers with a sliding window.
    pub kv_bytes_per_sequence: u64,
    /// Blocks of [`BLOCK_TOKENS`] tokens that fit.
    pub kv_blocks: u64,
}

impl Memory {
    /// Tokens that fit.
    pub fn kv_tokens(&self) -> u64 {
        self.kv_blocks * u64::from(BLOCK_TOKENS)
    }

    pub(super) fn new(setup: &Setup<'_>) -> Result<Self, ProfileError> {
        let model = setup.model;
        let gpus = u64::from(setup.tensor_parallel);
        let bytes = |weights: u64, bits: f64| (weights as f64 * bits / 8.0) as u64;
        let layers = u64::from(model.layers);
        let attention =
            bytes(layers * model.attention_weights(), setup.weights.attention_bits(model.experts.is_some()));
        let feed_forward = bytes(layers * model.feed_forward_weights(), setup.weights.bits());
        let vocabulary = bytes(model.vocabulary_weights(), setup.weights.vocabulary_bits());
        let weight_bytes = (attention + feed_forward + vocabulary).div_ceil(gpus);

        // The residual stream and the widest intermediate result of a whole batch, and the logits of every sequence.
        let widest = model.experts.map_or(model.intermediate, |it| it.intermediate * it.active);
        let per_token = 2 * (4 * u64::from(model.hidden) + 3 * u64::from(widest).div_ceil(gpus));
        let logits = 4 * u64::from(model.vocabulary) * u64::from(setup.max_sequences);
        let reserved_bytes = FIXED_BYTES + per_token * u64::from(setup.max_batched_tokens) + logits;

        let per_layer = 2 * u64::from(setup.kv_heads()) * u64::from(model.head_dim) * setup.kv.bytes();
        let kv_bytes_per_token = per_layer * u64::from(model.full_layers());
        let kv_bytes_per_sequence =
            model.sliding.map_or(0, |it| per_layer * u64::from(it.layers) * u64::from(it.window + BLOCK_TOKENS));

        let usable = (setup.hardware.memory_bytes as f64 * setup.memory_utilization) as u64;
        let sliding = kv_bytes_per_sequence * u64::from(setup.max_sequences);
        let room = usable.saturating_sub(weight_bytes + reserved_bytes + sliding);
        let kv_blocks = room / (kv_bytes_per_token.max(1) * u64::from(BLOCK_TOKENS));
        if kv_blocks == 0 {
            let gb = |bytes: u64| bytes as f64 / 1e9;
            return Err(ProfileError::DoesNotFit {
                model: model.name.clone(),
                hardware: setup.hardware.name.clone(),
                gpus: setup.tensor_parallel,
                usable: gb(usable),
                weights: gb(weight_bytes),
                reserved: gb(reserved_bytes + sliding),
                hint: format!(
                    "more GPUs, fewer bits per weight or more memory: all the weights take {:.1} GB",
                    gb(weight_bytes * gpus)
                ),
            });
        }
        Ok(Self {
            weight_bytes,
            reserved_bytes: reserved_bytes + sliding,
            kv_bytes_per_token,
            kv_bytes_per_sequence,
            kv_blocks,
        })
    }
}
