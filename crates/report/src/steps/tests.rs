//! Step tables of made-up records.

use indexmap::IndexMap;
use lumos_core::{
    AttemptBasis, AttemptRecord, Basis, Destination, ErrorRecord, FinishReason, RunRecord, Status, StepRecord, Totals,
    Usage,
};
use serde_json::Value;

use super::step_table;

fn attempt(number: u32, backend: Option<&str>) -> AttemptRecord {
    let tokens = |count| backend.map(|_| count);
    AttemptRecord {
        attempt: number,
        backend: backend.map(str::to_owned),
        model: backend
            .map(|name| (if name == "embedder" { "potion-base-8m" } else { "smollm2-135m-instruct" }).to_owned()),
        provider: backend.map(|_| "local".to_owned()),
        status: Status::Succeeded,
        start_us: 0,
        queue_us: 7,
        ttft_us: backend.filter(|name| *name != "embedder").map(|_| 41_249),
        duration_us: 412_300,
        usage: Usage {
            input_tokens: tokens(1_234),
            cached_input_tokens: tokens(0),
            output_tokens: tokens(87),
            ..Usage::default()
        },
        cost_usd: Some((if backend.is_some() { "0.000022906" } else { "0" }).parse().unwrap()),
        bytes_sent: 0,
        destination: Destination::Inside,
        finish_reason: backend.filter(|name| *name != "embedder").map(|_| FinishReason::Stop),
        request_id: None,
        saved_usd: None,
        error: None,
        basis: AttemptBasis {
            latency: Basis::Measured,
            tokens: backend.map(|_| Basis::Measured),
            cost: Some(if backend.is_some() { Basis::Estimated } else { Basis::Measured }),
        },
    }
}

fn step(node: &str, kind: &str, attempts: Vec<AttemptRecord>) -> StepRecord {
    StepRecord {
        node: node.to_owned(),
        path: Vec::new(),
        index: None,
        iteration: None,
        kind: kind.to_owned(),
        agent: Some("a".to_owned()),
        status: attempts.last().map_or(Status::Skipped, |attempt| attempt.status),
        error: None,
        ready_us: None,
        end_us: None,
        critical_us: None,
        output: Value::Null,
        attempts,
    }
}

fn record(steps: Vec<StepRecord>) -> RunRecord {
    RunRecord {
        run_id: "01JD".to_owned(),
        workflow: "w".to_owned(),
        deployment: "local".to_owned(),
        seed: 0,
        status: Status::Succeeded,
        output: Value::Null,
        error: None,
        started_at: "2026-11-24T10:00:00Z".to_owned(),
        inputs: IndexMap::new(),
        totals: Totals {
            duration_us: 1_240_000,
            critical_path_us: 1_000_000,
            cost_usd: Some("0.000068718".parse().unwrap()),
            cost_complete: true,
            input_tokens: Some(3_702),
            cached_input_tokens: Some(0),
            output_tokens: Some(261),
            attempts: 4,
            reserved_usd: None,
            saved_usd: None,
            bytes_outside: 0,
        },
        steps,
    }
}

fn text(record: &RunRecord, width: usize) -> String {
    step_table(record, width).into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n")
}

fn ordinary() -> RunRecord {
    let mut screen = attempt(1, None);
    screen.duration_us = 31;
    let mut mapped: Vec<StepRecord> = (0..2).map(|_| step("forecast", "forecaster", vec![attempt(1, None)])).collect();
    for (index, entry) in mapped.iter_mut().enumerate() {
        entry.index = Some(index as u32);
        entry.critical_us = (index == 0).then_some(412_300);
    }
    let mut judge = step("judge", "judge", vec![attempt(1, Some("small"))]);
    (judge.path, judge.iteration, judge.critical_us) = (vec!["research".to_owned()], Some(1), Some(587_000));
    let mut research = step("research", "workflow", Vec::new());
    (research.status, research.ready_us, research.end_us, research.critical_us) =
        (Status::Succeeded, Some(100), Some(587_100), Some(0));
    let mut first = step("screen", "guard", vec![screen]);
    first.critical_us = Some(31);
    let mut steps = vec![first, step("retrieve", "retriever", vec![attempt(1, Some("embedder"))])];
    steps.extend(mapped);
    steps.extend([research, judge, step("refund", "generator", Vec::new())]);
    record(steps)
}

#[test]
fn an_ordinary_run_with_room() {
    insta::assert_snapshot!(text(&ordinary(), 140));
}

#[test]
fn an_ordinary_run_in_100_columns() {
    let table = text(&ordinary(), 100);
    assert!(table.lines().take_while(|line| !line.starts_with("models")).all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(table);
}

#[test]
fn what_is_unknown_is_never_zero() {
    let mut failed = attempt(1, Some("large"));
    failed.status = Status::Failed;
    failed.usage = Usage::default();
    (failed.ttft_us, failed.finish_reason, failed.cost_usd) = (None, None, None);
    (failed.basis.tokens, failed.basis.cost) = (None, None);
    failed.error = Some(ErrorRecord { message: "no answer".to_owned(), hint: None });
    let mut second = attempt(2, Some("large"));
    (second.usage.cached_input_tokens, second.cost_usd, second.basis.cost) = (None, None, None);
    second.basis.tokens = Some(Basis::Reported);
    (second.destination, second.bytes_sent) = (Destination::Outside, 4_812);
    let mut record = record(vec![
        step("write", "generator", vec![failed, second]),
        step("check", "judge", vec![attempt(1, Some("small"))]),
    ]);
    record.totals.cost_complete = false;
    record.totals.input_tokens = None;
    record.totals.bytes_outside = 4_812;
    insta::assert_snapshot!(text(&record, 100));
    record.totals.cost_usd = None;
    assert!(text(&record, 100).contains("cost unknown"));
}

#[test]
fn a_refusing_guard_and_a_run_without_models() {
    let mut guard = step("screen", "guard", vec![attempt(1, None)]);
    guard.status = Status::Refused;
    let mut record = record(vec![guard]);
    record.totals = Totals { cost_usd: Some("0".parse().unwrap()), cost_complete: true, ..Totals::default() };
    (record.totals.input_tokens, record.totals.output_tokens) = (Some(0), Some(0));
    insta::assert_snapshot!(text(&record, 100));
}

#[test]
fn a_run_that_never_began_and_names_that_are_too_long() {
    let mut record = record(Vec::new());
    record.totals = Totals::default();
    assert!(text(&record, 100).contains("nothing was attempted"));
    record.steps = vec![step(&"very_long_".repeat(20), "tool", vec![attempt(1, Some("small"))])];
    assert!(text(&record, 100).lines().next().unwrap().chars().count() <= 100);
}
