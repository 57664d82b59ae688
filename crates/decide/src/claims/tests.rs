//! Verdicts of claims whose truth is known: the answers are made up, and what they mean is plain.

use std::cell::Cell;

use lumos_core::spec::{Bounds, ClaimSpec, FigureSpec, GivenSpec, PartSpec, QuestionSpec, RangeSpec};
use lumos_core::usage::Basis;
use serde_json::{Value, json};

use super::*;

fn range(at: f64, from: f64, to: f64) -> RangeSpec {
    RangeSpec {
        at,
        from,
        to,
        search: None,
        whole: false,
        says: "the price".to_owned(),
        unit: "$".to_owned(),
        source: String::new(),
    }
}

fn figure(expression: &str, least: Option<f64>, most: Option<f64>) -> FigureSpec {
    FigureSpec {
        says: "the figure".to_owned(),
        figure: expression.to_owned(),
        unit: String::new(),
        must_be: Some(Bounds { least, most }),
        vary: Some("x".to_owned()),
        off_by: 0.0,
        off_by_source: String::new(),
    }
}

/// A claim over `x`, with a question `q` that is asked with `x` tokens.
fn claim(given: GivenSpec, part: FigureSpec) -> ClaimSpec {
    let asked = QuestionSpec::Price {
        provider: "p".to_owned(),
        model: "m".to_owned(),
        input_tokens: json!("{{ x }}"),
        output_tokens: json!(0),
    };
    ClaimSpec {
        name: "claim".to_owned(),
        given: [("x".to_owned(), given)].into_iter().collect(),
        asked: [("q".to_owned(), asked)].into_iter().collect(),
        parts: vec![PartSpec::Figure(part)],
        ..ClaimSpec::default()
    }
}

fn answer(documents: Vec<Value>) -> Answer {
    Answer {
        documents,
        basis: Basis::Simulated,
        command: "ask".to_owned(),
        sources: Vec::new(),
        assumptions: Vec::new(),
    }
}

/// Tokens are answered with themselves, and with one less and one more as other seeds.
fn echo(ask: &Ask) -> Result<Answer, String> {
    let Ask::Price { input_tokens, .. } = ask else { return Err("not asked for".to_owned()) };
    let tokens = *input_tokens as f64;
    Ok(answer(vec![json!({"y": tokens}), json!({"y": tokens - 1.0}), json!({"y": tokens + 1.0})]))
}

fn judged(claim: &ClaimSpec) -> JudgedClaim {
    judge(claim, &mut echo).expect("an answer")
}

#[test]
fn the_threshold_is_found_and_said() {
    // 100 / x is at most 10 from x = 10 on.
    let of = |from: f64, to: f64, search| {
        let given = GivenSpec::Range(RangeSpec { search, ..range(to, from, to) });
        let part = judged(&claim(given, figure("{{ 100 / x }}", None, Some(10.0)))).parts.remove(0);
        (part.verdict, part.condition.or(part.would_hold))
    };
    assert_eq!(of(20.0, 40.0, None), (Some(ClaimVerdict::Holds), None));
    let (verdict, condition) = of(2.0, 40.0, None);
    assert_eq!(verdict, Some(ClaimVerdict::HoldsOnlyIf));
    assert_eq!(condition.as_deref(), Some("the price is at least $10"));
    assert_eq!(of(2.0, 4.0, None), (Some(ClaimVerdict::DoesNotHold), None));
    let (verdict, condition) = of(2.0, 4.0, Some((1.0, 1000.0)));
    assert_eq!(verdict, Some(ClaimVerdict::DoesNotHold));
    assert_eq!(condition.as_deref(), Some("the price is at least $10"));
}

#[test]
fn a_figure_may_hold_between_two_thresholds() {
    let given = GivenSpec::Range(RangeSpec { whole: true, unit: "clients".to_owned(), ..range(5.0, 1.0, 200.0) });
    let mut part = judged(&claim(given, figure("{{ x * x }}", Some(99.0), Some(1000.0)))).parts.remove(0);
    assert_eq!(part.condition.take().as_deref(), Some("the price is between 10 clients and 31 clients"));
    assert_eq!((part.value, part.range), (Some(25.0), Some((1.0, 40_000.0))));
}

