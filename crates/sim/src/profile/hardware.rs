//! Hardware: rated peaks, memory, and the coefficients of its kernels.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::catalog::{self, CatalogError, Named};
use super::format::{KvFormat, Precision};
use super::kernel::{AllReduce, Decode, ExpertsKernel, Gemm, Peak, Prefill};

/// What the times of a profile rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Basis {
    /// Coefficients are fitted to measured kernels; each states its error.
    Fitted,
    /// Rated peaks and published efficiencies: nobody has measured it here.
    Estimated,
}

/// One accelerator (or a server's processors), several of which make a replica.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename = "Hardware", deny_unknown_fields)]
pub struct Hardware {
    version: u32,
    /// Its name, in lower case.
    pub name: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What its coefficients rest on.
    pub basis: Basis,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Rated memory bandwidth, bytes per second.
    pub bandwidth: f64,
    /// Rated dense peaks.
    pub flops: Flops,
    /// Rated bandwidth to its neighbours, bytes per second and direction.
    pub link_bandwidth: f64,
    /// How many are in one machine.
    pub gpus_per_node: u32,
    /// The day on which the figures were taken, `YYYY-MM-DD`.
    pub as_of: String,
    /// Where the figures come from.
    pub source: String,
    /// Matrix products, by precision.
    pub gemm: BTreeMap<Precision, Gemm>,
    /// Attention of prompts.
    pub prefill: Vec<Attention<Prefill>>,
    /// Attention of generating sequences.
    pub decode: Vec<Attention<Decode>>,
    /// Experts, by what their weights are in.
    pub experts: BTreeMap<String, ExpertsKernel>,
    /// Sums over GPUs, by their number.
    pub all_reduce: Vec<AllReduce>,
}

/// Rated dense peaks, operations per second.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flops {
    /// 16-bit floats.
    pub bf16: f64,
    /// 8-bit floats; absent where there is no such unit.
    #[serde(default)]
    pub fp8: Option<f64>,
}

/// The time of attention for one width of heads and one kind of cache.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention<T> {
    /// Width of a head.
    pub head_dim: u32,
    /// What the cache is in.
    pub kv: KvFormat,
    /// Its coefficients.
    pub time: T,
}

impl Named for Hardware {
    const WHAT: &'static str = "hardware";

    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }
}

impl Hardware {
    /// The precision that products computed in `wanted` take here, its form and the peaks that it is relative to. Without
    /// a unit for 8-bit floats, weights in 8 bits are multiplied in 16.
    pub fn gemm(&self, wanted: Precision) -> (Precision, &Gemm, Peak) {
        let fallbacks = [wanted, Precision::Fp8, Precision::Bf16];
        let precision = if self.flops.fp8.is_none() {
            Precision::Bf16
        } else {
            fallbacks.into_iter().find(|it| self.gemm.contains_key(it)).unwrap_or(Precision::Bf16)
        };
        (precision, &self.gemm[&precision], self.peak(precision))
    }

    /// Rated peaks for products in a precision.
    pub fn peak(&self, precision: Precision) -> Peak {
        let flops = match precision {
            Precision::Bf16 => self.flops.bf16,
            Precision::Fp8 | Precision::Fp8Block => self.flops.fp8.unwrap_or(self.flops.bf16),
        };
        Peak { bandwidth: self.bandwidth, flops }
    }

    /// The kernel for experts whose weights are of this kind; where nobody measured it, that of 16 bits.
    pub(super) fn experts(&self, kind: &str) -> (&ExpertsKernel, bool) {
        match self.experts.get(kind) {
            Some(kernel) => (kernel, true),
            None => (&self.experts["bf16"], false),
        }
    }

    /// The sum over `gpus`, or over the next larger number that is known, or over the largest.
    pub fn all_reduce(&self, gpus: u32) -> Option<&AllReduce> {
        if gpus <= 1 {
            return None;
        }
        self.all_reduce.iter().find(|it| it.gpus >= gpus).or_else(|| self.all_reduce.last())
    }

    fn problem(&self) -> Option<String> {
        let missing = |what: &str| Some(format!("{}: there are no coefficients of {what}", self.name));
        let positive = [self.bandwidth, self.flops.bf16, self.flops.fp8.unwrap_or(1.0), self.link_bandwidth];
        if self.version != 1 {
            return Some(format!("version {} is not known, 1 is", self.version));
        }
        if positive.iter().any(|value| !value.is_finite() || *value <= 0.0) || self.memory_bytes == 0 {
            return Some(format!("{}: rated figures are positive", self.name));
        }
        if !self.gemm.contains_key(&Precision::Bf16) {
            return missing("matrix products in 16 bits");
        }
        if !self.experts.contains_key("bf16") {
            return missing("experts in 16 bits");
        }
        if self.prefill.is_empty() || self.decode.is_empty() {
            return missing("attention");
        }
        let is_sorted = self.all_reduce.is_sorted_by_key(|it| it.gpus);
        if self.gpus_per_node == 0 || (self.gpus_per_node > 1 && self.all_reduce.is_empty()) || !is_sorted {
            return missing("sums over GPUs, in the order of their number");
        }
        None
    }
}

