//! From a run's state to its record: the only place where records are made.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LiveValue, Program, ProgramNode};
use crate::money::Usd;
use crate::record::{
    AttemptBasis, AttemptRecord, DecisionRecord, Destination, ErrorRecord, RunRecord, Status, StepRecord, Totals,
};
use crate::scheduler::{AttemptTrace, By, Decision, Failure, Outcome, RunState, Semantics, StepId, StepTrace};
use crate::usage::{Basis, Usage};

/// What a record says about the backend of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRef {
    /// Its name in the deployment.
    pub backend: String,
    /// The model.
    pub model: String,
    /// Who serves it.
    pub provider: String,
    /// Which side of the trust boundary it is on.
    pub destination: Destination,
    /// What its machine costs by the hour, busy or not; `None` when it is not reserved.
    pub usd_per_hour: Option<Usd>,
}

/// What a record says about a run that its state does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// A ULID.
    pub run_id: String,
    /// The deployment's name.
    pub deployment: String,
    /// Start in RFC 3339, UTC.
    pub started_at: String,
    /// What the run was given.
    pub inputs: IndexMap<String, Value>,
}

/// Where a step stands among the others: topological rank, index and iteration of each enclosing step and itself.
type Place = Vec<(usize, Option<u32>, Option<u32>)>;

/// Runs of which records can be made: live ones, and simulated ones of the same workflows.
pub trait Projected: Semantics {
    /// The workflow.
    fn program(&self) -> &Program;
    /// A value as records show it.
    fn json(&self, value: &Self::Value) -> Value;
    /// What a step would be given, as a person is told.
    fn told(&self, state: &RunState<Self>, step: StepId) -> Option<Value>;
    /// Where times come from, and costs of what was asked of backends.
    fn basis(&self) -> RecordBasis;
}

/// Where the figures of a record come from that calls don't report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordBasis {
    /// Times, and that what needs no backend costs nothing.
    pub time: Basis,
    /// Costs of what was asked of backends.
    pub cost: Basis,
}

impl Projected for Program {
    fn program(&self) -> &Program {
        self
    }

    fn json(&self, value: &LiveValue) -> Value {
        value.json().clone()
    }

    fn told(&self, state: &RunState<Self>, step: StepId) -> Option<Value> {
        self.arguments(state, step).ok().map(|arguments| arguments.into_iter().collect())
    }

    fn basis(&self) -> RecordBasis {
        RecordBasis { time: Basis::Measured, cost: Basis::Estimated }
    }
}

impl Program {
    /// The record of a run, finished or not; see [`record`].
    pub fn record<'b>(
        &self,
        state: &RunState<Self>,
        header: Header,
        backend: impl Fn(usize, usize, u32) -> Option<&'b BackendRef>,
    ) -> RunRecord {
        record(self, state, header, backend)
    }

    /// The steps of a run in the order of its record.
    pub fn order(&self, state: &RunState<Self>) -> Vec<StepId> {
        Projection { semantics: self, state }.order()
    }
}

/// The record of a run, finished or not.
///
/// `backend(attempt, position, candidate)` names the backend of the `attempt`-th attempt of the run, in order of
/// start, as the node at [`ProgramNode::position`] was bound then: 0 is the bound one, `n` its n-th fallback; `None`
/// for nodes without a model.
pub fn record<'b, S: Projected>(
    semantics: &S,
    state: &RunState<S>,
    header: Header,
    backend: impl Fn(usize, usize, u32) -> Option<&'b BackendRef>,
) -> RunRecord {
    let projection = Projection { semantics, state };
    let critical = critical_chain(state);
    let mut attempts: Vec<Vec<AttemptRecord>> = vec![Vec::new(); state.steps().len()];
    for (number, trace) in state.attempts().iter().enumerate() {
        let position = projection.node_of(trace.id.step).position;
        let attempts = &mut attempts[trace.id.step.index()];
        if attempts.is_empty() {
            // Few steps are tried more than once, and attempts are large.
            attempts.reserve_exact(1);
        }
        attempts.push(attempt_record(trace, backend(number, position, trace.candidate), semantics.basis()));
    }
    let reserved_usd = projection.reserved(&backend);
    let record = |id: StepId| {
        let attempts = std::mem::take(&mut attempts[id.index()]);
        projection.step_record(id, critical[id.index()], attempts)
    };
    let steps: Vec<StepRecord> = projection.order().into_iter().map(record).collect();
    let outcome = state.outcome();
    RunRecord {
        run_id: header.run_id,
        workflow: semantics.program().name().to_owned(),
        deployment: header.deployment,
        seed: state.seed(),
        status: state.status(),
        output: match outcome {
            Some(Outcome::Succeeded(value)) => semantics.json(value),
            _ => Value::Null,
        },
        error: outcome.and_then(Outcome::failure).map(error_record),
        started_at: header.started_at,
        inputs: header.inputs,
        totals: Totals { reserved_usd, ..totals(state.now_us(), &steps) },
        steps,
    }
}

