//! Scenarios simulated through the same scheduler as live runs.

mod queues;
mod scenarios;
