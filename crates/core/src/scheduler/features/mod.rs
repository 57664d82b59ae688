//! What the scheduler does, feature by feature: each test is a dialogue of events and the commands they lead to.
//!
//! `done x` stands for the whole life of an attempt: prepared, admitted, succeeded. The other events are spelled out.

mod approvals;
mod attempts;
mod endings;
mod readiness;
mod repetition;

use super::toy::{Toy, label};
use super::{AttemptId, Bill, By, Command, Decision, Estimate, Event, EventKind, Failure, RunState, StepId, Timer};
use crate::money::Usd;

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
    let decided = |decision| EventKind::Decided(attempt().step, decision);
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
        "approve" => vec![decided(Decision::Approved { by: By::Person })],
        "edit" => vec![decided(Decision::Edited(5))],
        "reject" => vec![decided(Decision::Rejected { reason: Some("too dear".to_owned()), by: By::Person })],
        "pass" => vec![EventKind::TimerFired(Timer::Approval(attempt().step))],
        "resumed" => vec![EventKind::Resumed],
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
        Command::SetTimer { timer: Timer::Approval(step), .. } => {
            format!("timer approval {}", label(toy, state, *step))
        }
        Command::AskHuman(step) => format!("ask {}", label(toy, state, *step)),
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