/// A run, seen with the texts of its workflow.
struct Projection<'r, S: Semantics> {
    semantics: &'r S,
    state: &'r RunState<S>,
}

impl<'r, S: Projected> Projection<'r, S> {
    fn order(&self) -> Vec<StepId> {
        let ids = (0..self.state.steps().len() as u32).map(StepId);
        let mut steps: Vec<(Place, StepId)> = ids.map(|id| (self.place(id), id)).collect();
        steps.sort();
        steps.into_iter().map(|(_, id)| id).collect()
    }

    /// What the reserved machines that were asked cost during the whole run.
    fn reserved<'b>(&self, backend: impl Fn(usize, usize, u32) -> Option<&'b BackendRef>) -> Option<Usd> {
        let asked = self.state.attempts().iter().enumerate().filter_map(|(number, trace)| {
            let reference = backend(number, self.node_of(trace.id.step).position, trace.candidate)?;
            Some((reference.backend.as_str(), reference.usd_per_hour?))
        });
        let machines: BTreeMap<&str, Usd> = asked.collect();
        let costs = machines.into_values().filter_map(|usd| usd.scaled(self.state.now_us(), 3_600_000_000));
        costs.reduce(Usd::saturating_add)
    }

    fn node_of(&self, step: StepId) -> &'r ProgramNode {
        self.semantics.program().node(self.state.graph_of(step), self.state.step(step).node)
    }

    fn step_record(&self, id: StepId, critical: bool, attempts: Vec<AttemptRecord>) -> StepRecord {
        let state = self.state;
        let step = state.step(id);
        let node = self.node_of(id);
        let enclosing: Vec<StepId> = enclosing(state, id).collect();
        let inherited = |own: Option<u32>, of: fn(&StepTrace<S::Value>) -> Option<u32>| {
            own.or_else(|| enclosing.iter().find_map(|outer| of(state.step(*outer))))
        };
        let executed = step.status != Status::Skipped;
        let ended = !matches!(step.status, Status::Running | Status::Paused);
        StepRecord {
            node: node.name.clone(),
            path: enclosing.iter().rev().map(|outer| self.node_of(*outer).name.clone()).collect(),
            index: inherited(step.index, |step| step.index),
            iteration: inherited(step.iteration, |step| step.iteration),
            kind: node.kind.to_owned(),
            agent: node.agent.clone(),
            status: step.status,
            error: step.failure.as_deref().map(error_record),
            question: state.question(id).map(str::to_owned),
            decision: state.decision(id).map(decision_record),
            arguments: self.told(id),
            ready_us: executed.then_some(step.ready_us),
            end_us: (executed && ended).then_some(step.end_us),
            critical_us: critical.then(|| self.critical_us(id)),
            output: step.value.as_ref().map_or(Value::Null, |value| self.semantics.json(value)),
            attempts,
        }
    }

    /// The arguments that a person decides about, or has changed.
    fn told(&self, id: StepId) -> Option<Value> {
        match self.state.decision(id) {
            Some(Decision::Edited(arguments)) => Some(self.semantics.json(arguments)),
            None if self.state.step(id).status == Status::Paused => self.semantics.told(self.state, id),
            _ => None,
        }
    }

    fn place(&self, id: StepId) -> Place {
        let state = self.state;
        if let Some(judged) = state.judged_by(id) {
            // Right after the step whose answer it judges.
            let mut place = self.place(judged);
            place.push((0, None, None));
            return place;
        }
        let mut steps: Vec<StepId> = std::iter::once(id).chain(enclosing(state, id)).collect();
        steps.reverse();
        let place = |id: StepId| {
            let step = state.step(id);
            let order = self.semantics.plan().graph(state.graph_of(id)).topological();
            let rank = order.iter().position(|node| *node == step.node).unwrap_or(usize::MAX);
            (rank, step.index, step.iteration)
        };
        steps.into_iter().map(place).collect()
    }

    fn critical_us(&self, id: StepId) -> u64 {
        let step = self.state.step(id);
        if self.node_of(id).kind == "workflow" { 0 } else { step.end_us.saturating_sub(step.ready_us) }
    }
}

