//! The scheduler alone: events in, commands out, three events a step, beside a bare in-degree loop over the same graph.
//!
//! `cargo bench -p lumos-core --bench scheduler`; items are steps.

use std::mem::size_of;

use divan::Bencher;
use divan::counter::ItemsCount;
use lumos_core::graph::{Body, Graph, GraphId, Limits, Node, NodeId, Plan, Policy};
use lumos_core::scheduler::{
    AttemptId, AttemptTrace, Bill, Command, Estimate, Event, EventKind, Failure, RunState, Semantics, StepTrace, View,
};

/// Values are numbers and nothing is conditional, mapped or routed.
struct Numbers(Plan);

impl Semantics for Numbers {
    type Value = u64;

    fn plan(&self) -> &Plan {
        &self.0
    }
    fn condition(&self, _: View<'_, Self>) -> Result<bool, Failure> {
        Ok(true)
    }
    fn items(&self, _: View<'_, Self>) -> Result<Vec<u64>, Failure> {
        Ok(Vec::new())
    }
    fn loop_ends(&self, _: View<'_, Self>, _: &u64) -> Result<bool, Failure> {
        Ok(true)
    }
    fn accept(&self, _: View<'_, Self>, _: &u64) -> Result<bool, Failure> {
        Ok(true)
    }
    fn branch(&self, _: View<'_, Self>, _: &u64) -> Result<usize, Failure> {
        Ok(0)
    }
    fn refusal(&self, _: View<'_, Self>, _: &u64) -> Result<Option<Failure>, Failure> {
        Ok(None)
    }
    fn gather(&self, _: View<'_, Self>, values: Vec<u64>) -> Result<u64, Failure> {
        Ok(values.len() as u64)
    }
    fn arguments(&self, _: View<'_, Self>) -> Result<u64, Failure> {
        Ok(0)
    }
    fn question(&self, _: View<'_, Self>) -> Result<String, Failure> {
        Ok(String::new())
    }
    fn output(&self, _: View<'_, Self>) -> Result<u64, Failure> {
        Ok(1)
    }
}

const SHAPES: [&str; 4] = ["chain", "fan", "layered", "diamond"];

fn edges(shape: &str) -> (u32, Vec<(u32, u32)>) {
    match shape {
        "chain" => (100, (1..100).map(|id| (id - 1, id)).collect()),
        "fan" => (102, (1..101).flat_map(|id| [(0, id), (id, 101)]).collect()),
        "layered" => {
            let pairs = (10..100).flat_map(|id| (0..10).map(move |before| (id / 10 * 10 - 10 + before, id)));
            (100, pairs.collect())
        }
        _ => (5, vec![(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]),
    }
}

fn numbers(shape: &str) -> Numbers {
    let (count, edges) = edges(shape);
    let nodes = (0..count).map(|id| Node::new(format!("n{id}"), Body::Agent, Policy::default())).collect();
    let edges: Vec<_> = edges.into_iter().map(|(from, to)| (NodeId(from), NodeId(to))).collect();
    Numbers(Plan::new(vec![Graph::new(nodes, &edges).expect("no circle")], Limits::default()))
}

/// Answers every command at once, the last first; the buffer is the driver's.
fn run(semantics: &Numbers, pending: &mut Vec<Command>) -> u64 {
    let mut state = RunState::new(semantics, 0, 7);
    let mut at_us = 0;
    state.handle(semantics, Event { at_us, kind: EventKind::Started }, pending);
    while let Some(command) = pending.pop() {
        let kind = match command {
            Command::Prepare(attempt) => EventKind::Prepared(attempt, Estimate::default()),
            Command::Admit(attempt) => EventKind::Admitted(attempt),
            Command::StartAttempt(attempt) => EventKind::Succeeded(attempt, value(attempt), Bill::default()),
            _ => continue,
        };
        at_us += 1;
        state.handle(semantics, Event { at_us, kind }, pending);
    }
    assert!(state.outcome().is_some());
    // Not the state itself: divan would keep hundreds of them and measure page faults.
    at_us
}

fn value(attempt: AttemptId) -> u64 {
    u64::from(attempt.step.0)
}

#[divan::bench(args = SHAPES, sample_size = 200)]
fn scheduler(bencher: Bencher, shape: &str) {
    let semantics = numbers(shape);
    let count = semantics.plan().graph(GraphId::ROOT).nodes().len();
    let mut pending = Vec::new();
    bencher.counter(ItemsCount::new(count)).bench_local(move || run(&semantics, &mut pending));
}

/// The least that running a graph can cost: count down what each node waits for.
#[divan::bench(args = SHAPES, sample_size = 200)]
fn bare_loop(bencher: Bencher, shape: &str) {
    let semantics = numbers(shape);
    let count = semantics.plan().graph(GraphId::ROOT).nodes().len();
    bencher.counter(ItemsCount::new(count)).bench_local(move || {
        let graph = semantics.plan().graph(GraphId::ROOT);
        let mut waiting: Vec<u32> = graph.nodes().iter().map(|node| node.dependencies().len() as u32).collect();
        let mut ready: Vec<NodeId> =
            graph.topological().iter().copied().filter(|id| waiting[id.index()] == 0).collect();
        let mut sum = 0u64;
        while let Some(id) = ready.pop() {
            sum += u64::from(id.0);
            for dependent in graph.node(id).dependents() {
                waiting[dependent.index()] -= 1;
                if waiting[dependent.index()] == 0 {
                    ready.push(*dependent);
                }
            }
        }
        sum
    });
}

fn main() {
    println!(
        "bytes: event {}, step {}, attempt {}, run {}",
        size_of::<Event<u64>>(),
        size_of::<StepTrace<u64>>(),
        size_of::<AttemptTrace>(),
        size_of::<RunState<Numbers>>()
    );
    divan::main();
}
