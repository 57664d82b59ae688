//! Planning: the smallest fleet that meets the SLO, how much more it could bear, what it costs by the month, and the volume
//! from which it is cheaper than an API.
//!
//! A fleet is searched by bisection: more replicas never serve worse, and every try sees the same arrivals and lengths
//! (common random numbers), so two tries differ by the fleet alone.

mod breakeven;
mod candidates;
mod capacity;
mod coverage;
mod fleet;
mod progress;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use lumos_core::load::{Bundle, Scenario};
use lumos_core::price::Price;
use lumos_core::spec::{ArrivalSpec, BackendSpec, Cost, Quantization, ServiceSpec};
use lumos_core::{Problem, Usd};

use crate::SimError;
use crate::arrivals;
use crate::driver::{Options, simulate};
use crate::model::{Model, Sources};
use crate::results::{Results, summarize};
use crate::trace;

pub use breakeven::{Assumption, BreakEven, Side, break_even};
pub use candidates::{Candidate, Fleet};
pub use capacity::{Capacity, capacity};
pub use coverage::Coverage;
pub use fleet::{Sized, Together, chosen, smallest, together};

use coverage::{Load, Loads};

/// Hours in a month: a year's twelfth.
pub const MONTH_H: u64 = 730;

/// What may be tried in place of what the deployment says; an empty list tries that alone.
#[derive(Debug, Clone, Default)]
pub struct Space {
    /// Hardware by its name in the catalog.
    pub hardware: Vec<String>,
    /// Devices that share each layer.
    pub tensor_parallel: Vec<u32>,
    /// Formats of the weights.
    pub quantization: Vec<Quantization>,
    /// Most sequences in a batch.
    pub max_seqs: Vec<u32>,
    /// Most replicas of a backend.
    pub most_replicas: u32,
    /// Dollars per device and hour, by hardware; without one the deployment's price holds for its own hardware, and no price
    /// is known for others.
    pub device_hour: BTreeMap<String, Usd>,
}

/// Which load is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// What fleets are searched with: all, or the busiest part.
    Searched,
    /// All that is planned for.
    Whole,
}

/// Simulates variations of one bundle of a scenario.
pub struct Laboratory<'a> {
    scenario: &'a Scenario,
    bundle: &'a Bundle,
    sources: Sources<'a>,
    options: Options,
    loads: Loads,
    /// What was tried, because a search, what its fleets do together, their goodput and break-evens begin with the same.
    tried: Mutex<Vec<(Try, Results)>>,
}

/// What makes two simulations of a laboratory the same.
#[derive(PartialEq)]
struct Try {
    fleets: IndexMap<String, Fleet>,
    is_whole: bool,
    factor: f64,
    seed: u64,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The scenario asks for nothing.
    #[error("the scenario has no SLO, so that any fleet would do")]
    NoSlo,
    /// The deployment has nothing whose size could be chosen.
    #[error("deployment `{0}` has no `Simulated` backend that the workflow uses, whose size could be chosen")]
    NothingToSize(String),
    /// A name that no catalog knows.
    #[error("{message}")]
    Unknown {
        /// A lowercase fragment.
        message: String,
        /// What is known.
        hint: Option<String>,
    },
    /// No candidate for a backend can be.
    #[error("nothing that may be tried can serve `{backend}`: {}", .reasons.join("; "))]
    NothingFits {
        /// The backend.
        backend: String,
        /// Why not, by candidate.
        reasons: Vec<String>,
    },
    /// A variation is no scenario.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
    /// A simulation says nothing.
    #[error(transparent)]
    Simulation(#[from] SimError),
}

impl<'a> Laboratory<'a> {
    /// A laboratory for one bundle of a scenario. Where fewer `runs` are asked for than the load's day, cycle or trace has, the
    /// busiest part of it is searched.
    pub fn new(scenario: &'a Scenario, bundle: &'a Bundle, sources: Sources<'a>, options: Options) -> Self {
        // What is wrong with a trace is told when a model is made.
        let arrivals = scenario.spec().workload.arrivals.as_ref();
        let rows = arrivals.and_then(|arrivals| trace::rows(arrivals, sources.files).ok()).unwrap_or_default();
        let loads = Loads::new(scenario, options.load_factor, options.runs, &rows);
        Self { scenario, bundle, sources, options, loads, tried: Mutex::default() }
    }

    /// Which part of the load is searched.
    pub fn coverage(&self) -> &Coverage {
        &self.loads.coverage
    }

    /// Runs per second on average over all that is planned for: as declared, of a trace as it is; `None` where clients decide.
    pub fn runs_per_s(&self) -> Option<f64> {
        self.loads.per_s
    }

