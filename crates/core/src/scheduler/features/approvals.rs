//! A person is asked before a step begins: what waits, what goes on meanwhile, and what each decision leads to.

use super::super::toy::{Ask, Toy, graph, label, node};
use super::super::{By, Decision, StepId};
use super::{play, steps};
use crate::chance::combine;
use crate::spec::Verdict;

#[test]
fn a_step_waits_for_its_approval_and_nothing_after_it_starts() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]), node("b", &["a"]).approve(), node("c", &["b"])])]);
    let begin = [("start", "prepare a@1"), ("done a", "ask b")];
    let state = play(&toy, &begin);
    assert!(state.is_paused() && state.asked().eq([StepId(1)]));
    assert_eq!(steps(&toy, &state), "a succeeded, b paused");
    assert_eq!((state.question(StepId(1)), state.question(StepId(0))), (Some("do it after 0?"), None));
    // Neither what was asked already nor what nobody asks about can be decided.
    let state = play(
        &toy,
        &[
            begin[0],
            ("approve a", ""),
            begin[1],
            ("approve a", ""),
            ("approve b", "prepare b@1"),
            ("reject b", ""),
            ("done b", "prepare c@1"),
            ("reject c", ""),
            ("done c", "finish succeeded"),
            ("reject b", ""),
        ],
    );
    assert!(!state.is_paused() && state.asked().next().is_none());
    assert_eq!(state.decision(StepId(1)), Some(&Decision::Approved { by: By::Person }));
    assert_eq!(state.question(StepId(1)), Some("do it after 0?"));
}

#[test]
fn a_run_is_paused_only_when_nothing_else_goes_on() {
    let nodes = vec![node("a", &[]).approve(), node("b", &[]).attempts(2), node("c", &["a", "b"])];
    let toy = Toy::new(vec![graph(nodes)]);
    let begin = ("start", "ask a, prepare b@1");
    assert!(!play(&toy, &[begin]).is_paused());
    assert!(!play(&toy, &[begin, ("prepared b", "admit b@1")]).is_paused());
    assert!(!play(&toy, &[begin, ("prepared b", "admit b@1"), ("deferred b", "timer deferral b@1")]).is_paused());
    assert!(!play(&toy, &[begin, ("begins b", "start b@1")]).is_paused());
    assert!(!play(&toy, &[begin, ("breaks b", "timer backoff b@1")]).is_paused());
    assert!(play(&toy, &[begin, ("done b", "")]).is_paused());
    let end = play(&toy, &[begin, ("done b", ""), ("approve a", "prepare a@1"), ("done a", "prepare c@1")]);
    assert!(!end.is_paused());
}

#[test]
fn a_rejection_ends_the_run_and_what_is_in_flight() {
    let toy = Toy::new(vec![
        graph(vec![node("sub", &[]).runs(1), node("b", &[]), node("c", &["sub", "b"]).any()]),
        graph(vec![node("x", &[]).approve()]),
    ]);
    let begin = [("start", "ask sub/x, prepare b@1"), ("begins b", "start b@1")];
    let state = play(&toy, &[begin[0], begin[1], ("reject sub/x", "cancel b@1, finish refused")]);
    assert_eq!(steps(&toy, &state), "sub refused, sub/x refused, b cancelled");
    let message = |state: &super::RunState<Toy>| state.outcome().unwrap().failure().unwrap().message.clone();
    assert_eq!(message(&state), "a person rejected `x`: too dear");
}

#[test]
fn the_default_holds_for_what_nobody_has_decided_about_in_time() {
    let of = |default| {
        let nodes = vec![node("a", &[]).approve_in_time(default), node("b", &[]), node("c", &["a", "b"])];
        Toy::new(vec![graph(nodes)])
    };
    let begin = [("start", "timer approval a, ask a, prepare b@1"), ("begins b", "start b@1")];
    let toy = of(Verdict::Reject);
    let state = play(&toy, &[begin[0], begin[1], ("pass a", "cancel b@1, finish refused")]);
    assert_eq!(state.outcome().unwrap().failure().unwrap().message, "nobody approved `a` in time");
    assert_eq!(state.decision(StepId(0)), Some(&Decision::Rejected { reason: None, by: By::Timeout }));

    // Whoever is first counts.
    let toy = of(Verdict::Approve);
    let state = play(&toy, &[begin[0], begin[1], ("pass a", "prepare a@1"), ("reject a", ""), ("edit a", "")]);
    assert_eq!(state.decision(StepId(0)), Some(&Decision::Approved { by: By::Timeout }));
    let state = play(&toy, &[begin[0], begin[1], ("edit a", "prepare a@1"), ("pass a", ""), ("pass b", "")]);
    assert_eq!(state.decision(StepId(0)), Some(&Decision::Edited(5)));
}

#[test]
fn a_rejection_names_the_entry_of_the_map() {
    let toy = Toy::new(vec![graph(vec![node("b", &[]).map(None).approve()])]).fix("b", Ask::Width, 2);
    let state = play(&toy, &[("start", "ask b[0], ask b[1]"), ("reject b[1]", "finish refused")]);
    let message = &state.outcome().unwrap().failure().unwrap().message;
    assert_eq!(message, "a person rejected `b[1]`: too dear");
}

#[test]
fn edited_arguments_replace_those_of_the_node() {
    let outer = graph(vec![node("a", &[]).approve(), node("sub", &["a"]).runs(1).approve()]);
    let toy = Toy::new(vec![outer, graph(vec![node("x", &[])])]);
    let lines = [
        ("start", "ask a"),
        ("edit a", "prepare a@1"),
        ("done a", "ask sub"),
        ("edit sub", "prepare sub/x@1"),
        ("done sub/x", "finish succeeded"),
    ];
    let state = play(&toy, &lines);
    assert_eq!(state.view(StepId(0)).edited(), Some(&5));
    let place = |id| super::super::toy::place(state.view(StepId(id)));
    assert_eq!(state.step(StepId(0)).value, Some(combine(place(0), 5)));
    assert_eq!(state.view(StepId(2)).inputs(), &combine(place(1), 5));
}

