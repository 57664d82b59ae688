//! The trace of a run that has ended: its record, and how its steps hang together.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lumos_core::program::{LiveValue, Program};
use lumos_core::record::RunRecord;
use lumos_core::scheduler::{RunState, StepId, StepTrace};
use lumos_core::{ChatRequest, TraceScope};

use crate::binding::BoundProgram;

/// A run as a tree of spans.
#[derive(Debug, Clone)]
pub struct RunTrace {
    /// Names the run's spans.
    pub scope: TraceScope,
    /// When the run began, in microseconds since the Unix epoch.
    pub began_unix_us: u64,
    /// What happened before this moment of the run is part of the run that it was forked from; 0 without one.
    pub shared_us: u64,
    /// Everything that happened.
    pub record: RunRecord,
    /// What the record does not say of its steps, in its order.
    pub steps: Vec<TracedStep>,
}

/// Where a step stands among the others.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedStep {
    /// Its number.
    pub step: u32,
    /// The step whose sub-workflow it is part of.
    pub parent: Option<u32>,
    /// For an entry of a map, the step that produced the list.
    pub list: Option<u32>,
    /// What its model was asked at last; `None` when no sink wants content.
    pub request: Option<ChatRequest>,
}

impl RunTrace {
    /// Of a run that has ended. `(began, shared)` are its start and how much of it is another run's.
    pub(crate) fn of(
        bound: &BoundProgram,
        state: &RunState<Program>,
        scope: TraceScope,
        record: RunRecord,
        (began_unix_us, shared_us): (u64, u64),
        content: bool,
    ) -> Self {
        let traced = |id: StepId| {
            let step = state.step(id);
            TracedStep {
                step: id.0,
                parent: state.scope_parent(step.scope).map(|parent| parent.0),
                list: step.index.and_then(|_| producer(state, step)).map(|producer| producer.0),
                request: if content { request(bound, state, id) } else { None },
            }
        };
        let steps = bound.program().order(state).into_iter().map(traced).collect();
        Self { scope, began_unix_us, shared_us, record, steps }
    }
}

/// The step that made the map of an entry ready: entries that waited for room were started by the end of others.
fn producer(state: &RunState<Program>, entry: &StepTrace<LiveValue>) -> Option<StepId> {
    let mut cause = entry.cause;
    while let Some(id) = cause {
        let step = state.step(id);
        if (step.scope, step.node) != (entry.scope, entry.node) {
            break;
        }
        cause = step.cause;
    }
    cause
}

/// What the model of a step was asked: rendered again, which gives the same.
fn request(bound: &BoundProgram, state: &RunState<Program>, id: StepId) -> Option<ChatRequest> {
    let program = bound.program();
    let position = program.node(state.graph_of(id), state.step(id).node).position;
    let backend = &bound.backend(position, state.candidate(id))?.backend;
    let agent = bound.binding(position).agent.as_ref()?;
    let arguments = program.arguments(state, id).ok()?;
    let prepared = catch_unwind(AssertUnwindSafe(|| agent.prepare(&arguments, Some(backend))));
    prepared.ok()?.ok()?.request
}