fn totals(duration_us: u64, steps: &[StepRecord]) -> Totals {
    let attempts = || steps.iter().flat_map(|step| &step.attempts);
    let asked = || attempts().filter(|attempt| attempt.backend.is_some());
    let sum = |of: fn(&Usage) -> Option<u64>| {
        asked().try_fold(0u64, |sum, attempt| Some(sum.saturating_add(of(&attempt.usage)?)))
    };
    let cost_complete = attempts().all(|attempt| attempt.cost_usd.is_some());
    let known: Vec<Usd> = asked().filter_map(|attempt| attempt.cost_usd).collect();
    Totals {
        duration_us,
        critical_path_us: steps.iter().filter_map(|step| step.critical_us).sum(),
        cost_usd: (cost_complete || !known.is_empty()).then(|| known.into_iter().sum()),
        cost_complete,
        input_tokens: sum(|usage| usage.input_tokens),
        cached_input_tokens: sum(|usage| usage.cached_input_tokens),
        output_tokens: sum(|usage| usage.output_tokens),
        reserved_usd: None,
        attempts: attempts().count() as u64,
        saved_usd: attempts().filter_map(|attempt| attempt.saved_usd).reduce(Usd::saturating_add),
        bytes_outside: attempts()
            .filter(|attempt| attempt.destination == Destination::Outside)
            .map(|attempt| attempt.bytes_sent)
            .sum(),
    }
}

/// The steps whose sub-workflows enclose a step, innermost first.
fn enclosing<S: Semantics>(state: &RunState<S>, id: StepId) -> impl Iterator<Item = StepId> + '_ {
    std::iter::successors(state.scope_parent(state.step(id).scope), |outer| {
        state.scope_parent(state.step(*outer).scope)
    })
}

/// Marks the chain of steps, each the cause of the next, that ends with the step that ended last.
fn critical_chain<S: Semantics>(state: &RunState<S>) -> Vec<bool> {
    let mut critical = vec![false; state.steps().len()];
    let executed = state.steps().iter().enumerate().filter(|(_, step)| step.status != Status::Skipped);
    let mut at = executed.max_by_key(|(_, step)| step.end_us).map(|(index, _)| StepId(index as u32));
    while let Some(id) = at {
        if std::mem::replace(&mut critical[id.index()], true) {
            break;
        }
        at = state.step(id).cause;
    }
    critical
}

fn attempt_record(trace: &AttemptTrace, backend: Option<&BackendRef>, basis: RecordBasis) -> AttemptRecord {
    let report = trace.report();
    let queued_us = report.map_or(0, |report| report.queue_us);
    let cost_usd = trace.cost().or_else(|| backend.is_none().then_some(Usd::ZERO));
    AttemptRecord {
        attempt: trace.id.number,
        backend: backend.map(|backend| backend.backend.clone()),
        model: backend.map(|backend| backend.model.clone()),
        provider: backend.map(|backend| backend.provider.clone()),
        status: trace.status,
        start_us: trace.start_us.saturating_sub(trace.waited_us),
        queue_us: trace.waited_us.saturating_add(queued_us),
        ttft_us: report.and_then(|report| report.ttft_us),
        duration_us: trace.end_us.saturating_sub(trace.start_us).saturating_sub(queued_us),
        usage: report.map(|report| report.usage).unwrap_or_default(),
        cost_usd,
        bytes_sent: report.map_or(0, |report| report.bytes_sent),
        destination: backend.map_or(Destination::Inside, |backend| backend.destination),
        finish_reason: report.and_then(|report| report.finish_reason),
        request_id: report.and_then(|report| report.request_id.as_deref().map(str::to_owned)),
        saved_usd: report.and_then(|report| report.saved_usd),
        error: trace.failure.as_deref().map(error_record),
        basis: AttemptBasis {
            latency: basis.time,
            tokens: report.filter(|_| backend.is_some()).map(|report| report.tokens_basis),
            cost: cost_usd.map(|_| if backend.is_some() { basis.cost } else { basis.time }),
        },
    }
}

fn decision_record<V>(decision: &Decision<V>) -> DecisionRecord {
    let (verdict, by, reason) = match decision {
        Decision::Approved { by } => ("approved", *by, None),
        Decision::Edited(_) => ("edited", By::Person, None),
        Decision::Rejected { reason, by } => ("rejected", *by, reason.clone()),
    };
    DecisionRecord { verdict: verdict.to_owned(), by, reason }
}

fn error_record(failure: &Failure) -> ErrorRecord {
    ErrorRecord { message: failure.message.clone(), hint: failure.hint.clone() }
}
