//! What a serving engine adds to its kernels: the system constants, and the defaults of its scheduler.

use serde::Deserialize;

use super::catalog::{self, CatalogError, Named};

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
    /// Time of an iteration's kernels with a prompt in it against the model's.
    pub prefill: f64,
    /// Time of an iteration's kernels without one against the model's.
    pub decode: f64,
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
        let times = [self.iteration_us, self.sequence_us, self.request_us, self.layer_us];
        if times.iter().any(|it| !it.is_finite() || *it < 0.0) {
            return Some(format!("{}: times are not negative", self.name));
        }
        let is_share = self.memory_utilization > 0.0 && self.memory_utilization <= 1.0;
        if !is_share || [self.prefill, self.decode].iter().any(|it| !it.is_finite() || *it <= 0.0) {
            return Some(format!("{}: factors are positive, and a share of the memory is at most 1", self.name));
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
