//! Scenarios simulated through the same scheduler as live runs.

mod queues;
pub mod scenarios;
mod troubles;
