//! What survives: a commit for each step, a run of 100,000 steps taken up again, bytes on disk; and what SQLite takes for
//! as many rows by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use indexmap::IndexMap;
use lumos_core::program::Program;
use lumos_core::record::Status;
use lumos_core::spec::{Durability, InputSpec, LimitsSpec, NodeKind, NodeOptions, NodeSpec, WorkflowSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, SharedAgent};
use lumos_engine::{BoundProgram, CancellationToken, Engine, Kind, NodeBinding, RecordStore, RunRequest};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use yardstick::{Gate, INPUT_BYTES, READERS, RUNS, SIZED_RUNS, median};

use crate::engine::AtTheGate;

/// Bytes of a row of the floor: about what an event and its step come to.
const ROW: usize = 300;

/// Rows that the floor commits at once: as many as lumos' writer does at most.
const GROUP: usize = 4096;

/// Runs before those that are measured: SQLite's log of what is to come into the file grows up to its first checkpoint, and
/// while a file grows each commit costs several times as much.
const WARM_UP: usize = 40;

/// Steps of the run that is taken up again.
const STEPS: usize = 100_000;

struct Answer(Value);

#[async_trait]
impl Agent for Answer {
    async fn run(&self, _: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        Ok(self.0.clone().into())
    }
}

/// A table of rows in a file beside this one, and the folder that it is in.
fn table() -> (Connection, tempfile::TempDir) {
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let connection = Connection::open(folder.path().join("rows.db")).expect("a file");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
    let schema = "CREATE TABLE rows (id INTEGER PRIMARY KEY, run INTEGER, seq INTEGER, data BLOB)";
    connection.execute_batch(schema).expect("a table");
    (connection, folder)
}

fn insert(connection: &Connection, run: i64, seq: i64) {
    let mut insert =
        connection.prepare_cached("INSERT INTO rows (run, seq, data) VALUES (?1, ?2, ?3)").expect("a statement");
    insert.execute(params![run, seq, [7u8; ROW].as_slice()]).expect("a row");
}

/// µs per row when each is a transaction.
pub async fn floor_of_steps(steps: usize) -> f64 {
    let (connection, _folder) = table();
    let (connection, runs) = (std::sync::Mutex::new(connection), AtomicI64::new(0));
    let synchronous = |word: &str| {
        connection.lock().expect("no panic").pragma_update(None, "synchronous", word).expect("a pragma");
    };
    let run = || async {
        let connection = connection.lock().expect("no panic");
        let run = runs.fetch_add(1, Ordering::Relaxed);
        for seq in 0..steps {
            insert(&connection, run, seq as i64);
        }
    };
    synchronous("NORMAL");
    for _ in 0..WARM_UP {
        run().await;
    }
    synchronous("FULL");
    yardstick::us_per_node(steps, run).await
}

/// µs per step of a chain, each on disk before the next one starts.
pub async fn chain(steps: usize) -> f64 {
    let chain = || {
        let step = |number: usize| {
            let after = number.checked_sub(1).map(|before| format!("n{before}")).into_iter().collect();
            (format!("n{number}"), node(NodeOptions { after, ..NodeOptions::default() }))
        };
        bind(IndexMap::new(), (0..steps).map(step).collect(), |_| Arc::new(Answer(Value::Null)))
    };
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let (engine, _store) = engine(folder.path());
    let cancel = CancellationToken::new();
    let (hasty, full) = (Arc::new(chain().durable(Durability::Normal)), Arc::new(chain()));
    let run = |bound: &Arc<BoundProgram>| {
        let (engine, bound, cancel) = (engine.clone(), bound.clone(), cancel.clone());
        async move {
            let run = engine.run(&bound, RunRequest::default(), &cancel).await.expect("a run that is kept");
            assert_eq!(run.status(), Status::Succeeded);
        }
    };
    for _ in 0..WARM_UP {
        run(&hasty).await;
    }
    yardstick::us_per_node(steps, || run(&full)).await
}

/// Rows per second, one for each run, a few thousand to a transaction.
pub fn floor_of_runs() -> f64 {
    let (mut connection, _folder) = table();
    let mut samples = Vec::new();
    for sample in 0..5 {
        let before = yardstick::now();
        for group in (0..RUNS).step_by(GROUP) {
            let transaction = connection.transaction().expect("a transaction");
            for run in group..(group + GROUP).min(RUNS) {
                insert(&transaction, (sample * RUNS + run) as i64, 0);
            }
            transaction.commit().expect("a commit");
        }
        samples.push(RUNS as f64 / before.elapsed().as_secs_f64());
    }
    median(samples)
}

fn node(options: NodeOptions) -> NodeSpec {
    NodeSpec { kind: NodeKind::Custom { agent: "bench".to_owned() }, options }
}

