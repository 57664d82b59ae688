//! Architectures of models: the numbers that decide how long an iteration takes and how much memory it needs.

use serde::Deserialize;

use super::catalog::{self, CatalogError, Named};
use super::format::Format;

/// The architecture of a decoder-only transformer with grouped-query attention and gated feed-forward layers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name, in lower case.
    pub name: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Transformer layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Width of a feed-forward layer without experts.
    pub intermediate: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Tokens of the vocabulary.
    pub vocabulary: u32,
    /// The experts of each layer, if it has some.
    #[serde(default)]
    pub experts: Option<Experts>,
    /// The layers that attend to the last tokens only.
    #[serde(default)]
    pub sliding: Option<Sliding>,
    /// Whether the output layer shares the embedding's weights.
    #[serde(default)]
    pub tied: bool,
    /// The longest sequence, in tokens.
    pub context: u32,
    /// What the published weights are in.
    pub weights: Format,
    /// Parameters that its publisher states, in millions.
    pub parameters_m: u64,
    /// Where the figures come from.
    pub source: String,
}

/// Experts of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// How many there are.
    pub count: u32,
    /// How many a token visits.
    pub active: u32,
    /// Width of one.
    pub intermediate: u32,
    /// Experts that every token visits besides.
    #[serde(default)]
    pub shared: u32,
}

/// Layers with sliding-window attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sliding {
    /// How many layers are such.
    pub layers: u32,
    /// Tokens that they attend to.
    pub window: u32,
}

impl Named for Model {
    const WHAT: &'static str = "model";

    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }
}

impl Model {
    /// Weights of one layer's attention.
    pub fn attention_weights(&self) -> u64 {
        let per_head = u64::from(self.hidden) * u64::from(self.head_dim);
        2 * per_head * u64::from(self.heads) + 2 * per_head * u64::from(self.kv_heads)
    }

    /// Weights of one layer's feed-forward part, experts and their router included.
    pub fn feed_forward_weights(&self) -> u64 {
        let hidden = u64::from(self.hidden);
        self.experts.map_or(3 * hidden * u64::from(self.intermediate), |experts| {
            let count = u64::from(experts.count + experts.shared);
            3 * hidden * u64::from(experts.intermediate) * count + hidden * u64::from(experts.count)
        })
    }

    /// Weights of the embedding and of the output layer.
    pub fn vocabulary_weights(&self) -> u64 {
        let matrices = if self.tied { 1 } else { 2 };
        matrices * u64::from(self.vocabulary) * u64::from(self.hidden)
    }

    /// All weights but norms and biases.
    pub fn weights(&self) -> u64 {
        u64::from(self.layers) * (self.attention_weights() + self.feed_forward_weights()) + self.vocabulary_weights()
    }

    /// Layers that attend to everything.
    pub fn full_layers(&self) -> u32 {
        self.layers - self.sliding.map_or(0, |sliding| sliding.layers)
    }

    fn problem(&self) -> Option<String> {
        let positive = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("intermediate", self.intermediate),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocabulary", self.vocabulary),
            ("context", self.context),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Some(format!("{}: {field} must be at least 1", self.name));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Some(format!("{}: {} heads cannot share {} KV heads", self.name, self.heads, self.kv_heads));
        }
        if self.experts.is_some_and(|it| it.active == 0 || it.active > it.count || it.intermediate == 0) {
            return Some(format!("{}: a token visits at least one expert and at most all", self.name));
        }
        if self.sliding.is_some_and(|it| it.layers > self.layers || it.window == 0) {
            return Some(format!("{}: more layers slide than there are, or over nothing", self.name));
        }
        None
    }
}

/// The models that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(rename = "Models", deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(rename = "as_of")]
    _as_of: String,
    models: Vec<Model>,
}

impl Models {
    /// The catalog that ships with lumos.
    pub fn builtin() -> Self {
        let text = include_str!("../../../../catalog/models.ron");
        Self::parse("catalog/models.ron", text).expect("the shipped catalog is valid: a test reads it")
    }

    /// Reads a catalog; `origin` names it in problems.
    ///
    /// # Errors
    /// A syntax error, or the first entry that contradicts itself.
    pub fn parse(origin: &str, text: &str) -> Result<Self, CatalogError> {
        let File { version, models, .. } = catalog::read(origin, text)?;
        if version != 1 {
            return Err(CatalogError::invalid(origin, format!("version {version} is not known, 1 is")));
        }
        if let Some(problem) = models.iter().find_map(Model::problem) {
            return Err(CatalogError::invalid(origin, problem));
        }
        catalog::unambiguous(origin, &models)?;
        Ok(Self { models })
    }

    /// Every model, in the catalog's order.
    pub fn all(&self) -> &[Model] {
        &self.models
    }

    /// The model that is called so, by its name or an alias; case doesn't matter.
    ///
    /// # Errors
    /// A name that is not there, with the nearest.
    pub fn get(&self, name: &str) -> Result<&Model, CatalogError> {
        catalog::find(&self.models, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_adds_up_to_the_parameters_that_its_publisher_states() {
        for model in Models::builtin().all() {
            let (counted, stated) = (model.weights() / 1_000_000, model.parameters_m);
            assert!(counted.abs_diff(stated) * 1000 <= stated, "{}: {counted} and {stated} million", model.name);
        }
    }

    #[test]
    fn models_are_found_by_any_name_and_a_mistyped_one_is_told_the_nearest() {
        let models = Models::builtin();
        assert_eq!(models.get("Qwen/Qwen3-235B-A22B-FP8").unwrap().name, "qwen3-235b-a22b");
        let error = models.get("llama-3.1-7b").unwrap_err();
        assert_eq!(error.to_string(), "there is no model `llama-3.1-7b`");
        assert_eq!(error.hint(), Some("the nearest name is `llama-3.1-8b`"));
    }

    #[test]
    fn an_architecture_that_contradicts_itself_is_refused() {
        let text = include_str!("../../../../catalog/models.ron").replacen("kv_heads: 8", "kv_heads: 7", 1);
        let error = Models::parse("m.ron", &text).unwrap_err();
        assert_eq!(error.to_string(), "m.ron: llama-3.1-8b: 32 heads cannot share 7 KV heads");
    }
}
