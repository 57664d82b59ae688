//! Profiles: how long a replica's iteration takes and what its memory holds, from a model's architecture and the
//! coefficients of some hardware.
//!
//! An iteration is the sum of its kernels (matrix products, attention, experts, sums over GPUs), each by a closed form
//! whose coefficients are fitted to measurements (`catalog/hardware`), and of an engine's constants
//! (`catalog/engines.ron`). [`Profile`] tabulates the sum once, so that asking costs a few loads and additions.

mod calibrated;
mod catalog;
mod choice;
mod engine;
mod format;
mod hardware;
mod kernel;
mod layers;
mod memory;
mod model;
mod setup;
mod table;

pub use calibrated::{Calibrated, HeldOut};
pub use catalog::CatalogError;
pub use choice::{Choice, ChoiceTime, ChoiceTimes, Held, Way};
pub use engine::{Engine, Engines};
pub use format::{Format, KvFormat, Precision};
pub use hardware::{Attention, Basis, Flops, Hardware, HardwareCatalog};
pub use kernel::{AllReduce, Decode, ExpertsKernel, FitError, Gemm, Peak, Prefill, Shard};
pub use memory::{BLOCK_TOKENS, Memory};
pub use model::{Experts, Model, Models, Sliding};
pub use setup::{ProfileError, Setup};
pub use table::Profile;
