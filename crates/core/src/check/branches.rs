//! Nodes that wait for branches of which a router takes only one: they can never run.

use std::collections::BTreeSet;

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use super::sink::Sink;
use crate::choices::{Choices, follow};
use crate::spec::{Join, NodeKind, WorkflowSpec};

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
    let join = |node: usize| spec.nodes.get_index(node).map_or(Join::All, |(_, node)| node.options.join);
    let name_of = |node: usize| spec.nodes.get_index(node).map_or("", |(name, _)| name.as_str());
    follow(order.into_iter().map(NodeIndex::index), &waits, join, routed(spec), |node, router, known| {
        let apart: Vec<String> = waits[node]
            .iter()
            .filter(|before| known[**before].contains_key(&router))
            .map(|before| format!("`{}`", name_of(*before)))
            .collect();
        let message = format!(
            "`{}` can never run: it waits for {}, and `{}` takes only one branch",
            name_of(node),
            apart.join(" and "),
            name_of(router)
        );
        let hint = "`join: Any` lets it run after the branch that is taken".to_owned();
        sink.error(&format!("nodes.{}", name_of(node)), message, hint);
    });
}

/// What the routers say of each node by themselves.
fn routed(spec: &WorkflowSpec) -> Vec<Choices> {
    let mut choices = vec![Choices::new(); spec.nodes.len()];
    for (router, node) in spec.nodes.values().enumerate() {
        let NodeKind::Router { routes, .. } = &node.kind else { continue };
        for (label, targets) in routes.values().enumerate() {
            for target in targets.iter().filter_map(|target| spec.nodes.get_index_of(target)) {
                choices[target].entry(router).or_default().insert(label);
            }
        }
    }
    choices
}
