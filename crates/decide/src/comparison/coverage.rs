//! Two deployments whose differences are known, drawn 1,000 times: the intervals of a comparison hold them in 93 to 97 %.

use lumos_core::chance::combine;
use lumos_core::record::Status;

use super::{Side, between_by};
use crate::eval::Outcome;
use crate::statistics::Bootstrap;
use crate::statistics::coverage::{Chance, Held, TIMES};
use crate::summary::Summary;
use crate::summary::tests::outcome;

/// Rows of each comparison.
const ROWS: usize = 110;

/// What is planted of a deployment.
struct Planted {
    /// Probability of a right answer to an easy and to a hard question; every fourth is hard.
    right: [f64; 2],
    /// Nano-dollars of a question of usual length.
    nanos: f64,
    /// Seconds of the median run; log-normal, with this spread.
    seconds: f64,
    spread: f64,
    /// Share of runs that fail.
    fails: f64,
}

const A: Planted = Planted { right: [0.9, 0.4], nanos: 2e6, seconds: 1.0, spread: 0.4, fails: 0.06 };
const B: Planted = Planted { right: [0.95, 0.7], nanos: 0.7e6, seconds: 1.4, spread: 0.5, fails: 0.12 };

impl Planted {
    /// What is hard or long for one is hard and long for the other.
    fn run(&self, row: usize, (is_hard, length): (bool, f64), chance: &mut Chance) -> Outcome {
        let is_failed = chance.uniform() < self.fails;
        let is_right = chance.uniform() < self.right[usize::from(is_hard)] && !is_failed;
        let nanos = self.nanos * length * (0.3 * chance.normal()).exp();
        let us = self.seconds * (self.spread * chance.normal()).exp() * 1e6;
        let score = Some(f64::from(u8::from(is_right)));
        let mut run = outcome(row, us.round() as u64, Some(nanos.round() as i128), score);
        if is_failed {
            run.status = Status::Failed;
        }
        run
    }

    fn quality(&self) -> f64 {
        (0.75 * self.right[0] + 0.25 * self.right[1]) * (1.0 - self.fails)
    }

    /// The mean of the cost: of a log-normal length of spread 0.5, and its own of 0.3.
    fn cost(&self) -> f64 {
        self.nanos * f64::midpoint(0.25, 0.09).exp()
    }

    fn percentile(&self, z: f64) -> f64 {
        self.seconds * (self.spread * z).exp()
    }
}

#[test]
fn intervals_of_compare_hold_the_truth() {
    let mut held = Held::default();
    for time in 0..TIMES {
        let key = combine(11, time);
        let chance = &mut Chance(key, 0);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for row in 1..=ROWS {
            let question = (chance.uniform() < 0.25, (0.5 * chance.normal()).exp());
            a.push(A.run(row, question, chance));
            b.push(B.run(row, question, chance));
        }
        let side = |name: &str, outcomes: Vec<Outcome>| {
            let summary = Summary::by(&[], &|_| false, Bootstrap { seed: 0, resamples: 1 });
            Side { deployment: name.to_owned(), summary, outcomes, assumptions: Vec::new() }
        };
        let (a, b) = (side("a", a), side("b", b));
        let found = between_by(&a, &b, Bootstrap { seed: key, resamples: 300 });
        let mut note = |name: &'static str, figure: &str, truth: f64, is_relative: bool| {
            let difference = found.iter().find(|it| it.figure == figure).unwrap();
            let estimate = if is_relative { difference.relative } else { difference.absolute }.unwrap();
            held.note(name, truth, estimate.low, estimate.high);
        };
        note("quality", "quality", B.quality() - A.quality(), false);
        note("cost", "cost_usd", B.cost() - A.cost(), false);
        note("relative cost", "cost_usd", B.cost() / A.cost() - 1.0, true);
        note("latency p50", "latency_s.p50", B.percentile(0.0) - A.percentile(0.0), false);
        let z95 = distrs::Normal::ppf(0.95, 0.0, 1.0);
        note("latency p95", "latency_s.p95", B.percentile(z95) - A.percentile(z95), false);
        note("failures", "failures", B.fails - A.fails, false);
    }
    held.check("compare");
}