#[test]
fn what_an_interval_leaves_open_is_not_taken_for_true() {
    // Student's interval of 100, 99 and 101 reaches from 97.5 to 102.5.
    let of = |most: f64| {
        let given =
            GivenSpec::OneOf { values: vec![json!(100), json!(100.0)], says: "x".to_owned(), source: String::new() };
        judged(&claim(given, figure("{{ q.y }}", None, Some(most)))).parts.remove(0)
    };
    assert_eq!(of(103.0).verdict, Some(ClaimVerdict::Holds));
    assert_eq!(of(97.0).verdict, Some(ClaimVerdict::DoesNotHold));
    let open = of(101.0);
    assert_eq!(open.verdict, Some(ClaimVerdict::HoldsOnlyIf));
    let condition = open.condition.expect("a condition");
    assert_eq!(condition, "the figure is at most 101, which its interval from 97.5 to 102 leaves open");
}

#[test]
fn how_far_off_a_model_may_be_widens_the_interval() {
    let given = GivenSpec::Range(range(100.0, 100.0, 101.0));
    let part = FigureSpec { off_by: 0.5, off_by_source: "a bench".to_owned(), ..figure("{{ x }}", None, Some(140.0)) };
    let part = judged(&claim(given, part)).parts.remove(0);
    assert_eq!(part.interval, Some((50.0, 150.0)));
    assert_eq!(part.verdict, Some(ClaimVerdict::HoldsOnlyIf), "140 lies within it");
}

#[test]
fn of_several_values_those_are_named_that_hold() {
    let values = vec![json!("a"), json!("bb"), json!("ccc")];
    let given = GivenSpec::OneOf { values, says: "the server".to_owned(), source: String::new() };
    let mut spec = claim(given, figure("{{ x | length }}", Some(2.0), None));
    spec.asked.clear();
    let claim = judged(&spec);
    assert_eq!(claim.says, "holds only if the server is `bb` or `ccc`");
    assert_eq!(claim.parts[0].basis, Some(Basis::Estimated), "nobody was asked");
}

#[test]
fn what_nobody_here_can_know_is_a_condition_and_no_figure() {
    let mut spec = claim(GivenSpec::Range(range(20.0, 20.0, 30.0)), figure("{{ q.y }}", Some(10.0), None));
    spec.parts.push(PartSpec::Unknown { says: "it is good".to_owned(), measure: "lumos eval".to_owned() });
    let claim = judged(&spec);
    assert_eq!(claim.verdict, ClaimVerdict::HoldsOnlyIf);
    assert_eq!(claim.says, "holds only if it is good, which is unknown here: measure it with `lumos eval`");
    assert_eq!((claim.parts[1].value, claim.parts[1].shown.as_deref()), (None, None));
    assert_eq!(claim.parts[0].verdict, Some(ClaimVerdict::Holds));
}

#[test]
fn the_weakest_part_decides_and_figures_that_are_only_shown_do_not() {
    let mut spec = claim(GivenSpec::Range(range(20.0, 20.0, 30.0)), figure("{{ q.y }}", Some(10.0), None));
    spec.parts.push(PartSpec::Figure(FigureSpec { must_be: None, vary: None, ..figure("{{ x * 1000 }}", None, None) }));
    assert_eq!(judged(&spec).says, "holds");
    spec.parts.push(PartSpec::Figure(FigureSpec { vary: None, ..figure("{{ x * 1000 }}", None, Some(5.0)) }));
    let claim = judged(&spec);
    assert_eq!(claim.verdict, ClaimVerdict::DoesNotHold);
    assert_eq!(claim.says, "does not hold: the figure is 20,000 (20,000–30,000) where at most 5 is claimed");
}

#[test]
fn a_question_is_asked_once() {
    let asked = Cell::new(0);
    let spec = claim(GivenSpec::Range(range(20.0, 20.0, 30.0)), figure("{{ q.y }}", None, Some(25.0)));
    let mut seen = Vec::new();
    let claim = judge(&spec, &mut |ask: &Ask| {
        asked.set(asked.get() + 1);
        assert!(!seen.contains(ask), "{ask:?} is asked twice");
        seen.push(ask.clone());
        echo(ask)
    });
    assert!(claim.is_ok() && asked.get() > 3);
}

