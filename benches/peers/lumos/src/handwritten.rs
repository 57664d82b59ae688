//! The same graphs as a program for tokio: what one would write without an engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use yardstick::{Gate, Shape};

struct Graph {
    dependents: Vec<Vec<usize>>,
    counts: Vec<usize>,
    gate: Option<Gate>,
}

impl Graph {
    fn new(shape: &Shape, gate: Option<Gate>) -> Arc<Self> {
        let counts = shape.dependencies.iter().map(Vec::len).collect();
        Arc::new(Self { dependents: shape.dependents(), counts, gate })
    }

    /// A node: nothing, or a wait at the gate.
    async fn work(&self, node: usize) -> usize {
        if let Some(gate) = &self.gate
            && node == 3
        {
            gate.pass().await;
        }
        node
    }
}

/// One task for each node; whoever ends last before a node starts it.
pub async fn spawn(shape: &Shape, concurrent: bool) -> f64 {
    let graph = Graph::new(shape, None);
    let run = || {
        let graph = graph.clone();
        async move { run_spawned(graph).await }
    };
    if concurrent { yardstick::runs_per_second(run).await } else { yardstick::us_per_node(shape.len(), run).await }
}

struct Run {
    graph: Arc<Graph>,
    waiting: Vec<AtomicUsize>,
    ended: mpsc::Sender<()>,
}

async fn run_spawned(graph: Arc<Graph>) {
    let waiting = graph.counts.iter().map(|count| AtomicUsize::new(*count)).collect();
    // The channel closes with the last node.
    let (ended, mut all_ended) = mpsc::channel(1);
    let run = Arc::new(Run { graph, waiting, ended });
    for node in (0..run.graph.counts.len()).filter(|node| run.graph.counts[*node] == 0) {
        start(run.clone(), node);
    }
    drop(run);
    while all_ended.recv().await.is_some() {}
}

fn start(run: Arc<Run>, node: usize) {
    tokio::spawn(async move {
        run.graph.work(node).await;
        for dependent in &run.graph.dependents[node] {
            if run.waiting[*dependent].fetch_sub(1, Ordering::AcqRel) == 1 {
                start(run.clone(), *dependent);
            }
        }
        if run.graph.dependents[node].is_empty() {
            let _ = run.ended.send(()).await;
        }
    });
}

/// A coordinator that keeps the nodes in flight in a [`JoinSet`].
pub async fn joinset(shape: &Shape, concurrent: bool) -> f64 {
    let graph = Graph::new(shape, None);
    let run = || {
        let graph = graph.clone();
        async move { run_joinset(graph).await }
    };
    if concurrent { yardstick::runs_per_second(run).await } else { yardstick::us_per_node(shape.len(), run).await }
}

/// Bytes of a run that stands at the gate.
pub async fn joinset_memory(gate: Gate) -> f64 {
    let graph = Graph::new(&Shape::diamond(), Some(gate.clone()));
    yardstick::bytes_per_run(&gate, || run_joinset(graph.clone())).await
}

async fn run_joinset(graph: Arc<Graph>) {
    let mut waiting = graph.counts.clone();
    let mut tasks = JoinSet::new();
    let start = |tasks: &mut JoinSet<usize>, node: usize| {
        let graph = graph.clone();
        tasks.spawn(async move { graph.work(node).await });
    };
    for node in (0..waiting.len()).filter(|node| graph.counts[*node] == 0) {
        start(&mut tasks, node);
    }
    while let Some(ended) = tasks.join_next().await {
        for dependent in &graph.dependents[ended.expect("a node that does not panic")] {
            waiting[*dependent] -= 1;
            if waiting[*dependent] == 0 {
                start(&mut tasks, *dependent);
            }
        }
    }
}
