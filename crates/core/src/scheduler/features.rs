//! What the scheduler does, feature by feature: each test is a dialogue of events and the commands they lead to.
//!
//! `done x` stands for the whole life of an attempt: prepared, admitted, succeeded. The other events are spelled out.

use super::toy::{Ask, Toy, graph, label, node};
use super::{AttemptId, Bill, Command, Estimate, Event, EventKind, Failure, RunState, StepId, Timer};
use crate::graph::Limits;
use crate::money::Usd;
use crate::record::Status;

/// Plays a dialogue and returns the state after it.
fn play(toy: &Toy, lines: &[(&str, &str)]) -> RunState<Toy> {
    let mut state = RunState::new(toy, 1, 7);
    for (number, (event, expected)) in lines.iter().enumerate() {
        let mut commands = Vec::new();
        for kind in kinds(toy, &state, event) {
            commands.clear();
            state.handle(toy, Event { at_us: number as u64 + 1, kind }, &mut commands);
        }
        let commands: Vec<String> = commands.iter().map(|command| describe(toy, &state, command)).collect();
        assert_eq!(commands.join(", "), *expected, "after line {number}: {event}");
    }
    state
}

fn kinds(toy: &Toy, state: &RunState<Toy>, event: &str) -> Vec<EventKind<u64>> {
    let (verb, name) = event.split_once(' ').unwrap_or((event, ""));
    let attempt = || {
        let (name, number) = name.split_once('@').map_or((name, None), |(name, number)| (name, number.parse().ok()));
        let known = (0..state.steps().len() as u32).rev().map(StepId).find(|id| label(toy, state, *id) == name);
        let step = known.unwrap_or_else(|| panic!("no step {name}"));
        AttemptId { step, number: number.unwrap_or(state.step(step).attempt) }
    };
    let value = || Toy::value(state.view(attempt().step), toy);
    let cost = |cents: i128| Some(Usd::from_nanos(cents * 10_000_000));
    let bill = || Bill { cost: cost(1), report: None };
    let failure = |retryable| Failure { retryable, ..Failure::fatal(format!("{name} broke")) };
    let estimate = Estimate { worst_cost: cost(2), ..Estimate::default() };
    match verb {
        "start" => vec![EventKind::Started],
        "prepared" => vec![EventKind::Prepared(attempt(), estimate)],
        "unprepared" => vec![EventKind::PrepareFailed(attempt(), failure(true))],
        "admitted" => vec![EventKind::Admitted(attempt())],
        "deferred" => vec![EventKind::Deferred { attempt: attempt(), until_us: 99 }],
        "refused" => vec![EventKind::Refused(attempt(), failure(false))],
        "rejected" => vec![EventKind::Prepared(attempt(), estimate), EventKind::Rejected(attempt(), failure(true))],
        "spent" => {
            let failure = Failure { is_limit: true, ..failure(false) };
            vec![EventKind::Prepared(attempt(), estimate), EventKind::Rejected(attempt(), failure)]
        }
        "settled" => vec![EventKind::Settled(attempt(), bill())],
        "hedge" => vec![EventKind::TimerFired(Timer::Hedge(attempt()))],
        "limited" => {
            let failure = Failure { retry_after_us: Some(60_000_000), ..failure(true) };
            vec![
                EventKind::Prepared(attempt(), estimate),
                EventKind::Admitted(attempt()),
                EventKind::Failed(attempt(), failure, bill()),
            ]
        }
        "succeeded" => vec![EventKind::Succeeded(attempt(), value(), bill())],
        "done" => vec![
            EventKind::Prepared(attempt(), estimate),
            EventKind::Admitted(attempt()),
            EventKind::Succeeded(attempt(), value(), bill()),
        ],
        "breaks" | "ends" => vec![
            EventKind::Prepared(attempt(), estimate),
            EventKind::Admitted(attempt()),
            EventKind::Failed(attempt(), failure(verb == "breaks"), bill()),
        ],
        "begins" => vec![EventKind::Prepared(attempt(), estimate), EventKind::Admitted(attempt())],
        "timeout" => vec![EventKind::TimerFired(Timer::Timeout(attempt()))],
        "backoff" => vec![EventKind::TimerFired(Timer::Backoff(attempt()))],
        "deferral" => vec![EventKind::TimerFired(Timer::Deferral(attempt()))],
        "deadline" => vec![EventKind::TimerFired(Timer::Deadline)],
        "cancelled" => vec![EventKind::Cancelled],
        _ => panic!("no event {verb}"),
    }
}

