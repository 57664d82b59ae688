//! What a gate does with a ledger, wherever that is kept.

use lumos_core::admission::{Actual, Ask, Decision, Ledger, Rules, Ticket};

/// What is to be done with a ledger.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Admit(Ask),
    Settle(Ticket, Actual),
    Withdraw(Ticket),
}

impl Operation {
    /// Does it. Nothing but an admission can be refused.
    pub(super) fn apply(&self, ledger: &mut Ledger, rules: &Rules, now_us: u64) -> Decision {
        match self {
            Self::Admit(ask) => return ledger.admit(rules, now_us, ask),
            Self::Settle(ticket, actual) => ledger.settle(rules, now_us, *ticket, actual),
            Self::Withdraw(ticket) => ledger.withdraw(rules, now_us, *ticket),
        }
        Decision::Admitted
    }
}
