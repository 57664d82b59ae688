//! The live driver: carries out the scheduler's commands on tokio and feeds back what happened. It decides nothing.
//!
//! Each event goes to the run's log before the scheduler sees it, and no attempt starts before everything that has led to
//! it is on disk.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use lumos_core::admission::End;
use lumos_core::program::{LiveValue, Program, ProgramNode};
use lumos_core::record::Status;
use lumos_core::scheduler::{AttemptId, Bill, Command, Event, EventKind, RunState, StepId, Timer};
use lumos_core::{Clock, Usd};
use tokio_util::sync::CancellationToken;

use crate::attempt::{self, Execution, Ready};
use crate::binding::{BoundBackend, BoundProgram};
use crate::clock::SystemClock;
use crate::event::{Audience, RunEvent, StepRef};
use crate::flight::{Attempt, InFlight};
use crate::journal::Journal;
use crate::store::StoreError;

/// Attempts that may end at once before other tasks have their turn and the run's cancellation is looked for.
const TURN_ATTEMPTS: u32 = 64;

/// Drives one run from its first event to its last.
///
/// A run whose attempts all end at once costs no more than its attempts: whatever waiting needs is made when an
/// attempt does not end at once.
pub(crate) struct Driver<'a> {
    bound: &'a BoundProgram,
    clock: &'a SystemClock,
    audience: Option<&'a Audience>,
    /// Where the run's time begins on the clock; before the clock's own beginning for a run that another driver began.
    origin_us: u64,
    state: RunState<Program>,
    ready: Vec<Attempt<'a>>,
    in_flight: InFlight<'a>,
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    commands: VecDeque<Command>,
    fresh: Vec<Command>,
    told_skips: usize,
    /// The run's log; `None` when none is kept.
    journal: Option<Box<Journal>>,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        bound: &'a BoundProgram,
        clock: &'a SystemClock,
        audience: Option<&'a Audience>,
        state: RunState<Program>,
        journal: Option<Box<Journal>>,
    ) -> Self {
        Self {
            bound,
            clock,
            audience,
            origin_us: clock.now_us().wrapping_sub(state.now_us()),
            told_skips: state.steps().len(),
            state,
            ready: Vec::new(),
            in_flight: InFlight::default(),
            timers: BinaryHeap::new(),
            commands: VecDeque::new(),
            fresh: Vec::new(),
            journal,
        }
    }

    /// The state that the run is in, and its log.
    pub(crate) fn into_parts(self) -> (RunState<Program>, Option<Box<Journal>>) {
        (self.state, self.journal)
    }

    /// Takes the run up: `timers` are those that an earlier driver had set, `first` is what happens first; the last of it
    /// starts the run or resumes it.
    pub(crate) fn begin(
        &mut self,
        timers: impl IntoIterator<Item = (u64, Timer)>,
        first: impl IntoIterator<Item = EventKind<LiveValue>>,
    ) {
        self.timers.extend(timers.into_iter().map(Reverse));
        for kind in first {
            // A log that ends with the run's end needs nothing more.
            if self.state.outcome().is_some() {
                return;
            }
            // What the events before led to is asked for again when the run is resumed; its timers are not.
            for command in std::mem::take(&mut self.commands) {
                if let Command::SetTimer { timer, at_us } = command {
                    self.timers.push(Reverse((at_us, timer)));
                }
            }
            self.handle(kind);
        }
    }

    /// Runs to the end, or until only people can go on; a cancellation is an event like any other.
    ///
    /// # Errors
    /// When the run's log cannot be written: then nothing more is started.
    pub(crate) async fn drive(&mut self, cancel: &CancellationToken) -> Result<(), StoreError> {
        loop {
            self.carry_out(cancel).await?;
            if self.state.outcome().is_some() || self.state.is_paused() {
                return Ok(());
            }
            self.wait(cancel).await;
        }
    }

    /// Carries out commands until none is left or the run has ended; attempts that end at once never leave this loop.
    async fn carry_out(&mut self, cancel: &CancellationToken) -> Result<(), StoreError> {
        loop {
            self.carry_out_commands(cancel).await?;
            if self.journal.as_ref().is_none_or(|journal| journal.starting.is_empty()) {
                return Ok(());
            }
            self.start_together().await?;
        }
    }

    async fn carry_out_commands(&mut self, cancel: &CancellationToken) -> Result<(), StoreError> {
        let mut attempts = 0u32;
        while let Some(command) = self.commands.pop_front() {
            if self.state.outcome().is_some() && !matches!(command, Command::CancelAttempt(_)) {
                continue;
            }
            match command {
                Command::Prepare(id) => self.prepare(id),
                Command::Admit(id) => self.admit(id),
                Command::StartAttempt(id) => {
                    match &mut self.journal {
                        None => self.start(id).await,
                        Some(journal) => {
                            journal.starting.push(id);
                            if journal.starting.len() == TURN_ATTEMPTS as usize {
                                self.start_together().await?;
                            }
                        }
                    }
                    attempts += 1;
                    if attempts.is_multiple_of(TURN_ATTEMPTS) {
                        tokio::task::yield_now().await;
                        if cancel.is_cancelled() {
                            self.handle(EventKind::Cancelled);
                        }
                    }
                }
                Command::SetTimer { timer, at_us } => self.timers.push(Reverse((at_us, timer))),
                Command::CancelAttempt(id) => self.cancel(id),
                // Without an answer the run pauses once nothing else goes on.
                Command::AskHuman(step) => {
                    let recall = self.journal.as_ref().and_then(|journal| journal.recall.as_ref());
                    let decided = recall.and_then(|recall| recall.decision(self.bound.program(), &self.state, step));
                    if let Some(decision) = decided {
                        self.handle(EventKind::Decided(step, decision));
                    }
                }
                Command::Finish => {}
            }
        }
        Ok(())
    }

    /// Starts what waits for the log, once everything that has led to it is on disk.
    async fn start_together(&mut self) -> Result<(), StoreError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let starting = std::mem::take(&mut journal.starting);
        if self.state.outcome().is_none() {
            journal.commit().await?;
        }
        for id in starting {
            if self.state.outcome().is_none() {
                self.start(id).await;
            }
        }
        Ok(())
    }

    /// Waits for the next thing to happen: an attempt's end, a timer or a cancellation.
    async fn wait(&mut self, cancel: &CancellationToken) {
        // Runs wait long and in great numbers: buffers that are empty are given back, and only timers cost a sleep.
        self.commands.shrink_to_fit();
        self.fresh.shrink_to_fit();
        self.ready.shrink_to_fit();
        if let Some(journal) = &mut self.journal {
            // Nothing waits for it, but what has been paid for is not to be lost.
            journal.send();
        }
        while self.timers.peek().is_some_and(|Reverse((_, timer))| !self.state.awaits(*timer)) {
            self.timers.pop();
        }
        let instant = |at_us: u64| self.clock.instant(self.origin_us.wrapping_add(at_us.max(self.state.now_us())));
        let next_timer = self.timers.peek().map(|Reverse((at_us, _))| instant(*at_us));
        let sleep: Option<BoxFuture<'static, ()>> = next_timer.map(|instant| tokio::time::sleep_until(instant).boxed());
        let sleep = OptionFuture::from(sleep);
        let kind = tokio::select! {
            biased;
            () = cancel.cancelled() => EventKind::Cancelled,
            kind = self.in_flight.next() => kind,
            Some(()) = sleep => {
                let Some(Reverse((_, timer))) = self.timers.pop() else { return };
                EventKind::TimerFired(timer)
            }
        };
        if let EventKind::Rejected(id, _) = &kind {
            self.forget(*id);
        }
        self.handle(kind);
    }

    fn prepare(&mut self, id: AttemptId) {
        match attempt::prepare(self.bound, &self.state, id, self.audience, *self.clock) {
            Ok(Ready { execution, estimate, meter }) => {
                let (execution, meter) = match self.recalled(id, estimate.request_hash) {
                    Some(answer) => (std::future::ready(answer).boxed(), None),
                    None => (execution, meter),
                };
                self.ready.push(Attempt { id, future: Some(execution), meter });
                self.handle_at(self.now_us(), EventKind::Prepared(id, estimate), Turn::Next);
            }
            Err(failure) => self.handle(EventKind::PrepareFailed(id, failure)),
        }
    }

    /// The answer that an earlier run gave to the same request.
    fn recalled(&mut self, id: AttemptId, request_hash: u64) -> Option<EventKind<LiveValue>> {
        let recall = self.journal.as_mut()?.recall.as_mut()?;
        recall.answer(self.bound.program(), &self.state, id, request_hash)
    }

    fn admit(&mut self, id: AttemptId) {
        let backend = self.backend(id.step, self.state.candidate(id.step));
        let node = self.bound.program().node(self.state.graph_of(id.step), self.state.step(id.step).node);
        let forbidden = self.bound.forbidden(node, backend.map(|(_, backend)| &**backend));
        if let Some(failure) = forbidden {
            self.forget(id);
            return self.handle_at(self.state.now_us(), EventKind::Refused(id, failure), Turn::Next);
        }
        if let Some(gate) = backend.and_then(|(_, backend)| backend.gate.as_ref()) {
            let ready = self.ready.iter().find(|attempt| attempt.id == id);
            let Some(meter) = ready.and_then(|attempt| attempt.meter.clone()) else {
                // Its answer is there already.
                return self.handle_at(self.state.now_us(), EventKind::Admitted(id), Turn::Next);
            };
            let future: Execution<'a> = Box::pin(async move {
                if let Some((cache, key)) = &meter.cached
                    && cache.get(*key).await.is_some()
                {
                    return EventKind::Admitted(id);
                }
                match gate.admit(meter.ask).await {
                    Ok(permit) => {
                        meter.permit(permit);
                        EventKind::Admitted(id)
                    }
                    Err(failure) => EventKind::Rejected(id, failure),
                }
            });
            return self.in_flight.push(Attempt { id, future: Some(future), meter: None });
        }
        // Nothing has happened since the event that led here: no need to look at the clock again.
        self.handle_at(self.state.now_us(), EventKind::Admitted(id), Turn::Next);
    }

    /// The node of a step and one of its backends.
    fn backend(&self, step: StepId, candidate: u32) -> Option<(&'a ProgramNode, &'a Arc<BoundBackend>)> {
        let node = self.bound.program().node(self.state.graph_of(step), self.state.step(step).node);
        Some((node, self.bound.backend(node.position, candidate)?))
    }

    async fn start(&mut self, id: AttemptId) {
        let Some(position) = self.ready.iter().position(|attempt| attempt.id == id) else { return };
        let mut attempt = self.ready.swap_remove(position);
        if self.audience.is_some() {
            self.tell_start(id);
        }
        // Most agents that ask no model end at once: no need to park them.
        match futures_util::poll!(&mut attempt) {
            Poll::Ready(kind) => self.handle(kind),
            Poll::Pending => self.in_flight.push(attempt),
        }
    }

    fn cancel(&mut self, id: AttemptId) {
        // What waits for admission is in flight as well; it has no meter of its own.
        let in_flight = self.in_flight.cancel(id);
        let bill = if let Some(attempt) = self.forget(id) {
            // Nothing happens before an attempt is first polled.
            attempt.meter.map(|meter| {
                meter.withdraw();
                Bill { cost: Some(Usd::ZERO), report: None }
            })
        } else {
            in_flight.and_then(|meter| {
                let started = self.state.attempts().iter().rev().find(|trace| trace.id == id)?;
                let (_, backend) = self.backend(id.step, started.candidate)?;
                let bill = meter.bill(backend, started.end_us.saturating_sub(started.start_us), self.clock.now_us());
                let is_timeout = started.status == Status::Failed;
                let end = if is_timeout { End::Failed { retry_after_us: None } } else { End::Cancelled };
                meter.settle(&bill, end);
                Some(bill)
            })
        };
        if let Some(bill) = bill {
            self.handle(EventKind::Settled(id, bill));
        }
    }

    /// Takes an attempt that has not been started out of those that are ready.
    fn forget(&mut self, id: AttemptId) -> Option<Attempt<'a>> {
        let position = self.ready.iter().position(|attempt| attempt.id == id)?;
        Some(self.ready.swap_remove(position))
    }

    fn now_us(&self) -> u64 {
        self.clock.now_us().wrapping_sub(self.origin_us)
    }

    /// Feeds an event to the scheduler, to be followed up after the commands that wait already.
    fn handle(&mut self, kind: EventKind<LiveValue>) {
        self.handle_at(self.now_us(), kind, Turn::Last);
    }

    /// Feeds an event to the scheduler, and tells the sinks.
    fn handle_at(&mut self, at_us: u64, kind: EventKind<LiveValue>, turn: Turn) {
        if self.audience.is_some() {
            self.tell_end(&kind, at_us);
        }
        let event = Event { at_us, kind };
        if let Some(journal) = &mut self.journal {
            journal.append(event.clone());
        }
        self.state.handle(self.bound.program(), event, &mut self.fresh);
        if let Some(journal) = &mut self.journal {
            for command in &self.fresh {
                if let Command::AskHuman(step) = command {
                    journal.ask(*step);
                }
            }
        }
        match turn {
            Turn::Last => self.commands.extend(self.fresh.drain(..)),
            Turn::Next => {
                for command in self.fresh.drain(..).rev() {
                    self.commands.push_front(command);
                }
            }
        }
        if self.audience.is_some() {
            self.tell_skips(at_us);
        }
    }

    fn step_ref(&self, id: StepId) -> StepRef {
        let step = self.state.step(id);
        let program = self.bound.program();
        let name = |id: StepId| program.node(self.state.graph_of(id), self.state.step(id).node).name.clone();
        let outer = |id: StepId| self.state.scope_parent(self.state.step(id).scope);
        let mut path: Vec<String> = std::iter::successors(outer(id), |id| outer(*id)).map(name).collect();
        path.reverse();
        StepRef { step: id.0, node: name(id), path, index: step.index, iteration: step.iteration }
    }

    fn tell(&self, event: &RunEvent) {
        if let Some(audience) = self.audience {
            audience.tell(event);
        }
    }

    /// Whether somebody wants events while the run goes on.
    fn is_told(&self) -> bool {
        self.audience.is_some_and(Audience::is_live)
    }

    fn tell_start(&self, id: AttemptId) {
        if !self.is_told() {
            return;
        }
        let backend = self.backend(id.step, self.state.candidate(id.step)).map(|(_, backend)| backend);
        self.tell(&RunEvent::AttemptStarted {
            step: self.step_ref(id.step),
            attempt: id.number,
            backend: backend.map(|bound| bound.reference.backend.clone()),
            model: backend.map(|bound| bound.reference.model.clone()),
            at_us: self.state.now_us(),
        });
    }

    fn tell_end(&self, kind: &EventKind<LiveValue>, at_us: u64) {
        if !self.is_told() {
            return;
        }
        let (id, status, error, bill) = match kind {
            EventKind::Succeeded(id, _, bill) => (id, Status::Succeeded, None, bill),
            EventKind::Failed(id, failure, bill) => (id, Status::Failed, Some(failure.message.clone()), bill),
            _ => return,
        };
        self.tell(&RunEvent::AttemptEnded {
            step: self.step_ref(id.step),
            attempt: id.number,
            status,
            error,
            output_tokens: bill.report.as_deref().and_then(|report| report.usage.output_tokens),
            at_us,
        });
    }

    fn tell_skips(&mut self, at_us: u64) {
        if !self.is_told() {
            return;
        }
        let known = self.state.steps().len();
        for index in std::mem::replace(&mut self.told_skips, known)..known {
            let id = StepId(index as u32);
            if self.state.step(id).status == Status::Skipped {
                self.tell(&RunEvent::Skipped { step: self.step_ref(id), at_us });
            }
        }
    }
}

/// When the commands that an event leads to are carried out.
#[derive(Clone, Copy)]
enum Turn {
    /// Before all others: an attempt's way to its start is not interrupted, so few requests are held ready at a time.
    Next,
    /// After all others: what is ready starts before what comes after it.
    Last,
}