fn describe(toy: &Toy, state: &RunState<Toy>, command: &Command) -> String {
    let named = |attempt: &AttemptId| format!("{}@{}", label(toy, state, attempt.step), attempt.number);
    match command {
        Command::Prepare(attempt) => format!("prepare {}", named(attempt)),
        Command::Admit(attempt) => format!("admit {}", named(attempt)),
        Command::StartAttempt(attempt) => format!("start {}", named(attempt)),
        Command::CancelAttempt(attempt) => format!("cancel {}", named(attempt)),
        Command::SetTimer { timer: Timer::Deadline, .. } => "timer deadline".to_owned(),
        Command::SetTimer { timer: Timer::Timeout(attempt), .. } => format!("timer timeout {}", named(attempt)),
        Command::SetTimer { timer: Timer::Hedge(attempt), .. } => format!("timer hedge {}", named(attempt)),
        Command::SetTimer { timer: Timer::Backoff(attempt), .. } => format!("timer backoff {}", named(attempt)),
        Command::SetTimer { timer: Timer::Deferral(attempt), .. } => format!("timer deferral {}", named(attempt)),
        Command::Finish => format!("finish {}", state.outcome().map_or("without an outcome", |o| o.status().as_str())),
    }
}

/// `label status` of every step, in order of creation.
fn steps(toy: &Toy, state: &RunState<Toy>) -> String {
    let steps = (0..state.steps().len() as u32).map(StepId);
    let lines = steps.map(|id| format!("{} {}", label(toy, state, id), state.step(id).status.as_str()));
    lines.collect::<Vec<_>>().join(", ")
}

/// The labels from a step back along its causes.
fn causes(toy: &Toy, state: &RunState<Toy>, name: &str) -> String {
    let mut next = (0..state.steps().len() as u32).map(StepId).find(|id| label(toy, state, *id) == name);
    let mut chain = Vec::new();
    while let Some(step) = next {
        chain.push(label(toy, state, step));
        next = state.step(step).cause;
    }
    chain.join(" < ")
}

#[test]
fn an_attempt_is_prepared_admitted_and_started() {
    let toy = Toy::new(vec![graph(vec![node("a", &[])])]);
    let state = play(
        &toy,
        &[
            ("start", "prepare a@1"),
            ("prepared a", "admit a@1"),
            ("deferred a", "timer deferral a@1"),
            ("admitted a", ""),
            ("deferral a", "admit a@1"),
            ("admitted a", "start a@1"),
            ("admitted a", ""),
            ("succeeded a", "finish succeeded"),
            ("succeeded a", ""),
        ],
    );
    assert_eq!((state.attempts().len(), state.spent()), (1, Usd::from_nanos(10_000_000)));
    assert_eq!((state.steps()[0].ready_us, state.steps()[0].end_us, state.attempts()[0].start_us), (1, 8, 6));
}

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
fn a_failed_attempt_is_made_again_after_a_pause_and_then_elsewhere() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(2).fallbacks(1)])]);
    let state = play(
        &toy,
        &[
            ("start", "prepare a@1"),
            ("breaks a", "timer backoff a@1"),
            ("succeeded a", ""),
            ("backoff a", "prepare a@2"),
            ("backoff a@1", ""),
            ("breaks a", "prepare a@3"),
            ("ends a", "finish failed"),
        ],
    );
    let tried: Vec<_> = state.attempts().iter().map(|attempt| (attempt.id.number, attempt.candidate)).collect();
    assert_eq!(tried, [(1, 0), (2, 0), (3, 1)]);
    assert_eq!(state.spent(), Usd::from_nanos(30_000_000));
}

