//! The life of an attempt: retries, timeouts, fallbacks, hedges and cascades.

use super::super::toy::{Ask, Toy, graph, node};
use super::super::{AttemptId, Bill, Command, Estimate, Event, EventKind, Failure, RunState, StepId, Timer};
use super::{kinds, play, steps};
use crate::graph::Limits;
use crate::money::Usd;
use crate::record::Status;

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
