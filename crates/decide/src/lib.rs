//! Experiments over the engine and the simulator: quality over a data set, deployments side by side, claims and audits, a
//! profile fitted to a running backend, and a scenario's load for real.

pub mod audit;
pub mod calibrate;
pub mod claims;
pub mod compare;
pub mod comparison;
pub mod eval;
pub mod load;
pub mod optimize;
pub mod profile_from;
pub mod statistics;
pub mod summary;
