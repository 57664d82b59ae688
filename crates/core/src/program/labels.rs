//! How labels flow: from inputs and nodes along the templates that read them, into prompts, through sub-workflows.

use indexmap::IndexMap;

use super::{Argument, ProgramGraph, ProgramNode};
use crate::graph::{Body, GraphId, NodeId, Plan};
use crate::spec::Label;
use crate::template::Template;

/// Labels, each with the way it took.
type Labels = IndexMap<Label, Vec<String>>;

/// What is known so far of one graph. A graph that several nodes run carries what any of them brings.
#[derive(Default, Clone, PartialEq)]
struct Known {
    inputs: IndexMap<String, Labels>,
    values: Vec<Labels>,
    output: Labels,
}

/// Fills in what every prompt carries.
///
/// Labels only ever grow, so going over all graphs until nothing changes finds everything, loops and nesting included.
/// `when`, `until` and `accept` decide whether something is sent, not what; they pass nothing on.
pub(super) fn flow(plan: &Plan, graphs: &mut [ProgramGraph]) {
    let mut known: Vec<Known> = graphs
        .iter()
        .map(|graph| Known { values: vec![Labels::new(); graph.nodes.len()], ..Known::default() })
        .collect();
    for (known, graph) in known.iter_mut().zip(&*graphs) {
        for (name, input) in &graph.inputs {
            let way = vec![format!("inputs.{name}")];
            let labels = input.labels.iter().map(|label| (label.clone(), way.clone())).collect();
            known.inputs.insert(name.clone(), labels);
        }
    }
    loop {
        let before = known.clone();
        for at in 0..graphs.len() {
            pass(plan, graphs, &mut known, GraphId(at as u32));
        }
        if known == before {
            break;
        }
    }
    for (at, graph) in graphs.iter_mut().enumerate() {
        let carried: Vec<Labels> = graph.nodes.iter().map(|node| prompt(graph, &known[at], node)).collect();
        for (node, labels) in graph.nodes.iter_mut().zip(carried) {
            node.carries = labels;
        }
    }
}

/// Goes over one graph once, dependencies first.
fn pass(plan: &Plan, graphs: &[ProgramGraph], known: &mut [Known], id: GraphId) {
    let graph = &graphs[id.index()];
    for node_id in plan.graph(id).topological() {
        let node = &graph.nodes[node_id.index()];
        let here = &known[id.index()];
        let mut value = Labels::new();
        match plan.graph(id).node(*node_id).body {
            Body::Graph(inner) => {
                let given = arguments(node).map(|(name, template)| (name, read(graph, here, node, template)));
                let given: Vec<(String, Labels)> = given.map(|(name, labels)| (name.to_owned(), labels)).collect();
                for (name, labels) in given {
                    merge(known[inner.index()].inputs.entry(name).or_default(), &labels, Some(&node.name));
                }
                merge(&mut value, &known[inner.index()].output, Some(&node.name));
            }
            _ if node.clears => {}
            _ => merge(&mut value, &prompt(graph, here, node), Some(&node.name)),
        }
        let own = node.labels.iter().map(|label| (label.clone(), vec![node.name.clone()])).collect();
        merge(&mut value, &own, None);
        merge(&mut known[id.index()].values[node_id.index()], &value, None);
    }
    let output = read_template(graph, &known[id.index()], None, &graph.output);
    merge(&mut known[id.index()].output, &output, None);
}

fn arguments(node: &ProgramNode) -> impl Iterator<Item = (&str, &Template)> {
    node.arguments.iter().filter_map(|(name, argument)| match argument {
        Argument::Template(template) => Some((name.as_str(), template)),
        Argument::Constant(_) => None,
    })
}

/// Labels of everything that a node sends: its arguments, and for a retriever what it searches, which is embedded too.
fn prompt(graph: &ProgramGraph, known: &Known, node: &ProgramNode) -> Labels {
    let mut labels = Labels::new();
    for (_, template) in arguments(node) {
        merge(&mut labels, &read(graph, known, node, template), None);
    }
    if node.kind == "retriever" {
        let own = node.labels.iter().map(|label| (label.clone(), vec![node.name.clone()])).collect();
        merge(&mut labels, &own, None);
    }
    labels
}

fn read(graph: &ProgramGraph, known: &Known, node: &ProgramNode, template: &Template) -> Labels {
    read_template(graph, known, Some(node), template)
}

fn read_template(graph: &ProgramGraph, known: &Known, node: Option<&ProgramNode>, template: &Template) -> Labels {
    let mut labels = Labels::new();
    for reference in template.references() {
        match (reference.root.as_str(), reference.path.first()) {
            ("inputs", Some(name)) if known.inputs.contains_key(name) => merge(&mut labels, &known.inputs[name], None),
            ("inputs", _) => known.inputs.values().for_each(|input| merge(&mut labels, input, None)),
            ("item", _) => {
                if let Some(map) = node.and_then(|node| owner(graph, node).map.as_ref()) {
                    merge(&mut labels, &read_template(graph, known, None, map), None);
                }
            }
            ("output" | "previous", _) => {
                let own = node.and_then(|node| graph.ids.get(&owner(graph, node).name));
                if let Some(own) = own {
                    merge(&mut labels, &known.values[own.index()], None);
                }
            }
            (name, _) => {
                if let Some(NodeId(at)) = graph.ids.get(name) {
                    merge(&mut labels, &known.values[*at as usize], None);
                }
            }
        }
    }
    labels
}

/// The node itself, or the one whose answers it judges.
fn owner<'a>(graph: &'a ProgramGraph, node: &'a ProgramNode) -> &'a ProgramNode {
    node.judged.map_or(node, |judged| &graph.nodes[judged.index()])
}

/// Adds labels that are not there yet; `through` is the node that passes them on.
fn merge(into: &mut Labels, from: &Labels, through: Option<&String>) {
    for (label, way) in from {
        if !into.contains_key(label) {
            into.insert(label.clone(), way.iter().chain(through).cloned().collect());
        }
    }
}
