//! The life of an attempt: prepared, admitted, running, settled; then retry, fallback, or the step's end.

use super::{
    AttemptId, AttemptTrace, Bill, Command, Estimate, Failure, Lane, Next, Outcome, Phase, Plan, Purpose, RunState,
    ScopeId, Semantics, Status, StepId, Timer, Usd, chance,
};

impl<S: Semantics> RunState<S> {
    pub(super) fn begin(&mut self, plan: &Plan, out: &mut Vec<Command>) {
        if self.started {
            return;
        }
        self.started = true;
        if let Some(deadline_us) = plan.limits.deadline_us {
            let at_us = self.now_us.saturating_add(deadline_us);
            self.deadline_us = at_us;
            out.push(Command::SetTimer { timer: Timer::Deadline, at_us });
        }
        self.enter(plan, ScopeId::ROOT, None);
    }

    pub(super) fn prepared(&mut self, plan: &Plan, attempt: AttemptId, estimate: Estimate, out: &mut Vec<Command>) {
        if !self.is_in(attempt, Phase::Preparing) {
            return;
        }
        let worst = estimate.worst_cost.unwrap_or(Usd::ZERO);
        if self.is_hedge(attempt) {
            return self.reserve_hedge(plan, attempt, worst, out);
        }
        let step = &mut self.steps[attempt.step.index()];
        (step.lane.reserved, step.lane.phase) = (worst, Phase::Held);
        // Once the budget is exceeded, an attempt of unknown cost may not start either.
        match plan.limits.cost {
            Some(limit) if self.gone() + worst > limit => self.over_budget(plan, attempt.step, limit, out),
            Some(limit) if self.gone() + self.reserved + worst > limit => {
                self.held.push_back(attempt);
            }
            _ => self.reserve(attempt, out),
        }
    }

    /// Lets held attempts go on, the first come first, as far as what was settled makes room for them.
    pub(super) fn release_held(&mut self, plan: &Plan, out: &mut Vec<Command>) {
        let Some(limit) = plan.limits.cost else { return };
        while let Some(attempt) = self.held.front().copied().filter(|_| self.outcome.is_none()) {
            let worst = self.step(attempt.step).lane.reserved;
            if !self.is_in(attempt, Phase::Held) {
                self.held.pop_front();
            } else if self.gone() + worst > limit {
                self.over_budget(plan, attempt.step, limit, out);
            } else if self.gone() + self.reserved + worst > limit {
                return;
            } else {
                self.held.pop_front();
                self.reserve(attempt, out);
            }
        }
    }

    /// Money that will not come back: spent, or possibly spent by attempts that were cancelled.
    pub(super) fn gone(&self) -> Usd {
        self.spent + self.forfeited
    }

    fn reserve(&mut self, attempt: AttemptId, out: &mut Vec<Command>) {
        let step = &mut self.steps[attempt.step.index()];
        step.lane.phase = Phase::Admitting;
        step.end_us = self.now_us;
        self.reserved += step.lane.reserved;
        out.push(Command::Admit(attempt));
    }

    fn over_budget(&mut self, plan: &Plan, step: StepId, limit: Usd, out: &mut Vec<Command>) {
        let node = &self.node_of(plan, step).name;
        let worst = self.step(step).lane.reserved;
        let gone = self.gone();
        let failure = Failure::fatal(format!(
            "the next attempt of `{node}` may cost {worst} USD, and {gone} of the budget of {limit} USD is spent"
        ))
        .with_hint("raise `limits.cost_usd`, or bind the node to a cheaper backend");
        self.stop(step, Outcome::Limited(failure), out);
    }

