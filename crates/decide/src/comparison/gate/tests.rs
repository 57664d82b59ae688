//! Gates: what holds, how sure that is, and what is no gate.

use super::*;
use crate::comparison::{Side, between};
use crate::summary::tests::outcome;

fn summary(nanos: Option<i128>) -> Summary {
    let runs: Vec<_> = (1..=10).map(|row| outcome(row, 1_500_000, nanos, Some(f64::from(u8::from(row > 1))))).collect();
    Summary::of(&runs, &|_| false, 0)
}

fn held(gate: &str, summary: &Summary) -> Vec<(bool, Option<String>)> {
    let gate = Gate::read(gate, &["exact".to_owned()], &["a".to_owned()]).unwrap();
    gate.held([("a", summary)], &[]).into_iter().map(|held| (held.passed, held.why)).collect()
}

#[test]
fn conditions_hold_or_do_not() {
    let found = held(
        "quality >= 0.8, p95_s < 2, cost_usd <= 0.00001; a.exact > 90%, failures = 0, bytes_outside==0",
        &summary(Some(9_000)),
    );
    let passed: Vec<bool> = found.iter().map(|(passed, _)| *passed).collect();
    assert_eq!(passed, [true, true, true, false, true, true]);
    assert!(found[0].1.as_ref().unwrap().contains("may as well fail"), "9 of 10 may be less than 0.8");
    assert_eq!(found[2].1, None);
}

#[test]
fn what_is_not_known_passes_no_gate() {
    let found = held("cost_usd < 100, ttft_p95_s < 9, quality < 2", &summary(None));
    assert!(!found[0].0 && found[0].1.as_ref().unwrap().contains("not known"));
    assert!(found[1].0 && found[2].0);
    let unscored = Summary::of(&[outcome(1, 1, Some(1), None)], &|_| false, 0);
    let gate = Gate::read("quality > 0", &[], &[]).unwrap();
    assert_eq!(gate.held([("x", &unscored)], &[])[0].why.as_deref(), Some("nothing scores it"));
}

/// Forty rows, of which the last `wrong` score nothing; each sends as many bytes outside as its number.
fn side(name: &str, wrong: usize) -> Side {
    let of = |row: usize| {
        let score = f64::from(u8::from(row + wrong <= 40));
        let mut run = outcome(row, row as u64 * 1_000_000, Some(row as i128 * 1_000), Some(score));
        run.figures.bytes_outside = Some(row as u64);
        run
    };
    let outcomes: Vec<_> = (1..=40).map(of).collect();
    let summary = Summary::of(&outcomes, &|_| false, 0);
    Side { deployment: name.to_owned(), summary, outcomes, assumptions: Vec::new() }
}

#[test]
fn a_figure_may_be_held_against_that_of_another_deployment() {
    let names = ["whole".to_owned(), "awq".to_owned()];
    let held = |gate: &str, wrong: usize| {
        let (whole, awq) = (side("whole", 4), side("awq", wrong));
        let differences = between(&whole, &awq, 1);
        let gate = Gate::read(gate, &["exact".to_owned()], &names).unwrap();
        gate.held([("whole", &whole.summary), ("awq", &awq.summary)], &differences)
    };
    // 0.95 of 36 of 40 are 34.2 of 40.
    let found = held("quality >= 0.95 * baseline, awq.exact >= 95% * whole.exact", 5);
    assert_eq!(found.iter().map(|it| it.deployment.as_str()).collect::<Vec<_>>(), ["awq", "awq"]);
    assert!(found.iter().all(|it| it.passed && it.bound.is_some_and(|bound| (bound - 0.855).abs() < 1e-9)));
    assert!(!held("quality >= 0.95 * baseline", 6)[0].passed);
    // One more in forty is nothing to be sure of; costs that are the same in all rows are, however few there are.
    assert!(held("quality >= 0.95 * baseline", 5)[0].why.as_ref().unwrap().contains("may as well fail"));
    assert_eq!(held("cost_usd <= 1.1 * whole; p50_s <= 1.5 * whole", 4)[0].why, None);
    assert_eq!(held("p50_s <= whole", 4)[0].bound, Some(20.0));
    // Where the other is not known, nothing passes.
    let unknown = held("ttft_s <= 2 * awq; reserved_cost_usd < whole", 4);
    assert_eq!(unknown.iter().map(|it| it.passed).collect::<Vec<_>>(), [true, false]);
    assert!(unknown[1].bound.is_none() && unknown[1].why.as_ref().unwrap().starts_with("of `whole`: "));
}

