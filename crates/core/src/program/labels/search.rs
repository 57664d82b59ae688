//! The ways of one label to one place, searched backwards from there: depth first, each way at most once through a place,
//! back out of a sub-workflow only to the node that it was entered from, and never through two branches of a router.

use std::collections::BTreeSet;

use super::{Arrival, Flows, Hop, Source, Ways};
use crate::choices::{Choices, conflict, narrow};
use crate::graph::{GraphId, NodeId};
use crate::spec::Label;

/// Most places that one search looks at.
pub(super) const MOST_VISITS: usize = 200_000;

/// A place in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// What a node's agent is given.
    Given(NodeId),
    /// What a sub-workflow's input is given by the node that runs it.
    Passed(NodeId, usize),
    /// A node's value.
    Value(NodeId),
    /// An input.
    Input(usize),
    /// The graph's output.
    Output,
}

/// One run of a graph, as far as a way goes through it.
#[derive(Debug, Clone)]
struct Frame {
    graph: usize,
    /// The frame and the node that run it, where the way has come from there.
    caller: Option<(usize, NodeId)>,
    /// What routers must have chosen for all of the way's nodes to run.
    choices: Choices,
}

/// Where a way may go on.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// The label begins here.
    Begin,
    /// To a place of the same frame.
    To(Place),
    /// Into the sub-workflow that a node runs.
    Into(GraphId, NodeId),
    /// Out of the sub-workflow, to what a node gives to an input of it.
    Back(usize, NodeId, usize),
    /// To a node that may run this graph, and to what it gives to an input of it.
    Up(GraphId, NodeId, usize),
}

/// A place on the way, with where it may go on and what to undo when it has been there.
struct Step {
    frame: usize,
    place: Place,
    moves: Vec<Move>,
    next: usize,
    /// The frame's choices before.
    before: Choices,
    /// Whether its frame was made for it.
    made_frame: bool,
}

pub(super) struct Search<'a> {
    flows: &'a Flows,
    label: &'a Label,
    most: usize,
    most_visits: usize,
    frames: Vec<Frame>,
    steps: Vec<Step>,
    /// Places that the way goes through.
    passed: BTreeSet<(usize, Place)>,
    visits: usize,
    found: Vec<Vec<Hop>>,
    is_complete: bool,
}

impl<'a> Search<'a> {
    /// A search for so many ways that looks at so many places.
    pub(super) fn new(flows: &'a Flows, label: &'a Label, to: Arrival, (most, most_visits): (usize, usize)) -> Self {
        let (graph, place) = match to {
            Arrival::Prompt(graph, node) => (graph.index(), Place::Given(node)),
            Arrival::Output => (0, Place::Output),
        };
        let mut search = Self {
            flows,
            label,
            most,
            most_visits,
            frames: Vec::new(),
            steps: Vec::new(),
            passed: BTreeSet::new(),
            visits: 0,
            found: Vec::new(),
            is_complete: true,
        };
        search.frames.push(Frame { graph, caller: None, choices: Choices::new() });
        search.enter(0, place, false);
        search
    }

    /// The ways, and at how many places it had to look.
    pub(super) fn run(mut self) -> (Ways, usize) {
        while let Some(step) = self.steps.last_mut() {
            let Some(next) = step.moves.get(step.next).copied() else {
                self.leave();
                continue;
            };
            step.next += 1;
            let frame = step.frame;
            match next {
                Move::Begin => {
                    if self.found.len() == self.most {
                        self.is_complete = false;
                        break;
                    }
                    let way = self.way();
                    if !self.found.contains(&way) {
                        self.found.push(way);
                    }
                }
                Move::To(place) => self.enter(frame, place, false),
                Move::Into(graph, node) => {
                    let made = Frame { graph: graph.index(), caller: Some((frame, node)), choices: Choices::new() };
                    self.frames.push(made);
                    self.enter(self.frames.len() - 1, Place::Output, true);
                }
                Move::Back(frame, node, input) => self.enter(frame, Place::Passed(node, input), false),
                Move::Up(graph, node, input) => {
                    self.frames.push(Frame { graph: graph.index(), caller: None, choices: Choices::new() });
                    self.enter(self.frames.len() - 1, Place::Passed(node, input), true);
                }
            }
            if self.visits > self.most_visits {
                self.is_complete = false;
                break;
            }
        }
        self.found.sort_by_key(Vec::len);
        (Ways { ways: self.found, is_complete: self.is_complete }, self.visits)
    }

