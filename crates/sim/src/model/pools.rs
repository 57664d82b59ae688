//! Pools of replicas: hardware from the catalogs, or a profile that was measured.

use std::sync::{Arc, LazyLock};

use lumos_core::spec::{Quantization, ReplicaOutageSpec, RoutingSpec, SimulatedSpec};

use super::ServiceKind;
use super::build::problem;
use super::services::Services;
use crate::profile::{
    Basis, Calibrated, CatalogError, ChoiceTimes, Engines, Format, HardwareCatalog, KvFormat, Models, Profile,
    ProfileError, Setup,
};
use crate::replica::{Outage, Pool, PoolSpec, Routing, Scaling};

/// Read once: a plan makes many models.
static CATALOGS: LazyLock<(Models, HardwareCatalog, Engines)> =
    LazyLock::new(|| (Models::builtin(), HardwareCatalog::builtin(), Engines::builtin()));

/// Outstanding requests that a warm cache is worth.
const WARM_CACHE: u32 = 8;

impl Services<'_> {
    /// Replicas of a catalogued model on catalogued hardware, and where their times come from.
    pub(super) fn replicas(
        &mut self,
        name: &str,
        spec: &SimulatedSpec,
        outages: &[ReplicaOutageSpec],
    ) -> Option<(ServiceKind, String)> {
        match pool(spec, outages) {
            Ok((kind, basis)) => self.checked(name, kind, basis),
            Err(error) => {
                let hint = error.hint().unwrap_or("see `model`, `hardware`, `tensor_parallel` and `quantization`");
                let field = match &error {
                    ProfileError::Catalog(CatalogError::Unknown { what, .. }) => format!(".{what}"),
                    _ => String::new(),
                };
                self.problem_of_backend(name, &field, &error, hint.to_owned());
                None
            }
        }
    }

    /// Replicas as a measured profile describes them.
    pub(super) fn calibrated(
        &mut self,
        name: &str,
        file: &str,
        replicas: u32,
        outages: &[ReplicaOutageSpec],
    ) -> Option<(ServiceKind, String)> {
        let text = (self.sources.files)(file).map_err(|error| error.to_string());
        match text.and_then(|text| Calibrated::parse(&text)) {
            Ok(profile) => {
                let worst = profile.held_out.iter().map(|held| held.latency_p95_percent.abs()).fold(0.0, f64::max);
                let checked = if profile.held_out.is_empty() {
                    "never checked".to_owned()
                } else {
                    format!("off by at most {worst:.0} % of p95 latency where checked")
                };
                let basis = format!("measured on {} ({checked})", profile.measured_on);
                let spec = PoolSpec {
                    replica: profile.replica(),
                    replicas,
                    routing: Routing::LeastRequests,
                    cold_start_us: 0,
                    scaling: None,
                    prefix_cache: true,
                    outages: outages.iter().map(outage).collect(),
                };
                let overhead_us = profile.request_us.round() as u64;
                let choosing = profile.choosing;
                let kind = ServiceKind::Pool { spec: Box::new(spec), time: Arc::new(profile), overhead_us, choosing };
                self.checked(name, kind, basis)
            }
            Err(message) => {
                let hint = "`lumos calibrate` writes profiles".to_owned();
                self.problem(&format!("services.{name}.file"), format!("profile `{file}`: {message}"), hint);
                None
            }
        }
    }

    /// The pool, if it can be.
    fn checked(&mut self, name: &str, kind: ServiceKind, basis: String) -> Option<(ServiceKind, String)> {
        if let ServiceKind::Pool { spec, time, .. } = &kind
            && let Err(error) = Pool::new((**spec).clone(), time.clone())
        {
            self.problem_of_backend(name, "", &error, "see its limits and its `scaling`".to_owned());
            return None;
        }
        Some((kind, basis))
    }

    /// A problem of a backend, where its deployment says what it is; without one, where the scenario does.
    fn problem_of_backend(&mut self, name: &str, field: &str, error: &dyn std::fmt::Display, hint: String) {
        let message = format!("backend `{name}`: {error}");
        match self.deployed.filter(|source| source.parsed.spec.backends.contains_key(name)) {
            Some(source) => {
                let problem = source.parsed.problem(&format!("backends.{name}{field}"), message, Some(hint));
                self.problems.push(problem);
            }
            None => self.problem(&format!("services.{name}"), message, hint),
        }
    }

    fn problem(&mut self, place: &str, message: String, hint: String) {
        let problem = problem(self.scenario, place, message, hint);
        self.problems.push(problem);
    }
}

