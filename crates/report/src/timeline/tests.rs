//! Timelines of made-up records.

use lumos_core::{AttemptRecord, Basis, ErrorRecord, RunRecord, Status, StepRecord, Totals, Usage};

use super::timeline;
use crate::sample::{attempt, record, step};

fn text(record: &RunRecord, width: usize, shows_all: bool) -> String {
    timeline(record, width, shows_all).into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n")
}

/// An attempt on `api` from `start` to `end` in milliseconds, of which the first 50 were spent waiting.
fn call(number: u32, start: u64, end: u64, status: Status) -> AttemptRecord {
    let mut call = attempt(number, Some("api"));
    (call.start_us, call.queue_us, call.duration_us) = (start * 1_000, 50_000, (end - start) * 1_000 - 50_000);
    (call.ttft_us, call.status) = (Some((end - start) * 500), status);
    if status != Status::Succeeded {
        (call.ttft_us, call.finish_reason, call.usage, call.cost_usd) = (None, None, Usage::default(), None);
        (call.basis.tokens, call.basis.cost) = (None, None);
    }
    if status == Status::Failed {
        call.error = Some(ErrorRecord { message: "the server answered 503: overloaded".to_owned(), hint: None });
    }
    call
}

fn at(mut step: StepRecord, start: u64, end: u64, is_critical: bool) -> StepRecord {
    (step.ready_us, step.end_us) = (Some(start * 1_000), Some(end * 1_000));
    step.critical_us = is_critical.then_some((end - start) * 1_000);
    step
}

/// A map with a retry, a sub-workflow of two rounds, a hedge, and a skipped step.
fn eventful() -> RunRecord {
    let plan = at(step("plan", "planner", vec![call(1, 0, 400, Status::Succeeded)]), 0, 400, true);
    let mut steps = vec![plan];
    for index in 0..3u32 {
        let (attempts, end) = if index == 1 {
            (vec![call(1, 400, 600, Status::Failed), call(2, 1_000, 1_300, Status::Succeeded)], 1_300)
        } else {
            (vec![call(1, 400, 700, Status::Succeeded)], 700)
        };
        let mut entry = at(step("look", "generator", attempts), 400, end, index == 1);
        entry.index = Some(index);
        steps.push(entry);
    }
    for round in 0..2u64 {
        let start = 1_300 + round * 200;
        let mut outer = at(step("round", "workflow", Vec::new()), start, start + 200, true);
        (outer.status, outer.critical_us, outer.iteration) = (Status::Succeeded, Some(0), Some(round as u32));
        let mut inner = attempt(1, None);
        (inner.start_us, inner.queue_us, inner.duration_us) = (start * 1_000, 0, 200_000);
        let mut inner = at(step("grade", "tool", vec![inner]), start, start + 200, true);
        (inner.path, inner.iteration) = (vec!["round".to_owned()], Some(round as u32));
        steps.extend([outer, inner]);
    }
    let mut slow = call(1, 1_700, 2_600, Status::Cancelled);
    (slow.cost_usd, slow.basis.cost) = (Some("0.0001".parse().unwrap()), Some(Basis::Estimated));
    let answer = step("answer", "generator", vec![slow, call(2, 2_200, 2_600, Status::Succeeded)]);
    steps.push(at(answer, 1_700, 2_600, true));
    steps.push(step("refund", "tool", Vec::new()));
    let mut record = record(steps);
    record.totals = Totals {
        duration_us: 2_600_000,
        critical_path_us: 2_600_000,
        cost_usd: Some("0.00021453".parse().unwrap()),
        cost_complete: false,
        input_tokens: None,
        output_tokens: None,
        ..record.totals
    };
    record
}

/// A map of 10,000 entries, three of which failed.
fn wide() -> RunRecord {
    let entry = |index: u32| {
        let status = if matches!(index, 17 | 4_000 | 9_999) { Status::Failed } else { Status::Succeeded };
        let end = 1_000 + u64::from(index % 100);
        let mut entry = at(step("look", "generator", vec![call(1, 0, end, status)]), 0, end, index == 99);
        entry.index = Some(index);
        entry
    };
    let mut record = record((0..10_000).map(entry).collect());
    (record.totals.duration_us, record.totals.critical_path_us) = (1_099_000, 1_099_000);
    record
}

#[test]
fn an_eventful_run_in_80_columns() {
    insta::assert_snapshot!(text(&eventful(), 80, false));
}

#[test]
fn an_eventful_run_in_120_columns() {
    insta::assert_snapshot!(text(&eventful(), 120, false));
}

#[test]
fn ten_thousand_entries_are_folded() {
    insta::assert_snapshot!(text(&wide(), 80, false));
    assert!(timeline(&wide(), 80, true).len() > 10_000);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [72, 80, 100, 160] {
        for record in [eventful(), wide(), record(Vec::new())] {
            for line in timeline(&record, width, false) {
                let found = unicode_width::UnicodeWidthStr::width(line.text.as_str());
                assert!(found <= width, "{width}: {found}: {}", line.text);
            }
        }
    }
}

#[test]
fn what_is_not_over_and_what_was_cut_off_are_shown_as_such() {
    let mut again =
        step("ask", "generator", vec![call(1, 0, 300, Status::Interrupted), call(2, 300, 700, Status::Running)]);
    (again.ready_us, again.status) = (Some(0), Status::Running);
    let mut record = record(vec![again]);
    record.status = Status::Running;
    record.totals = Totals { duration_us: 900_000, ..Totals::default() };
    insta::assert_snapshot!(text(&record, 80, false));
}

#[test]
fn names_and_errors_cannot_command_a_terminal() {
    let mut evil = call(1, 0, 100, Status::Failed);
    evil.backend = Some("a\u{1b}[2J".to_owned());
    evil.error = Some(ErrorRecord { message: "x\u{1b}]0;y\u{7}\nz".to_owned(), hint: None });
    let shown = text(&record(vec![step("n\u{7}", "tool", vec![evil])]), 80, false);
    assert!(shown.chars().all(|c| !c.is_control() || c == '\n'), "{shown:?}");
}
