//! Runs of a diamond of no-op nodes under each mode.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use indexmap::IndexMap;
use lumos_core::program::Program;
use lumos_core::spec::{LimitsSpec, NodeKind, NodeOptions, NodeSpec, WorkflowSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, SharedAgent};
use lumos_engine::{BoundProgram, CancellationToken, Engine, NodeBinding, RunRequest};
use lumos_telemetry::{Settings, Telemetry};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use yardstick::{RUNS, Shape};

/// Times that 10,000 runs are started together in a saturated measure.
const BURSTS: usize = 8;
/// Bursts of each of two modes side by side.
const PAIRS: usize = 600;
/// How long a paced measure goes on.
const PACED: Duration = Duration::from_secs(5);
/// Twenty diamonds of five steps in ten milliseconds: ten steps a millisecond.
const TICK: Duration = Duration::from_millis(10);
const PER_TICK: usize = 20;

/// What listens.
pub enum Mode {
    /// Nobody.
    None,
    /// A collector at an address; how many spans may wait, unless it is the default; how long the end may take.
    To(String, Option<usize>, Duration),
}

struct Nothing;

#[async_trait]
impl Agent for Nothing {
    async fn run(&self, _: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        Ok(Value::Null.into())
    }
}

/// The program, and the threads that run it.
pub struct Bench {
    bound: Arc<BoundProgram>,
    runtime: Runtime,
}

impl Bench {
    pub fn new() -> Self {
        let shape = Shape::diamond();
        let nodes = shape.names.iter().zip(&shape.dependencies).map(|(name, before)| {
            let after = before.iter().map(|node| shape.names[*node].clone()).collect();
            let kind = NodeKind::Custom { agent: "nothing".to_owned() };
            (name.clone(), NodeSpec { kind, options: NodeOptions { after, ..NodeOptions::default() } })
        });
        let spec = WorkflowSpec {
            name: "bench".to_owned(),
            description: String::new(),
            inputs: IndexMap::new(),
            nodes: nodes.collect(),
            output: "done".to_owned(),
            limits: LimitsSpec::default(),
        };
        let program = Program::compile(&Arc::new(spec).into()).expect("a workflow");
        let bound = BoundProgram::new(program, "bench", |_| {
            let agent: SharedAgent = Arc::new(Nothing);
            Ok::<_, std::convert::Infallible>(NodeBinding { agent: Some(agent), backends: Vec::new() })
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { bound: Arc::new(bound.unwrap_or_else(|never| match never {})), runtime: runtime.expect("threads") }
    }

    fn engine(mode: &Mode) -> (Engine, Option<Arc<Telemetry>>) {
        let Mode::To(url, queue, _) = mode else { return (Engine::builder().build(), None) };
        let variable = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(url.clone()),
            "OTEL_BSP_MAX_QUEUE_SIZE" => queue.map(|queue| queue.to_string()),
            _ => None,
        };
        let settings = Settings::read(&variable).expect("valid").expect("an endpoint");
        let telemetry = Arc::new(Telemetry::start(settings).expect("a thread"));
        (Engine::builder().sink(telemetry.clone()).build(), Some(telemetry))
    }

    /// Runs per second with both processors busy, and the runs that were left out.
    pub fn saturated(&self, mode: &Mode) -> (f64, u64) {
        let (engine, telemetry) = Self::engine(mode);
        let elapsed = self.runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..BURSTS {
                self.burst(&engine, RUNS).await;
            }
            start.elapsed()
        });
        ((RUNS * BURSTS) as f64 / elapsed.as_secs_f64(), lost(telemetry, mode))
    }

    /// Processor time in µs for each of ten steps a millisecond, and the runs that were left out.
    pub fn paced(&self, mode: &Mode) -> (f64, u64) {
        let (engine, telemetry) = Self::engine(mode);
        let before = cpu_us();
        let runs = self.runtime.block_on(async {
            let mut ticks = tokio::time::interval(TICK);
            let start = Instant::now();
            let mut runs = 0;
            while start.elapsed() < PACED {
                ticks.tick().await;
                self.burst(&engine, PER_TICK).await;
                runs += PER_TICK;
            }
            runs
        });
        let lost = lost(telemetry, mode);
        ((cpu_us() - before) / (runs * 5) as f64, lost)
    }

    /// Runs per second of bursts without a sink and with `mode`, one after the other, in an engine that goes on: what a
    /// collector costs when it has been away for a while. Only for modes that send nothing between bursts.
    pub fn side_by_side(&self, mode: &Mode) -> Vec<[f64; 2]> {
        let (none, _) = Self::engine(&Mode::None);
        let (engine, telemetry) = Self::engine(mode);
        let pairs = self.runtime.block_on(async {
            let mut pairs = Vec::new();
            for pair in 0..PAIRS {
                let mut found = [0.0; 2];
                // Another one begins each time.
                for at in [pair % 2, 1 - pair % 2] {
                    let start = Instant::now();
                    self.burst([&none, &engine][at], RUNS).await;
                    found[at] = RUNS as f64 / start.elapsed().as_secs_f64();
                }
                pairs.push(found);
            }
            pairs
        });
        lost(telemetry, mode);
        pairs
    }

    async fn burst(&self, engine: &Engine, runs: usize) {
        let mut running = JoinSet::new();
        for _ in 0..runs {
            let (engine, bound) = (engine.clone(), self.bound.clone());
            running.spawn(async move {
                let cancel = CancellationToken::new();
                engine.run(&bound, RunRequest::default(), &cancel).await.expect("nothing to store").status()
            });
        }
        running.join_all().await;
    }
}

fn lost(telemetry: Option<Arc<Telemetry>>, mode: &Mode) -> u64 {
    match (telemetry, mode) {
        (Some(telemetry), Mode::To(_, _, patience)) => telemetry.finish(*patience).runs,
        _ => 0,
    }
}

/// User and system time of this process; the kernel counts in hundredths of a second.
fn cpu_us() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields[11..13].iter().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * 10_000.0
}
