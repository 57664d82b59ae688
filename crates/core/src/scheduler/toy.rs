//! Workflows of numbers for tests: a short way to write plans, and a [`Semantics`] whose answers are given or drawn.

use std::collections::BTreeMap;

use super::{Failure, Semantics, StepId, View};
use crate::chance::combine;
use crate::graph::{Approval, Body, Cascade, Graph, GraphId, Limits, MapPolicy, Node, NodeId, Plan, Policy};
use crate::spec::{Backoff, Join, Verdict};

/// What the scheduler may ask about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// 0 is false.
    Condition,
    /// Entries of its map.
    Width,
    /// 0 goes on.
    Ends,
    /// A branch, possibly one that is not there.
    Branch,
    /// 0 escalates.
    Accept,
    /// 0 is no.
    Refusal,
    /// 0 is no: the condition or the map cannot be read or gathered.
    Trouble,
    /// 0 is no: the inputs of a sub-workflow cannot be made.
    NoArguments,
}

/// Answers with what a test has fixed for a node's name, else by chance, else with what lets the run go on.
pub struct Toy {
    pub plan: Plan,
    pub fixed: BTreeMap<(&'static str, Ask), u64>,
    /// Seed of the answers that are not fixed; `None` draws nothing.
    pub chance: Option<u64>,
}

impl Toy {
    pub fn new(graphs: Vec<Graph>) -> Self {
        Self::limited(graphs, Limits::default())
    }

    pub fn limited(graphs: Vec<Graph>, limits: Limits) -> Self {
        Self { plan: Plan::new(graphs, limits), fixed: BTreeMap::new(), chance: None }
    }

    pub fn fix(mut self, name: &'static str, ask: Ask, answer: u64) -> Self {
        self.fixed.insert((name, ask), answer);
        self
    }

    /// What an agent makes of what it can see; differs for each entry and round.
    pub fn value(view: View<'_, Self>, semantics: &Self) -> u64 {
        if let Some(edited) = view.edited() {
            return combine(place(view), *edited);
        }
        let mut value = combine(place(view), view.previous().copied().unwrap_or(0));
        if let Some((item, _)) = view.item() {
            value = combine(value, *item);
        }
        let node = view.node.map(|id| semantics.plan.graph(view.graph()).node(id));
        for dependency in node.iter().flat_map(|node| node.dependencies()) {
            value = combine(value, view.value(*dependency).copied().unwrap_or(1));
        }
        combine(value, *view.inputs())
    }

    fn ask(&self, view: View<'_, Self>, ask: Ask, otherwise: u64, draw: impl Fn(u64) -> u64) -> u64 {
        let name = view.node.map_or("", |id| &*self.plan.graph(view.graph()).node(id).name);
        let fixed = self.fixed.iter().find(|((of, asked), _)| *of == name && *asked == ask).map(|(_, answer)| *answer);
        fixed.or_else(|| Some(draw(combine(combine(self.chance?, place(view)), ask as u64)))).unwrap_or(otherwise)
    }

    fn trouble(&self, view: View<'_, Self>, kind: Ask) -> Result<(), Failure> {
        match self.ask(view, kind, 0, |draw| u64::from(draw.is_multiple_of(60))) {
            0 => Ok(()),
            _ => Err(Failure::fatal("trouble")),
        }
    }
}

/// Identifies what a view looks from, the same whatever the order of events.
pub fn place(view: View<'_, Toy>) -> u64 {
    let mut place = 0;
    let mut next = Some(view);
    while let Some(view) = next {
        let step = view.step.map(|id| view.state.step(id));
        let index = step.and_then(|step| step.index).map_or(0, |index| u64::from(index) + 1);
        let round = step.and_then(|step| step.iteration).map_or(0, |round| u64::from(round) + 1);
        let node = view.node.map_or(0, |id| u64::from(id.0) + 1);
        for part in [node, index, round] {
            place = combine(place, part);
        }
        next = view.parent();
    }
    place
}

impl Semantics for Toy {
    type Value = u64;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn condition(&self, view: View<'_, Self>) -> Result<bool, Failure> {
        self.trouble(view, Ask::Trouble)?;
        Ok(self.ask(view, Ask::Condition, 1, |draw| draw % 3) != 0)
    }

    fn items(&self, view: View<'_, Self>) -> Result<Vec<u64>, Failure> {
        self.trouble(view, Ask::Trouble)?;
        Ok((0..self.ask(view, Ask::Width, 2, |draw| draw % 6)).collect())
    }

    fn loop_ends(&self, view: View<'_, Self>, _: &u64) -> Result<bool, Failure> {
        Ok(self.ask(view, Ask::Ends, 0, |draw| draw % 3) != 0)
    }

    fn accept(&self, view: View<'_, Self>, _: &u64) -> Result<bool, Failure> {
        self.trouble(view, Ask::Trouble)?;
        Ok(self.ask(view, Ask::Accept, 1, |draw| draw % 2) != 0)
    }

    fn branch(&self, view: View<'_, Self>, _: &u64) -> Result<usize, Failure> {
        // Looked at from the node, because of a map's entries the one that ended last is not always the same.
        let view = View { step: None, ..view };
        let branches = view.node.map_or(1, |id| self.plan.graph(view.graph()).node(id).routes.len() as u64);
        Ok(self.ask(view, Ask::Branch, 0, |draw| if draw.is_multiple_of(50) { branches } else { draw % branches })
            as usize)
    }

    fn refusal(&self, view: View<'_, Self>, _: &u64) -> Result<Option<Failure>, Failure> {
        let refused = self.ask(view, Ask::Refusal, 0, |draw| u64::from(draw.is_multiple_of(40))) != 0;
        Ok(refused.then(|| Failure::fatal("refused")))
    }

