//! How labels flow: from inputs and nodes along the templates that read them, into prompts, through sub-workflows.
//!
//! A value carries all labels of what it was made of, as a whole. `when`, `until` and `accept` decide whether something is
//! sent, not what; they pass nothing on. What several nodes give to a sub-workflow is kept apart, and so is what belongs to
//! branches of which a router takes only one.

mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use indexmap::{IndexMap, IndexSet};

use super::{Argument, Program, ProgramGraph, ProgramNode};
use crate::choices::Choices;
use crate::graph::{Body, GraphId, NodeId, Plan};
use crate::spec::Label;
use crate::template::Template;
use search::{MOST_VISITS, Search};

/// Most places that are looked at when a program is compiled, whatever its size.
const MOST_VISITS_IN_ALL: usize = 2_000_000;

/// Something on the way of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The workflow or sub-workflow that it is part of.
    pub graph: GraphId,
    /// The node; `None` for an input.
    pub node: Option<NodeId>,
    /// `inputs.NAME`, or the node's name.
    pub name: String,
}

/// The ways of a label to one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways {
    /// Each from where the label begins, through the nodes that pass it on; the place itself is not part of it. The
    /// shortest first.
    pub ways: Vec<Vec<Hop>>,
    /// Whether these are all.
    pub is_complete: bool,
}

/// Where a label may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    /// In what a node's agent is given.
    Prompt(GraphId, NodeId),
    /// In a run's output.
    Output,
}

/// What a text reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// An input of the graph, by its position in [`Flow::inputs`].
    Input(usize),
    /// The value of a node.
    Value(NodeId),
}

/// How data flows in one graph.
#[derive(Debug, Clone, Default)]
struct Flow {
    /// Names of the inputs, those that only callers name included, with the labels that they are declared with.
    inputs: IndexMap<String, Vec<Label>>,
    nodes: Vec<NodeFlow>,
    output: IndexSet<Source>,
    /// Nodes that run the graph as a sub-workflow.
    callers: Vec<(GraphId, NodeId)>,
    choices: Vec<Choices>,
}

/// How data flows through one node.
#[derive(Debug, Clone, Default)]
struct NodeFlow {
    name: String,
    /// Labels that its value carries in any case.
    labels: Vec<Label>,
    /// Whether those go to its backend too: what a retriever searches is embedded.
    sends_own: bool,
    clears: bool,
    /// The sub-workflow that it runs.
    calls: Option<GraphId>,
    /// What its agent is given; for a sub-workflow by input, as the position in its [`Flow::inputs`].
    given: IndexMap<usize, IndexSet<Source>>,
    /// The labels that may be in what it is given, and in its value, whatever the branches: a superset.
    may_be_given: BTreeSet<Label>,
    may_give: BTreeSet<Label>,
}

/// How data flows in a program.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows {
    graphs: Vec<Flow>,
    /// The labels that may arrive at each input: a superset.
    inputs: Vec<Vec<BTreeSet<Label>>>,
    /// Those that may be in each graph's output.
    outputs: Vec<BTreeSet<Label>>,
    /// Every label, in the order of the files.
    labels: IndexSet<Label>,
}

/// Works out how data flows, and fills in what every prompt carries.
pub(super) fn flow(plan: &Plan, graphs: &mut [ProgramGraph]) -> Flows {
    let mut flows = Flows::new(plan, graphs);
    if flows.labels.is_empty() {
        return flows;
    }
    flows.spread();
    let mut left = MOST_VISITS_IN_ALL;
    for (at, graph) in graphs.iter_mut().enumerate() {
        for (id, node) in graph.nodes.iter_mut().enumerate() {
            let arrival = Arrival::Prompt(GraphId(at as u32), NodeId(id as u32));
            node.carries = flows.carried(arrival, &mut left);
        }
    }
    flows
}

impl Program {
    /// The ways of a label to a place, `most` of them.
    pub fn ways(&self, label: &Label, to: Arrival, most: usize) -> Ways {
        self.flows.ways(label, to, most)
    }

    /// The labels that the output of a run carries, each with one way.
    pub fn output_carries(&self) -> IndexMap<Label, Vec<String>> {
        self.flows.carried(Arrival::Output, &mut { MOST_VISITS })
    }