/// Why replicas cannot be, and what might help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// A lowercase fragment.
    pub message: String,
    /// What would be valid.
    pub hint: Option<String>,
}

/// Whether such replicas can be: a model that the catalog knows, and that fits.
pub(crate) fn check_replicas(spec: &SimulatedSpec) -> Result<(), Unfit> {
    let (kind, _) =
        pool(spec, &[]).map_err(|error| Unfit { message: error.to_string(), hint: error.hint().map(str::to_owned) })?;
    if let ServiceKind::Pool { spec, time, .. } = kind {
        Pool::new(*spec, time).map_err(|error| Unfit { message: error.to_string(), hint: None })?;
    }
    Ok(())
}

/// The catalog's own name for some hardware, which may have others.
pub(crate) fn hardware(name: &str) -> Result<&'static str, CatalogError> {
    CATALOGS.1.get(name).map(|hardware| hardware.name.as_str())
}

fn pool(spec: &SimulatedSpec, outages: &[ReplicaOutageSpec]) -> Result<(ServiceKind, String), ProfileError> {
    let (models, catalog, engines) = &*CATALOGS;
    let model = models.get(&spec.model)?;
    let hardware = catalog.get(&spec.hardware)?;
    let engine = engines.get(&spec.engine)?;
    let default = Setup::new(model, hardware, engine);
    let setup = Setup {
        tensor_parallel: spec.tensor_parallel,
        expert_parallel: spec.expert_parallel,
        weights: spec.quantization.map_or(default.weights, weights),
        kv: spec.kv_cache.map_or(default.kv, kv_cache),
        max_batched_tokens: spec.max_batched_tokens.unwrap_or(default.max_batched_tokens),
        max_sequences: spec.max_seqs.unwrap_or(default.max_sequences),
        memory_utilization: spec.memory_utilization.unwrap_or(default.memory_utilization),
        ..default
    };
    let profile = Profile::new(&setup)?;
    let basis = match profile.basis() {
        Basis::Fitted => format!("estimated from measured kernels of {}", hardware.name),
        Basis::Estimated => format!("estimated from rated peaks of {}", hardware.name),
    };
    let pool = PoolSpec {
        replica: profile.replica().clone(),
        replicas: spec.replicas,
        routing: match spec.routing {
            RoutingSpec::RoundRobin => Routing::RoundRobin,
            RoutingSpec::LeastLoaded => Routing::LeastRequests,
            RoutingSpec::PrefixAware => Routing::Prefix { slack: WARM_CACHE },
        },
        cold_start_us: spec.scaling.map_or(0, |scaling| us(scaling.cold_start_s)),
        scaling: spec.scaling.map(|scaling| Scaling {
            min: scaling.min,
            max: scaling.max,
            target: scaling.target,
            idle_us: us(scaling.idle_s),
        }),
        prefix_cache: spec.prefix_cache,
        outages: outages.iter().map(outage).collect(),
    };
    let overhead_us = profile.request_ps() / crate::iteration::PS_PER_US;
    // Kernels tell nothing of it.
    let choosing = ChoiceTimes::default();
    Ok((ServiceKind::Pool { spec: Box::new(pool), time: Arc::new(profile), overhead_us, choosing }, basis))
}

fn outage(spec: &ReplicaOutageSpec) -> Outage {
    Outage { replica: spec.replica, at_us: us(spec.from_s), for_us: us(spec.for_s) }
}

fn us(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

fn weights(quantization: Quantization) -> Format {
    match quantization {
        Quantization::Fp16 => Format::Bf16,
        Quantization::Fp8 => Format::Fp8,
        Quantization::Int4 => Format::Int4,
        Quantization::Mxfp4 => Format::Mxfp4,
        Quantization::Q8_0 => Format::Q8_0,
        Quantization::Q6K => Format::Q6K,
        Quantization::Q5KM => Format::Q5KM,
        Quantization::Q4KM => Format::Q4KM,
    }
}

/// The KV cache is in 16 bits or in 8.
fn kv_cache(quantization: Quantization) -> KvFormat {
    if quantization == Quantization::Fp8 { KvFormat::Fp8 } else { KvFormat::Bf16 }
}
