//! What a replica is: limits of its scheduler and its KV cache, in the words of vLLM v1's options.

use serde::Deserialize;
use thiserror::Error;

use super::request::Rejection;

/// Limits of one replica. Times are not here: they come from [`IterationTime`](crate::iteration::IterationTime).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSpec {
    /// Tokens that one iteration may compute (`max_num_batched_tokens`); at least `max_num_seqs`, as vLLM demands.
    pub max_num_batched_tokens: u32,
    /// Sequences that may run at a time (`max_num_seqs`).
    pub max_num_seqs: u32,
    /// Blocks of the KV cache.
    pub kv_blocks: u32,
    /// Tokens in a block.
    pub block_tokens: u32,
    /// Tokens of prompt and answer together that the server takes (`max_model_len`): what asks for more is refused.
    pub max_model_len: u32,
    /// Whether a prompt may be cut to fit into what is left of an iteration's budget.
    pub chunked_prefill: bool,
    /// What must have room before a waiting request is admitted.
    pub reserve: Reserve,
    /// Blocks that stay free when a request is admitted beside others (vLLM's `watermark`, in blocks).
    pub watermark_blocks: u32,
    /// Prompts wait for each other while others decode (TensorRT-LLM's `batch_wait_*`); `None` admits at once.
    pub prefill_wait: Option<PrefillWait>,
    /// The batch of an iteration is put together while the one before runs (vLLM's `async_scheduling`, TensorRT-LLM's overlap
    /// scheduler): what arrives during an iteration is seen one later than otherwise.
    pub schedules_ahead: bool,
    /// One iteration at a time, touching each sequence: slow, and there to prove that the closed form is exact.
    pub stepwise: bool,
}

impl ReplicaSpec {
    /// A replica of `kv_blocks` blocks with vLLM v1's defaults for serving on a large GPU: 8192 tokens per iteration, 1024
    /// sequences, blocks of 16 tokens, chunked prefill, admission by the whole prompt (`vllm/config/scheduler.py`,
    /// `vllm/engine/arg_utils.py`).
    pub fn vllm(kv_blocks: u32) -> Self {
        Self {
            max_num_batched_tokens: 8192,
            max_num_seqs: 1024,
            kv_blocks,
            block_tokens: 16,
            max_model_len: u32::MAX,
            chunked_prefill: true,
            reserve: Reserve::Prompt,
            watermark_blocks: 0,
            prefill_wait: None,
            schedules_ahead: false,
            stepwise: false,
        }
    }

    /// Whether a prompt, with an answer of at most so many tokens, is no longer than the server takes.
    pub fn takes(&self, prompt: u32, answer: u32) -> Result<(), Rejection> {
        let fits = u64::from(prompt) + u64::from(answer) <= u64::from(self.max_model_len);
        if fits { Ok(()) } else { Err(Rejection::Context { prompt, answer, most: self.max_model_len }) }
    }

    /// Whether a replica can be built from this.
    pub(super) fn check(&self) -> Result<(), ReplicaError> {
        for (name, value) in [
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_num_seqs", self.max_num_seqs),
            ("block_tokens", self.block_tokens),
        ] {
            if value == 0 {
                return Err(ReplicaError::Zero(name));
            }
        }
        if self.kv_blocks == 0 {
            return Err(ReplicaError::NoMemory);
        }
        if self.max_num_batched_tokens < self.max_num_seqs {
            return Err(ReplicaError::Budget { tokens: self.max_num_batched_tokens, seqs: self.max_num_seqs });
        }
        Ok(())
    }

    /// Blocks that `tokens` take.
    pub(super) fn blocks(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_tokens)
    }
}

/// What must have room in the KV cache before a waiting request is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Reserve {
    /// The first chunk of its prompt (vLLM with `scheduler_reserve_full_isl` off).
    Chunk,
    /// Its prompt (vLLM's default).
    #[default]
    Prompt,
    /// Its prompt and output, beside those of all that run, so that nobody is ever preempted (TensorRT-LLM's default,
    /// `GUARANTEED_NO_EVICT`).
    Sequence,
}

/// How long waiting prompts are held back while others decode (TensorRT-LLM's `batch_wait_timeout_iters` and
/// `batch_wait_max_tokens_ratio` · `max_num_tokens`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefillWait {
    /// Iterations at most.
    pub iterations: u32,
    /// Tokens of waiting prompts and of decoding sequences together that end the wait.
    pub tokens: u32,
}

/// Why a replica cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplicaError {
    /// A limit is zero.
    #[error("{0} of a replica must be at least 1")]
    Zero(&'static str),
    /// Nothing is left for the KV cache.
    #[error("the model leaves no memory for a KV cache: 0 blocks")]
    NoMemory,
    /// An iteration could not even decode.
    #[error("max_num_batched_tokens ({tokens}) must be at least max_num_seqs ({seqs})")]
    Budget {
        /// Tokens per iteration.
        tokens: u32,
        /// Sequences.
        seqs: u32,
    },
    /// A pool without replicas.
    #[error("a pool needs at least one replica")]
    NoReplicas,
    /// More replicas than a simulation has room for.
    #[error("{replicas} replicas of a pool: at most {most} can be simulated")]
    TooMany {
        /// So many, or so many at most.
        replicas: u32,
        /// The most.
        most: u32,
    },
    /// Limits of scaling that contradict each other or the replicas at the start.
    #[error("scaling between {min} and {max} replicas from {replicas}: wants min <= replicas <= max and max >= 1")]
    Scaling {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
        /// At the start.
        replicas: u32,
    },
    /// Scaling on no load at all.
    #[error("scaling needs a target of at least 1 outstanding request per replica")]
    Target,
}
