//! What it takes to choose tokens as a schema allows, with a penalty or by lot: such requests beside plain ones.

use lumos_sim::profile::{Calibrated, Choice, ChoiceTime, ChoiceTimes};

use super::fit::{four_digits, median};
use super::probe::{Probe, Sample};
use super::{CalibrateError, predict};

/// The ways that are measured, in words.
const WAYS: [(Choice, &str); 3] = [
    (Choice { is_constrained: true, is_penalised: false, is_drawn: false }, "as a schema allows"),
    (Choice { is_constrained: false, is_penalised: true, is_drawn: false }, "with a repetition penalty"),
    (Choice { is_constrained: false, is_penalised: false, is_drawn: true }, "at a temperature"),
];

/// Requests of each way, and plain ones among them.
#[derive(Debug, Default)]
pub(super) struct Ways {
    plain: Vec<Sample>,
    chosen: [Vec<Sample>; 3],
    /// Why a way could not be measured.
    refused: [Option<String>; 3],
}

impl Ways {
    /// Asks for answers of two lengths so many times, in all ways in turn. A server that refuses a way is not asked for it again.
    pub(super) async fn measure(
        &mut self,
        probe: &Probe<'_>,
        (prompt, answers, times): (u32, [u32; 2], u32),
    ) -> Result<(), CalibrateError> {
        for answer in answers.repeat(times as usize) {
            self.plain.push(probe.ask(prompt, answer).await?);
            for (at, (choice, _)) in WAYS.iter().enumerate() {
                if self.refused[at].is_none() {
                    match probe.ask_choosing(prompt, answer, *choice).await {
                        Ok(sample) => self.chosen[at].push(sample),
                        Err(error) => self.refused[at] = Some(error.to_string()),
                    }
                }
            }
        }
        Ok(())
    }

    /// What the ways take by these requests.
    pub(super) fn fit(&self, profile: &Calibrated) -> ChoiceTimes {
        let [constrained, penalised, drawn] = [0, 1, 2].map(|at| {
            let is_known = self.refused[at].is_none() && !self.chosen[at].is_empty();
            is_known.then(|| beyond(profile, &self.plain, &self.chosen[at]))
        });
        ChoiceTimes { constrained, penalised, drawn }
    }

    /// The ways that could not be measured, in words.
    pub(super) fn unknown(&self) -> impl Iterator<Item = String> {
        WAYS.iter().zip(&self.refused).filter_map(|((_, way), refused)| {
            let why = refused.as_ref()?;
            Some(format!("what it takes to choose tokens {way} was not measured: {why}"))
        })
    }
}

/// What `chosen` take beyond what a profile says, which is taken to be as far off as it is of `plain`.
fn beyond(profile: &Calibrated, plain: &[Sample], chosen: &[Sample]) -> ChoiceTime {
    let predicted = |sample: &Sample| {
        let found = predict::closed_loop(profile, &[vec![sample.lengths()]]);
        found.iter().map(|request| (request.done_us - request.asked_us) as f64).sum::<f64>()
    };
    let factor = median(plain.iter().map(|sample| sample.latency_us() / predicted(sample).max(1.0)).collect());
    let generated = |sample: &Sample| f64::from(sample.lengths().1);
    let rest: Vec<(f64, f64)> = chosen
        .iter()
        .map(|sample| (generated(sample), sample.latency_us() / factor.max(0.01) - predicted(sample)))
        .collect();
    let (request_us, token_us) = line(&rest);
    ChoiceTime { request_us: four_digits(request_us), token_us: four_digits(token_us) }
}

/// A line through short and long answers, by the medians of each; neither of its parts is negative. Answers of one length tell
/// nothing of what is a request's: all of it is their tokens'.
fn line(rest: &[(f64, f64)]) -> (f64, f64) {
    let middle = f64::midpoint(
        rest.iter().map(|(tokens, _)| *tokens).fold(f64::INFINITY, f64::min),
        rest.iter().map(|(tokens, _)| *tokens).fold(0.0, f64::max),
    );
    let (short, long): (Vec<_>, Vec<_>) = rest.iter().partition(|(tokens, _)| *tokens < middle);
    let of = |group: &[(f64, f64)]| {
        let tokens = median(group.iter().map(|(tokens, _)| *tokens).collect());
        (tokens, median(group.iter().map(|(_, us)| *us).collect()))
    };
    let (long_tokens, long_us) = of(&long);
    if short.is_empty() {
        return (0.0, (long_us / long_tokens.max(1.0)).max(0.0));
    }
    let (short_tokens, short_us) = of(&short);
    let token_us = (long_us - short_us) / (long_tokens - short_tokens);
    let request_us = short_us - token_us * short_tokens;
    if token_us < 0.0 {
        (f64::midpoint(short_us, long_us).max(0.0), 0.0)
    } else if request_us < 0.0 {
        (0.0, (long_us / long_tokens).max(0.0))
    } else {
        (request_us, token_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_leads_through_short_and_long_answers_and_is_never_negative() {
        let found = line(&[(8.0, 46.0), (8.0, 900.0), (8.0, 46.0), (88.0, 206.0), (96.0, 222.0), (90.0, 210.0)]);
        assert_eq!(found, (30.0, 2.0));
        assert_eq!(line(&[(8.0, 40.0), (88.0, 20.0)]), (30.0, 0.0));
        assert_eq!(line(&[(8.0, -40.0), (88.0, 88.0)]), (0.0, 1.0));
        assert_eq!(line(&[(50.0, 100.0), (50.0, 100.0)]), (0.0, 2.0));
        assert_eq!(line(&[(50.0, -100.0), (50.0, -100.0)]), (0.0, 0.0));
    }
}
