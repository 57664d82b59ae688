//! The integration tests of the experiments, on virtual time.

mod calibrate;
mod servers;
