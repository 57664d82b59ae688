//! What a machine costs that is paid for by the hour whether it works or not.
//!
//! An attempt on such a machine is charged by the time during which it is busy. What is left of the bill belongs to no
//! attempt, and leaving it out would make an idle GPU free: it is the idle cost, told apart and never spread silently.

use crate::money::Usd;

/// Microseconds in an hour.
const HOUR_US: u64 = 3_600_000_000;

/// The bill of reserved machines over an interval, split by whether they worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservedCost {
    /// The whole bill.
    pub total: Usd,
    /// The part for the time in which something ran.
    pub busy: Usd,
    /// The part for the time in which nothing did; `busy + idle` is `total` exactly.
    pub idle: Usd,
    /// Time for which the machines were paid, all of them together.
    pub reserved_us: u64,
    /// Time in which they worked; at most `reserved_us`.
    pub busy_us: u64,
}

/// The bill for machines of `usd_per_hour` that were reserved for `reserved_us` in all (two machines for an hour are two
/// hours) and worked for `busy_us` of it.
///
/// Busy time beyond what was reserved cannot be: it is cut to it, as it comes from clocks that don't quite agree. `None`
/// when the amount leaves the range of money.
pub fn reserved(usd_per_hour: Usd, reserved_us: u64, busy_us: u64) -> Option<ReservedCost> {
    let busy_us = busy_us.min(reserved_us);
    let total = usd_per_hour.scaled(reserved_us, HOUR_US)?;
    let busy = usd_per_hour.scaled(busy_us, HOUR_US)?;
    Some(ReservedCost { total, busy, idle: total - busy, reserved_us, busy_us })
}

impl ReservedCost {
    /// The share of the time in which something ran, in parts of a million, rounded down; `None` for an empty interval.
    pub fn busy_ppm(&self) -> Option<u32> {
        let share = (u128::from(self.busy_us) * 1_000_000).checked_div(u128::from(self.reserved_us))?;
        u32::try_from(share).ok()
    }

    /// The whole bill divided by the time in which something ran, in dollars per busy second: what work on this machine
    /// really costs. `None` when nothing ran, because then no price of work exists.
    pub fn per_busy_second(&self) -> Option<Usd> {
        if self.busy_us == 0 {
            return None;
        }
        self.total.scaled(1_000_000, self.busy_us)
    }

    /// The part of the whole bill that falls on a piece of work of `work_us` when idle time is shared by busy time.
    /// `None` when nothing ran.
    pub fn share(&self, work_us: u64) -> Option<Usd> {
        if self.busy_us == 0 {
            return None;
        }
        self.total.scaled(work_us.min(self.busy_us), self.busy_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn an_idle_machine_is_not_free() {
        // $12 per hour for two hours, of which a quarter was used: $24, $6 busy, $18 idle.
        let bill = reserved(usd("12"), 2 * HOUR_US, HOUR_US / 2).unwrap();
        assert_eq!((bill.total, bill.busy, bill.idle), (usd("24"), usd("6"), usd("18")));
        assert_eq!(bill.busy_ppm(), Some(250_000));
        // $24 over 1,800 busy seconds, where busy time alone would say $12 / 3600 = $0.003333333.
        assert_eq!(bill.per_busy_second(), Some(usd("0.013333333")));
        // A minute of work carries a thirtieth of the whole bill.
        assert_eq!(bill.share(60_000_000), Some(usd("0.8")));
    }

    #[test]
    fn a_machine_that_did_nothing_has_no_price_of_work() {
        let bill = reserved(usd("12"), HOUR_US, 0).unwrap();
        assert_eq!((bill.busy, bill.idle), (Usd::ZERO, usd("12")));
        assert_eq!((bill.busy_ppm(), bill.per_busy_second(), bill.share(1)), (Some(0), None, None));
        assert_eq!(reserved(usd("12"), 0, 5).unwrap().busy_ppm(), None);
    }

    proptest! {
        #[test]
        fn busy_and_idle_make_the_bill(nanos in 0i128..1_000_000_000_000, paid in 0u64..1 << 50, busy in 0u64..1 << 51) {
            let bill = reserved(Usd::from_nanos(nanos), paid, busy).unwrap();
            prop_assert_eq!(bill.busy + bill.idle, bill.total);
            prop_assert!(bill.idle >= Usd::ZERO && bill.busy_us <= bill.reserved_us);
        }
    }
}
