//! Answers of an earlier run that are given again: those of steps whose definition and request are what they were.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use lumos_core::load::Bundle;
use lumos_core::program::{LiveValue, Program};
use lumos_core::scheduler::{AttemptId, Bill, By, Decision, EventKind, RunState, StepId};
use lumos_core::{Basis, CallReport, Usage, Usd};

use crate::history::History;
use crate::store::{Hash, Header, Reader, StoreError};

/// What identifies a step in two versions of a workflow, and what it was asked.
type Key = (String, Hash, u64);

/// Answers of a run, by where they were given, by what defined the step, and by what was asked.
pub(crate) struct Recall {
    answers: BTreeMap<Key, (LiveValue, Bill)>,
    /// What a person has agreed to: where, how the step was defined, what was asked and what would be done.
    agreed: BTreeSet<(String, Hash, Hash)>,
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
        let bundle = history.blueprint.definition.bundle();
        let bundle = bundle.map_err(|_| reader.damaged(header, "its definition cannot be read any more"))?;
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
        let agreed = ids.filter(|id| matches!(state.decision(*id), Some(Decision::Approved { by: By::Person })));
        let agreed = agreed.filter_map(|id| {
            let position = program.node(state.graph_of(id), state.step(id).node).position;
            Some((place(program, state, id), *definitions.get(position)?, question(program, state, id)?))
        });
        Ok(Self { answers, agreed: agreed.collect(), definitions: self::definitions(now.0, now.1), given: 0 })
    }

    /// Whether a person has agreed to the very same before.
    pub(crate) fn is_agreed(&self, program: &Program, state: &RunState<Program>, id: StepId) -> bool {
        let position = program.node(state.graph_of(id), state.step(id).node).position;
        let key = self.definitions.get(position).zip(question(program, state, id));
        key.is_some_and(|(definition, asked)| self.agreed.contains(&(place(program, state, id), *definition, asked)))
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
    let asked = (state.question(id)?, program.arguments(state, id).ok()?);
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

/// What determines the answers of each node beside its request: its kind, its arguments and its agent.
fn definitions(bundle: &Bundle, program: &Program) -> Vec<Hash> {
    let graphs = bundle.sources().map(|source| &source.parsed.spec).zip(program.plan().graphs());
    let nodes = graphs.flat_map(|(spec, graph)| graph.nodes().iter().map(move |node| spec.nodes.get(&*node.name)));
    let definition = |(spec, node): (Option<&lumos_core::spec::NodeSpec>, &lumos_core::program::ProgramNode)| {
        let agent = node.agent.as_ref().and_then(|agent| bundle.agents.get(agent));
        let parts = (
            spec.map(|spec| (&spec.kind, &spec.options.with)),
            agent.map(|agent| (agent.spec(), agent.user_prompt.as_deref())),
        );
        // Specifications have no map whose keys are not texts: writing them cannot fail.
        Hash::of(&serde_json::to_vec(&parts).unwrap_or_default())
    };
    nodes.zip(program.nodes()).map(definition).collect()
}
