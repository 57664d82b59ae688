//! The integration tests of the root package.

mod home;
mod invariants;
mod shipped;
