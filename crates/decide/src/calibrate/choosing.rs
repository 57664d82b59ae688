//! What it takes to choose tokens as a schema allows, with a penalty or by lot: such requests beside plain ones.

use lumos_sim::profile::{Calibrated, ChoiceTime, ChoiceTimes};

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
#[derive(Debug, Default)]
pub(super) struct Ways {
    plain: Vec<Sample>,
    chosen: [Vec<Sample>; 3],
    /// Why a way is not asked for any more.
    failed: [Option<String>; 3],
}

impl Ways {
    /// Asks once in each way: what a backend prepares for the first such request is not counted.
    pub(super) async fn warm_up(&mut self, probe: &Probe<'_>, of: &Choosing) {
        for (choice, failed) in ChoiceTimes::WAYS.into_iter().zip(&mut self.failed) {
            *failed = probe.ask_choosing(of.prompt, of.answers[0], choice).await.err().map(|error| error.to_string());
        }
    }

    /// Asks for answers of two lengths so many times, in all ways in turn. A way that fails is not asked for again: plain requests
    /// show whether the server is at fault.
    pub(super) async fn measure(&mut self, probe: &Probe<'_>, of: &Choosing) -> Result<(), CalibrateError> {
        for answer in of.answers.repeat(of.times as usize) {
            self.plain.push(probe.ask(of.prompt, answer).await?);
            for (at, choice) in ChoiceTimes::WAYS.into_iter().enumerate() {
                if self.failed[at].is_none() {
                    match probe.ask_choosing(of.prompt, answer, choice).await {
                        Ok(sample) => self.chosen[at].push(sample),
                        Err(error) => self.failed[at] = Some(error.to_string()),
                    }
                }
            }
        }
        Ok(())
    }

    /// What the ways take by these requests.
    pub(super) fn fit(&self, profile: &Calibrated) -> ChoiceTimes {
        let [constrained, penalised, drawn] =
            self.chosen.each_ref().map(|chosen| is_enough(chosen).then(|| beyond(profile, &self.plain, chosen)));
        ChoiceTimes { constrained, penalised, drawn }
    }

    /// The ways that could not be measured, in words.
    pub(super) fn unknown(&self) -> impl Iterator<Item = String> {
        let ways = ChoiceTimes::default().ways().into_iter().zip(self.chosen.iter().zip(&self.failed));
        ways.filter(|(_, (chosen, _))| !is_enough(chosen)).map(|((_, way, _), (_, failed))| {
            let why = failed.as_deref().unwrap_or("too few answers");
            format!("choosing tokens {way} takes no longer than the most probable one: it was not measured ({why})")
        })
    }
}

/// Whether there are a short answer and a long one, as far as the model wrote what it was asked for.
fn is_enough(chosen: &[Sample]) -> bool {
    chosen.len() > 1
}

/// What `chosen` take beyond `plain` ones of the same lengths, both beside what a profile says of them: how far off that is cancels.
/// Nothing, where long answers don't differ by more than chance.
fn beyond(profile: &Calibrated, plain: &[Sample], chosen: &[Sample]) -> ChoiceTime {
    let off = |samples: &[Sample]| {
        let of = |sample: &Sample| {
            let (input, generated) = sample.lengths();
            let found = predict::closed_loop(profile, &[vec![(input, generated)]]);
            let predicted_us: u64 = found.iter().map(|request| request.done_us - request.asked_us).sum();
            (f64::from(generated), sample.latency_us() - predicted_us as f64)
        };
        Line::through(&samples.iter().map(of).collect::<Vec<_>>())
    };
    let (plain, chosen) = (off(plain), off(chosen));
    let chance_us = plain.long_error_us.hypot(chosen.long_error_us);
    // Far beyond what plain answers were as long as, their line says nothing.
    let more_us = |tokens: f64| chosen.at(tokens) - plain.at(tokens.min(2.0 * plain.long_tokens));
    if more_us(chosen.long_tokens) < CERTAINTY * chance_us {
        return ChoiceTime { first_us: 0.0, token_us: 0.0 };
    }
    let (first_us, token_us) = if chosen.short_tokens < chosen.long_tokens {
        let ends = [chosen.short_tokens, chosen.long_tokens].map(|tokens| (tokens, more_us(tokens)));
        let line = Line::through(&ends).rising();
        (line.at_none, line.slope)
    } else {
        // Answers of one length do not tell what of it is whose.
        (0.0, (more_us(chosen.long_tokens) / chosen.long_tokens.max(1.0)).max(0.0))
    };
    ChoiceTime { first_us: four_digits(first_us), token_us: four_digits(token_us) }
}

/// Microseconds by tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    at_none: f64,
    slope: f64,
    /// What it leads through: short answers and long ones.
    short_tokens: f64,
    long_tokens: f64,
    /// Standard error of the median of long answers.
    long_error_us: f64,
}

impl Line {
    /// A line through the medians of short answers and of long ones; level, where all have one length.
    fn through(points: &[(f64, f64)]) -> Self {
        let tokens = || points.iter().map(|(tokens, _)| *tokens);
        let middle = f64::midpoint(tokens().fold(f64::INFINITY, f64::min), tokens().fold(0.0, f64::max));
        let (short, long): (Vec<_>, Vec<_>) = points.iter().partition(|(tokens, _)| *tokens < middle);
        let of = |group: &[(f64, f64)]| {
            let tokens = median(group.iter().map(|(tokens, _)| *tokens).collect());
            (tokens, median(group.iter().map(|(_, us)| *us).collect()))
        };
        let (long_tokens, long_us) = of(&long);
        let (short_tokens, short_us) = if short.is_empty() { (long_tokens, long_us) } else { of(&short) };
        let apart_us = long.iter().map(|(_, us)| (us - long_us).abs()).collect();
        let long_error_us = MAD_TO_ERROR * median(apart_us) / (long.len().max(1) as f64).sqrt();
        let slope = (long_us - short_us) / (long_tokens - short_tokens).max(1.0);
        Self { at_none: short_us - slope * short_tokens, slope, short_tokens, long_tokens, long_error_us }
    }

    fn at(&self, tokens: f64) -> f64 {
        self.at_none + self.slope * tokens
    }

    /// The nearest line neither of whose parts is negative.
    fn rising(self) -> Self {
        let (at_none, slope) = match (self.at_none < 0.0, self.slope < 0.0) {
            (_, true) => (self.at(f64::midpoint(self.short_tokens, self.long_tokens)).max(0.0), 0.0),
            (true, false) => (0.0, (self.at(self.long_tokens) / self.long_tokens.max(1.0)).max(0.0)),
            (false, false) => (self.at_none, self.slope),
        };
        Self { at_none, slope, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_leads_through_short_and_long_answers_and_is_never_negative() {
        let found = |points: &[(f64, f64)]| {
            let line = Line::through(points).rising();
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
        let profile = Calibrated::parse(
            r#"Profile(
                name: "small", of: "a test", measured_on: "2026-11-28", iteration_us: 0, sequence_us: 1000, prompt_us: 0,
                prompt_token_us: 100, prompt_pair_ns: 0, kv_token_ns: 0, request_us: 0,
                max_seqs: 1, max_batched_tokens: 512, kv_tokens: 512,
            )"#,
        )
        .unwrap();
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
