//! The integration tests of the root package.

mod bad_inputs;
mod cli;
mod home;
mod invariants;
mod planner;
mod shipped;
