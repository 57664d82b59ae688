//! The engine: starts runs, keeps their records, and lets them be cancelled.

use std::future::Future;
use std::sync::Arc;

use indexmap::IndexMap;
use lumos_core::BackendError;
use lumos_core::graph::GraphId;
use lumos_core::program::{Header, LiveValue, Program};
use lumos_core::record::{RunRecord, Status};
use lumos_core::scheduler::{Outcome, RunState};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::binding::BoundProgram;
use crate::clock::{Stamp, SystemClock};
use crate::driver::Driver;
use crate::event::{Audience, RunEvent, SharedSink};
use crate::store::{RecordStore, StoreError};

/// What a run is started with.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Values of the workflow's inputs; what is missing takes its default.
    pub inputs: IndexMap<String, Value>,
    /// Seed of everything random.
    pub seed: u64,
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
    /// The record could not be stored; the run itself has ended and its record is here.
    #[error("the record of run {} was not stored: {error}", record.run_id)]
    Store {
        /// What happened in the run.
        record: Box<RunRecord>,
        /// What is wrong with the store.
        error: StoreError,
    },
}

/// A run that has ended. Its record is made when it is asked for.
pub struct FinishedRun {
    bound: Arc<BoundProgram>,
    stamp: Stamp,
    inputs: LiveValue,
    state: RunState<Program>,
}

impl FinishedRun {
    /// How it ended.
    pub fn status(&self) -> Status {
        self.state.outcome().map_or(Status::Running, Outcome::status)
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
        record(&self.bound, self.stamp, &self.inputs, &self.state)
    }
}

/// The record of a run, finished or not.
fn record(bound: &BoundProgram, stamp: Stamp, inputs: &LiveValue, state: &RunState<Program>) -> RunRecord {
    let inputs = inputs.json().as_object().into_iter().flatten();
    let header = Header {
        run_id: stamp.run_id(),
        deployment: bound.deployment().to_owned(),
        started_at: stamp.started_at(),
        inputs: inputs.map(|(name, value)| (name.clone(), value.clone())).collect(),
    };
    bound
        .program()
        .record(state, header, |position, candidate| bound.backend(position, candidate).map(|bound| &bound.reference))
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

    /// Runs a workflow to its end; `cancel` ends it early, and what finished is kept.
    ///
    /// Dropping the future ends the run without a record.
    ///
    /// # Errors
    /// [`EngineError::Store`] when the record could not be kept; how the run ended is in the record's status.
    pub fn run<'a>(
        &'a self,
        bound: &'a Arc<BoundProgram>,
        request: RunRequest,
        cancel: &'a CancellationToken,
    ) -> impl Future<Output = Result<FinishedRun, EngineError>> + Send + use<'a> {
        // Outside the future, because thousands of them may wait: it holds no more than it must.
        let inputs = complete(bound.program(), request.inputs);
        let seed = request.seed;
        async move {
            let run = self.drive(bound, inputs, seed, cancel).await;
            match &self.store {
                None => Ok(run),
                // Boxed, so that a run that goes on holds no room for what comes after it.
                Some(store) => Box::pin(keep(store, run)).await,
            }
        }
    }

    async fn drive(
        &self,
        bound: &Arc<BoundProgram>,
        inputs: LiveValue,
        seed: u64,
        cancel: &CancellationToken,
    ) -> FinishedRun {
        let program = bound.program();
        let stamp = Stamp::now();
        if let Some(store) = &self.store {
            let (bound, inputs) = (bound.clone(), inputs.clone());
            store.begin(stamp, move || {
                let state = RunState::new(bound.program(), inputs.clone(), seed);
                record(&bound, stamp, &inputs, &state)
            });
        }
        let audience = Audience::new(&self.sinks, || stamp.run_id());
        if let Some(audience) = &audience {
            let graph = program.plan().graph(GraphId::ROOT);
            audience.tell(&RunEvent::RunStarted {
                run_id: stamp.run_id(),
                workflow: program.name().to_owned(),
                nodes: graph.topological().iter().map(|id| graph.node(*id).name.to_string()).collect(),
            });
        }
        let mut driver = Driver::new(bound, &self.clock, audience.as_ref(), inputs.clone(), seed);
        driver.drive(cancel).await;
        let run = FinishedRun { bound: bound.clone(), stamp, inputs, state: driver.into_state() };
        if let Some(audience) = &audience {
            audience.tell(&RunEvent::RunEnded { record: Box::new(run.record()) });
        }
        run
    }
}

/// Keeps the record of a run.
async fn keep(store: &RecordStore, run: FinishedRun) -> Result<FinishedRun, EngineError> {
    match store.finish(run.stamp, run.record()).await {
        Ok(()) => Ok(run),
        Err(error) => Err(EngineError::Store { record: Box::new(run.record()), error }),
    }
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
