//! The integration tests of the root package.

#[cfg(all(feature = "sim", feature = "remote", feature = "http", feature = "otel"))]
mod audit;
mod backends;
mod bad_inputs;
#[cfg(feature = "html")]
mod browser;
#[cfg(feature = "html")]
mod claims;
mod cli;
#[cfg(unix)]
mod damage;
mod deployments;
#[cfg(all(unix, feature = "http"))]
mod durable;
#[cfg(all(feature = "sim", feature = "remote"))]
mod eval;
mod exports;
mod home;
mod invariants;
mod planner;
#[cfg(feature = "remote")]
mod remote;
mod servers;
mod shipped;
#[cfg(all(feature = "otel", feature = "remote"))]
mod telemetry;
mod triage;
