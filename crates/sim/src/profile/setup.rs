//! A model on some hardware, as an engine serves it: what a profile is made from.

use super::catalog::CatalogError;
use super::engine::Engine;
use super::format::{Format, KvFormat};
use super::hardware::Hardware;
use super::model::Model;

/// One replica: a model, split over GPUs, in some formats, under some limits.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// The model.
    pub model: &'a Model,
    /// Each of its GPUs.
    pub hardware: &'a Hardware,
    /// The engine that serves it.
    pub engine: &'a Engine,
    /// GPUs that each layer is split over.
    pub tensor_parallel: u32,
    /// Groups of GPUs that the experts are split over, a divisor of `tensor_parallel`: each holds whole experts, and within a group each is
    /// split. 1: every expert is split over all.
    pub expert_parallel: u32,
    /// What the weights are in.
    pub weights: Format,
    /// What the KV cache is in.
    pub kv: KvFormat,
    /// Tokens that an iteration computes at most.
    pub max_batched_tokens: u32,
    /// Sequences that an iteration holds at most.
    pub max_sequences: u32,
    /// Share of the memory that the engine takes.
    pub memory_utilization: f64,
}

/// Why there is no profile.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// A name that no catalog knows, or a catalog that cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The model cannot be split so.
    #[error("`{model}` cannot be split over {gpus} GPUs with {experts} expert-parallel groups: {reason}")]
    Split {
        /// The model.
        model: String,
        /// Tensor parallel.
        gpus: u32,
        /// Expert parallel.
        experts: u32,
        /// What stands in the way.
        reason: String,
    },
    /// A limit that leaves nothing to do.
    #[error("{0}")]
    Limit(String),
    /// The weights leave no room for the KV cache of even one block.
    #[error(
        "`{model}` does not fit: on each of {gpus} × `{hardware}` the engine may take {usable:.1} GB, and weights take {weights:.1} GB, working memory {reserved:.1} GB"
    )]
    DoesNotFit {
        /// The model.
        model: String,
        /// The hardware.
        hardware: String,
        /// GPUs of the replica.
        gpus: u32,
        /// What the engine may take of one GPU's memory, in 10⁹ bytes.
        usable: f64,
        /// Weights on one GPU, in 10⁹ bytes.
        weights: f64,
        /// Activations, graphs and libraries on one GPU, in 10⁹ bytes.
        reserved: f64,
        /// What might help.
        hint: String,
    },
}

impl ProfileError {
    /// What would be valid.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Catalog(error) => error.hint(),
            Self::DoesNotFit { hint, .. } => Some(hint),
            Self::Split { .. } | Self::Limit(_) => None,
        }
    }
}

impl<'a> Setup<'a> {
    /// A replica on one GPU with the model's own weights, a 16-bit cache and the engine's defaults.
    pub fn new(model: &'a Model, hardware: &'a Hardware, engine: &'a Engine) -> Self {
        Self {
            model,
            hardware,
            engine,
            tensor_parallel: 1,
            expert_parallel: 1,
            weights: model.weights,
            kv: KvFormat::Bf16,
            max_batched_tokens: engine.max_batched_tokens,
            max_sequences: engine.max_sequences,
            memory_utilization: engine.memory_utilization,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ProfileError> {
        let split = |reason: String| ProfileError::Split {
            model: self.model.name.clone(),
            gpus: self.tensor_parallel,
            experts: self.expert_parallel,
            reason,
        };
        let (gpus, groups) = (self.tensor_parallel, self.expert_parallel);
        if gpus == 0 || groups == 0 {
            return Err(split("there is at least one of each".to_owned()));
        }
        if !self.model.heads.is_multiple_of(gpus) {
            return Err(split(format!("it has {} heads", self.model.heads)));
        }
        if !self.model.kv_heads.is_multiple_of(gpus) && !gpus.is_multiple_of(self.model.kv_heads) {
            return Err(split(format!("it has {} KV heads", self.model.kv_heads)));
        }
        if !gpus.is_multiple_of(groups) {
            return Err(split("the groups divide the GPUs".to_owned()));
        }
        if let Some(experts) = self.model.experts
            && !experts.count.is_multiple_of(groups)
        {
            return Err(split(format!("it has {} experts", experts.count)));
        }
        if self.model.experts.is_none() && groups > 1 {
            return Err(split("it has no experts".to_owned()));
        }
        let nodes = self.hardware.gpus_per_node;
        if gpus > nodes {
            return Err(split(format!("one machine has {nodes} `{}`, and a replica stays in one", self.hardware.name)));
        }
        if self.max_batched_tokens == 0 || self.max_sequences == 0 {
            return Err(ProfileError::Limit("an iteration computes at least one token of one sequence".to_owned()));
        }
        if self.max_batched_tokens < self.max_sequences {
            return Err(ProfileError::Limit(format!(
                "an iteration of {} tokens has no room for one of each of {} sequences: `max_batched_tokens` is at least `max_seqs`",
                self.max_batched_tokens, self.max_sequences
            )));
        }
        let share = self.memory_utilization;
        if !(share > 0.0 && share <= 1.0) {
            return Err(ProfileError::Limit(format!("{share} is not a share of the memory: above 0, at most 1")));
        }
        Ok(())
    }

    /// Key and value heads on one GPU: with more GPUs than heads, several hold the same one.
    pub(super) fn kv_heads(&self) -> u32 {
        (self.model.kv_heads / self.tensor_parallel).max(1)
    }
}
