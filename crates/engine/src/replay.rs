//! Replay: the scheduler once more on the recorded answers, at no cost; and single nodes asked again elsewhere.
//!
//! A replay goes through a run's log and checks that each event answers a command that the scheduler gives now, and that
//! each attempt would ask what it asked then.

use std::collections::BTreeSet;
use std::sync::Arc;

use lumos_core::program::{LiveValue, Program};
use lumos_core::record::{ErrorRecord, Exchange, RunRecord, Status};
use lumos_core::scheduler::{AttemptId, Bill, Command, Event, EventKind, Failure, RunState, StepId, Timer};
use lumos_core::{Clock, Usd};
use serde::Serialize;
use serde_json::Value;

use crate::attempt::{self, Ready};
use crate::binding::BoundProgram;
use crate::clock::SystemClock;
use crate::fork::subject;
use crate::history::History;
use crate::store::{RecordStore, StoreError};

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// The run.
    pub run_id: String,
    /// Number of the events that were compared.
    pub events: u64,
    /// Where the log would be another; `None` when it is the same.
    pub difference: Option<Difference>,
}

/// The first event of a log that would not be as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Its number, from 0.
    pub event: u64,
    /// The position, in the record, of the step that it is about.
    pub step: Option<usize>,
    /// The attempt that it is about.
    pub attempt: Option<u32>,
    /// What is different: a lowercase fragment.
    pub message: String,
}

/// What was asked in an attempt, rendered again, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// What was asked and what came back.
    pub exchange: Exchange,
    /// Whether the request is what was asked then, by its digest.
    pub is_as_recorded: bool,
}

/// An attempt of a run, made again on another backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// The position of its step in the record.
    pub step: usize,
    /// The attempt that gave the recorded answer.
    pub attempt: u32,
    /// The recorded answer.
    pub recorded: Value,
    /// The backend that was asked now, and its model.
    pub backend: Option<(String, String)>,
    /// Its answer.
    pub answer: Option<Value>,
    /// Why there is none.
    pub error: Option<ErrorRecord>,
    /// Microseconds that it took.
    pub duration_us: u64,
    /// What it cost; `None` when unknown.
    pub cost_usd: Option<Usd>,
    /// Tokens that it read and wrote.
    pub tokens: (Option<u64>, Option<u64>),
    /// Bytes that were sent.
    pub bytes_sent: u64,
}

impl RecordStore {
    /// Replays a run by a program that is bound like it, or otherwise: then requests differ where that matters.
    ///
    /// Of a run that shares another's log only its own part is compared.
    ///
    /// # Errors
    /// When there is no such run, or its log cannot be read.
    pub fn replay(&self, bound: &BoundProgram, run_id: &str) -> Result<Replayed, StoreError> {
        self.read(|reader| {
            let header = reader.find(run_id)?;
            let shared = header.parent.map_or(0, |(_, events)| events);
            let inputs = reader.first_inputs(&header)?;
            let mut replay = Replay::new(bound, RunState::new(bound.program(), inputs, header.seed), shared);
            reader.events(&header, u64::MAX, &mut |event, _| replay.take(event))?;
            replay.end(header.status);
            Ok(Replayed {
                run_id: header.run_id.clone(),
                events: replay.number - shared,
                difference: replay.difference(),
            })
        })
    }

    /// What was asked in an attempt of a run, rendered again from its log; `bound` is the run's program, whose backends
    /// are not asked. `None` when there was no such attempt.
    ///
    /// # Errors
    /// When there is no such run, or its log cannot be read.
    pub fn exchange(
        &self,
        bound: &BoundProgram,
        run_id: &str,
        attempt: AttemptId,
    ) -> Result<Option<Asking>, StoreError> {
        let Some((history, found)) = self.before(run_id, attempt)? else { return Ok(None) };
        let rendered = attempt::render(bound, &history.folded.state, attempt);
        let (arguments, request, is_as_recorded) = match rendered {
            Ok(rendered) => {
                let is_as_recorded = found.request_hash.is_some_and(|hash| hash == rendered.hash());
                let arguments = serde_json::to_value(&rendered.arguments).ok();
                (arguments, rendered.prepared.request, is_as_recorded)
            }
            Err(_) => (None, None, found.request_hash.is_none()),
        };
        let error = found.failure.map(|failure| ErrorRecord { message: failure.message, hint: failure.hint });
        let output = found.value.map(|value| value.json().clone());
        Ok(Some(Asking { exchange: Exchange { arguments, request, output, error }, is_as_recorded }))
    }

