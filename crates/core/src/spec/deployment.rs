//! A deployment: which backend each model alias binds to, at what price, and where the boundary is.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::agent::AgentSpec;
use super::workflow::{CascadeSpec, Label, NodeSpec};
use crate::money::Usd;
use crate::record::Destination;

/// A deployment as written in `deployments/*.ron`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// Name in records.
    pub name: String,
    /// Backends by name.
    pub backends: IndexMap<String, BackendSpec>,
    /// Node, agent or model alias (or `*`) to the name of a backend.
    pub bind: IndexMap<String, String>,
    /// Node, agent or model alias to a test for its answers and the backend that is asked when they fail it: a cascade
    /// for nodes that have none of their own.
    pub escalate: IndexMap<String, CascadeSpec>,
    /// What is inside, and what must not leave.
    pub boundary: Boundary,
    /// What a run's log survives.
    #[serde(default)]
    pub durability: Durability,
}

/// What a run's log survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Durability {
    /// A power failure: each commit waits for the disk.
    #[default]
    Full,
    /// The death of the process, not that of the machine.
    Normal,
    /// Nothing: it is not written, and the run is in no list.
    Off,
}

impl DeploymentSpec {
    /// The cascade of a node: its own, else the deployment's by the node's name, its agent's or the model alias.
    pub fn cascade<'a>(&'a self, name: &str, node: &'a NodeSpec, agent: Option<&AgentSpec>) -> Option<&'a CascadeSpec> {
        let alias = agent.and_then(AgentSpec::model);
        let keys = || [Some(name), node.kind.agent(), alias].into_iter().flatten();
        let inherited = || keys().find_map(|key| self.escalate.get(key)).filter(|_| alias.is_some());
        node.options.cascade.as_ref().or_else(inherited)
    }

    /// Every backend that a node's attempts may be made on: the one it is bound to, its fallbacks, its cascade's.
    pub fn candidates<'a>(
        &'a self,
        name: &str,
        node: &'a NodeSpec,
        agent: Option<&AgentSpec>,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let bound = self.binding(name, node.kind.agent(), agent);
        let to = self.cascade(name, node, agent).map(|cascade| cascade.to.as_str());
        bound.into_iter().chain(node.options.fallback.iter().map(String::as_str)).chain(to)
    }

    /// Which side of the boundary a backend is on: local ones, and those listed, are inside.
    pub fn destination(&self, backend: &str) -> Destination {
        let is_local = matches!(self.backends.get(backend), Some(BackendSpec::Local(_)));
        let is_inside = is_local || self.boundary.inside.iter().any(|inside| inside == backend);
        if is_inside { Destination::Inside } else { Destination::Outside }
    }

    /// Which side of the boundary a host is on that a tool fetches from.
    pub fn destination_of_host(&self, host: &str) -> Destination {
        let is_listed = self.boundary.hosts.iter().any(|inside| inside.trim().eq_ignore_ascii_case(host));
        if is_listed || is_this_machine(host) { Destination::Inside } else { Destination::Outside }
    }

    /// The hosts outside that an agent may send to by itself: those of a tool that fetches.
    pub fn hosts_outside<'a>(&self, agent: &'a AgentSpec) -> Vec<&'a str> {
        let outside = |host: &&str| self.destination_of_host(host) == Destination::Outside;
        agent.hosts().into_iter().filter(outside).collect()
    }

    /// The backend that a node is bound to: by its name, then its agent's, then the model alias, then `*`. An embedder
    /// never matches `*`; agents without a model, and `Custom` ones (no `spec`), are bound only by name.
    pub fn binding(&self, node: &str, agent: Option<&str>, spec: Option<&AgentSpec>) -> Option<&str> {
        let alias = spec.and_then(AgentSpec::model);
        let is_embedder = matches!(spec, Some(AgentSpec::Retriever(_)));
        let rest = (alias.is_some() && !is_embedder).then_some("*");
        if spec.is_some() && alias.is_none() {
            return None;
        }
        [Some(node), agent, alias, rest].into_iter().flatten().find_map(|key| self.bind.get(key)).map(String::as_str)
    }
}

