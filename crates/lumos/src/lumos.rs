//! The facade: opens workflows, binds them to backends and runs them.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use lumos_core::check::check_bundle;
use lumos_core::load::{Bundle, DeploymentSource};
use lumos_core::program::LiveValue;
use lumos_core::scheduler::{Decision, StepId};
use lumos_core::{Problem, Severity, SharedAgent, SharedBackend};
use lumos_engine::{
    Blueprint, BoundBackend, BoundProgram, CancellationToken, Engine, EngineError, FinishedRun, Fork, History,
    RecordStore, ResponseCache, RunRequest, SharedSink, SystemClock,
};

use crate::bind;
use crate::changes::changes;
use crate::error::Error;
use crate::gates::Gates;
use crate::home::Home;

/// Opens workflows, binds them to backends and runs them. Models are loaded once, however many nodes and runs use them.
pub struct Lumos {
    pub(crate) home: Home,
    #[cfg(any(feature = "local", feature = "remote"))]
    pub(crate) clock: SystemClock,
    #[cfg(feature = "remote")]
    pub(crate) secrets: Secrets,
    pub(crate) agents: IndexMap<String, SharedAgent>,
    pub(crate) backends: IndexMap<String, SharedBackend>,
    /// Local models that were opened, by what they were opened with.
    #[cfg(feature = "local")]
    pub(crate) opened: std::sync::Mutex<std::collections::BTreeMap<String, SharedBackend>>,
    #[cfg(feature = "local")]
    pub(crate) assets: lumos_assets::AssetStore,
    store: Option<RecordStore>,
    cache: std::sync::OnceLock<ResponseCache>,
    pub(crate) gates: Gates,
    engine: Engine,
}

/// Gives the secret of a name, such as an environment variable's; `None` when there is none.
pub type Secrets = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Puts a [`Lumos`] together.
pub struct LumosBuilder {
    home: Home,
    agents: IndexMap<String, SharedAgent>,
    backends: IndexMap<String, SharedBackend>,
    sinks: Vec<SharedSink>,
    records: Records,
    secrets: Secrets,
}

/// What is done with the home's records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Records {
    Kept,
    Read,
    Ignored,
}

impl LumosBuilder {
    /// Where `api_key: Env("NAME")` finds keys. Without it there are none: the library never reads the environment.
    #[must_use]
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Registers an agent for `Custom(agent: "name")` nodes.
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>, agent: SharedAgent) -> Self {
        self.agents.insert(name.into(), agent);
        self
    }

    /// Registers a backend for `Custom(name: "name", cost: …)` in deployments.
    #[must_use]
    pub fn backend(mut self, name: impl Into<String>, backend: SharedBackend) -> Self {
        self.backends.insert(name.into(), backend);
        self
    }

    /// Adds a receiver of live events.
    #[must_use]
    pub fn sink(mut self, sink: SharedSink) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Keeps records only in memory: nothing is written to the home's store.
    #[must_use]
    pub fn without_store(mut self) -> Self {
        self.records = Records::Ignored;
        self
    }

    /// Only reads the home's records: nothing is written, and no run can be carried out.
    #[must_use]
    pub fn reader(mut self) -> Self {
        self.records = Records::Read;
        self
    }

    /// The facade.
    ///
    /// # Errors
    /// When the record store cannot be opened.
    pub fn build(self) -> Result<Lumos, Error> {
        let clock = SystemClock::new();
        let store = match self.records {
            Records::Kept => Some(RecordStore::open(self.home.folder())?),
            Records::Read => Some(RecordStore::reader(self.home.folder())),
            Records::Ignored => None,
        };
        let mut engine = Engine::builder().clock(clock);
        for sink in self.sinks {
            engine = engine.sink(sink);
        }
        if let Some(store) = &store {
            engine = engine.store(store.clone());
        }
        let shared = (self.records == Records::Kept).then(|| self.home.folder().to_path_buf());
        Ok(Lumos {
            gates: Gates::new(shared),
            #[cfg(feature = "local")]
            assets: lumos_assets::AssetStore::new(self.home.folder().to_path_buf(), lumos_assets::Catalog::builtin()),
            home: self.home,
            #[cfg(any(feature = "local", feature = "remote"))]
            clock,
            #[cfg(feature = "remote")]
            secrets: self.secrets,
            agents: self.agents,
            backends: self.backends,
            #[cfg(feature = "local")]
            opened: std::sync::Mutex::default(),
            store,
            cache: std::sync::OnceLock::new(),
            engine: engine.build(),
        })
    }
}

impl Lumos {
    /// A facade that keeps assets, indexes and records in `home`.
    pub fn builder(home: Home) -> LumosBuilder {
        LumosBuilder {
            home,
            agents: IndexMap::new(),
            backends: IndexMap::new(),
            sinks: Vec::new(),
            records: Records::Kept,
            secrets: Arc::new(|_| None),
        }
    }

