//! Why a command did not do what it should, how that is printed, and its exit code.

use lumos::Error;
use lumos::core::load::{Bundle, Scenario};
use lumos::core::{BackendErrorKind, Problem, Severity};
use lumos::engine::{EngineError, StoreError};
use lumos::sim::SimError;
use serde_json::json;

use super::arguments::Format;
use super::output;

/// Exit code of a command that failed.
pub const FAILED: u8 = 1;
/// Exit code of an invalid file, input or usage.
pub const INVALID: u8 = 2;
/// Exit code of a command that a person ended.
pub const INTERRUPTED: u8 = 130;

/// What stands for a file in problems of the arguments.
pub const COMMAND_LINE: &str = "command line";

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failure {
    /// Files, inputs or usage are wrong.
    Invalid(Vec<Problem>),
    /// Anything else.
    Failed {
        /// A lowercase fragment.
        message: String,
        /// What would help.
        hint: Option<String>,
    },
    /// A person ended it before there was anything to keep.
    Interrupted,
}

impl Failure {
    /// A failure without a hint.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None }
    }

    /// What is wrong with one file, or with the usage.
    pub fn invalid(file: &str, message: impl Into<String>, hint: Option<String>) -> Self {
        Self::Invalid(vec![Problem::of_file(file, message, hint)])
    }

    /// What kept a bundle from being bound: its files are to blame, except when an asset cannot be had.
    pub fn of_binding(error: Error, bundle: &Bundle) -> Self {
        let workflow = &bundle.workflow.parsed.file;
        let deployment = bundle.deployment.as_ref().map_or(workflow, |source| &source.parsed.file);
        match error {
            Error::Binding { node, message, hint } => {
                let place = bundle.workflow.parsed.positions.of(&format!("nodes.{node}"));
                let problem = Problem::of_file(workflow, format!("node `{node}`: {message}"), hint);
                Self::Invalid(vec![Problem {
                    line: place.map(|place| place.line),
                    column: place.map(|place| place.column),
                    node: Some(node),
                    ..problem
                }])
            }
            Error::Backend { backend, message, hint } => {
                let source = bundle.deployment.as_ref().map(|source| &source.parsed.positions);
                let place = source.and_then(|positions| positions.of(&format!("backends.{backend}")));
                let problem = Problem::of_file(deployment, format!("backend `{backend}`: {message}"), hint);
                Self::Invalid(vec![Problem {
                    line: place.map(|place| place.line),
                    column: place.map(|place| place.column),
                    node: Some(backend),
                    ..problem
                }])
            }
            Error::Compile(error) => Self::invalid(workflow, error.to_string(), None),
            other => other.into(),
        }
    }

    /// Why a simulation says nothing, with the scenario's part in it.
    pub fn of_simulation(error: &SimError, scenario: &Scenario) -> Self {
        match error.place() {
            Some((place, hint)) => {
                Self::Invalid(vec![scenario.parsed.problem(place, error.to_string(), Some(hint.to_owned()))])
            }
            None => Self::failed(error.to_string()),
        }
    }

    /// Prints it and gives its exit code.
    pub fn report(&self, format: Format) -> u8 {
        let code = match self {
            Self::Invalid(_) => INVALID,
            Self::Failed { .. } => FAILED,
            Self::Interrupted => INTERRUPTED,
        };
        match format {
            Format::Human => output::log(&self.text()),
            Format::Json => {
                let document = match self {
                    Self::Invalid(problems) => json!({ "problems": problems }),
                    Self::Failed { message, hint } => json!({ "error": { "message": message, "hint": hint } }),
                    Self::Interrupted => json!({ "error": { "message": "interrupted", "hint": null } }),
                };
                // One line, because it may be part of a stream. Who cannot be told is told by the exit code.
                let _ = output::data(&format!("{document}\n"));
            }
        }
        code
    }

    fn text(&self) -> String {
        match self {
            Self::Invalid(problems) => problems.iter().map(problem).collect(),
            Self::Failed { message, hint } => output::error(message, hint.as_deref()),
            Self::Interrupted => output::error("interrupted", None),
        }
    }
}

/// A problem as an error of a command that is about something else.
fn problem(problem: &Problem) -> String {
    let place = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", problem.file),
        (Some(line), None) => format!("{}:{line}", problem.file),
        _ => problem.file.clone(),
    };
    let message =
        if problem.file == COMMAND_LINE { problem.message.clone() } else { format!("{place}: {}", problem.message) };
    match problem.severity {
        Severity::Error => output::error(&message, problem.hint.as_deref()),
        Severity::Warning => output::warning(&message, problem.hint.as_deref()),
    }
}

/// Prints what somebody should know although the command goes on.
pub fn warn(problems: &[Problem]) {
    if !problems.is_empty() {
        output::log(&problems.iter().map(problem).collect::<String>());
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Problems(problems) => Self::Invalid(problems),
            Error::Binding { hint, .. } | Error::Backend { hint, .. } => Self::Failed { message, hint },
            Error::Asset(error) => error.into(),
            Error::Limits(error) => Self::Failed { hint: Some(error.hint().to_owned()), message: error.to_string() },
            Error::Store(error) | Error::Engine(EngineError::Store { error, .. } | EngineError::Unreadable(error)) => {
                error.into()
            }
            Error::Changed { .. } => Self::invalid(COMMAND_LINE, message, None),
            Error::Engine(EngineError::Backend { error, .. }) if error.kind == BackendErrorKind::Unusable => {
                let hint =
                    "name another model or device, or fetch the file again; `lumos assets verify` looks at assets";
                Self::invalid(COMMAND_LINE, message, Some(hint.to_owned()))
            }
            Error::Compile(_) | Error::Engine(_) => Self::Failed { message, hint: None },
        }
    }
}

impl From<lumos::assets::AssetError> for Failure {
    fn from(error: lumos::assets::AssetError) -> Self {
        use lumos::assets::AssetError;

        match &error {
            AssetError::Cancelled { .. } => Self::Interrupted,
            AssetError::Unknown { name, known } => {
                let near = lumos::core::problem::nearest(name, known.iter().map(String::as_str));
                let hint = near.map_or_else(
                    || "`lumos assets list` shows what there is".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                Self::invalid(COMMAND_LINE, format!("there is no asset `{name}`"), Some(hint))
            }
            _ => Self::Failed { message: error.to_string(), hint: error.hint() },
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let hint = match &error {
            StoreError::Unusable { .. } => {
                "point --home or LUMOS_HOME to a folder that can be written; `lumos runs verify` looks for damage"
            }
            StoreError::Full { .. } => "free some space, or point --home or LUMOS_HOME to another disk",
            StoreError::TooNew { .. } => "use a newer lumos, or another --home",
            StoreError::Ambiguous { .. } => "write more of its id",
            other => other.hint(),
        };
        let hint = Some(hint.to_owned());
        match error {
            StoreError::UnknownRun(_)
            | StoreError::Ambiguous { .. }
            | StoreError::Ended { .. }
            | StoreError::Replaced { .. }
            | StoreError::NoLog(_) => Self::invalid(COMMAND_LINE, message, hint),
            _ => Self::Failed { message, hint },
        }
    }
}
