//! The life of an attempt: prepared, admitted, running, settled; then retry, fallback, or the step's end.

use super::{
    AttemptId, AttemptTrace, Bill, Command, Estimate, Failure, Outcome, Phase, Plan, Purpose, RunState, ScopeId,
    Semantics, Status, StepId, StepTrace, Timer, Usd, chance,
};

impl<S: Semantics> RunState<S> {
    pub(super) fn begin(&mut self, plan: &Plan, out: &mut Vec<Command>) {
        if let Some(deadline_us) = plan.limits.deadline_us {
            let at_us = self.now_us.saturating_add(deadline_us);
            out.push(Command::SetTimer { timer: Timer::Deadline, at_us });
        }
        self.enter(plan, ScopeId::ROOT, None);
    }

    pub(super) fn prepared(&mut self, plan: &Plan, attempt: AttemptId, estimate: Estimate, out: &mut Vec<Command>) {
        if !self.is_in(attempt, Phase::Preparing) {
            return;
        }
        if let Some(limit) = plan.limits.cost {
            let worst = estimate.worst_cost.unwrap_or(Usd::ZERO);
            let committed = self.spent + self.reserved;
            if committed + worst > limit {
                let node = self.node_of(plan, attempt.step).name.clone();
                let failure = Failure {
                    message: format!(
                        "the next attempt of `{node}` may cost {worst} USD, and {committed} of the budget of {limit} USD is spent or reserved"
                    ),
                    hint: Some("raise `limits.cost_usd`, or bind the node to a cheaper backend".to_owned()),
                    retryable: false,
                };
                self.end_step(attempt.step, Status::Limited, Some(failure.clone()));
                return self.finish(Outcome::Limited(failure), out);
            }
        }
        let step = &mut self.steps[attempt.step.index()];
        step.phase = Phase::Admitting;
        step.reserved = estimate.worst_cost;
        self.reserved += estimate.worst_cost.unwrap_or(Usd::ZERO);
        out.push(Command::Admit(attempt));
    }

    pub(super) fn admitted(&mut self, plan: &Plan, attempt: AttemptId, out: &mut Vec<Command>) {
        if !self.is_in(attempt, Phase::Admitting) {
            return;
        }
        let timeout_us = self.node_of(plan, attempt.step).policy.timeout_us;
        let step = &mut self.steps[attempt.step.index()];
        step.phase = Phase::Running(self.attempts.len() as u32);
        self.attempts.push(AttemptTrace {
            id: attempt,
            candidate: step.candidate,
            status: Status::Running,
            start_us: self.now_us,
            end_us: self.now_us,
            bill: Bill::default(),
            failure: None,
        });
        out.push(Command::StartAttempt(attempt));
        if let Some(timeout_us) = timeout_us {
            let at_us = self.now_us.saturating_add(timeout_us);
            out.push(Command::SetTimer { timer: Timer::Timeout(attempt), at_us });
        }
    }

    pub(super) fn timer_fired(&mut self, plan: &Plan, timer: Timer, out: &mut Vec<Command>) {
        match timer {
            Timer::Deadline => {
                let seconds = plan.limits.deadline_us.unwrap_or(0) as f64 / 1e6;
                let failure = Failure {
                    message: format!("the deadline of {seconds} s has passed"),
                    hint: Some("raise `limits.deadline_s`, or make the steps shorter".to_owned()),
                    retryable: false,
                };
                self.finish(Outcome::Limited(failure), out);
            }
            Timer::Timeout(attempt) => {
                if self.is_running(attempt).is_none() {
                    return;
                }
                let seconds = self.node_of(plan, attempt.step).policy.timeout_us.unwrap_or(0) as f64 / 1e6;
                let failure = Failure {
                    message: format!("no answer within {seconds} s"),
                    hint: Some("raise `timeout_s`, or allow a `retry` or a `fallback`".to_owned()),
                    retryable: true,
                };
                if let Some(trace) = self.end_attempt(attempt, Status::Failed, Bill::default()) {
                    self.attempts[trace].failure = Some(Box::new(failure.clone()));
                }
                out.push(Command::CancelAttempt(attempt));
                self.attempt_failed(plan, attempt, failure, out);
            }
            Timer::Backoff(attempt) => {
                if self.is_in(attempt, Phase::Pausing) {
                    self.begin_attempt(attempt.step, out);
                }
            }
            Timer::Deferral(attempt) => {
                if self.is_in(attempt, Phase::Deferred) {
                    self.steps[attempt.step.index()].phase = Phase::Admitting;
                    out.push(Command::Admit(attempt));
                }
            }
        }
    }

