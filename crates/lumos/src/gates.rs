//! The gates before limited backends: one per account, however many programs use it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lumos_core::admission::Rules;
use lumos_core::spec::BackendSpec;
use lumos_engine::{Gate, SharedLedger, UnixClock, account};

use crate::error::Error;

/// All gates of one facade.
pub(crate) struct Gates {
    /// Whether limits are shared with other processes of the home.
    are_shared: bool,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    shared: Option<SharedLedger>,
    gates: BTreeMap<String, (Rules, Arc<Gate>)>,
}

impl Gates {
    pub(crate) fn new(are_shared: bool) -> Self {
        Self { are_shared, open: Mutex::default() }
    }

    /// The gate of a backend; `None` when nothing is limited.
    pub(crate) fn of(&self, spec: &BackendSpec, home: &Path) -> Result<Option<Arc<Gate>>, Error> {
        let rules = Rules::new(spec.limits(), spec.breaker());
        if rules.is_empty() {
            return Ok(None);
        }
        let account = account(spec);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, gate)) = open.gates.get(&account).filter(|(known, _)| *known == rules) {
            return Ok(Some(gate.clone()));
        }
        if self.are_shared && open.shared.is_none() {
            open.shared = Some(SharedLedger::open(home, Arc::new(UnixClock))?);
        }
        let gate = Gate::new(rules, &account, open.shared.clone(), Arc::new(UnixClock));
        open.gates.insert(account, (rules, gate.clone()));
        Ok(Some(gate))
    }
}
