//! A planted pipeline of three nodes, each with three backends, drawn 1,000 times: the best assignment is found, and the
//! intervals of what was composed for it, of what was measured, and of how far they are apart hold the truth in 93 to 97 %.

use lumos_core::chance::combine;

use super::compose::tests::{chain, run};
use super::verify::off_by;
use super::{Limits, Measured, Objective, search};
use crate::eval::Outcome;
use crate::statistics::Bootstrap;
use crate::statistics::coverage::{Chance, Held, TIMES};
use crate::summary::Summary;
use crate::summary::tests::outcome;

const ROWS: usize = 80;

/// Share of wrong answers of each node with each backend. The base, the first, is never wrong beside questions that nobody
/// answers.
const WRONG: [[f64; 3]; 3] = [[0.0, 0.1, 0.1], [0.0, 0.0, 0.2], [0.0, 0.12, 0.3]];
/// Nano-dollars of a question of usual length.
const NANOS: [f64; 3] = [9e6, 3e6, 1e6];
/// Microseconds of the median; log-normal, as is the length of the question.
const MICROS: [f64; 3] = [9e5, 5e5, 2e5];
/// Right about as much as the base, and cheaper.
const BEST: [usize; 3] = [0, 1, 0];
/// Questions that nobody answers.
const HOPELESS: f64 = 0.2;
/// All are searched that this divides: searching takes longer than the rest.
const SEARCHED: u64 = 10;
/// What is wanted: cheap, but no worse than this.
const WANTED: [usize; 3] = [1, 1, 1];

/// What a node takes: microseconds, nano-dollars, and whether it is right.
fn draw(node: usize, option: usize, (is_hopeless, length): (bool, f64), chance: &mut Chance) -> (f64, f64, f64) {
    let us = MICROS[option] * (0.3 * chance.normal()).exp();
    let nanos = NANOS[option] * length * (0.2 * chance.normal()).exp();
    let is_right = chance.uniform() >= WRONG[node][option] && !is_hopeless;
    (us, nanos, f64::from(u8::from(is_right)))
}

fn question(chance: &mut Chance) -> (bool, f64) {
    (chance.uniform() < HOPELESS, (0.4 * chance.normal()).exp())
}

/// A run for real of an assignment.
fn real(row: usize, question: (bool, f64), assignment: &[usize], chance: &mut Chance) -> Outcome {
    let drawn: Vec<_> =
        assignment.iter().enumerate().map(|(node, option)| draw(node, *option, question, chance)).collect();
    let sum = |of: fn(&(f64, f64, f64)) -> f64| drawn.iter().map(of).sum::<f64>();
    let score = drawn.iter().map(|it| it.2).fold(1.0, f64::min);
    outcome(row, sum(|it| it.0).round() as u64, Some(sum(|it| it.1).round() as i128), Some(score))
}

#[test]
fn intervals_of_optimize_hold_the_truth() {
    let space = chain(3, 3);
    let mut held = Held::default();
    let mut found = 0;
    let quality = (1.0 - HOPELESS) * (0..3).map(|node| 1.0 - WRONG[node][WANTED[node]]).product::<f64>();
    // Means of log-normals: of the length, spread 0.4, and of each backend's own.
    let cost = WANTED.iter().map(|option| NANOS[*option]).sum::<f64>() * f64::midpoint(0.16, 0.04).exp();
    let latency = WANTED.iter().map(|option| MICROS[*option]).sum::<f64>() / 1e6 * (0.09_f64 / 2.0).exp();
    for time in 0..TIMES {
        let key = combine(12, time);
        let chance = &mut Chance(key, 0);
        let (mut runs, mut verified) = (Vec::new(), Vec::new());
        for row in 1..=ROWS {
            let question = question(chance);
            runs.push(run(&space, row, |node, option| draw(node, option, question, chance)));
            verified.push(real(row, question, &WANTED, chance));
        }
        let measured = Measured { space: space.clone(), errors: Vec::new(), left_out: 0, runs };
        if time % SEARCHED == 0 {
            let points = search(&measured, Limits::default(), &|_| 0.0).frontier;
            let best = points.iter().min_by(|a, b| a.goals.compare(&b.goals, Objective::Quality));
            found += u64::from(best.is_some_and(|point| point.assignment == BEST));
        }
        let bootstrap = Bootstrap { seed: key, resamples: 300 };
        let composed = measured.outcomes(&WANTED);
        let mut note = |names: [&'static str; 3], outcomes: &[Outcome]| {
            let summary = Summary::by(outcomes, &|_| false, bootstrap);
            let nanos = |usd: Option<lumos_core::Usd>| usd.map(|usd| usd.nanos() as f64);
            let (it, times) = (summary.quality.unwrap(), summary.latency_s.unwrap());
            held.note(names[0], quality, it.low, it.high);
            held.note(names[1], cost, nanos(summary.cost_usd.low), nanos(summary.cost_usd.high));
            held.note(names[2], latency, times.mean.low, times.mean.high);
        };
        note(["composed quality", "composed cost", "composed latency"], &composed);
        note(["measured quality", "measured cost", "measured latency"], &verified);
        let off = off_by(&composed, &verified, bootstrap);
        for (name, figure) in [("off quality", "quality"), ("off cost", "cost_usd"), ("off latency", "latency_s")] {
            let difference = off.iter().find(|off| off.figure == figure).unwrap().difference.unwrap();
            held.note(name, 0.0, difference.low, difference.high);
        }
    }
    let searched = TIMES / SEARCHED;
    println!("optimize: the best assignment is found in {found} of {searched}");
    assert!(found as f64 >= 0.97 * searched as f64, "{found}");
    held.check("optimize");
}
