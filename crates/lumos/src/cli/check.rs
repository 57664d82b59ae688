//! `lumos check`: every problem of every file, once.

use std::fmt::Write;
use std::path::Path;

use lumos::check_agent;
use lumos::core::check::{check_bundle, check_file};
use lumos::core::load::{AgentSource, Bundle};
use lumos::core::read::{FileKind, file_kind, read_file};
use lumos::core::{Problem, Severity};
use serde_json::json;

use super::arguments::{Check, Format};
use super::failure::{Failure, INVALID};
use super::output;

pub fn run(arguments: &Check) -> Result<u8, Failure> {
    let mut problems: Vec<Problem> = Vec::new();
    for file in &arguments.files {
        for problem in check(file, arguments.deployment.as_deref()) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    match arguments.format {
        Format::Json => output::json(&json!({ "problems": problems }))?,
        Format::Human => {
            let mut text = String::new();
            for problem in &problems {
                let line = output::shown(&problem.to_string());
                let _ = match line.strip_suffix(&output::shown(&problem.message)) {
                    Some(place) => writeln!(text, "{}{}", output::bold(place), output::shown(&problem.message)),
                    None => writeln!(text, "{line}"),
                };
                text.push_str(&problem.hint.as_deref().map(|hint| output::hint(hint, "  ")).unwrap_or_default());
            }
            output::styled(&text)?;
            output::log(&summary(arguments.files.len(), &problems));
        }
    }
    let is_valid = problems.iter().all(|problem| problem.severity == Severity::Warning);
    Ok(if is_valid { 0 } else { INVALID })
}

fn check(file: &Path, deployment: Option<&Path>) -> Vec<Problem> {
    let mut problems = match read_file(file).ok().and_then(|text| file_kind(&text)) {
        Some(FileKind::Workflow) => {
            let (bundle, mut problems) = Bundle::load(file, deployment);
            if let Some(bundle) = &bundle {
                problems.extend(check_bundle(bundle));
                problems.extend(bundle.agents.values().flat_map(|agent| check_agent(agent)));
            }
            problems
        }
        Some(FileKind::Agent) => {
            let mut problems = check_file(file);
            problems.extend(AgentSource::load(file).0.iter().flat_map(check_agent));
            problems
        }
        _ => check_file(file),
    };
    problems.sort_by(Problem::by_place);
    problems
}

fn summary(files: usize, problems: &[Problem]) -> String {
    let number = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let found = match (errors, problems.len() - errors) {
        (0, 0) => "no problems".to_owned(),
        (0, warnings) => number(warnings, "warning"),
        (errors, 0) => number(errors, "error"),
        (errors, warnings) => format!("{}, {}", number(errors, "error"), number(warnings, "warning")),
    };
    format!("{}: {found}\n", number(files, "file"))
}
