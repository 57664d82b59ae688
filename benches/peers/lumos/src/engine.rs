//! The engine of lumos: records as they are left by a run, made, or durable in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use lumos_core::program::Program;
use lumos_core::record::Status;
use lumos_core::spec::{LimitsSpec, NodeKind, NodeOptions, NodeSpec, WorkflowSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, SharedAgent};
use lumos_engine::{BoundProgram, CancellationToken, Engine, NodeBinding, RecordStore, RunRequest};
use serde_json::Value;
use yardstick::{Gate, Shape};

/// What becomes of a run's record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// The run keeps what it takes to make it.
    Lazy,
    /// It is made.
    Made,
    /// It is on disk when the run returns.
    Durable,
}

struct Nothing;

#[async_trait]
impl Agent for Nothing {
    async fn run(&self, _: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        Ok(Value::Null.into())
    }
}

/// Waits at the gate.
pub struct AtTheGate(pub Gate);

#[async_trait]
impl Agent for AtTheGate {
    async fn run(&self, _: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        self.0.pass().await;
        Ok(Value::Null.into())
    }
}

fn bind(shape: &Shape, gate: Option<&Gate>) -> Arc<BoundProgram> {
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
    let bound = BoundProgram::new(program, "bench", |node| {
        let agent: SharedAgent = match gate {
            Some(gate) if node.name == "generate" => Arc::new(AtTheGate(gate.clone())),
            _ => Arc::new(Nothing),
        };
        Ok::<_, std::convert::Infallible>(NodeBinding { agent: Some(agent), backends: Vec::new() })
    });
    Arc::new(bound.unwrap_or_else(|never| match never {}))
}

/// An engine, and the folder of its store if it has one.
fn engine(durable: bool) -> (Engine, Option<tempfile::TempDir>) {
    if !durable {
        return (Engine::builder().build(), None);
    }
    // Beside this file and not in the system's temporary folder, which may be no disk.
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let store = RecordStore::open(folder.path()).expect("a store");
    (Engine::builder().store(store).build(), Some(folder))
}

async fn one(engine: Engine, bound: Arc<BoundProgram>, cancel: CancellationToken, records: Records) {
    let finished = engine.run(&bound, RunRequest::default(), &cancel).await.expect("a stored record");
    assert_eq!(finished.status(), Status::Succeeded);
    if records == Records::Made {
        std::hint::black_box(finished.record());
    }
}

/// µs per node of runs one after another, or runs/s of concurrent ones.
pub async fn time(shape: &Shape, concurrent: bool, records: Records) -> f64 {
    let bound = bind(shape, None);
    let (engine, _folder) = engine(records == Records::Durable);
    let cancel = CancellationToken::new();
    let run = || one(engine.clone(), bound.clone(), cancel.clone(), records);
    if concurrent { yardstick::runs_per_second(run).await } else { yardstick::us_per_node(shape.len(), run).await }
}

/// Bytes of a run that stands at the gate.
pub async fn memory(gate: Gate, durable: bool) -> f64 {
    let bound = bind(&Shape::diamond(), Some(&gate));
    let (engine, _folder) = engine(durable);
    let cancel = CancellationToken::new();
    yardstick::bytes_per_run(&gate, || one(engine.clone(), bound.clone(), cancel.clone(), Records::Lazy)).await
}
