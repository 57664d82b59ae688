//! lumos: run multi-agent workflows on local and remote models, and know the latency and cost of every step.
//!
//! [`Lumos`] opens a workflow with its deployment, binds each node to its agent and its backend, and runs it.

mod agent_check;
mod bind;
mod changes;
#[cfg(feature = "sim")]
mod claims;
mod error;
mod gates;
mod home;
mod local;
mod lumos;
#[cfg(feature = "local")]
mod needs;
mod prices;
mod remote;
#[cfg(feature = "sim")]
mod scenario;

pub use agent_check::check_agent;
pub use changes::{Change, changes};
#[cfg(feature = "sim")]
pub use claims::{CheckedClaim, check as check_claim, files as claim_files};
pub use error::Error;
pub use home::Home;
pub use lumos::{Lumos, LumosBuilder, Secrets};
pub use prices::{Prices, Update};
pub use remote::price_of;
#[cfg(feature = "sim")]
pub use scenario::{
    models as scenario_models, open as open_scenario, prices_of as scenario_prices, to_replay as scenario_to_replay,
};

pub use lumos_core as core;
pub use lumos_engine as engine;

pub use lumos_agents as agents;
#[cfg(feature = "local")]
pub use lumos_assets as assets;
#[cfg(feature = "sim")]
pub use lumos_decide as decide;
#[cfg(feature = "local")]
pub use lumos_local as local_models;
#[cfg(feature = "sim")]
pub use lumos_sim as sim;
#[cfg(feature = "otel")]
pub use lumos_telemetry as telemetry;
