//! Experiments over the engine and the simulator: a profile fitted to a running backend, and a scenario's load for real.

pub mod calibrate;
pub mod compare;
pub mod load;
pub mod profile_from;
