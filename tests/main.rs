//! The integration tests of the root package.

mod cli;
mod home;
mod invariants;
mod shipped;
