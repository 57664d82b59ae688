//! The compiled form of a workflow that the scheduler walks: nodes, edges and policies, no texts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::money::Usd;
use crate::spec::{Backoff, Join, Verdict};

/// Position of a node in its [`Graph`], in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct NodeId(pub u32);

/// Position of a graph in its [`Plan`]; the workflow itself is 0, its sub-workflows follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct GraphId(pub u32);

impl NodeId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl GraphId {
    /// The workflow itself.
    pub const ROOT: Self = Self(0);

    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Everything the scheduler needs to know about a workflow.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    graphs: Vec<Graph>,
    /// What ends a run early.
    pub limits: Limits,
}

/// What ends a run early; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most money.
    pub cost: Option<Usd>,
    /// Most microseconds of running time.
    pub deadline_us: Option<u64>,
    /// Most steps.
    pub steps: Option<u32>,
}

/// One workflow or sub-workflow.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    topological: Vec<NodeId>,
}

/// One node with its edges.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name in the file.
    pub name: Arc<str>,
    /// When, how often and how persistently it works.
    pub policy: Policy,
    /// What it does, as far as the scheduler cares.
    pub body: Body,
    /// The node whose answers this one judges: it has no place of its own in the order of things.
    pub judges: Option<NodeId>,
    /// For routers: the nodes of each branch. Those of the branches not chosen are skipped, whatever else they join.
    pub routes: Vec<Vec<NodeId>>,
    dependencies: Vec<NodeId>,
    dependents: Vec<NodeId>,
    gates: u32,
}

/// What a node does, as far as the scheduler cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Attempts by an agent.
    Agent,
    /// Attempts by an agent whose value may end the run as refused.
    Guard,
    /// A sub-workflow.
    Graph(GraphId),
}

/// When, how often and how persistently a node works.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Which dependencies it waits for.
    pub join: Join,
    /// Whether a condition must be asked.
    pub conditional: bool,
    /// Whether it runs once per entry of a list, and how many at once.
    pub map: Option<MapPolicy>,
    /// Most rounds of its loop; `None` without a loop.
    pub at_most: Option<u32>,
    /// Microseconds that an attempt may take.
    pub timeout_us: Option<u64>,
    /// Attempts per backend, at least 1 (0 reads as 1).
    pub attempts: u32,
    /// Whether an attempt that was interrupted, so that nobody knows how it ended, is not made again.
    pub once: bool,
    /// Pause between attempts.
    pub backoff: Backoff,
    /// Backends to try after the bound one.
    pub fallbacks: u32,
    /// Microseconds after which a running attempt is joined by a second one; the first answer counts.
    pub hedge_after_us: Option<u64>,
    /// What is done with an answer that may not be good enough.
    pub cascade: Option<Cascade>,
    /// Whether a person is asked first.
    pub approval: Option<Approval>,
}

/// An answer is tested, and asked for again of a better backend when it fails: candidate `fallbacks + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cascade {
    /// The node whose value the test looks at; `None` when it looks at the answer itself.
    pub judge: Option<NodeId>,
}

/// A person is asked before each step of a node begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// Microseconds of wall-clock time after which the default holds; `None` waits for as long as it takes.
    pub timeout_us: Option<u64>,
    /// What holds when nobody has decided in time.
    pub default: Verdict,
}

/// How a node fans out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapPolicy {
    /// Most entries in flight; `None` is all.
    pub concurrency: Option<u32>,
}

/// Why a graph cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An edge or route names a node that is not there.
    #[error("node {0} does not exist")]
    UnknownNode(u32),
    /// The nodes depend on each other in a circle.
    #[error("nodes depend on each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// More nodes than ids.
    #[error("too many nodes")]
    TooLarge,
}

impl Node {
    /// A node without edges.
    pub fn new(name: impl Into<Arc<str>>, body: Body, policy: Policy) -> Self {
        Self {
            name: name.into(),
            policy,
            body,
            judges: None,
            routes: Vec::new(),
            dependencies: Vec::new(),
            dependents: Vec::new(),
            gates: 0,
        }
    }

    /// Nodes that must end before this one, in the order of the file, each once.
    pub fn dependencies(&self) -> &[NodeId] {
        &self.dependencies
    }

    /// How many of the dependencies are routers that list this node.
    pub fn gates(&self) -> u32 {
        self.gates
    }

    /// Whether this is a router that lists the node.
    pub fn routes_to(&self, id: NodeId) -> bool {
        self.routes.iter().any(|branch| branch.contains(&id))
    }

    /// Nodes that wait for this one, in the order of the file, each once.
    pub fn dependents(&self) -> &[NodeId] {
        &self.dependents
    }
}

