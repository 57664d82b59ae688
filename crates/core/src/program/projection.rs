//! From a run's state to its record: the only place where records are made.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outline::{self, AttemptOutline, Outline, Shared, StepOutline, outline};
use super::{LiveValue, Program};
use crate::money::Usd;
use crate::record::{AttemptRecord, DecisionRecord, Destination, ErrorRecord, RunRecord, Status, StepRecord};
use crate::scheduler::{By, Decision, Failure, Outcome, RunState, Semantics, StepId};
use crate::usage::Basis;

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
    /// The run that it was forked from.
    pub forked_from: Option<String>,
    /// The run that it goes on with under changed files.
    pub continues: Option<String>,
    /// What of it is the run's that it was forked from.
    pub shared: Shared,
    /// When the defaults hold for steps that people are asked about, in RFC 3339, UTC.
    pub due: BTreeMap<StepId, String>,
    /// What the run was given.
    pub inputs: IndexMap<String, Value>,
}

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
    pub fn record<'r>(
        &'r self,
        state: &'r RunState<Self>,
        header: Header,
        backend: impl Fn(usize, usize, u32) -> Option<&'r BackendRef>,
    ) -> RunRecord {
        record(self, state, header, backend)
    }

    /// What its record says beside contents; see [`outline`].
    pub fn outline<'r>(
        &'r self,
        state: &'r RunState<Self>,
        shared: Shared,
        backend: impl Fn(usize, usize, u32) -> Option<&'r BackendRef>,
    ) -> Outline<'r> {
        outline(self, state, shared, backend)
    }

    /// The steps of a run in the order of its record.
    pub fn order(&self, state: &RunState<Self>) -> Vec<StepId> {
        outline::order(self, state)
    }
}

/// The record of a run, finished or not.
///
/// `backend(attempt, position, candidate)` names the backend of the `attempt`-th attempt of the run, in order of
/// start, as the node at [`super::ProgramNode::position`] was bound then: 0 is the bound one, `n` its n-th fallback;
/// `None` for nodes without a model.
pub fn record<'r, S: Projected>(
    semantics: &'r S,
    state: &'r RunState<S>,
    header: Header,
    backend: impl Fn(usize, usize, u32) -> Option<&'r BackendRef>,
) -> RunRecord {
    let outline = outline(semantics, state, header.shared, backend);
    let due = &header.due;
    let outcome = state.outcome();
    RunRecord {
        run_id: header.run_id,
        workflow: semantics.program().name().to_owned(),
        deployment: header.deployment,
        seed: state.seed(),
        status: outline.status,
        output: match outcome {
            Some(Outcome::Succeeded(value)) => semantics.json(value),
            _ => Value::Null,
        },
        error: outcome.and_then(Outcome::failure).map(error_record),
        started_at: header.started_at,
        forked_from: header.forked_from,
        continues: header.continues,
        inputs: header.inputs,
        totals: outline.totals,
        steps: outline.steps.into_iter().map(|step| step_record(semantics, state, step, due)).collect(),
    }
}

fn step_record<S: Projected>(
    semantics: &S,
    state: &RunState<S>,
    step: StepOutline<'_>,
    due: &BTreeMap<StepId, String>,
) -> StepRecord {
    let id = step.id;
    let due_at = due.get(&id).filter(|_| step.status == Status::Paused).cloned();
    let approval = state.approval_policy(semantics.plan(), id).filter(|_| due_at.is_some());
    StepRecord {
        node: step.node.name.clone(),
        path: step.path.into_iter().map(str::to_owned).collect(),
        index: step.index,
        iteration: step.iteration,
        kind: step.node.kind.to_owned(),
        agent: step.node.agent.clone(),
        status: step.status,
        error: step.failure.map(error_record),
        question: state.question(id).map(str::to_owned),
        decision: state.decision(id).zip(step.verdict).map(decision_record),
        due_at,
        default: approval.map(|approval| approval.default.as_past().to_owned()),
        arguments: told(semantics, state, id),
        ready_us: step.ready_us,
        end_us: step.end_us,
        critical_us: step.critical_us,
        output: state.step(id).value.as_ref().map_or(Value::Null, |value| semantics.json(value)),
        attempts: step.attempts.iter().map(attempt_record).collect(),
    }
}

/// The arguments that a person decides about, or has changed.
fn told<S: Projected>(semantics: &S, state: &RunState<S>, id: StepId) -> Option<Value> {
    match state.decision(id) {
        Some(Decision::Edited(arguments)) => Some(semantics.json(arguments)),
        None if state.step(id).status == Status::Paused => semantics.told(state, id),
        _ => None,
    }
}

fn attempt_record(attempt: &AttemptOutline<'_>) -> AttemptRecord {
    let (backend, report) = (attempt.backend, attempt.report());
    AttemptRecord {
        attempt: attempt.trace.id.number,
        backend: backend.map(|backend| backend.backend.clone()),
        model: backend.map(|backend| backend.model.clone()),
        provider: backend.map(|backend| backend.provider.clone()),
        status: attempt.trace.status,
        start_us: attempt.start_us(),
        queue_us: attempt.queue_us(),
        ttft_us: report.and_then(|report| report.ttft_us),
        duration_us: attempt.duration_us(),
        usage: attempt.usage(),
        cost_usd: attempt.cost(),
        bytes_sent: attempt.bytes_sent(),
        destination: attempt.destination(),
        finish_reason: report.and_then(|report| report.finish_reason),
        request_id: report.and_then(|report| report.request_id.as_deref().map(str::to_owned)),
        saved_usd: report.and_then(|report| report.saved_usd),
        error: attempt.trace.failure.as_deref().map(error_record),
        shared: attempt.shared,
        basis: attempt.basis(),
    }
}

fn decision_record<V>((decision, (verdict, by)): (&Decision<V>, (&str, By))) -> DecisionRecord {
    let reason = match decision {
        Decision::Rejected { reason, .. } => reason.clone(),
        Decision::Approved { .. } | Decision::Edited(_) => None,
    };
    DecisionRecord { verdict: verdict.to_owned(), by, reason }
}

fn error_record(failure: &Failure) -> ErrorRecord {
    ErrorRecord { message: failure.message.clone(), hint: failure.hint.clone() }
}