    fn gather(&self, view: View<'_, Self>, values: Vec<u64>) -> Result<u64, Failure> {
        self.trouble(view, Ask::Trouble)?;
        Ok(values.into_iter().fold(3, combine))
    }

    fn arguments(&self, view: View<'_, Self>) -> Result<u64, Failure> {
        self.trouble(view, Ask::NoArguments)?;
        Ok(Self::value(view, self))
    }

    fn question(&self, view: View<'_, Self>) -> Result<String, Failure> {
        self.trouble(view, Ask::Trouble)?;
        Ok(format!("do it after {}?", view.previous().copied().unwrap_or_default()))
    }

    fn output(&self, view: View<'_, Self>) -> Result<u64, Failure> {
        let graph = self.plan.graph(view.graph());
        let values = graph.topological().iter().map(|id| view.value(*id).copied().unwrap_or(1));
        Ok(values.fold(*view.inputs(), combine))
    }
}

/// A node being written.
pub struct Draft {
    node: Node,
    after: Vec<&'static str>,
    routes: Vec<Vec<&'static str>>,
    judge: Option<&'static str>,
}

/// A node that works after the named ones.
pub fn node(name: &'static str, after: &[&'static str]) -> Draft {
    let backoff = Backoff { base_s: 1.0, max_s: 8.0 };
    let policy = Policy { attempts: 1, backoff, ..Policy::default() };
    Draft { node: Node::new(name, Body::Agent, policy), after: after.to_vec(), routes: Vec::new(), judge: None }
}

impl Draft {
    pub fn guard(mut self) -> Self {
        self.node.body = Body::Guard;
        self
    }

    pub fn runs(mut self, graph: u32) -> Self {
        self.node.body = Body::Graph(GraphId(graph));
        self
    }

    pub fn routes(mut self, branches: &[&[&'static str]]) -> Self {
        self.routes = branches.iter().map(|branch| branch.to_vec()).collect();
        self
    }

    pub fn any(mut self) -> Self {
        self.node.policy.join = Join::Any;
        self
    }

    pub fn when(mut self) -> Self {
        self.node.policy.conditional = true;
        self
    }

    pub fn map(mut self, concurrency: Option<u32>) -> Self {
        self.node.policy.map = Some(MapPolicy { concurrency });
        self
    }

    pub fn at_most(mut self, rounds: u32) -> Self {
        self.node.policy.at_most = Some(rounds);
        self
    }

    pub fn approve(mut self) -> Self {
        self.node.policy.approval = Some(Approval { timeout_us: None, default: Verdict::Reject });
        self
    }

    /// Asks, and lets the default hold after a while.
    pub fn approve_in_time(mut self, default: Verdict) -> Self {
        self.node.policy.approval = Some(Approval { timeout_us: Some(60), default });
        self
    }

    pub fn once(mut self) -> Self {
        self.node.policy.once = true;
        self
    }

    pub fn attempts(mut self, attempts: u32) -> Self {
        self.node.policy.attempts = attempts;
        self
    }

    pub fn fallbacks(mut self, fallbacks: u32) -> Self {
        self.node.policy.fallbacks = fallbacks;
        self
    }

    pub fn hedge_after_us(mut self, hedge_after_us: u64) -> Self {
        self.node.policy.hedge_after_us = Some(hedge_after_us);
        self
    }

    /// Tests its own answer, or has it judged by a node of that name.
    pub fn cascade(mut self, judge: Option<&'static str>) -> Self {
        self.node.policy.cascade = Some(Cascade { judge: None });
        self.judge = judge;
        self
    }

    pub fn timeout_us(mut self, timeout_us: u64) -> Self {
        self.node.policy.timeout_us = Some(timeout_us);
        self
    }
}

/// The graph of some drafts; every name that they mention is one of theirs.
pub fn graph(drafts: Vec<Draft>) -> Graph {
    let names: Vec<_> = drafts.iter().map(|draft| draft.node.name.clone()).collect();
    let id = |name: &&str| NodeId(names.iter().position(|known| **known == **name).expect("a known name") as u32);
    let mut edges = Vec::new();
    let mut nodes = Vec::new();
    let mut judges = Vec::new();
    for (to, draft) in drafts.into_iter().enumerate() {
        edges.extend(draft.after.iter().map(|from| (id(from), NodeId(to as u32))));
        let mut node = draft.node;
        if let Some(name) = draft.judge {
            let mut judge = Node::new(name, Body::Agent, Policy { attempts: 1, ..Policy::default() });
            judge.judges = Some(NodeId(to as u32));
            node.policy.cascade = Some(Cascade { judge: Some(NodeId((names.len() + judges.len()) as u32)) });
            judges.push(judge);
        }
        node.routes = draft.routes.iter().map(|branch| branch.iter().map(id).collect()).collect();
        nodes.push(node);
    }
    nodes.extend(judges);
    Graph::new(nodes, &edges).expect("no circle")
}

/// `outer/node[index]#round`, the last two where there are any.
pub fn label(semantics: &Toy, state: &super::RunState<Toy>, step: StepId) -> String {
    use std::fmt::Write;
    let trace = state.step(step);
    let mut label = match state.scope_parent(trace.scope) {
        Some(parent) => label(semantics, state, parent) + "/",
        None => String::new(),
    };
    label.push_str(&semantics.plan.graph(state.graph_of(step)).node(trace.node).name);
    if let Some(index) = trace.index {
        let _ = write!(label, "[{index}]");
    }
    if let Some(round) = trace.iteration {
        let _ = write!(label, "#{round}");
    }
    label
}
