//! How machines that are paid by the hour are shared by the attempts that keep them busy, as in live runs: with `n`
//! attempts on a machine, each is charged one n-th of every moment.

/// Parts of a microsecond in which shares are kept.
const PARTS: u64 = 1_000;

/// Who shares the machines of one service.
#[derive(Debug)]
pub(crate) struct Occupancy {
    machines: u64,
    occupants: u64,
    at_us: u64,
    share: u64,
}

impl Occupancy {
    pub(crate) fn new(machines: u32) -> Self {
        Self { machines: u64::from(machines), occupants: 0, at_us: 0, share: 0 }
    }

    fn advance(&mut self, now_us: u64) {
        if self.occupants > 0 {
            let busy = self.machines.min(self.occupants);
            let passed = now_us - self.at_us;
            // Years times many machines leave 64 bits.
            self.share += match passed.checked_mul(PARTS * busy) {
                Some(parts) => parts / self.occupants,
                None => u64::try_from(u128::from(passed) * u128::from(PARTS * busy) / u128::from(self.occupants))
                    .unwrap_or(u64::MAX),
            };
        }
        self.at_us = now_us;
    }

    /// Somebody comes; what [`Occupancy::leave`] is to be told.
    pub(crate) fn enter(&mut self, now_us: u64) -> u64 {
        self.advance(now_us);
        self.occupants += 1;
        self.share
    }

    /// Somebody goes; the microseconds of one machine that are their share.
    pub(crate) fn leave(&mut self, now_us: u64, since: u64) -> u64 {
        self.advance(now_us);
        self.occupants = self.occupants.saturating_sub(1);
        (self.share - since) / PARTS
    }
}
