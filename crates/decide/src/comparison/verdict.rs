//! A difference in plain words: "hybrid is 62–71 % cheaper; quality within noise; p95 slower by 0.4–0.9 s".

use serde::Serialize;

use super::difference::{Difference, Says};
use crate::statistics::Estimate;

/// What one can say of a deployment, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The deployment.
    pub deployment: String,
    /// The one that it is held against.
    pub against: String,
    /// A sentence without its point.
    pub text: String,
}

/// The verdict on a deployment from its differences from another.
pub fn verdict(deployment: &str, against: &str, differences: &[Difference]) -> Verdict {
    let find = |figure: &str| {
        { differences.iter() }.find(|it| it.deployment == deployment && it.against == against && it.figure == figure)
    };
    // What is paid for machines by the hour says more than the share of it that was used.
    let cost = find("reserved_cost_usd").or_else(|| find("cost_usd"));
    let mut parts: Vec<String> = Vec::new();
    parts.extend(cost.map(cost_in_words));
    parts.extend(find("quality").map(|it| by(it, "quality", ("worse", "better"), &score, "was not scored")));
    parts.extend(find("latency_s.p95").map(|it| by(it, "p95", ("faster", "slower"), &seconds, "is unknown")));
    if find("latency_s.p95").is_some_and(|it| it.says == Says::TooFew) {
        parts.extend(find("latency_s.p50").map(|it| by(it, "p50", ("faster", "slower"), &seconds, "is unknown")));
    }
    let shares = |estimate: &Estimate| range(estimate, &|value| percent(value), " percentage points");
    parts.extend(find("failures").and_then(|it| told(it, ("fails less often by", "fails more often by"), &shares)));
    let bytes = |estimate: &Estimate| range(estimate, &|value| format!("{value:.0}"), " bytes");
    parts.extend(
        find("bytes_outside").and_then(|it| told(it, ("sends less outside, by", "sends more outside, by"), &bytes)),
    );
    let text = format!("{deployment} {}", parts.join("; "));
    Verdict { deployment: deployment.to_owned(), against: against.to_owned(), text }
}

fn cost_in_words(difference: &Difference) -> String {
    let money = |estimate: &Estimate| {
        let dollars = Estimate {
            value: estimate.value / 1e9,
            low: estimate.low.map(|it| it / 1e9),
            high: estimate.high.map(|it| it / 1e9),
        };
        range(&dollars, &significant, "")
    };
    match (difference.says, &difference.relative) {
        (Says::Less, Some(relative)) => format!("is {} cheaper", range(relative, &percent, " %")),
        // Twice as dear and more is easier to read as a factor.
        (Says::More, Some(relative)) if relative.low.is_some_and(|low| low >= 1.0) => {
            let factor = |it: f64| it + 1.0;
            let times = Estimate {
                value: factor(relative.value),
                low: relative.low.map(factor),
                high: relative.high.map(factor),
            };
            format!("is {} times as dear", range(&times, &significant, ""))
        }
        (Says::More, Some(relative)) => format!("is {} dearer", range(relative, &percent, " %")),
        (Says::Less, None) => {
            format!("is cheaper by ${} per run", difference.absolute.as_ref().map(money).unwrap_or_default())
        }
        (Says::More, None) => {
            format!("is dearer by ${} per run", difference.absolute.as_ref().map(money).unwrap_or_default())
        }
        (Says::Noise, _) => "costs the same within noise".to_owned(),
        (Says::TooFew, _) => "has too few runs to compare costs".to_owned(),
        (Says::Unknown, _) => "cannot be compared in cost, which is not known".to_owned(),
    }
}

/// `p95 slower by 0.4–0.9 s`.
fn by(
    difference: &Difference,
    what: &str,
    (less, more): (&str, &str),
    shown: &dyn Fn(&Estimate) -> String,
    unknown: &str,
) -> String {
    match (told(difference, (less, more), shown), difference.says) {
        (Some(told), _) => {
            let (word, rest) = told.split_once(' ').unwrap_or((&told, ""));
            format!("{what} {word} by {rest}")
        }
        (None, Says::Noise) => format!("{what} within noise"),
        (None, Says::TooFew) => format!("{what} has too few runs to tell"),
        (None, _) => format!("{what} {unknown}"),
    }
}