/// The host of an address, without its port; the text itself when it is no address.
pub fn host_of(address: &str) -> &str {
    let after = address.split_once("//").map_or(address, |(_, after)| after);
    let authority = after.split(['/', '?', '#']).next().unwrap_or(after);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Whether a host is this machine.
pub fn is_this_machine(host: &str) -> bool {
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || host.eq_ignore_ascii_case("localhost")
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum BackendSpec {
    /// A model in this process.
    Local(LocalSpec),
    /// A model behind an API.
    Remote(Box<RemoteSpec>),
    /// Replicas of a model on hardware that need not be there: it is only simulated.
    Simulated(Box<SimulatedSpec>),
    /// A backend that the embedding program registered under this name.
    Custom {
        /// The registered name.
        name: String,
        /// What it costs; must be said.
        cost: Cost,
        /// How much may be asked of it.
        #[serde(default)]
        limits: LimitSpec,
    },
}

impl BackendSpec {
    /// The backend that the embedding program registered under this name, without limits.
    pub fn custom(name: impl Into<String>, cost: Cost) -> Self {
        Self::Custom { name: name.into(), cost, limits: LimitSpec::default() }
    }

    /// The cost that is written down.
    pub fn cost(&self) -> Option<&Cost> {
        match self {
            Self::Local(local) => local.cost.as_ref(),
            Self::Remote(remote) => remote.cost.as_ref(),
            Self::Simulated(simulated) => simulated.cost.as_ref(),
            Self::Custom { cost, .. } => Some(cost),
        }
    }

    /// How much may be asked of it.
    pub fn limits(&self) -> &LimitSpec {
        match self {
            Self::Local(local) => &local.limits,
            Self::Remote(remote) => &remote.limits,
            Self::Simulated(simulated) => &simulated.limits,
            Self::Custom { limits, .. } => limits,
        }
    }

    /// When it is left alone.
    pub fn breaker(&self) -> Option<&BreakerSpec> {
        match self {
            Self::Remote(remote) => remote.breaker.as_ref(),
            Self::Local(_) | Self::Simulated(_) | Self::Custom { .. } => None,
        }
    }
}

/// A model behind an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteSpec {
    /// Whose API it is, which decides the protocol.
    pub provider: Provider,
    /// The model as the API names it.
    pub model: String,
    /// Where the API is; the provider's own address when absent.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Where its key is; none is sent when absent.
    #[serde(default)]
    pub api_key: Option<SecretSource>,
    /// What it costs; the list price when absent.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// How much may be asked of it.
    #[serde(default)]
    pub limits: LimitSpec,
    /// How long it is waited for.
    #[serde(default)]
    pub timeouts: TimeoutSpec,
    /// When it is left alone; never when absent.
    #[serde(default)]
    pub breaker: Option<BreakerSpec>,
    /// Longest prompt plus answer in tokens, where known.
    #[serde(default)]
    pub context: Option<u32>,
    /// Whether it embeds texts instead of chatting.
    #[serde(default)]
    pub embedder: bool,
    /// How an answer's shape is asked for.
    #[serde(default)]
    pub structured: Structured,
    /// Whether the provider is asked to keep the system prompt; only Anthropic needs to be asked.
    #[serde(default)]
    pub prompt_cache: Option<PromptCache>,
    /// Fields of the request's body that are left out, e.g. `temperature` for models that refuse it.
    #[serde(default)]
    pub omit: Vec<String>,
    /// Fields that are added to the request's body, e.g. `reasoning_effort`.
    #[serde(default)]
    pub extra: IndexMap<String, serde_json::Value>,
    /// Proxy for its address; the system's when absent.
    #[serde(default)]
    pub proxy: Option<String>,
    /// File with certificates, in PEM, that are trusted beside the public ones.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Where what is sent is processed, e.g. `EU (Frankfurt)`; for audits.
    #[serde(default)]
    pub region: Option<String>,
    /// What becomes of what is sent, e.g. `zero data retention by contract 4711`; for audits.
    #[serde(default)]
    pub retention: Option<String>,
}

/// Whose API, which decides the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provider {
    /// OpenAI.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// A server that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama, LiteLLM, …
    OpenAiCompatible,
}

