//! Nodes with many steps: maps, loops and sub-workflows.

use super::super::StepId;
use super::super::toy::{Ask, Toy, graph, node};
use super::{causes, play, steps};

#[test]
fn a_map_runs_its_entries_within_a_bound_and_gathers_in_order() {
    let nodes = vec![node("a", &[]).map(Some(2)), node("b", &["a"])];
    let toy = Toy::new(vec![graph(nodes)]).fix("a", Ask::Width, 3);
    let state = play(
        &toy,
        &[
            ("start", "prepare a[0]@1, prepare a[1]@1"),
            ("done a[1]", "prepare a[2]@1"),
            ("done a[2]", ""),
            ("done a[0]", "prepare b@1"),
            ("done b", "finish succeeded"),
        ],
    );
    let entries: Vec<u64> = [0, 1, 2].iter().map(|id| state.steps()[*id].value.unwrap_or(0)).collect();
    let gathered = entries.into_iter().fold(3, crate::chance::combine);
    assert_eq!(state.view(StepId(3)).value(crate::graph::NodeId(0)), Some(&gathered));
    assert_eq!(causes(&toy, &state, "b"), "b < a[0]");
}

#[test]
fn a_map_over_nothing_succeeds_without_steps() {
    let nodes = vec![node("a", &[]).map(None), node("b", &["a"])];
    let toy = Toy::new(vec![graph(nodes)]).fix("a", Ask::Width, 0);
    play(&toy, &[("start", "prepare b@1"), ("done b", "finish succeeded")]);
}

#[test]
fn a_failed_entry_ends_its_map_and_nothing_else_where_others_can_do_without() {
    let nodes = vec![node("a", &[]).map(Some(2)), node("b", &[]), node("c", &["a", "b"]).any()];
    let toy = Toy::new(vec![graph(nodes)]).fix("a", Ask::Width, 4);
    let state = play(
        &toy,
        &[
            ("start", "prepare a[0]@1, prepare a[1]@1, prepare b@1"),
            ("begins a[1]", "start a[1]@1"),
            ("ends a[0]", "cancel a[1]@1"),
            ("succeeded a[1]", ""),
            ("done b", "prepare c@1"),
            ("done c", "finish succeeded"),
        ],
    );
    assert_eq!(steps(&toy, &state), "a[0] failed, a[1] cancelled, b succeeded, c succeeded");
}

#[test]
fn no_entry_starts_after_one_has_failed() {
    let nodes = vec![node("sub", &[]).runs(1).map(None), node("b", &[]), node("c", &["sub", "b"]).any()];
    let toy = Toy::new(vec![graph(nodes), graph(vec![node("x", &[])])]).fix("sub", Ask::NoArguments, 1);
    let state = play(&toy, &[("start", "prepare b@1"), ("done b", "prepare c@1"), ("done c", "finish succeeded")]);
    assert_eq!(steps(&toy, &state), "sub[0] failed, b succeeded, c succeeded");
}

#[test]
fn a_loop_goes_on_until_it_may_end_or_its_rounds_are_used_up() {
    let toy = |ends| Toy::new(vec![graph(vec![node("a", &[]).at_most(3)])]).fix("a", Ask::Ends, ends);
    play(&toy(1), &[("start", "prepare a#0@1"), ("done a#0", "finish succeeded")]);
    let dialogue = [
        ("start", "prepare a#0@1"),
        ("done a#0", "prepare a#1@1"),
        ("done a#1", "prepare a#2@1"),
        ("done a#2", "finish succeeded"),
    ];
    let state = play(&toy(0), &dialogue);
    assert_eq!(causes(&toy(0), &state, "a#2"), "a#2 < a#1 < a#0");
}

