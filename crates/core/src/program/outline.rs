//! What is known of a run beside its contents, without copies: what records, lists and sums are made of.

use std::collections::BTreeMap;

use super::{BackendRef, ProgramNode, Projected, RecordBasis};
use crate::money::Usd;
use crate::record::{AttemptBasis, Destination, Status, Totals};
use crate::scheduler::{AttemptTrace, By, Decision, Failure, RunState, Semantics, StepId, StepTrace};
use crate::usage::{Basis, CallReport, Usage};

/// A run, finished or not, without its contents.
pub struct Outline<'r> {
    /// How it stands.
    pub status: Status,
    /// Sums over its steps.
    pub totals: Totals,
    /// In the order of its record.
    pub steps: Vec<StepOutline<'r>>,
}

/// A step without its contents.
pub struct StepOutline<'r> {
    /// Which one.
    pub id: StepId,
    /// The node that it executes.
    pub node: &'r ProgramNode,
    /// Names of the enclosing sub-workflow nodes, outermost first; empty at the top.
    pub path: Vec<&'r str>,
    /// Position in the innermost enclosing map, its own included.
    pub index: Option<u32>,
    /// Round of the innermost enclosing loop, its own included; from 0.
    pub iteration: Option<u32>,
    /// How it stands.
    pub status: Status,
    /// Why it did not succeed.
    pub failure: Option<&'r Failure>,
    /// Microseconds since the run's start when it became ready; `None` for a step that is skipped.
    pub ready_us: Option<u64>,
    /// Microseconds since the run's start when it ended.
    pub end_us: Option<u64>,
    /// Microseconds that it adds to the run's critical path; `None` when it is not on it.
    pub critical_us: Option<u64>,
    /// What became of it after a person was asked, and who decided.
    pub verdict: Option<(&'static str, By)>,
    /// By number.
    pub attempts: Vec<AttemptOutline<'r>>,
}

/// The beginning of a run that is another run's, which paid for it; nothing for a run that is not a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shared {
    /// Number of the attempts, the first in order of start.
    pub attempts: usize,
    /// Until when, in microseconds since the run's start.
    pub until_us: u64,
}

/// An attempt without its contents.
#[derive(Clone, Copy)]
pub struct AttemptOutline<'r> {
    /// What the scheduler knows.
    pub trace: &'r AttemptTrace,
    /// Who was asked; `None` for nodes without a model.
    pub backend: Option<&'r BackendRef>,
    /// Whether the run that this one was forked from made it.
    pub shared: bool,
    basis: RecordBasis,
}

impl<'r> AttemptOutline<'r> {
    /// Figures of its calls.
    pub fn report(&self) -> Option<&'r CallReport> {
        self.trace.report()
    }

    /// When it was ready to be started.
    pub fn start_us(&self) -> u64 {
        self.trace.start_us.saturating_sub(self.trace.waited_us)
    }

    /// Microseconds that it waited for the backend.
    pub fn queue_us(&self) -> u64 {
        self.trace.waited_us.saturating_add(self.queued_us())
    }

    /// Microseconds from the end of the queue to its end.
    pub fn duration_us(&self) -> u64 {
        self.trace.end_us.saturating_sub(self.trace.start_us).saturating_sub(self.queued_us())
    }

    fn queued_us(&self) -> u64 {
        self.report().map_or(0, |report| report.queue_us)
    }

    /// Its tokens.
    pub fn usage(&self) -> Usage {
        self.report().map(|report| report.usage).unwrap_or_default()
    }

    /// Its cost; `None` when unknown.
    pub fn cost(&self) -> Option<Usd> {
        self.trace.cost().or_else(|| self.backend.is_none().then_some(Usd::ZERO))
    }

    /// Bytes sent to the backend's address; `None` while, or because, nobody has said how the attempt ended.
    pub fn bytes_sent(&self) -> Option<u64> {
        let is_known = self.backend.is_none() || self.trace.is_billed();
        is_known.then(|| self.report().map_or(0, |report| report.bytes_sent))
    }

    /// Which side of the trust boundary they went to.
    pub fn destination(&self) -> Destination {
        self.backend.map_or(Destination::Inside, |backend| backend.destination)
    }

    /// Where its figures come from.
    pub fn basis(&self) -> AttemptBasis {
        let asked = self.backend.is_some();
        // When an interrupted attempt ended is not known, only until when it certainly went on.
        let is_interrupted = self.trace.status == Status::Interrupted;
        AttemptBasis {
            latency: if is_interrupted { Basis::Estimated } else { self.basis.time },
            tokens: self.report().filter(|_| asked).map(|report| report.tokens_basis),
            cost: self.cost().map(|_| if asked { self.basis.cost } else { self.basis.time }),
        }
    }
}

