//! The state of one run and how each event changes it.

mod approval;
mod attempts;
mod cascade;
mod ending;
mod flow;
mod hedge;
mod output;
mod resume;
mod view;

use std::collections::VecDeque;

pub use view::View;

use super::event::{AttemptId, Bill, Command, Estimate, Event, EventKind, Failure, StepId, Timer};
use super::semantics::Semantics;
use crate::chance::{self, Purpose};
use crate::graph::{Body, Graph, GraphId, MapPolicy, Node, NodeId, Plan};
use crate::money::Usd;
use crate::record::Status;
use crate::spec::Join;
use crate::usage::CallReport;

/// One execution of a graph: the workflow's own is 0, each step of a sub-workflow node opens another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub u32);

impl ScopeId {
    /// The workflow's own scope.
    pub const ROOT: Self = Self(0);
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<V> {
    /// With its output.
    Succeeded(V),
    /// Because a step failed for good.
    Failed(Failure),
    /// Because a guard or the boundary said no.
    Refused(Failure),
    /// Because a budget, the deadline or the step limit was reached.
    Limited(Failure),
    /// Because a person wanted it.
    Cancelled,
}

impl<V> Outcome<V> {
    /// The status of a run that ended like this.
    pub fn status(&self) -> Status {
        match self {
            Self::Succeeded(_) => Status::Succeeded,
            Self::Failed(_) => Status::Failed,
            Self::Refused(_) => Status::Refused,
            Self::Limited(_) => Status::Limited,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// Why it did not succeed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) | Self::Refused(failure) | Self::Limited(failure) => Some(failure),
            Self::Succeeded(_) | Self::Cancelled => None,
        }
    }
}

/// What is known of a step.
#[derive(Debug, Clone)]
pub struct StepTrace<V> {
    /// Where it belongs.
    pub scope: ScopeId,
    /// Which node it executes.
    pub node: NodeId,
    /// Its entry of the node's map.
    pub index: Option<u32>,
    /// Its round of the node's loop; `None` without a loop.
    pub iteration: Option<u32>,
    /// How it stands.
    pub status: Status,
    /// When it became ready.
    pub ready_us: u64,
    /// When it ended; until then, when admission was asked for its current attempt.
    pub end_us: u64,
    /// The step whose end made it ready.
    pub cause: Option<StepId>,
    /// What it produced.
    pub value: Option<V>,
    /// Why it ended otherwise.
    pub failure: Option<Box<Failure>>,
    /// Number of its latest attempt; 0 before the first.
    pub attempt: u32,
    key: u64,
    /// Stops counting at its most, beyond which no policy tries.
    tries_on_candidate: u16,
    candidate: u32,
    /// Attempts that were interrupted: those made in their place draw what they drew.
    interrupted: u16,
    /// Its current attempt.
    lane: Lane,
    /// A second attempt beside the current one.
    hedge: Option<Box<Lane>>,
    /// The step whose answer, its `previous`, this one judges.
    judges: Option<StepId>,
    /// What a person was asked about it.
    question: Option<Box<approval::Question<V>>>,
    previous: Option<V>,
}

/// An attempt on its way.
#[derive(Debug, Clone)]
struct Lane {
    number: u32,
    phase: Phase,
    /// Its worst cost; part of the run's reserved money in every phase but `Held`.
    reserved: Usd,
}

/// What is known of an attempt.
#[derive(Debug, Clone)]
pub struct AttemptTrace {
    /// Which one.
    pub id: AttemptId,
    /// The backend: 0 is the bound one, `n` the n-th fallback.
    pub candidate: u32,
    /// How it stands.
    pub status: Status,
    /// Microseconds that it waited for admission before it was started.
    pub waited_us: u64,
    /// When it was started.
    pub start_us: u64,
    /// When it ended.
    pub end_us: u64,
    /// Boxed, because most attempts ask nobody and runs wait in great numbers.
    bill: Option<Box<Bill>>,
    /// Why it failed.
    pub failure: Option<Box<Failure>>,
}

impl AttemptTrace {
    /// What it cost; `None` when unknown or when nothing was asked.
    pub fn cost(&self) -> Option<Usd> {
        self.bill.as_ref()?.cost
    }

