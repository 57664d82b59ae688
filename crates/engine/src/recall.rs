//! Answers of an earlier run that are given again: those of steps whose definition and request are what they were.

use std::collections::BTreeMap;
use std::fmt::Write;

use lumos_core::graph::{Body, GraphId, Node, NodeId};
use lumos_core::load::Bundle;
use lumos_core::program::{LiveValue, Program};
use lumos_core::scheduler::{AttemptId, Bill, By, Decision, EventKind, RunState, StepId};
use lumos_core::spec::WorkflowSpec;
use lumos_core::{Basis, CallReport, Usage, Usd};

use crate::history::History;
use crate::store::{Hash, Header, Reader, StoreError};

/// What identifies a step in two versions of a workflow, and what it was asked.
type Key = (String, Hash, u64);

/// Answers of a run, by where they were given, by what defined the step, and by what was asked.
pub(crate) struct Recall {
    answers: BTreeMap<Key, (LiveValue, Bill)>,
    /// What a person has agreed to, changed arguments included: where, how the step was defined, what was asked and what
    /// would have been done.
    agreed: BTreeMap<(String, Hash, Hash), Decision<LiveValue>>,
    /// The definition of each node as it is now, by its position.
    definitions: Vec<Hash>,
    /// How many answers have been given again.
    pub(crate) given: u64,
}

impl Recall {
    /// The answers that a run's log has of the nodes that are `meant`, by their positions; `now` is how its workflow is
    /// defined now.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        header: &Header,
        history: &History,
        now: (&Bundle, &Program),
        meant: &dyn Fn(usize) -> bool,
    ) -> Result<Self, StoreError> {
        let bundle = reader.bundle(header, &history.blueprint.definition)?;
        let (program, state) = (&history.folded.program, &history.folded.state);
        let definitions = definitions(&bundle, program);
        let mut asked: BTreeMap<AttemptId, u64> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        reader.events(header, u64::MAX, &mut |event, _| match event.kind {
            EventKind::Prepared(id, estimate) => {
                asked.insert(id, estimate.request_hash);
            }
            EventKind::Succeeded(id, value, bill) if id.step.index() < state.steps().len() => {
                let position = program.node(state.graph_of(id.step), state.step(id.step).node).position;
                if let (Some(hash), Some(definition)) = (asked.get(&id), definitions.get(position))
                    && meant(position)
                {
                    answers.insert((place(program, state, id.step), *definition, *hash), (value, bill));
                }
            }
            _ => {}
        })?;
        let ids = (0..state.steps().len() as u32).map(StepId);
        let agreed = ids.filter_map(|id| {
            let position = program.node(state.graph_of(id), state.step(id).node).position;
            let decision = state.decision(id).filter(|decision| match decision {
                Decision::Approved { by } => *by == By::Person,
                Decision::Edited(_) => true,
                Decision::Rejected { .. } => false,
            })?;
            let key = (place(program, state, id), *definitions.get(position)?, question(program, state, id)?);
            Some((key, decision.clone()))
        });
        Ok(Self { answers, agreed: agreed.collect(), definitions: self::definitions(now.0, now.1), given: 0 })
    }

    /// The same, with what only an earlier run knows.
    pub(crate) fn or(mut self, earlier: Self) -> Self {
        for (key, answer) in earlier.answers {
            self.answers.entry(key).or_insert(answer);
        }
        for (key, decision) in earlier.agreed {
            self.agreed.entry(key).or_insert(decision);
        }
        self
    }

    /// What a person decided when asked the very same before.
    pub(crate) fn decision(
        &self,
        program: &Program,
        state: &RunState<Program>,
        id: StepId,
    ) -> Option<Decision<LiveValue>> {
        let position = program.node(state.graph_of(id), state.step(id).node).position;
        let key = (place(program, state, id), *self.definitions.get(position)?, question(program, state, id)?);
        self.agreed.get(&key).cloned()
    }

    /// The answer to the same request at the same place, as something that costs nothing now.
    pub(crate) fn answer(
        &mut self,
        program: &Program,
        state: &RunState<Program>,
        id: AttemptId,
        request_hash: u64,
    ) -> Option<EventKind<LiveValue>> {
        let position = program.node(state.graph_of(id.step), state.step(id.step).node).position;
        let key = (place(program, state, id.step), *self.definitions.get(position)?, request_hash);
        let (value, bill) = self.answers.remove(&key)?;
        self.given += 1;
        Some(EventKind::Succeeded(id, value, given_again(bill)))
    }
}

