//! How a machine that is paid by the hour is shared by the attempts that keep it busy at the same time.
//!
//! Time on it runs the slower the more attempts share it: with `n` of them, each is charged one n-th of every moment. The
//! shares of all attempts add up to the time during which at least one of them was there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of a microsecond in which shares are kept.
const PARTS: u64 = 1_000;

/// Who shares one machine.
#[derive(Debug, Default)]
pub struct Occupancy(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    occupants: u64,
    at_us: u64,
    /// The share of somebody who had been there all the time, in parts of a microsecond.
    share: u64,
}

impl Occupancy {
    /// Somebody comes.
    pub(crate) fn enter(self: &Arc<Self>, now_us: u64) -> Occupant {
        let mut state = self.at(now_us);
        state.occupants += 1;
        Occupant { machine: self.clone(), since: state.share, here: true }
    }

    /// The state, brought up to a time.
    fn at(&self, now_us: u64) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = (now_us.saturating_sub(state.at_us) * PARTS).checked_div(state.occupants) {
            state.share += parts;
        }
        state.at_us = state.at_us.max(now_us);
        state
    }
}

/// Somebody who keeps the machine busy, until dropped.
#[derive(Debug)]
pub(crate) struct Occupant {
    machine: Arc<Occupancy>,
    since: u64,
    here: bool,
}

impl Occupant {
    /// Goes; gives the microseconds that are its share.
    pub(crate) fn leave(mut self, now_us: u64) -> u64 {
        self.here = false;
        let mut state = self.machine.at(now_us);
        state.occupants -= 1;
        (state.share - self.since) / PARTS
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        if self.here {
            let mut state = self.machine.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.occupants -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_time_during_which_anybody_was_there() {
        let machine = Arc::new(Occupancy::default());
        let first = machine.enter(1_000);
        let second = machine.enter(1_300);
        let third = machine.enter(1_500);
        // 300 alone, 100 of 200 with one other, 100 of 300 with two.
        assert_eq!(first.leave(1_800), 500);
        // 100 and 100, then 50 of 100 with one other.
        assert_eq!(second.leave(1_900), 250);
        // 100, 50, then 100 alone.
        assert_eq!(third.leave(2_000), 250);
        let again = machine.enter(5_000);
        drop(machine.enter(5_000));
        assert_eq!(again.leave(5_010), 10);
    }
}
