//! OpenTelemetry for lumos: runs as traces, metrics and logs over OTLP, by the conventions for generative AI v0.1.0.
//!
//! [`Telemetry`] is a sink of the engine. A run is told of once, when it has ended: its spans, metrics and logs are a
//! projection of its record, made and sent by a thread of their own. Nothing here ever holds a run up: when the thread
//! does not keep up, whole runs are left out and counted.
//!
//! What is sent, and where, is said by the variables that OpenTelemetry defines: see [`Settings`].

mod attributes;
mod logs;
mod measures;
pub mod names;
mod otlp;
mod prometheus;
mod settings;
mod sink;
mod spans;
mod tally;

pub use measures::{Measures, Value};
pub use prometheus::prometheus_text;
pub use settings::{Content, Conventions, Protocol, Sampler, Settings, SettingsError, Target};
pub use sink::{Loss, Telemetry};
