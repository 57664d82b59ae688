//! The smallest fleet of each kind that meets the SLO.

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::spec::{BackendSpec, Cost, Quantization, SimulatedSpec};
use serde::Serialize;

use super::{Laboratory, MONTH_H, PlanError, Space};
use crate::results::{Results, Verdict};

/// What a replica is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Hardware by its name in the catalog.
    pub hardware: String,
    /// Devices that share each layer.
    pub tensor_parallel: u32,
    /// Format of the weights; the model's own when absent.
    pub quantization: Option<Quantization>,
    /// Most sequences in a batch; the engine's default when absent.
    pub max_seqs: Option<u32>,
}

impl Candidate {
    pub(super) fn apply(&self, spec: &mut SimulatedSpec) {
        spec.hardware.clone_from(&self.hardware);
        spec.tensor_parallel = self.tensor_parallel;
        spec.quantization = self.quantization;
        spec.max_seqs = self.max_seqs;
    }
}

/// So many replicas.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fleet {
    /// What each is made of.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Replicas.
    pub replicas: u32,
    /// What a replica costs by the hour; absent when unknown.
    pub replica_hour: Option<Usd>,
}

impl Fleet {
    /// Devices in all.
    pub fn devices(&self) -> u32 {
        self.replicas * self.candidate.tensor_parallel
    }

    /// What it costs by the month, busy or idle; `None` when unknown.
    pub fn month(&self) -> Option<Usd> {
        self.replica_hour?.scaled(u64::from(self.replicas) * MONTH_H, 1)
    }
}

/// A candidate for one backend, and how many replicas of it are needed.
#[derive(Debug, Clone, Serialize)]
pub struct Sized {
    /// The backend.
    pub backend: String,
    /// The fleet; as far as was tried when it does not suffice.
    pub fleet: Fleet,
    /// Whether the SLO is met.
    pub meets_slo: bool,
    /// Why not, or why it cannot be.
    pub reason: Option<String>,
    /// What it costs by the month.
    pub month_usd: Option<Usd>,
    /// What a million tokens of it cost, prompts and answers together, at the scenario's load.
    pub per_million_tokens_usd: Option<Usd>,
    /// Simulations that it took.
    pub tries: u32,
    /// What the simulation of the fleet found.
    pub results: Option<Box<Results>>,
}