    /// The factor of the load that is made where so many times as much is asked for: a closed loop has whole clients.
    fn made(&self, factor: f64) -> f64 {
        match self.scenario.spec().workload.arrivals {
            Some(ArrivalSpec::Closed { clients, .. }) => {
                let of = |factor: f64| arrivals::clients(clients, factor) as f64;
                of(self.options.load_factor * factor) / of(self.options.load_factor)
            }
            _ => factor,
        }
    }

    /// The bundle with these fleets, compiled for a load.
    fn model(&self, fleets: &IndexMap<String, Fleet>, load: &Load) -> Result<Model, Vec<Problem>> {
        let mut bundle = self.bundle.clone();
        let mut prices: IndexMap<String, Price> = self.sources.prices.clone();
        if let Some(deployment) = &mut bundle.deployment {
            for (name, fleet) in fleets {
                if let Some(BackendSpec::Simulated(spec)) = deployment.parsed.spec.backends.get_mut(name) {
                    fleet.candidate.apply(spec);
                    spec.replicas = fleet.replicas;
                    spec.scaling = None;
                    spec.cost = fleet.replica_hour.map(|usd| Cost::PerHour { usd });
                    let price = fleet.replica_hour.map_or(Price::Unknown, Price::PerHour);
                    prices.insert(name.clone(), price);
                }
            }
        }
        let sources = Sources { prices: &prices, files: self.sources.files };
        let mut model = Model::new(&load.scenario, &bundle, &sources)?;
        if let Some(part) = &load.rows {
            let rows = &mut model.workload.rows;
            rows.truncate(part.end);
            rows.drain(..part.start.min(rows.len()));
            let first_us = rows.first().map_or(0, |row| row.at_us);
            for row in rows.iter_mut() {
                row.at_us -= first_us;
            }
        }
        Ok(model)
    }

    /// The backends that the workflow uses as the deployment describes them, once these fleets take their place.
    fn used(&self, fleets: &IndexMap<String, Fleet>) -> Result<Vec<String>, PlanError> {
        let model = self.model(fleets, &self.loads.searched).map_err(PlanError::Problems)?;
        let written = &self.scenario.spec().services;
        let is_replaced = |name: &str| written.get(name).is_some_and(|it| !matches!(it, ServiceSpec::Replicas { .. }));
        let names = model.services().iter().map(|service| service.name.clone());
        Ok(names.filter(|name| !is_replaced(name)).collect())
    }

    /// Simulates the scenario with these fleets in place of the deployment's, `factor` times as much load for the same time; once,
    /// however often it is asked for.
    ///
    /// # Errors
    /// A fleet that cannot be, such as a model that doesn't fit.
    pub fn try_out(
        &self,
        fleets: &IndexMap<String, Fleet>,
        span: Span,
        factor: f64,
        seed: u64,
    ) -> Result<Results, PlanError> {
        let whole = self.loads.whole.as_ref().filter(|_| span == Span::Whole);
        let load = whole.unwrap_or(&self.loads.searched);
        let warmup_runs = self.scenario.spec().workload.warmup_runs;
        if let Some(runs) = self.options.runs.filter(|runs| *runs <= warmup_runs) {
            return Err(PlanError::Simulation(SimError::NoneCounts { runs, warmup_runs }));
        }
        let wanted = Try { fleets: fleets.clone(), is_whole: whole.is_some(), factor, seed };
        if let Some((_, results)) = self.tried().iter().find(|(tried, _)| *tried == wanted) {
            return Ok(results.clone());
        }
        let model = self.model(fleets, load).map_err(PlanError::Problems)?;
        let workload = &load.scenario.spec().workload;
        let is_open = !matches!(workload.arrivals, Some(ArrivalSpec::Trace { .. } | ArrivalSpec::Closed { .. }) | None);
        let limit = load.runs.or(workload.runs);
        let runs = limit.map(|runs| if is_open { (runs as f64 * factor).ceil() as u64 } else { runs });
        let options = Options { seed, runs, load_factor: self.options.load_factor * factor, ..self.options };
        let measures = simulate(&model, options)?;
        let results = summarize(&model, &measures, options.load_factor, &[seed]);
        self.tried().push((wanted, results.clone()));
        Ok(results)
    }

    fn tried(&self) -> MutexGuard<'_, Vec<(Try, Results)>> {
        // What is there is whole, even if somebody panicked who held it.
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scenario's seed.
    pub fn seed(&self) -> u64 {
        self.options.seed
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        self.scenario
    }

    /// The bundle that is varied.
    pub fn bundle(&self) -> &Bundle {
        self.bundle
    }
}