fn bind(
    inputs: IndexMap<String, InputSpec>,
    nodes: IndexMap<String, NodeSpec>,
    agent: impl Fn(&str) -> SharedAgent,
) -> BoundProgram {
    let spec = WorkflowSpec {
        name: "bench".to_owned(),
        description: String::new(),
        inputs,
        nodes,
        output: "done".to_owned(),
        limits: LimitsSpec::default(),
    };
    let program = Program::compile(&Arc::new(spec).into()).expect("a workflow");
    let bound = BoundProgram::new(program, "bench", |node| {
        Ok::<_, std::convert::Infallible>(NodeBinding { agent: Some(agent(&node.name)), backends: Vec::new() })
    });
    bound.unwrap_or_else(|never| match never {})
}

fn engine(folder: &Path) -> (Engine, RecordStore) {
    let store = RecordStore::open(folder).expect("a store");
    (Engine::builder().store(store.clone()).build(), store)
}

/// Seconds from opening the store until the last step of a run, of which all others have ended, is made again.
pub async fn resume() -> f64 {
    let gate = Gate::default();
    let after = |name: &str| NodeOptions { after: vec![name.to_owned()], ..NodeOptions::default() };
    let map = NodeOptions { map: Some("{{ list }}".to_owned()), concurrency: Some(64), ..NodeOptions::default() };
    let nodes = [("list", node(NodeOptions::default())), ("each", node(map)), ("last", node(after("each")))];
    let nodes = nodes.map(|(name, node)| (name.to_owned(), node)).into_iter().collect();
    let bound = bind(IndexMap::new(), nodes, |name| match name {
        "list" => Arc::new(Answer((0..STEPS - 2).collect())),
        "each" => Arc::new(Answer(json!({ "n": 5 }))),
        _ => Arc::new(AtTheGate(gate.clone())),
    });
    // What makes the log need not wait for the disk; what reads it does not differ.
    let bound = Arc::new(bound.durable(Durability::Normal));
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let run = {
        let (engine, store) = engine(folder.path());
        let bound = bound.clone();
        let run = tokio::spawn(async move {
            engine.run(&bound, RunRequest::default(), &CancellationToken::new()).await.map(|run| run.status())
        });
        gate.all_arrived(1).await;
        run.abort();
        assert!(run.await.expect_err("dropped").is_cancelled());
        store.list(&Kind::default()).expect("runs")[0].run_id.clone()
    };
    let mut samples = Vec::new();
    for time in 0..3 {
        let before = yardstick::now();
        let (engine, store) = engine(folder.path());
        let (bound, id) = (bound.clone(), run.clone());
        let resumed = tokio::spawn(async move {
            engine.resume(&bound, &id, Vec::new(), &CancellationToken::new()).await.map(|run| run.status())
        });
        gate.all_arrived(2 + time).await;
        samples.push(before.elapsed().as_secs_f64());
        if time == 2 {
            gate.open();
            assert_eq!(resumed.await.expect("no panic").expect("a run"), Status::Succeeded);
            assert_eq!(store.load(&run).expect("a record").steps.len(), STEPS);
        } else {
            resumed.abort();
            assert!(resumed.await.expect_err("dropped").is_cancelled());
        }
    }
    median(samples)
}

/// Bytes on disk per step, beyond those of the inputs, of steps that all read a large input.
pub async fn size() -> f64 {
    let reads = |number: usize| {
        let after = number.checked_sub(1).map(|before| format!("n{before}")).into_iter().collect();
        let with = [("text".to_owned(), "{{ inputs.text }}".to_owned())].into_iter().collect();
        (format!("n{number}"), node(NodeOptions { after, with, ..NodeOptions::default() }))
    };
    let inputs = [("text".to_owned(), InputSpec::text().required())].into_iter().collect();
    let bound = Arc::new(bind(inputs, (0..READERS).map(reads).collect(), |_| Arc::new(Answer(json!({ "n": 5 })))));
    let folder = tempfile::tempdir_in(".").expect("a folder");
    drop(engine(folder.path()));
    let empty = yardstick::bytes_below(folder.path());
    {
        let (engine, _store) = engine(folder.path());
        for run in 0..SIZED_RUNS {
            let inputs = [("text".to_owned(), Value::from(yardstick::text(run)))].into_iter().collect();
            let request = RunRequest { inputs, ..RunRequest::default() };
            let run = engine.run(&bound, request, &CancellationToken::new()).await.expect("a run that is kept");
            assert_eq!(run.status(), Status::Succeeded);
        }
    }
    let bytes = yardstick::bytes_below(folder.path()) - empty - (SIZED_RUNS * INPUT_BYTES) as u64;
    bytes as f64 / (SIZED_RUNS * READERS) as f64
}
