//! The live driver: carries out the scheduler's commands on tokio and feeds back what happened. It decides nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::{FuturesUnordered, StreamExt};
use lumos_core::Clock;
use lumos_core::program::{LiveValue, Program};
use lumos_core::record::Status;
use lumos_core::scheduler::{AttemptId, Command, Event, EventKind, RunState, StepId, Timer};
use tokio_util::sync::CancellationToken;

use crate::attempt::{self, Deltas, Ready};
use crate::binding::BoundProgram;
use crate::clock::SystemClock;
use crate::event::{RunEvent, SharedSink, StepRef};

type Happening = (AttemptId, EventKind<LiveValue>);
type InFlight = Pin<Box<Abortable<Pin<Box<dyn Future<Output = Happening> + Send>>>>>;

/// Drives one run from its first event to its last.
pub(crate) struct Driver<'a> {
    bound: &'a BoundProgram,
    clock: &'a SystemClock,
    sinks: &'a Arc<[SharedSink]>,
    run_id: &'a str,
    origin_us: u64,
    state: RunState<Program>,
    ready: Vec<Ready>,
    in_flight: FuturesUnordered<InFlight>,
    handles: Vec<(AttemptId, AbortHandle)>,
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    commands: Vec<Command>,
    told_skips: usize,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        bound: &'a BoundProgram,
        clock: &'a SystemClock,
        sinks: &'a Arc<[SharedSink]>,
        run_id: &'a str,
        state: RunState<Program>,
    ) -> Self {
        Self {
            bound,
            clock,
            sinks,
            run_id,
            origin_us: clock.now_us(),
            state,
            ready: Vec::new(),
            in_flight: FuturesUnordered::new(),
            handles: Vec::new(),
            timers: BinaryHeap::new(),
            commands: Vec::new(),
            told_skips: 0,
        }
    }

    /// Runs to the end; a cancellation is an event like any other.
    pub(crate) async fn drive(mut self, cancel: &CancellationToken) -> RunState<Program> {
        self.handle(EventKind::Started);
        loop {
            self.carry_out().await;
            if self.state.outcome().is_some() {
                return self.state;
            }
            let next_timer = self.timers.peek().map(|Reverse((at_us, _))| *at_us);
            let sleep = async {
                match next_timer {
                    Some(at_us) => {
                        tokio::time::sleep_until(self.clock.instant(self.origin_us.saturating_add(at_us))).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => self.handle(EventKind::Cancelled),
                Some(ended) = self.in_flight.next() => self.attempt_ended(ended),
                () = sleep => {
                    if let Some(Reverse((_, timer))) = self.timers.pop() {
                        self.handle(EventKind::TimerFired(timer));
                    }
                }
            }
        }
    }

    fn attempt_ended(&mut self, ended: Result<Happening, Aborted>) {
        if let Ok((id, kind)) = ended {
            self.handles.retain(|(other, _)| *other != id);
            self.handle(kind);
        }
    }

    /// Feeds an event to the scheduler, and tells the sinks.
    fn handle(&mut self, kind: EventKind<LiveValue>) {
        let at_us = self.clock.now_us().saturating_sub(self.origin_us);
        if !self.sinks.is_empty() {
            self.tell_end(&kind, at_us);
        }
        self.state.handle(self.bound.program(), Event { at_us, kind }, &mut self.commands);
        if !self.sinks.is_empty() {
            self.tell_skips(at_us);
        }
    }

    /// Carries out commands until none is left; attempts that end at once never leave this loop.
    async fn carry_out(&mut self) {
        let mut next = 0;
        while let Some(command) = self.commands.get(next).copied() {
            next += 1;
            match command {
                Command::Prepare(id) => match attempt::prepare(self.bound, &self.state, id) {
                    Ok((ready, estimate)) => {
                        self.ready.push(ready);
                        self.handle(EventKind::Prepared(id, estimate));
                    }
                    Err(failure) => self.handle(EventKind::PrepareFailed(id, failure)),
                },
                Command::Admit(id) => self.handle(EventKind::Admitted(id)),
                Command::StartAttempt(id) => self.start(id).await,
                Command::SetTimer { timer, at_us } => self.timers.push(Reverse((at_us, timer))),
                Command::CancelAttempt(id) => {
                    for (_, handle) in self.handles.extract_if(.., |(other, _)| *other == id) {
                        handle.abort();
                    }
                }
                // Dropping the driver drops whatever is still in flight.
                Command::Finish => break,
            }
        }
        self.commands.clear();
    }

    async fn start(&mut self, id: AttemptId) {
        let Some(position) = self.ready.iter().position(|ready| ready.id == id) else { return };
        let ready = self.ready.swap_remove(position);
        let deltas = (!self.sinks.is_empty()).then(|| {
            self.tell_start(id);
            Deltas {
                run_id: self.run_id.into(),
                step: id.step.0,
                node: self.step_ref(id.step).node,
                sinks: self.sinks.clone(),
            }
        });
        let mut attempt: Pin<Box<dyn Future<Output = Happening> + Send>> = Box::pin(attempt::execute(ready, deltas));
        // Most agents that ask no model end at once: no need to park them.
        match futures_util::poll!(attempt.as_mut()) {
            std::task::Poll::Ready((_, kind)) => self.handle(kind),
            std::task::Poll::Pending => {
                let (handle, registration) = AbortHandle::new_pair();
                self.handles.push((id, handle));
                self.in_flight.push(Box::pin(Abortable::new(attempt, registration)));
            }
        }
    }

    fn tell(&self, event: &RunEvent) {
        for sink in self.sinks.iter() {
            sink.event(self.run_id, event);
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

    fn tell_start(&self, id: AttemptId) {
        let node = self.bound.program().node(self.state.graph_of(id.step), self.state.step(id.step).node);
        let backend = self.bound.backend(node.position, self.state.candidate(id.step));
        self.tell(&RunEvent::AttemptStarted {
            step: self.step_ref(id.step),
            attempt: id.number,
            backend: backend.map(|bound| bound.reference.backend.clone()),
            model: backend.map(|bound| bound.reference.model.clone()),
            at_us: self.state.now_us(),
        });
    }

    fn tell_end(&self, kind: &EventKind<LiveValue>, at_us: u64) {
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
        let known = self.state.steps().len();
        for index in std::mem::replace(&mut self.told_skips, known)..known {
            let id = StepId(index as u32);
            if self.state.step(id).status == Status::Skipped {
                self.tell(&RunEvent::Skipped { step: self.step_ref(id), at_us });
            }
        }
    }
}
