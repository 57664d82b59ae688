//! Which backend for which node, without running every combination.
//!
//! A base deployment is run over a data set. Each node that asks a model is then asked again on every other backend, one node
//! at a time, on the inputs that it had in those runs ([`Space`], [`crate::eval::Side::after`]). What all combinations would
//! take is composed of these ([`Measured`]), searched ([`search`]), and what is best is run for real ([`off`]).

mod compose;
#[cfg(test)]
mod coverage;
mod measure;
mod point;
mod results;
mod search;
mod space;
mod timing;
mod verify;

pub use compose::Measured;
pub use measure::{Trial, measured};
pub use point::{Goals, Objective, Point};
pub use results::{Choice as Chosen, Effort, Optimization, Telling, to_verify};
pub use search::{Found, Limits, search};
pub use space::{Assignment, Candidate, Choice, Fixed, Space};
pub use verify::{Off, off};