    /// Whether it is known what it used up, even if that is nothing.
    pub fn is_billed(&self) -> bool {
        self.bill.is_some()
    }

    /// Figures of its calls.
    pub fn report(&self) -> Option<&CallReport> {
        self.bill.as_ref()?.report.as_deref()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A person decides whether it begins.
    Asked,
    Preparing,
    /// Its worst cost fits into the budget only once other attempts have cost less than reserved for them.
    Held,
    Admitting,
    Deferred,
    Running(u32),
    Pausing,
    /// Another step judges its answer.
    Judged,
    Open(ScopeId),
    Ended,
}

#[derive(Debug, Clone)]
struct Scope<V> {
    graph: GraphId,
    first_slot: u32,
    unresolved: u32,
    parent: Option<StepId>,
    /// Failed from within: whatever is still to be done in it is dropped.
    closed: bool,
    inputs: V,
}

#[derive(Debug, Clone)]
struct Slot<V> {
    /// Dependencies that have not ended.
    waiting: u32,
    /// Routers among them that list the node.
    gates: u32,
    /// Dependencies that have succeeded.
    succeeded: u32,
    /// Whether one of them was not such a router.
    fed: bool,
    progress: Progress,
    /// Whether a router has chosen a branch without the node.
    excluded: bool,
    value: Option<V>,
    map: Option<Box<MapState<V>>>,
    failure: Option<Box<Failure>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Active,
    Resolved,
}

#[derive(Debug, Clone)]
struct MapState<V> {
    items: Vec<V>,
    results: Vec<Option<V>>,
    next: u32,
    done: u32,
    /// No step of the map is older than this one.
    first_step: u32,
}

/// What is left to do before an event is fully consumed; a list instead of recursion, so that depth costs no stack.
enum Todo<V> {
    Activate(ScopeId, NodeId, Option<StepId>),
    /// Starts the entries of a map from the first number up to, without, the second.
    Entries(ScopeId, NodeId, u32, u32, Option<StepId>),
    Skip(ScopeId, NodeId, Option<StepId>),
    Resolved(ScopeId, NodeId, Option<StepId>, Resolution),
    Output(StepId, V),
    ScopeEnded(ScopeId, Option<StepId>),
}

/// What comes first after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The same backend again.
    Retry,
    /// The next backend.
    Candidate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Resolution {
    Succeeded,
    Skipped,
    Failed,
}

/// The state of one run: the fold of its events.
pub struct RunState<S: Semantics> {
    seed: u64,
    now_us: u64,
    /// When the run is ended; `u64::MAX` without a deadline.
    deadline_us: u64,
    scopes: Vec<Scope<S::Value>>,
    slots: Vec<Slot<S::Value>>,
    steps: Vec<StepTrace<S::Value>>,
    attempts: Vec<AttemptTrace>,
    started: bool,
    spent: Usd,
    reserved: Usd,
    /// Reservations of attempts that were cancelled in flight: what they cost will not be known.
    forfeited: Usd,
    /// Attempts that were cancelled in flight, with their part of what is forfeited.
    unsettled: Vec<(AttemptId, Usd)>,
    held: VecDeque<AttemptId>,
    executed: u32,
    /// Steps that wait for a person.
    asked: u32,
    /// Boxed, because it is large and runs wait in great numbers before they have one.
    outcome: Option<Box<Outcome<S::Value>>>,
    todo: Vec<Todo<S::Value>>,
}

impl<S: Semantics> RunState<S> {
    /// A run that has not started. `inputs` is the root scope's value.
    pub fn new(semantics: &S, inputs: S::Value, seed: u64) -> Self {
        let size = semantics.plan().graph(GraphId::ROOT).nodes().len();
        let mut state = Self {
            scopes: Vec::with_capacity(1),
            slots: Vec::with_capacity(size),
            steps: Vec::with_capacity(size),
            attempts: Vec::with_capacity(size),
            ..Self::empty(seed)
        };
        state.add_scope(semantics.plan(), GraphId::ROOT, None, inputs);
        state
    }

