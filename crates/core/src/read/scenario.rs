//! `Scenario(…)`: a workflow under load.

use super::raw::Raw;
use super::reader::{Decode, Fields, Reader, hint_of_names};
use super::workflow::{top, version};
use crate::spec::{
    ApiSpec, ArrivalSpec, DistSpec, OutageSpec, ProfileSpec, ReplicaOutageSpec, ScenarioSpec, ServiceSpec, SessionSpec,
    SloSpec, WorkloadSpec,
};

/// Reads the whole file; what can't be read is left out of the result.
pub(super) fn scenario(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<ScenarioSpec> {
    let mut fields = top(reader, raw, "Scenario")?;
    version(reader, &mut fields);
    let name = fields.require(reader, "name");
    let description = fields.take(reader, "description");
    let workflow = fields.require(reader, "workflow");
    let deployments = fields.require(reader, "deployments");
    let workload = fields.require(reader, "workload");
    let nodes = fields.take(reader, "nodes");
    let services = fields.take(reader, "services");
    let slo = fields.take(reader, "slo");
    fields.finish(reader);
    Some(ScenarioSpec {
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        workflow: workflow.unwrap_or_default(),
        deployments: deployments.unwrap_or_default(),
        workload: workload.unwrap_or_default(),
        nodes: nodes.unwrap_or_default(),
        services: services.unwrap_or_default(),
        slo: slo.unwrap_or_default(),
    })
}

impl Decode for WorkloadSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "workload")?;
        let workload = Self {
            arrivals: fields.require(reader, "arrivals"),
            runs: fields.take(reader, "runs"),
            duration_s: fields.take(reader, "duration_s"),
            warmup_runs: fields.take(reader, "warmup_runs").unwrap_or_default(),
            sessions: fields.take(reader, "sessions"),
            inputs: fields.take(reader, "inputs").unwrap_or_default(),
        };
        fields.finish(reader);
        Some(workload)
    }
}

/// The fields of one of several names, which is given back beside them; `None` after a problem was noted.
pub(super) fn variant<'a>(
    reader: &mut Reader<'_>,
    raw: Raw<'a>,
    names: &[&'static str],
    what: &str,
) -> Option<(&'static str, Fields<'a>)> {
    let found = raw.name().unwrap_or_default();
    let Some(name) = names.iter().find(|name| **name == found).copied() else {
        let hint = hint_of_names(found, names);
        reader.problem(raw, format!("expected {what}, found {}", raw.description()), Some(hint));
        return None;
    };
    let Some(body) = raw.body() else {
        reader.problem(raw, format!("{name} needs its fields"), Some(format!("{name}(…)")));
        return None;
    };
    Some((name, reader.body(body, name)?))
}

impl Decode for ArrivalSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        const NAMES: [&str; 8] = ["Poisson", "Constant", "Gamma", "Weibull", "Diurnal", "OnOff", "Closed", "Trace"];
        let (name, mut fields) = variant(reader, raw, &NAMES, "a kind of arrivals")?;
        // Every field is taken before the first `?`, so that all that is wrong is reported.
        let rate = |reader: &mut Reader<'_>, fields: &mut Fields<'_>| fields.require(reader, "per_s");
        let arrivals = match name {
            "Poisson" => rate(reader, &mut fields).map(|per_s| Self::Poisson { per_s }),
            "Constant" => rate(reader, &mut fields).map(|per_s| Self::Constant { per_s }),
            "Gamma" => {
                let (per_s, cv) = (rate(reader, &mut fields), fields.require(reader, "cv"));
                per_s.zip(cv).map(|(per_s, cv)| Self::Gamma { per_s, cv })
            }
            "Weibull" => {
                let (per_s, shape) = (rate(reader, &mut fields), fields.require(reader, "shape"));
                per_s.zip(shape).map(|(per_s, shape)| Self::Weibull { per_s, shape })
            }
            "Diurnal" => {
                let (per_s, peak) = (rate(reader, &mut fields), fields.require(reader, "peak"));
                let peak_h = fields.take(reader, "peak_h").unwrap_or(14.0);
                let day_h = fields.take(reader, "day_h").unwrap_or(24.0);
                per_s.zip(peak).map(|(per_s, peak)| Self::Diurnal { per_s, peak, peak_h, day_h })
            }
            "OnOff" => {
                let per_s = rate(reader, &mut fields);
                let phases = (fields.require(reader, "on_s"), fields.require(reader, "off_s"));
                let (Some(per_s), (Some(on_s), Some(off_s))) = (per_s, phases) else { return None };
                Some(Self::OnOff { per_s, on_s, off_s })
            }
            "Closed" => {
                let clients = fields.require(reader, "clients");
                let think_s = fields.take(reader, "think_s").unwrap_or(DistSpec::Fixed(0.0));
                clients.map(|clients| Self::Closed { clients, think_s })
            }
            _ => {
                let file = fields.require(reader, "file");
                let speed = fields.take(reader, "speed").unwrap_or(1.0);
                file.map(|file| Self::Trace { file, speed })
            }
        };
        fields.finish(reader);
        arrivals
    }
}

impl Decode for SessionSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "sessions")?;
        let (turns, think_s) = (fields.require(reader, "turns"), fields.require(reader, "think_s"));
        let growth_tokens = fields.take(reader, "growth_tokens").unwrap_or(DistSpec::Fixed(0.0));
        fields.finish(reader);
        Some(Self { turns: turns?, think_s: think_s?, growth_tokens })
    }
}