impl Graph {
    /// Links `nodes` by `edges` (from, to); routes become edges too. Duplicate edges count once.
    pub fn new(mut nodes: Vec<Node>, edges: &[(NodeId, NodeId)]) -> Result<Self, GraphError> {
        let count = u32::try_from(nodes.len()).map_err(|_| GraphError::TooLarge)?;
        let routed = nodes.iter().enumerate().flat_map(|(from, node)| {
            node.routes.iter().flatten().map(move |to| (NodeId(from as u32), *to)).collect::<Vec<_>>()
        });
        let mut all: Vec<(NodeId, NodeId)> = edges.iter().copied().chain(routed).collect();
        all.sort_unstable();
        all.dedup();
        if let Some(unknown) = all.iter().flat_map(|(from, to)| [from, to]).find(|id| id.0 >= count) {
            return Err(GraphError::UnknownNode(unknown.0));
        }
        for node in &mut nodes {
            node.dependencies.clear();
            node.dependents.clear();
            node.gates = 0;
        }
        for (from, to) in all {
            nodes[to.index()].gates += u32::from(nodes[from.index()].routes_to(to));
            nodes[from.index()].dependents.push(to);
            nodes[to.index()].dependencies.push(from);
        }
        let topological = topological_order(&nodes)?;
        Ok(Self { nodes, topological })
    }

    /// The node with this id; ids come from the same graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// All nodes in the order of the file.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All ids so that dependencies come first; ties in the order of the file.
    pub fn topological(&self) -> &[NodeId] {
        &self.topological
    }
}

impl Plan {
    /// A plan of the workflow `graphs[0]` and the sub-workflows that it reaches.
    pub fn new(graphs: Vec<Graph>, limits: Limits) -> Self {
        Self { graphs, limits }
    }

    /// The graph with this id; ids come from the same plan.
    pub fn graph(&self, id: GraphId) -> &Graph {
        &self.graphs[id.index()]
    }

    /// All graphs, the workflow itself first.
    pub fn graphs(&self) -> &[Graph] {
        &self.graphs
    }
}

/// Kahn's algorithm with a heap: among the nodes that are ready, the first in the file comes first.
fn topological_order(nodes: &[Node]) -> Result<Vec<NodeId>, GraphError> {
    let mut waiting: Vec<usize> = nodes.iter().map(|node| node.dependencies.len()).collect();
    let mut ready: BinaryHeap<Reverse<u32>> =
        (0..nodes.len() as u32).filter(|id| waiting[*id as usize] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(id)) = ready.pop() {
        order.push(NodeId(id));
        for dependent in &nodes[id as usize].dependents {
            waiting[dependent.index()] -= 1;
            if waiting[dependent.index()] == 0 {
                ready.push(Reverse(dependent.0));
            }
        }
    }
    if order.len() == nodes.len() { Ok(order) } else { Err(GraphError::Cycle(a_cycle(nodes, &waiting))) }
}

/// Names along one circle; `waiting` is non-zero for nodes that are on a circle or behind one.
fn a_cycle(nodes: &[Node], waiting: &[usize]) -> Vec<String> {
    let Some(start) = waiting.iter().position(|count| *count > 0) else { return Vec::new() };
    let mut seen_at = vec![usize::MAX; nodes.len()];
    let mut path = Vec::new();
    let mut at = start;
    // A node that still waits has a dependency that still waits, so going back never ends but in a circle.
    while seen_at[at] == usize::MAX {
        seen_at[at] = path.len();
        path.push(at);
        match nodes[at].dependencies.iter().find(|id| waiting[id.index()] > 0) {
            Some(before) => at = before.index(),
            None => break,
        }
    }
    let mut names: Vec<String> = path[seen_at[at]..].iter().rev().map(|id| nodes[*id].name.to_string()).collect();
    names.extend(names.first().cloned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<Node> {
        names.iter().map(|name| Node::new(*name, Body::Agent, Policy::default())).collect()
    }

    #[test]
    fn order_follows_edges_and_then_the_file() {
        let graph = Graph::new(
            nodes(&["d", "a", "b", "c"]),
            &[(NodeId(3), NodeId(0)), (NodeId(1), NodeId(3)), (NodeId(1), NodeId(3))],
        )
        .unwrap();
        let order: Vec<&str> = graph.topological().iter().map(|id| &*graph.node(*id).name).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(graph.node(NodeId(3)).dependencies(), [NodeId(1)]);
    }

    #[test]
    fn a_circle_is_named_without_what_hangs_on_it() {
        let error = Graph::new(
            nodes(&["start", "a", "b", "tail"]),
            &[(NodeId(0), NodeId(1)), (NodeId(1), NodeId(2)), (NodeId(2), NodeId(1)), (NodeId(2), NodeId(3))],
        )
        .unwrap_err();
        let GraphError::Cycle(names) = error else { panic!("{error}") };
        assert_eq!(names.len(), 3);
        assert_eq!(names.first(), names.last());
        assert!(!names.contains(&"tail".to_owned()) && !names.contains(&"start".to_owned()));
    }
}