impl Provider {
    /// The name in records and price lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiCompatible => "openai-compatible",
        }
    }

    /// The address of its API, where it has one.
    pub fn base_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com/v1"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com/v1beta"),
            Self::OpenAiCompatible => None,
        }
    }
}

/// How an answer's shape is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Structured {
    /// By the provider's own means: a JSON schema in the request, or a tool that must be called.
    #[default]
    Native,
    /// In the prompt, for servers that have no such means.
    Prompt,
}

/// How long a provider keeps what the prompts of a node have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromptCache {
    /// Five minutes from the last use.
    FiveMinutes,
    /// An hour; writing costs more.
    OneHour,
}

/// Where a secret is; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretSource {
    /// In an environment variable.
    Env(String),
    /// In a file, relative to the deployment's; spaces around it are not part of it.
    File(String),
}

/// How much may be asked of a backend, shared by all runs and processes of one home; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSpec {
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Tokens per minute, input and output together.
    pub tpm: Option<u32>,
    /// Input tokens per minute.
    pub input_tpm: Option<u32>,
    /// Output tokens per minute.
    pub output_tpm: Option<u32>,
    /// Requests at the same time.
    pub concurrency: Option<u32>,
    /// Dollars per day (UTC).
    pub usd_per_day: Option<Usd>,
}

/// How long a remote backend is waited for, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutSpec {
    /// For the connection.
    pub connect_s: f64,
    /// From the request to the first token.
    pub first_token_s: f64,
    /// Between two pieces of the answer.
    pub idle_s: f64,
}

impl Default for TimeoutSpec {
    fn default() -> Self {
        Self { connect_s: 10.0, first_token_s: 120.0, idle_s: 60.0 }
    }
}

/// A circuit breaker: after `failures` failures within `window_s` a backend is left alone for `cooldown_s`; then one
/// request probes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSpec {
    /// Failures that open it, at least 1.
    pub failures: u32,
    /// Seconds within which they count.
    pub window_s: f64,
    /// Seconds during which nothing is asked.
    pub cooldown_s: f64,
}

impl Default for BreakerSpec {
    fn default() -> Self {
        Self { failures: 5, window_s: 30.0, cooldown_s: 15.0 }
    }
}

/// A model in this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSpec {
    /// An asset's name, or the path of a `.gguf` file or of a folder with `model.safetensors`.
    pub model: String,
    /// Where it computes.
    #[serde(default)]
    pub device: Device,
    /// What it costs; unknown when absent.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// Longest prompt plus answer in tokens, when less than the model allows.
    #[serde(default)]
    pub context: Option<u32>,
    /// How much may be asked of it.
    #[serde(default)]
    pub limits: LimitSpec,
}

/// Where a local model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Device {
    /// The first GPU that this build can use, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this number.
    Cuda(u32),
    /// The Metal device.
    Metal,
}

/// Replicas of a model on some hardware.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatedSpec {
    /// The model, as `catalog/models.ron` names it.
    pub model: String,
    /// The hardware, as `catalog/hardware/` names it.
    pub hardware: String,
    /// Replicas, each with all of the model.
    pub replicas: u32,
    /// Devices that share each layer of a replica.
    pub tensor_parallel: u32,
    /// Devices that share the experts of a replica.
    pub expert_parallel: u32,
    /// Format of the weights; the model's own when absent.
    pub quantization: Option<Quantization>,
    /// Format of the KV cache: `Fp16`, unless `Fp8` is said.
    pub kv_cache: Option<Quantization>,
    /// The serving engine, as `catalog/engines.ron` names it.
    pub engine: String,
    /// Most sequences in a replica's batch; the engine's default when absent.
    pub max_seqs: Option<u32>,
    /// Most tokens in an iteration; the engine's default when absent.
    pub max_batched_tokens: Option<u32>,
    /// Share of a device's memory that is used; the engine's default when absent.
    pub memory_utilization: Option<f64>,
    /// Whether what prompts begin with is kept for the next.
    pub prefix_cache: bool,
    /// How a request finds its replica.
    pub routing: RoutingSpec,
    /// How the number of replicas follows the load; it does not when absent.
    pub scaling: Option<ScalingSpec>,
    /// What a replica costs, all of its devices together; unknown when absent.
    pub cost: Option<Cost>,
    /// How much may be asked of it.
    pub limits: LimitSpec,
}