#[test]
fn every_entry_every_round_and_every_sub_workflow_asks_by_itself() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).map(Some(2)).approve()])]).fix("a", Ask::Width, 3);
    let lines = [
        ("start", "ask a[0], ask a[1]"),
        ("approve a[1]", "prepare a[1]@1"),
        ("done a[1]", "ask a[2]"),
        ("approve a[2]", "prepare a[2]@1"),
        ("done a[2]", ""),
        ("approve a[0]", "prepare a[0]@1"),
        ("done a[0]", "finish succeeded"),
    ];
    play(&toy, &lines);
    let toy = Toy::new(vec![graph(vec![node("a", &[]).at_most(2).approve()])]);
    let lines = [
        ("start", "ask a#0"),
        ("approve a#0", "prepare a#0@1"),
        ("done a#0", "ask a#1"),
        ("approve a#1", "prepare a#1@1"),
        ("done a#1", "finish succeeded"),
    ];
    let state = play(&toy, &lines);
    // What the round before gave is part of the question, and the question outlives it.
    let value = state.step(StepId(0)).value.unwrap();
    assert_eq!(state.question(StepId(1)), Some(&*format!("do it after {value}?")));
    let outer = graph(vec![node("sub", &[]).runs(1).map(Some(1)).at_most(2).approve()]);
    let toy = Toy::new(vec![outer, graph(vec![node("x", &[])])]).fix("sub", Ask::Width, 1);
    let lines = [
        ("start", "ask sub[0]#0"),
        ("approve sub[0]#0", "prepare sub[0]#0/x@1"),
        ("done sub[0]#0/x", "ask sub[0]#1"),
        ("edit sub[0]#1", "prepare sub[0]#1/x@1"),
        ("done sub[0]#1/x", "finish succeeded"),
    ];
    play(&toy, &lines);
}

#[test]
fn with_any_a_node_goes_on_without_the_one_that_waits_and_the_run_waits_for_it() {
    let nodes = vec![node("a", &[]).approve(), node("b", &[]), node("c", &["a", "b"]).any().approve()];
    let toy = Toy::new(vec![graph(nodes)]);
    let begin = [("start", "ask a, prepare b@1"), ("done b", "ask c")];
    let state = play(&toy, &begin);
    assert!(state.is_paused());
    assert_eq!(state.asked().map(|id| label(&toy, &state, id)).collect::<Vec<_>>(), ["a", "c"]);
    let rest =
        [("approve c", "prepare c@1"), ("done c", ""), ("approve a", "prepare a@1"), ("done a", "finish succeeded")];
    play(&toy, &[begin, [rest[0], rest[1]], [rest[2], rest[3]]].concat());
    assert!(play(&toy, &[begin, [rest[0], rest[1]]].concat()).is_paused());
}

#[test]
fn what_ends_a_run_or_a_map_takes_its_questions_back() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).approve(), node("b", &[])])]);
    for (end, expected) in [("cancelled", "cancel b@1, finish cancelled"), ("ends b", "finish failed")] {
        let state = play(&toy, &[("start", "ask a, prepare b@1"), (end, expected), ("approve a", "")]);
        assert!(!state.is_paused() && state.asked().next().is_none());
        assert!(steps(&toy, &state).starts_with("a cancelled"));
        assert!(state.question(StepId(0)).is_some() && state.decision(StepId(0)).is_none());
    }
    let nodes = vec![node("a", &[]).map(None).approve(), node("b", &[]), node("c", &["a", "b"]).any()];
    let toy = Toy::new(vec![graph(nodes)]).fix("a", Ask::Width, 3);
    let state = play(
        &toy,
        &[
            ("start", "ask a[0], ask a[1], ask a[2], prepare b@1"),
            ("approve a[1]", "prepare a[1]@1"),
            ("ends a[1]", ""),
            ("approve a[0]", ""),
            ("done b", "prepare c@1"),
            ("done c", "finish succeeded"),
        ],
    );
    assert_eq!(steps(&toy, &state), "a[0] cancelled, a[1] failed, a[2] cancelled, b succeeded, c succeeded");
}

#[test]
fn a_question_that_cannot_be_put_fails_its_step() {
    let nodes = vec![node("a", &[]).approve(), node("b", &[]), node("c", &["a", "b"]).any()];
    let toy = Toy::new(vec![graph(nodes)]).fix("a", Ask::Trouble, 1);
    let state = play(&toy, &[("start", "prepare b@1"), ("done b", "prepare c@1"), ("done c", "finish succeeded")]);
    assert_eq!(steps(&toy, &state), "a failed, b succeeded, c succeeded");
}

#[test]
fn a_question_outlives_the_process_that_put_it_and_retries_put_none() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(2).approve(), node("b", &[])])]);
    let state = play(
        &toy,
        &[
            ("start", "ask a, prepare b@1"),
            ("begins b", "start b@1"),
            ("resumed", "prepare b@2"),
            ("approve a", "prepare a@1"),
            ("breaks a", "timer backoff a@1"),
            ("backoff a", "prepare a@2"),
            ("resumed", "prepare a@2, prepare b@2"),
            ("done a", ""),
            ("done b", "finish succeeded"),
        ],
    );
    assert_eq!(steps(&toy, &state), "a succeeded, b succeeded");
}