#[test]
fn answers_that_are_all_right_twice_may_not_always_be() {
    let of = |name: &str| {
        let outcomes: Vec<_> = (1..=2).map(|row| outcome(row, 1_000_000, Some(5), Some(1.0))).collect();
        let summary = Summary::of(&outcomes, &|_| false, 0);
        Side { deployment: name.to_owned(), summary, outcomes, assumptions: Vec::new() }
    };
    let (whole, awq) = (of("whole"), of("awq"));
    let gate = "quality >= 0.95 * baseline, exact >= 0.95 * baseline, failures <= whole, cost_usd <= whole";
    let gate = Gate::read(gate, &["exact".to_owned()], &["whole".to_owned(), "awq".to_owned()]).unwrap();
    let held = gate.held([("whole", &whole.summary), ("awq", &awq.summary)], &between(&whole, &awq, 1));
    let is_sure: Vec<(bool, bool)> = held.iter().map(|it| (it.passed, it.why.is_none())).collect();
    assert_eq!(is_sure, [(true, false), (true, false), (true, false), (true, true)], "{held:?}");
}

#[test]
fn an_end_that_is_not_known_is_not_certain() {
    let too_few = Some("there are too few runs to be sure".to_owned());
    // Forty runs tell how small p95 may be, and not how large; of 1 to 40 seconds it is 38.
    let one = side("a", 0).summary;
    let gate = "p95_s < 100, p95_s > 20, p95_s > 100, p95_s < 20, p95_s = 38, mean_s < 100, total_cost_usd < 1";
    let found = held(gate, &one);
    assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), [true, true, false, false, true, true, true]);
    let why: Vec<Option<String>> = found.into_iter().map(|it| it.1).collect();
    let turned = Some("within the 95 % interval it may as well fail".to_owned());
    assert_eq!(why, [too_few.clone(), None, too_few.clone(), None, turned, None, None]);
    // What differs by nobody knows how much is held against as little.
    let (whole, awq) = (side("whole", 0), side("awq", 0));
    let gate = Gate::read("p95_s <= 1.5 * baseline", &[], &["whole".to_owned(), "awq".to_owned()]).unwrap();
    let sides = [("whole", &whole.summary), ("awq", &awq.summary)];
    for differences in [between(&whole, &awq, 1), Vec::new()] {
        let found = gate.held(sides, &differences);
        assert_eq!((found[0].passed, &found[0].why), (true, &too_few));
    }
}

#[test]
fn a_figure_that_is_not_equal_may_be() {
    let between = |value, ends, bound| Relation::Equal.doubt(value, ends, bound).is_some();
    assert!(between(0.5, (Some(0.2), Some(0.8)), 0.6) && between(0.5, (Some(0.2), Some(0.8)), 0.2));
    assert!(!between(0.5, (Some(0.2), Some(0.8)), 0.9) && !between(0.5, (Some(0.2), None), 0.1));
    assert!(between(0.5, (Some(0.2), None), 0.9));
}

#[test]
fn what_machines_cost_is_told_from_pairs_too() {
    let estimate = |low, high| Estimate { value: -0.1, low: Some(low), high: Some(high) };
    let summary = |value: i128| {
        let usd = |nanos| Some(lumos_core::Usd::from_nanos(nanos));
        // Seeds differ by more than deployments do.
        let amount = Amount { low: usd(value - 900), high: usd(value + 900), value: usd(value), ..Amount::UNKNOWN };
        Summary { reserved_cost_usd: Some(amount), ..side("a", 0).summary }
    };
    let (a, b) = (summary(1_000), summary(900));
    let relative = Some(estimate(-0.12, -0.08));
    let difference = Difference::of(("b", "a"), "reserved_cost_usd", (None, relative), (true, 3));
    let gate = Gate::read("reserved_cost_usd < baseline", &[], &["a".to_owned(), "b".to_owned()]).unwrap();
    let of = |differences: &[Difference]| gate.held([("a", &a), ("b", &b)], differences)[0].why.clone();
    assert_eq!(of(&[difference]), None);
    assert!(of(&[]).unwrap().contains("may as well fail"));
}

#[test]
fn bytes_are_those_of_a_run_and_of_all_runs() {
    let one = side("a", 0).summary;
    let found = held("bytes_outside < 21, total_bytes_outside < 820", &one);
    assert_eq!(found.iter().map(|(passed, _)| *passed).collect::<Vec<_>>(), [true, false], "820 bytes in 40 runs");
}

#[test]
fn mistakes_say_what_would_be_valid() {
    let shown: Vec<String> = [
        "",
        "quality",
        "qualty > 0.5",
        "speed > 3",
        "quality > good",
        "b.quality > 1",
        "> 1",
        "quality > 0.9 * baseline",
    ]
    .iter()
    .map(|text| {
        let error = Gate::read(text, &["exact".to_owned()], &["a".to_owned()]).expect_err(text);
        format!("{text}: {error}\n  hint: {}", error.hint.as_deref().unwrap_or("none"))
    })
    .chain(["quality > 0.9 * baselin", "quality > much * b", "quality > 0.9 *", "quality > 2 * b.tokens"].map(|text| {
        let error = Gate::read(text, &[], &["a".to_owned(), "b".to_owned()]).expect_err(text);
        format!("{text}: {error}\n  hint: {}", error.hint.as_deref().unwrap_or("none"))
    }))
    .collect();
    insta::assert_snapshot!(shown.join("\n"));
}