#[test]
fn pauses_grow_up_to_their_bound_and_come_from_the_seed() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(8)])]);
    let pauses = |seed| {
        let mut state = RunState::new(&toy, 1, seed);
        let (mut commands, mut pauses) = (Vec::new(), Vec::new());
        state.handle(&toy, Event { at_us: 0, kind: EventKind::Started }, &mut commands);
        for number in 1..8 {
            let attempt = AttemptId { step: StepId(0), number };
            let failure = Failure { retryable: true, ..Failure::fatal("") };
            for kind in [
                EventKind::Prepared(attempt, Estimate::default()),
                EventKind::Admitted(attempt),
                EventKind::Failed(attempt, failure, Bill::default()),
            ] {
                commands.clear();
                state.handle(&toy, Event { at_us: 0, kind }, &mut commands);
            }
            let [Command::SetTimer { timer, at_us }] = commands[..] else { panic!("{commands:?}") };
            pauses.push(at_us);
            state.handle(&toy, Event { at_us: 0, kind: EventKind::TimerFired(timer) }, &mut commands);
        }
        pauses
    };
    let ceilings = [1, 2, 4, 8, 8, 8, 8].map(|seconds| seconds * 1_000_000);
    for seed in 0..50 {
        assert_eq!(pauses(seed), pauses(seed));
        assert!(pauses(seed).iter().zip(ceilings).all(|(pause, ceiling)| *pause < ceiling));
    }
    assert!((0..50).any(|seed| pauses(seed)[6] > 4_000_000));
    assert_ne!(pauses(1), pauses(2));
}

#[test]
fn an_attempt_that_takes_too_long_is_cancelled_and_counts_as_failed() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(2).timeout_us(5)])]);
    let state = play(
        &toy,
        &[
            ("start", "prepare a@1"),
            ("begins a", "start a@1, timer timeout a@1"),
            ("timeout a", "cancel a@1, timer backoff a@1"),
            ("succeeded a", ""),
            ("backoff a", "prepare a@2"),
            ("begins a", "start a@2, timer timeout a@2"),
            ("timeout a@1", ""),
            ("succeeded a", "finish succeeded"),
        ],
    );
    assert_eq!(state.attempts().iter().map(|a| a.status).collect::<Vec<_>>(), [Status::Failed, Status::Succeeded]);
}

#[test]
fn a_request_that_cannot_be_made_is_not_tried_again() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(3).fallbacks(2)])]);
    play(&toy, &[("start", "prepare a@1"), ("unprepared a", "finish failed")]);
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

#[test]
fn a_slow_attempt_is_joined_by_another_and_the_first_answer_counts() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).hedge_after_us(5)])]);
    let begin = [("start", "prepare a@1"), ("begins a", "start a@1, timer hedge a@1"), ("hedge a", "prepare a@2")];
    let second = [("begins a@2", "start a@2"), ("hedge a@1", ""), ("hedge a@2", "")];
    // Either may win; the other one is cancelled, and what it cost is counted when it is known.
    for (winner, loser) in [("succeeded a@1", "a@2"), ("succeeded a@2", "a@1")] {
        let cancelled = format!("cancel {loser}, finish succeeded");
        let settled = format!("settled {loser}");
        let lines: Vec<(&str, &str)> =
            begin.into_iter().chain(second).chain([(winner, &*cancelled), (&*settled, "")]).collect();
        let state = play(&toy, &lines);
        let statuses: Vec<_> = state.attempts().iter().map(|attempt| attempt.status.as_str()).collect();
        let wanted = if loser == "a@2" { ["succeeded", "cancelled"] } else { ["cancelled", "succeeded"] };
        assert_eq!(statuses, wanted);
        assert_eq!((state.spent(), state.reserved()), (Usd::from_nanos(20_000_000), Usd::ZERO));
    }
    // The one that fails leaves the field to the other.
    let lines: Vec<(&str, &str)> = begin
        .into_iter()
        .chain(second)
        .chain([("timeout a@1", "cancel a@1"), ("succeeded a@2", "finish succeeded")])
        .collect();
    assert_eq!(play(&toy, &lines).attempts()[0].status, Status::Failed);
    // It never ends a run: neither for want of money nor because it is refused.
    for no in ["unprepared a@2", "refused a@2"] {
        let prepared = if no.starts_with('r') { "admit a@2" } else { "" };
        let lines: Vec<(&str, &str)> = begin
            .into_iter()
            .chain([("prepared a@2", prepared)].into_iter().filter(|_| !prepared.is_empty()))
            .chain([(no, ""), ("succeeded a@1", "finish succeeded")])
            .collect();
        play(&toy, &lines);
    }
    let limits = Limits { cost: Some(Usd::from_nanos(30_000_000)), ..Limits::default() };
    let toy = Toy::limited(vec![graph(vec![node("a", &[]).hedge_after_us(5)])], limits);
    let lines: Vec<(&str, &str)> =
        begin.into_iter().chain([("prepared a@2", ""), ("succeeded a@1", "finish succeeded")]).collect();
    play(&toy, &lines);
}

