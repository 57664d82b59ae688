//! The engine: starts runs, resumes them, and lets them be cancelled.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use indexmap::IndexMap;
use lumos_core::graph::GraphId;
use lumos_core::load::Bundle;
use lumos_core::program::{BackendRef, Header, LiveValue, Outline, Program, Shared};
use lumos_core::record::{RunRecord, Status};
use lumos_core::scheduler::{Decision, EventKind, Outcome, RunState, StepId, Timer};
use lumos_core::spec::Durability;
use lumos_core::{BackendError, Clock, TraceContext};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::binding::BoundProgram;
use crate::clock::{Stamp, SystemClock, UnixClock};
use crate::driver::Driver;
use crate::event::{Audience, RunEvent, SharedSink};
use crate::fork::{Fork, Forked};
use crate::history::{self, Earlier, History};
use crate::journal::Journal;
use crate::recall::Recall;
use crate::replaced;
use crate::store::{self, Begin, Blob, Digest, Kept, RecordStore, Rows, StoreError, first_digest};
use crate::trace::RunTrace;

/// What a run is started with.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Values of the workflow's inputs; what is missing takes its default.
    pub inputs: IndexMap<String, Value>,
    /// Seed of everything random.
    pub seed: u64,
    /// The span of the caller that the run belongs to.
    pub trace_parent: Option<Box<TraceContext>>,
}

/// Why a run could not be started or its record not be kept.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A backend could not be made ready.
    #[error("backend `{backend}`: {error}")]
    Backend {
        /// Its name in the deployment.
        backend: String,
        /// What is wrong.
        error: BackendError,
    },
    /// A run's log could not be written. The run was stopped, or had ended; what had happened is here.
    #[error("run {} was not kept: {error}", record.run_id)]
    Store {
        /// What happened in the run.
        record: Box<RunRecord>,
        /// What is wrong with the store.
        error: StoreError,
    },
    /// A run could not be taken up.
    #[error(transparent)]
    Unreadable(#[from] StoreError),
    /// The engine keeps no runs.
    #[error("this engine keeps no runs")]
    NoStore,
}

/// A run that has ended, or waits for a person. Its record is made when it is asked for.
pub struct FinishedRun {
    bound: Arc<BoundProgram>,
    stamp: Stamp,
    inputs: LiveValue,
    /// `None` for a run that this process has begun, and in which nobody is asked.
    past: Option<Box<Past>>,
    state: RunState<Program>,
}

/// What most runs don't have: a past before this process took them up, a run that they were forked from, people to ask.
#[derive(Default)]
struct Past {
    earlier: Earlier,
    forked_from: Option<String>,
    continues: Option<String>,
    /// When people were asked about steps, in microseconds since the Unix epoch.
    asked: BTreeMap<StepId, u64>,
}

impl Past {
    /// Of a run that is taken up now.
    fn of(history: &History) -> Self {
        Self {
            earlier: history.earlier.clone(),
            forked_from: history.forked_from.clone(),
            continues: history.continues.clone(),
            asked: history.folded.asked.clone(),
        }
    }
}

impl FinishedRun {
    /// How it ended.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Its output; `null` unless it succeeded.
    pub fn output(&self) -> &Value {
        match self.state.outcome() {
            Some(Outcome::Succeeded(value)) => value.json(),
            _ => &Value::Null,
        }
    }

    /// Everything that happened.
    pub fn record(&self) -> RunRecord {
        let header = Header {
            run_id: self.stamp.run_id(),
            deployment: self.bound.deployment().to_owned(),
            started_at: self.stamp.started_at(),
            forked_from: self.past.as_ref().and_then(|past| past.forked_from.clone()),
            continues: self.past.as_ref().and_then(|past| past.continues.clone()),
            shared: self.shared(),
            due: history::due(self.bound.program(), &self.state, |step| self.asked_us(step)),
            inputs: history::inputs(&self.inputs),
        };
        self.bound.program().record(&self.state, header, self.backends())
    }

    /// Everything that happened beside contents.
    fn outline(&self) -> Outline<'_> {
        self.bound.program().outline(&self.state, self.shared(), self.backends())
    }

    /// How much of it is the run's that it was forked from.
    fn shared(&self) -> Shared {
        self.past.as_ref().map(|past| past.earlier.shared()).unwrap_or_default()
    }

    /// When a person was asked about a step, in microseconds since the Unix epoch; `None` when that is not kept.
    fn asked_us(&self, step: StepId) -> Option<u64> {
        self.past.as_ref()?.asked.get(&step).copied()
    }

    fn backends<'r>(&'r self) -> impl Fn(usize, usize, u32) -> Option<&'r BackendRef> {
        |attempt, position, candidate| {
            let now = || self.bound.backend(position, candidate).map(|bound| &bound.reference);
            match &self.past {
                Some(past) => past.earlier.backend(attempt, (position, candidate), now),
                None => now(),
            }
        }
    }
}

