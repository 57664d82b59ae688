//! `Deployment(…)`: backends, bindings and the boundary.

use super::decode::one_of;
use super::raw::Raw;
use super::reader::{Decode, Reader, hint_of_names};
use super::workflow::{top, version};
use crate::spec::{
    BackendSpec, Boundary, BreakerSpec, Cost, DeploymentSpec, Device, Durability, LimitSpec, LocalSpec, PromptCache,
    Provider, Quantization, RemoteSpec, RoutingSpec, ScalingSpec, SecretSource, SimulatedSpec, Structured, TimeoutSpec,
};

/// Reads the whole file; what can't be read is left out of the result.
pub(super) fn deployment(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<DeploymentSpec> {
    let mut fields = top(reader, raw, "Deployment")?;
    version(reader, &mut fields);
    let name: Option<String> = fields.require(reader, "name");
    let backends = fields.require(reader, "backends");
    let bind = fields.require(reader, "bind");
    let escalate = fields.take(reader, "escalate");
    let boundary = fields.take(reader, "boundary");
    let durability = fields.take_with(reader, "durability", |reader, raw| {
        use Durability::{Full, Normal, Off};
        one_of(reader, raw, &[("Full", Full), ("Normal", Normal), ("Off", Off)])
    });
    fields.unavailable(reader, "content", "remove it");
    fields.finish(reader);
    Some(DeploymentSpec {
        name: name.unwrap_or_default(),
        backends: backends.unwrap_or_default(),
        bind: bind.unwrap_or_default(),
        escalate: escalate.unwrap_or_default(),
        boundary: boundary.unwrap_or_default(),
        durability: durability.unwrap_or_default(),
    })
}

impl Decode for BackendSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let name = raw.name().unwrap_or_default();
        match (name, raw.body()) {
            ("Local", Some(body)) => {
                let mut fields = reader.body(body, "Local")?;
                let model = fields.require(reader, "model");
                let device = fields.take(reader, "device").unwrap_or_default();
                let cost = fields.take(reader, "cost");
                let context = fields.take(reader, "context");
                let limits = fields.take(reader, "limits").unwrap_or_default();
                fields.finish(reader);
                Some(Self::Local(LocalSpec { model: model?, device, cost, context, limits }))
            }
            ("Custom", Some(body)) => {
                let mut fields = reader.body(body, "Custom")?;
                let (name, cost) = (fields.require(reader, "name"), fields.require(reader, "cost"));
                let limits = fields.take(reader, "limits").unwrap_or_default();
                fields.finish(reader);
                Some(Self::Custom { name: name?, cost: cost?, limits })
            }
            ("Remote", Some(body)) => {
                let mut fields = reader.body(body, "Remote")?;
                let provider = fields.require(reader, "provider");
                let model = fields.require(reader, "model");
                let (cost, price) = (fields.take(reader, "cost"), fields.take(reader, "price"));
                if cost.is_some() && price.is_some() {
                    let hint = Some("`price` is another word for `cost`; keep one of them".to_owned());
                    reader.problem(raw, "both `cost` and `price` are given".to_owned(), hint);
                }
                let remote = RemoteSpec {
                    provider: Provider::OpenAiCompatible,
                    model: String::new(),
                    base_url: fields.take(reader, "base_url"),
                    api_key: fields.take(reader, "api_key"),
                    cost: cost.or(price),
                    limits: fields.take(reader, "limits").unwrap_or_default(),
                    timeouts: fields.take(reader, "timeouts").unwrap_or_default(),
                    breaker: fields.take(reader, "breaker"),
                    context: fields.take(reader, "context"),
                    embedder: fields.take(reader, "embedder").unwrap_or_default(),
                    structured: fields
                        .take_with(reader, "structured", |reader, raw| {
                            one_of(reader, raw, &[("Native", Structured::Native), ("Prompt", Structured::Prompt)])
                        })
                        .unwrap_or_default(),
                    prompt_cache: fields.take_with(reader, "prompt_cache", |reader, raw| {
                        let known = [("FiveMinutes", PromptCache::FiveMinutes), ("OneHour", PromptCache::OneHour)];
                        one_of(reader, raw, &known)
                    }),
                    omit: fields.take(reader, "omit").unwrap_or_default(),
                    extra: fields.take(reader, "extra").unwrap_or_default(),
                    proxy: fields.take(reader, "proxy"),
                    ca_file: fields.take(reader, "ca_file"),
                    region: fields.take(reader, "region"),
                    retention: fields.take(reader, "retention"),
                };
                fields.finish(reader);
                Some(Self::Remote(Box::new(RemoteSpec { provider: provider?, model: model?, ..remote })))
            }
            ("Simulated", Some(body)) => simulated(reader, body),
            ("Local" | "Remote" | "Simulated" | "Custom", None) => {
                reader.problem(raw, format!("{name} needs its fields"), Some(format!("{name}(…)")));
                None
            }
            _ => {
                let hint = hint_of_names(name, &["Local", "Remote", "Simulated", "Custom"]);
                reader.problem(raw, format!("expected a kind of backend, found {}", raw.description()), Some(hint));
                None
            }
        }
    }
}