    /// A run without its root scope.
    fn empty(seed: u64) -> Self {
        Self {
            seed,
            now_us: 0,
            deadline_us: u64::MAX,
            scopes: Vec::new(),
            slots: Vec::new(),
            steps: Vec::new(),
            attempts: Vec::new(),
            started: false,
            spent: Usd::ZERO,
            reserved: Usd::ZERO,
            forfeited: Usd::ZERO,
            unsettled: Vec::new(),
            held: VecDeque::new(),
            executed: 0,
            asked: 0,
            outcome: None,
            todo: Vec::new(),
        }
    }

    /// Becomes what [`RunState::new`] gives, in the memory that this run has taken: for whoever makes many short runs.
    pub fn restart(&mut self, semantics: &S, inputs: S::Value, seed: u64) {
        // Whatever is not taken over by name is as in a fresh run.
        let Self { mut scopes, mut slots, mut steps, mut attempts, mut unsettled, mut held, mut todo, .. } =
            std::mem::replace(self, Self::empty(seed));
        scopes.clear();
        slots.clear();
        steps.clear();
        attempts.clear();
        unsettled.clear();
        held.clear();
        todo.clear();
        *self = Self { scopes, slots, steps, attempts, unsettled, held, todo, ..Self::empty(seed) };
        self.add_scope(semantics.plan(), GraphId::ROOT, None, inputs);
    }

    /// The root scope's value, as it is now.
    pub fn inputs(&self) -> &S::Value {
        &self.scopes[ScopeId::ROOT.0 as usize].inputs
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Time of the event consumed last.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// How the run ended; `None` while it goes on.
    pub fn outcome(&self) -> Option<&Outcome<S::Value>> {
        self.outcome.as_deref()
    }

    /// Money spent by attempts whose cost is known.
    pub fn spent(&self) -> Usd {
        self.spent
    }

    /// Money set aside for the attempts in flight; zero once the run has ended.
    pub fn reserved(&self) -> Usd {
        self.reserved
    }

    /// All steps in order of creation.
    pub fn steps(&self) -> &[StepTrace<S::Value>] {
        &self.steps
    }

    /// All started attempts in order of start.
    pub fn attempts(&self) -> &[AttemptTrace] {
        &self.attempts
    }

    /// The step with this id; ids come from this run's commands.
    pub fn step(&self, id: StepId) -> &StepTrace<S::Value> {
        &self.steps[id.index()]
    }

    /// The graph that a step belongs to.
    pub fn graph_of(&self, step: StepId) -> GraphId {
        self.scopes[self.step(step).scope.0 as usize].graph
    }

    /// The backend that the step's current attempt is for: 0 is the bound one, `n` the n-th fallback.
    pub fn candidate(&self, step: StepId) -> u32 {
        self.step(step).candidate
    }

    /// The step whose sub-workflow a scope executes.
    pub fn scope_parent(&self, scope: ScopeId) -> Option<StepId> {
        self.scopes[scope.0 as usize].parent
    }

    /// The seed of everything random in an attempt that has not ended; the same whatever the order of events, and
    /// whether or not an earlier one was interrupted.
    pub fn attempt_seed(&self, attempt: AttemptId) -> u64 {
        let step = self.step(attempt.step);
        chance::draw(self.seed, step.key, attempt.number.saturating_sub(step.interrupted.into()), Purpose::Sampling)
    }

    /// The step whose answer a step judges.
    pub fn judged_by(&self, step: StepId) -> Option<StepId> {
        self.step(step).judges
    }

    /// What can be seen from a step.
    pub fn view(&self, id: StepId) -> View<'_, S> {
        let step = self.step(id);
        View { state: self, scope: step.scope, node: Some(step.node), step: Some(id) }
    }

