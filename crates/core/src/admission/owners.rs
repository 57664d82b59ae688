//! Who has requests in flight: processes, named so that others can tell when one of them has died.

use serde::{Deserialize, Serialize};

/// Names a process that asks; unique among all of them, also those that have died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnerId(pub u128);

/// Where a ledger names an owner, so that each of its leases needs but a small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot(u32);

/// The owners of leases. One that has none any more stays until its slot is needed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Owners(Vec<OwnerId>);

impl Owners {
    /// Where an owner is named; a new one where no lease `uses` the name that is there.
    pub(super) fn slot(&mut self, owner: OwnerId, uses: impl Fn(Slot) -> bool) -> Slot {
        let slots = || (0..).map(Slot);
        if let Some((slot, _)) = slots().zip(&self.0).find(|(_, known)| **known == owner) {
            return slot;
        }
        if let Some((slot, known)) = slots().zip(&mut self.0).find(|(slot, _)| !uses(*slot)) {
            *known = owner;
            return slot;
        }
        self.0.push(owner);
        Slot(self.0.len() as u32 - 1)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<OwnerId> {
        self.0.get(slot.0 as usize).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_while_leases_use_them_and_make_way_then() {
        let mut owners = Owners::default();
        let nothing = |_| false;
        let first = owners.slot(OwnerId(1), nothing);
        let second = owners.slot(OwnerId(2), |slot| slot == first);
        assert_eq!((owners.get(first), owners.get(second)), (Some(OwnerId(1)), Some(OwnerId(2))));
        assert_eq!(owners.slot(OwnerId(2), nothing), second);
        assert_eq!(owners.slot(OwnerId(3), |slot| slot == second), first);
        assert_eq!((owners.get(first), owners.get(second)), (Some(OwnerId(3)), Some(OwnerId(2))));
        assert_eq!(owners.get(Slot(2)), None);
    }
}