    /// The run as it was when an attempt was about to be prepared, and what became of the attempt.
    fn before(&self, run_id: &str, attempt: AttemptId) -> Result<Option<(History, Recorded)>, StoreError> {
        self.read(|reader| {
            let header = reader.find(run_id)?;
            let (mut number, mut prepared, mut found) = (0, None, Recorded::default());
            reader.events(&header, u64::MAX, &mut |event, _| {
                if subject(&event.kind) == Some(attempt) {
                    match event.kind {
                        EventKind::Prepared(_, estimate) => {
                            (prepared, found.request_hash) = (Some(number), Some(estimate.request_hash));
                        }
                        EventKind::PrepareFailed(_, failure) => {
                            (prepared, found.failure) = (Some(number), Some(failure));
                        }
                        EventKind::Succeeded(_, value, _) => found.value = Some(value),
                        EventKind::Failed(_, failure, _) => found.failure = Some(failure),
                        _ => {}
                    }
                }
                number += 1;
            })?;
            let Some(events) = prepared else { return Ok(None) };
            Ok(Some((History::read_until(reader, &header, events, header.seed)?, found)))
        })
    }

    /// Makes the attempts that gave a node its values again, by a program that is bound otherwise, and gives both
    /// answers. `steps` are their positions in the record.
    ///
    /// # Errors
    /// When there is no such run, or its log cannot be read.
    pub async fn ask_again(
        &self,
        bound: &BoundProgram,
        record: &RunRecord,
        steps: &[(usize, StepId)],
        clock: SystemClock,
    ) -> Result<Vec<Asked>, StoreError> {
        let mut asked = Vec::new();
        for (position, step) in steps {
            let Some(last) = record.steps[*position].attempts.last() else { continue };
            let attempt = AttemptId { step: *step, number: last.attempt };
            let Some((history, _)) = self.before(&record.run_id, attempt)? else { continue };
            let recorded = record.steps[*position].output.clone();
            asked.push(ask(bound, &history.folded.state, attempt, clock, (*position, recorded)).await);
        }
        Ok(asked)
    }
}

/// What a log says about an attempt.
#[derive(Default)]
struct Recorded {
    request_hash: Option<u64>,
    value: Option<LiveValue>,
    failure: Option<Failure>,
}

async fn ask(
    bound: &BoundProgram,
    state: &RunState<Program>,
    id: AttemptId,
    clock: SystemClock,
    (step, recorded): (usize, Value),
) -> Asked {
    let node = bound.program().node(state.graph_of(id.step), state.step(id.step).node);
    let backend = bound.backend(node.position, state.candidate(id.step));
    let began_us = clock.now_us();
    let happened = match bound.forbidden(node, backend.map(|backend| &**backend)) {
        Some(failure) => EventKind::Refused(id, failure),
        None => match attempt::prepare(bound, state, id, None, clock) {
            Ok(ready) => make(ready, backend, id).await,
            Err(failure) => EventKind::PrepareFailed(id, failure),
        },
    };
    let (answer, failure, bill) = match happened {
        EventKind::Succeeded(_, value, bill) => (Some(value.json().clone()), None, bill),
        EventKind::Failed(_, failure, bill) => (None, Some(failure), bill),
        EventKind::PrepareFailed(_, failure) | EventKind::Refused(_, failure) | EventKind::Rejected(_, failure) => {
            (None, Some(failure), Bill::default())
        }
        _ => (None, None, Bill::default()),
    };
    let report = bill.report.as_deref();
    Asked {
        step,
        attempt: id.number,
        recorded,
        backend: backend.map(|bound| (bound.reference.backend.clone(), bound.reference.model.clone())),
        answer,
        error: failure.map(|failure| ErrorRecord { message: failure.message, hint: failure.hint }),
        duration_us: clock.now_us().saturating_sub(began_us),
        cost_usd: bill.cost.or_else(|| backend.is_none().then_some(Usd::ZERO)),
        tokens: report.map_or((None, None), |report| (report.usage.input_tokens, report.usage.output_tokens)),
        bytes_sent: report.map_or(0, |report| report.bytes_sent),
    }
}

/// Makes one attempt outside of any run; its backend's limits hold all the same.
async fn make(
    ready: Ready<'_>,
    backend: Option<&Arc<crate::binding::BoundBackend>>,
    id: AttemptId,
) -> EventKind<LiveValue> {
    if let (Some(gate), Some(meter)) = (backend.and_then(|backend| backend.gate.as_ref()), &ready.meter) {
        match gate.admit(meter.ask).await {
            Ok(permit) => meter.permit(permit),
            Err(failure) => return EventKind::Rejected(id, failure),
        }
    }
    ready.execution.await
}

