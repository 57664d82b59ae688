//! The live driver of lumos: executes programs on tokio, tells sinks what happens, and keeps records in SQLite.
//!
//! It names no model library and no provider: it sees `dyn Agent` and `dyn Backend`.

mod attempt;
mod binding;
mod cache;
mod clock;
mod database;
mod driver;
mod engine;
mod event;
mod flight;
mod fork;
mod gate;
mod history;
mod journal;
mod meter;
mod occupancy;
mod owner;
mod recall;
mod recorded;
mod replaced;
mod replay;
mod sent;
mod store;
mod trace;

pub use binding::{BoundBackend, BoundProgram, NodeBinding};
pub use cache::ResponseCache;
pub use clock::{SystemClock, UnixClock, today};
pub use engine::{Engine, EngineBuilder, EngineError, FinishedRun, RunRequest};
pub use event::{EventSink, RunEvent, SharedSink, StepRef};
pub use fork::Fork;
pub use gate::{AskFor, Gate, LimitsError, Permit, SharedLedger, account};
pub use history::{Blueprint, History};
pub use occupancy::Occupancy;
pub use recorded::recorded_backend;
pub use replay::{Asked, Asking, Difference, Replayed};
pub use sent::Rendering;
pub use store::{Flaw, Kind, Pruned, RecordStore, RunSummary, StoreError, Verified};
pub use tokio_util::sync::CancellationToken;
pub use trace::{RunTrace, TracedStep};