fn simulated(reader: &mut Reader<'_>, body: Raw<'_>) -> Option<BackendSpec> {
    let mut fields = reader.body(body, "Simulated")?;
    let (model, hardware) = (fields.require(reader, "model"), fields.require(reader, "hardware"));
    let default = SimulatedSpec::default();
    let spec = SimulatedSpec {
        replicas: fields.take(reader, "replicas").unwrap_or(default.replicas),
        tensor_parallel: fields.take(reader, "tensor_parallel").unwrap_or(default.tensor_parallel),
        expert_parallel: fields.take(reader, "expert_parallel").unwrap_or(default.expert_parallel),
        quantization: fields.take(reader, "quantization"),
        kv_cache: fields.take(reader, "kv_cache"),
        engine: fields.take(reader, "engine").unwrap_or(default.engine),
        max_seqs: fields.take(reader, "max_seqs"),
        max_batched_tokens: fields.take(reader, "max_batched_tokens"),
        memory_utilization: fields.take(reader, "memory_utilization"),
        prefix_cache: fields.take(reader, "prefix_cache").unwrap_or(default.prefix_cache),
        routing: fields.take(reader, "routing").unwrap_or_default(),
        scaling: fields.take(reader, "scaling"),
        cost: fields.take(reader, "cost"),
        limits: fields.take(reader, "limits").unwrap_or_default(),
        model: String::new(),
        hardware: String::new(),
    };
    fields.finish(reader);
    Some(BackendSpec::Simulated(Box::new(SimulatedSpec { model: model?, hardware: hardware?, ..spec })))
}

impl Decode for Quantization {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        use Quantization::{Fp8, Fp16, Int4, Mxfp4, Q4KM, Q5KM, Q6K, Q8_0};
        let known = [
            ("Fp16", Fp16),
            ("Fp8", Fp8),
            ("Int4", Int4),
            ("Mxfp4", Mxfp4),
            ("Q8_0", Q8_0),
            ("Q6K", Q6K),
            ("Q5KM", Q5KM),
            ("Q4KM", Q4KM),
        ];
        one_of(reader, raw, &known)
    }
}

impl Decode for RoutingSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        use RoutingSpec::{LeastLoaded, PrefixAware, RoundRobin};
        let known = [("RoundRobin", RoundRobin), ("LeastLoaded", LeastLoaded), ("PrefixAware", PrefixAware)];
        one_of(reader, raw, &known)
    }
}

impl Decode for ScalingSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "scaling")?;
        let (min, max, target) =
            (fields.require(reader, "min"), fields.require(reader, "max"), fields.require(reader, "target"));
        let cold_start_s = fields.take(reader, "cold_start_s").unwrap_or_default();
        let idle_s = fields.take(reader, "idle_s").unwrap_or(300.0);
        fields.finish(reader);
        Some(Self { min: min?, max: max?, target: target?, cold_start_s, idle_s })
    }
}

impl Decode for Provider {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        one_of(
            reader,
            raw,
            &[
                ("OpenAi", Self::OpenAi),
                ("Anthropic", Self::Anthropic),
                ("Gemini", Self::Gemini),
                ("OpenAiCompatible", Self::OpenAiCompatible),
            ],
        )
    }
}