/// A run without its contents; `backend` and `shared` as for [`super::record`].
pub fn outline<'r, S: Projected>(
    semantics: &'r S,
    state: &'r RunState<S>,
    shared: Shared,
    backend: impl Fn(usize, usize, u32) -> Option<&'r BackendRef>,
) -> Outline<'r> {
    let view = View { semantics, state };
    let critical = critical_chain(state);
    let basis = semantics.basis();
    let mut attempts: Vec<Vec<AttemptOutline<'r>>> = vec![Vec::new(); state.steps().len()];
    // What the reserved machines that were asked cost by the hour.
    let mut machines: BTreeMap<&str, Usd> = BTreeMap::new();
    for (number, trace) in state.attempts().iter().enumerate() {
        let backend = backend(number, view.node_of(trace.id.step).position, trace.candidate);
        if let Some(reference) = backend
            && number >= shared.attempts
            && let Some(usd) = reference.usd_per_hour
        {
            machines.insert(&reference.backend, usd);
        }
        let attempts = &mut attempts[trace.id.step.index()];
        if attempts.is_empty() {
            // Few steps are tried more than once.
            attempts.reserve_exact(1);
        }
        attempts.push(AttemptOutline { trace, backend, shared: number < shared.attempts, basis });
    }
    let step = |id: StepId| {
        let attempts = std::mem::take(&mut attempts[id.index()]);
        view.step(id, critical[id.index()], attempts)
    };
    let steps: Vec<StepOutline<'r>> = view.order().into_iter().map(step).collect();
    // For the whole run: they stand by while others work.
    let own_us = state.now_us().saturating_sub(shared.until_us);
    let costs = machines.into_values().filter_map(|usd| usd.scaled(own_us, 3_600_000_000));
    let reserved_usd = costs.reduce(Usd::saturating_add);
    Outline { status: state.status(), totals: Totals { reserved_usd, ..totals(state.now_us(), &steps) }, steps }
}

/// The steps of a run in the order of its record.
pub(super) fn order<S: Projected>(semantics: &S, state: &RunState<S>) -> Vec<StepId> {
    View { semantics, state }.order()
}

/// Where a step stands among the others: topological rank, index and iteration of each enclosing step and itself.
type Place = Vec<(usize, Option<u32>, Option<u32>)>;

/// A run, seen with the texts of its workflow.
struct View<'r, S: Semantics> {
    semantics: &'r S,
    state: &'r RunState<S>,
}

impl<'r, S: Projected> View<'r, S> {
    fn order(&self) -> Vec<StepId> {
        let ids = (0..self.state.steps().len() as u32).map(StepId);
        let mut steps: Vec<(Place, StepId)> = ids.map(|id| (self.place(id), id)).collect();
        steps.sort();
        steps.into_iter().map(|(_, id)| id).collect()
    }

