//! How a machine that is paid by the hour is shared by the attempts that keep it busy, as in live runs: with `n` attempts on
//! it, each is charged one n-th of every moment.

/// Who shares the machine of one service. Shares are in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    occupants: u64,
    at_us: u64,
    share_ns: u64,
    busy_us: u64,
}

impl Occupancy {
    fn advance(&mut self, now_us: u64) {
        let passed = now_us - self.at_us;
        if let Some(share_ns) = (passed * 1_000).checked_div(self.occupants) {
            self.busy_us += passed;
            self.share_ns += share_ns;
        }
        self.at_us = now_us;
    }

    /// Somebody comes; what [`Occupancy::leave`] is to be told.
    pub(crate) fn enter(&mut self, now_us: u64) -> u64 {
        self.advance(now_us);
        self.occupants += 1;
        self.share_ns
    }

    /// Somebody goes; the nanoseconds of the machine that are their share.
    pub(crate) fn leave(&mut self, now_us: u64, since_ns: u64) -> u64 {
        self.advance(now_us);
        self.occupants = self.occupants.saturating_sub(1);
        self.share_ns - since_ns
    }

    /// Microseconds in which somebody was there.
    pub(crate) fn busy_us(&mut self, now_us: u64) -> u64 {
        self.advance(now_us);
        self.busy_us
    }
}
