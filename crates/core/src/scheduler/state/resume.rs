//! Going on with a run in another driver: what was in flight is lost, and made again.

use super::{AttemptId, Command, Failure, Lane, Phase, Plan, RunState, Semantics, Status, StepId, Timer, Usd};

impl<S: Semantics> RunState<S> {
    /// Ends every attempt in flight as interrupted, and begins again what had not been started.
    ///
    /// An interrupted attempt is made again and uses up none of its step's tries, because nobody knows how it ended. A
    /// step that may be tried once only fails instead. Pauses, deadlines and timeouts go on: the driver sets the timers
    /// that are still awaited.
    pub(super) fn resumed(&mut self, plan: &Plan, out: &mut Vec<Command>) {
        self.held.clear();
        let mut lost = Vec::new();
        for index in 0..self.steps.len() {
            let id = StepId(index as u32);
            if let Some(hedge) = self.steps[index].hedge.take() {
                self.lose(id, &hedge);
            }
            let lane = self.steps[index].lane.clone();
            if matches!(lane.phase, Phase::Asked | Phase::Pausing | Phase::Judged | Phase::Open(_) | Phase::Ended) {
                continue;
            }
            self.lose(id, &lane);
            // Nothing of it is in flight any more, which is what the phase says until the step's turn comes.
            self.steps[index].lane = Lane { phase: Phase::Held, reserved: Usd::ZERO, ..lane };
            lost.push((id, matches!(lane.phase, Phase::Running(_))));
        }
        for (id, was_running) in lost {
            let lane = &mut self.steps[id.index()].lane;
            if self.outcome.is_some() || lane.phase != Phase::Held {
                continue;
            }
            if was_running {
                self.begin_again(plan, id, out);
            } else {
                lane.phase = Phase::Preparing;
                out.push(Command::Prepare(AttemptId { step: id, number: lane.number }));
            }
        }
    }

    /// Whether a timer that fires now would change anything.
    pub fn awaits(&self, timer: Timer) -> bool {
        self.outcome.is_none()
            && match timer {
                Timer::Deadline => self.started,
                Timer::Timeout(attempt) => self.is_running(attempt).is_some(),
                Timer::Hedge(attempt) => {
                    let unhedged = self.steps.get(attempt.step.index()).is_some_and(|step| step.hedge.is_none());
                    unhedged && self.is_running(attempt).is_some()
                }
                Timer::Backoff(attempt) => self.is_in(attempt, Phase::Pausing),
                Timer::Deferral(attempt) => self.is_in(attempt, Phase::Deferred),
                Timer::Approval(step) => self.is_asked(step),
            }
    }

    /// Takes an attempt off the run's accounts. What it cost, if it had been started, will not be known.
    pub(super) fn lose(&mut self, step: StepId, lane: &Lane) {
        if lane.phase != Phase::Held {
            self.reserved = self.reserved - lane.reserved;
        }
        if let Phase::Running(index) = lane.phase {
            let trace = &mut self.attempts[index as usize];
            (trace.status, trace.end_us) = (Status::Interrupted, self.now_us);
            let interrupted = &mut self.steps[step.index()].interrupted;
            *interrupted = interrupted.saturating_add(1);
            self.forfeit(AttemptId { step, number: lane.number }, lane.reserved);
        }
    }

    fn begin_again(&mut self, plan: &Plan, id: StepId, out: &mut Vec<Command>) {
        let node = self.node_of(plan, id);
        if node.policy.once {
            let message =
                format!("`{}` was interrupted and may be tried once only; nobody knows how it ended", node.name);
            let failure = Failure::fatal(message)
                .with_hint("see at its other end whether it was done, then fork the run at the step or after it");
            return self.give_up(plan, id, failure, out);
        }
        self.steps[id.index()].tries_on_candidate -= 1;
        self.begin_attempt(id, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::toy::{Toy, graph, node};
    use super::super::super::{Bill, Estimate, Event, EventKind};
    use super::*;

    fn feed(toy: &Toy, state: &mut RunState<Toy>, kind: EventKind<u64>) -> Vec<Command> {
        let mut commands = Vec::new();
        state.handle(toy, Event { at_us: state.now_us() + 1, kind }, &mut commands);
        commands
    }

    /// A step that is running, of a budget's two cents.
    fn running(toy: &Toy) -> (RunState<Toy>, AttemptId) {
        let mut state = RunState::new(toy, 1, 7);
        feed(toy, &mut state, EventKind::Started);
        let attempt = AttemptId { step: StepId(0), number: 1 };
        let estimate = Estimate { worst_cost: Some(Usd::from_nanos(2)), ..Estimate::default() };
        feed(toy, &mut state, EventKind::Prepared(attempt, estimate));
        assert_eq!(feed(toy, &mut state, EventKind::Admitted(attempt))[0], Command::StartAttempt(attempt));
        (state, attempt)
    }

    #[test]
    fn an_attempt_in_flight_is_interrupted_and_made_again_without_using_up_a_try() {
        let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(1)])]);
        let (mut state, attempt) = running(&toy);
        let again = AttemptId { number: 2, ..attempt };
        let seed = state.attempt_seed(attempt);
        assert!(state.awaits(Timer::Deadline) && state.awaits(Timer::Timeout(attempt)));
        assert_eq!(feed(&toy, &mut state, EventKind::Resumed), [Command::Prepare(again)]);
        assert!(!state.awaits(Timer::Timeout(attempt)));
        assert_eq!(state.attempt_seed(again), seed, "the same chance");
        assert_eq!(state.attempts()[0].status, Status::Interrupted);
        // Its cost is not known, so its reservation counts as gone.
        assert_eq!((state.reserved(), state.gone()), (Usd::ZERO, Usd::from_nanos(2)));
        // An answer of the lost attempt changes nothing.
        assert!(feed(&toy, &mut state, EventKind::Succeeded(attempt, 1, Bill::default())).is_empty());
        // What was only prepared is prepared again under the same number.
        feed(&toy, &mut state, EventKind::Prepared(again, Estimate::default()));
        assert_eq!(feed(&toy, &mut state, EventKind::Resumed), [Command::Prepare(again)]);
        assert_eq!(state.attempts().len(), 1);
    }

    #[test]
    fn a_step_that_may_be_tried_once_only_fails_when_it_is_interrupted() {
        let toy = Toy::new(vec![graph(vec![node("a", &[]).once(), node("b", &[])])]);
        let (mut state, _) = running(&toy);
        // The other step is not in flight any more either, so nothing is cancelled.
        assert_eq!(feed(&toy, &mut state, EventKind::Resumed), [Command::Finish]);
        assert_eq!(state.outcome().unwrap().status(), Status::Failed);
    }

    #[test]
    fn new_inputs_hold_from_then_on() {
        let toy = Toy::new(vec![graph(vec![node("a", &[])])]);
        let (mut state, _) = running(&toy);
        feed(&toy, &mut state, EventKind::Rebound(5));
        assert_eq!(state.view(StepId(0)).inputs(), &5);
    }
}