/// The form for the nearest width of heads and this kind of cache; whether it is the very one.
pub(super) fn nearest<T>(forms: &[Attention<T>], head_dim: u32, kv: KvFormat) -> (&T, bool) {
    let distance = |it: &&Attention<T>| (it.kv != kv, it.head_dim.abs_diff(head_dim));
    let found = forms.iter().min_by_key(distance).expect("checked when the hardware was read");
    (&found.time, found.kv == kv && found.head_dim == head_dim)
}

/// The hardware that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct HardwareCatalog {
    entries: Vec<Hardware>,
}

const BUILTIN: [(&str, &str); 7] = [
    ("catalog/hardware/a100-sxm.ron", include_str!("../../../../catalog/hardware/a100-sxm.ron")),
    ("catalog/hardware/b200.ron", include_str!("../../../../catalog/hardware/b200.ron")),
    ("catalog/hardware/cpu-server.ron", include_str!("../../../../catalog/hardware/cpu-server.ron")),
    ("catalog/hardware/h100-sxm.ron", include_str!("../../../../catalog/hardware/h100-sxm.ron")),
    ("catalog/hardware/h200-sxm.ron", include_str!("../../../../catalog/hardware/h200-sxm.ron")),
    ("catalog/hardware/l40s.ron", include_str!("../../../../catalog/hardware/l40s.ron")),
    ("catalog/hardware/mi300x.ron", include_str!("../../../../catalog/hardware/mi300x.ron")),
];

impl HardwareCatalog {
    /// The catalog that ships with lumos.
    pub fn builtin() -> Self {
        Self::parse(&BUILTIN).expect("the shipped catalog is valid: a test reads it")
    }

    /// Reads files of one piece of hardware each, given as (name for problems, text).
    ///
    /// # Errors
    /// A syntax error, or the first entry that contradicts itself.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, CatalogError> {
        let mut entries = Vec::with_capacity(files.len());
        for (origin, text) in files {
            let hardware: Hardware = catalog::read(origin, text)?;
            if let Some(problem) = hardware.problem() {
                return Err(CatalogError::invalid(origin, problem));
            }
            entries.push(hardware);
        }
        catalog::unambiguous("catalog/hardware", &entries)?;
        Ok(Self { entries })
    }

    /// Everything, in the order of names.
    pub fn all(&self) -> &[Hardware] {
        &self.entries
    }

    /// The hardware that is called so, by its name or an alias; case doesn't matter.
    ///
    /// # Errors
    /// A name that is not there, with the nearest.
    pub fn get(&self, name: &str) -> Result<&Hardware, CatalogError> {
        catalog::find(&self.entries, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fitted_states_its_error_and_what_is_estimated_has_none() {
        for hardware in HardwareCatalog::builtin().all() {
            let errors =
                hardware.gemm.values().map(|it| it.error).chain(hardware.decode.iter().map(|it| it.time.error));
            let errors = errors.chain(hardware.prefill.iter().map(|it| it.time.error));
            let errors = errors.chain(hardware.experts.values().map(|it| it.error));
            for error in errors.chain(hardware.all_reduce.iter().map(|it| it.error)) {
                assert_eq!(error.is_some(), hardware.basis == Basis::Fitted, "{}", hardware.name);
            }
        }
    }

    #[test]
    fn hardware_without_coefficients_is_refused() {
        let text = BUILTIN[0].1.replacen("Bf16: (fixed_us", "Fp8: (fixed_us", 1);
        let error = HardwareCatalog::parse(&[("x.ron", &text)]).unwrap_err();
        assert_eq!(error.to_string(), "x.ron: a100-sxm: there are no coefficients of matrix products in 16 bits");
    }

    #[test]
    fn eight_bit_products_take_sixteen_where_there_is_no_unit_for_them() {
        let catalog = HardwareCatalog::builtin();
        let precision = |name: &str| catalog.get(name).unwrap().gemm(Precision::Fp8).0;
        assert_eq!((precision("a100"), precision("h100")), (Precision::Bf16, Precision::Fp8));
    }
}
