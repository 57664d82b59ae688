//! The agents of lumos: retriever, planner, forecaster, guard, router, judge, tool, generator.
//!
//! [`build`] turns an agent's specification into something that works: it reads the files that the specification
//! names, checks every parameter, and returns a [`SharedAgent`](lumos_core::SharedAgent) that serves all nodes and
//! runs which name the agent. What an agent answers (the shape of a node's value) is documented at each module.

mod arguments;
mod build;
mod chat;
pub mod forecaster;
pub mod generator;
pub mod guard;
pub mod judge;
pub mod planner;
mod prompt;
pub mod retriever;
pub mod router;
#[cfg(test)]
mod script;
pub mod tool;
mod words;

pub use build::{AssetResolver, BuildContext, BuildError, build};
pub use router::expression_router;
