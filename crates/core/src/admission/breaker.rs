//! A circuit breaker: after too many failures nothing is asked for a while, then one request probes.

use serde::{Deserialize, Serialize};

use super::ledger::{End, Ticket};
use super::rules::BreakerRule;

/// How a breaker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Breaker {
    /// Requests pass; when the latest failures were.
    Closed { failures_us: Vec<u64> },
    /// Nothing passes until then; after it one request does.
    Open { until_us: u64 },
    /// One request is out to see whether the backend answers again.
    Probing { ticket: Ticket },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures_us: Vec::new() }
    }
}

impl Breaker {
    /// Whether a request may pass; else what to tell.
    pub(super) fn check(&self, now_us: u64) -> Result<(), Blocked> {
        match self {
            Self::Open { until_us } if *until_us > now_us => Err(Blocked::For(until_us - now_us)),
            Self::Probing { .. } => Err(Blocked::ByProbe),
            Self::Closed { .. } | Self::Open { .. } => Ok(()),
        }
    }

    /// A request passes: the first one after the pause is the probe.
    pub(super) fn passed(&mut self, ticket: Ticket) {
        if let Self::Open { .. } = self {
            *self = Self::Probing { ticket };
        }
    }

    /// A request has ended. While open, only the probe tells anything.
    pub(super) fn ended(&mut self, rule: BreakerRule, now_us: u64, ticket: Ticket, end: End) {
        let until_us = now_us.saturating_add(rule.cooldown_us);
        match (&mut *self, end) {
            (Self::Closed { failures_us }, End::Failed { .. }) => {
                failures_us.retain(|at_us| now_us.saturating_sub(*at_us) < rule.window_us);
                failures_us.push(now_us);
                if failures_us.len() >= rule.failures as usize {
                    *self = Self::Open { until_us };
                }
            }
            (Self::Probing { .. }, End::Cancelled) => self.given_up(now_us, ticket),
            (Self::Probing { ticket: probe }, end) if *probe == ticket => {
                *self = match end {
                    End::Failed { .. } => Self::Open { until_us },
                    _ => Self::default(),
                };
            }
            _ => {}
        }
    }

    /// A request tells nothing. If it was the probe, the next one may.
    pub(super) fn given_up(&mut self, now_us: u64, ticket: Ticket) {
        if *self == (Self::Probing { ticket }) {
            *self = Self::Open { until_us: now_us };
        }
    }

    pub(super) fn is_probing(&self) -> bool {
        matches!(self, Self::Probing { .. })
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, by_us: u64) {
        match self {
            Self::Closed { failures_us } => {
                for at_us in failures_us {
                    *at_us = at_us.saturating_sub(by_us);
                }
            }
            Self::Open { until_us } => *until_us = until_us.saturating_sub(by_us),
            Self::Probing { .. } => {}
        }
    }
}

/// Why nothing passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// For so many microseconds.
    For(u64),
    /// Until the probe has ended.
    ByProbe,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerRule = BreakerRule { failures: 3, window_us: 1000, cooldown_us: 500 };
    const FAILED: End = End::Failed { retry_after_us: None };

    fn fail(breaker: &mut Breaker, at_us: u64) {
        breaker.ended(RULE, at_us, Ticket(0), FAILED);
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for at_us in [0, 1, 2] {
            fail(&mut breaker, at_us);
        }
        breaker
    }

    #[test]
    fn failures_count_only_within_the_window_and_only_if_they_are_the_servers() {
        let mut breaker = Breaker::default();
        for at_us in [0, 900, 1001, 1950] {
            fail(&mut breaker, at_us);
            for end in [End::Ours, End::Cancelled, End::RateLimited { retry_after_us: None }, End::Succeeded] {
                breaker.ended(RULE, at_us, Ticket(0), end);
            }
            assert_eq!(breaker.check(at_us), Ok(()));
        }
        fail(&mut breaker, 1960);
        assert_eq!(breaker.check(1960), Err(Blocked::For(500)));
    }

    #[test]
    fn one_request_probes_and_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.check(501), Err(Blocked::For(1)));
        fail(&mut breaker, 501);
        assert_eq!(breaker.check(502), Ok(()), "failures of requests sent before don't prolong it");
        breaker.passed(Ticket(7));
        assert_eq!(breaker.check(503), Err(Blocked::ByProbe));
        breaker.ended(RULE, 504, Ticket(8), End::Succeeded);
        assert_eq!(breaker.check(504), Err(Blocked::ByProbe), "an older request tells nothing");
        breaker.ended(RULE, 600, Ticket(7), FAILED);
        assert_eq!(breaker.check(1099), Err(Blocked::For(1)));
        breaker.passed(Ticket(9));
        breaker.ended(RULE, 1200, Ticket(9), End::Ours);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_probe_that_is_given_up_makes_way_for_another() {
        let mut breaker = opened();
        breaker.passed(Ticket(7));
        breaker.ended(RULE, 600, Ticket(7), End::Cancelled);
        assert_eq!(breaker.check(600), Ok(()));
        breaker.passed(Ticket(8));
        assert_eq!(breaker.check(600), Err(Blocked::ByProbe));
    }
}
