//! A workflow compiled for live runs: the scheduler's plan beside the templates that give its values meaning.

mod compile;
mod labels;
mod meaning;
mod outline;
mod projection;
mod value;

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use crate::graph::{GraphId, NodeId, Plan};
use crate::spec::{InputSpec, Label};
use crate::template::Template;

pub use compile::{CompileError, Reading, Workflows};
pub use labels::{Arrival, Hop, Ways};
pub use outline::{AttemptOutline, Outline, Shared, StepOutline, outline};
pub use projection::{BackendRef, Header, Projected, RecordBasis, record};
pub use value::LiveValue;

/// A workflow with its sub-workflows, ready to run. Immutable: many runs share one.
pub struct Program {
    name: String,
    workflows: Workflows,
    plan: Plan,
    graphs: Vec<ProgramGraph>,
    flows: labels::Flows,
}

/// The texts of one workflow or sub-workflow.
pub struct ProgramGraph {
    name: String,
    inputs: IndexMap<String, InputSpec>,
    nodes: Vec<ProgramNode>,
    ids: IndexMap<String, NodeId>,
    output: Template,
}

/// The texts and constants of one node.
pub struct ProgramNode {
    /// Its name in the file.
    pub name: String,
    /// Its kind in lower case, as records name it.
    pub kind: &'static str,
    /// Its agent.
    pub agent: Option<String>,
    /// Backends to try after the bound one; the last is its cascade's, if it has one.
    pub fallback: Vec<String>,
    /// Labels that its output carries, beside those of what it reads.
    pub labels: Vec<Label>,
    /// Whether its output carries no label of what it reads: a guard that redacts, if it looks for something.
    pub clears: bool,
    /// The arguments that its agent reads; `None` is all.
    pub reads: Option<IndexSet<String>>,
    /// Whether an answer to the very same request is reused.
    pub cache: bool,
    /// The node whose answers it judges.
    pub judged: Option<NodeId>,
    /// Labels that reach its prompt, each with the way it took: an input or node, then the nodes that passed it on.
    pub carries: IndexMap<Label, Vec<String>>,
    /// Position among the nodes of all graphs of the program; for tables that a driver keeps beside it.
    pub position: usize,
    arguments: Vec<(String, Argument)>,
    condition: Option<Template>,
    map: Option<Template>,
    until: Option<Template>,
    accept: Option<Template>,
    /// What a person is asked.
    ask: Option<Template>,
    branches: Vec<String>,
    default_branch: Option<usize>,
}

impl ProgramNode {
    /// Whether the last of its fallbacks is its cascade's: asked again when an answer is not good enough.
    pub fn cascades(&self) -> bool {
        self.accept.is_some()
    }
}

enum Argument {
    Template(Template),
    Constant(Value),
}

impl Program {
    /// The workflow's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was compiled from.
    pub fn workflows(&self) -> &Workflows {
        &self.workflows
    }

    /// What a run is given.
    pub fn inputs(&self) -> &IndexMap<String, InputSpec> {
        &self.graphs[0].inputs
    }

    /// The scheduler's view of it.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A node's texts; ids come from the same program.
    pub fn node(&self, graph: GraphId, node: NodeId) -> &ProgramNode {
        &self.graphs[graph.index()].nodes[node.index()]
    }

    /// All nodes of all graphs by [`ProgramNode::position`].
    pub fn nodes(&self) -> impl Iterator<Item = &ProgramNode> {
        self.graphs.iter().flat_map(|graph| &graph.nodes)
    }

    /// The labels that reach the prompt of a node of the workflow or sub-workflow of that name, with their ways.
    pub fn carried(&self, workflow: &str, node: &str) -> IndexMap<Label, Vec<String>> {
        let graphs = self.graphs.iter().filter(|graph| graph.name == workflow);
        let nodes = graphs.flat_map(|graph| &graph.nodes).filter(|found| found.name == node);
        nodes.flat_map(|node| node.carries.clone()).collect()
    }

    /// The name of a workflow or sub-workflow.
    pub fn graph_name(&self, graph: GraphId) -> &str {
        &self.graphs[graph.index()].name
    }
}