/// Sizes every candidate of every backend whose size can be chosen, the others being as they are written; within a backend
/// those that meet the SLO come first, the cheapest of them first. `told` hears of each.
///
/// # Errors
/// When the scenario asks for nothing, or nothing can be sized.
pub fn smallest(
    laboratory: &Laboratory<'_>,
    space: &Space,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Sized>, PlanError> {
    if laboratory.scenario().spec().slo.is_empty() {
        return Err(PlanError::NoSlo);
    }
    let backends = laboratory.sizable();
    let deployment = laboratory.bundle().deployment.as_ref().map(|source| &source.parsed.spec);
    let (Some(deployment), false) = (deployment, backends.is_empty()) else {
        let name = deployment.map(|deployment| deployment.name.clone());
        return Err(PlanError::NothingToSize(name.unwrap_or_default()));
    };
    let mut all = Vec::new();
    // While one is sized the others must not stand in its way: they have as many replicas as are allowed.
    let generous: IndexMap<String, Fleet> = backends
        .iter()
        .filter_map(|name| match deployment.backends.get(name)? {
            BackendSpec::Simulated(spec) => {
                let mut fleet = written(spec, space);
                fleet.replicas = space.most_replicas.max(spec.replicas);
                Some((name.clone(), fleet))
            }
            _ => None,
        })
        .collect();
    for name in &backends {
        let Some(BackendSpec::Simulated(spec)) = deployment.backends.get(name) else { continue };
        let mut sized = Vec::new();
        for candidate in candidates(spec, space) {
            told(&format!("{name}: {} × {}", candidate.hardware, candidate.tensor_parallel));
            sized.push(size(laboratory, space, name, spec, candidate, &generous)?);
        }
        sized.sort_by(|a, b| {
            let key = |it: &Sized| (!it.meets_slo, it.month_usd.is_none(), it.month_usd, it.fleet.devices());
            key(a).cmp(&key(b))
        });
        all.extend(sized);
    }
    Ok(all)
}

fn written(spec: &SimulatedSpec, space: &Space) -> Fleet {
    let candidate = Candidate {
        hardware: spec.hardware.clone(),
        tensor_parallel: spec.tensor_parallel,
        quantization: spec.quantization,
        max_seqs: spec.max_seqs,
    };
    let replica_hour = hour(spec, &candidate, space);
    Fleet { candidate, replicas: spec.replicas, replica_hour }
}

/// What a replica costs by the hour: by its devices, or what the deployment says for the same hardware.
fn hour(spec: &SimulatedSpec, candidate: &Candidate, space: &Space) -> Option<Usd> {
    if let Some(usd) = space.device_hour.get(&candidate.hardware) {
        return usd.scaled(u64::from(candidate.tensor_parallel), 1);
    }
    match &spec.cost {
        Some(Cost::PerHour { usd }) if spec.hardware == candidate.hardware => {
            usd.scaled(u64::from(candidate.tensor_parallel), u64::from(spec.tensor_parallel.max(1)))
        }
        _ => None,
    }
}

fn candidates(spec: &SimulatedSpec, space: &Space) -> Vec<Candidate> {
    fn or<T: Clone>(given: &[T], written: T) -> Vec<T> {
        if given.is_empty() { vec![written] } else { given.to_vec() }
    }
    let some = |list: &[u32]| list.iter().copied().map(Some).collect::<Vec<_>>();
    let formats: Vec<Option<Quantization>> = space.quantization.iter().copied().map(Some).collect();
    let mut all = Vec::new();
    for hardware in or(&space.hardware, spec.hardware.clone()) {
        for tensor_parallel in or(&space.tensor_parallel, spec.tensor_parallel) {
            for quantization in or(&formats, spec.quantization) {
                for max_seqs in or(&some(&space.max_seqs), spec.max_seqs) {
                    all.push(Candidate { hardware: hardware.clone(), tensor_parallel, quantization, max_seqs });
                }
            }
        }
    }
    all
}

fn size(
    laboratory: &Laboratory<'_>,
    space: &Space,
    name: &str,
    spec: &SimulatedSpec,
    candidate: Candidate,
    generous: &IndexMap<String, Fleet>,
) -> Result<Sized, PlanError> {
    let replica_hour = hour(spec, &candidate, space);
    let fleet = |replicas: u32| Fleet { candidate: candidate.clone(), replicas, replica_hour };
    let mut tries = 0;
    let mut attempt = |replicas: u32| {
        tries += 1;
        let mut fleets = generous.clone();
        fleets.insert(name.to_owned(), fleet(replicas));
        laboratory.try_out(&fleets, 1.0, laboratory.seed())
    };
    let good = |results: &Results| results.meets_slo == Some(true);
    // Doubled until it is enough, then halved between the last that was not and the first that was.
    let (mut low, mut high) = (0, 1);
    let mut enough = loop {
        match attempt(high) {
            Ok(results) if good(&results) => break Ok(results),
            Ok(results) if high >= space.most_replicas => break Err((high, Some(results), None)),
            Ok(_) => {
                low = high;
                high = (high * 2).min(space.most_replicas);
            }
            Err(PlanError::Problems(problems)) => {
                let reason = problems.first().map(|problem| problem.message.clone());
                break Err((0, None, reason));
            }
            Err(error) => return Err(error),
        }
    };
    if enough.is_ok() {
        while high - low > 1 {
            let middle = u32::midpoint(low, high);
            let results = attempt(middle)?;
            if good(&results) {
                (high, enough) = (middle, Ok(results));
            } else {
                low = middle;
            }
        }
    }
    let per_million = |results: &Results, fleet: &Fleet| {
        let tokens: u64 = results
            .nodes
            .iter()
            .filter(|node| node.service.as_deref() == Some(name))
            .map(|node| node.input_tokens + node.output_tokens)
            .sum();
        let hours_us = (results.duration_s * 1e6) as u64;
        let paid = fleet.replica_hour?.scaled(u64::from(fleet.replicas) * hours_us, 3_600_000_000)?;
        (tokens > 0).then(|| paid.scaled(1_000_000, tokens)).flatten()
    };
    Ok(match enough {
        Ok(results) => {
            let fleet = fleet(high);
            Sized {
                backend: name.to_owned(),
                meets_slo: true,
                reason: None,
                month_usd: fleet.month(),
                per_million_tokens_usd: per_million(&results, &fleet),
                fleet,
                tries,
                results: Some(Box::new(results)),
            }
        }
        Err((replicas, results, reason)) => {
            let reason = reason.or_else(|| results.as_ref().map(why_not));
            let fleet = fleet(replicas);
            let none = (None, None);
            let (month_usd, per_million_tokens_usd) = none;
            Sized {
                backend: name.to_owned(),
                meets_slo: false,
                reason,
                month_usd,
                per_million_tokens_usd,
                fleet,
                tries,
                results: results.map(Box::new),
            }
        }
    })
}

fn why_not(results: &Results) -> String {
    match &results.verdict {
        Verdict::Unstable { services, .. } if !services.is_empty() => {
            let names: Vec<&str> = services.iter().map(|it| it.service.as_str()).collect();
            format!("the queue of {} grows without bound", names.join(", "))
        }
        Verdict::Unstable { .. } => "the backlog grows without bound".to_owned(),
        Verdict::Stable | Verdict::Overloaded { .. } | Verdict::Unclear { .. } => {
            let share = results.good_share.unwrap_or(0.0) * 100.0;
            format!("{share:.1} % of runs are good, more replicas don't help")
        }
    }
}
