//! Forks: a new run that shares the beginning of another's log, and goes its own way from one of its steps on.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::TraceContext;
use lumos_core::program::LiveValue;
use lumos_core::record::Status;
use lumos_core::scheduler::{AttemptId, Event, EventKind, StepId, Timer};
use serde_json::Value;

use crate::history::History;
use crate::store::{Header, Reader, StoreError};

/// Where a fork leaves the run that it shares the log of, and what is different from there on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fork {
    /// The run.
    pub run_id: String,
    /// The step that is the first to be made anew.
    pub at: StepId,
    /// Inputs that are others from there on.
    pub inputs: IndexMap<String, Value>,
    /// Seed of everything random from there on; `None` is that of the run.
    pub seed: Option<u64>,
    /// The span of the caller that the fork belongs to.
    pub trace_parent: Option<Box<TraceContext>>,
}

/// A run as it was at the point where a fork leaves it.
pub(crate) struct Forked {
    pub(crate) parent: Header,
    /// Number of the events that both share.
    pub(crate) events: u64,
    pub(crate) history: History,
    /// What the fork's own log begins with: how attempts in flight at that point ended later, new inputs, and that another
    /// driver goes on.
    pub(crate) first: Vec<EventKind<LiveValue>>,
}

impl Fork {
    /// Looks up the point in the run's log.
    pub(crate) fn read(&self, reader: &mut Reader<'_>) -> Result<Forked, StoreError> {
        let parent = reader.find(&self.run_id)?;
        let events = self.point(reader, &parent)?;
        let seed = self.seed.unwrap_or(parent.seed);
        let mut history = History::read_until(reader, &parent, events, seed)?;
        let mut first = answers(reader, &parent, events, &history)?;
        if !self.inputs.is_empty() {
            let mut inputs = history.inputs.json().as_object().cloned().unwrap_or_default();
            inputs.extend(self.inputs.clone());
            history.inputs = LiveValue::from(Value::Object(inputs));
        }
        let state = &history.folded.state;
        // The run that is left may itself have other inputs from a later step on only, and its record says those.
        let is_given_others = state.inputs().json() != history.inputs.json();
        if is_given_others || state.has_asked() {
            // People are asked anew about what this run does again.
            first.push(EventKind::Rebound(history.inputs.clone()));
        }
        first.push(EventKind::Resumed);
        Ok(Forked { parent, events, history, first })
    }

    /// The number of events before the first that is about the step, a decision about it included: a fork asks anew. For one that no event is about, such as a
    /// sub-workflow's, those up to the one that made it.
    fn point(&self, reader: &mut Reader<'_>, parent: &Header) -> Result<u64, StoreError> {
        let (mut number, mut about) = (0, None);
        reader.events(parent, u64::MAX, &mut |event, _| {
            let step = match &event.kind {
                EventKind::Decided(step, _) | EventKind::TimerFired(Timer::Approval(step)) => Some(*step),
                kind => subject(kind).map(|attempt| attempt.step),
            };
            if about.is_none() && step == Some(self.at) {
                about = Some(number);
            }
            number += 1;
        })?;
        if let Some(events) = about {
            return Ok(events);
        }
        // Halving finds the event that made it in a few folds.
        let (mut without, mut with) = (0, number);
        while without + 1 < with {
            let middle = without + (with - without) / 2;
            let history = History::read_until(reader, parent, middle, parent.seed)?;
            let is_there = history.folded.state.steps().len() > self.at.index();
            if is_there { with = middle } else { without = middle }
        }
        Ok(with)
    }
}

/// How the attempts that are in flight after so many events ended later.
fn answers(
    reader: &mut Reader<'_>,
    parent: &Header,
    events: u64,
    history: &History,
) -> Result<Vec<EventKind<LiveValue>>, StoreError> {
    let attempts = history.folded.state.attempts().iter();
    let running = attempts.filter(|attempt| attempt.status == Status::Running).map(|attempt| attempt.id);
    let mut found: BTreeMap<AttemptId, Option<EventKind<LiveValue>>> = running.map(|id| (id, None)).collect();
    let mut number = 0;
    reader.events(parent, u64::MAX, &mut |event: Event<LiveValue>, _| {
        number += 1;
        if let EventKind::Succeeded(id, ..) | EventKind::Failed(id, ..) = &event.kind
            && number > events
            && let Some(slot) = found.get_mut(id)
        {
            slot.get_or_insert(event.kind);
        }
    })?;
    Ok(found.into_values().flatten().collect())
}

/// The attempt that an event is about.
pub(crate) fn subject<V>(kind: &EventKind<V>) -> Option<AttemptId> {
    match kind {
        EventKind::Prepared(id, _)
        | EventKind::PrepareFailed(id, _)
        | EventKind::Admitted(id)
        | EventKind::Deferred { attempt: id, .. }
        | EventKind::Refused(id, _)
        | EventKind::Rejected(id, _)
        | EventKind::Succeeded(id, ..)
        | EventKind::Failed(id, ..)
        | EventKind::Settled(id, _) => Some(*id),
        EventKind::Started
        | EventKind::TimerFired(_)
        | EventKind::Cancelled
        | EventKind::Resumed
        | EventKind::Decided(..)
        | EventKind::Rebound(_) => None,
    }
}
