//! Scenarios simulated through the same scheduler as live runs.

mod costs;
mod plans;
mod queues;
pub mod scenarios;
mod troubles;
mod verdicts;
