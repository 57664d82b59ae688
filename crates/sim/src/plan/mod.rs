//! Planning: the smallest fleet that meets the SLO, what it costs by the month, and the volume from which it is cheaper
//! than an API.
//!
//! A fleet is searched by bisection: more replicas never serve worse, and every try sees the same arrivals and lengths
//! (common random numbers), so two tries differ by the fleet alone.

mod breakeven;
mod fleet;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::load::{Bundle, Scenario};
use lumos_core::price::Price;
use lumos_core::spec::{BackendSpec, Cost, Quantization};
use lumos_core::{Problem, Usd};

use crate::driver::{Options, simulate};
use crate::model::{Model, Sources};
use crate::results::{Results, summarize};

pub use breakeven::{Assumption, BreakEven, break_even};
pub use fleet::{Candidate, Fleet, Sized, smallest};

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

/// Simulates variations of one bundle of a scenario.
pub struct Laboratory<'a> {
    scenario: &'a Scenario,
    bundle: &'a Bundle,
    sources: Sources<'a>,
    options: Options,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The scenario asks for nothing.
    #[error("the scenario has no SLO, so that any fleet would do")]
    NoSlo,
    /// The deployment has nothing whose size could be chosen.
    #[error("deployment `{0}` has no `Simulated` backend whose size could be chosen")]
    NothingToSize(String),
    /// A variation is no scenario.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
    /// A simulation says nothing.
    #[error(transparent)]
    Simulation(#[from] crate::SimError),
}

impl<'a> Laboratory<'a> {
    /// A laboratory for one bundle of a scenario.
    pub fn new(scenario: &'a Scenario, bundle: &'a Bundle, sources: Sources<'a>, options: Options) -> Self {
        Self { scenario, bundle, sources, options }
    }

    /// The backends whose size can be chosen: those that nodes use.
    pub fn sizable(&self) -> Vec<String> {
        let Some(deployment) = self.bundle.deployment.as_ref().map(|source| &source.parsed.spec) else {
            return Vec::new();
        };
        let bound: Vec<&String> = deployment.bind.values().collect();
        let simulated = deployment.backends.iter().filter(|(_, spec)| matches!(spec, BackendSpec::Simulated(_)));
        simulated.map(|(name, _)| name).filter(|name| bound.contains(name)).cloned().collect()
    }

    /// Simulates the scenario with these fleets in place of the deployment's, `factor` times as much load.
    ///
    /// # Errors
    /// A fleet that cannot be, such as a model that doesn't fit.
    pub fn try_out(&self, fleets: &IndexMap<String, Fleet>, factor: f64, seed: u64) -> Result<Results, PlanError> {
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
        let model = Model::new(self.scenario, &bundle, &sources).map_err(PlanError::Problems)?;
        let options = Options { seed, load_factor: self.options.load_factor * factor, ..self.options };
        let measures = simulate(&model, options)?;
        Ok(summarize(&model, &measures, options.load_factor, &[seed]))
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
