//! The scheduler alone, fed by a loop that answers every command at once; and the least that any scheduler does.

use std::hint::black_box;
use std::sync::Arc;

use lumos_core::graph::{Body, Graph, Limits, Node, NodeId, Plan, Policy};
use lumos_core::scheduler::{Bill, Command, Estimate, Event, EventKind, Failure, Outcome, RunState, Semantics, View};
use yardstick::Shape;

/// Values are nothing at all.
struct Nothing(Plan);

impl Semantics for Nothing {
    type Value = ();

    fn plan(&self) -> &Plan {
        &self.0
    }
    fn condition(&self, _: View<'_, Self>) -> Result<bool, Failure> {
        Ok(true)
    }
    fn items(&self, _: View<'_, Self>) -> Result<Vec<()>, Failure> {
        Ok(Vec::new())
    }
    fn loop_ends(&self, _: View<'_, Self>, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }
    fn question(&self, _: View<'_, Self>) -> Result<String, Failure> {
        Ok(String::new())
    }
    fn accept(&self, _: View<'_, Self>, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    fn branch(&self, _: View<'_, Self>, (): &()) -> Result<usize, Failure> {
        Ok(0)
    }
    fn refusal(&self, _: View<'_, Self>, (): &()) -> Result<Option<Failure>, Failure> {
        Ok(None)
    }
    fn gather(&self, _: View<'_, Self>, _: Vec<()>) -> Result<(), Failure> {
        Ok(())
    }
    fn arguments(&self, _: View<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
    fn output(&self, _: View<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

fn plan(shape: &Shape) -> Plan {
    let nodes = shape.names.iter().map(|name| Node::new(name.as_str(), Body::Agent, Policy::default())).collect();
    let edges: Vec<(NodeId, NodeId)> = shape
        .dependencies
        .iter()
        .enumerate()
        .flat_map(|(to, before)| before.iter().map(move |from| (NodeId(*from as u32), NodeId(to as u32))))
        .collect();
    Plan::new(vec![Graph::new(nodes, &edges).expect("a graph")], Limits::default())
}

fn drive(semantics: &Nothing) {
    let mut state = RunState::new(semantics, (), 7);
    let mut commands = Vec::new();
    let mut at_us = 0;
    state.handle(semantics, Event { at_us, kind: EventKind::Started }, &mut commands);
    let mut next = 0;
    while let Some(command) = commands.get(next).copied() {
        next += 1;
        at_us += 1;
        let kind = match command {
            Command::Prepare(id) => EventKind::Prepared(id, Estimate::default()),
            Command::Admit(id) => EventKind::Admitted(id),
            Command::StartAttempt(id) => EventKind::Succeeded(id, (), Bill::default()),
            Command::Finish => break,
            Command::SetTimer { .. } | Command::CancelAttempt(_) | Command::AskHuman(_) => continue,
        };
        state.handle(semantics, Event { at_us, kind }, &mut commands);
    }
    assert!(matches!(state.outcome(), Some(Outcome::Succeeded(()))));
    black_box(&state);
}

/// [`lumos_core::scheduler::RunState`] with values that mean nothing.
pub async fn scheduler(shape: &Shape, concurrent: bool) -> f64 {
    let semantics = Arc::new(Nothing(plan(shape)));
    let run = || {
        let semantics = semantics.clone();
        async move { drive(&semantics) }
    };
    if concurrent { yardstick::runs_per_second(run).await } else { yardstick::us_per_node(shape.len(), run).await }
}

/// Counts of what each node waits for, and a list of those that wait for nothing.
pub async fn bare_loop(shape: &Shape, concurrent: bool) -> f64 {
    let tables = Arc::new((shape.dependents(), shape.dependencies.iter().map(Vec::len).collect::<Vec<_>>()));
    let run = || {
        let tables = tables.clone();
        async move {
            let (dependents, counts) = &*tables;
            let mut waiting = counts.clone();
            let mut ready: Vec<usize> = (0..waiting.len()).filter(|node| waiting[*node] == 0).collect();
            let mut done = 0;
            while let Some(node) = ready.pop() {
                done += black_box(1);
                for dependent in &dependents[node] {
                    waiting[*dependent] -= 1;
                    if waiting[*dependent] == 0 {
                        ready.push(*dependent);
                    }
                }
            }
            assert_eq!(done, waiting.len());
        }
    };
    if concurrent { yardstick::runs_per_second(run).await } else { yardstick::us_per_node(shape.len(), run).await }
}
