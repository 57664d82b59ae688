//! What a serving engine adds to its kernels: the system constants, and the defaults of its scheduler.

use serde::Deserialize;

use super::catalog::{self, CatalogError, Named};
use crate::replica::Reserve;

/// A serving engine's constants. Microseconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Its name, in lower case.
    pub name: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What each iteration takes besides its kernels: scheduling, sampling, what the host cannot hide.
    pub iteration_us: f64,
    /// What each sequence adds to an iteration: sampling, detokenizing, sending.
    pub sequence_us: f64,
    /// What a request takes besides its iterations, before its first token: HTTP, tokenizing, sending.
    pub request_us: f64,
    /// What each layer takes besides the kernels that are modelled: norms, rotary embedding, quantization, gaps.
    pub layer_us: f64,
    /// What a layer with experts takes besides: choosing them and sorting the tokens.
    pub experts_us: f64,
    /// Arithmetic under sustained load against the kernels' measured alone, where clocks are higher.
    pub sustained: f64,
    /// Share of a batch's tokens that choose their experts independently of each other.
    pub independent_routing: f64,
    /// Attention of generating sequences against the kernel that was measured.
    pub decode_attention: f64,
    /// What the host takes to launch an iteration with a prompt, where that is not captured in a graph: its kernels take no less.
    /// 0: captured.
    pub launch_us: f64,
    /// What it takes besides for each layer with experts.
    pub launch_experts_us: f64,
    /// Its kernel for experts in MXFP4, by its name in the catalogs of hardware.
    pub mxfp4_experts: String,
    /// Whether it puts an iteration's batch together while the one before runs.
    pub schedules_ahead: bool,
    /// Whether a prompt may be cut to fit into what is left of an iteration's budget.
    pub chunked_prefill: bool,
    /// What must have room in the KV cache before it admits a request.
    pub reserve: Reserve,
    /// Tokens that an iteration computes at most.
    pub max_batched_tokens: u32,
    /// Sequences that an iteration holds at most.
    pub max_sequences: u32,
    /// Share of the memory that it takes.
    pub memory_utilization: f64,
}

impl Named for Engine {
    const WHAT: &'static str = "engine";

    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }
}

impl Engine {
    fn problem(&self) -> Option<String> {
        let launches = [self.experts_us, self.launch_us, self.launch_experts_us];
        let mut times =
            [self.iteration_us, self.sequence_us, self.request_us, self.layer_us].into_iter().chain(launches);
        if times.any(|it| !it.is_finite() || it < 0.0) {
            return Some(format!("{}: times are not negative", self.name));
        }
        let is_share = |it: f64| it > 0.0 && it <= 1.0;
        if !is_share(self.memory_utilization) || !is_share(self.independent_routing) {
            return Some(format!("{}: shares are above 0 and at most 1", self.name));
        }
        if [self.sustained, self.decode_attention].iter().any(|it| !it.is_finite() || *it <= 0.0) {
            return Some(format!("{}: factors are positive", self.name));
        }
        if self.max_batched_tokens == 0 || self.max_sequences == 0 {
            return Some(format!("{}: an iteration computes something", self.name));
        }
        None
    }
}

/// The engines that are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Engines {
    engines: Vec<Engine>,
}

#[derive(Deserialize)]
#[serde(rename = "Engines", deny_unknown_fields)]
struct File {
    version: u32,
    engines: Vec<Engine>,
}

impl Engines {
    /// The catalog that ships with lumos.
    pub fn builtin() -> Self {
        let text = include_str!("../../../../catalog/engines.ron");
        Self::parse("catalog/engines.ron", text).expect("the shipped catalog is valid: a test reads it")
    }

    /// Reads a catalog; `origin` names it in problems.
    ///
    /// # Errors
    /// A syntax error, or the first entry that contradicts itself.
    pub fn parse(origin: &str, text: &str) -> Result<Self, CatalogError> {
        let File { version, engines } = catalog::read(origin, text)?;
        if version != 1 {
            return Err(CatalogError::invalid(origin, format!("version {version} is not known, 1 is")));
        }
        if let Some(problem) = engines.iter().find_map(Engine::problem) {
            return Err(CatalogError::invalid(origin, problem));
        }
        catalog::unambiguous(origin, &engines)?;
        Ok(Self { engines })
    }

    /// Every engine, in the catalog's order.
    pub fn all(&self) -> &[Engine] {
        &self.engines
    }

    /// The engine that is called so, by its name or an alias; case doesn't matter.
    ///
    /// # Errors
    /// A name that is not there, with the nearest.
    pub fn get(&self, name: &str) -> Result<&Engine, CatalogError> {
        catalog::find(&self.engines, name)
    }
}