    /// Reads and checks a workflow with everything it names; the second part are warnings.
    ///
    /// `deployment` is a path or the name of a file in `deployments/`; without one only nodes that need no model can
    /// run.
    ///
    /// # Errors
    /// [`Error::Problems`] with everything that is wrong.
    pub fn open(&self, workflow: &Path, deployment: Option<&Path>) -> Result<(Bundle, Vec<Problem>), Error> {
        let (bundle, mut problems) = Bundle::open(workflow, deployment).map_err(Error::Problems)?;
        problems.extend(bundle.agents.values().flat_map(|agent| crate::check_agent(agent)));
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Error::Problems(problems));
        }
        Ok((bundle, problems))
    }

    /// Binds each node of a bundle, read from files or built in memory, to its agent and backends.
    ///
    /// # Errors
    /// Problems of a bundle built in memory, agents or backends that are not there, models that are missing.
    pub fn bind(&self, bundle: &Bundle) -> Result<Arc<BoundProgram>, Error> {
        let problems = check_bundle(bundle);
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Error::Problems(problems));
        }
        bind::bind(self, bundle).map(Arc::new)
    }

    /// Opens one backend of a deployment, whether a node is bound to it or not.
    ///
    /// # Errors
    /// A name that the deployment does not have, a model that is missing, a backend that cannot be opened.
    pub fn open_backend(&self, deployment: DeploymentSource, name: &str) -> Result<Arc<BoundBackend>, Error> {
        bind::backend(self, deployment, name)
    }

    /// Loads what the program's backends need; their time belongs to no step.
    ///
    /// # Errors
    /// The first backend that cannot be made ready.
    pub async fn warm_up(&self, program: &BoundProgram) -> Result<(), Error> {
        Ok(self.engine.warm_up(program).await?)
    }

    /// Runs a program to its end; `cancel` ends it early, and what finished is kept.
    ///
    /// # Errors
    /// When its record could not be kept. How the run ended is in its record.
    pub async fn run(
        &self,
        program: &Arc<BoundProgram>,
        request: RunRequest,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, Error> {
        Ok(self.engine.run(program, request, cancel).await?)
    }

    /// Goes on with a run that was interrupted or is paused; its models are loaded first.
    ///
    /// # Errors
    /// [`Error::Changed`] when its files are not what they were; when the run has ended or another process carries it
    /// out; when it cannot be bound or kept.
    pub async fn resume(&self, run_id: &str, cancel: &CancellationToken) -> Result<FinishedRun, Error> {
        let (run_id, blueprint) = self.blueprint(run_id)?;
        let changes = changes(&blueprint.definition).map_err(Error::Problems)?;
        if !changes.is_empty() {
            return Err(Error::Changed { run_id, changes });
        }
        let bundle = blueprint.definition.bundle().map_err(Error::Problems)?;
        let program = self.bind(&bundle)?;
        self.warm_up(&program).await?;
        self.resume_bound(&program, &run_id, Vec::new(), cancel).await
    }

    /// The whole id of a run, and what it was made by.
    ///
    /// # Errors
    /// When there is no such run, or only its record was kept.
    pub fn blueprint(&self, run_id: &str) -> Result<(String, Blueprint), Error> {
        let store = self.store.as_ref().ok_or(EngineError::NoStore)?;
        Ok(store.blueprint(run_id)?)
    }

    /// What a run was made by, and what has happened in it.
    ///
    /// # Errors
    /// When there is no such run, or only its record was kept.
    pub fn history(&self, run_id: &str) -> Result<History, Error> {
        let store = self.store.as_ref().ok_or(EngineError::NoStore)?;
        Ok(store.history(run_id)?)
    }

    /// Goes on with a run by a program that was bound by its blueprint, with what people have decided about steps.
    ///
    /// # Errors
    /// As for [`Self::resume`], without those of files and binding.
    pub async fn resume_bound(
        &self,
        program: &Arc<BoundProgram>,
        run_id: &str,
        decisions: Vec<(StepId, Decision<LiveValue>)>,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, Error> {
        Ok(self.engine.resume(program, run_id, decisions, cancel).await?)
    }

    /// Goes on with a run whose files have changed, as a new run: what is defined and asked as before is not asked again.
    /// `bundle` holds the files as they are now, and `program` is bound by it.
    ///
    /// # Errors
    /// As for [`Self::resume`], without those of files and binding.
    pub async fn resume_changed(
        &self,
        (program, bundle): (&Arc<BoundProgram>, &Bundle),
        run_id: &str,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, Error> {
        Ok(self.engine.resume_changed((program, bundle), run_id, cancel).await?)
    }

    /// Starts a run that shares the beginning of another's log, by a program bound by that run's blueprint, save for the
    /// deployment ([`Definition::deployed`](lumos_core::load::Definition::deployed)).
    ///
    /// # Errors
    /// When there is no such run, or it cannot be kept.
    pub async fn fork(
        &self,
        program: &Arc<BoundProgram>,
        fork: &Fork,
        cancel: &CancellationToken,
    ) -> Result<FinishedRun, Error> {
        Ok(self.engine.fork(program, fork, cancel).await?)
    }

    /// A run's program, bound as it was: its backends have names and answer nothing.
    ///
    /// # Errors
    /// When its agents cannot be built any more.
    pub fn bind_recorded(&self, history: &History) -> Result<Arc<BoundProgram>, Error> {
        bind::bind_recorded(self, history.blueprint()).map(Arc::new)
    }

    /// The home's response cache.
    pub(crate) fn response_cache(&self) -> Result<ResponseCache, Error> {
        if let Some(cache) = self.cache.get() {
            return Ok(cache.clone());
        }
        let opened = ResponseCache::open(self.home.folder())?;
        Ok(self.cache.get_or_init(|| opened).clone())
    }

    /// The engine that carries out its runs.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The clock by which it measures.
    pub fn clock(&self) -> SystemClock {
        *self.engine.clock()
    }

    /// The records of earlier runs; `None` when none are kept.
    pub fn store(&self) -> Option<&RecordStore> {
        self.store.as_ref()
    }

    /// Model weights and data sets.
    #[cfg(feature = "local")]
    pub fn assets(&self) -> &lumos_assets::AssetStore {
        &self.assets
    }

    /// Names of the assets that a bundle uses and that are not yet in the home.
    #[cfg(feature = "local")]
    pub fn missing_assets(&self, bundle: &Bundle) -> Vec<String> {
        crate::needs::assets_of(bundle).into_iter().filter(|name| self.assets.path(name).is_none()).collect()
    }
}