    /// Settles a running attempt; `None` when it is not awaited.
    pub(super) fn end_attempt(&mut self, attempt: AttemptId, status: Status, bill: Bill) -> Option<usize> {
        let index = self.is_running(attempt)?;
        let step = &mut self.steps[attempt.step.index()];
        self.reserved = self.reserved - step.reserved.take().unwrap_or(Usd::ZERO);
        self.spent += bill.cost.unwrap_or(Usd::ZERO);
        let trace = &mut self.attempts[index];
        trace.status = status;
        trace.end_us = self.now_us;
        trace.bill = bill;
        Some(index)
    }

    pub(super) fn attempt_failed(&mut self, plan: &Plan, attempt: AttemptId, failure: Failure, out: &mut Vec<Command>) {
        let policy = &self.node_of(plan, attempt.step).policy;
        let (attempts, fallbacks, backoff) = (policy.attempts.max(1), policy.fallbacks, policy.backoff.clone());
        let step = &mut self.steps[attempt.step.index()];
        if failure.retryable && step.tries_on_candidate < attempts {
            step.phase = Phase::Pausing;
            let draw = chance::draw(self.seed, step.key, attempt.number, Purpose::Backoff);
            let exponent = f64::from(step.tries_on_candidate.saturating_sub(1).min(62));
            let ceiling = (backoff.base_s * exponent.exp2()).min(backoff.max_s).max(0.0);
            let pause_us = (ceiling * 1e6 * chance::unit(draw)) as u64;
            let at_us = self.now_us.saturating_add(pause_us);
            out.push(Command::SetTimer { timer: Timer::Backoff(attempt), at_us });
        } else if step.candidate < fallbacks {
            step.candidate += 1;
            step.tries_on_candidate = 0;
            self.begin_attempt(attempt.step, out);
        } else {
            self.give_up(plan, attempt.step, failure, out);
        }
    }

    /// Ends a step that failed for good: the run fails with it, unless whoever waits for it can do without.
    pub(super) fn give_up(&mut self, plan: &Plan, step: StepId, failure: Failure, out: &mut Vec<Command>) {
        self.end_step(step, Status::Failed, Some(failure.clone()));
        let StepTrace { scope, node, index, .. } = self.steps[step.index()];
        if index.is_none() {
            self.node_failed(plan, scope, node, Some(step), failure, out);
        } else {
            self.finish(Outcome::Failed(failure), out);
        }
    }

    pub(super) fn begin_attempt(&mut self, id: StepId, out: &mut Vec<Command>) {
        let step = &mut self.steps[id.index()];
        step.attempt += 1;
        step.tries_on_candidate += 1;
        step.phase = Phase::Preparing;
        out.push(Command::Prepare(AttemptId { step: id, number: step.attempt }));
    }

    pub(super) fn end_step(&mut self, id: StepId, status: Status, failure: Option<Failure>) {
        let now_us = self.now_us;
        let step = &mut self.steps[id.index()];
        self.reserved = self.reserved - step.reserved.take().unwrap_or(Usd::ZERO);
        step.status = status;
        step.end_us = now_us;
        step.phase = Phase::Ended;
        step.failure = failure.map(Box::new);
        step.previous = None;
    }

    /// Ends the run: attempts in flight are cancelled, everything else stays as it is.
    pub(super) fn finish(&mut self, outcome: Outcome<S::Value>, out: &mut Vec<Command>) {
        if !matches!(outcome, Outcome::Succeeded(_)) {
            for index in 0..self.steps.len() {
                let step = &self.steps[index];
                let id = AttemptId { step: StepId(index as u32), number: step.attempt };
                if let Phase::Running(attempt) = step.phase {
                    let attempt = &mut self.attempts[attempt as usize];
                    if attempt.status == Status::Running {
                        attempt.status = Status::Cancelled;
                        attempt.end_us = self.now_us;
                        out.push(Command::CancelAttempt(id));
                    }
                }
                if self.steps[index].phase != Phase::Ended {
                    self.end_step(id.step, Status::Cancelled, None);
                }
            }
        }
        self.outcome = Some(outcome);
        out.push(Command::Finish);
    }

    pub(super) fn is_in(&self, attempt: AttemptId, phase: Phase) -> bool {
        let step = self.steps.get(attempt.step.index());
        step.is_some_and(|step| step.attempt == attempt.number && step.phase == phase)
    }

    pub(super) fn is_running(&self, attempt: AttemptId) -> Option<usize> {
        let step = self.steps.get(attempt.step.index()).filter(|step| step.attempt == attempt.number)?;
        match step.phase {
            Phase::Running(index) => Some(index as usize),
            _ => None,
        }
    }
}
