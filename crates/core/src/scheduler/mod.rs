//! The scheduler: a pure state machine, events in, commands out. The only place that decides what runs next.
//!
//! It has no IO, no clock, no async and no randomness of its own. [`RunState`] is the fold of a run's events; a driver
//! (live, replay, simulated) carries out its commands and feeds back what happened.

mod event;
#[cfg(test)]
mod features;
#[cfg(test)]
mod properties;
mod semantics;
mod state;
#[cfg(test)]
mod toy;

pub use event::{AttemptId, Bill, By, Command, Decision, Estimate, Event, EventKind, Failure, StepId, Timer};
pub use semantics::Semantics;
pub use state::{AttemptTrace, Outcome, RunState, ScopeId, StepTrace, View};
