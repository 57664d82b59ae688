//! The integration tests of the root package.

mod invariants;