    pub(super) fn admitted(&mut self, plan: &Plan, attempt: AttemptId, out: &mut Vec<Command>) {
        if !self.is_in(attempt, Phase::Admitting) {
            return;
        }
        let policy = &self.node_of(plan, attempt.step).policy;
        let (timeout_us, hedge_after_us) = (policy.timeout_us, policy.hedge_after_us);
        let is_hedge = self.is_hedge(attempt);
        let running = Phase::Running(self.attempts.len() as u32);
        if let Some(lane) = self.lane_mut(attempt) {
            lane.phase = running;
        }
        self.attempts.push(AttemptTrace {
            id: attempt,
            candidate: self.candidate(attempt.step),
            status: Status::Running,
            waited_us: if is_hedge { 0 } else { self.now_us.saturating_sub(self.step(attempt.step).end_us) },
            start_us: self.now_us,
            end_us: self.now_us,
            bill: None,
            failure: None,
        });
        out.push(Command::StartAttempt(attempt));
        if let Some(timeout_us) = timeout_us {
            let at_us = self.now_us.saturating_add(timeout_us);
            out.push(Command::SetTimer { timer: Timer::Timeout(attempt), at_us });
        }
        if let Some(hedge_after_us) = hedge_after_us.filter(|_| !is_hedge) {
            let at_us = self.now_us.saturating_add(hedge_after_us);
            out.push(Command::SetTimer { timer: Timer::Hedge(attempt), at_us });
        }
    }

    pub(super) fn timer_fired(&mut self, semantics: &S, timer: Timer, out: &mut Vec<Command>) {
        let plan = semantics.plan();
        match timer {
            Timer::Deadline => {
                let Some(deadline_us) = plan.limits.deadline_us.filter(|_| self.started) else { return };
                let seconds = deadline_us as f64 / 1e6;
                let failure = Failure::fatal(format!("the deadline of {seconds} s has passed"))
                    .with_hint("raise `limits.deadline_s`, or make the steps shorter");
                self.finish(Outcome::Limited(failure), out);
            }
            Timer::Timeout(attempt) => {
                if self.is_running(attempt).is_none() {
                    return;
                }
                let seconds = self.node_of(plan, attempt.step).policy.timeout_us.unwrap_or(0) as f64 / 1e6;
                let failure = Failure::fatal(format!("no answer within {seconds} s"))
                    .with_hint("raise `timeout_s`, or allow a `retry` or a `fallback`");
                let failure = Failure { retryable: true, ..failure };
                self.forfeit(attempt, self.lane(attempt).map_or(Usd::ZERO, |lane| lane.reserved));
                if let Some(trace) = self.end_attempt(attempt, Status::Failed, Bill::default()) {
                    self.attempts[trace].failure = Some(Box::new(failure.clone()));
                }
                out.push(Command::CancelAttempt(attempt));
                self.lane_failed(plan, attempt, failure, out);
            }
            Timer::Hedge(attempt) => self.hedge(attempt, out),
            Timer::Backoff(attempt) => {
                if self.is_in(attempt, Phase::Pausing) {
                    self.begin_attempt(attempt.step, out);
                }
            }
            Timer::Deferral(attempt) => {
                if self.is_in(attempt, Phase::Deferred) {
                    self.steps[attempt.step.index()].lane.phase = Phase::Admitting;
                    out.push(Command::Admit(attempt));
                }
            }
            Timer::Approval(step) => self.undecided(semantics, step, out),
        }
    }

    /// Settles a running attempt; `None` when it is not awaited.
    pub(super) fn end_attempt(&mut self, attempt: AttemptId, status: Status, bill: Bill) -> Option<usize> {
        let index = self.is_running(attempt)?;
        let reserved = self.lane_mut(attempt).map_or(Usd::ZERO, |lane| std::mem::take(&mut lane.reserved));
        self.reserved = self.reserved - reserved;
        self.spent += bill.cost.unwrap_or(Usd::ZERO);
        let trace = &mut self.attempts[index];
        trace.status = status;
        trace.end_us = self.now_us;
        trace.bill = (bill != Bill::default()).then(|| Box::new(bill));
        Some(index)
    }

    /// Records what a cancelled attempt used up, once.
    pub(super) fn settle_late(&mut self, attempt: AttemptId, bill: Bill) {
        let Some(trace) = self.attempts.iter_mut().rev().find(|trace| trace.id == attempt) else { return };
        let open = matches!(trace.status, Status::Cancelled | Status::Failed) && trace.bill.is_none();
        if !open || bill == Bill::default() {
            return;
        }
        if let Some(cost) = bill.cost {
            self.spent += cost;
            if let Some(at) = self.unsettled.iter().position(|(id, _)| *id == attempt) {
                self.forfeited = self.forfeited - self.unsettled.swap_remove(at).1;
            }
        }
        trace.bill = Some(Box::new(bill));
    }

