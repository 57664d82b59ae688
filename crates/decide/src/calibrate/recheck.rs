//! How fast a backend is now, beside its profile.

use std::sync::Arc;

use lumos_core::{Backend, Clock};
use lumos_engine::CancellationToken;
use lumos_sim::profile::Calibrated;

use super::design::fits;
use super::fit::four_digits;
use super::probe::{Probe, Sample};
use super::{CalibrateError, Told, predict};

/// Tokens of prompts, and of answers: between those that profiles are fitted to.
const PROMPTS: [u32; 3] = [112, 208, 352];
const ANSWER: u32 = 48;

/// Single requests, one after the other, with what the same took when the profile was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Recheck {
    /// Requests.
    pub requests: u64,
    /// Microseconds that they took, together.
    pub measured_us: u64,
    /// Microseconds that they took when the profile was measured, together.
    pub expected_us: u64,
}

impl Recheck {
    fn of(samples: &[Sample], profile: &Calibrated) -> Self {
        let by_profile_us: u64 = samples.iter().map(|sample| predict::alone_us(profile, sample.lengths())).sum();
        let expected_us = by_profile_us as f64 * profile.recheck_factor.unwrap_or(1.0);
        Self {
            requests: samples.len() as u64,
            measured_us: samples.iter().map(|sample| sample.latency_us() as u64).sum(),
            expected_us: expected_us.round() as u64,
        }
    }

    /// How many times as long as when the profile was measured everything takes; 1 when nothing is known.
    pub fn factor(self) -> f64 {
        if self.measured_us == 0 || self.expected_us == 0 {
            return 1.0;
        }
        self.measured_us as f64 / self.expected_us as f64
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            measured_us: self.measured_us + other.measured_us,
            expected_us: self.expected_us + other.expected_us,
        }
    }
}

/// Tokens of prompts and of answers that a recheck asks for in turn.
pub(super) fn within(context: u32) -> Vec<(u32, u32)> {
    let prompts = PROMPTS.into_iter().filter(|prompt| fits(*prompt, ANSWER, context));
    prompts.map(|prompt| (prompt, ANSWER)).collect()
}

/// How many times as long as by a profile such requests took; `None` without any.
pub(super) fn factor(samples: &[Sample], profile: &Calibrated) -> Option<f64> {
    (!samples.is_empty()).then(|| four_digits(Recheck::of(samples, profile).factor()))
}

/// Makes so many single requests of a backend that nobody else uses meanwhile.
///
/// # Errors
/// When it fails, or does not say how many tokens it read and wrote; when `cancel` is cancelled.
pub async fn recheck(
    backend: &dyn Backend,
    clock: Arc<dyn Clock>,
    profile: &Calibrated,
    requests: u32,
    cancel: &CancellationToken,
    told: Told<'_>,
) -> Result<Recheck, CalibrateError> {
    let asked = async {
        let mut probe = Probe::new(backend, clock, told, u64::from(requests) + 2);
        probe.about("how fast it is now");
        probe.learn_words().await?;
        let context = profile.kv_tokens / profile.max_seqs.max(1);
        let asked = within(context);
        if asked.is_empty() {
            return Err(CalibrateError::SmallContext { context });
        }
        let mut samples = Vec::new();
        for (prompt, answer) in asked.into_iter().cycle().take(requests as usize) {
            samples.push(probe.ask(prompt, answer).await?);
        }
        Ok(Recheck::of(&samples, profile))
    };
    tokio::select! {
        found = asked => found,
        () = cancel.cancelled() => Err(CalibrateError::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_and_nothing_is_as_it_was() {
        let before = Recheck { requests: 2, measured_us: 300, expected_us: 200 };
        let after = Recheck { requests: 1, measured_us: 100, expected_us: 200 };
        assert_eq!(before.and(after), Recheck { requests: 3, measured_us: 400, expected_us: 400 });
        assert_eq!((before.factor(), before.and(after).factor(), Recheck::default().factor()), (1.5, 1.0, 1.0));
    }

    #[test]
    fn how_far_off_a_profile_is_of_them_does_not_make_a_backend_slower() {
        let mut profile = predict::one_at_a_time();
        // By the profile: 10 ms and 50.
        let then = Sample { done_us: 54_000, input: 100, output: 51, ..Sample::default() };
        let now = Sample { done_us: 81_000, ..then.clone() };
        assert_eq!(factor(&[], &profile), None);
        assert_eq!(Recheck::of(std::slice::from_ref(&now), &profile).factor(), 1.35, "by the profile alone");
        profile.recheck_factor = factor(&[then.clone(), then], &profile);
        assert_eq!(profile.recheck_factor, Some(0.9));
        assert_eq!(Recheck::of(&[now], &profile), Recheck { requests: 1, measured_us: 81_000, expected_us: 54_000 });
    }
}
