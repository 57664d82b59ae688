//! How far the stretch under way has come at a moment between its boundaries.

use super::{
    Fast,
    slots::{NEVER, State},
    us,
};
use crate::replica::{request::Progress, totals::Totals};

impl Fast {
    /// Iterations that have ended by `now_ps`, of those under way too.
    pub(super) fn iterations_until(&self, now_ps: u64) -> u64 {
        if !self.underway || now_ps <= self.boundary_ps {
            return self.iteration;
        }
        let passed = now_ps - self.boundary_ps;
        let reaching = self.stretch.reaching(passed, self.length);
        let whole = if reaching > 0 && self.stretch.total_ps(reaching) > passed { reaching - 1 } else { reaching };
        self.iteration + whole
    }

    pub(super) fn progress(&self, index: u32, now_ps: u64) -> Progress {
        let slot = &self.slots[index as usize];
        let since = if slot.decoding { self.iterations_until(now_ps) - slot.joined } else { 0 };
        let us = |ps| (ps != NEVER).then(|| us(ps));
        let is_running = slot.state == State::Running;
        let share = || self.shares.after(self.underway_ps(now_ps)) - slot.shared_ps;
        Progress {
            output_tokens: slot.generated + since as u32,
            cached_tokens: slot.cached_tokens,
            start_us: us(slot.start_ps),
            first_us: us(slot.first_ps),
            busy_ps: slot.busy_ps + if is_running { share() } else { 0 },
        }
    }

    pub fn totals_at(&self, now_ps: u64) -> Totals {
        let mut totals = self.totals;
        if self.underway && self.length > 0 {
            let whole = self.iterations_until(now_ps) - self.iteration;
            totals.iterations += whole;
            totals.busy_ps += u128::from(self.underway_ps(now_ps));
            totals.output_tokens += whole * u64::from(self.growth.sequences());
        }
        totals
    }

    /// Picoseconds until `now_ps` of the iterations under way.
    fn underway_ps(&self, now_ps: u64) -> u64 {
        let is_computing = self.underway && self.length > 0;
        if is_computing { now_ps.min(self.end_ps).saturating_sub(self.boundary_ps) } else { 0 }
    }
}
