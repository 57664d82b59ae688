//! Records of simulated runs, made as those of live runs are.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lumos_core::Basis;
use lumos_core::program::{Header, Program, Projected, RecordBasis, Shared, record};
use lumos_core::record::RunRecord;
use lumos_core::scheduler::{RunState, StepId};
use serde_json::Value;

use super::Driver;
use super::flight::Run;
use crate::model::{Model, NodeModel, SimValue};

/// A run that has ended in a simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// What happened. Its id is its number in the simulation, from 0, and the clock began at the start of 1970.
    pub record: RunRecord,
    /// Whether it is past the warm-up.
    pub counts: bool,
}

/// Who hears of runs that have ended.
pub(super) struct Tracer<'m> {
    pub(super) tell: &'m mut dyn FnMut(Traced),
    /// By position.
    nodes: Vec<&'m NodeModel>,
}

impl<'m> Tracer<'m> {
    pub(super) fn new(model: &'m Model, tell: &'m mut dyn FnMut(Traced)) -> Self {
        Self { tell, nodes: model.all_nodes().collect() }
    }
}

impl Driver<'_> {
    /// Tells of a run that has ended, if anybody listens.
    pub(super) fn trace(&mut self, run: &Run) {
        let (model, Some(tracer)) = (self.model, &mut self.tracer) else { return };
        let since_us = i64::try_from(run.arrived_us).unwrap_or(i64::MAX);
        let arrived = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_micros(since_us));
        let header = Header {
            forked_from: None,
            continues: None,
            shared: Shared::default(),
            due: BTreeMap::new(),
            run_id: run.number.to_string(),
            deployment: model.deployment.clone(),
            started_at: arrived.map(|at| format!("{at:.6}")).unwrap_or_default(),
            inputs: indexmap::IndexMap::new(),
        };
        let record = record(model, &run.state, header, |_, position, candidate| {
            let service = tracer.nodes.get(position)?.candidates.get(candidate as usize)?;
            model.services[*service as usize].reference.as_ref()
        });
        (tracer.tell)(Traced { record, counts: run.counts });
    }
}

impl Projected for Model {
    fn program(&self) -> &Program {
        &self.program
    }

    /// Simulated steps say nothing.
    fn json(&self, _: &SimValue) -> Value {
        Value::Null
    }

    fn told(&self, _: &RunState<Self>, _: StepId) -> Option<Value> {
        None
    }

    fn basis(&self) -> RecordBasis {
        RecordBasis { time: Basis::Simulated, cost: Basis::Simulated }
    }
}
