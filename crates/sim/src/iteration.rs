//! How long one iteration of a replica takes: the seam between batching and hardware.

/// What a replica computes in one iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batch {
    /// Sequences that generate one token each.
    pub decodes: u32,
    /// Chunks of prompts, one per sequence that is in its prefill.
    pub chunks: u32,
    /// Tokens of these chunks together.
    pub chunk_tokens: u32,
    /// Query-key pairs of these chunks: for a chunk of `c` tokens after `p` that are there, `c·p + c·(c+1)/2`.
    pub chunk_pairs: u64,
    /// Tokens that those chunks find in the KV cache, together: the `p` of each.
    pub chunk_history: u64,
}

/// The time of an iteration in picoseconds: `base_ps + per_kv_token_ps · kv`, where `kv` is the number of tokens that
/// the decoding sequences hold in the KV cache when it begins, together. Integers, so that a stretch of iterations adds up in closed form
/// to exactly what it adds up to one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Affine {
    /// Picoseconds of everything but reading the decoding sequences' KV cache; at least 1.
    pub base_ps: u64,
    /// Picoseconds per token that they hold.
    pub per_kv_token_ps: u64,
}

impl Affine {
    /// With so many picoseconds more; at least one in all.
    pub(crate) fn and(self, extra_ps: u128) -> Self {
        let base_ps = u128::from(self.base_ps.max(1)).saturating_add(extra_ps);
        Self { base_ps: u64::try_from(base_ps).unwrap_or(u64::MAX), ..self }
    }
}

/// A profile of a model on some hardware: what an iteration takes.
///
/// Right: a pure function of the batch; a replica asks once per change of its batch and keeps the answer. Wrong: noise
/// in here; what varies from request to request belongs to the workload.
pub trait IterationTime: Send + Sync {
    /// The time of an iteration over `batch`.
    fn affine(&self, batch: &Batch) -> Affine;
}

impl<F: Fn(&Batch) -> Affine + Send + Sync> IterationTime for F {
    fn affine(&self, batch: &Batch) -> Affine {
        self(batch)
    }
}

/// Picoseconds in a microsecond.
pub const PS_PER_US: u64 = 1_000_000;
