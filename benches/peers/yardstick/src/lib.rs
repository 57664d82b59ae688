//! What all benchmarked systems share: the shapes of the graphs, the gate at which runs are parked, and the measures.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Concurrent runs of the diamond, for throughput and for memory.
pub const RUNS: usize = 10_000;

/// Bytes of the input that each step of the size measure reads.
pub const INPUT_BYTES: usize = 1 << 20;

/// Steps of a run of the size measure.
pub const READERS: usize = 50;

/// Runs of the size measure, each with an input of its own.
pub const SIZED_RUNS: usize = 4;

/// How long a timed measure goes on.
const BUDGET: Duration = Duration::from_millis(1_500);

/// Most repetitions of a timed measure.
const REPETITIONS: usize = 2_000;

/// A graph of no-op nodes: names, and for each node the positions of what it depends on.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Node names in an order in which dependencies come first.
    pub names: Vec<String>,
    /// Dependencies of each node.
    pub dependencies: Vec<Vec<usize>>,
}

impl Shape {
    /// The shape of that name: `chain`, `fan`, `layered`, `columns` or `diamond`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "chain" => Some(Self::chain(100)),
            "fan" => Some(Self::fan(100)),
            "layered" => Some(Self::layered(10, 10)),
            "columns" => Some(Self::columns(10, 10)),
            "diamond" => Some(Self::diamond()),
            _ => None,
        }
    }

    /// `length` nodes, each after the one before.
    pub fn chain(length: usize) -> Self {
        Self::numbered((0..length).map(|node| node.checked_sub(1).into_iter().collect()).collect())
    }

    /// One node, then `width` after it, then one after all of those.
    pub fn fan(width: usize) -> Self {
        let mut dependencies = vec![Vec::new()];
        dependencies.extend((0..width).map(|_| vec![0]));
        dependencies.push((1..=width).collect());
        Self::numbered(dependencies)
    }

    /// `layers` of `width` nodes, each after all nodes of the layer before.
    pub fn layered(layers: usize, width: usize) -> Self {
        let layer = |number: usize| (number * width..(number + 1) * width).collect::<Vec<_>>();
        Self::numbered(
            (0..layers * width).map(|node| (node / width).checked_sub(1).map(layer).unwrap_or_default()).collect(),
        )
    }

    /// `layers` of `width` nodes, each after the node at its place in the layer before.
    pub fn columns(layers: usize, width: usize) -> Self {
        Self::numbered((0..layers * width).map(|node| node.checked_sub(width).into_iter().collect()).collect())
    }

    /// Guard, then retrieve and plan, then generate, then release.
    pub fn diamond() -> Self {
        Self {
            names: ["guard", "retrieve", "plan", "generate", "release"].map(str::to_owned).to_vec(),
            dependencies: vec![vec![], vec![0], vec![0], vec![1, 2], vec![3]],
        }
    }

    fn numbered(dependencies: Vec<Vec<usize>>) -> Self {
        Self { names: (0..dependencies.len()).map(|node| format!("n{node}")).collect(), dependencies }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// For each node, the nodes that wait for it.
    pub fn dependents(&self) -> Vec<Vec<usize>> {
        let mut dependents = vec![Vec::new(); self.len()];
        for (node, dependencies) in self.dependencies.iter().enumerate() {
            for dependency in dependencies {
                dependents[*dependency].push(node);
            }
        }
        dependents
    }

    /// The nodes grouped by the length of the longest path to them: what a system with barriers runs at once.
    pub fn stages(&self) -> Vec<Vec<usize>> {
        let mut stage_of = vec![0; self.len()];
        let mut stages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for node in 0..self.len() {
            stage_of[node] = self.dependencies[node].iter().map(|before| stage_of[*before] + 1).max().unwrap_or(0);
            stages.entry(stage_of[node]).or_default().push(node);
        }
        stages.into_values().collect()
    }
}

/// Where the runs of the memory measure wait: a node that takes a permit, and a count of those that arrived.
#[derive(Clone)]
pub struct Gate {
    open: Arc<Semaphore>,
    arrived: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), arrived: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    /// Waits until the gate opens.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        let _permit = self.open.acquire().await;
    }

    /// Waits until `count` runs stand at the gate.
    pub async fn all_arrived(&self, count: usize) {
        let _permit = self.arrived.acquire_many(u32::try_from(count).expect("a small count")).await;
    }

    /// Lets everybody through.
    pub fn open(&self) {
        self.open.close();
    }
}

/// The runtime of all measures: two workers, like the machine that the published figures come from.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a tokio runtime")
}

/// Median microseconds per node of runs one after another.
pub async fn us_per_node<F: Future<Output = ()>>(nodes: usize, run: impl Fn() -> F) -> f64 {
    let mut samples = Vec::new();
    let start = Instant::now();
    while samples.len() < 5 || (start.elapsed() < BUDGET && samples.len() < REPETITIONS) {
        let before = Instant::now();
        run().await;
        samples.push(before.elapsed().as_secs_f64() * 1e6 / nodes as f64);
    }
    median(samples)
}

/// Median runs per second of [`RUNS`] runs, each a task of its own, all started at once.
pub async fn runs_per_second<F>(run: impl Fn() -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut samples = Vec::new();
    let start = Instant::now();
    while samples.len() < 3 || (start.elapsed() < BUDGET && samples.len() < REPETITIONS) {
        let before = Instant::now();
        let tasks: Vec<_> = (0..RUNS).map(|_| tokio::spawn(run())).collect();
        for task in tasks {
            task.await.expect("a run that does not panic");
        }
        samples.push(RUNS as f64 / before.elapsed().as_secs_f64());
    }
    median(samples)
}

/// Resident bytes per run while [`RUNS`] runs stand at the gate; `run` passes it once.
pub async fn bytes_per_run<F>(gate: &Gate, run: impl Fn() -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    // What the first run allocates for good (thread caches, lazy statics) belongs to no run.
    let warm = tokio::spawn(run());
    gate.all_arrived(1).await;
    let before = resident_bytes();
    let tasks: Vec<_> = (0..RUNS).map(|_| tokio::spawn(run())).collect();
    gate.all_arrived(RUNS).await;
    let after = resident_bytes();
    gate.open();
    warm.await.expect("a run that does not panic");
    for task in tasks {
        task.await.expect("a run that does not panic");
    }
    after.saturating_sub(before) as f64 / RUNS as f64
}

/// A text of [`INPUT_BYTES`] letters, another one for each number.
pub fn text(number: usize) -> String {
    let mut state = number as u64 + 1;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 33) as u8 % 26)
    };
    (0..INPUT_BYTES).map(letter).collect()
}

/// Bytes of all files below a folder.
pub fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().expect("a file").len() }).sum()
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number of pages");
    pages * 4096
}

/// The time on the clock that all measures go by.
pub fn now() -> Instant {
    Instant::now()
}

/// The middle of the samples.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
