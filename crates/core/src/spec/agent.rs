//! An agent: a role with its prompt and parameters. The variant of the file's only value is the role.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::deployment::host_of;

/// An agent as written in `agents/*.ron`, e.g. `Planner(model: "small", prompt: "…")`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum AgentSpec {
    /// Finds passages.
    Retriever(RetrieverSpec),
    /// Makes lists.
    Planner(PlannerSpec),
    /// Forecasts series.
    Forecaster(ForecasterSpec),
    /// Screens texts.
    Guard(GuardSpec),
    /// Chooses branches.
    Router(RouterSpec),
    /// Scores texts.
    Judge(JudgeSpec),
    /// Writes texts.
    Generator(GeneratorSpec),
    /// Calls a tool.
    Tool(ToolSpec),
}

/// The two parts of a prompt, templates over the node's arguments.
///
/// `user_file` is read relative to the agent's file and stands in for `user`. In a file, a text alone is `user`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSpec {
    /// The system message; none when empty.
    pub system: String,
    /// The user message.
    pub user: String,
    /// A file that holds the user message.
    pub user_file: Option<String>,
}

/// Decoding parameters; what is left out is the role's default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodingSpec {
    /// Softmax temperature, at least 0; 0 is greedy.
    pub temperature: Option<f64>,
    /// Nucleus probability in `0..=1`.
    pub top_p: Option<f64>,
    /// Most probable tokens to keep, at least 1.
    pub top_k: Option<u32>,
    /// At least 1.0.
    pub repetition_penalty: Option<f64>,
    /// Most tokens to generate, at least 1.
    pub max_tokens: Option<u32>,
    /// Texts that end generation.
    pub stop: Vec<String>,
}

/// A planner: asks a model for a list and returns it as an object with one list field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannerSpec {
    /// Model alias.
    #[serde(default = "small")]
    pub model: String,
    /// What to ask.
    pub prompt: PromptSpec,
    /// How to choose tokens.
    #[serde(default)]
    pub decoding: DecodingSpec,
    /// Name of the list field, e.g. `steps`.
    #[serde(default = "items")]
    pub field: String,
    /// What the list may hold.
    #[serde(default)]
    pub items: PlannerItems,
}

/// What a planner's list may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlannerItems {
    /// Fewest entries, at least 1.
    pub min: u32,
    /// Most entries.
    pub max: u32,
    /// Most characters of an entry.
    pub max_chars: u32,
    /// The only entries allowed; empty for free text.
    pub choices: Vec<String>,
}

impl Default for PlannerItems {
    fn default() -> Self {
        Self { min: 1, max: 8, max_chars: 80, choices: Vec::new() }
    }
}

/// A generator: asks a model for a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorSpec {
    /// Model alias.
    #[serde(default = "small")]
    pub model: String,
    /// What to ask.
    pub prompt: PromptSpec,
    /// How to choose tokens.
    #[serde(default)]
    pub decoding: DecodingSpec,
    /// The answer's shape.
    #[serde(default)]
    pub format: GeneratorFormat,
}

/// The shape of a generator's answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum GeneratorFormat {
    /// Any text.
    #[default]
    Text,
    /// JSON that satisfies this JSON Schema.
    Json(Value),
    /// A text that matches this regular expression as a whole.
    Regex(String),
}

/// A judge: asks a model for a score in a range, and optionally a reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeSpec {
    /// Model alias.
    #[serde(default = "small")]
    pub model: String,
    /// The rubric and what to score.
    pub prompt: PromptSpec,
    /// How to choose tokens.
    #[serde(default)]
    pub decoding: DecodingSpec,
    /// Lowest score.
    #[serde(default)]
    pub min: i32,
    /// Highest score.
    #[serde(default = "ten")]
    pub max: i32,
    /// Most characters of the reason, 0 for none.
    #[serde(default)]
    pub reason_chars: u32,
}

/// A router: asks a model for one of the node's labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterSpec {
    /// Model alias.
    #[serde(default = "small")]
    pub model: String,
    /// What to ask; `labels` holds the node's labels.
    pub prompt: PromptSpec,
    /// How to choose tokens.
    #[serde(default)]
    pub decoding: DecodingSpec,
}

