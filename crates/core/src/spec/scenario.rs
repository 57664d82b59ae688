//! A scenario: a workflow under load on one or more deployments, with what a simulation cannot know by itself.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::deployment::LimitSpec;

/// A scenario as written in `scenarios/*.ron`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScenarioSpec {
    /// Name in results.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// The workflow: a path, relative to the scenario's file, or the name of a file in `workflows/`.
    pub workflow: String,
    /// The deployments that are compared: paths, or names of files in `deployments/`.
    pub deployments: Vec<String>,
    /// Who comes, when and how often.
    pub workload: WorkloadSpec,
    /// What is known of the workflow's nodes; those inside sub-workflows as `outer/inner`.
    pub nodes: IndexMap<String, ProfileSpec>,
    /// What is known of backends and other places where work is done, by name.
    pub services: IndexMap<String, ServiceSpec>,
    /// What must hold for a run to count as good.
    pub slo: SloSpec,
}

/// Who comes, when and how often.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// When runs arrive.
    pub arrivals: Option<ArrivalSpec>,
    /// Most runs that arrive.
    pub runs: Option<u64>,
    /// Seconds during which runs arrive.
    pub duration_s: Option<f64>,
    /// Runs at the beginning that are left out of the results, because the system fills up first.
    pub warmup_runs: u64,
    /// Runs that belong together; without it each run stands alone.
    pub sessions: Option<SessionSpec>,
    /// Inputs of the runs when they are made for real; a simulation needs none.
    pub inputs: IndexMap<String, serde_json::Value>,
}

/// When runs, or sessions of runs, arrive. Rates are per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ArrivalSpec {
    /// Independently of each other.
    Poisson {
        /// Mean rate.
        per_s: f64,
    },
    /// At equal distances.
    Constant {
        /// Rate.
        per_s: f64,
    },
    /// With gaps of a Gamma distribution: bursts when `cv` is above 1.
    Gamma {
        /// Mean rate.
        per_s: f64,
        /// Standard deviation of the gaps over their mean.
        cv: f64,
    },
    /// With gaps of a Weibull distribution: bursts when `shape` is below 1.
    Weibull {
        /// Mean rate.
        per_s: f64,
        /// Shape; 1 is Poisson.
        shape: f64,
    },
    /// Poisson with a rate that follows the time of day: a cosine whose top is `peak` times the mean.
    Diurnal {
        /// Mean rate.
        per_s: f64,
        /// Highest rate over the mean, from 1 to 2.
        peak: f64,
        /// Hour of the highest rate, counted from the start.
        peak_h: f64,
        /// Length of a day in hours.
        day_h: f64,
    },
    /// Poisson that is switched on and off; both phases last for exponentially distributed times.
    OnOff {
        /// Rate while on.
        per_s: f64,
        /// Mean seconds on.
        on_s: f64,
        /// Mean seconds off.
        off_s: f64,
    },
    /// So many clients, each of which waits for its run and thinks before the next.
    Closed {
        /// Clients.
        clients: u32,
        /// Seconds between a run's end and the next.
        think_s: DistSpec,
    },
    /// As in a file: CSV with the columns `time_s`, and `input_tokens` and `output_tokens` where lengths are given too; or
    /// recorded runs with `started_at`.
    Trace {
        /// The file, relative to the scenario's.
        file: String,
        /// How much faster than recorded.
        speed: f64,
    },
}

impl ArrivalSpec {
    /// The mean rate per second; `None` where clients or a file decide.
    pub fn per_s(&self) -> Option<f64> {
        match self {
            Self::Poisson { per_s }
            | Self::Constant { per_s }
            | Self::Gamma { per_s, .. }
            | Self::Weibull { per_s, .. }
            | Self::Diurnal { per_s, .. } => Some(*per_s),
            Self::OnOff { per_s, on_s, off_s } => Some(per_s * on_s / (on_s + off_s)),
            Self::Closed { .. } | Self::Trace { .. } => None,
        }
    }
}

/// Runs that belong together: the turns of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// Runs per session.
    pub turns: DistSpec,
    /// Seconds between a run's end and the session's next.
    pub think_s: DistSpec,
    /// Tokens by which the prompts grow with each turn, for nodes that say `context: true`.
    pub growth_tokens: DistSpec,
}

/// How a quantity varies. Lengths are rounded to whole numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DistSpec {
    /// Not at all.
    Fixed(f64),
    /// Evenly from `min` to `max`, both included for whole numbers.
    Uniform {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Exponentially.
    Exponential {
        /// Mean.
        mean: f64,
    },
    /// As a Gamma distribution.
    Gamma {
        /// Mean.
        mean: f64,
        /// Standard deviation over mean.
        cv: f64,
    },
    /// Log-normally.
    LogNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation over mean.
        cv: f64,
    },
    /// Geometrically from 1 on.
    Geometric {
        /// Mean, at least 1.
        mean: f64,
    },
    /// One of these, each as likely.
    Samples(Vec<f64>),
}

impl DistSpec {
    /// The mean.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(value) => *value,
            Self::Uniform { min, max } => f64::midpoint(*min, *max),
            Self::Exponential { mean }
            | Self::Gamma { mean, .. }
            | Self::LogNormal { mean, .. }
            | Self::Geometric { mean } => *mean,
            Self::Samples(samples) => samples.iter().sum::<f64>() / samples.len().max(1) as f64,
        }
    }
}

