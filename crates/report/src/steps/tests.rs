//! Step tables of made-up records.

use lumos_core::{Basis, Destination, ErrorRecord, RunRecord, Status, StepRecord, Totals, Usage};

use super::step_table;
use crate::sample::{attempt, record, step};

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
    (second.destination, second.bytes_sent) = (Destination::Outside, Some(4_812));
    let mut record = record(vec![
        step("write", "generator", vec![failed, second]),
        step("check", "judge", vec![attempt(1, Some("small"))]),
    ]);
    record.totals.cost_complete = false;
    record.totals.input_tokens = None;
    record.totals.bytes_outside = Some(4_812);
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
