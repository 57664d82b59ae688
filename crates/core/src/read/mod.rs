//! Reading workflows, agents, deployments, scenarios and claims from RON: strict, with positions, and with every problem of a file at
//! once (a syntax error ends the file, because nothing after it can be told apart).

mod agent;
mod claim;
mod decode;
mod deployment;
mod file;
mod position;
mod raw;
mod reader;
mod scenario;
mod workflow;
mod written;

use std::collections::BTreeSet;

use crate::problem::{Problem, Severity};
use crate::spec::{AgentSpec, ClaimSpec, DeploymentSpec, ScenarioSpec, WorkflowSpec};

pub use file::{MAX_FILE_BYTES, read_file, read_file_up_to};
pub use position::{Position, Positions};
pub use written::write_deployment;

use raw::Raw;
use reader::Reader;

/// A file as data, with where each of its parts was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<T> {
    /// The file as the user named it.
    pub file: String,
    /// What it says.
    pub spec: T,
    /// Where it says it; empty for what was built in memory.
    pub positions: Positions,
    /// Nodes, inputs and backends that could not be read; other parts may still name them.
    pub broken: BTreeSet<String>,
}

impl<T> Parsed<T> {
    /// What is wrong at a field, with where that was written.
    pub fn problem(&self, field: &str, message: impl Into<String>, hint: Option<String>) -> Problem {
        let place = self.positions.of(field);
        Problem {
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            field: Some(field.to_owned()),
            ..Problem::of_file(&self.file, message, hint)
        }
    }

    /// A specification that was built in memory under a name of its own.
    pub fn in_memory(name: impl Into<String>, spec: T) -> Self {
        Self { file: name.into(), spec, positions: Positions::default(), broken: BTreeSet::new() }
    }
}

/// Reads a workflow; `file` names it in problems.
///
/// # Errors
/// Every problem of shape: syntax, unknown and missing fields, types, duplicates.
pub fn read_workflow(file: &str, text: &str) -> Result<Parsed<WorkflowSpec>, Vec<Problem>> {
    strict(parse_workflow(file, text))
}

/// Reads an agent; `file` names it in problems.
///
/// # Errors
/// As for [`read_workflow`].
pub fn read_agent(file: &str, text: &str) -> Result<Parsed<AgentSpec>, Vec<Problem>> {
    strict(parse_agent(file, text))
}

/// Reads a deployment; `file` names it in problems.
///
/// # Errors
/// As for [`read_workflow`].
pub fn read_deployment(file: &str, text: &str) -> Result<Parsed<DeploymentSpec>, Vec<Problem>> {
    strict(parse_deployment(file, text))
}

/// Like [`read_workflow`], but gives what could be read next to the problems, so that it can be checked further.
pub fn parse_workflow(file: &str, text: &str) -> (Option<Parsed<WorkflowSpec>>, Vec<Problem>) {
    parse(file, text, workflow::workflow)
}

/// Like [`read_agent`], but gives what could be read next to the problems.
pub fn parse_agent(file: &str, text: &str) -> (Option<Parsed<AgentSpec>>, Vec<Problem>) {
    parse(file, text, agent::agent)
}

/// Like [`read_deployment`], but gives what could be read next to the problems.
pub fn parse_deployment(file: &str, text: &str) -> (Option<Parsed<DeploymentSpec>>, Vec<Problem>) {
    parse(file, text, deployment::deployment)
}

/// Reads a scenario; `file` names it in problems. Gives what could be read next to the problems.
pub fn parse_scenario(file: &str, text: &str) -> (Option<Parsed<ScenarioSpec>>, Vec<Problem>) {
    parse(file, text, scenario::scenario)
}

/// Reads a claim; `file` names it in problems. Gives what could be read next to the problems.
pub fn parse_claim(file: &str, text: &str) -> (Option<Parsed<ClaimSpec>>, Vec<Problem>) {
    parse(file, text, claim::claim)
}

/// What a file's only value is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `Workflow(…)`.
    Workflow,
    /// One of the roles, such as `Planner(…)`.
    Agent,
    /// `Deployment(…)`.
    Deployment,
    /// `Scenario(…)`.
    Scenario,
    /// `Claim(…)`.
    Claim,
}

/// The kind of a file's value; `None` for anything else, or when the value has no name.
pub fn file_kind(text: &str) -> Option<FileKind> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = raw::document(text).map_or(text, |raw| raw.text);
    match Raw::new(body).name()? {
        "Workflow" => Some(FileKind::Workflow),
        "Deployment" => Some(FileKind::Deployment),
        "Scenario" => Some(FileKind::Scenario),
        "Claim" => Some(FileKind::Claim),
        name if agent::ROLES.contains(&name) => Some(FileKind::Agent),
        _ => None,
    }
}

fn parse<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(&mut Reader<'_>, Raw<'_>) -> Option<T>,
) -> (Option<Parsed<T>>, Vec<Problem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::new(file, text);
    let spec = if text.len() as u64 > MAX_FILE_BYTES {
        reader.problem_at(0, file::too_large(text.len() as u64), Some(file::SIZE_HINT.to_owned()));
        None
    } else {
        match raw::document(text) {
            Ok(raw) => read(&mut reader, raw),
            Err((offset, error)) => {
                reader.syntax_error(offset, error);
                None
            }
        }
    };
    let (problems, positions, broken) = reader.into_parts();
    (spec.map(|spec| Parsed { file: file.to_owned(), spec, positions, broken }), problems)
}

fn strict<T>((parsed, problems): (Option<Parsed<T>>, Vec<Problem>)) -> Result<Parsed<T>, Vec<Problem>> {
    match parsed {
        Some(parsed) if problems.iter().all(|problem| problem.severity == Severity::Warning) => Ok(parsed),
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests;
