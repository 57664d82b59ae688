//! What goes into the scheduler and what comes out of it.

use serde::{Deserialize, Serialize};

use crate::money::Usd;
use crate::spec::Verdict;
use crate::usage::CallReport;

/// A step of one run; numbered in order of creation, so the number depends on the order of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StepId(pub u32);

impl StepId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One try of a step, numbered from 1. As data it is the pair `[step, number]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(StepId, u32)", into = "(StepId, u32)")]
pub struct AttemptId {
    /// The step.
    pub step: StepId,
    /// The number, from 1.
    pub number: u32,
}

impl From<(StepId, u32)> for AttemptId {
    fn from((step, number): (StepId, u32)) -> Self {
        Self { step, number }
    }
}

impl From<AttemptId> for (StepId, u32) {
    fn from(attempt: AttemptId) -> Self {
        (attempt.step, attempt.number)
    }
}

/// Something that happened, at a time in microseconds since the run's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event<V> {
    /// When; never before the event consumed last.
    pub at_us: u64,
    /// What.
    pub kind: EventKind<V>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventKind<V> {
    /// The run begins; always first.
    Started,
    /// The request of an attempt is ready.
    Prepared(AttemptId, Estimate),
    /// The request of an attempt could not be made.
    PrepareFailed(AttemptId, Failure),
    /// The attempt may start.
    Admitted(AttemptId),
    /// The attempt may be asked for again at `until_us`.
    Deferred {
        /// Which attempt.
        attempt: AttemptId,
        /// When to ask again.
        until_us: u64,
    },
    /// The attempt may never start, and the run ends: the boundary forbids it.
    Refused(AttemptId, Failure),
    /// The attempt may not start now: its backend is known to be down or its budget is used up. Another may do.
    Rejected(AttemptId, Failure),
    /// The attempt gave a value.
    Succeeded(AttemptId, V, Bill),
    /// The attempt gave none.
    Failed(AttemptId, Failure, Bill),
    /// What a cancelled attempt used up all the same.
    Settled(AttemptId, Bill),
    /// A timer ran out.
    TimerFired(Timer),
    /// A person wants the run to end.
    Cancelled,
    /// Another driver goes on with the run: whatever was in flight is lost.
    Resumed,
    /// The run's inputs are others from here on.
    Rebound(V),
    /// What was decided about a step that a person was asked about.
    Decided(StepId, Decision<V>),
}

/// What becomes of a step that a person was asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Decision<V> {
    /// It goes on.
    Approved {
        /// Who says so.
        by: By,
    },
    /// It goes on with these arguments in place of its own; a sub-workflow's are its inputs.
    Edited(V),
    /// It does not go on, and the run ends as refused.
    Rejected {
        /// Why, if somebody said so.
        reason: Option<String>,
        /// Who says so.
        by: By,
    },
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A person.
    Person,
    /// Nobody did in time, so the node's default holds.
    Timeout,
}

impl By {
    /// The word used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Timeout => "timeout",
        }
    }
}

impl<V> Decision<V> {
    /// What holds when nobody has decided in time.
    pub fn by_default(verdict: Verdict) -> Self {
        let by = By::Timeout;
        match verdict {
            Verdict::Approve => Self::Approved { by },
            Verdict::Reject => Self::Rejected { reason: None, by },
        }
    }
}

impl<V> Event<V> {
    /// The same event with its value put into another form.
    ///
    /// # Errors
    /// That of `form`.
    pub fn map<W, E>(self, form: impl FnOnce(V) -> Result<W, E>) -> Result<Event<W>, E> {
        let kind = match self.kind {
            EventKind::Started => EventKind::Started,
            EventKind::Prepared(attempt, estimate) => EventKind::Prepared(attempt, estimate),
            EventKind::PrepareFailed(attempt, failure) => EventKind::PrepareFailed(attempt, failure),
            EventKind::Admitted(attempt) => EventKind::Admitted(attempt),
            EventKind::Deferred { attempt, until_us } => EventKind::Deferred { attempt, until_us },
            EventKind::Refused(attempt, failure) => EventKind::Refused(attempt, failure),
            EventKind::Rejected(attempt, failure) => EventKind::Rejected(attempt, failure),
            EventKind::Succeeded(attempt, value, bill) => EventKind::Succeeded(attempt, form(value)?, bill),
            EventKind::Failed(attempt, failure, bill) => EventKind::Failed(attempt, failure, bill),
            EventKind::Settled(attempt, bill) => EventKind::Settled(attempt, bill),
            EventKind::TimerFired(timer) => EventKind::TimerFired(timer),
            EventKind::Cancelled => EventKind::Cancelled,
            EventKind::Resumed => EventKind::Resumed,
            EventKind::Rebound(inputs) => EventKind::Rebound(form(inputs)?),
            EventKind::Decided(step, decision) => EventKind::Decided(
                step,
                match decision {
                    Decision::Approved { by } => Decision::Approved { by },
                    Decision::Edited(arguments) => Decision::Edited(form(arguments)?),
                    Decision::Rejected { reason, by } => Decision::Rejected { reason, by },
                },
            ),
        };
        Ok(Event { at_us: self.at_us, kind })
    }
}

/// What is known of an attempt before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// Most that it can cost; `None` when the price or the tokens are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_cost: Option<Usd>,
    /// Input tokens, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Digest of everything that determines the answer; zero for attempts that ask no model.
    pub request_hash: u64,
}

/// What an attempt used up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bill {
    /// What it cost; `None` when unknown or when nothing was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
    /// Figures of its calls; `None` when nothing was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<CallReport>>,
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A lowercase fragment.
    pub message: String,
    /// What would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether trying again may help.
    pub retryable: bool,
    /// Microseconds that the server wants to be left alone for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_us: Option<u64>,
    /// Whether a budget said no: what ends by it is limited, not failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_limit: bool,
}

impl Failure {
    /// A failure that trying again would not cure.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, retryable: false, retry_after_us: None, is_limit: false }
    }

    /// The same failure with what would help.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A timer is named by what it is for; one that is no longer awaited is ignored when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The run's deadline.
    Deadline,
    /// The attempt's timeout.
    Timeout(AttemptId),
    /// The moment at which the attempt is joined by a second one.
    Hedge(AttemptId),
    /// The pause after a failed attempt.
    Backoff(AttemptId),
    /// The time at which admission is asked again.
    Deferral(AttemptId),
    /// The moment from which on the default holds for a step that nobody has decided about.
    ///
    /// People's time goes on while no driver has the run: a driver that takes the run up sets it by the wall clock.
    Approval(StepId),
}

/// What a driver must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Make the request; answer `Prepared` or `PrepareFailed`.
    Prepare(AttemptId),
    /// Ask for admission; answer `Admitted`, `Deferred` or `Refused`.
    Admit(AttemptId),
    /// Make the attempt; answer `Succeeded` or `Failed`.
    StartAttempt(AttemptId),
    /// Answer `TimerFired` at that time.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When, in microseconds since the run's start.
        at_us: u64,
    },
    /// Stop the attempt, or whatever prepares or admits it; an answer is no longer awaited. Answer `Settled` when what
    /// it used up is known.
    CancelAttempt(AttemptId),
    /// Ask a person whether the step may go on; answer `Decided`, however much later. See [`super::RunState::question`].
    AskHuman(StepId),
    /// The run has ended; see [`super::RunState::outcome`].
    Finish,
}