impl Default for SimulatedSpec {
    fn default() -> Self {
        Self {
            model: String::new(),
            hardware: String::new(),
            replicas: 1,
            tensor_parallel: 1,
            expert_parallel: 1,
            quantization: None,
            kv_cache: None,
            engine: "vllm".to_owned(),
            max_seqs: None,
            max_batched_tokens: None,
            memory_utilization: None,
            prefix_cache: true,
            routing: RoutingSpec::default(),
            scaling: None,
            cost: None,
            limits: LimitSpec::default(),
        }
    }
}

/// Format of weights, or of a KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantization {
    /// 16 bits, of either kind.
    Fp16,
    /// 8 bits, floating.
    Fp8,
    /// 4 bits with a scale per group (AWQ, GPTQ).
    Int4,
    /// 4 bits, floating, with a scale per 32.
    Mxfp4,
    /// GGUF's `Q8_0`.
    Q8_0,
    /// GGUF's `Q6_K`.
    Q6K,
    /// GGUF's `Q5_K_M`.
    Q5KM,
    /// GGUF's `Q4_K_M`.
    Q4KM,
}

impl Quantization {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Fp16, Self::Fp8, Self::Int4, Self::Mxfp4, Self::Q8_0, Self::Q6K, Self::Q5KM, Self::Q4KM];
}

/// How a request finds its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RoutingSpec {
    /// One after the other.
    RoundRobin,
    /// The one with the least to do.
    #[default]
    LeastLoaded,
    /// One that has the beginning of the prompt, unless it has much more to do than others.
    PrefixAware,
}

/// How the number of replicas follows the load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalingSpec {
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Requests per replica above which one more is started.
    pub target: u32,
    /// Seconds until a new replica serves.
    pub cold_start_s: f64,
    /// Seconds for which a replica must have been idle before it is given up.
    pub idle_s: f64,
}

/// What a backend costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Cost {
    /// Dollars per hour of the machine, charged by busy time.
    PerHour {
        /// Dollars.
        usd: Usd,
    },
    /// Dollars per million tokens.
    PerMillionTokens {
        /// Input that no cache holds.
        input: Usd,
        /// Output, reasoning included.
        output: Usd,
        /// Input read from the server's prompt cache; as other input when absent.
        cached_input: Option<Usd>,
        /// Input written to the server's prompt cache; as other input when absent.
        cache_write: Option<Usd>,
    },
    /// Not known: costs are `null`, totals incomplete.
    Unknown,
}

impl Cost {
    /// Every price in it.
    pub fn figures(&self) -> impl Iterator<Item = Usd> + use<> {
        let figures = match self {
            Self::PerHour { usd } => [Some(*usd), None, None, None],
            Self::PerMillionTokens { input, output, cached_input, cache_write } => {
                [Some(*input), Some(*output), *cached_input, *cache_write]
            }
            Self::Unknown => [None; 4],
        };
        figures.into_iter().flatten()
    }
}

/// What is inside, and what must not leave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Boundary {
    /// Backends that count as inside. Local ones always do.
    pub inside: Vec<String>,
    /// Hosts that tools fetch from and telemetry goes to and that count as inside. Those of this machine always do.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Labels that must not leave.
    pub forbid_outside: Vec<Label>,
}