    /// Consumes an event; appends what the driver must do to `out`.
    ///
    /// Events about attempts that are no longer awaited change nothing, nor do events after the end, but for what a
    /// cancelled attempt cost.
    pub fn handle(&mut self, semantics: &S, event: Event<S::Value>, out: &mut Vec<Command>) {
        if self.outcome.is_some() {
            if let EventKind::Settled(attempt, bill) = event.kind {
                self.settle_late(attempt, bill);
            }
            return;
        }
        let plan = semantics.plan();
        self.now_us = self.now_us.max(event.at_us);
        match event.kind {
            EventKind::Started => self.begin(plan, out),
            EventKind::Prepared(attempt, estimate) => self.prepared(plan, attempt, estimate, out),
            EventKind::PrepareFailed(attempt, failure) => {
                if self.is_in(attempt, Phase::Preparing) && !self.drop_hedge(attempt) {
                    self.give_up(plan, attempt.step, failure, out);
                }
            }
            EventKind::Admitted(attempt) => self.admitted(plan, attempt, out),
            EventKind::Deferred { attempt, until_us } => {
                if self.is_in(attempt, Phase::Admitting) && !self.drop_hedge(attempt) {
                    self.steps[attempt.step.index()].lane.phase = Phase::Deferred;
                    out.push(Command::SetTimer { timer: Timer::Deferral(attempt), at_us: until_us });
                }
            }
            EventKind::Refused(attempt, failure) => {
                if self.is_in(attempt, Phase::Admitting) && !self.drop_hedge(attempt) {
                    self.stop(attempt.step, Outcome::Refused(failure), out);
                }
            }
            EventKind::Rejected(attempt, failure) => {
                if self.is_in(attempt, Phase::Admitting) && !self.drop_hedge(attempt) {
                    let reserved = std::mem::take(&mut self.steps[attempt.step.index()].lane.reserved);
                    self.reserved = self.reserved - reserved;
                    self.attempt_failed(plan, attempt, failure, Next::Candidate, out);
                }
            }
            EventKind::Succeeded(attempt, value, bill) => {
                if self.end_attempt(attempt, Status::Succeeded, bill).is_some() {
                    self.win(attempt, out);
                    self.todo.push(Todo::Output(attempt.step, value));
                }
            }
            EventKind::Failed(attempt, failure, bill) => {
                if let Some(trace) = self.end_attempt(attempt, Status::Failed, bill) {
                    self.attempts[trace].failure = Some(Box::new(failure.clone()));
                    self.lane_failed(plan, attempt, failure, out);
                }
            }
            EventKind::Settled(attempt, bill) => self.settle_late(attempt, bill),
            EventKind::TimerFired(timer) => self.timer_fired(semantics, timer, out),
            EventKind::Cancelled => self.finish(Outcome::Cancelled, out),
            EventKind::Decided(step, decision) => self.decided(semantics, step, decision, out),
            EventKind::Resumed => self.resumed(plan, out),
            EventKind::Rebound(inputs) => self.rebound(semantics, inputs, out),
        }
        self.work_off(semantics, out);
        if !self.held.is_empty() {
            self.release_held(plan, out);
        }
    }

    /// Folds a recorded log from the start; the state after it and all commands that it gave, in order.
    pub fn fold(
        semantics: &S,
        inputs: S::Value,
        seed: u64,
        events: impl IntoIterator<Item = Event<S::Value>>,
    ) -> (Self, Vec<Command>) {
        let mut state = Self::new(semantics, inputs, seed);
        let mut commands = Vec::new();
        for event in events {
            state.handle(semantics, event, &mut commands);
        }
        (state, commands)
    }

    fn graph<'p>(&self, plan: &'p Plan, scope: ScopeId) -> &'p Graph {
        plan.graph(self.scopes[scope.0 as usize].graph)
    }

    fn node_of<'p>(&self, plan: &'p Plan, step: StepId) -> &'p Node {
        let trace = self.step(step);
        self.graph(plan, trace.scope).node(trace.node)
    }

    fn slot_index(&self, scope: ScopeId, node: NodeId) -> usize {
        self.scopes[scope.0 as usize].first_slot as usize + node.index()
    }
}
