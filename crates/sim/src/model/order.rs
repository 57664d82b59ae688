//! Which services have their turn before which others.

use lumos_core::graph::{Body, GraphId, NodeId, Plan};

use super::{Model, NodeModel};

/// By service: whether what it does may decide when another is asked.
pub(crate) struct Order {
    services: usize,
    /// By the service that comes first, then by the other.
    comes_before: Vec<bool>,
}

impl Order {
    /// Of the services of a model.
    pub fn new(model: &Model) -> Self {
        let services = model.services.len();
        let mut order = Self { services, comes_before: vec![false; services * services] };
        let all = order.add(model.program.plan(), &model.nodes, GraphId::ROOT);
        // The next turn of a session comes when all of the last has been done.
        if model.workload.sessions.is_some() {
            order.link(&all, &all);
        }
        order
    }

    /// Whether `first` has its turn before `then`, in some node or round.
    pub fn is_before(&self, first: usize, then: usize) -> bool {
        self.comes_before[first * self.services + then]
    }

    /// Notes what a graph does in which order; answers with all services that it asks.
    fn add(&mut self, plan: &Plan, nodes: &[Vec<NodeModel>], id: GraphId) -> Vec<bool> {
        let graph = plan.graph(id);
        let mut asked: Vec<Vec<bool>> = vec![vec![false; self.services]; graph.nodes().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            // Who judges has its turn with the node whose answers it judges.
            let place = node.judges.map_or(index, NodeId::index);
            match node.body {
                Body::Graph(inner) => {
                    let inner = self.add(plan, nodes, inner);
                    // Rounds come one after another, and so do entries that have to wait for each other.
                    if node.policy.at_most.is_some() || node.policy.map.is_some() {
                        self.link(&inner, &inner);
                    }
                    unite(&mut asked[place], &inner);
                }
                Body::Agent | Body::Guard => {
                    nodes[id.index()][index].candidates.iter().for_each(|at| asked[place][*at as usize] = true);
                }
            }
        }
        for (index, node) in graph.nodes().iter().enumerate() {
            // One of several takes what another has failed to do.
            if matches!(node.body, Body::Agent | Body::Guard) {
                let own = asked[index].clone();
                self.link(&own, &own);
            }
        }
        let mut until: Vec<Vec<bool>> = asked.clone();
        for at in graph.topological() {
            let mut before = vec![false; self.services];
            graph.node(*at).dependencies().iter().for_each(|other| unite(&mut before, &until[other.index()]));
            self.link(&before, &asked[at.index()]);
            unite(&mut until[at.index()], &before);
        }
        let mut all = vec![false; self.services];
        for asked in &asked {
            unite(&mut all, asked);
        }
        all
    }

    fn link(&mut self, first: &[bool], then: &[bool]) {
        for (from, _) in first.iter().enumerate().filter(|(_, asked)| **asked) {
            unite(&mut self.comes_before[from * self.services..(from + 1) * self.services], then);
        }
    }
}

fn unite(into: &mut [bool], more: &[bool]) {
    into.iter_mut().zip(more).for_each(|(into, more)| *into |= more);
}
