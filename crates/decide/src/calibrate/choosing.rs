//! What it takes to choose tokens as a schema allows, with a penalty or by lot: such requests beside plain ones.

use lumos_sim::profile::{Calibrated, ChoiceTime, ChoiceTimes, Way};

use super::design::Choosing;
use super::fit::{four_digits, median};
use super::probe::{Probe, Sample};
use super::{CalibrateError, predict};

/// Standard errors that a difference must have.
const CERTAINTY: f64 = 2.0;

/// The standard error of a median of `n` values is this times their median distance from it, over the root of `n`: 1.48 for the
/// standard deviation of what is distributed normally, and 1.25 for a median in place of a mean.
const MAD_TO_ERROR: f64 = 1.48 * 1.25;

/// Requests of each way, and plain ones among them.
#[derive(Debug)]
pub(super) struct Ways {
    plain: Vec<Sample>,
    chosen: Vec<Chosen>,
}

/// Requests of one way.
#[derive(Debug)]
struct Chosen {
    way: Way,
    samples: Vec<Sample>,
    /// Why it is not asked for any more.
    failed: Option<String>,
}

impl Ways {
    /// Asks once in each way: what a backend prepares for the first such request is not counted.
    pub(super) async fn warm_up(probe: &Probe<'_>, of: &Choosing) -> Self {
        let mut chosen = Vec::new();
        for way in Way::ALL {
            let answer = probe.ask_choosing(of.prompt, of.answers[0], way.into()).await;
            chosen.push(Chosen { way, samples: Vec::new(), failed: answer.err().map(|error| error.to_string()) });
        }
        Self { plain: Vec::new(), chosen }
    }

    /// Asks for answers of two lengths so many times, in all ways in turn. A way that fails is not asked for again: plain requests
    /// show whether the server is at fault.
    pub(super) async fn measure(&mut self, probe: &Probe<'_>, of: &Choosing) -> Result<(), CalibrateError> {
        for answer in of.answers.repeat(of.times as usize) {
            self.plain.push(probe.ask(of.prompt, answer).await?);
            for chosen in self.chosen.iter_mut().filter(|chosen| chosen.failed.is_none()) {
                match probe.ask_choosing(of.prompt, answer, chosen.way.into()).await {
                    Ok(sample) => chosen.samples.push(sample),
                    Err(error) => chosen.failed = Some(error.to_string()),
                }
            }
        }
        Ok(())
    }

    /// What the ways take by these requests.
    pub(super) fn fit(&self, profile: &Calibrated) -> ChoiceTimes {
        ChoiceTimes::by_way(|way| {
            let chosen = self.chosen.iter().find(|chosen| chosen.way == way && chosen.is_enough())?;
            Some(beyond(profile, &self.plain, &chosen.samples))
        })
    }

    /// The ways that could not be measured, in words.
    pub(super) fn unknown(&self) -> impl Iterator<Item = String> {
        self.chosen.iter().filter(|chosen| !chosen.is_enough()).map(|chosen| {
            let (way, why) = (chosen.way.words(), chosen.failed.as_deref().unwrap_or("too few answers"));
            format!("choosing tokens {way} takes no longer than the most probable one: it was not measured ({why})")
        })
    }
}

impl Chosen {
    /// Whether chance can be told from what it takes.
    fn is_enough(&self) -> bool {
        self.samples.len() > 1
    }
}

/// What `chosen` take beyond `plain` ones of the same lengths, both beside what a profile says of them: how far off that is cancels.
/// Nothing, where long answers don't differ by more than chance.
fn beyond(profile: &Calibrated, plain: &[Sample], chosen: &[Sample]) -> ChoiceTime {
    let off = |samples: &[Sample]| {
        let of = |sample: &Sample| {
            let (input, generated) = sample.lengths();
            (f64::from(generated), sample.latency_us() - predict::alone_us(profile, (input, generated)) as f64)
        };
        Medians::of(&samples.iter().map(of).collect::<Vec<_>>())
    };
    let (plain, chosen) = (off(plain), off(chosen));
    let line = plain.line();
    // Far beyond what plain answers were as long as, their line says nothing.
    let more = |(tokens, us): Point| (tokens, us - line.at(tokens.min(2.0 * plain.long.0)));
    let (short, long) = (more(chosen.short), more(chosen.long));
    if long.1 < CERTAINTY * plain.long_error_us.hypot(chosen.long_error_us) {
        return ChoiceTime { first_us: 0.0, token_us: 0.0 };
    }
    let Line { at_none: first_us, slope: token_us } = if short.0 < long.0 {
        Line::rising(short, long)
    } else {
        // Answers of one length do not tell what of it is whose.
        Line::rising((0.0, 0.0), long)
    };
    ChoiceTime { first_us: four_digits(first_us), token_us: four_digits(token_us) }
}