    /// Every label that something is declared with, in the order of the files.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.flows.labels.iter()
    }
}

impl Flows {
    fn new(plan: &Plan, graphs: &[ProgramGraph]) -> Self {
        let mut inputs: Vec<IndexMap<String, Vec<Label>>> = Vec::with_capacity(graphs.len());
        for graph in graphs {
            inputs.push(graph.inputs.iter().map(|(name, input)| (name.clone(), input.labels.clone())).collect());
        }
        let mut callers = vec![Vec::new(); graphs.len()];
        for (at, graph) in graphs.iter().enumerate() {
            for (id, node) in graph.nodes.iter().enumerate() {
                let (at, id) = (GraphId(at as u32), NodeId(id as u32));
                let Body::Graph(inner) = plan.graph(at).node(id).body else { continue };
                callers[inner.index()].push((at, id));
                for (name, _) in templates(node) {
                    inputs[inner.index()].entry(name.to_owned()).or_default();
                }
            }
        }
        let flow = |(at, graph): (usize, &ProgramGraph)| {
            let id = GraphId(at as u32);
            let read = |node: Option<&ProgramNode>, template: &Template, into: &mut IndexSet<Source>| {
                read(graph, &inputs[at], node, template, into);
            };
            let nodes = graph.nodes.iter().enumerate().map(|(node_id, node)| {
                let calls = match plan.graph(id).node(NodeId(node_id as u32)).body {
                    Body::Graph(inner) => Some(inner),
                    Body::Agent | Body::Guard => None,
                };
                let mut given: IndexMap<usize, IndexSet<Source>> = IndexMap::new();
                for (name, template) in templates(node) {
                    let input = calls.and_then(|inner| inputs[inner.index()].get_index_of(name)).unwrap_or_default();
                    read(Some(node), template, given.entry(input).or_default());
                }
                NodeFlow {
                    name: node.name.clone(),
                    labels: node.labels.clone(),
                    sends_own: node.kind == "retriever",
                    clears: node.clears,
                    calls,
                    given,
                    ..NodeFlow::default()
                }
            });
            let mut output = IndexSet::new();
            read(None, &graph.output, &mut output);
            Flow {
                inputs: inputs[at].clone(),
                nodes: nodes.collect(),
                output,
                callers: callers[at].clone(),
                choices: plan.graph(id).choices(),
            }
        };
        let flows: Vec<Flow> = graphs.iter().enumerate().map(flow).collect();
        let declared = flows.iter().flat_map(|flow| {
            flow.inputs.values().flatten().chain(flow.nodes.iter().flat_map(|node| &node.labels)).cloned()
        });
        Self {
            labels: declared.collect(),
            inputs: flows.iter().map(|flow| vec![BTreeSet::new(); flow.inputs.len()]).collect(),
            outputs: vec![BTreeSet::new(); flows.len()],
            graphs: flows,
        }
    }

    /// Finds where labels may be, branches and callers taken together: whatever it does not find cannot be.
    ///
    /// Labels only ever grow, so going over all graphs until nothing changes ends.
    fn spread(&mut self) {
        for (inputs, flow) in self.inputs.iter_mut().zip(&self.graphs) {
            for (known, labels) in inputs.iter_mut().zip(flow.inputs.values()) {
                known.extend(labels.iter().cloned());
            }
        }
        let mut grows = true;
        while grows {
            grows = false;
            for at in 0..self.graphs.len() {
                for id in 0..self.graphs[at].nodes.len() {
                    let node = &self.graphs[at].nodes[id];
                    let mut given = BTreeSet::new();
                    let mut passed: Vec<(usize, BTreeSet<Label>)> = Vec::new();
                    for (input, sources) in &node.given {
                        let labels = self.of(at, sources);
                        given.extend(labels.iter().cloned());
                        passed.push((*input, labels));
                    }
                    if node.sends_own {
                        given.extend(node.labels.iter().cloned());
                    }
                    let mut value: BTreeSet<Label> = node.labels.iter().cloned().collect();
                    match node.calls {
                        Some(inner) => {
                            value.extend(self.outputs[inner.index()].iter().cloned());
                            for (input, labels) in passed {
                                let known = &mut self.inputs[inner.index()];
                                grows |= known.get_mut(input).is_some_and(|known| add(known, labels));
                            }
                        }
                        None if node.clears => {}
                        None => value.extend(given.iter().cloned()),
                    }
                    let node = &mut self.graphs[at].nodes[id];
                    grows |= add(&mut node.may_be_given, given) | add(&mut node.may_give, value);
                }
                let output = self.of(at, &self.graphs[at].output);
                grows |= add(&mut self.outputs[at], output);
            }
        }
    }

