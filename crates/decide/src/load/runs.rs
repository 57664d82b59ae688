//! Carries out the runs of a load.

use std::sync::Arc;
use std::time::Duration;

use lumos_core::Clock;
use lumos_engine::{BoundProgram, CancellationToken, Engine, EngineError, RunRequest};
use lumos_sim::arrivals::run_seed;

use super::plan::Inputs;
use super::{Ended, LoadedRun};

/// What all runs of a load share.
pub(super) struct Runs {
    pub(super) engine: Engine,
    pub(super) program: Arc<BoundProgram>,
    /// When the load began, by the engine's clock.
    pub(super) start_us: u64,
    pub(super) cancel: CancellationToken,
    pub(super) inputs: Inputs,
    pub(super) seed: u64,
}

impl Runs {
    /// Microseconds since the load began.
    pub(super) fn now_us(&self) -> u64 {
        self.engine.clock().now_us().saturating_sub(self.start_us)
    }

    pub(super) async fn sleep_until(&self, at_us: u64) {
        tokio::time::sleep(Duration::from_micros(at_us.saturating_sub(self.now_us()))).await;
    }

    /// Carries out a run that was to arrive at `due_us`.
    pub(super) async fn carry_out(&self, number: u64, due_us: u64) -> Ended {
        let seed = run_seed(self.seed, number);
        let request = RunRequest { inputs: self.inputs.of(seed), seed, trace_parent: None };
        let begun_us = self.now_us();
        let (record, lost) = match self.engine.run(&self.program, request, &self.cancel).await {
            Ok(finished) => (Ok(finished), None),
            Err(EngineError::Store { record, error }) => (Err(record), Some(error.to_string())),
            Err(error) => return (None, Some(error.to_string())),
        };
        let ended_us = self.now_us();
        // Made after the clock was read: it is no part of the run.
        let record = record.map_or_else(|record| *record, |finished| finished.record());
        (Some(LoadedRun { number, due_us, begun_us, ended_us, record }), lost)
    }
}
