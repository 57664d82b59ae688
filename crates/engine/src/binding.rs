//! A program with the agents and backends that its nodes are bound to.

use std::sync::Arc;

use lumos_core::program::{BackendRef, Program};
use lumos_core::{CallReport, SharedAgent, SharedBackend, Usd};

/// What a backend costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// Dollars per hour of the machine, charged by busy time.
    PerHour(Usd),
    /// Not known.
    Unknown,
}

impl Price {
    /// The cost of a call; `None` when the price or what it is charged by is unknown.
    pub fn cost(self, report: &CallReport) -> Option<Usd> {
        match self {
            Self::PerHour(usd) => usd.scaled(report.busy_us?, 3_600_000_000),
            Self::Unknown => None,
        }
    }

    /// Most that a call can cost that takes at most `timeout_us`; `None` when nothing bounds it.
    pub fn worst_cost(self, timeout_us: Option<u64>) -> Option<Usd> {
        match self {
            Self::PerHour(usd) => usd.scaled(timeout_us?, 3_600_000_000),
            Self::Unknown => None,
        }
    }
}

/// A backend as a node is bound to it.
#[derive(Clone)]
pub struct BoundBackend {
    /// The backend itself.
    pub backend: SharedBackend,
    /// What records say about it.
    pub reference: BackendRef,
    /// What it costs.
    pub price: Price,
}

/// What a node works with.
#[derive(Clone, Default)]
pub struct NodeBinding {
    /// Its agent; `None` for sub-workflows.
    pub agent: Option<SharedAgent>,
    /// The backend it is bound to, then its fallbacks; empty for nodes without a model.
    pub backends: Vec<Arc<BoundBackend>>,
}

/// A program ready to run: one binding for each node, by its position.
pub struct BoundProgram {
    program: Program,
    bindings: Vec<NodeBinding>,
    deployment: String,
}

impl BoundProgram {
    /// Binds a program; `bind` is asked once for each node of each graph.
    ///
    /// # Errors
    /// The first error of `bind`.
    pub fn new<E>(
        program: Program,
        deployment: impl Into<String>,
        bind: impl FnMut(&lumos_core::program::ProgramNode) -> Result<NodeBinding, E>,
    ) -> Result<Self, E> {
        let bindings = program.nodes().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { program, bindings, deployment: deployment.into() })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The deployment's name.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// The binding of the node at a position.
    pub fn binding(&self, position: usize) -> &NodeBinding {
        &self.bindings[position]
    }

    /// All backends that nodes are bound to, each once, in the order of the nodes.
    pub fn backends(&self) -> Vec<Arc<BoundBackend>> {
        let mut found: Vec<Arc<BoundBackend>> = Vec::new();
        for backend in self.bindings.iter().flat_map(|binding| &binding.backends) {
            if !found.iter().any(|known| known.reference.backend == backend.reference.backend) {
                found.push(backend.clone());
            }
        }
        found
    }

    /// The backend of a node's attempt: 0 is the bound one, `n` the n-th fallback.
    pub fn backend(&self, position: usize, candidate: u32) -> Option<&Arc<BoundBackend>> {
        self.bindings[position].backends.get(candidate as usize)
    }
}