/// A number alone is what does not vary, a list are samples.
impl Decode for DistSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        const NAMES: [&str; 6] = ["Fixed", "Uniform", "Exponential", "Gamma", "LogNormal", "Geometric"];
        if raw.text.starts_with('[') {
            return Vec::decode(reader, raw).map(Self::Samples);
        }
        if raw.name().is_none() {
            return f64::decode(reader, raw).map(Self::Fixed);
        }
        if raw.name() == Some("Fixed") {
            return f64::decode(reader, raw.body().and_then(Raw::single).unwrap_or(raw)).map(Self::Fixed);
        }
        let (name, mut fields) = variant(reader, raw, &NAMES, "a distribution")?;
        let dist = match name {
            "Uniform" => {
                let (min, max) = (fields.require(reader, "min"), fields.require(reader, "max"));
                min.zip(max).map(|(min, max)| Self::Uniform { min, max })
            }
            "Exponential" => fields.require(reader, "mean").map(|mean| Self::Exponential { mean }),
            "Geometric" => fields.require(reader, "mean").map(|mean| Self::Geometric { mean }),
            name => {
                let both = fields.require(reader, "mean").zip(fields.require(reader, "cv"));
                both.map(|(mean, cv)| match name {
                    "Gamma" => Self::Gamma { mean, cv },
                    _ => Self::LogNormal { mean, cv },
                })
            }
        };
        fields.finish(reader);
        dist
    }
}

impl Decode for ProfileSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "profile")?;
        let profile = Self {
            input_tokens: fields.take(reader, "input_tokens"),
            output_tokens: fields.take(reader, "output_tokens"),
            prescribed: fields.take(reader, "prescribed"),
            shared_tokens: fields.take(reader, "shared_tokens").unwrap_or_default(),
            context: fields.take(reader, "context").unwrap_or_default(),
            duration_s: fields.take(reader, "duration_s"),
            service: fields.take(reader, "service"),
            when: fields.take(reader, "when"),
            branches: fields.take(reader, "branches").unwrap_or_default(),
            width: fields.take(reader, "width"),
            rounds: fields.take(reader, "rounds"),
            accept: fields.take(reader, "accept"),
            refuse: fields.take(reader, "refuse"),
            fail: fields.take(reader, "fail"),
        };
        fields.finish(reader);
        Some(profile)
    }
}

impl Decode for ServiceSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let (name, mut fields) = variant(reader, raw, &["Station", "Api", "Profile", "Replicas"], "a service")?;
        let service = match name {
            "Station" => fields.require(reader, "servers").map(|servers| Self::Station { servers }),
            "Profile" => {
                let file = fields.require(reader, "file");
                let replicas = fields.take(reader, "replicas").unwrap_or(1);
                let outages = fields.take(reader, "outages").unwrap_or_default();
                file.map(|file| Self::Profile { file, replicas, outages })
            }
            "Replicas" => fields.require(reader, "outages").map(|outages| Self::Replicas { outages }),
            _ => {
                let default = ApiSpec::default();
                Some(Self::Api(ApiSpec {
                    round_trip_s: fields.take(reader, "round_trip_s").unwrap_or(default.round_trip_s),
                    ttft_s: fields.take(reader, "ttft_s").unwrap_or(default.ttft_s),
                    ttft_s_per_1k: fields.take(reader, "ttft_s_per_1k").unwrap_or(default.ttft_s_per_1k),
                    tokens_per_s: fields.take(reader, "tokens_per_s").unwrap_or(default.tokens_per_s),
                    limits: fields.take(reader, "limits").unwrap_or_default(),
                    retry_after: fields.take(reader, "retry_after").unwrap_or(default.retry_after),
                    fail: fields.take(reader, "fail").unwrap_or_default(),
                    cache_ttl_s: fields.take(reader, "cache_ttl_s"),
                    cache_min_tokens: fields.take(reader, "cache_min_tokens"),
                    cache_step_tokens: fields.take(reader, "cache_step_tokens"),
                    outages: fields.take(reader, "outages").unwrap_or_default(),
                    batch_window_s: fields.take(reader, "batch_window_s"),
                    attempts: default.attempts,
                }))
            }
        };
        fields.finish(reader);
        service
    }
}

impl Decode for OutageSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "outage")?;
        let (from_s, for_s) = (fields.require(reader, "from_s"), fields.require(reader, "for_s"));
        let slower = fields.take(reader, "slower");
        fields.finish(reader);
        Some(Self { from_s: from_s?, for_s: for_s?, slower })
    }
}

impl Decode for ReplicaOutageSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "outage of a replica")?;
        let replica = fields.take(reader, "replica").unwrap_or_default();
        let (from_s, for_s) = (fields.require(reader, "from_s"), fields.require(reader, "for_s"));
        fields.finish(reader);
        Some(Self { replica, from_s: from_s?, for_s: for_s? })
    }
}

impl Decode for SloSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "slo")?;
        let slo = Self {
            run_s: fields.take(reader, "run_s"),
            ttft_s: fields.take(reader, "ttft_s"),
            tpot_ms: fields.take(reader, "tpot_ms"),
            share: fields.take(reader, "share"),
        };
        fields.finish(reader);
        Some(slo)
    }
}
