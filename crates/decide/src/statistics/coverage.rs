//! Planted cases whose truth is known, drawn 1,000 times: the 95 % intervals hold it in 93 to 97 % of them.

use lumos_core::chance::{combine, unit};

use super::{Bootstrap, Estimate, student_interval};

/// Repetitions of each case.
pub(crate) const TIMES: u64 = 1_000;

/// Draws that belong to one repetition.
pub(crate) struct Chance(pub(crate) u64, pub(crate) u64);

impl Chance {
    pub(crate) fn uniform(&mut self) -> f64 {
        self.1 += 1;
        unit(combine(self.0, self.1))
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The share of repetitions whose interval holds `truth`.
fn share(seed: u64, truth: f64, estimate: impl Fn(&mut Chance, Bootstrap) -> Estimate) -> f64 {
    let held = (0..TIMES).filter(|time| {
        let key = combine(seed, *time);
        let bootstrap = Bootstrap { seed: key, resamples: 500 };
        let found = estimate(&mut Chance(key, 0), bootstrap);
        found.low.is_some_and(|low| low <= truth) && found.high.is_some_and(|high| truth <= high)
    });
    held.count() as f64 / TIMES as f64
}

/// Counts how many intervals of each figure hold their truth, for the figures of a command.
#[derive(Default)]
pub(crate) struct Held(std::collections::BTreeMap<&'static str, u64>);

impl Held {
    /// The interval of one repetition.
    pub(crate) fn note(&mut self, figure: &'static str, truth: f64, low: Option<f64>, high: Option<f64>) {
        let is_held = low.is_some_and(|low| low <= truth) && high.is_some_and(|high| truth <= high);
        *self.0.entry(figure).or_default() += u64::from(is_held);
    }

    /// All of them hold it as often as they say; prints how often.
    pub(crate) fn check(&self, command: &str) {
        for (figure, held) in &self.0 {
            println!("{command} {figure}: {held} of {TIMES} intervals hold the truth");
        }
        for (figure, held) in &self.0 {
            holds(&format!("{command} {figure}"), *held as f64 / TIMES as f64);
        }
    }
}

fn holds(what: &str, share: f64) {
    assert!((0.93..=0.97).contains(&share), "{what}: {share} of the intervals hold the truth");
}

/// Two deployments that do the same rows: what is hard for one is hard for the other.
struct Pairs {
    a: Vec<f64>,
    b: Vec<f64>,
}

impl Pairs {
    fn of(rows: usize, mut pair: impl FnMut() -> (f64, f64)) -> Self {
        let (a, b) = (0..rows).map(|_| pair()).unzip();
        Self { a, b }
    }
}

#[test]
fn shares_of_right_answers() {
    holds(
        "share",
        share(1, 0.8, |chance, bootstrap| {
            let scores: Vec<f64> = (0..120).map(|_| f64::from(u8::from(chance.uniform() < 0.8))).collect();
            bootstrap.score(&scores).unwrap()
        }),
    );
}

#[test]
fn differences_of_right_answers_to_the_same_questions() {
    // A question is easy in 3 of 4 cases: 0.9 and 0.95 are right then, else 0.3 and 0.5.
    let truth = 0.75 * 0.05 + 0.25 * 0.2;
    holds(
        "difference of shares",
        share(2, truth, |chance, bootstrap| {
            let pairs = Pairs::of(150, || {
                let (a, b) = if chance.uniform() < 0.75 { (0.9, 0.95) } else { (0.3, 0.5) };
                let draw = |chance: &mut Chance, p: f64| f64::from(u8::from(chance.uniform() < p));
                (draw(chance, a), draw(chance, b))
            });
            bootstrap.difference(&pairs.a, &pairs.b, true).unwrap()
        }),
    );
}

#[test]
fn how_much_cheaper_one_is() {
    // Costs by the length of the answer: log-normal in common, log-normal apart; b costs 0.35 of a on average.
    holds(
        "relative cost",
        share(3, 0.35 - 1.0, |chance, bootstrap| {
            let pairs = Pairs::of(100, || {
                let length = (0.5 * chance.normal()).exp();
                let apart = |chance: &mut Chance| (0.3 * chance.normal()).exp();
                (2.0 * length * apart(chance), 0.7 * length * apart(chance))
            });
            bootstrap.relative(&pairs.a, &pairs.b).unwrap()
        }),
    );
}

#[test]
fn means_of_few_rows() {
    holds(
        "mean of 8",
        share(4, 2.0, |chance, bootstrap| {
            let values: Vec<f64> = (0..8).map(|_| 2.0 + chance.normal()).collect();
            bootstrap.mean(&values).unwrap()
        }),
    );
}

#[test]
fn how_much_slower_one_is_at_the_95th_percentile() {
    // Exponential times of mean 1 and 1.5 s: p95 is ln 20 of them.
    let truth = 0.5 * 20f64.ln();
    holds(
        "difference of p95",
        share(5, truth, |chance, bootstrap| {
            let pairs = Pairs::of(150, || (-(1.0 - chance.uniform()).ln(), -1.5 * (1.0 - chance.uniform()).ln()));
            bootstrap.quantile_difference(&pairs.a, &pairs.b, 0.95).unwrap()
        }),
    );
}

#[test]
fn runs_that_are_not_pairs() {
    holds(
        "difference apart",
        share(9, 0.5, |chance, bootstrap| {
            let a: Vec<f64> = (0..60).map(|_| 1.0 + chance.normal()).collect();
            let b: Vec<f64> = (0..90).map(|_| 1.5 + 2.0 * chance.normal()).collect();
            bootstrap.apart(&a, &b).unwrap()
        }),
    );
    holds(
        "relative apart",
        share(10, 0.5, |chance, bootstrap| {
            let a: Vec<f64> = (0..80).map(|_| 2.0 + 0.5 * chance.normal()).collect();
            let b: Vec<f64> = (0..80).map(|_| 3.0 + 0.5 * chance.normal()).collect();
            bootstrap.apart_relative(&a, &b).unwrap()
        }),
    );
}

#[test]
fn percentiles_of_one() {
    let truth = 20f64.ln();
    let found = share(6, truth, |chance, _| {
        let mut values: Vec<f64> = (0..400).map(|_| -(1.0 - chance.uniform()).ln()).collect();
        values.sort_by(f64::total_cmp);
        super::quantile_interval(&values, 0.95).unwrap()
    });
    // Ranks are whole: the interval holds at least what it should.
    assert!((0.94..=0.98).contains(&found), "{found}");
}

#[test]
fn differences_between_simulations_of_the_same_seeds() {
    holds(
        "difference over seeds",
        share(7, 0.4, |chance, _| {
            let differences: Vec<f64> = (0..10).map(|_| 0.4 + 0.1 * chance.normal()).collect();
            student_interval(&differences).unwrap()
        }),
    );
}

#[test]
fn the_figures_can_miss() {
    // Plain percentiles of 5 values hold the mean too seldom: without the widening, the test above would fail.
    let narrow = share(8, 0.0, |chance, _| {
        let values: Vec<f64> = (0..5).map(|_| chance.normal()).collect();
        let half = 1.96 * (values.iter().map(|value| value * value).sum::<f64>() / 25.0).sqrt() * 0.8;
        let middle = values.iter().sum::<f64>() / 5.0;
        Estimate::between(middle, (middle - half, middle + half))
    });
    assert!(narrow < 0.93, "{narrow}");
}