impl Decode for SecretSource {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match (raw.name(), raw.body().and_then(Raw::single)) {
            (Some("Env"), Some(name)) => String::decode(reader, name).map(Self::Env),
            (Some("File"), Some(path)) => String::decode(reader, path).map(Self::File),
            _ => {
                // The text may be the secret itself, so it is not repeated.
                let hint = Some("api_key: Env(\"OPENAI_API_KEY\") or File(\"key.txt\")".to_owned());
                reader.problem(raw, "expected where the key is, not the key".to_owned(), hint);
                None
            }
        }
    }
}

impl Decode for LimitSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "limits")?;
        let limits = Self {
            rpm: fields.take(reader, "rpm"),
            tpm: fields.take(reader, "tpm"),
            input_tpm: fields.take(reader, "input_tpm"),
            output_tpm: fields.take(reader, "output_tpm"),
            concurrency: fields.take(reader, "concurrency"),
            usd_per_day: fields.take(reader, "usd_per_day"),
        };
        fields.finish(reader);
        Some(limits)
    }
}

impl Decode for TimeoutSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "timeouts")?;
        let default = Self::default();
        let timeouts = Self {
            connect_s: fields.take(reader, "connect_s").unwrap_or(default.connect_s),
            first_token_s: fields.take(reader, "first_token_s").unwrap_or(default.first_token_s),
            idle_s: fields.take(reader, "idle_s").unwrap_or(default.idle_s),
        };
        fields.finish(reader);
        Some(timeouts)
    }
}

impl Decode for BreakerSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "breaker")?;
        let default = Self::default();
        let breaker = Self {
            failures: fields.take(reader, "failures").unwrap_or(default.failures),
            window_s: fields.take(reader, "window_s").unwrap_or(default.window_s),
            cooldown_s: fields.take(reader, "cooldown_s").unwrap_or(default.cooldown_s),
        };
        fields.finish(reader);
        Some(breaker)
    }
}

impl Decode for Device {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match (raw.name(), raw.body().and_then(Raw::single)) {
            (Some("Auto"), None) => Some(Self::Auto),
            (Some("Cpu"), None) => Some(Self::Cpu),
            (Some("Metal"), None) => Some(Self::Metal),
            (Some("Cuda"), Some(number)) => u32::decode(reader, number).map(Self::Cuda),
            (name, _) => {
                let hint = match name {
                    Some("Cuda") => "Cuda(0) is the first CUDA device".to_owned(),
                    Some("Gpu" | "gpu" | "GPU") => "Auto takes a GPU where there is one".to_owned(),
                    name => hint_of_names(name.unwrap_or_default(), &["Auto", "Cpu", "Cuda(0)", "Metal"]),
                };
                let message = format!("expected Auto, Cpu, Cuda(n) or Metal, found {}", raw.description());
                reader.problem(raw, message, Some(hint));
                None
            }
        }
    }
}

impl Decode for Cost {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match (raw.name(), raw.body()) {
            (Some("Unknown"), None) => Some(Self::Unknown),
            (Some("PerHour"), Some(body)) if body.fields().is_some() => {
                let mut fields = reader.body(body, "PerHour")?;
                let usd = fields.require(reader, "usd");
                fields.finish(reader);
                Some(Self::PerHour { usd: usd? })
            }
            (Some("PerMillionTokens"), Some(body)) if body.fields().is_some() => {
                let mut fields = reader.body(body, "PerMillionTokens")?;
                let (input, output) = (fields.require(reader, "input"), fields.require(reader, "output"));
                let (cached_input, cache_write) =
                    (fields.take(reader, "cached_input"), fields.take(reader, "cache_write"));
                fields.finish(reader);
                Some(Self::PerMillionTokens { input: input?, output: output?, cached_input, cache_write })
            }
            _ => {
                let hint = Some(
                    "PerHour(usd: \"0.20\"), PerMillionTokens(input: \"0.15\", output: \"0.60\") or Unknown".to_owned(),
                );
                reader.problem(raw, format!("expected a cost, found {}", raw.description()), hint);
                None
            }
        }
    }
}

impl Decode for Boundary {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "boundary")?;
        let boundary = Self {
            inside: fields.take(reader, "inside").unwrap_or_default(),
            hosts: fields.take(reader, "hosts").unwrap_or_default(),
            forbid_outside: fields.take(reader, "forbid_outside").unwrap_or_default(),
        };
        fields.finish(reader);
        Some(boundary)
    }
}