/// The scheduler on its way through a log.
struct Replay<'a> {
    bound: &'a BoundProgram,
    state: RunState<Program>,
    /// Events that are folded and not compared.
    shared: u64,
    number: u64,
    commands: Vec<Command>,
    prepares: BTreeSet<AttemptId>,
    admits: BTreeSet<AttemptId>,
    running: BTreeSet<AttemptId>,
    timers: BTreeSet<Timer>,
    cancelled: BTreeSet<AttemptId>,
    found: Option<(u64, Option<AttemptId>, String)>,
}

impl<'a> Replay<'a> {
    fn new(bound: &'a BoundProgram, state: RunState<Program>, shared: u64) -> Self {
        Self {
            bound,
            state,
            shared,
            number: 0,
            commands: Vec::new(),
            prepares: BTreeSet::new(),
            admits: BTreeSet::new(),
            running: BTreeSet::new(),
            timers: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            found: None,
        }
    }

    fn take(&mut self, event: Event<LiveValue>) {
        if self.found.is_none() && self.number >= self.shared {
            self.found = self.compare(&event.kind).map(|message| (self.number, subject(&event.kind), message));
        }
        self.number += 1;
        if matches!(event.kind, EventKind::Resumed) {
            self.prepares.clear();
            self.admits.clear();
            self.running.clear();
        }
        self.state.handle(self.bound.program(), event, &mut self.commands);
        for command in self.commands.drain(..) {
            match command {
                Command::Prepare(id) => _ = self.prepares.insert(id),
                Command::Admit(id) => _ = self.admits.insert(id),
                Command::StartAttempt(id) => _ = self.running.insert(id),
                Command::SetTimer { timer, .. } => _ = self.timers.insert(timer),
                Command::CancelAttempt(id) => {
                    self.prepares.remove(&id);
                    self.admits.remove(&id);
                    self.running.remove(&id);
                    self.cancelled.insert(id);
                }
                // Whether it asks is seen in its state.
                Command::AskHuman(_) | Command::Finish => {}
            }
        }
    }

    /// Compares how the run stands, once all events are taken, with what is said of it.
    fn end(&mut self, status: Status) {
        let is_over = !matches!(status, Status::Running | Status::Interrupted);
        if self.found.is_none() && is_over && self.state.status() != status {
            let message = format!("the log ends here, and the run is `{}`", status.as_str());
            self.found = Some((self.number, None, message));
        }
    }

    /// What is wrong with an event, given what the scheduler has asked for.
    fn compare(&mut self, kind: &EventKind<LiveValue>) -> Option<String> {
        let unasked = |what: &str, is_asked: bool| {
            (!is_asked).then(|| format!("the log has {what}, which the scheduler does not ask for now"))
        };
        match kind {
            EventKind::Prepared(id, estimate) => unasked("an attempt", self.prepares.remove(id)).or_else(|| {
                match attempt::render(self.bound, &self.state, *id) {
                    Ok(rendered) if rendered.hash() == estimate.request_hash => None,
                    Ok(_) => Some("the attempt would ask something else now".to_owned()),
                    Err(failure) => Some(format!("the attempt could not be prepared now: {}", failure.message)),
                }
            }),
            EventKind::PrepareFailed(id, recorded) => {
                unasked("an attempt that could not be prepared", self.prepares.remove(id)).or_else(|| {
                    match attempt::render(self.bound, &self.state, *id) {
                        Err(failure) if failure.message == recorded.message => None,
                        Err(failure) => Some(format!("the attempt fails otherwise now: {}", failure.message)),
                        Ok(_) => Some("the attempt could be prepared now".to_owned()),
                    }
                })
            }
            EventKind::Admitted(id) | EventKind::Refused(id, _) | EventKind::Rejected(id, _) => {
                unasked("an admission", self.admits.remove(id))
            }
            EventKind::Deferred { attempt, .. } => unasked("a deferral", self.admits.remove(attempt)),
            EventKind::Succeeded(id, ..) | EventKind::Failed(id, ..) => {
                unasked("an answer", self.running.remove(id) || self.cancelled.contains(id))
            }
            EventKind::Settled(id, _) => unasked("a bill", self.cancelled.contains(id)),
            EventKind::TimerFired(timer) => unasked("a timer", self.timers.remove(timer)),
            EventKind::Decided(step, _) => unasked("a decision", self.state.asked().any(|asked| asked == *step)),
            EventKind::Started => unasked("a second beginning", self.number == 0),
            EventKind::Cancelled | EventKind::Resumed | EventKind::Rebound(_) => None,
        }
    }

    fn difference(self) -> Option<Difference> {
        let (event, attempt, message) = self.found?;
        let order = self.bound.program().order(&self.state);
        let step = attempt.and_then(|attempt| order.iter().position(|step| *step == attempt.step));
        Some(Difference { event, step, attempt: attempt.map(|attempt| attempt.number), message })
    }
}
