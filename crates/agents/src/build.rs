//! From an agent's specification to an agent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lumos_core::SharedAgent;
use lumos_core::spec::AgentSpec;

use crate::forecaster::Forecaster;
use crate::generator::Generator;
use crate::guard::Guard;
use crate::judge::Judge;
use crate::planner::Planner;
use crate::retriever::Retriever;
use crate::router::Router;
use crate::tool;

/// Finds the file or folder of `asset:NAME`, or says in a lowercase fragment why it is not there.
pub type AssetResolver = Arc<dyn Fn(&str) -> Result<PathBuf, String> + Send + Sync>;

/// What an agent needs to know of its surroundings.
#[derive(Clone)]
pub struct BuildContext {
    /// The folder of the agent's file: relative paths in it start here.
    pub base: PathBuf,
    /// Finds assets.
    pub asset: AssetResolver,
    /// The folder that holds indexes from one run to the next. Created when it is first needed.
    pub index_dir: PathBuf,
}

impl BuildContext {
    /// The place of `source`: a path relative to the agent's file, or `asset:NAME`.
    pub(crate) fn locate(&self, source: &str) -> Result<PathBuf, String> {
        match source.strip_prefix("asset:") {
            Some(name) => (self.asset)(name.trim()),
            None => Ok(self.base.join(source)),
        }
    }
}

impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext")
            .field("base", &self.base)
            .field("index_dir", &self.index_dir)
            .finish_non_exhaustive()
    }
}

/// Why a specification makes no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BuildError {
    /// The field that is at fault, e.g. `prompt.user_file`.
    pub field: String,
    /// A lowercase fragment.
    pub message: String,
    /// What would be valid.
    pub hint: Option<String>,
}

impl BuildError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), hint: None }
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Makes the agent that `spec` describes.
///
/// Reads prompt files and looks whether the files that the agent will read are there; everything slow (indexes,
/// series, connections) waits until the agent is first used.
pub fn build(spec: &AgentSpec, context: BuildContext) -> Result<SharedAgent, BuildError> {
    Ok(match spec {
        AgentSpec::Retriever(spec) => Arc::new(Retriever::new(spec, context)?),
        AgentSpec::Planner(spec) => Arc::new(Planner::new(spec, &context)?),
        AgentSpec::Forecaster(spec) => Arc::new(Forecaster::new(spec, context)?),
        AgentSpec::Guard(spec) => Arc::new(Guard::new(spec)?),
        AgentSpec::Router(spec) => Arc::new(Router::new(spec, &context)?),
        AgentSpec::Judge(spec) => Arc::new(Judge::new(spec, &context)?),
        AgentSpec::Generator(spec) => Arc::new(Generator::new(spec, &context)?),
        AgentSpec::Tool(spec) => tool::new(spec)?,
    })
}

/// Reads a small text file that a specification names.
pub(crate) fn read_text(path: &Path, field: &str, most_bytes: u64) -> Result<String, BuildError> {
    let fail = |message: String| BuildError::new(field, message);
    let about = std::fs::metadata(path).map_err(|error| fail(format!("cannot read {}: {error}", path.display())))?;
    if !about.is_file() {
        return Err(fail(format!("{} is not a file", path.display())).with_hint("name a text file"));
    }
    if about.len() > most_bytes {
        return Err(fail(format!("{} has {} bytes, more than the {most_bytes} allowed", path.display(), about.len())));
    }
    let bytes = std::fs::read(path).map_err(|error| fail(format!("cannot read {}: {error}", path.display())))?;
    String::from_utf8(bytes)
        .map_err(|error| fail(format!("{} is not UTF-8 at byte {}", path.display(), error.utf8_error().valid_up_to())))
}
