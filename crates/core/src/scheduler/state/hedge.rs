//! Hedging: an attempt that takes long is joined by a second one, and the first answer counts.

use super::{AttemptId, Command, Failure, Lane, Next, Phase, Plan, RunState, Semantics, Status, Usd};

impl<S: Semantics> RunState<S> {
    /// Joins a running attempt by a second one on the same backend.
    pub(super) fn hedge(&mut self, attempt: AttemptId, out: &mut Vec<Command>) {
        if self.is_running(attempt).is_none() || self.is_hedge(attempt) {
            return;
        }
        let step = &mut self.steps[attempt.step.index()];
        if step.hedge.is_none() {
            step.attempt += 1;
            step.hedge = Some(Box::new(Lane { number: step.attempt, phase: Phase::Preparing, reserved: Usd::ZERO }));
            out.push(Command::Prepare(AttemptId { number: step.attempt, ..attempt }));
        }
    }

    pub(super) fn is_hedge(&self, attempt: AttemptId) -> bool {
        let step = self.steps.get(attempt.step.index());
        step.and_then(|step| step.hedge.as_ref()).is_some_and(|lane| lane.number == attempt.number)
    }

    /// Sets money aside for a second attempt, or does without it: it never ends a run.
    pub(super) fn reserve_hedge(&mut self, plan: &Plan, attempt: AttemptId, worst: Usd, out: &mut Vec<Command>) {
        let fits = plan.limits.cost.is_none_or(|limit| self.gone() + self.reserved + worst <= limit);
        let step = &mut self.steps[attempt.step.index()];
        match step.hedge.as_mut().filter(|_| fits) {
            Some(lane) => {
                (lane.phase, lane.reserved) = (Phase::Admitting, worst);
                self.reserved += worst;
                out.push(Command::Admit(attempt));
            }
            None => step.hedge = None,
        }
    }

    /// Forgets a second attempt that has not started; false when the attempt is none.
    pub(super) fn drop_hedge(&mut self, attempt: AttemptId) -> bool {
        if !self.is_hedge(attempt) {
            return false;
        }
        if let Some(lane) = self.steps[attempt.step.index()].hedge.take() {
            self.reserved = self.reserved - lane.reserved;
        }
        true
    }

    /// The attempt has given the answer: the one beside it is not needed.
    pub(super) fn win(&mut self, attempt: AttemptId, out: &mut Vec<Command>) {
        let step = &mut self.steps[attempt.step.index()];
        if let Some(lane) = step.hedge.as_deref_mut().filter(|lane| lane.number == attempt.number) {
            std::mem::swap(&mut step.lane, lane);
        }
        self.cancel_hedge(attempt, out);
    }

    /// A failed attempt leaves the field to the one beside it, if there is one.
    pub(super) fn lane_failed(&mut self, plan: &Plan, attempt: AttemptId, failure: Failure, out: &mut Vec<Command>) {
        let step = &mut self.steps[attempt.step.index()];
        match step.hedge.take() {
            Some(hedge) if hedge.number == attempt.number => {}
            Some(hedge) => step.lane = *hedge,
            None => self.attempt_failed(plan, attempt, failure, Next::Retry, out),
        }
    }

    /// Cancels the attempt beside the current one.
    pub(super) fn cancel_hedge(&mut self, attempt: AttemptId, out: &mut Vec<Command>) {
        let Some(lane) = self.steps[attempt.step.index()].hedge.take() else { return };
        let other = AttemptId { number: lane.number, ..attempt };
        self.reserved = self.reserved - lane.reserved;
        match lane.phase {
            Phase::Preparing | Phase::Admitting => out.push(Command::CancelAttempt(other)),
            Phase::Running(index) => self.cancel_running(other, index, lane.reserved, out),
            _ => {}
        }
    }

    pub(super) fn cancel_running(&mut self, attempt: AttemptId, index: u32, reserved: Usd, out: &mut Vec<Command>) {
        let trace = &mut self.attempts[index as usize];
        if trace.status == Status::Running {
            trace.status = Status::Cancelled;
            trace.end_us = self.now_us;
            self.forfeit(attempt, reserved);
            out.push(Command::CancelAttempt(attempt));
        }
    }
}
