//! Cascades: an answer is tested, by itself or by a judge's step, and asked for again of a better backend.

use super::{Command, Failure, NodeId, Phase, Plan, RunState, Semantics, Status, StepId};
use crate::chance;

impl<S: Semantics> RunState<S> {
    /// Tests the answer of a node with a cascade. `Some` gives the value back when nothing more is to be done.
    pub(super) fn test(
        &mut self,
        semantics: &S,
        id: StepId,
        value: S::Value,
        out: &mut Vec<Command>,
    ) -> Option<S::Value> {
        let plan = semantics.plan();
        let policy = &self.node_of(plan, id).policy;
        let Some(cascade) = policy.cascade.filter(|_| self.step(id).candidate <= policy.fallbacks) else {
            return Some(value);
        };
        if let Some(judge) = cascade.judge {
            self.add_judge(plan, id, judge, value, out);
            return None;
        }
        let verdict = semantics.accept(self.view(id), &value);
        self.is_taken(plan, id, verdict, out).then_some(value)
    }

    /// Whether an answer is taken; otherwise it is asked for again, or the step fails.
    fn is_taken(&mut self, plan: &Plan, id: StepId, verdict: Result<bool, Failure>, out: &mut Vec<Command>) -> bool {
        match verdict {
            Ok(true) => return true,
            Ok(false) => self.escalate(plan, id, out),
            Err(failure) => self.give_up(plan, id, failure, out),
        }
        false
    }

    fn add_judge(&mut self, plan: &Plan, id: StepId, judge: NodeId, answer: S::Value, out: &mut Vec<Command>) {
        let step = self.step(id);
        let (scope, index, iteration, cause) = (step.scope, step.index, step.iteration, step.cause);
        let key = chance::combine(chance::combine(step.key, u64::from(judge.0)), u64::from(step.attempt));
        if !self.may_add_step(plan, scope, out) {
            return;
        }
        let mut trace = self.new_trace(scope, judge, index, cause);
        (trace.key, trace.iteration, trace.previous, trace.judges) = (key, iteration, Some(answer), Some(id));
        self.steps[id.index()].lane.phase = Phase::Judged;
        let judge = StepId(self.steps.len() as u32);
        self.steps.push(trace);
        self.begin_attempt(judge, out);
    }

    /// A judge's step has a value: the answer it looked at is taken, or asked for again.
    pub(super) fn judged(
        &mut self,
        semantics: &S,
        judge: StepId,
        value: S::Value,
        out: &mut Vec<Command>,
    ) -> Option<(StepId, S::Value)> {
        let plan = semantics.plan();
        let id = self.step(judge).judges?;
        let answer = self.steps[judge.index()].previous.take();
        let verdict = semantics.accept(self.view(id), &value);
        self.steps[judge.index()].value = Some(value);
        self.end_step(judge, Status::Succeeded, None);
        if self.is_taken(plan, id, verdict, out) { Some((id, answer?)) } else { None }
    }

    /// A judge's step has failed: nobody knows whether the answer is good enough, so the better backend is asked.
    pub(super) fn judge_failed(&mut self, plan: &Plan, judge: StepId, failure: Failure, out: &mut Vec<Command>) {
        self.end_step(judge, Status::Failed, Some(failure));
        if let Some(id) = self.step(judge).judges {
            self.escalate(plan, id, out);
        }
    }

    fn escalate(&mut self, plan: &Plan, id: StepId, out: &mut Vec<Command>) {
        let to = self.node_of(plan, id).policy.fallbacks + 1;
        let step = &mut self.steps[id.index()];
        (step.candidate, step.tries_on_candidate) = (to, 0);
        self.begin_attempt(id, out);
    }
}
