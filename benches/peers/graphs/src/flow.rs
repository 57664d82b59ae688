//! graph-flow: a task after the other, so what is parallel goes into a `FanOutTask` that waits for all of its tasks.

use std::sync::Arc;

use async_trait::async_trait;
use graph_flow::fanout::FanOutTask;
use graph_flow::{Context, ExecutionStatus, Graph, GraphBuilder, NextAction, Session, Task, TaskResult};
use yardstick::{Gate, Shape};

struct Nothing {
    id: String,
    next: NextAction,
    gate: Option<Gate>,
}

#[async_trait]
impl Task for Nothing {
    fn id(&self) -> &str {
        &self.id
    }

    async fn run(&self, _: Context) -> graph_flow::Result<TaskResult> {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        Ok(TaskResult::new(None, self.next.clone()))
    }
}

/// The graph, and the name of its first task.
fn build(shape: &Shape, gate: Option<&Gate>) -> (Arc<Graph>, String) {
    let stages = shape.stages();
    let mut builder = GraphBuilder::new("bench");
    let mut names: Vec<String> = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let next = if number + 1 == stages.len() { NextAction::End } else { NextAction::ContinueAndExecute };
        let node = |node: usize, next: NextAction| -> Arc<dyn Task> {
            let id = shape.names[node].clone();
            let gate = gate.filter(|_| id == "generate").cloned();
            Arc::new(Nothing { id, next, gate })
        };
        let task: Arc<dyn Task> = match stage.as_slice() {
            [only] => node(*only, next),
            several => {
                let children = several.iter().map(|child| node(*child, NextAction::Continue)).collect();
                FanOutTask::new(format!("stage{number}"), children).with_next_action(next)
            }
        };
        let name = task.id().to_owned();
        builder = builder.add_task(task);
        if let Some(before) = names.last() {
            builder = builder.add_edge(before.clone(), name.clone());
        }
        names.push(name);
    }
    (Arc::new(builder.build().expect("a graph")), names.swap_remove(0))
}

/// A session in memory that nobody stores: the least that graph-flow does for a run.
async fn one(graph: Arc<Graph>, first: Arc<str>) {
    let mut session = Session::new_from_task("bench".to_owned(), &first);
    let result = graph.execute_session(&mut session).await.expect("a run");
    assert!(matches!(result.status, ExecutionStatus::Completed));
}

/// µs per node of runs one after another, or runs/s of concurrent ones.
pub async fn time(shape: &Shape, concurrent: bool) -> f64 {
    let (graph, first) = build(shape, None);
    let first: Arc<str> = first.into();
    let run = || one(graph.clone(), first.clone());
    if concurrent { yardstick::runs_per_second(run).await } else { yardstick::us_per_node(shape.len(), run).await }
}

/// Bytes of a run that stands at the gate.
pub async fn memory(gate: Gate) -> f64 {
    let (graph, first) = build(&Shape::diamond(), Some(&gate));
    let first: Arc<str> = first.into();
    yardstick::bytes_per_run(&gate, || one(graph.clone(), first.clone())).await
}
