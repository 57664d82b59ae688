//! Requests with what is measured of them.

pub(super) mod burst;

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use lumos_core::chance::combine;
use lumos_core::{Backend, Clock, Delta, DeltaSink};
use lumos_engine::UnixClock;
use lumos_sim::profile::Choice;
use tokio::sync::Notify;

use super::fit::median;
use super::{CalibrateError, Told, prompt};

/// What is known of one request. Times by the clock of the calibration.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Sample {
    /// When it was asked.
    pub asked_us: u64,
    /// When its first token was there.
    pub first_us: u64,
    /// When it ended.
    pub done_us: u64,
    /// Tokens of the prompt that had to be computed: those from a cache are left out.
    pub input: u32,
    /// Tokens of the answer.
    pub output: u32,
    /// Those of them that its format prescribed, if they were read at once.
    pub prescribed: u32,
    /// When pieces came, and how many tokens there were then.
    pub pieces: Vec<(u64, u64)>,
}

impl Sample {
    /// Tokens that are read and that are generated, as a request to simulate.
    pub(super) fn lengths(&self) -> (u32, u32) {
        (self.input + self.prescribed, self.output.saturating_sub(self.prescribed).max(1))
    }

    /// Microseconds to the first token.
    pub(super) fn ttft_us(&self) -> f64 {
        self.first_us.saturating_sub(self.asked_us) as f64
    }

    /// Microseconds to the end.
    pub(super) fn latency_us(&self) -> f64 {
        self.done_us.saturating_sub(self.asked_us) as f64
    }

    /// Microseconds per token after the first; `None` without one.
    pub(super) fn tpot_us(&self) -> Option<f64> {
        let tokens = self.output.checked_sub(1).filter(|tokens| *tokens > 0)?;
        Some(self.done_us.saturating_sub(self.first_us) as f64 / f64::from(tokens))
    }
}

/// Makes requests.
pub(super) struct Probe<'a> {
    backend: &'a dyn Backend,
    clock: Arc<dyn Clock>,
    told: Told<'a>,
    /// Which words prompts have.
    draw: u64,
    planned: u64,
    counted: Mutex<Counted>,
    /// Tokens of a prompt without words, and of a word.
    frame: f64,
    per_word: f64,
}

#[derive(Default)]
struct Counted {
    asked: u64,
    ended: u64,
    about: String,
}

/// Pauses between pieces of an answer by which it is known how long they usually are.
const FEWEST_GAPS: usize = 8;

/// Words of the prompts by which tokens per word are found.
const FEW: u32 = 10;
const MANY: u32 = 60;

