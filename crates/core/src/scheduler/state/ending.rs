//! How steps, scopes and runs end otherwise than by success.

use super::{
    AttemptId, Body, Command, Failure, Graph, Join, Lane, NodeId, Outcome, Phase, Plan, Progress, Resolution, RunState,
    ScopeId, Semantics, Status, StepId, StepTrace, Todo,
};

impl<S: Semantics> RunState<S> {
    /// Ends a step that failed for good.
    ///
    /// The failure goes up to the first node that others can do without: a node all of whose dependents join `Any`.
    /// On its way it ends the other entries of a map and the rest of a sub-workflow; at the top it ends the run. What a
    /// budget ends like this is limited.
    pub(super) fn give_up(&mut self, plan: &Plan, mut step: StepId, failure: Failure, out: &mut Vec<Command>) {
        if self.step(step).judges.is_some() {
            return self.judge_failed(plan, step, failure, out);
        }
        let status = if failure.is_limit { Status::Limited } else { Status::Failed };
        loop {
            self.end_step(step, status, Some(failure.clone()));
            let StepTrace { scope, node, index, .. } = self.steps[step.index()];
            if index.is_some() {
                let slot = self.slot_index(scope, node);
                let first = self.slots[slot].map.as_ref().map_or(0, |map| map.first_step);
                self.abandon(first, scope, Some(node), out);
            }
            if can_do_without(self.graph(plan, scope), node) {
                let slot = self.slot_index(scope, node);
                self.slots[slot].failure = Some(Box::new(failure));
                self.slots[slot].progress = Progress::Resolved;
                return self.todo.push(Todo::Resolved(scope, node, Some(step), Resolution::Failed));
            }
            let Some(parent) = self.scope_parent(scope) else {
                let outcome = if failure.is_limit { Outcome::Limited(failure) } else { Outcome::Failed(failure) };
                return self.finish(outcome, out);
            };
            self.scopes[scope.0 as usize].closed = true;
            self.abandon(parent.0 + 1, scope, None, out);
            step = parent;
        }
    }

    /// Records a failed step for a node that failed before, or after, all of its steps.
    pub(super) fn give_up_node(
        &mut self,
        plan: &Plan,
        scope: ScopeId,
        node: NodeId,
        cause: Option<StepId>,
        failure: Failure,
        out: &mut Vec<Command>,
    ) {
        let step = StepId(self.steps.len() as u32);
        let trace = self.new_trace(scope, node, None, cause);
        self.steps.push(trace);
        self.give_up(plan, step, failure, out);
    }

    pub(super) fn end_step(&mut self, id: StepId, status: Status, failure: Option<Failure>) {
        let step = &mut self.steps[id.index()];
        let reserved = std::mem::take(&mut step.lane.reserved);
        if step.lane.phase != Phase::Held {
            self.reserved = self.reserved - reserved;
        }
        if let Some(lane) = step.hedge.take() {
            self.reserved = self.reserved - lane.reserved;
        }
        if step.lane.phase == Phase::Asked {
            self.asked -= 1;
        }
        step.status = status;
        step.end_us = self.now_us;
        step.lane.phase = Phase::Ended;
        step.failure = failure.map(Box::new);
        step.previous = None;
    }

    /// Ends the run because of a step: it and the steps around it end like the run.
    pub(super) fn stop(&mut self, step: StepId, outcome: Outcome<S::Value>, out: &mut Vec<Command>) {
        let mut next = Some(step);
        while let Some(step) = next {
            next = self.step(step).judges.or_else(|| self.scope_parent(self.step(step).scope));
            self.end_step(step, outcome.status(), outcome.failure().cloned());
        }
        self.finish(outcome, out);
    }

    /// Ends the run: attempts in flight are cancelled, everything else stays as it is.
    pub(super) fn finish(&mut self, outcome: Outcome<S::Value>, out: &mut Vec<Command>) {
        if self.outcome.is_some() {
            return;
        }
        if !matches!(outcome, Outcome::Succeeded(_)) {
            for index in 0..self.steps.len() {
                self.cancel_step(StepId(index as u32), out);
            }
        }
        self.outcome = Some(Box::new(outcome));
        out.push(Command::Finish);
    }

    /// Cancels the steps of a node, or of all nodes, of a scope, and everything inside them; none is before `first`.
    fn abandon(&mut self, first: u32, scope: ScopeId, node: Option<NodeId>, out: &mut Vec<Command>) {
        for index in first..self.steps.len() as u32 {
            if self.steps[index as usize].lane.phase != Phase::Ended && self.is_within(StepId(index), scope, node) {
                self.cancel_step(StepId(index), out);
            }
        }
    }

    fn is_within(&self, mut step: StepId, scope: ScopeId, node: Option<NodeId>) -> bool {
        loop {
            step = self.step(step).judges.unwrap_or(step);
            let trace = self.step(step);
            if trace.scope == scope && node.is_none_or(|node| node == trace.node) {
                return true;
            }
            match self.scope_parent(trace.scope) {
                Some(parent) => step = parent,
                None => return false,
            }
        }
    }

    fn cancel_step(&mut self, id: StepId, out: &mut Vec<Command>) {
        let Lane { number, phase, reserved } = self.steps[id.index()].lane;
        let attempt = AttemptId { step: id, number };
        match phase {
            Phase::Ended => return,
            Phase::Preparing | Phase::Admitting => out.push(Command::CancelAttempt(attempt)),
            Phase::Running(index) => self.cancel_running(attempt, index, reserved, out),
            Phase::Open(inner) => self.scopes[inner.0 as usize].closed = true,
            Phase::Asked | Phase::Held | Phase::Deferred | Phase::Pausing | Phase::Judged => {}
        }
        self.cancel_hedge(attempt, out);
        self.end_step(id, Status::Cancelled, None);
    }
}

/// Whether everything that waits for the node may go on without it. A guard is there to be obeyed and a router to
/// choose, so nothing can do without them.
fn can_do_without(graph: &Graph, node: NodeId) -> bool {
    let node = graph.node(node);
    !node.dependents().is_empty()
        && node.dependents().iter().all(|id| graph.node(*id).policy.join == Join::Any)
        && node.body != Body::Guard
        && node.routes.is_empty()
}
