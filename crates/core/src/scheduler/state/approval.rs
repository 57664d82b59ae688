//! People: a step whose node asks for approval waits for a decision before its first attempt.

use super::super::event::{By, Decision};
use super::{
    Command, Failure, Outcome, Phase, Plan, RunState, ScopeId, Semantics, Status, StepId, StepTrace, Timer, Usd,
};
use crate::graph::Approval;

/// What a person was asked about a step, and what was decided.
#[derive(Debug, Clone)]
pub(super) struct Question<V> {
    text: String,
    decision: Option<Decision<V>>,
}

impl<S: Semantics> RunState<S> {
    /// Puts a step that has just become ready before a person.
    pub(super) fn ask(&mut self, semantics: &S, id: StepId, out: &mut Vec<Command>) {
        let text = match semantics.question(self.view(id)) {
            Ok(text) => text,
            Err(failure) => return self.give_up(semantics.plan(), id, failure, out),
        };
        let step = &mut self.steps[id.index()];
        step.question = Some(Box::new(Question { text, decision: None }));
        step.status = Status::Paused;
        step.lane.phase = Phase::Asked;
        self.asked += 1;
        if let Some(timeout_us) = self.approval_policy(semantics.plan(), id).and_then(|approval| approval.timeout_us) {
            let at_us = self.now_us.saturating_add(timeout_us);
            out.push(Command::SetTimer { timer: Timer::Approval(id), at_us });
        }
        out.push(Command::AskHuman(id));
    }

    /// Gives the run other inputs. People are asked again about what they were asked, or have agreed to, and which has not
    /// been done: it may be something else now, or be done a second time.
    pub(super) fn rebound(&mut self, semantics: &S, inputs: S::Value, out: &mut Vec<Command>) {
        self.scopes[ScopeId::ROOT.0 as usize].inputs = inputs;
        for index in 0..self.steps.len() {
            let id = StepId(index as u32);
            let step = &self.steps[index];
            let lane = step.lane.clone();
            let is_open = matches!(lane.phase, Phase::Ended | Phase::Open(_) | Phase::Judged);
            let agreed = self.decision(id).is_some();
            if self.outcome.is_some() || is_open || !(lane.phase == Phase::Asked || agreed) {
                continue;
            }
            if lane.phase == Phase::Asked {
                self.asked -= 1;
            } else {
                if let Some(hedge) = self.steps[index].hedge.take() {
                    self.lose(id, &hedge);
                }
                self.lose(id, &lane);
                self.steps[index].lane.reserved = Usd::ZERO;
            }
            self.ask(semantics, id, out);
        }
    }

    /// Lets the default hold for a step that nobody has decided about in time.
    pub(super) fn undecided(&mut self, semantics: &S, id: StepId, out: &mut Vec<Command>) {
        let approval = self.is_asked(id).then(|| self.approval_policy(semantics.plan(), id)).flatten();
        if let Some(approval) = approval {
            self.decided(semantics, id, Decision::by_default(approval.default), out);
        }
    }

    /// Whether a step waits for a decision.
    pub(super) fn is_asked(&self, id: StepId) -> bool {
        self.steps.get(id.index()).is_some_and(|step| step.lane.phase == Phase::Asked)
    }

    /// Goes on as a person, or the time that went by without one, has decided. Nothing changes when nobody was asked.
    pub(super) fn decided(&mut self, semantics: &S, id: StepId, decision: Decision<S::Value>, out: &mut Vec<Command>) {
        let Some(step) = self.steps.get_mut(id.index()).filter(|step| step.lane.phase == Phase::Asked) else { return };
        let refusal = match &decision {
            Decision::Approved { .. } | Decision::Edited(_) => None,
            Decision::Rejected { reason, by } => Some((reason.clone(), *by)),
        };
        if let Some(question) = &mut step.question {
            question.decision = Some(decision);
        }
        if let Some((reason, by)) = refusal {
            let name = &self.node_of(semantics.plan(), id).name;
            let StepTrace { index, iteration, .. } = self.step(id);
            let number = |before: &str, number: Option<u32>, after: &str| {
                number.map_or_else(String::new, |number| format!("{before}{number}{after}"))
            };
            let label = format!("{name}{}{}", number("[", *index, "]"), number("#", *iteration, ""));
            let failure = rejection(&label, reason.as_deref(), by);
            return self.stop(id, Outcome::Refused(failure), out);
        }
        step.status = Status::Running;
        step.lane.phase = Phase::Preparing;
        self.asked -= 1;
        self.launch(semantics, id, out);
    }

    /// Whether nothing can happen in the run before somebody has decided: at least one step is asked about, and no
    /// attempt is on its way.
    ///
    /// Looks at all steps when a step is asked about, so it is best asked when there is nothing else to do.
    pub fn is_paused(&self) -> bool {
        let waits = |phase| matches!(phase, Phase::Asked | Phase::Judged | Phase::Open(_) | Phase::Ended);
        self.asked > 0 && self.steps.iter().rev().all(|step| waits(step.lane.phase))
    }

    /// How the run stands: how it ended, or that it waits for a person, or that it goes on.
    pub fn status(&self) -> Status {
        match self.outcome() {
            Some(outcome) => outcome.status(),
            None if self.is_paused() => Status::Paused,
            None => Status::Running,
        }
    }

    /// The steps that wait for a decision, in order of creation.
    pub fn asked(&self) -> impl Iterator<Item = StepId> + '_ {
        let asked = self.steps.iter().enumerate().filter(|(_, step)| step.lane.phase == Phase::Asked);
        asked.map(|(index, _)| StepId(index as u32)).take(self.asked as usize)
    }

    /// Whether a person has been asked about anything.
    pub fn has_asked(&self) -> bool {
        self.steps.iter().any(|step| step.question.is_some())
    }

    /// What a person is, or was, asked about a step; `None` for steps that need no approval or never became ready.
    pub fn question(&self, step: StepId) -> Option<&str> {
        self.step(step).question.as_ref().map(|question| question.text.as_str())
    }

    /// What was decided about a step.
    pub fn decision(&self, step: StepId) -> Option<&Decision<S::Value>> {
        self.step(step).question.as_ref()?.decision.as_ref()
    }

    /// How a step's node asks, with the time after which its default holds; `None` when it does not ask.
    pub fn approval_policy(&self, plan: &Plan, step: StepId) -> Option<Approval> {
        self.node_of(plan, step).policy.approval
    }
}

fn rejection(step: &str, reason: Option<&str>, by: By) -> Failure {
    let message = match (by, reason) {
        (By::Person, Some(reason)) => format!("a person rejected `{step}`: {reason}"),
        (By::Person, None) => format!("a person rejected `{step}`"),
        (By::Timeout, _) => format!("nobody approved `{step}` in time"),
    };
    let failure = Failure::fatal(message);
    match by {
        By::Person => failure,
        By::Timeout => {
            failure.with_hint("raise `approve: (timeout_s: …)`, or let `default: Approve` go on without anybody")
        }
    }
}