#[test]
fn an_answer_that_fails_its_test_is_asked_for_again_of_a_better_backend() {
    let plan = |judge| vec![graph(vec![node("a", &[]).attempts(2).fallbacks(1).cascade(judge), node("b", &["a"])])];
    let toy = Toy::new(plan(None)).fix("a", Ask::Accept, 0);
    let state = play(&toy, &[("start", "prepare a@1"), ("done a", "prepare a@2"), ("done a", "prepare b@1")]);
    assert_eq!(state.candidate(StepId(0)), 2);
    let toy = Toy::new(plan(None));
    play(&toy, &[("start", "prepare a@1"), ("done a", "prepare b@1")]);
    // A judge is a step of its own; its value decides.
    let judged = [("start", "prepare a@1"), ("done a", "prepare j@1")];
    let toy = Toy::new(plan(Some("j"))).fix("a", Ask::Accept, 0);
    let lines: Vec<(&str, &str)> =
        judged.into_iter().chain([("done j", "prepare a@2"), ("done a", "prepare b@1")]).collect();
    let state = play(&toy, &lines);
    assert_eq!(steps(&toy, &state), "a succeeded, j succeeded, b running");
    let toy = Toy::new(plan(Some("j")));
    let lines: Vec<(&str, &str)> = judged.into_iter().chain([("done j", "prepare b@1")]).collect();
    play(&toy, &lines);
    // A judge that fails decides nothing: the better backend is asked.
    let lines: Vec<(&str, &str)> = judged.into_iter().chain([("ends j", "prepare a@2")]).collect();
    play(&toy, &lines);
    // So it is when all others have failed.
    let lines =
        [("start", "prepare a@1"), ("ends a", "prepare a@2"), ("ends a", "prepare a@3"), ("ends a", "finish failed")];
    assert_eq!(play(&toy, &lines).candidate(StepId(0)), 2);
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
fn what_is_down_is_passed_over_and_a_server_that_asks_for_time_gets_it() {
    let toy = Toy::new(vec![graph(vec![node("a", &[]).attempts(3).fallbacks(1)])]);
    let lines = [("start", "prepare a@1"), ("rejected a", "prepare a@2"), ("rejected a", "timer backoff a@2")];
    assert!(play(&toy, &lines).attempts().is_empty());
    let mut commands = Vec::new();
    let mut state = play(&toy, &[("start", "prepare a@1")]);
    for kind in kinds(&toy, &state, "limited a") {
        commands.clear();
        state.handle(&toy, Event { at_us: 5, kind }, &mut commands);
    }
    let [Command::SetTimer { timer: Timer::Backoff(_), at_us }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(at_us, 60_000_005);
    // Not when the run would be over by then.
    let limits = Limits { deadline_us: Some(1_000_000), ..Limits::default() };
    let toy = Toy::limited(vec![graph(vec![node("a", &[]).attempts(3).fallbacks(1)])], limits);
    let lines =
        [("start", "timer deadline, prepare a@1"), ("limited a", "prepare a@2"), ("limited a", "finish failed")];
    let state = play(&toy, &lines);
    assert!(state.outcome().unwrap().failure().unwrap().message.contains("after the run's deadline"));
}