#[test]
fn mistakes_have_their_place() {
    let given = || GivenSpec::Range(range(20.0, 20.0, 30.0));
    let missing = judge(&claim(given(), figure("{{ q.z + 1 }}", None, Some(1.0))), &mut echo);
    assert!(matches!(missing, Err(ClaimError::Template { field, .. }) if field == "parts.0.figure"));
    let text = judge(&claim(given(), figure("{{ 'a' ~ q.y }}", None, Some(1.0))), &mut echo);
    assert!(matches!(text, Err(ClaimError::NotANumber { field, .. }) if field == "parts.0.figure"));
    let silent = judge(&claim(given(), figure("{{ q.y }}", None, Some(1.0))), &mut |_: &Ask| Err("no"));
    assert_eq!(silent.as_ref().map_err(ToString::to_string), Err("no, with `x` = 20".to_owned()));
    assert!(matches!(silent, Err(ClaimError::Asking { question, error: "no", .. }) if question == "q"));
}

#[test]
fn figures_that_are_not_known_everywhere_leave_it_open() {
    let mut spec = claim(GivenSpec::Range(range(20.0, 20.0, 30.0)), figure("{{ q.y }}", Some(0.0), None));
    spec.parts.truncate(1);
    let claim = judge(&spec, &mut |ask: &Ask| match ask {
        Ask::Price { input_tokens: 20, .. } => echo(ask),
        _ => Ok::<_, String>(answer(vec![json!({"y": null})])),
    });
    let claim = claim.expect("known with the usual values");
    assert_eq!(claim.verdict, ClaimVerdict::HoldsOnlyIf);
    let part = &claim.parts[0];
    assert!(part.unknown_in_range && !judged(&spec).parts[0].unknown_in_range);
    assert_eq!(part.shown.as_deref(), Some("20 (17.5–22.5, unknown at some of it)"));
}

#[test]
fn thresholds_of_whole_numbers_are_written_in_full() {
    let whole = || RangeSpec { whole: true, unit: String::new(), ..range(1000.0, 1000.0, 20_000.0) };
    let of = |expression: &str, least: f64| {
        judged(&claim(GivenSpec::Range(whole()), figure(expression, Some(least), None))).parts.remove(0)
    };
    assert_eq!(of("{{ x }}", 1234.0).condition.as_deref(), Some("the price is at least 1,234"));
    assert_eq!(of("{{ 0 - x }}", -12_345.0).condition.as_deref(), Some("the price is at most 12,345"));
    assert_eq!(
        judged(&claim(GivenSpec::Range(whole()), figure("{{ x }}", None, None))).given[0].values,
        "1,000 (1,000–20,000)"
    );
}

#[test]
fn three_digits_count_and_cents_are_written_out() {
    let shown = |number: f64, unit: &str| text::amount(number, unit);
    assert_eq!(shown(0.1, "$"), "$0.10");
    assert_eq!(shown(7_270.4, "$"), "$7,270");
    assert_eq!(shown(41_800_000_000.0, ""), "41,800,000,000");
    assert_eq!(shown(-0.012_34, "$"), "-$0.0123");
    assert_eq!(shown(276.2, "ms"), "276 ms");
    assert_eq!(shown(999.7, ""), "1,000");
    assert_eq!(shown(0.0, "s"), "0 s");
}

#[test]
fn what_is_least_within_a_range_is_found() {
    // The least is 5 at 37; 37.5, where the grid looks, has 5.25.
    let given = || GivenSpec::Range(range(100.0, 0.0, 100.0));
    let valley = "{{ (x - 37) * (x - 37) + 5 }}";
    let of = |most: f64| judged(&claim(given(), figure(valley, None, Some(most)))).parts.remove(0);
    let part = of(5.1);
    let (least, most) = part.range.expect("a range");
    assert!((5.0..5.05).contains(&least) && most == 3_974.0, "{least} to {most}");
    assert_eq!(part.verdict, Some(ClaimVerdict::HoldsOnlyIf));
    assert_eq!(part.condition.as_deref(), Some("the price is between $36.70 and $37.30"));
    assert_eq!(of(4.9).verdict, Some(ClaimVerdict::DoesNotHold));
    // What is most within, and a range that only whole numbers are of.
    let given = GivenSpec::Range(RangeSpec { whole: true, ..range(1.0, 1.0, 200.0) });
    let hill = figure("{{ 100 - (x - 83) * (x - 83) }}", None, Some(99.0));
    let part = judged(&claim(given, hill)).parts.remove(0);
    assert_eq!(part.range.map(|range| range.1), Some(100.0));
    assert_eq!(part.verdict, Some(ClaimVerdict::HoldsOnlyIf));
}

