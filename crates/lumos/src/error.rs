//! Why a workflow could not be opened, bound or run.

use lumos_core::Problem;
use lumos_core::program::CompileError;
use lumos_engine::{EngineError, StoreError};

use crate::changes::Change;

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
    /// The files of a run are not what they were when it began.
    #[error("{} of run {run_id} changed since it began: {}", plural(changes.len()), files(changes))]
    Changed {
        /// The run.
        run_id: String,
        /// What they were and what they are.
        changes: Vec<Change>,
    },
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

fn plural(files: usize) -> &'static str {
    if files == 1 { "a file" } else { "files" }
}

fn files(changes: &[Change]) -> String {
    changes.iter().map(|change| change.file.as_str()).collect::<Vec<_>>().join(", ")
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
