//! Models in this process, computed by candle: chat models from GGUF files, embedders from safetensors.
//!
//! [`LocalModel`] is a [`lumos_core::Backend`]. Opening one costs nothing; the first request or
//! [`lumos_core::Backend::warm_up`] loads the files, on a thread that serves this model's requests one by one.

mod constraint;
mod device;
mod embed;
mod error;
mod generate;
mod gguf;
mod load;
mod model;
mod network;
mod positions;
mod requantize;
mod sampler;
mod template;
mod text;
mod vocabulary;
mod worker;

pub use constraint::check_format;
pub use model::{LocalModel, LocalOptions};
pub use requantize::{Quantization, quantization};
