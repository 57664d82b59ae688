//! A program with the agents and backends that its nodes are bound to.

use std::sync::{Arc, OnceLock};

use lumos_core::load::Definition;
use lumos_core::price::Price;
use lumos_core::program::{BackendRef, Program, ProgramNode};
use lumos_core::record::Destination;
use lumos_core::scheduler::Failure;
use lumos_core::spec::{Durability, Label};
use lumos_core::{SharedAgent, SharedBackend};

use crate::cache::ResponseCache;
use crate::gate::Gate;
use crate::history::Blueprint;
use crate::occupancy::Occupancy;
use crate::store::Hash;

/// A backend as a node is bound to it.
#[derive(Clone)]
pub struct BoundBackend {
    /// The backend itself.
    pub backend: SharedBackend,
    /// What records say about it.
    pub reference: BackendRef,
    /// What it costs.
    pub price: Price,
    /// Whether it is another program, so that whatever is asked of it is sent.
    pub is_remote: bool,
    /// Answers that may be given again, for nodes that want that.
    pub cache: Option<ResponseCache>,
    /// Who shares its machine, when that is paid by the hour and may serve several attempts at once; what its reports say
    /// of busy time is then replaced by each attempt's share.
    pub occupancy: Option<Arc<Occupancy>>,
    /// Where attempts wait until its limits allow them.
    pub gate: Option<Arc<Gate>>,
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
    forbid_outside: Vec<Label>,
    /// The hosts outside that each node's agent may send to by itself, by the node's position; empty when none does.
    hosts_outside: Vec<Vec<String>>,
    definition: Definition,
    durability: Durability,
    /// The blueprint as it is kept with each run, made for the first.
    kept: OnceLock<(Hash, Arc<Vec<u8>>)>,
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
        Ok(Self {
            definition: Definition::from(program.workflows()),
            program,
            bindings,
            deployment: deployment.into(),
            forbid_outside: Vec::new(),
            hosts_outside: Vec::new(),
            durability: Durability::default(),
            kept: OnceLock::new(),
        })
    }

    /// The same program, with the files that it was made of: what a run of it is made by when it is resumed.
    #[must_use]
    pub fn defined_by(mut self, definition: Definition) -> Self {
        (self.definition, self.kept) = (definition, OnceLock::new());
        self
    }

    /// The same program, whose runs survive what `durability` says.
    #[must_use]
    pub fn durable(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// What it was made of.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// What its runs survive.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The blueprint of its runs, as it is kept.
    pub(crate) fn blueprint(&self) -> &(Hash, Arc<Vec<u8>>) {
        self.kept.get_or_init(|| {
            // Specifications have no map whose keys are not texts: writing them cannot fail.
            let data = serde_json::to_vec(&Blueprint::from(self)).unwrap_or_default();
            (Hash::of(&data), data.into())
        })
    }

    /// The same program, from whose prompts these labels may not reach a backend outside.
    #[must_use]
    pub fn forbid_outside(mut self, labels: impl IntoIterator<Item = Label>) -> Self {
        self.forbid_outside.extend(labels);
        self
    }

    /// The same program, whose agents may send to hosts outside by themselves: those that `hosts` gives for each node.
    #[must_use]
    pub fn sending_to(mut self, hosts: impl FnMut(&ProgramNode) -> Vec<String>) -> Self {
        self.hosts_outside = self.program.nodes().map(hosts).collect();
        self
    }

    /// Why what a node's agent is given may not go to a backend, or to hosts that the agent sends to by itself.
    pub fn forbidden(&self, node: &ProgramNode, backend: Option<&BoundBackend>) -> Option<Failure> {
        let outside = backend.filter(|backend| backend.reference.destination == Destination::Outside);
        let host = self.hosts_outside.get(node.position).and_then(|hosts| hosts.first());
        let name = outside.map(|backend| backend.reference.backend.as_str()).or(host.map(String::as_str))?;
        let (label, way) = self.forbid_outside.iter().find_map(|label| Some((label, node.carries.get(label)?)))?;
        let way: Vec<&str> = way.iter().map(String::as_str).chain([node.name.as_str()]).collect();
        let text = &label.0;
        let message =
            format!("`{}` would send data labelled `{text}` outside, to `{name}`: {}", node.name, way.join(" → "));
        let hint = format!(
            "let a guard with `on_block: Redact` clear `{text}` on the way, or {}",
            if outside.is_some() { "bind the node to a backend inside" } else { "name the host in `boundary.hosts`" }
        );
        Some(Failure::fatal(message).with_hint(hint))
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
