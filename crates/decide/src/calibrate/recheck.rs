//! How fast a backend is now, beside its profile.

use std::sync::Arc;

use lumos_core::{Backend, Clock};
use lumos_engine::CancellationToken;
use lumos_sim::profile::Calibrated;

use super::design::fits;
use super::probe::Probe;
use super::{CalibrateError, Told, predict};

/// Tokens of prompts, and of answers: between those that profiles are fitted to.
const PROMPTS: [u32; 3] = [112, 208, 352];
const ANSWER: u32 = 48;

/// Single requests, one after the other, with what a profile says of them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Recheck {
    /// Requests.
    pub requests: u64,
    /// Microseconds that they took, together.
    pub measured_us: u64,
    /// Microseconds that they take by the profile, together.
    pub predicted_us: u64,
}

impl Recheck {
    /// How many times as long as by the profile everything takes; 1 when nothing is known.
    pub fn factor(self) -> f64 {
        if self.measured_us == 0 || self.predicted_us == 0 {
            return 1.0;
        }
        self.measured_us as f64 / self.predicted_us as f64
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            measured_us: self.measured_us + other.measured_us,
            predicted_us: self.predicted_us + other.predicted_us,
        }
    }
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
        let prompts: Vec<u32> = PROMPTS.into_iter().filter(|prompt| fits(*prompt, ANSWER, context)).collect();
        if prompts.is_empty() {
            return Err(CalibrateError::SmallContext { context });
        }
        let mut found = Recheck::default();
        for prompt in prompts.into_iter().cycle().take(requests as usize) {
            let sample = probe.ask(prompt, ANSWER).await?;
            let predicted = predict::closed_loop(profile, &[vec![sample.lengths()]]);
            found = found.and(Recheck {
                requests: 1,
                measured_us: sample.latency_us() as u64,
                predicted_us: predicted.iter().map(|request| request.done_us - request.asked_us).sum(),
            });
        }
        Ok(found)
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
    fn times_add_up_and_nothing_is_as_the_profile_says() {
        let before = Recheck { requests: 2, measured_us: 300, predicted_us: 200 };
        let after = Recheck { requests: 1, measured_us: 100, predicted_us: 200 };
        assert_eq!(before.and(after), Recheck { requests: 3, measured_us: 400, predicted_us: 400 });
        assert_eq!((before.factor(), before.and(after).factor(), Recheck::default().factor()), (1.5, 1.0, 1.0));
    }
}
