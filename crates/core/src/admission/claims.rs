//! Who has waited too long: without it a process that asks for little would always be served before one that asks for
//! much, and one whose requests end here before one that only looks now and then.

use serde::{Deserialize, Serialize};

use super::ledger::Ticket;

/// After waiting for so long a request is served before all that came later.
const PATIENCE_US: u64 = 1_000_000;

/// Who has not asked again for so long has gone.
const GONE_US: u64 = 500_000;

/// How exactly it is known when a request was asked for last; keeps most waits from being written down.
const SEEN_US: u64 = 100_000;

/// Those who wait, in order of their coming.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Claims(Vec<Claim>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    ticket: Ticket,
    since_us: u64,
    seen_us: u64,
}

impl Claims {
    /// Whether somebody else goes first.
    pub(super) fn precede(&self, ticket: Ticket, now_us: u64) -> bool {
        self.0
            .iter()
            .take_while(|claim| claim.ticket != ticket)
            .any(|claim| claim.is_present(now_us) && claim.since_us.saturating_add(PATIENCE_US) <= now_us)
    }

    /// A request has to wait. Whether that was not known before.
    pub(super) fn note(&mut self, ticket: Ticket, now_us: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|claim| claim.ticket == ticket || claim.is_present(now_us));
        let gone = self.0.len() < before;
        match self.0.iter_mut().find(|claim| claim.ticket == ticket) {
            Some(claim) if claim.seen_us.saturating_add(SEEN_US) > now_us => gone,
            Some(claim) => {
                claim.seen_us = now_us;
                true
            }
            None => {
                self.0.push(Claim { ticket, since_us: now_us, seen_us: now_us });
                true
            }
        }
    }

    /// A request waits no longer.
    pub(super) fn drop(&mut self, ticket: Ticket) {
        self.0.retain(|claim| claim.ticket != ticket);
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, by_us: u64) {
        for claim in &mut self.0 {
            claim.since_us = claim.since_us.saturating_sub(by_us);
            claim.seen_us = claim.seen_us.saturating_sub(by_us);
        }
    }
}

impl Claim {
    fn is_present(&self, now_us: u64) -> bool {
        self.seen_us.saturating_add(GONE_US) > now_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_long_precedes_whoever_came_later_while_it_still_asks() {
        let mut claims = Claims::default();
        assert!(claims.note(Ticket(1), 0));
        assert!(!claims.note(Ticket(1), SEEN_US - 1));
        assert!(claims.note(Ticket(2), SEEN_US));
        for now_us in (SEEN_US..PATIENCE_US).step_by(SEEN_US as usize) {
            assert!(claims.note(Ticket(1), now_us));
            assert!(!claims.precede(Ticket(2), now_us));
        }
        assert!(claims.precede(Ticket(2), PATIENCE_US));
        assert!(claims.precede(Ticket(3), PATIENCE_US));
        assert!(!claims.precede(Ticket(1), PATIENCE_US));
        assert!(!claims.precede(Ticket(2), PATIENCE_US - SEEN_US + GONE_US), "it has gone");
        claims.drop(Ticket(1));
        assert!(!claims.precede(Ticket(3), PATIENCE_US));
    }
}
