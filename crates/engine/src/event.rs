//! What a run tells the outside while it goes on.

use std::sync::Arc;

use lumos_core::record::{RunRecord, Status};
use lumos_core::{TraceContext, TraceScope};
use serde::Serialize;

use crate::trace::RunTrace;

/// A step, as events name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepRef {
    /// Number of the step within the run, in order of creation.
    pub step: u32,
    /// The node's name.
    pub node: String,
    /// Enclosing sub-workflow nodes, outermost first.
    pub path: Vec<String>,
    /// Its entry of the node's map.
    pub index: Option<u32>,
    /// Its round of the node's loop.
    pub iteration: Option<u32>,
}

/// Something that happened in a run; times in microseconds since its start.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run begins.
    RunStarted {
        /// Its id.
        run_id: String,
        /// The workflow's name.
        workflow: String,
        /// Names of its nodes, dependencies first.
        nodes: Vec<String>,
    },
    /// An attempt begins.
    AttemptStarted {
        /// The step.
        #[serde(flatten)]
        step: StepRef,
        /// The attempt, from 1.
        attempt: u32,
        /// The backend it is made on.
        backend: Option<String>,
        /// The model it asks.
        model: Option<String>,
        /// When.
        at_us: u64,
    },
    /// A model has produced a piece of its answer.
    Delta {
        /// The step's number.
        step: u32,
        /// The node's name.
        node: String,
        /// The new text.
        text: String,
        /// Output tokens so far.
        output_tokens: u64,
    },
    /// An attempt has ended.
    AttemptEnded {
        /// The step.
        #[serde(flatten)]
        step: StepRef,
        /// The attempt, from 1.
        attempt: u32,
        /// How.
        status: Status,
        /// Why it failed.
        error: Option<String>,
        /// Output tokens, where known.
        output_tokens: Option<u64>,
        /// When.
        at_us: u64,
    },
    /// A node was not needed.
    Skipped {
        /// The step.
        #[serde(flatten)]
        step: StepRef,
        /// When.
        at_us: u64,
    },
    /// The run has ended.
    RunEnded {
        /// Everything that happened.
        record: Box<RunRecord>,
    },
}

/// Receives the events of runs. Must return quickly: it is called by the task that drives the run.
pub trait EventSink: Send + Sync {
    /// Takes the next event of the run `run_id`; events of one run arrive in order.
    fn event(&self, run_id: &str, event: &RunEvent);

    /// Whether it wants events while a run goes on. Asked once per run.
    fn is_live(&self) -> bool {
        true
    }

    /// Whether it wants the trace of the run that begins, and if so whether its spans are to be kept. Asked once per run;
    /// `None` costs the run nothing.
    fn samples(&self, trace_id: u128, parent: Option<&TraceContext>) -> Option<bool> {
        let _ = (trace_id, parent);
        None
    }

    /// May take the trace of a run that has ended, or waits, if it wanted it: `trace(content)` makes it, with what models
    /// were asked when `content` is true.
    fn traced(&self, trace: &dyn Fn(bool) -> RunTrace) {
        let _ = trace;
    }
}

/// A shared sink.
pub type SharedSink = Arc<dyn EventSink>;

/// The sinks of one run.
pub(crate) struct Audience {
    run_id: String,
    sinks: Arc<[SharedSink]>,
    is_live: bool,
    /// Sinks that want the run's trace.
    tracers: Vec<SharedSink>,
    scope: Option<TraceScope>,
}

impl Audience {
    /// `None` when there is nobody to tell. `run` is the run's id as a number; a caller's `parent` is passed on even if no
    /// sink traces the run.
    pub(crate) fn new(
        sinks: &Arc<[SharedSink]>,
        run: u128,
        run_id: impl FnOnce() -> String,
        parent: Option<Box<TraceContext>>,
    ) -> Option<Box<Self>> {
        if sinks.is_empty() && parent.is_none() {
            return None;
        }
        let trace_id = parent.as_ref().map_or(run, |parent| parent.trace_id);
        let mut sampled = None;
        let tracers = sinks.iter().filter(|sink| {
            let samples = sink.samples(trace_id, parent.as_deref());
            sampled = sampled.or(samples);
            samples.is_some()
        });
        let tracers: Vec<SharedSink> = tracers.cloned().collect();
        let is_live = sinks.iter().any(|sink| sink.is_live());
        let sampled = sampled.or_else(|| parent.as_ref().map(|parent| parent.sampled));
        if !is_live && sampled.is_none() {
            return None;
        }
        let scope = sampled.map(|sampled| TraceScope::new(run, sampled, parent));
        Some(Box::new(Self { run_id: run_id(), sinks: sinks.clone(), is_live, tracers, scope }))
    }

    /// Whether somebody wants events.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    pub(crate) fn tell(&self, event: &RunEvent) {
        for sink in self.sinks.iter().filter(|sink| sink.is_live()) {
            sink.event(&self.run_id, event);
        }
    }

    /// What requests of an attempt carry.
    pub(crate) fn context(&self, step: u32, attempt: u32) -> Option<TraceContext> {
        Some(self.scope.as_ref()?.context(step, attempt))
    }

    /// Hands the trace of the run, made by `trace(scope, content)`, to those who want it.
    pub(crate) fn trace(&self, trace: impl Fn(TraceScope, bool) -> RunTrace) {
        let Some(scope) = &self.scope else { return };
        for sink in &self.tracers {
            sink.traced(&|content| trace(scope.clone(), content));
        }
    }
}
