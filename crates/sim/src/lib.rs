//! Simulation: the same workflow, through the same scheduler, on a virtual clock.
//!
//! It decides nothing about a run; it answers how long things take. [`iteration`] is the seam between what a replica
//! does (batching, memory) and how long one iteration of it takes on some hardware (a profile).

pub mod arrivals;
pub mod chance;
mod driver;
mod error;
pub mod iteration;
pub mod model;
pub mod plan;
pub mod profile;
pub mod replica;
pub mod results;
mod runner;
pub mod service;
pub mod trace;

pub use driver::{Options, Traced, simulate, simulate_traced};
pub use error::SimError;
pub use runner::{Job, simulate_all, trace_all};
