//! Exports of made-up records.

use std::collections::BTreeMap;

use lumos_core::{ErrorRecord, RunRecord, Status};
use serde_json::Value;

use super::{Export, ExportError, ExportFormat, ExportTable};
use crate::sample::{attempt, record, step};

fn written(records: &[RunRecord], format: ExportFormat, is_one: bool) -> Result<Vec<u8>, ExportError> {
    let mut bytes = Vec::new();
    let mut export = Export::new(&mut bytes, format, is_one)?;
    for record in records {
        export.add(record)?;
    }
    export.finish()?;
    Ok(bytes)
}

fn text(records: &[RunRecord], format: ExportFormat, is_one: bool) -> String {
    String::from_utf8(written(records, format, is_one).unwrap()).unwrap()
}

/// A step with a hedge, and a map of which two entries overlap.
fn busy() -> RunRecord {
    let (mut slow, mut fast) = (attempt(1, Some("api")), attempt(2, Some("api")));
    (slow.start_us, slow.duration_us, slow.status) = (1_000, 900_000, Status::Cancelled);
    (fast.start_us, fast.duration_us, fast.ttft_us) = (500_000, 400_000, Some(100_000));
    let mut hedged = step("ask", "generator", vec![slow, fast]);
    (hedged.ready_us, hedged.end_us, hedged.critical_us) = (Some(0), Some(901_000), Some(901_000));
    let mut steps = vec![hedged];
    for index in 0..3 {
        let mut one = attempt(1, None);
        (one.start_us, one.duration_us) = (901_000 + u64::from(index) * 50, 60);
        let mut entry = step("look", "tool", vec![one]);
        (entry.index, entry.critical_us) = (Some(index), (index == 2).then_some(60));
        steps.push(entry);
    }
    steps.push(step("never", "tool", Vec::new()));
    record(steps)
}

#[test]
fn json_is_the_record_or_a_list_of_records() {
    let record = busy();
    let value = serde_json::to_value(&record).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&text(std::slice::from_ref(&record), ExportFormat::Json, true)).unwrap(),
        value
    );
    let list: Value =
        serde_json::from_str(&text(&[record.clone(), record.clone()], ExportFormat::Json, false)).unwrap();
    assert_eq!(list["runs"], Value::Array(vec![value.clone(), value.clone()]));
    let none: Value = serde_json::from_str(&text(&[], ExportFormat::Json, false)).unwrap();
    assert_eq!(none["runs"], Value::Array(Vec::new()));
    let lines = text(&[record.clone(), record], ExportFormat::Jsonl, false);
    assert!(
        lines.lines().count() == 2 && lines.lines().all(|line| serde_json::from_str::<Value>(line).unwrap() == value)
    );
}

#[test]
fn csv_keeps_every_text_and_runs_no_formula() {
    let evil = ["=cmd|'/C calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "a,b", "a \"b\"", "two\nlines", "", "  =1"];
    let attempts = evil.iter().zip(1..).map(|(message, number)| {
        let mut attempt = attempt(number, Some("api"));
        (attempt.error, attempt.cost_usd) = (Some(ErrorRecord { message: (*message).to_owned(), hint: None }), None);
        attempt
    });
    let record = record(vec![step("=node", "tool", attempts.collect())]);
    let bytes = written(&[record], ExportFormat::Csv(ExportTable::Attempts), false).unwrap();
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let column = |name: &str| ExportTable::Attempts.columns().iter().position(|column| column.name == name).unwrap();
    assert_eq!(&reader.headers().unwrap()[column("error")], "error");
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let found: Vec<&str> = rows.iter().map(|row| &row[column("error")]).collect();
    assert_eq!(
        found,
        ["'=cmd|'/C calc'!A1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "a,b", "a \"b\"", "two\nlines", "", "'  =1"]
    );
    assert!(rows.iter().all(|row| &row[column("node")] == "'=node" && row[column("cost_usd")].is_empty()));
    assert!(rows.iter().all(|row| &row[column("started_at")] == "2026-11-24T10:00:00.000000Z"));
}

#[test]
fn money_that_does_not_fit_is_refused_and_not_changed() {
    let mut record = busy();
    record.totals.cost_usd = Some("1000000000".parse().unwrap());
    let error = written(std::slice::from_ref(&record), ExportFormat::Csv(ExportTable::Runs), false).unwrap_err();
    assert_eq!(error.to_string(), "run 01JD: its cost_usd has more than nine digits before the point");
    record.totals.cost_usd = Some("999999999.999999999".parse().unwrap());
    record.seed = u64::MAX;
    let rows = text(&[record], ExportFormat::Csv(ExportTable::Runs), false);
    assert!(rows.contains(",999999999.999999999,") && rows.contains(",18446744073709551615,"), "{rows}");
}

#[test]
fn slices_of_a_track_nest_and_arrows_begin_and_end_in_slices() {
    let mut later = busy();
    "2026-11-24T10:00:05Z".clone_into(&mut later.started_at);
    let trace: Value = serde_json::from_str(&text(&[busy(), later], ExportFormat::ChromeTrace, false)).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut tracks: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name} of {event}"));
        let slice = (number("ts"), number("ts") + number("dur"));
        tracks.entry((number("pid"), number("tid"))).or_default().push(slice);
    }
    for slices in tracks.values_mut() {
        slices.sort_by_key(|(from, to)| (*from, std::cmp::Reverse(*to)));
        let mut open: Vec<u64> = Vec::new();
        for (from, to) in slices {
            open.retain(|end| *end > *from);
            assert!(open.iter().all(|end| *to <= *end), "{from}..{to} is not within its track's slices");
            open.push(*to);
        }
    }
    let named = |name: &str| events.iter().filter(|event| event["args"]["name"] == name).count();
    assert_eq!(
        (named("ask"), named("ask (beside)"), named("look"), named("look (2)"), named("look (3)")),
        (2, 2, 2, 2, 0)
    );
    for phase in ["s", "f"] {
        let arrows: Vec<&Value> = events.iter().filter(|event| event["ph"] == phase).collect();
        assert_eq!(arrows.len(), 2);
        for arrow in arrows {
            let (at, track) =
                (arrow["ts"].as_u64().unwrap(), (arrow["pid"].as_u64().unwrap(), arrow["tid"].as_u64().unwrap()));
            assert!(tracks[&track].iter().any(|(from, to)| (*from..=*to).contains(&at)), "{arrow}");
        }
    }
    assert!(events.iter().any(|event| event["ts"].as_u64() >= Some(5_000_000)), "runs stand apart by their starts");
}