    /// The labels that may be in one of these.
    fn of(&self, graph: usize, sources: &IndexSet<Source>) -> BTreeSet<Label> {
        let mut labels = BTreeSet::new();
        for source in sources {
            labels.extend(self.at(graph, *source).iter().cloned());
        }
        labels
    }

    fn at(&self, graph: usize, source: Source) -> &BTreeSet<Label> {
        match source {
            Source::Input(input) => &self.inputs[graph][input],
            Source::Value(node) => &self.graphs[graph].nodes[node.index()].may_give,
        }
    }

    fn name(&self, graph: usize, node: NodeId) -> String {
        self.graphs[graph].nodes[node.index()].name.clone()
    }

    /// The labels that arrive at a place, each with one way.
    ///
    /// At `left` places may be looked; labels of which that is too few to tell are taken to arrive.
    fn carried(&self, to: Arrival, left: &mut usize) -> IndexMap<Label, Vec<String>> {
        let may = match to {
            Arrival::Prompt(graph, node) => &self.graphs[graph.index()].nodes[node.index()].may_be_given,
            Arrival::Output => &self.outputs[0],
        };
        let mut way = |label: &Label| {
            let (found, visits) = Search::new(self, label, to, (1, MOST_VISITS.min(*left))).run();
            *left = left.saturating_sub(visits);
            let names = |way: Vec<Hop>| way.into_iter().map(|hop| hop.name).collect();
            let unknown = (!found.is_complete).then(Vec::new);
            Some((label.clone(), found.ways.into_iter().next().map(names).or(unknown)?))
        };
        self.labels.iter().filter(|label| may.contains(*label)).filter_map(&mut way).collect()
    }

    fn ways(&self, label: &Label, to: Arrival, most: usize) -> Ways {
        Search::new(self, label, to, (most, MOST_VISITS)).run().0
    }
}

/// Adds labels; says whether one of them is new.
fn add(known: &mut BTreeSet<Label>, labels: BTreeSet<Label>) -> bool {
    let before = known.len();
    known.extend(labels);
    known.len() > before
}

/// The texts that a node's agent, or its sub-workflow, is given and reads.
fn templates(node: &ProgramNode) -> impl Iterator<Item = (&str, &Template)> {
    node.arguments.iter().filter_map(|(name, argument)| match argument {
        Argument::Template(template) if node.reads.as_ref().is_none_or(|reads| reads.contains(name)) => {
            Some((name.as_str(), template))
        }
        Argument::Template(_) | Argument::Constant(_) => None,
    })
}

/// What a template of a node, or of the graph's output, reads.
fn read(
    graph: &ProgramGraph,
    inputs: &IndexMap<String, Vec<Label>>,
    node: Option<&ProgramNode>,
    template: &Template,
    into: &mut IndexSet<Source>,
) {
    for reference in template.references() {
        match (reference.root.as_str(), reference.path.first()) {
            ("inputs", name) => match name.and_then(|name| inputs.get_index_of(name)) {
                Some(input) => drop(into.insert(Source::Input(input))),
                None => into.extend((0..inputs.len()).map(Source::Input)),
            },
            ("item", _) => {
                if let Some(map) = node.and_then(|node| owner(graph, node).map.as_ref()) {
                    read(graph, inputs, None, map, into);
                }
            }
            ("output" | "previous", _) => {
                let own = node.and_then(|node| graph.ids.get(&owner(graph, node).name));
                into.extend(own.map(|own| Source::Value(*own)));
            }
            (name, _) => into.extend(graph.ids.get(name).map(|id| Source::Value(*id))),
        }
    }
}

/// The node itself, or the one whose answers it judges.
fn owner<'a>(graph: &'a ProgramGraph, node: &'a ProgramNode) -> &'a ProgramNode {
    node.judged.map_or(node, |judged| &graph.nodes[judged.index()])
}
