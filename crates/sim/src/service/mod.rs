//! Places where work is done: stations, APIs and pools of replicas, and the gate of lumos's own limiter before them.

mod api;
mod gate;
mod occupancy;
mod server;
mod station;

pub(crate) use api::Ask as ApiAsk;
pub use api::{Answer, Api, ApiModel};
pub(crate) use gate::{Gate, Passage};
pub(crate) use occupancy::Occupancy;
pub use server::Buckets;
pub(crate) use station::Station;