    /// Notes that an attempt was cancelled in flight, and may cost all that is reserved for it.
    pub(super) fn forfeit(&mut self, attempt: AttemptId, reserved: Usd) {
        if reserved > Usd::ZERO {
            self.forfeited += reserved;
            self.unsettled.push((attempt, reserved));
        }
    }

    pub(super) fn attempt_failed(
        &mut self,
        plan: &Plan,
        attempt: AttemptId,
        failure: Failure,
        first: Next,
        out: &mut Vec<Command>,
    ) {
        let policy = &self.node_of(plan, attempt.step).policy;
        let (attempts, fallbacks, backoff) =
            (policy.attempts.clamp(1, u16::MAX.into()), policy.fallbacks, policy.backoff.clone());
        let last = fallbacks + u32::from(policy.cascade.is_some());
        let step = &mut self.steps[attempt.step.index()];
        let number = attempt.number.saturating_sub(step.interrupted.into());
        let draw = chance::draw(self.seed, step.key, number, Purpose::Backoff);
        let exponent = f64::from(step.tries_on_candidate.saturating_sub(1).min(62));
        let ceiling = (backoff.base_s * exponent.exp2()).min(backoff.max_s).max(0.0);
        let pause_us = ((ceiling * 1e6 * chance::unit(draw)) as u64).max(failure.retry_after_us.unwrap_or(0));
        let at_us = self.now_us.saturating_add(pause_us);
        let may_retry = failure.retryable && u32::from(step.tries_on_candidate) < attempts;
        let in_time = at_us < self.deadline_us;
        let more = step.candidate < last;
        if may_retry && in_time && (first == Next::Retry || !more) {
            step.lane.phase = Phase::Pausing;
            out.push(Command::SetTimer { timer: Timer::Backoff(attempt), at_us });
        } else if more {
            step.candidate += 1;
            step.tries_on_candidate = 0;
            self.begin_attempt(attempt.step, out);
        } else if may_retry {
            let message = format!("{}; another try would come after the run's deadline", failure.message);
            self.give_up(plan, attempt.step, Failure { message, ..failure }, out);
        } else {
            self.give_up(plan, attempt.step, failure, out);
        }
    }

    pub(super) fn begin_attempt(&mut self, id: StepId, out: &mut Vec<Command>) {
        let step = &mut self.steps[id.index()];
        step.attempt += 1;
        step.lane.number = step.attempt;
        step.tries_on_candidate = step.tries_on_candidate.saturating_add(1);
        step.lane.phase = Phase::Preparing;
        out.push(Command::Prepare(AttemptId { step: id, number: step.attempt }));
    }

    pub(super) fn is_in(&self, attempt: AttemptId, phase: Phase) -> bool {
        self.lane(attempt).is_some_and(|lane| lane.phase == phase)
    }

    pub(super) fn is_running(&self, attempt: AttemptId) -> Option<usize> {
        match self.lane(attempt)?.phase {
            Phase::Running(index) => Some(index as usize),
            _ => None,
        }
    }

    /// An attempt that is on its way; `None` when it is not awaited.
    pub(super) fn lane(&self, attempt: AttemptId) -> Option<&Lane> {
        let step = self.steps.get(attempt.step.index())?;
        [Some(&step.lane), step.hedge.as_deref()].into_iter().flatten().find(|lane| lane.number == attempt.number)
    }

    pub(super) fn lane_mut(&mut self, attempt: AttemptId) -> Option<&mut Lane> {
        let step = self.steps.get_mut(attempt.step.index())?;
        [Some(&mut step.lane), step.hedge.as_deref_mut()]
            .into_iter()
            .flatten()
            .find(|lane| lane.number == attempt.number)
    }
}
