//! What replicas may be made of, what they cost by the hour, and which of them can be at all.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::spec::{Cost, Quantization, SimulatedSpec};
use serde::Serialize;

use super::{MONTH_H, PlanError, Space};
use crate::model::{Unfit, check_replicas, hardware};
use crate::profile::CatalogError;

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
        // Where all devices share the experts, they still do.
        if spec.expert_parallel == spec.tensor_parallel && spec.expert_parallel > 1 {
            spec.expert_parallel = self.tensor_parallel;
        }
        spec.tensor_parallel = self.tensor_parallel;
        spec.quantization = self.quantization;
        spec.max_seqs = self.max_seqs;
    }

    /// What the deployment says.
    fn written(spec: &SimulatedSpec) -> Self {
        Self {
            hardware: hardware(&spec.hardware).map_or_else(|_| spec.hardware.clone(), str::to_owned),
            tensor_parallel: spec.tensor_parallel,
            quantization: spec.quantization,
            max_seqs: spec.max_seqs,
        }
    }

    /// Whether such replicas can be.
    pub(super) fn check(&self, spec: &SimulatedSpec) -> Result<(), Unfit> {
        let mut spec = SimulatedSpec { scaling: None, replicas: 1, ..spec.clone() };
        self.apply(&mut spec);
        check_replicas(&spec)
    }

    /// A word for each of what it is made of.
    pub(super) fn words(&self) -> String {
        let format = self.quantization.map_or(String::new(), |format| format!(" {format:?}"));
        format!("{} × {}{format}", self.tensor_parallel, self.hardware)
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

impl Space {
    /// The same with the catalog's own names for hardware.
    ///
    /// # Errors
    /// A name that is not there.
    pub(super) fn named(&self) -> Result<Self, PlanError> {
        let named = |name: &str, what: &str| {
            hardware(name).map(str::to_owned).map_err(|error: CatalogError| PlanError::Unknown {
                message: format!("{what}: {error}"),
                hint: error.hint().map(str::to_owned),
            })
        };
        let names: Result<Vec<String>, PlanError> =
            self.hardware.iter().map(|name| named(name, "--hardware")).collect();
        let mut prices = BTreeMap::new();
        for (name, usd) in &self.device_hour {
            let hardware = named(name, "--device-hour")?;
            if prices.insert(hardware.clone(), *usd).is_some() {
                let message = format!("--device-hour {name}: {hardware} has a price already");
                return Err(PlanError::Unknown { message, hint: Some("give one of them".to_owned()) });
            }
        }
        Ok(Self { hardware: names?, device_hour: prices, ..self.clone() })
    }

    /// Every candidate for a backend, each once.
    pub(super) fn candidates(&self, spec: &SimulatedSpec) -> Vec<Candidate> {
        fn or<T: Clone + PartialEq>(given: &[T], written: T) -> Vec<T> {
            if given.is_empty() { vec![written] } else { given.to_vec() }
        }
        let written = Candidate::written(spec);
        let some = |list: &[u32]| list.iter().copied().map(Some).collect::<Vec<_>>();
        let formats: Vec<Option<Quantization>> = self.quantization.iter().copied().map(Some).collect();
        let mut all = Vec::new();
        for hardware in or(&self.hardware, written.hardware.clone()) {
            for tensor_parallel in or(&self.tensor_parallel, written.tensor_parallel) {
                for quantization in or(&formats, written.quantization) {
                    for max_seqs in or(&some(&self.max_seqs), written.max_seqs) {
                        let candidate =
                            Candidate { hardware: hardware.clone(), tensor_parallel, quantization, max_seqs };
                        if !all.contains(&candidate) {
                            all.push(candidate);
                        }
                    }
                }
            }
        }
        all
    }

    /// What a replica costs by the hour: by its devices, or what the deployment says for the same hardware.
    pub(super) fn hour(&self, spec: &SimulatedSpec, candidate: &Candidate) -> Option<Usd> {
        if let Some(usd) = self.device_hour.get(&candidate.hardware) {
            return usd.scaled(u64::from(candidate.tensor_parallel), 1);
        }
        match &spec.cost {
            Some(Cost::PerHour { usd }) if Candidate::written(spec).hardware == candidate.hardware => {
                usd.scaled(u64::from(candidate.tensor_parallel), u64::from(spec.tensor_parallel.max(1)))
            }
            _ => None,
        }
    }

    /// As many replicas as are allowed of what is written, or of the first candidate that can be if that cannot. It stands for
    /// a backend while another is sized. `None` when nothing can be.
    pub(super) fn generous(&self, spec: &SimulatedSpec) -> Option<Fleet> {
        let written = Candidate::written(spec);
        let candidate = [written].into_iter().chain(self.candidates(spec)).find(|it| it.check(spec).is_ok())?;
        let replica_hour = self.hour(spec, &candidate);
        Some(Fleet { candidate, replicas: self.most_replicas.max(spec.replicas), replica_hour })
    }

    /// Hardware whose price was given and that nothing is made of.
    pub(super) fn unused_prices<'s>(&'s self, specs: &IndexMap<String, &SimulatedSpec>) -> Vec<&'s str> {
        let used: Vec<Candidate> = specs.values().flat_map(|spec| self.candidates(spec)).collect();
        let prices = self.device_hour.keys().map(String::as_str);
        prices.filter(|name| !used.iter().any(|candidate| candidate.hardware == *name)).collect()
    }
}
