//! A deployment: which backend each model alias binds to, at what price, and where the boundary is.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::agent::AgentSpec;
use super::workflow::Label;
use crate::money::Usd;

/// A deployment as written in `deployments/*.ron`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeploymentSpec {
    /// Name in records.
    pub name: String,
    /// Backends by name.
    pub backends: IndexMap<String, BackendSpec>,
    /// Node, agent or model alias (or `*`) to the name of a backend.
    pub bind: IndexMap<String, String>,
    /// What is inside, and what must not leave.
    pub boundary: Boundary,
}

impl DeploymentSpec {
    /// The backend that a node is bound to: by its name, then its agent's, then the model alias, then `*`. An embedder
    /// never matches `*`; agents without a model, and `Custom` ones (no `spec`), are bound only by name.
    pub fn binding(&self, node: &str, agent: Option<&str>, spec: Option<&AgentSpec>) -> Option<&str> {
        let alias = spec.and_then(AgentSpec::model);
        let is_embedder = matches!(spec, Some(AgentSpec::Retriever(_)));
        let rest = (alias.is_some() && !is_embedder).then_some("*");
        if spec.is_some() && alias.is_none() {
            return None;
        }
        [Some(node), agent, alias, rest].into_iter().flatten().find_map(|key| self.bind.get(key)).map(String::as_str)
    }
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum BackendSpec {
    /// A model in this process.
    Local(LocalSpec),
    /// A backend that the embedding program registered under this name.
    Custom {
        /// The registered name.
        name: String,
        /// What it costs; must be said.
        cost: Cost,
    },
}

/// A model in this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSpec {
    /// An asset's name, or the path of a `.gguf` file or of a folder with `model.safetensors`.
    pub model: String,
    /// Where it computes.
    #[serde(default)]
    pub device: Device,
    /// What it costs; unknown when absent.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// Longest prompt plus answer in tokens, when less than the model allows.
    #[serde(default)]
    pub context: Option<u32>,
}

/// Where a local model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Device {
    /// The first GPU that this build can use, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this number.
    Cuda(u32),
    /// The Metal device.
    Metal,
}

/// What a backend costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Cost {
    /// Dollars per hour of the machine, charged by busy time.
    PerHour {
        /// Dollars.
        usd: Usd,
    },
    /// Not known: costs are `null`, totals incomplete.
    Unknown,
}

/// What is inside, and what must not leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Boundary {
    /// Backends that count as inside. Local ones always do.
    pub inside: Vec<String>,
    /// Labels that must not reach a backend outside.
    pub forbid_outside: Vec<Label>,
}
