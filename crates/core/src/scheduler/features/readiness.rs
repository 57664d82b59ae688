//! When a step becomes ready: dependencies, conditions, skips, joins and routers.

use super::super::toy::{Ask, Toy, graph, node};
use super::{causes, play, steps};
use crate::record::Status;

#[test]
fn a_step_starts_when_its_last_dependency_ends() {
    let diamond = vec![node("a", &[]), node("b", &["a"]), node("c", &["a"]), node("d", &["b", "c"])];
    let toy = Toy::new(vec![graph(diamond)]);
    let state = play(
        &toy,
        &[
            ("start", "prepare a@1"),
            ("start", ""),
            ("done a", "prepare b@1, prepare c@1"),
            ("done c", ""),
            ("done b", "prepare d@1"),
            ("done d", "finish succeeded"),
        ],
    );
    assert_eq!(causes(&toy, &state, "d"), "d < b < a");
}

#[test]
fn an_empty_workflow_ends_at_once() {
    play(&Toy::new(vec![graph(vec![])]), &[("start", "finish succeeded")]);
}

#[test]
fn what_depends_on_a_skipped_node_is_skipped() {
    let nodes = vec![node("a", &[]), node("b", &["a"]).when(), node("c", &["b"]), node("d", &["a"])];
    let toy = Toy::new(vec![graph(nodes)]).fix("b", Ask::Condition, 0);
    let state = play(&toy, &[("start", "prepare a@1"), ("done a", "prepare d@1"), ("done d", "finish succeeded")]);
    assert_eq!(steps(&toy, &state), "a succeeded, b skipped, c skipped, d succeeded");
}

#[test]
fn any_waits_for_the_first_success() {
    let nodes = || vec![node("a", &[]), node("b", &[]), node("c", &["a", "b"]).any()];
    let start = ("start", "prepare a@1, prepare b@1");
    let toy = Toy::new(vec![graph(nodes())]);
    play(&toy, &[start, ("done b", "prepare c@1"), ("done c", ""), ("done a", "finish succeeded")]);
    play(&toy, &[start, ("ends a", ""), ("done b", "prepare c@1"), ("done c", "finish succeeded")]);
    let state = play(&toy, &[start, ("ends a", ""), ("ends b", "finish failed")]);
    assert_eq!(steps(&toy, &state), "a failed, b failed, c failed");
}

#[test]
fn any_runs_although_a_branch_is_skipped_in_the_same_moment() {
    let nodes = vec![node("a", &[]), node("b", &["a"]).when(), node("c", &["a", "b"]).any()];
    let toy = Toy::new(vec![graph(nodes)]).fix("b", Ask::Condition, 0);
    play(&toy, &[("start", "prepare a@1"), ("done a", "prepare c@1"), ("done c", "finish succeeded")]);
}

#[test]
fn any_is_skipped_when_nothing_succeeded_or_failed() {
    let nodes = vec![node("a", &[]).when(), node("b", &[]).when(), node("c", &["a", "b"]).any()];
    let toy = Toy::new(vec![graph(nodes)]).fix("a", Ask::Condition, 0).fix("b", Ask::Condition, 0);
    let state = play(&toy, &[("start", "finish succeeded")]);
    assert_eq!(steps(&toy, &state), "a skipped, b skipped, c skipped");
}

#[test]
fn a_run_fails_once_although_several_wait_for_the_failed_node() {
    let nodes = vec![node("a", &[]), node("b", &["a"]).any(), node("c", &["a"]).any()];
    play(&Toy::new(vec![graph(nodes)]), &[("start", "prepare a@1"), ("ends a", "finish failed")]);
}

#[test]
fn a_router_skips_the_branches_it_has_not_chosen() {
    let nodes = vec![
        node("r", &[]).routes(&[&["a", "both"], &["b", "both"]]),
        node("a", &[]),
        node("b", &[]),
        node("both", &[]),
        node("end", &["a", "b"]).any(),
    ];
    let toy = Toy::new(vec![graph(nodes)]).fix("r", Ask::Branch, 1);
    let state = play(
        &toy,
        &[
            ("start", "prepare r@1"),
            ("done r", "prepare b@1, prepare both@1"),
            ("done b", "prepare end@1"),
            ("done end", ""),
            ("done both", "finish succeeded"),
        ],
    );
    assert_eq!(state.steps().iter().filter(|step| step.status == Status::Skipped).count(), 1);
}

#[test]
fn a_routed_node_waits_for_its_router_even_when_it_joins_any() {
    let nodes = |chosen| {
        let nodes =
            vec![node("r", &[]).routes(&[&["a"], &["b"]]), node("x", &[]), node("a", &["x"]).any(), node("b", &[])];
        Toy::new(vec![graph(nodes)]).fix("r", Ask::Branch, chosen)
    };
    let start = ("start", "prepare r@1, prepare x@1");
    play(&nodes(0), &[start, ("done x", ""), ("done r", "prepare a@1"), ("done a", "finish succeeded")]);
    play(&nodes(0), &[start, ("done r", ""), ("done x", "prepare a@1"), ("done a", "finish succeeded")]);
    play(&nodes(1), &[start, ("done x", ""), ("done r", "prepare b@1"), ("done b", "finish succeeded")]);
}

#[test]
fn a_router_that_cannot_choose_fails() {
    let nodes = vec![node("r", &[]).routes(&[&["a"]]), node("a", &[]).any()];
    let toy = Toy::new(vec![graph(nodes)]).fix("r", Ask::Branch, 5);
    let state = play(&toy, &[("start", "prepare r@1"), ("done r", "finish failed")]);
    assert_eq!(steps(&toy, &state), "r failed");
}

#[test]
fn a_long_chain_of_skipped_nodes_needs_no_deep_stack() {
    use crate::graph::{Body, Graph, Node, NodeId, Policy};
    let count = 100_000;
    let run = move || {
        let first = Node::new("n", Body::Agent, Policy { conditional: true, ..Policy::default() });
        let rest = (1..count).map(|_| Node::new("m", Body::Agent, Policy::default()));
        let edges: Vec<_> = (1..count).map(|id| (NodeId(id - 1), NodeId(id))).collect();
        let nodes = std::iter::once(first).chain(rest).collect();
        let toy = Toy::new(vec![Graph::new(nodes, &edges).expect("a chain")]).fix("n", Ask::Condition, 0);
        let state = play(&toy, &[("start", "finish succeeded")]);
        state.steps().iter().filter(|step| step.status == Status::Skipped).count()
    };
    let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(run).expect("a thread");
    assert_eq!(thread.join().expect("enough stack"), count as usize);
}
