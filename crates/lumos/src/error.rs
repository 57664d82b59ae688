//! Why a workflow could not be opened, bound or run.

use lumos_core::Problem;
use lumos_core::program::CompileError;
use lumos_engine::{EngineError, StoreError};

/// Why a workflow could not be opened, bound or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Files or inputs are wrong; all that is wrong with them.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
    /// A specification built in memory is no program.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A node cannot be bound.
    #[error("node `{node}`: {message}")]
    Binding {
        /// The node.
        node: String,
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// A backend of the deployment cannot be used.
    #[error("backend `{backend}`: {message}")]
    Backend {
        /// Its name in the deployment.
        backend: String,
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// An asset is missing, damaged or out of reach.
    #[cfg(feature = "local")]
    #[error(transparent)]
    Asset(#[from] lumos_assets::AssetError),
    /// The engine could not start or keep a run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The limits that processes share cannot be used.
    #[error(transparent)]
    Limits(#[from] lumos_engine::LimitsError),
    /// The record store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
