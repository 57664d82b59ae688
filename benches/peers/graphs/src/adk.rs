//! adk-graph: super-steps over channels, alone and with its SQLite checkpointer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adk_graph::checkpoint::SqliteCheckpointer;
use adk_graph::edge::{END, START};
use adk_graph::graph::{CompiledGraph, StateGraph};
use adk_graph::node::{ExecutionConfig, NodeOutput};
use adk_graph::state::State;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use yardstick::{Gate, INPUT_BYTES, READERS, RUNS, SIZED_RUNS, Shape, median};

/// Concurrent runs of the durable measure: a tenth, since each of them commits several times.
const DURABLE_RUNS: usize = RUNS / 10;

/// Runs before those of the chain that are measured.
const WARM_UP: usize = 20;

fn build(shape: &Shape, gate: Option<&Gate>) -> CompiledGraph {
    let mut graph = StateGraph::with_channels(&["value"]);
    for name in &shape.names {
        let gate = gate.filter(|_| name == "generate").cloned();
        graph = graph.add_node_fn(name, move |_| {
            let gate = gate.clone();
            async move {
                if let Some(gate) = gate {
                    gate.pass().await;
                }
                Ok(NodeOutput::new())
            }
        });
    }
    for (node, dependencies) in shape.dependencies.iter().enumerate() {
        if dependencies.is_empty() {
            graph = graph.add_edge(START, &shape.names[node]);
        }
        for dependency in dependencies {
            graph = graph.add_edge(&shape.names[*dependency], &shape.names[node]);
        }
    }
    for (node, dependents) in shape.dependents().iter().enumerate() {
        if dependents.is_empty() {
            graph = graph.add_edge(&shape.names[node], END);
        }
    }
    graph.compile().expect("a graph").with_recursion_limit(1_000)
}

async fn one(graph: Arc<CompiledGraph>, thread: String) {
    let mut config = ExecutionConfig::new(&thread);
    config.recursion_limit = 1_000;
    graph.invoke(State::new(), config).await.expect("a run");
}

/// µs per node of runs one after another, or runs/s of concurrent ones.
pub async fn time(shape: &Shape, concurrent: bool) -> f64 {
    let graph = Arc::new(build(shape, None));
    let run = || one(graph.clone(), "bench".to_owned());
    if concurrent { yardstick::runs_per_second(run).await } else { yardstick::us_per_node(shape.len(), run).await }
}

/// A checkpointer that writes as lumos does, into `folder`; one connection, since with more of them concurrent runs fail
/// with "database is locked".
async fn checkpointer(folder: &Path) -> (SqliteCheckpointer, SqlitePool) {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("adk.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let patience = std::time::Duration::from_secs(600);
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(patience);
    let pool = pool.connect_with(options).await.expect("a database");
    (SqliteCheckpointer::from_pool(pool.clone()).await.expect("a checkpointer"), pool)
}

/// µs per node with a checkpoint after each super-step, runs one after another; or runs/s of concurrent ones.
pub async fn durable(shape: &Shape, concurrent: bool) -> f64 {
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let (checkpointer, _) = checkpointer(folder.path()).await;
    let graph = Arc::new(build(shape, None).with_checkpointer(checkpointer));
    let threads = AtomicUsize::new(0);
    let run = || one(graph.clone(), threads.fetch_add(1, Ordering::Relaxed).to_string());
    if !concurrent {
        // As for the others: past the growth of SQLite's log.
        for _ in 0..WARM_UP {
            run().await;
        }
        return yardstick::us_per_node(shape.len(), run).await;
    }
    let mut samples = Vec::new();
    for _ in 0..2 {
        let before = std::time::Instant::now();
        let tasks: Vec<_> = (0..DURABLE_RUNS).map(|_| tokio::spawn(run())).collect();
        for task in tasks {
            task.await.expect("a run that does not panic");
        }
        samples.push(DURABLE_RUNS as f64 / before.elapsed().as_secs_f64());
    }
    median(samples)
}

/// Bytes on disk per step, beyond those of the inputs, of steps that all read a large input.
pub async fn size() -> f64 {
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let (checkpointer, pool) = checkpointer(folder.path()).await;
    let mut graph = StateGraph::with_channels(&["value", "text"]);
    let name = |node: usize| format!("n{node}");
    for node in 0..READERS {
        graph = graph.add_node_fn(&name(node), |context| async move {
            assert!(context.get("text").is_some());
            Ok(NodeOutput::new().with_update("value", json!({ "n": 5 })))
        });
        graph = if node == 0 { graph.add_edge(START, &name(0)) } else { graph.add_edge(&name(node - 1), &name(node)) };
    }
    let graph = graph.add_edge(&name(READERS - 1), END).compile().expect("a graph").with_recursion_limit(1_000);
    let graph = graph.with_checkpointer(checkpointer);
    for run in 0..SIZED_RUNS {
        let state = State::from_iter([("text".to_owned(), Value::from(yardstick::text(run)))]);
        let mut config = ExecutionConfig::new(&run.to_string());
        config.recursion_limit = 1_000;
        graph.invoke(state, config).await.expect("a run");
    }
    drop(graph);
    pool.close().await;
    let bytes = yardstick::bytes_below(folder.path()) - (SIZED_RUNS * INPUT_BYTES) as u64;
    bytes as f64 / (SIZED_RUNS * READERS) as f64
}

/// Bytes of a run that stands at the gate.
pub async fn memory(gate: Gate) -> f64 {
    let graph = Arc::new(build(&Shape::diamond(), Some(&gate)));
    yardstick::bytes_per_run(&gate, || one(graph.clone(), "bench".to_owned())).await
}