#[test]
fn what_is_least_within_two_ranges_is_found() {
    let mut spec = claim(
        GivenSpec::Range(range(0.0, 0.0, 10.0)),
        figure("{{ (x - 3.3) * (x - 3.3) + (z - x) * (z - x) + 1 }}", None, Some(1.05)),
    );
    spec.given.insert("z".to_owned(), GivenSpec::Range(RangeSpec { says: "z".to_owned(), ..range(0.0, 0.0, 10.0) }));
    let part = judged(&spec).parts.remove(0);
    assert!(part.range.is_some_and(|(least, _)| (1.0..1.05).contains(&least)), "{:?}", part.range);
    assert_eq!(part.verdict, Some(ClaimVerdict::HoldsOnlyIf));
    let condition = part.condition.expect("a condition");
    assert!(condition.contains(" and z is $3.") && condition.starts_with("the price is between $3."), "{condition}");
}

#[test]
fn what_passes_between_two_bounds_may_lie_between() {
    // At 0 and beyond 12.5 it is too little and too much.
    let given = GivenSpec::Range(range(0.0, 0.0, 100.0));
    let part = judged(&claim(given, figure("{{ x }}", Some(5.0), Some(6.0)))).parts.remove(0);
    assert_eq!(part.verdict, Some(ClaimVerdict::HoldsOnlyIf));
    assert_eq!(part.condition.as_deref(), Some("the price is between $5.02 and $5.99"));
}

#[test]
fn a_condition_says_what_it_takes_of_the_rest() {
    let choice = || GivenSpec::OneOf {
        values: vec![json!("small"), json!("large")],
        says: "the model".to_owned(),
        source: String::new(),
    };
    let of = |expression: &str| {
        let mut spec = claim(GivenSpec::Range(range(1.0, 1.0, 100.0)), figure(expression, None, Some(50.0)));
        spec.given.insert("model".to_owned(), choice());
        spec.given.insert("z".to_owned(), GivenSpec::Range(RangeSpec { says: "z".to_owned(), ..range(1.0, 1.0, 2.0) }));
        judged(&spec).parts.remove(0).condition.expect("a condition")
    };
    assert_eq!(
        of("{{ x * {'small': 1, 'large': 10}[model] }}"),
        "the price is at most $49.90, with everything else as usual (the model is `small`, with `large`: at most $4.99)"
    );
    assert_eq!(
        of("{{ x * {'small': 1, 'large': 100}[model] }}"),
        "the price is at most $49.90, with everything else as usual (the model is `small`, with `large`: never)"
    );
    assert_eq!(of("{{ x * z }}"), "the price is at most $49.90, with everything else as usual (z is $1)");
    // Nothing is said of what makes no difference.
    assert_eq!(of("{{ x + 0 * (model | length) + 0 * z }}"), "the price is at most $49.90");
}

/// A second range `z`, called so.
fn and_z(spec: &mut ClaimSpec, z: RangeSpec) {
    spec.given.insert("z".to_owned(), GivenSpec::Range(RangeSpec { says: "z".to_owned(), ..z }));
}

#[test]
fn what_decides_within_a_range_is_named_though_its_ends_do_not() {
    let mut spec =
        claim(GivenSpec::Range(range(1.0, 1.0, 2.0)), figure("{{ (z - 5) * (z - 5) + x }}", Some(10.0), None));
    and_z(&mut spec, range(0.0, 0.0, 10.0));
    let part = judged(&spec).parts.remove(0);
    assert_eq!(part.verdict, Some(ClaimVerdict::HoldsOnlyIf));
    assert_eq!(
        part.condition.as_deref(),
        Some("the price is between $1 and $2, with everything else as usual (z is $0)")
    );
    // What makes no difference beside it is not named.
    spec.given.insert(
        "model".to_owned(),
        GivenSpec::OneOf { values: vec![json!("a"), json!("b")], says: "the model".to_owned(), source: String::new() },
    );
    part_of(&mut spec).figure = "{{ (z - 5) * (z - 5) + x + 0 * (model | length) }}".to_owned();
    assert_eq!(judged(&spec).parts.remove(0).condition, part.condition);
}