    /// Goes on to a place, unless the way has been there or cannot go through it.
    fn enter(&mut self, frame: usize, place: Place, made_frame: bool) {
        self.visits += 1;
        let before = self.frames[frame].choices.clone();
        let graph = &self.flows.graphs[self.frames[frame].graph];
        let node = match place {
            Place::Given(node) | Place::Passed(node, _) | Place::Value(node) => Some(node),
            Place::Input(_) | Place::Output => None,
        };
        if let Some(choices) = node.and_then(|node| graph.choices.get(node.index())) {
            narrow(&mut self.frames[frame].choices, choices);
        }
        if conflict(&self.frames[frame].choices).is_some() || !self.passed.insert((frame, place)) {
            self.frames[frame].choices = before;
            if made_frame {
                self.frames.pop();
            }
            return;
        }
        let moves = self.moves(frame, place);
        self.steps.push(Step { frame, place, moves, next: 0, before, made_frame });
    }

    fn leave(&mut self) {
        let Some(step) = self.steps.pop() else { return };
        self.passed.remove(&(step.frame, step.place));
        self.frames[step.frame].choices = step.before;
        if step.made_frame {
            self.frames.pop();
        }
    }

    fn moves(&self, at: usize, place: Place) -> Vec<Move> {
        let Frame { graph: id, caller, .. } = self.frames[at];
        let graph = &self.flows.graphs[id];
        let mut moves = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        match place {
            Place::Given(node) => {
                let node = &graph.nodes[node.index()];
                if node.sends_own && node.labels.contains(self.label) {
                    moves.push(Move::Begin);
                }
                sources.extend(node.given.values().flatten());
            }
            Place::Passed(node, input) => {
                sources.extend(graph.nodes[node.index()].given.get(&input).into_iter().flatten());
            }
            Place::Value(value) => {
                let node = &graph.nodes[value.index()];
                if node.labels.contains(self.label) {
                    moves.push(Move::Begin);
                }
                match node.calls {
                    Some(inner) => moves.push(Move::Into(inner, value)),
                    None if node.clears => {}
                    None => sources.extend(node.given.values().flatten()),
                }
            }
            Place::Input(input) => {
                if graph.inputs.get_index(input).is_some_and(|(_, labels)| labels.contains(self.label)) {
                    moves.push(Move::Begin);
                }
                match caller {
                    Some((frame, node)) => moves.push(Move::Back(frame, node, input)),
                    None => moves.extend(graph.callers.iter().map(|(graph, node)| Move::Up(*graph, *node, input))),
                }
            }
            Place::Output => sources.extend(&graph.output),
        }
        let carries = |source: &Source| self.flows.at(id, *source).contains(self.label);
        moves.extend(sources.into_iter().filter(carries).map(|source| match source {
            Source::Input(input) => Move::To(Place::Input(input)),
            Source::Value(node) => Move::To(Place::Value(node)),
        }));
        moves
    }

    /// The way from where the label begins, which is the last step, to the first step.
    fn way(&self) -> Vec<Hop> {
        let last = self.steps.len().saturating_sub(1);
        let hop = |(at, step): (usize, &Step)| {
            let id = self.frames[step.frame].graph;
            let graph = GraphId(id as u32);
            let node = match step.place {
                Place::Value(node) | Place::Passed(node, _) => node,
                // A retriever sends what it searches.
                Place::Given(node) if at == last => node,
                Place::Input(input) if at == last => {
                    let name = self.flows.graphs[id].inputs.get_index(input).map_or("", |(name, _)| name.as_str());
                    return Some(Hop { graph, node: None, name: format!("inputs.{name}") });
                }
                Place::Given(_) | Place::Input(_) | Place::Output => return None,
            };
            Some(Hop { graph, node: Some(node), name: self.flows.name(id, node) })
        };
        self.steps.iter().enumerate().rev().filter_map(hop).collect()
    }
}