/// What is known of a node: lengths for those that ask a model, times for the others, and how its questions go out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProfileSpec {
    /// Tokens of the prompt, shared ones included.
    pub input_tokens: Option<DistSpec>,
    /// Tokens of the answer.
    pub output_tokens: Option<DistSpec>,
    /// Share of the answer's tokens that its format prescribes: a model in this process reads them at once.
    pub prescribed: Option<f64>,
    /// Tokens at the beginning of the prompt that are the same in all runs.
    pub shared_tokens: u32,
    /// Whether the prompt carries what the session said before.
    pub context: bool,
    /// Seconds of work, for nodes that ask no model.
    pub duration_s: Option<DistSpec>,
    /// The service that does the work, for nodes that ask no model; without one nobody waits.
    pub service: Option<String>,
    /// Chance that its condition holds.
    pub when: Option<f64>,
    /// Chances of a router's branches.
    pub branches: IndexMap<String, f64>,
    /// Entries of its map.
    pub width: Option<DistSpec>,
    /// Rounds of its loop.
    pub rounds: Option<DistSpec>,
    /// Chance that its answer passes the cascade's test.
    pub accept: Option<f64>,
    /// Chance that the guard refuses.
    pub refuse: Option<f64>,
    /// Chance that an attempt fails.
    pub fail: Option<f64>,
}

/// A place where work is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ServiceSpec {
    /// So many servers with one queue; whoever comes first is served first.
    Station {
        /// Servers.
        servers: u32,
    },
    /// A model behind an API.
    Api(ApiSpec),
    /// Replicas of a model, as a measured profile describes them.
    Profile {
        /// The profile: a path, or the name of a file in `profiles/`.
        file: String,
        /// Replicas.
        replicas: u32,
        /// When which of them is down.
        outages: Vec<ReplicaOutageSpec>,
    },
    /// What happens to the replicas of a `Simulated` backend of the deployment.
    Replicas {
        /// When which of them is down.
        outages: Vec<ReplicaOutageSpec>,
    },
}

/// A time in which a replica is down: what it works on fails, and its cache is lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReplicaOutageSpec {
    /// The replica, from 0.
    pub replica: u32,
    /// Seconds from the start.
    pub from_s: f64,
    /// How long it lasts.
    pub for_s: f64,
}

/// A model behind an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiSpec {
    /// Seconds of network, there and back.
    pub round_trip_s: DistSpec,
    /// Seconds from a request's arrival to the first token.
    pub ttft_s: DistSpec,
    /// Seconds of `ttft_s` that each thousand prompt tokens add.
    pub ttft_s_per_1k: f64,
    /// Tokens per second after the first.
    pub tokens_per_s: DistSpec,
    /// What the server enforces: beyond it, it answers 429.
    pub limits: LimitSpec,
    /// Whether a 429 says how long to wait.
    pub retry_after: bool,
    /// Chance that a request fails with a server error.
    pub fail: f64,
    /// Seconds for which shared prompts stay cached after their last use; `None` caches nothing.
    pub cache_ttl_s: Option<f64>,
    /// Tokens of the shortest shared prompt that is cached; `None` takes what the provider of the backend's model documents.
    pub cache_min_tokens: Option<u32>,
    /// Tokens in steps of which cached prompts grow beyond that; `None` as before.
    pub cache_step_tokens: Option<u32>,
    /// When it does not work as usual.
    pub outages: Vec<OutageSpec>,
    /// The window in which requests are held back to be served together; `None` serves each at once.
    pub batch_window_s: Option<f64>,
    /// Recorded attempts that its times are estimated from; 0 where they are declared. No file says it.
    pub attempts: u64,
}

impl Default for ApiSpec {
    fn default() -> Self {
        Self {
            round_trip_s: DistSpec::Fixed(0.0),
            ttft_s: DistSpec::Fixed(0.0),
            ttft_s_per_1k: 0.0,
            tokens_per_s: DistSpec::Fixed(f64::INFINITY),
            limits: LimitSpec::default(),
            retry_after: true,
            fail: 0.0,
            cache_ttl_s: None,
            cache_min_tokens: None,
            cache_step_tokens: None,
            outages: Vec::new(),
            batch_window_s: None,
            attempts: 0,
        }
    }
}

/// A time in which an API does not work as usual.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OutageSpec {
    /// Seconds from the start.
    pub from_s: f64,
    /// How long it lasts.
    pub for_s: f64,
    /// How many times slower it is; `None` fails every request.
    pub slower: Option<f64>,
}

/// What must hold for a run to count as good; `None` asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SloSpec {
    /// Longest run in seconds.
    pub run_s: Option<f64>,
    /// Longest time to first token of any of its attempts, in seconds.
    pub ttft_s: Option<f64>,
    /// Longest time per output token after the first of any of its attempts, in milliseconds.
    pub tpot_ms: Option<f64>,
    /// The share of runs that must be good, e.g. 0.95.
    pub share: Option<f64>,
}

impl SloSpec {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.run_s.is_none() && self.ttft_s.is_none() && self.tpot_ms.is_none()
    }
}
