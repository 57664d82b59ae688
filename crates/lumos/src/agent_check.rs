//! What is wrong with agents that only building them tells: patterns and schemas that do not compile, files that are
//! not there, formats that local models cannot follow.

use std::path::PathBuf;
use std::sync::Arc;

use lumos_agents::BuildContext;
use lumos_core::load::AgentSource;
use lumos_core::spec::{AgentSpec, GeneratorFormat};
use lumos_core::{OutputFormat, Problem, Severity};

/// Builds an agent to see whether that works; needs no assets and no models.
///
/// An agent that has problems by itself ([`lumos_core::check::check_agent`]) is left alone: they say more.
pub fn check_agent(source: &AgentSource) -> Vec<Problem> {
    let has_errors = |problems: Vec<Problem>| problems.iter().any(|problem| problem.severity == Severity::Error);
    let lost_prompt = source.user_prompt.is_none() && source.spec().prompt().is_some_and(|it| it.user_file.is_some());
    if lost_prompt || has_errors(lumos_core::check::check_agent(&source.parsed)) {
        return Vec::new();
    }
    let context = BuildContext {
        base: source.folder.clone(),
        asset: Arc::new(|_| Err("assets are not looked for".to_owned())),
        index_dir: PathBuf::new(),
    };
    if let Err(error) = lumos_agents::build(source.spec(), context) {
        // `sources[0]` is `sources.0` among positions.
        let path = error.field.replace('[', ".").replace(']', "");
        return vec![problem(source, &path, error.message, error.hint, Severity::Error)];
    }
    let AgentSpec::Generator(generator) = source.spec() else { return Vec::new() };
    let format = match &generator.format {
        GeneratorFormat::Text => return Vec::new(),
        GeneratorFormat::Json(schema) => OutputFormat::JsonSchema(schema.clone()),
        GeneratorFormat::Regex(pattern) => OutputFormat::Regex(pattern.clone()),
    };
    let refused = steer(&format).err();
    let warning = |message| {
        let hint = "simplify it, or bind the agent to a backend that can".to_owned();
        problem(source, "format", message, Some(hint), Severity::Warning)
    };
    refused.map(warning).into_iter().collect()
}

#[cfg(feature = "local")]
fn steer(format: &OutputFormat) -> Result<(), String> {
    lumos_local::check_format(format).map_err(|error| error.message)
}

#[cfg(not(feature = "local"))]
fn steer(_: &OutputFormat) -> Result<(), String> {
    Ok(())
}

fn problem(source: &AgentSource, path: &str, message: String, hint: Option<String>, severity: Severity) -> Problem {
    let place = source.parsed.positions.of(path);
    Problem {
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        field: Some(path.to_owned()),
        severity,
        ..Problem::of_file(&source.parsed.file, message, hint)
    }
}
