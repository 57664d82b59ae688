//! Nodes that wait for branches of which a router takes only one: they can never run.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use super::sink::Sink;
use crate::spec::{Join, NodeKind, WorkflowSpec};

/// The labels that a router must choose for a node to run, by the router; any of them where a router is not named.
type Branches = BTreeMap<usize, BTreeSet<usize>>;

/// Checks every node; `edges` are pairs of a node and one that waits for it. Conditions are not looked at: they only
/// keep more nodes from running.
pub(super) fn check(sink: &mut Sink<'_>, spec: &WorkflowSpec, edges: &[(usize, usize)]) {
    let mut graph = DiGraph::<(), ()>::with_capacity(spec.nodes.len(), edges.len());
    let nodes: Vec<NodeIndex> = (0..spec.nodes.len()).map(|_| graph.add_node(())).collect();
    let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes.len()];
    for (from, to) in edges {
        graph.update_edge(nodes[*from], nodes[*to], ());
        waits[*to].insert(*from);
    }
    // Circles are told elsewhere.
    let Ok(order) = toposort(&graph, None) else { return };
    let routed = routed(spec);
    let mut known: Vec<Branches> = vec![Branches::new(); nodes.len()];
    for node in order.into_iter().map(NodeIndex::index) {
        let Some((name, node_spec)) = spec.nodes.get_index(node) else { continue };
        let mut branches = routed[node].clone();
        match node_spec.options.join {
            Join::All => waits[node].iter().for_each(|before| narrow(&mut branches, &known[*before])),
            Join::Any => narrow(&mut branches, &either(waits[node].iter().map(|before| &known[*before]))),
        }
        if let Some(router) = branches.iter().find(|(_, labels)| labels.is_empty()).map(|(router, _)| *router) {
            let name_of = |node: &usize| spec.nodes.get_index(*node).map_or("", |(name, _)| name.as_str());
            let apart: Vec<String> = waits[node]
                .iter()
                .filter(|before| known[**before].contains_key(&router))
                .map(|before| format!("`{}`", name_of(before)))
                .collect();
            let message = format!(
                "`{name}` can never run: it waits for {}, and `{}` takes only one branch",
                apart.join(" and "),
                name_of(&router)
            );
            let hint = "`join: Any` lets it run after the branch that is taken".to_owned();
            sink.error(&format!("nodes.{name}"), message, hint);
            branches.clear();
        }
        known[node] = branches;
    }
}

/// What the routers say of each node by themselves.
fn routed(spec: &WorkflowSpec) -> Vec<Branches> {
    let mut branches = vec![Branches::new(); spec.nodes.len()];
    for (router, node) in spec.nodes.values().enumerate() {
        let NodeKind::Router { routes, .. } = &node.kind else { continue };
        for (label, targets) in routes.values().enumerate() {
            for target in targets.iter().filter_map(|target| spec.nodes.get_index_of(target)) {
                branches[target].entry(router).or_default().insert(label);
            }
        }
    }
    branches
}

/// Both must hold.
fn narrow(branches: &mut Branches, more: &Branches) {
    for (router, labels) in more {
        match branches.get_mut(router) {
            Some(known) => known.retain(|label| labels.contains(label)),
            None => drop(branches.insert(*router, labels.clone())),
        }
    }
}

/// One of them must hold.
fn either<'a>(mut all: impl Iterator<Item = &'a Branches>) -> Branches {
    let mut branches = all.next().cloned().unwrap_or_default();
    for other in all {
        branches.retain(|router, _| other.contains_key(router));
        for (router, labels) in &mut branches {
            labels.extend(&other[router]);
        }
    }
    branches
}