/// The bill of an answer that was paid for before.
fn given_again(bill: Bill) -> Bill {
    let Some(report) = bill.report else { return bill };
    let nothing = Some(0);
    let report = CallReport {
        usage: Usage { input_tokens: nothing, output_tokens: nothing, ..Usage::default() },
        busy_us: nothing,
        finish_reason: report.finish_reason,
        saved_usd: bill.cost,
        ..CallReport::new(Basis::Measured)
    };
    Bill { cost: Some(Usd::ZERO), report: Some(Box::new(report)) }
}

/// What a person is asked about a step and what would be done.
fn question(program: &Program, state: &RunState<Program>, id: StepId) -> Option<Hash> {
    let asked = (state.question(id)?, program.proposed(state, id).ok()?);
    Some(Hash::of(&serde_json::to_vec(&asked).ok()?))
}

/// Where a step stands, by names: the same in two versions of a workflow that have the node at the same place.
fn place(program: &Program, state: &RunState<Program>, id: StepId) -> String {
    let mut steps: Vec<StepId> =
        std::iter::successors(Some(id), |id| state.scope_parent(state.step(*id).scope)).collect();
    steps.reverse();
    let mut place = String::new();
    for id in steps {
        let step = state.step(id);
        let name = &program.node(state.graph_of(id), step.node).name;
        // Writing to a text cannot fail.
        let _ = write!(place, "/{name}");
        let _ = step.index.map(|index| write!(place, "[{index}]"));
        let _ = step.iteration.map(|iteration| write!(place, "#{iteration}"));
    }
    place
}

/// What determines the answers of each node beside its request: its kind, its arguments and its agent, or all that its
/// sub-workflow is made of.
fn definitions(bundle: &Bundle, program: &Program) -> Vec<Hash> {
    let specs: Vec<&WorkflowSpec> = bundle.sources().map(|source| &source.parsed.spec).collect();
    let graphs = (0..specs.len().min(program.plan().graphs().len())).map(|at| GraphId(at as u32));
    let nodes = graphs.flat_map(|id| of_graph(bundle, program, &specs, id));
    nodes.collect()
}

/// The definitions of a graph's nodes; sub-workflows are nested as deep as files may be.
fn of_graph(bundle: &Bundle, program: &Program, specs: &[&WorkflowSpec], id: GraphId) -> Vec<Hash> {
    let definition = |(at, node): (usize, &Node)| {
        let spec = specs.get(id.index()).and_then(|spec| spec.nodes.get(&*node.name));
        let agent = program.node(id, NodeId(at as u32)).agent.as_ref().and_then(|agent| bundle.agents.get(agent));
        let inner = match node.body {
            Body::Graph(inner) => of_graph(bundle, program, specs, inner),
            Body::Agent | Body::Guard => Vec::new(),
        };
        let parts = (
            spec.map(|spec| (&spec.kind, &spec.options.with)),
            agent.map(|agent| (agent.spec(), agent.user_prompt.as_deref())),
            inner,
        );
        // Specifications have no map whose keys are not texts: writing them cannot fail.
        Hash::of(&serde_json::to_vec(&parts).unwrap_or_default())
    };
    program.plan().graph(id).nodes().iter().enumerate().map(definition).collect()
}