/// A guard: patterns with checksums, deny list and length.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSpec {
    /// Personal data to find.
    pub detect: Vec<Detector>,
    /// Texts that must not occur, compared without case.
    pub deny: Vec<String>,
    /// Most characters; longer texts are refused whatever the node's `on_block` says.
    pub max_chars: Option<u32>,
}

/// Kinds of personal data that a guard can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Detector {
    /// E-mail address.
    Email,
    /// Phone number.
    Phone,
    /// Payment card number (Luhn).
    Card,
    /// IBAN (mod 97).
    Iban,
    /// US social security number.
    Ssn,
    /// IPv4 or IPv6 address.
    Ip,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Email, Self::Phone, Self::Card, Self::Iban, Self::Ssn, Self::Ip];
}

/// A retriever: passages of files by BM25, by embeddings, or by both fused by reciprocal rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrieverSpec {
    /// Alias of the embedder.
    #[serde(default = "embedder")]
    pub model: String,
    /// Files and folders relative to the agent's file, or `asset:NAME`. Text, Markdown and CSV are read.
    pub sources: Vec<String>,
    /// How texts are cut.
    #[serde(default)]
    pub chunk: Chunking,
    /// How passages are ranked.
    #[serde(default)]
    pub mode: RetrievalMode,
    /// Of [`RetrievalMode::Hybrid`]: the share of BM25's scores, from 0 to 1, in the sum of both rankings' scores, each
    /// ranking's brought to 0 to 1. [`RetrieverSpec::BM25_WEIGHT`] when neither it nor `rrf_k` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bm25_weight: Option<f64>,
    /// When given, ranks count in place of scores: the constant of reciprocal rank fusion, by which a passage scores
    /// `Σ 1 / (rrf_k + rank)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rrf_k: Option<u32>,
    /// Columns of CSV sources that hold text; empty for all.
    #[serde(default)]
    pub csv_columns: Vec<String>,
}

impl RetrieverSpec {
    /// The share of BM25 unless a file says otherwise. Of 0.5 to 0.9 it is the best for nDCG on the even and on the odd tasks
    /// of tau2's banking documents (`benches/runs/2026-11-27-retrieval`), with a static embedder; by ranks both count alike.
    pub const BM25_WEIGHT: f64 = 0.8;
}

/// How texts are cut into passages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chunking {
    /// Most characters of a passage.
    pub max_chars: u32,
    /// Characters that neighbours share.
    pub overlap_chars: u32,
}

impl Default for Chunking {
    fn default() -> Self {
        Self { max_chars: 800, overlap_chars: 0 }
    }
}

/// How passages are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RetrievalMode {
    /// BM25 and embeddings, fused.
    #[default]
    Hybrid,
    /// Words only; needs no embedder.
    Bm25,
    /// Embeddings only.
    Dense,
}

/// A forecaster: the best of several models by backtest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecasterSpec {
    /// Where named series come from; without it a node must pass numbers.
    #[serde(default)]
    pub source: Option<SeriesSource>,
    /// Observations in one season: 52 for weekly data with a yearly pattern.
    #[serde(default = "one")]
    pub season: u32,
    /// Models to choose from.
    #[serde(default = "all_models")]
    pub models: Vec<ForecastModel>,
    /// Coverage of the intervals, above 0 and below 1.
    #[serde(default = "level")]
    pub level: f64,
    /// Rolling origins of the backtest, at least 1.
    #[serde(default = "folds")]
    pub folds: u32,
    /// Whether the models are averaged, the better ones with more weight, instead of the best being taken alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub combine: bool,
    /// The least possible value, e.g. 0 for sales: no forecast and no bound goes below it.
    #[serde(default)]
    pub min: Option<f64>,
}

/// A CSV file of series in long format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesSource {
    /// File relative to the agent's file, or `asset:NAME`.
    pub path: String,
    /// Which column holds what.
    pub columns: CsvColumns,
}

/// Which column of a CSV file holds what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvColumns {
    /// The series' name.
    pub series: String,
    /// The date, `YYYY-MM-DD`.
    pub time: String,
    /// The observation.
    pub value: String,
}

/// Forecasting models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForecastModel {
    /// The value one season ago.
    SeasonalNaive,
    /// Exponential smoothing, chosen by AICc.
    Ets,
    /// Seasonal-trend decomposition by loess with several seasons, ETS on the trend.
    Mstl,
}

