//! The integration tests of the root package.

mod backends;
mod bad_inputs;
mod cli;
#[cfg(unix)]
mod damage;
mod deployments;
mod home;
mod invariants;
mod planner;
mod shipped;
mod triage;
