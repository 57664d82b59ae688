//! What all programs share of a backend: the gate before a limited one, and who is on a machine paid by the hour.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lumos_core::admission::Rules;
use lumos_core::spec::BackendSpec;
use lumos_engine::{Gate, Occupancy, SharedLedger, UnixClock, account};

use crate::error::Error;

/// All gates of one facade.
pub(crate) struct Gates {
    /// The home whose processes share limits; `None` when they are kept in memory.
    home: Option<PathBuf>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    shared: Option<SharedLedger>,
    gates: BTreeMap<String, (Rules, Arc<Gate>)>,
    machines: BTreeMap<String, Arc<Occupancy>>,
}

impl Gates {
    pub(crate) fn new(home: Option<PathBuf>) -> Self {
        Self { home, open: Mutex::default() }
    }

    /// Who shares the machine of a backend.
    pub(crate) fn machine(&self, spec: &BackendSpec) -> Arc<Occupancy> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.machines.entry(account(spec)).or_default().clone()
    }

    /// The gate of a backend; `None` when nothing is limited.
    pub(crate) fn of(&self, spec: &BackendSpec) -> Result<Option<Arc<Gate>>, Error> {
        let rules = Rules::new(spec.limits(), spec.breaker());
        if rules.is_empty() {
            return Ok(None);
        }
        let account = account(spec);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, gate)) = open.gates.get(&account).filter(|(known, _)| *known == rules) {
            return Ok(Some(gate.clone()));
        }
        if let (Some(home), None) = (&self.home, &open.shared) {
            open.shared = Some(SharedLedger::open(home, Arc::new(UnixClock))?);
        }
        let gate = Gate::new(rules, &account, open.shared.clone(), Arc::new(UnixClock));
        open.gates.insert(account, (rules, gate.clone()));
        Ok(Some(gate))
    }
}