/// A tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSpec {
    /// Which one.
    pub tool: ToolKind,
}

/// Built-in tools. None of them starts a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToolKind {
    /// Evaluates the argument `expression` (numbers, `+ - * / % ^`, parentheses, a few functions).
    Calculator,
    /// Fetches the argument `url` when it begins with one of the allowed prefixes.
    HttpGet {
        /// Allowed prefixes: scheme, host and path.
        allow: Vec<String>,
        /// Most bytes of the body.
        #[serde(default = "max_bytes")]
        max_bytes: u32,
        /// Seconds for the whole request.
        #[serde(default = "http_timeout_s")]
        timeout_s: f64,
    },
}

impl PlannerItems {
    /// Tokens that the longest answer takes: no tokenizer in use spends more than one on an ASCII character, and quotes,
    /// comma and space around an entry are four more.
    pub fn room(&self, field: &str) -> u32 {
        let chars = self.choices.iter().map(|choice| choice.len() as u32).max().unwrap_or(self.max_chars);
        16 + field.len() as u32 + self.max.saturating_mul(chars + 4)
    }
}

impl AgentSpec {
    /// The role in lower case, as records name it.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Retriever(_) => "retriever",
            Self::Planner(_) => "planner",
            Self::Forecaster(_) => "forecaster",
            Self::Guard(_) => "guard",
            Self::Router(_) => "router",
            Self::Judge(_) => "judge",
            Self::Generator(_) => "generator",
            Self::Tool(_) => "tool",
        }
    }

    /// The model alias that a deployment binds, for roles that use a model.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Retriever(spec) => (spec.mode != RetrievalMode::Bm25).then_some(spec.model.as_str()),
            Self::Planner(spec) => Some(&spec.model),
            Self::Router(spec) => Some(&spec.model),
            Self::Judge(spec) => Some(&spec.model),
            Self::Generator(spec) => Some(&spec.model),
            Self::Forecaster(_) | Self::Guard(_) | Self::Tool(_) => None,
        }
    }

    /// The hosts that it fetches from by itself, each once.
    pub fn hosts(&self) -> Vec<&str> {
        let Self::Tool(ToolSpec { tool: ToolKind::HttpGet { allow, .. } }) = self else { return Vec::new() };
        let mut hosts: Vec<&str> = allow.iter().map(|prefix| host_of(prefix)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// The most tokens of an answer, for roles that ask a model for one.
    pub fn max_output_tokens(&self) -> Option<u32> {
        match self {
            Self::Planner(spec) => Some(spec.decoding.max_tokens.unwrap_or_else(|| spec.items.room(&spec.field))),
            // A label of the node may be longer than the router asks for by itself.
            Self::Router(spec) => Some(spec.decoding.max_tokens.unwrap_or(64).max(256)),
            Self::Judge(spec) => Some(spec.decoding.max_tokens.unwrap_or(40 + spec.reason_chars)),
            Self::Generator(spec) => Some(spec.decoding.max_tokens.unwrap_or(256)),
            Self::Retriever(_) | Self::Forecaster(_) | Self::Guard(_) | Self::Tool(_) => None,
        }
    }

    /// The prompt, for roles that have one.
    pub fn prompt(&self) -> Option<&PromptSpec> {
        match self {
            Self::Planner(spec) => Some(&spec.prompt),
            Self::Router(spec) => Some(&spec.prompt),
            Self::Judge(spec) => Some(&spec.prompt),
            Self::Generator(spec) => Some(&spec.prompt),
            Self::Retriever(_) | Self::Forecaster(_) | Self::Guard(_) | Self::Tool(_) => None,
        }
    }
}

fn small() -> String {
    "small".to_owned()
}

fn embedder() -> String {
    "embedder".to_owned()
}

fn items() -> String {
    "items".to_owned()
}

fn ten() -> i32 {
    10
}

fn one() -> u32 {
    1
}

fn level() -> f64 {
    0.9
}

fn folds() -> u32 {
    3
}

fn max_bytes() -> u32 {
    1 << 20
}

fn http_timeout_s() -> f64 {
    10.0
}

fn all_models() -> Vec<ForecastModel> {
    vec![ForecastModel::SeasonalNaive, ForecastModel::Ets, ForecastModel::Mstl]
}