/// Executes workflows. Cheap to clone; clones share clock, sinks and store.
#[derive(Clone)]
pub struct Engine {
    clock: SystemClock,
    sinks: Arc<[SharedSink]>,
    store: Option<RecordStore>,
}

/// Puts an [`Engine`] together.
#[derive(Default)]
pub struct EngineBuilder {
    clock: SystemClock,
    sinks: Vec<SharedSink>,
    store: Option<RecordStore>,
}

impl EngineBuilder {
    /// Adds a receiver of events.
    #[must_use]
    pub fn sink(mut self, sink: SharedSink) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Keeps records in `store`; without one they are only returned.
    #[must_use]
    pub fn store(mut self, store: RecordStore) -> Self {
        self.store = Some(store);
        self
    }

    /// Measures with `clock`, the one that backends were given.
    #[must_use]
    pub fn clock(mut self, clock: SystemClock) -> Self {
        self.clock = clock;
        self
    }

    /// The engine.
    pub fn build(self) -> Engine {
        Engine { clock: self.clock, sinks: self.sinks.into(), store: self.store }
    }
}

impl Engine {
    /// An engine without sinks or store.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The clock by which it measures.
    pub fn clock(&self) -> &SystemClock {
        &self.clock
    }

    /// Loads what the program's backends need, all at once; their time belongs to no step.
    ///
    /// # Errors
    /// The first backend, in the order of the nodes, that cannot be made ready.
    pub async fn warm_up(&self, bound: &BoundProgram) -> Result<(), EngineError> {
        let backends = bound.backends();
        let results = futures_util::future::join_all(backends.iter().map(|bound| bound.backend.warm_up())).await;
        for (bound, result) in backends.iter().zip(results) {
            result.map_err(|error| EngineError::Backend { backend: bound.reference.backend.clone(), error })?;
        }
        Ok(())
    }

