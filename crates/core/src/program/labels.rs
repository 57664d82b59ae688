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
            known.inputs.insert(name.clone(), begin(&input.labels, &format!("inputs.{name}")));
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
        let mut value = begin(&node.labels, &node.name);
        match plan.graph(id).node(*node_id).body {
            Body::Graph(inner) => {
                let given = arguments(node).map(|(name, template)| (name, read(graph, here, Some(node), template)));
                let given: Vec<(String, Labels)> = given.map(|(name, labels)| (name.to_owned(), labels)).collect();
                for (name, labels) in given {
                    merge(known[inner.index()].inputs.entry(name).or_default(), &labels, Some(&node.name));
                }
                merge(&mut value, &known[inner.index()].output, Some(&node.name));
            }
            _ if node.clears => {}
            _ => merge(&mut value, &prompt(graph, here, node), Some(&node.name)),
        }
        merge(&mut known[id.index()].values[node_id.index()], &value, None);
    }
    let output = read(graph, &known[id.index()], None, &graph.output);
    merge(&mut known[id.index()].output, &output, None);
}

/// Labels whose way begins here.
fn begin(labels: &[Label], here: &str) -> Labels {
    labels.iter().map(|label| (label.clone(), vec![here.to_owned()])).collect()
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
        merge(&mut labels, &read(graph, known, Some(node), template), None);
    }
    if node.kind == "retriever" {
        merge(&mut labels, &begin(&node.labels, &node.name), None);
    }
    labels
}

fn read(graph: &ProgramGraph, known: &Known, node: Option<&ProgramNode>, template: &Template) -> Labels {
    let mut labels = Labels::new();
    for reference in template.references() {
        match (reference.root.as_str(), reference.path.first()) {
            ("inputs", Some(name)) if known.inputs.contains_key(name) => merge(&mut labels, &known.inputs[name], None),
            ("inputs", _) => known.inputs.values().for_each(|input| merge(&mut labels, input, None)),
            ("item", _) => {
                if let Some(map) = node.and_then(|node| owner(graph, node).map.as_ref()) {
                    merge(&mut labels, &read(graph, known, None, map), None);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Program;
    use super::super::compile::Workflows;
    use crate::spec::{CascadeSpec, InputSpec, Label, NodeSpec, OnBlock, WorkflowSpec};

    fn ways(program: &Program, workflow: &str, node: &str) -> String {
        let carried = program.carried(workflow, node);
        carried.iter().map(|(label, way)| format!("{}: {}", label.0, way.join(" > "))).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn labels_flow_along_templates_until_a_guard_redacts() {
        let workflow = WorkflowSpec::new("w")
            .input("who", InputSpec::text().label("Pii"))
            .input("what", InputSpec::text())
            .node("notes", {
                let mut notes = NodeSpec::retriever("n", "{{ inputs.what }}");
                notes.options.labels.push(Label("Secret".to_owned()));
                notes
            })
            .node("ask", NodeSpec::generator("a", "{{ inputs.who }}").context("{{ notes.passages }}"))
            .node("seen", NodeSpec::guard("g", "{{ ask.text }}", OnBlock::Refuse))
            .node("clean", NodeSpec::guard("g", "{{ ask.text }}", OnBlock::Redact))
            .node("after_seen", NodeSpec::generator("a", "{{ seen.text }}"))
            .node("after_clean", NodeSpec::generator("a", "{{ clean.text }}").after("ask"))
            .node("each", NodeSpec::generator("a", "{{ item }}").map("{{ ask.list }}", None))
            .node(
                "judged",
                NodeSpec::generator("a", "{{ inputs.what }}").when("{{ inputs.who }}").cascade(CascadeSpec {
                    judge: Some("j".to_owned()),
                    accept: "{{ output.score > 1 }}".to_owned(),
                    to: "b".to_owned(),
                }),
            )
            .node("all", NodeSpec::generator("a", "{{ inputs }}"))
            .output("");
        let program = Program::compile(&Arc::new(workflow).into()).unwrap();
        let of = |node| ways(&program, "w", node);
        assert_eq!(of("notes"), "Secret: notes");
        assert_eq!(of("ask"), "Pii: inputs.who, Secret: notes");
        assert_eq!(of("after_seen"), "Pii: inputs.who > ask > seen, Secret: notes > ask > seen");
        assert_eq!(of("after_clean"), "");
        assert_eq!(of("each"), "Pii: inputs.who > ask, Secret: notes > ask");
        // Whether something is done says nothing of what it reads.
        assert_eq!(
            (of("judged"), of("judged.judge"), of("all")),
            (String::new(), String::new(), "Pii: inputs.who".to_owned())
        );
    }

    #[test]
    fn labels_go_into_sub_workflows_and_come_out_again() {
        let inner = WorkflowSpec::new("inner")
            .input("text", InputSpec::text())
            .node("repeat", NodeSpec::generator("a", "{{ inputs.text }}"))
            .output("{{ repeat.text }}");
        let outer = WorkflowSpec::new("outer")
            .input("who", InputSpec::text().label("Pii"))
            .node("run", {
                let run = NodeSpec::workflow("inner.ron").with("text", "{{ inputs.who }} {{ previous }}");
                run.repeat("{{ output }}", 2)
            })
            .node("after", NodeSpec::generator("a", "{{ run }}"))
            .output("");
        let paths = [("inner.ron".to_owned(), 1)].into_iter().collect();
        let list = vec![(Arc::new(outer), paths), (Arc::new(inner), indexmap::IndexMap::new())];
        let program = Program::compile(&Workflows { list }).unwrap();
        assert_eq!(ways(&program, "inner", "repeat"), "Pii: inputs.who > run");
        assert_eq!(ways(&program, "outer", "after"), "Pii: inputs.who > run > repeat > run");
    }
}