impl<'a> Probe<'a> {
    /// The words of its prompts are others than those of every other probe: a cache that a server does not report would
    /// make it look faster.
    pub(super) fn new(backend: &'a dyn Backend, clock: Arc<dyn Clock>, told: Told<'a>, planned: u64) -> Self {
        let draw = UnixClock.now_us();
        Self { backend, clock, told, draw, planned, counted: Mutex::default(), frame: 40.0, per_word: 1.0 }
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is measured from now on.
    pub(super) fn about(&self, what: &str) {
        what.clone_into(&mut self.counted().about);
    }

    /// Requests that have been made.
    pub(super) fn asked(&self) -> u64 {
        self.counted().asked
    }

    /// Finds how many tokens a word has.
    pub(super) async fn learn_words(&mut self) -> Result<(), CalibrateError> {
        let few = self.send(FEW, 4, Choice::default(), None).await?;
        let many = self.send(MANY, 4, Choice::default(), None).await?;
        let (few, many) = (f64::from(few.1), f64::from(many.1));
        self.per_word = ((many - few) / f64::from(MANY - FEW)).max(0.25);
        self.frame = (few - self.per_word * f64::from(FEW)).max(0.0);
        Ok(())
    }

    /// One request of about so many tokens.
    pub(super) async fn ask(&self, prompt: u32, answer: u32) -> Result<Sample, CalibrateError> {
        self.ask_choosing(prompt, answer, Choice::default()).await
    }

    /// One whose answer's tokens are chosen in some way.
    pub(super) async fn ask_choosing(
        &self,
        prompt: u32,
        answer: u32,
        choice: Choice,
    ) -> Result<Sample, CalibrateError> {
        Ok(self.send(self.words(prompt), answer, choice, None).await?.0)
    }

    /// Words of a prompt of about so many tokens.
    fn words(&self, prompt: u32) -> u32 {
        ((f64::from(prompt) - self.frame) / self.per_word).round().max(0.0) as u32
    }

    /// Requests at the same time.
    pub(super) async fn ask_all(&self, lengths: &[(u32, u32)]) -> Result<Vec<Sample>, CalibrateError> {
        try_join_all(lengths.iter().map(|(prompt, answer)| self.ask(*prompt, *answer))).await
    }

    /// What a prompt costs nobody but itself: its time to the first token alone, less the time for which an answer that is being
    /// written stands still. Microseconds; negative by noise only. `None` when that answer was over before.
    pub(super) async fn outside(&self, prompt: u32, answer: u32) -> Result<Option<f64>, CalibrateError> {
        let first = self.ask(prompt, 1).await?;
        let begun = Notify::new();
        let ((written, _), other) =
            tokio::try_join!(self.send(self.words(prompt), answer, Choice::default(), Some(&begun)), async {
                begun.notified().await;
                self.ask(prompt, 1).await
            })?;
        let is_disturbed = other.first_us < written.done_us;
        Ok(stood_still_us(&written.pieces, other.asked_us, other.first_us)
            .filter(|_| is_disturbed)
            .map(|us| first.ttft_us() - us))
    }

    /// Clients each of which asks one thing after the other.
    pub(super) async fn closed_loop(&self, clients: &[Vec<(u32, u32)>]) -> Result<Vec<Vec<Sample>>, CalibrateError> {
        try_join_all(clients.iter().map(|lengths| async move {
            let mut samples = Vec::new();
            for (prompt, answer) in lengths {
                samples.push(self.ask(*prompt, *answer).await?);
            }
            Ok(samples)
        }))
        .await
    }

    /// Makes a request, and notifies when its answer begins or it has ended; gives the tokens of its whole prompt too.
    async fn send(
        &self,
        words: u32,
        answer: u32,
        choice: Choice,
        begun: Option<&Notify>,
    ) -> Result<(Sample, u32), CalibrateError> {
        let number = {
            let mut counted = self.counted();
            counted.asked += 1;
            counted.asked
        };
        let request = prompt::request(words, answer, choice, combine(self.draw, number));
        let pieces = Pieces { clock: &*self.clock, begun, seen: Mutex::default() };
        let asked_us = self.clock.now_us();
        let completion =
            self.backend.chat(request, &pieces).await.map_err(|error| CalibrateError::Backend { number, error })?;
        let done_us = self.clock.now_us();
        // Not every server streams.
        begun.into_iter().for_each(Notify::notify_one);
        let seen = pieces.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let report = completion.report;
        let (Some(input), Some(output)) = (report.usage.input_tokens, report.usage.output_tokens) else {
            return Err(CalibrateError::NoUsage);
        };
        let first_us = match report.ttft_us {
            Some(ttft_us) => asked_us + report.queue_us + ttft_us,
            None => seen.iter().find(|(_, tokens)| *tokens > 0).map_or(done_us, |(at_us, _)| *at_us),
        };
        let cached = report.usage.cached_input_tokens.unwrap_or(0);
        let sample = Sample {
            asked_us,
            first_us,
            done_us,
            input: input.saturating_sub(cached).max(1) as u32,
            output: output as u32,
            prescribed: report.usage.prescribed_tokens.unwrap_or(0) as u32,
            pieces: seen,
        };
        let (ended, about) = {
            let mut counted = self.counted();
            counted.ended += 1;
            (counted.ended, counted.about.clone())
        };
        (self.told)(ended, self.planned.max(ended), &about);
        Ok((sample, input as u32))
    }
}

/// For how long longer than usual pieces did not come, of those that were due in a time; `None` when too few came at other times
/// to tell what is usual. Pieces that come at once count as one.
fn stood_still_us(pieces: &[(u64, u64)], from_us: u64, until_us: u64) -> Option<f64> {
    let (first, last) = (pieces.first()?, pieces.last()?);
    let least_us = last.0.saturating_sub(first.0) / (5 * pieces.len() as u64);
    let mut begin_us = first.0;
    let mut gaps = Vec::new();
    for (at_us, _) in &pieces[1..] {
        let us = at_us.saturating_sub(begin_us);
        if us >= least_us.max(1) {
            gaps.push((begin_us < until_us && *at_us > from_us, us as f64));
            begin_us = *at_us;
        }
    }
    let (disturbed, others): (Vec<_>, Vec<_>) = gaps.into_iter().partition(|(is_disturbed, _)| *is_disturbed);
    let usual_us = median(others.iter().map(|(_, us)| *us).collect());
    (others.len() >= FEWEST_GAPS).then(|| disturbed.iter().map(|(_, us)| us - usual_us).sum())
}

/// Notes when pieces come.
struct Pieces<'a> {
    clock: &'a dyn Clock,
    begun: Option<&'a Notify>,
    seen: Mutex<Vec<(u64, u64)>>,
}

impl DeltaSink for Pieces<'_> {
    fn delta(&self, delta: Delta<'_>) {
        let at_us = self.clock.now_us();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((at_us, delta.output_tokens));
        self.begun.filter(|_| delta.output_tokens > 0).into_iter().for_each(Notify::notify_one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_still_while_another_request_is_read() {
        let mut pieces: Vec<(u64, u64)> = (0..14).map(|number| (number * 100, number + 1)).collect();
        // A hiccup before, then two iterations that read a prompt.
        for (at, more_us) in [(3, 5_000), (6, 400), (7, 300)] {
            pieces[at..].iter_mut().for_each(|(at_us, _)| *at_us += more_us);
        }
        assert_eq!(stood_still_us(&pieces, 5_550, 6_300), Some(700.0));
        assert_eq!(stood_still_us(&pieces[..9], 5_550, 6_300), None);
        assert_eq!(stood_still_us(&[], 0, 1), None);
        // Of two tokens in a row each second comes at once.
        let twice: Vec<(u64, u64)> =
            pieces.iter().flat_map(|(at_us, number)| [(*at_us, number * 2), (*at_us, number * 2 + 1)]).collect();
        assert_eq!(stood_still_us(&twice, 5_550, 6_300), Some(700.0));
    }
}