    fn node_of(&self, step: StepId) -> &'r ProgramNode {
        self.semantics.program().node(self.state.graph_of(step), self.state.step(step).node)
    }

    fn step(&self, id: StepId, critical: bool, attempts: Vec<AttemptOutline<'r>>) -> StepOutline<'r> {
        let state = self.state;
        let step = state.step(id);
        let node = self.node_of(id);
        let inherited = |own: Option<u32>, of: fn(&StepTrace<S::Value>) -> Option<u32>| {
            own.or_else(|| enclosing(state, id).find_map(|outer| of(state.step(outer))))
        };
        let mut path: Vec<&str> = enclosing(state, id).map(|outer| self.node_of(outer).name.as_str()).collect();
        path.reverse();
        let executed = step.status != Status::Skipped;
        let ended = !matches!(step.status, Status::Running | Status::Paused);
        // A sub-workflow's own step adds nothing to what its steps take.
        let own_us = if node.kind == "workflow" { 0 } else { step.end_us.saturating_sub(step.ready_us) };
        StepOutline {
            id,
            node,
            path,
            index: inherited(step.index, |step| step.index),
            iteration: inherited(step.iteration, |step| step.iteration),
            status: step.status,
            failure: step.failure.as_deref(),
            ready_us: executed.then_some(step.ready_us),
            end_us: (executed && ended).then_some(step.end_us),
            critical_us: critical.then_some(own_us),
            verdict: state.decision(id).map(verdict),
            attempts,
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
}

fn totals(duration_us: u64, steps: &[StepOutline<'_>]) -> Totals {
    let attempts = || steps.iter().flat_map(|step| &step.attempts).filter(|attempt| !attempt.shared);
    let asked = || attempts().filter(|attempt| attempt.backend.is_some());
    let sum = |of: fn(&Usage) -> Option<u64>| {
        asked().try_fold(0u64, |sum, attempt| Some(sum.saturating_add(of(&attempt.usage())?)))
    };
    let cost_complete = attempts().all(|attempt| attempt.cost().is_some());
    let known: Option<Usd> = asked().filter_map(AttemptOutline::cost).reduce(Usd::saturating_add);
    Totals {
        duration_us,
        critical_path_us: steps.iter().filter_map(|step| step.critical_us).sum(),
        cost_usd: known.or_else(|| cost_complete.then_some(Usd::ZERO)),
        cost_complete,
        input_tokens: sum(|usage| usage.input_tokens),
        cached_input_tokens: sum(|usage| usage.cached_input_tokens),
        output_tokens: sum(|usage| usage.output_tokens),
        reserved_usd: None,
        attempts: attempts().count() as u64,
        saved_usd: attempts().filter_map(|attempt| attempt.report()?.saved_usd).reduce(Usd::saturating_add),
        bytes_outside: attempts()
            .filter(|attempt| attempt.destination() == Destination::Outside)
            .try_fold(0, |sum: u64, attempt| Some(sum.saturating_add(attempt.bytes_sent()?))),
    }
}

/// What was decided, in a word, and who did.
fn verdict<V>(decision: &Decision<V>) -> (&'static str, By) {
    match decision {
        Decision::Approved { by } => ("approved", *by),
        Decision::Edited(_) => ("edited", By::Person),
        Decision::Rejected { by, .. } => ("rejected", *by),
    }
}

/// The steps whose sub-workflows enclose a step, innermost first.
fn enclosing<S: Semantics>(state: &RunState<S>, id: StepId) -> impl Iterator<Item = StepId> + '_ {
    std::iter::successors(state.scope_parent(state.step(id).scope), |outer| {
        state.scope_parent(state.step(*outer).scope)
    })
}

/// Marks the chain of steps, each the cause of the next, that ends with the step that ended last: of those that the end
/// of the run has ended, the one that led to it, or one that had begun.
fn critical_chain<S: Semantics>(state: &RunState<S>) -> Vec<bool> {
    let mut critical = vec![false; state.steps().len()];
    let mut has_begun = vec![false; state.steps().len()];
    for attempt in state.attempts() {
        has_begun[attempt.id.step.index()] = true;
    }
    let executed = state.steps().iter().enumerate().filter(|(_, step)| step.status != Status::Skipped);
    let last = |(index, step): &(usize, &StepTrace<S::Value>)| {
        (step.end_us, step.status != Status::Cancelled, has_begun[*index])
    };
    let mut at = executed.max_by_key(last).map(|(index, _)| StepId(index as u32));
    while let Some(id) = at {
        if std::mem::replace(&mut critical[id.index()], true) {
            break;
        }
        at = state.step(id).cause;
    }
    critical
}