    /// Runs a workflow to its end, or until it waits for a person; `cancel` ends it early, and what finished is kept.
    ///
    /// Dropping the future leaves the run interrupted: it can be resumed.
    ///
    /// On a runtime with several threads, the only run of a store waits for the disk by [`tokio::task::block_in_place`]:
    /// other tasks go on, what the same task does beside the run does not. A `LocalSet` of such a runtime is no place for
    /// a run that is kept.
    ///
    /// # Errors
    /// [`EngineError::Store`] when its log could not be kept; what had happened until then is in the record.
    pub fn run<'a>(
        &'a self,
        bound: &'a Arc<BoundProgram>,
        request: RunRequest,
        cancel: &'a CancellationToken,
    ) -> impl Future<Output = Result<FinishedRun, EngineError>> + Send + use<'a> {
        // Outside the future, because thousands of them may wait: it holds no more than it must.
        let inputs = complete(bound.program(), request.inputs);
        let (seed, trace_parent) = (request.seed, request.trace_parent);
        async move {
            // As in `drive`, but for the box: thousands of runs would each leave a hole of its size in memory.
            let stamp = Stamp::now();
            let begun = self.begin(bound, inputs, seed, (None, trace_parent.as_deref()), stamp);
            let audience = self.audience(bound, stamp, trace_parent);
            let (mut driver, rest) = self.set_out(bound, audience.as_deref(), begun);
            let driven = driver.drive(cancel).await;
            Box::pin(end(rest.finished(bound, driver), driven, audience)).await
        }
    }

    /// Goes on with a run that was interrupted or is paused, in the store that the engine keeps, with what people have
    /// decided about its steps; where nobody has in time, the defaults hold, whatever is decided now. `bound` must be made by the blueprint of its
    /// [`crate::History`].
    ///
    /// # Errors
    /// When the run has ended, another process carries it out, or its log cannot be read or written.
    pub async fn resume(
        &self,
        bound: &Arc<BoundProgram>,
        run_id: &str,
        decisions: Vec<(StepId, Decision<LiveValue>)>,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, EngineError> {
        let store = self.store.as_ref().ok_or(EngineError::NoStore)?;
        let header = store.take(run_id)?;
        let abandon = |error| {
            store.abandon(header.ulid());
            EngineError::from(error)
        };
        replaced::refuse(store, &header).map_err(abandon)?;
        let history = store.read(|reader| History::read(reader, &header)).map_err(abandon)?;
        let recall = replaced::taken_over(store, bound, &header).await.map_err(abandon)?;
        // What a person decides too late changes nothing. What was in flight is lost before anything else happens.
        let overdue = history.overdue().into_iter().map(|step| EventKind::TimerFired(Timer::Approval(step)));
        let decided = decisions.into_iter().map(|(step, decision)| EventKind::Decided(step, decision));
        let mut first: Vec<_> = overdue.chain(decided).collect();
        if !first.is_empty() {
            first.insert(0, EventKind::Resumed);
        }
        // Whoever began it may have come no further.
        first.push(if history.folded.events == 0 { EventKind::Started } else { EventKind::Resumed });
        let trace_parent = header.trace_parent.clone();
        let (mut begun, log) = Begun::of(history, Stamp::of(header.ulid(), &header.started_at), first);
        let mut journal = Journal::resume(store.clone(), header.ulid(), log, bound.durability());
        journal.recall = recall;
        begun.journal = Some(Box::new(journal));
        self.drive(bound, Box::new(begun), trace_parent, cancel).await
    }

    /// Starts a run that shares the beginning of another's log. `bound` must be made by the blueprint of that run's
    /// [`crate::History`], save for the deployment.
    ///
    /// # Errors
    /// When there is no such run, or its log cannot be read or written.
    pub async fn fork(
        &self,
        bound: &Arc<BoundProgram>,
        fork: &Fork,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, EngineError> {
        let store = self.store.as_ref().ok_or(EngineError::NoStore)?;
        let Forked { parent, events, mut history, first } = store.read(|reader| fork.read(reader))?;
        // The attempts of the log that is shared were made by the blueprint of the other run.
        let mut earlier = history.earlier.clone();
        let state = &history.folded.state;
        let shared = Shared { attempts: state.attempts().len(), until_us: state.now_us() };
        earlier.until(shared, history.blueprint.backends.clone());
        // People are asked anew.
        let now_us = UnixClock.now_us();
        history.folded.asked = state.asked().map(|step| (step, now_us)).collect();
        (history.earlier, history.forked_from, history.continues) = (earlier, Some(parent.run_id.clone()), None);
        let (mut begun, _) = Begun::of(history, Stamp::now(), first);
        let parent = Some((&parent, events));
        begun.journal = self
            .journal(bound)
            .map(|store| Box::new(begun.new_journal(store, bound, parent, fork.trace_parent.as_deref())));
        self.drive(bound, Box::new(begun), fork.trace_parent.clone(), cancel).await
    }

    /// Goes on with a run whose workflow has changed, as a new run: steps whose definition and request are what they were
    /// get the answers that they had, the others are made anew. The old run ends as cancelled.
    ///
    /// `bound` is bound as the files, here by value in `bundle`, say now.
    ///
    /// # Errors
    /// As for [`Self::resume`].
    pub async fn resume_changed(
        &self,
        (bound, bundle): (&Arc<BoundProgram>, &Bundle),
        run_id: &str,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, EngineError> {
        let store = self.store.as_ref().ok_or(EngineError::NoStore)?;
        let header = store.take(run_id)?;
        let abandon = |error: StoreError| {
            store.abandon(header.ulid());
            EngineError::from(error)
        };
        replaced::refuse(store, &header).map_err(abandon)?;
        let (recall, mut replaced) =
            store.read(|reader| replaced::known(reader, header.clone(), (bundle, bound.program()))).map_err(abandon)?;
        let (_, history) = replaced.remove(0);
        let given = history::inputs(&history.inputs);
        let inputs = complete(bound.program(), given);
        let trace_parent = header.trace_parent.clone();
        let of = (Some((&header, 0)), trace_parent.as_deref());
        let mut begun = self.begin(bound, inputs, header.seed, of, Stamp::now());
        begun.past.get_or_insert_default().continues = Some(header.run_id.clone());
        if let Some(journal) = &mut begun.journal {
            journal.recall = Some(recall);
            // The new run is there before the old one ends, so that at any moment one of them can be gone on with.
            journal.commit().await?;
        }
        replaced::cancel(store, &header, history).await?;
        replaced::end(store, replaced).await?;
        self.drive(bound, Box::new(begun), trace_parent, cancel).await
    }

    /// Runs a workflow once more with the inputs and the seed of a run, by a program whose nodes are bound otherwise: what
    /// is asked of the backends that were asked then gets the answers of that run's log, at no cost; the rest is asked.
    /// Nodes and the judges of their answers are bound otherwise together.
    ///
    /// # Errors
    /// When there is no such run, or a log cannot be read or written.
    pub async fn rerun(
        &self,
        bound: &Arc<BoundProgram>,
        run_id: &str,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, EngineError> {
        let store = self.store.as_ref().ok_or(EngineError::NoStore)?;
        let (recall, header, inputs) = store.read(|reader| {
            let header = reader.find(run_id)?;
            let history = History::read(reader, &header)?;
            let bundle = reader.bundle(&header, bound.definition())?;
            let backends = &history.blueprint.backends;
            let is_same = |position: usize| {
                let now = bound.binding(position).backends.iter().map(|bound| &bound.reference);
                backends.get(position).is_some_and(|then| then.iter().eq(now))
            };
            let meant = |position: usize| is_same(position) && judged(bound.program(), position).is_none_or(is_same);
            let recall = Recall::read(reader, &header, &history, (&bundle, bound.program()), &meant)?;
            Ok((recall, header, history.inputs))
        })?;
        let mut begun = self.begin(bound, inputs, header.seed, (None, None), Stamp::now());
        if let Some(journal) = &mut begun.journal {
            journal.recall = Some(recall);
        }
        self.drive(bound, Box::new(begun), None, cancel).await
    }

    /// A new run.
    fn begin(
        &self,
        bound: &BoundProgram,
        inputs: LiveValue,
        seed: u64,
        (parent, trace_parent): (Option<(&store::Header, u64)>, Option<&TraceContext>),
        stamp: Stamp,
    ) -> Begun {
        let state = RunState::new(bound.program(), inputs.clone(), seed);
        let first = vec![EventKind::Started];
        let mut begun = Begun { stamp, past: None, timers: Vec::new(), inputs, state, first, journal: None };
        begun.journal =
            self.journal(bound).map(|store| Box::new(begun.new_journal(store, bound, parent, trace_parent)));
        begun
    }

    /// Where the runs of a program are kept.
    fn journal(&self, bound: &BoundProgram) -> Option<&RecordStore> {
        self.store.as_ref().filter(|_| bound.durability() != Durability::Off)
    }

    async fn drive(
        &self,
        bound: &Arc<BoundProgram>,
        begun: Box<Begun>,
        trace_parent: Option<Box<TraceContext>>,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, EngineError> {
        let audience = self.audience(bound, begun.stamp, trace_parent);
        let (mut driver, rest) = self.set_out(bound, audience.as_deref(), *begun);
        let driven = driver.drive(cancel).await;
        // Boxed, so that a run that goes on holds no room for what comes after it.
        Box::pin(end(rest.finished(bound, driver), driven, audience)).await
    }

    /// Who hears of a run; they are told that it begins.
    fn audience(
        &self,
        bound: &BoundProgram,
        stamp: Stamp,
        trace_parent: Option<Box<TraceContext>>,
    ) -> Option<Box<Audience>> {
        let audience = Audience::new(&self.sinks, stamp.id().0, || stamp.run_id(), trace_parent);
        if let Some(audience) = audience.as_ref().filter(|audience| audience.is_live()) {
            let program = bound.program();
            let graph = program.plan().graph(GraphId::ROOT);
            audience.tell(&RunEvent::RunStarted {
                run_id: stamp.run_id(),
                workflow: program.name().to_owned(),
                nodes: graph.topological().iter().map(|id| graph.node(*id).name.to_string()).collect(),
            });
        }
        audience
    }

    /// The driver of a run, with what it needs to know of itself once it has ended.
    fn set_out<'a>(
        &'a self,
        bound: &'a BoundProgram,
        audience: Option<&'a Audience>,
        begun: Begun,
    ) -> (Driver<'a>, Rest) {
        let Begun { stamp, past, timers, inputs, state, first, journal } = begun;
        let mut driver = Driver::new(bound, &self.clock, audience, state, journal);
        driver.begin(timers, first);
        (driver, Rest { stamp, inputs, past })
    }
}

/// What a run needs to know of itself once it has ended.
struct Rest {
    stamp: Stamp,
    inputs: LiveValue,
    past: Option<Box<Past>>,
}

impl Rest {
    fn finished(self, bound: &Arc<BoundProgram>, driver: Driver<'_>) -> (FinishedRun, Option<Box<Journal>>) {
        let (state, journal) = driver.into_parts();
        let Self { stamp, inputs, past } = self;
        (FinishedRun { bound: bound.clone(), stamp, inputs, past, state }, journal)
    }
}

/// Keeps how a run ended, and tells who listens.
async fn end(
    (mut run, journal): (FinishedRun, Option<Box<Journal>>),
    driven: Result<(), StoreError>,
    audience: Option<Box<Audience>>,
) -> Result<FinishedRun, EngineError> {
    let result = match (driven, journal) {
        (Ok(()), Some(mut journal)) => {
            let result = journal.end(Rows::of(&run.outline())).await;
            let asked = journal.asked();
            if !asked.is_empty() {
                run.past.get_or_insert_default().asked.extend(asked);
            }
            result
        }
        (driven, _) => driven,
    };
    let record = || {
        let mut record = run.record();
        if record.status == Status::Running {
            record.status = Status::Interrupted;
        }
        Box::new(record)
    };
    if let Some(audience) = &audience {
        audience.trace(|scope, content| {
            let began_unix_us = run.stamp.unix_us();
            let shared_us = run.shared().until_us;
            RunTrace::of(&run.bound, &run.state, scope, *record(), (began_unix_us, shared_us), content)
        });
        if audience.is_live() {
            audience.tell(&RunEvent::RunEnded { record: record() });
        }
    }
    match result {
        Ok(()) => Ok(run),
        Err(error) => Err(EngineError::Store { record: record(), error }),
    }
}

/// A run that a driver is to take up.
struct Begun {
    stamp: Stamp,
    past: Option<Box<Past>>,
    timers: Vec<(u64, Timer)>,
    inputs: LiveValue,
    state: RunState<Program>,
    /// What happens first; the last of it starts the run or resumes it.
    first: Vec<EventKind<LiveValue>>,
    journal: Option<Box<Journal>>,
}

impl Begun {
    /// The log of a new run.
    fn new_journal(
        &self,
        store: &RecordStore,
        bound: &BoundProgram,
        parent: Option<(&store::Header, u64)>,
        trace_parent: Option<&TraceContext>,
    ) -> Journal {
        let (hash, data) = bound.blueprint();
        let mut blobs = vec![Blob { hash: *hash, data: data.clone() }];
        let inputs = Kept::of(&self.inputs, &mut blobs).text();
        let (run_id, seed) = (self.stamp.run_id(), self.state.seed());
        let parent_id = parent.map(|(header, _)| header.run_id.as_str());
        let started_at = self.stamp.started_at();
        let digest = first_digest(&run_id, Some(hash), Some(&inputs), seed, (parent_id, Some(&started_at)));
        let seq = parent.map_or(0, |(_, events)| events);
        let begin = Begin {
            trace_parent: trace_parent.map(TraceContext::headers),
            workflow: bound.program().name().to_owned(),
            deployment: bound.deployment().to_owned(),
            seed,
            started_at,
            parent: parent.map(|(header, events)| (header.id, events)),
            definition: *hash,
            inputs,
        };
        Journal::begin(store.clone(), self.stamp.id(), begin, blobs, (digest, seq), bound.durability())
    }

    /// From a run's history, with where its log stands.
    fn of(history: History, stamp: Stamp, first: Vec<EventKind<LiveValue>>) -> (Self, (Digest, u64)) {
        let (past, timers) = (Some(Box::new(Past::of(&history))), history.timers());
        let History { inputs, folded, .. } = history;
        let begun = Self { stamp, past, timers, inputs, state: folded.state, first, journal: None };
        (begun, (folded.digest, folded.events))
    }
}

/// The position of the node whose answers the node at a position judges.
fn judged(program: &Program, position: usize) -> Option<usize> {
    let graphs = program.plan().graphs().iter().enumerate();
    let nodes = graphs.flat_map(|(graph, it)| (0..it.nodes().len()).map(move |node| (graph, node)));
    let (graph, _) = { nodes }.nth(position)?;
    let judged = program.nodes().nth(position)?.judged?;
    Some(program.node(GraphId(graph as u32), judged).position)
}

/// The inputs in the order of the workflow, with defaults for what is missing.
fn complete(program: &Program, mut given: IndexMap<String, Value>) -> LiveValue {
    let mut inputs: serde_json::Map<String, Value> = program
        .inputs()
        .iter()
        .map(|(name, input)| (name.clone(), given.shift_remove(name).unwrap_or_else(|| input.initial())))
        .collect();
    inputs.extend(given);
    Value::Object(inputs).into()
}
