//! What a run tells the outside while it goes on.

use std::sync::Arc;

use lumos_core::record::{RunRecord, Status};
use serde::Serialize;

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
}

/// A shared sink.
pub type SharedSink = Arc<dyn EventSink>;

/// The sinks of one run.
pub(crate) struct Audience {
    run_id: String,
    sinks: Arc<[SharedSink]>,
}

impl Audience {
    /// `None` when there is nobody to tell.
    pub(crate) fn new(sinks: &Arc<[SharedSink]>, run_id: impl FnOnce() -> String) -> Option<Self> {
        (!sinks.is_empty()).then(|| Self { run_id: run_id(), sinks: sinks.clone() })
    }

    pub(crate) fn tell(&self, event: &RunEvent) {
        for sink in self.sinks.iter() {
            sink.event(&self.run_id, event);
        }
    }
}