/// Tokens, and microseconds that they take.
type Point = (f64, f64);

/// Medians of short answers and of long ones; of all answers, where they have one length.
#[derive(Debug, Clone, Copy)]
struct Medians {
    short: Point,
    long: Point,
    /// Standard error of the microseconds of long answers.
    long_error_us: f64,
}

impl Medians {
    fn of(points: &[Point]) -> Self {
        let tokens = || points.iter().map(|(tokens, _)| *tokens);
        let middle = f64::midpoint(tokens().fold(f64::INFINITY, f64::min), tokens().fold(0.0, f64::max));
        let (short, long): (Vec<Point>, Vec<Point>) = points.iter().partition(|(tokens, _)| *tokens < middle);
        let of = |group: &[Point]| {
            let tokens = median(group.iter().map(|(tokens, _)| *tokens).collect());
            (tokens, median(group.iter().map(|(_, us)| *us).collect()))
        };
        let at_length = of(&long);
        let apart_us = long.iter().map(|(_, us)| (us - at_length.1).abs()).collect();
        Self {
            short: if short.is_empty() { at_length } else { of(&short) },
            long: at_length,
            long_error_us: MAD_TO_ERROR * median(apart_us) / (long.len().max(1) as f64).sqrt(),
        }
    }

    /// The line through both; level, where they are one.
    fn line(&self) -> Line {
        Line::through(self.short, self.long)
    }
}

/// Microseconds by tokens.
#[derive(Debug, Clone, Copy)]
struct Line {
    at_none: f64,
    slope: f64,
}

impl Line {
    fn through(short: Point, long: Point) -> Self {
        let slope = (long.1 - short.1) / (long.0 - short.0).max(1.0);
        Self { at_none: short.1 - slope * short.0, slope }
    }

    /// The nearest line neither of whose parts is negative.
    fn rising(short: Point, long: Point) -> Self {
        let line = Self::through(short, long);
        match (line.at_none < 0.0, line.slope < 0.0) {
            (_, true) => Self { at_none: line.at(f64::midpoint(short.0, long.0)).max(0.0), slope: 0.0 },
            (true, false) => Self { at_none: 0.0, slope: (long.1 / long.0.max(1.0)).max(0.0) },
            (false, false) => line,
        }
    }

    fn at(&self, tokens: f64) -> f64 {
        self.at_none + self.slope * tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_leads_through_short_and_long_answers_and_is_never_negative() {
        let found = |points: &[(f64, f64)]| {
            let Medians { short, long, .. } = Medians::of(points);
            let line = Line::rising(short, long);
            (line.at_none.round(), (line.slope * 1e6).round() / 1e6)
        };
        let points = [(8.0, 46.0), (8.0, 900.0), (8.0, 46.0), (88.0, 206.0), (96.0, 222.0), (90.0, 210.0)];
        assert_eq!(found(&points), (30.0, 2.0));
        assert_eq!(found(&[(8.0, 40.0), (88.0, 20.0)]), (30.0, 0.0));
        assert_eq!(found(&[(8.0, -40.0), (88.0, 88.0)]), (0.0, 1.0));
        assert_eq!(found(&[(50.0, 100.0), (50.0, 100.0)]), (100.0, 0.0));
    }

    #[test]
    fn how_far_off_a_profile_is_cancels() {
        let profile = predict::one_at_a_time();
        // A twentieth slower than the profile, and 9 ms more of a request.
        let sample = |output: u32, more_us: u64| Sample {
            done_us: (5_000 + u64::from(output - 1) * 1_000) * 21 / 20 + 9_000 + more_us,
            input: 50,
            output,
            ..Sample::default()
        };
        let plain: Vec<Sample> = [8, 8, 96, 70].map(|output| sample(output, 0)).to_vec();
        let chosen: Vec<Sample> = [8, 8, 90, 84].map(|output| sample(output, 4_000 + 500 * u64::from(output))).to_vec();
        let found = beyond(&profile, &plain, &chosen);
        assert!((found.first_us - 4_000.0).abs() < 50.0 && (found.token_us - 500.0).abs() < 1.0, "{found:?}");
        let noise: Vec<Sample> =
            [(90, 9_000), (90, 0), (94, 2_000), (8, 0)].map(|(output, us)| sample(output, us)).to_vec();
        assert_eq!(
            beyond(&profile, &plain, &noise),
            ChoiceTime { first_us: 0.0, token_us: 0.0 },
            "2 ms are no more than chance"
        );
        let found = beyond(&profile, &plain, &chosen[..2]);
        assert_eq!(found, ChoiceTime { first_us: 0.0, token_us: 1_000.0 }, "of one length: all of it is its tokens'");
    }
}
