//! The order of nodes: what names nodes by name, circles, and nodes that nobody reads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use indexmap::IndexSet;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::branches;
use super::sink::{Sink, suggest};
use super::workflow::Texts;
use crate::load::WorkflowSource;
use crate::spec::{NodeKind, OnBlock, WorkflowSpec};
use crate::template::Template;

/// Most nodes of a circle that are listed.
const LISTED: usize = 12;

/// Checks `after`, `routes`, circles and unused nodes.
pub(super) fn check(sink: &mut Sink<'_>, source: &WorkflowSource, texts: &[Texts], output: Option<&Template>) {
    let spec = &source.parsed.spec;
    named_nodes(sink, source);
    let edges = edges(spec, texts);
    circles(sink, spec, &edges);
    let pairs: Vec<(usize, usize)> = edges.iter().map(|edge| (edge.from, edge.to)).collect();
    branches::check(sink, spec, &pairs);
    unused(sink, spec, &edges, output);
}

/// From, to, and the field of which node makes the edge.
struct Edge<'a> {
    from: usize,
    to: usize,
    owner: &'a str,
    field: String,
}

fn edges<'a>(spec: &'a WorkflowSpec, texts: &[Texts]) -> Vec<Edge<'a>> {
    let mut edges = Vec::new();
    for (to, ((name, node), texts)) in spec.nodes.iter().zip(texts).enumerate() {
        for (field, _, template) in &texts.list {
            for reference in template.references() {
                if let Some(from) = spec.nodes.get_index_of(&reference.root).filter(|from| *from != to) {
                    edges.push(Edge { from, to, owner: name, field: field.clone() });
                }
            }
        }
        for before in &node.options.after {
            if let Some(from) = spec.nodes.get_index_of(before).filter(|from| *from != to) {
                edges.push(Edge { from, to, owner: name, field: "after".to_owned() });
            }
        }
        if let NodeKind::Router { routes, .. } = &node.kind {
            for target in routes.values().flatten() {
                if let Some(target) = spec.nodes.get_index_of(target).filter(|target| *target != to) {
                    edges.push(Edge { from: to, to: target, owner: name, field: "routes".to_owned() });
                }
            }
        }
    }
    edges
}

/// Names of nodes outside of templates.
fn named_nodes(sink: &mut Sink<'_>, source: &WorkflowSource) {
    let spec = &source.parsed.spec;
    for (name, node) in &spec.nodes {
        let routes = match &node.kind {
            NodeKind::Router { routes, .. } => Some(routes),
            _ => None,
        };
        let routed = routes.into_iter().flatten().flat_map(|(label, targets)| {
            targets.iter().enumerate().map(move |(at, target)| (format!("routes.{label}.{at}"), target))
        });
        let after = node.options.after.iter().enumerate().map(|(at, before)| (format!("after.{at}"), before));
        for (field, target) in after.chain(routed) {
            if sink.is_full() {
                return;
            }
            let path = format!("nodes.{name}.{field}");
            if target == name {
                sink.error(&path, format!("`{name}` names itself"), "remove it".to_owned());
            } else if !spec.nodes.contains_key(target) && !source.parsed.broken.contains(target) {
                let others = spec.nodes.keys().map(String::as_str).filter(|other| other != name);
                sink.error(&path, format!("there is no node `{target}`"), suggest(target, others, "the nodes are"));
            }
        }
    }
}

fn circles(sink: &mut Sink<'_>, spec: &WorkflowSpec, edges: &[Edge<'_>]) {
    let mut graph = DiGraph::<(), ()>::with_capacity(spec.nodes.len(), edges.len());
    let nodes: Vec<NodeIndex> = (0..spec.nodes.len()).map(|_| graph.add_node(())).collect();
    for edge in edges {
        graph.update_edge(nodes[edge.from], nodes[edge.to], ());
    }
    let mut components: Vec<Vec<usize>> = kosaraju_scc(&graph)
        .into_iter()
        .filter(|component| component.len() > 1)
        .map(|component| component.into_iter().map(NodeIndex::index).collect())
        .collect();
    components.sort_by_key(|component| component.iter().min().copied());
    for component in components {
        let Some(circle) = shortest_circle(&component, edges).filter(|_| !sink.is_full()) else { continue };
        let name = |node: usize| spec.nodes.get_index(node).map_or("", |(name, _)| name.as_str());
        let names: Vec<&str> = circle.iter().map(|edge| name(edge.from)).take(LISTED).collect();
        let more = if circle.len() > LISTED { " -> …" } else { "" };
        let reasons: Vec<String> = circle
            .iter()
            .take(LISTED)
            .map(|edge| match edge.field.as_str() {
                "routes" => format!("`{}` routes to `{}`", edge.owner, name(edge.to)),
                field => format!("`{}` names `{}` in `{field}`", edge.owner, name(edge.from)),
            })
            .collect();
        let last = circle[circle.len() - 1];
        let message = format!("nodes wait for each other in a circle: {}{more} -> {}", names.join(" -> "), names[0]);
        sink.error(&format!("nodes.{}.{}", last.owner, last.field), message, reasons.join(", "));
    }
}

/// The shortest circle through the first node of a component, in the order of waiting.
fn shortest_circle<'e, 'a>(component: &[usize], edges: &'e [Edge<'a>]) -> Option<Vec<&'e Edge<'a>>> {
    let start = *component.iter().min()?;
    let members: BTreeSet<usize> = component.iter().copied().collect();
    let mut leaving: BTreeMap<usize, Vec<&Edge<'_>>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| members.contains(&edge.from) && members.contains(&edge.to)) {
        leaving.entry(edge.from).or_default().push(edge);
    }
    let mut reached: BTreeMap<usize, &Edge<'_>> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(from) = queue.pop_front() {
        for edge in leaving.get(&from).into_iter().flatten() {
            if edge.to == start {
                let mut circle = vec![*edge];
                while circle[circle.len() - 1].from != start {
                    circle.push(reached.get(&circle[circle.len() - 1].from)?);
                }
                circle.reverse();
                return Some(circle);
            }
            reached.entry(edge.to).or_insert_with(|| {
                queue.push_back(edge.to);
                edge
            });
        }
    }
    None
}

fn unused(sink: &mut Sink<'_>, spec: &WorkflowSpec, edges: &[Edge<'_>], output: Option<&Template>) {
    let Some(output) = output else { return };
    let mut used: IndexSet<usize> =
        output.references().iter().filter_map(|reference| spec.nodes.get_index_of(&reference.root)).collect();
    used.extend(edges.iter().filter(|edge| edge.field != "routes").map(|edge| edge.from));
    for (at, (name, node)) in spec.nodes.iter().enumerate() {
        let acts = match &node.kind {
            NodeKind::Guard { on_block, .. } => *on_block == OnBlock::Refuse,
            NodeKind::Router { routes, .. } => !routes.is_empty(),
            NodeKind::Workflow { .. } | NodeKind::Custom { .. } => true,
            _ => false,
        };
        if sink.is_full() {
            return;
        }
        if !acts && !used.contains(&at) {
            let hint = format!("read it, e.g. `{{{{ {name}.{} }}}}`, or remove it", first_field(&node.kind));
            sink.warning(&format!("nodes.{name}"), format!("nothing reads `{name}`"), hint);
        }
    }
}

fn first_field(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Retriever { .. } => "passages",
        NodeKind::Planner { .. } => "items",
        NodeKind::Forecaster { .. } => "mean",
        NodeKind::Router { .. } => "choice",
        NodeKind::Judge { .. } => "score",
        NodeKind::Tool { .. } => "result",
        _ => "text",
    }
}