#[test]
fn a_sub_workflow_is_a_step_that_ends_with_its_last() {
    let outer = graph(vec![node("a", &[]), node("sub", &["a"]).runs(1), node("z", &["sub"])]);
    let toy = Toy::new(vec![outer, graph(vec![node("x", &[]), node("y", &["x"])])]);
    let state = play(
        &toy,
        &[
            ("start", "prepare a@1"),
            ("done a", "prepare sub/x@1"),
            ("done sub/x", "prepare sub/y@1"),
            ("done sub/y", "prepare z@1"),
            ("done z", "finish succeeded"),
        ],
    );
    assert_eq!(causes(&toy, &state, "z"), "z < sub < sub/y < sub/x < a");
}

#[test]
fn sub_workflows_are_mapped_and_repeated() {
    let outer = graph(vec![node("sub", &[]).runs(1).map(Some(2)).at_most(2)]);
    let toy = Toy::new(vec![outer, graph(vec![node("x", &[])])]).fix("sub", Ask::Width, 2);
    play(
        &toy,
        &[
            ("start", "prepare sub[0]#0/x@1, prepare sub[1]#0/x@1"),
            ("done sub[1]#0/x", "prepare sub[1]#1/x@1"),
            ("done sub[0]#0/x", "prepare sub[0]#1/x@1"),
            ("done sub[0]#1/x", ""),
            ("done sub[1]#1/x", "finish succeeded"),
        ],
    );
}

#[test]
fn a_failure_goes_up_to_the_first_node_that_others_can_do_without() {
    let outer = || vec![node("sub", &[]).runs(1), node("b", &[]), node("c", &["sub", "b"]).any()];
    let inner = || graph(vec![node("x", &[]), node("y", &[]), node("z", &["x", "y"])]);
    let toy = Toy::new(vec![graph(outer()), inner()]);
    let start = ("start", "prepare sub/x@1, prepare sub/y@1, prepare b@1");
    let state = play(
        &toy,
        &[
            start,
            ("begins sub/x", "start sub/x@1"),
            ("ends sub/y", "cancel sub/x@1"),
            ("succeeded sub/x", ""),
            ("done b", "prepare c@1"),
            ("done c", "finish succeeded"),
        ],
    );
    assert_eq!(steps(&toy, &state), "sub failed, sub/x cancelled, sub/y failed, b succeeded, c succeeded");
    let alone = Toy::new(vec![graph(vec![node("sub", &[]).runs(1), node("b", &[])]), inner()]);
    let state = play(&alone, &[start, ("ends sub/y", "cancel sub/x@1, cancel b@1, finish failed")]);
    assert_eq!(steps(&alone, &state), "sub failed, sub/x cancelled, sub/y failed, b cancelled");
}

#[test]
fn a_sub_workflow_fails_once_although_several_wait_for_its_failed_node() {
    let outer = vec![node("sub", &[]).runs(1), node("b", &[]), node("c", &["sub", "b"]).any()];
    let inner = vec![node("x", &[]), node("y", &["x"]).any(), node("z", &["x"]).any()];
    let toy = Toy::new(vec![graph(outer), graph(inner)]);
    let state = play(
        &toy,
        &[
            ("start", "prepare sub/x@1, prepare b@1"),
            ("ends sub/x", ""),
            ("done b", "prepare c@1"),
            ("done c", "finish succeeded"),
        ],
    );
    assert_eq!(steps(&toy, &state), "sub failed, sub/x failed, b succeeded, sub/z failed, c succeeded");
}

#[test]
fn a_mapped_router_that_cannot_choose_fails_and_not_what_came_before_it() {
    let outer = vec![node("a", &[]), node("sub", &["a"]).runs(1).any()];
    let inner = vec![node("r", &[]).map(None).routes(&[&["x"]]), node("x", &[])];
    let toy = Toy::new(vec![graph(outer), graph(inner)]).fix("r", Ask::Width, 0).fix("r", Ask::Branch, 5);
    let state = play(&toy, &[("start", "prepare a@1"), ("done a", "finish failed")]);
    assert_eq!(steps(&toy, &state), "a succeeded, sub failed, sub/r failed");
}