/// `slower 0.4–0.9 s`, when there is a difference.
fn told(difference: &Difference, (less, more): (&str, &str), shown: &dyn Fn(&Estimate) -> String) -> Option<String> {
    let word = match difference.says {
        Says::Less => less,
        Says::More => more,
        _ => return None,
    };
    difference.absolute.as_ref().map(|estimate| format!("{word} {}", shown(estimate)))
}

fn score(estimate: &Estimate) -> String {
    range(estimate, &|value| format!("{value:.2}"), "")
}

fn seconds(estimate: &Estimate) -> String {
    let most = estimate.high.unwrap_or(estimate.value).abs().max(estimate.low.unwrap_or(estimate.value).abs());
    if most < 0.1 { range(estimate, &|it| significant(it * 1e3), " ms") } else { range(estimate, &significant, " s") }
}

/// `0.4–0.9`, the smaller first, without signs; the ends of an interval that lies on one side of 0.
fn range(estimate: &Estimate, shown: &dyn Fn(f64) -> String, unit: &str) -> String {
    let ends = (estimate.low.map(f64::abs), estimate.high.map(f64::abs));
    let text = match ends {
        (Some(a), Some(b)) => {
            let (low, high) = (shown(a.min(b)), shown(a.max(b)));
            if low == high { low } else { format!("{low}–{high}") }
        }
        // One end lies where nobody can tell.
        (Some(end), None) | (None, Some(end)) => format!("at least {}", shown(end)),
        (None, None) => shown(estimate.value.abs()),
    };
    format!("{text}{unit}")
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 10.0 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

/// Two digits that count.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (1 - value.abs().log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(figure: &'static str, absolute: Option<(f64, f64)>, relative: Option<(f64, f64)>) -> Difference {
        let estimate =
            |ends: Option<(f64, f64)>| ends.map(|(low, high)| Estimate::between(f64::midpoint(low, high), (low, high)));
        Difference::of(("hybrid", "bought"), figure, (estimate(absolute), estimate(relative)), (true, 100))
    }

    #[test]
    fn verdicts_read_as_people_speak() {
        let said = |differences: &[Difference]| verdict("hybrid", "bought", differences).text;
        let shown = [
            said(&[
                difference("cost_usd", Some((-9e6, -7e6)), Some((-0.712, -0.618))),
                difference("quality", Some((-0.02, 0.03)), None),
                difference("latency_s.p95", Some((0.43, 0.87)), None),
                difference("failures", Some((-0.01, 0.01)), None),
                difference("bytes_outside", Some((-4_100.0, -3_900.0)), None),
            ]),
            said(&[
                difference("cost_usd", Some((7e6, 9e6)), Some((1.1, 1.4))),
                difference("quality", Some((0.031, 0.102)), None),
                difference("latency_s.p95", Some((-2.4, -1.1)), None),
                difference("failures", Some((0.021, 0.08)), None),
            ]),
            said(&[
                difference("cost_usd", Some((1e6, 2e6)), None),
                difference("quality", None, None),
                Difference::of(("hybrid", "bought"), "latency_s.p95", (Some(Estimate::bare(0.4)), None), (true, 20)),
                difference("latency_s.p50", Some((-0.012, -0.012)), None),
            ]),
            said(&[difference("cost_usd", None, None), difference("quality", Some((-0.4, -0.2)), None)]),
            said(&[
                difference("cost_usd", Some((-1e6, -1e5)), Some((-0.5, -0.3))),
                difference("reserved_cost_usd", Some((1e6, 2e6)), Some((0.05, 0.12))),
            ]),
        ];
        insta::assert_snapshot!(shown.join("\n"));
    }
}
