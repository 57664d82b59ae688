//! What ends a run early: guards, refusals, budgets, limits and cancellation.

use super::super::toy::{Ask, Toy, graph, node};
use super::{play, steps};
use crate::graph::Limits;
use crate::money::Usd;

#[test]
fn a_guard_ends_the_run_and_the_steps_around_it_as_refused() {
    let outer = graph(vec![node("sub", &[]).runs(1), node("b", &[])]);
    let toy = Toy::new(vec![outer, graph(vec![node("g", &[]).guard()])]).fix("g", Ask::Refusal, 1);
    let state = play(&toy, &[("start", "prepare sub/g@1, prepare b@1"), ("done sub/g", "cancel b@1, finish refused")]);
    assert_eq!(steps(&toy, &state), "sub refused, sub/g refused, b cancelled");
}

#[test]
fn nothing_can_do_without_a_guard() {
    let nodes = vec![node("g", &[]).guard(), node("a", &["g"]).any()];
    play(&Toy::new(vec![graph(nodes)]), &[("start", "prepare g@1"), ("ends g", "finish failed")]);
}

#[test]
fn what_admission_refuses_ends_the_run() {
    let toy = Toy::new(vec![graph(vec![node("a", &[])])]);
    play(&toy, &[("start", "prepare a@1"), ("prepared a", "admit a@1"), ("refused a", "finish refused")]);
}

#[test]
fn a_budget_holds_back_what_it_may_not_cover_and_ends_what_it_cannot() {
    let nodes = vec![node("a", &[]), node("b", &[]), node("c", &["a", "b"])];
    let cents = |cents: i128| Limits { cost: Some(Usd::from_nanos(cents * 10_000_000)), ..Limits::default() };
    let start = ("start", "prepare a@1, prepare b@1");
    // Every attempt may cost 2 cents and costs 1.
    let toy = Toy::limited(vec![graph(nodes)], cents(3));
    let state = play(
        &toy,
        &[
            start,
            ("prepared a", "admit a@1"),
            ("prepared b", ""),
            ("admitted a", "start a@1"),
            ("succeeded a", "admit b@1"),
            ("admitted b", "start b@1"),
            ("succeeded b", "prepare c@1"),
            ("prepared c", "finish limited"),
        ],
    );
    assert_eq!((state.spent(), state.reserved()), (Usd::from_nanos(20_000_000), Usd::ZERO));
    let message = &state.outcome().and_then(|outcome| outcome.failure()).expect("a reason").message;
    assert_eq!(message, "the next attempt of `c` may cost 0.02 USD, and 0.02 of the budget of 0.03 USD is spent");
}

#[test]
fn an_attempt_cancelled_in_flight_may_have_cost_its_worst() {
    let limits = Limits { cost: Some(Usd::from_nanos(30_000_000)), ..Limits::default() };
    let toy = Toy::limited(vec![graph(vec![node("a", &[]).attempts(2).timeout_us(5)])], limits);
    let state = play(
        &toy,
        &[
            ("start", "prepare a@1"),
            ("begins a", "start a@1, timer timeout a@1"),
            ("timeout a", "cancel a@1, timer backoff a@1"),
            ("backoff a", "prepare a@2"),
            ("prepared a", "finish limited"),
        ],
    );
    assert_eq!(state.spent(), Usd::ZERO);
}

#[test]
fn so_may_the_entries_that_are_cancelled_with_their_map() {
    let nodes = vec![node("a", &[]).map(Some(2)), node("b", &[]), node("c", &["a", "b"]).any()];
    let limits = Limits { cost: Some(Usd::from_nanos(50_000_000)), ..Limits::default() };
    let toy = Toy::limited(vec![graph(nodes)], limits);
    let state = play(
        &toy,
        &[
            ("start", "prepare a[0]@1, prepare a[1]@1, prepare b@1"),
            ("begins a[1]", "start a[1]@1"),
            ("ends a[0]", "cancel a[1]@1"),
            ("done b", "prepare c@1"),
            // One cent each is spent on a[0] and b, and a[1] may have cost two: one of five is left.
            ("prepared c", "finish limited"),
        ],
    );
    assert_eq!(state.spent(), Usd::from_nanos(20_000_000));
}

#[test]
fn a_budget_that_is_spent_ends_what_nobody_else_can_do_as_limited() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(3).fallbacks(1)])]);
    let lines = [("start", "prepare a@1"), ("spent a", "prepare a@2"), ("spent a", "finish limited")];
    let state = play(&toy, &lines);
    assert_eq!((steps(&toy, &state).as_str(), state.attempts().len()), ("a limited", 0));
    assert_eq!(state.reserved(), Usd::ZERO);
    let lines = [("start", "prepare a@1"), ("spent a", "prepare a@2"), ("done a", "finish succeeded")];
    assert_eq!(steps(&toy, &play(&toy, &lines)), "a succeeded");
}

#[test]
fn steps_are_counted_one_by_one() {
    let limits = Limits { steps: Some(2), ..Limits::default() };
    let outer = graph(vec![node("sub", &[]).runs(1)]);
    let toy = Toy::limited(vec![outer, graph(vec![node("x", &[]).map(None)])], limits);
    let state = play(&toy, &[("start", "prepare sub/x[0]@1, cancel sub/x[0]@1, finish limited")]);
    assert_eq!(steps(&toy, &state), "sub limited, sub/x[0] cancelled");
}

#[test]
fn a_deadline_ends_the_run() {
    let limits = Limits { deadline_us: Some(5), ..Limits::default() };
    let toy = Toy::limited(vec![graph(vec![node("a", &[])])], limits);
    play(
        &toy,
        &[
            ("deadline", ""),
            ("start", "timer deadline, prepare a@1"),
            ("begins a", "start a@1"),
            ("deadline", "cancel a@1, finish limited"),
            ("deadline", ""),
        ],
    );
    play(&Toy::new(vec![graph(vec![node("a", &[])])]), &[("start", "prepare a@1"), ("deadline", "")]);
}

#[test]
fn cancelling_ends_everything_in_flight_and_keeps_what_has_finished() {
    let nodes = vec![node("a", &[]), node("b", &[]), node("c", &[]), node("d", &[]).attempts(2)];
    let toy = Toy::new(vec![graph(nodes)]);
    let state = play(
        &toy,
        &[
            ("start", "prepare a@1, prepare b@1, prepare c@1, prepare d@1"),
            ("done a", ""),
            ("begins b", "start b@1"),
            ("breaks d", "timer backoff d@1"),
            ("cancelled", "cancel b@1, cancel c@1, finish cancelled"),
            ("succeeded b", ""),
            ("backoff d", ""),
            ("cancelled", ""),
        ],
    );
    assert_eq!(steps(&toy, &state), "a succeeded, b cancelled, c cancelled, d cancelled");
}