#[test]
fn a_gap_between_points_of_the_grid_is_no_part_of_what_holds() {
    // At 37.5, where the grid looks, it is 5.25; within 0.3 of 37 it is less than 5.1.
    let given = GivenSpec::Range(range(100.0, 0.0, 100.0));
    let part = judged(&claim(given, figure("{{ (x - 37) * (x - 37) + 5 }}", Some(5.1), None))).parts.remove(0);
    let condition = part.condition.expect("a condition");
    assert!(
        condition.starts_with("the price is at most $36.") && condition.contains(" or at least $37."),
        "{condition}"
    );
}

#[test]
fn an_interval_is_quoted_only_where_it_leaves_something_open() {
    let part = FigureSpec { vary: None, unit: "$".to_owned(), ..figure("{{ x }}", None, Some(10.0)) };
    let mut spec = claim(GivenSpec::Range(range(4.0, 2.0, 20.0)), part);
    and_z(&mut spec, range(1.0, 1.0, 2.0));
    assert_eq!(judged(&spec).says, "holds only if the figure is at most $10, which depends on the price");
    part_of(&mut spec).figure = "{{ x * z }}".to_owned();
    assert_eq!(judged(&spec).says, "holds only if the figure is at most $10, which depends on the price");
    // The interval of the usual 4 is from 2 to 6.
    (part_of(&mut spec).off_by, part_of(&mut spec).must_be) = (0.5, Some(Bounds { least: None, most: Some(5.0) }));
    assert_eq!(
        judged(&spec).says,
        "holds only if the figure is at most $5, which its interval from $2 to $6 leaves open, and which depends on the price"
    );
}

#[test]
fn where_it_may_hold_at_one_place_only_that_is_named_with_its_interval() {
    // 14 ± 30 % and more, but for z = 9: there it is 10 ± 30 %.
    let part = FigureSpec { off_by: 0.3, ..figure("{{ 10 + (z - 9) ** 2 + 0 * x }}", None, Some(7.5)) };
    let mut spec = claim(GivenSpec::Range(range(1.0, 1.0, 2.0)), part);
    and_z(&mut spec, RangeSpec { whole: true, ..range(5.0, 5.0, 12.0) });
    let part = judged(&spec).parts.remove(0);
    assert_eq!(
        part.condition.as_deref(),
        Some("the figure is at most 7.5, which its interval from 7 to 13 leaves open and z is $9")
    );
}

fn part_of(spec: &mut ClaimSpec) -> &mut FigureSpec {
    match &mut spec.parts[0] {
        PartSpec::Figure(figure) => figure,
        PartSpec::Unknown { .. } => panic!("a figure"),
    }
}

#[test]
fn what_a_claim_would_take_says_what_it_takes_of_the_rest() {
    let given = GivenSpec::Range(RangeSpec { search: Some((0.1, 1000.0)), ..range(5.0, 4.0, 6.0) });
    let mut spec = claim(given, figure("{{ x * z }}", None, Some(1.0)));
    spec.given.insert("z".to_owned(), GivenSpec::Range(RangeSpec { says: "z".to_owned(), ..range(1.0, 1.0, 2.0) }));
    let part = judged(&spec).parts.remove(0);
    assert_eq!(part.verdict, Some(ClaimVerdict::DoesNotHold));
    assert_eq!(part.would_hold.as_deref(), Some("the price is at most $1, with everything else as usual (z is $1)"));
}

#[test]
fn a_number_below_zero_is_no_question() {
    let mut spec = claim(GivenSpec::Range(range(20.0, 20.0, 30.0)), figure("{{ q.y }}", Some(0.0), None));
    let QuestionSpec::Price { input_tokens, .. } = &mut spec.asked["q"] else { panic!("a price is asked for") };
    *input_tokens = json!("{{ x - 25 }}");
    let error = judge(&spec, &mut echo);
    let Err(ClaimError::Negative { field, found }) = error else { panic!("{error:?}") };
    assert_eq!((field.as_str(), found.as_str()), ("asked.q.input_tokens", "-5.0"));
}

#[test]
fn numbers_are_named_in_order() {
    let values = vec![json!(20), json!(5), json!(8), json!(30)];
    let given = GivenSpec::OneOf { values, says: "x".to_owned(), source: String::new() };
    let part = judged(&claim(given, figure("{{ x }}", Some(8.0), None))).parts.remove(0);
    assert_eq!(part.condition.as_deref(), Some("x is 8 or 20 or 30"));
}
