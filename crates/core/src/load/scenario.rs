//! A scenario with everything it names: the workflow, once with each deployment.

use std::path::{Path, PathBuf};

use super::find::{self, Found};
use super::{Bundle, Problem, Severity};
use crate::check::{check_bundle, check_scenario};
use crate::read::{Parsed, parse_scenario, read_file};
use crate::spec::ScenarioSpec;

/// A scenario and what it names.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The specification with its positions.
    pub parsed: Parsed<ScenarioSpec>,
    /// Where relative paths start.
    pub folder: PathBuf,
    /// The workflow with each of the deployments, in the scenario's order.
    pub bundles: Vec<Bundle>,
}

impl Scenario {
    /// Reads a scenario and what it names; `deployments`, as a command takes them, replace its own. The scenario is
    /// there whenever its syntax is right; it is fit for use only when no problem is an error.
    pub fn load(path: &Path, deployments: &[PathBuf]) -> (Option<Self>, Vec<Problem>) {
        let text = match read_file(path) {
            Ok(text) => text,
            Err(problem) => return (None, vec![*problem]),
        };
        let (parsed, mut problems) = parse_scenario(&path.display().to_string(), &text);
        let Some(parsed) = parsed else { return (None, problems) };
        let folder = find::folder_of(path);
        let mut bundles = Vec::new();
        let mut named: Vec<PathBuf> = deployments.to_vec();
        if deployments.is_empty() {
            for (at, name) in parsed.spec.deployments.iter().enumerate() {
                match find::named(name, "deployments", &folder) {
                    Found::At(path) => named.push(path),
                    Found::Nowhere { hint } => {
                        let message = format!("there is no deployment `{name}`");
                        problems.push(parsed.problem(&format!("deployments.{at}"), message, hint));
                    }
                }
            }
        }
        match find::named(&parsed.spec.workflow, "workflows", &folder) {
            Found::At(path) => {
                let workflow = PathBuf::from(find::shown(&path));
                for deployment in named {
                    let (bundle, found) = Bundle::load(&workflow, Some(&deployment));
                    bundles.extend(bundle);
                    for problem in found {
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                }
            }
            Found::Nowhere { hint } if !parsed.spec.workflow.is_empty() => {
                let message = format!("there is no workflow `{}`", parsed.spec.workflow);
                problems.push(parsed.problem("workflow", message, hint));
            }
            Found::Nowhere { .. } => {}
        }
        (Some(Self { parsed, folder, bundles }), problems)
    }

    /// Loads and checks: a scenario that is fit for use, with the warnings.
    ///
    /// # Errors
    /// All problems, when one of them is an error.
    pub fn open(path: &Path, deployments: &[PathBuf]) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (scenario, mut problems) = Self::load(path, deployments);
        if let Some(scenario) = &scenario {
            for found in scenario.bundles.iter().flat_map(check_bundle).chain(check_scenario(scenario)) {
                if !problems.contains(&found) {
                    problems.push(found);
                }
            }
        }
        problems.sort_by(Problem::by_place);
        match scenario {
            Some(scenario) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
                Ok((scenario, problems))
            }
            _ => Err(problems),
        }
    }

    /// The text of a file that the scenario names: by a path relative to its own, or as a profile in `profiles/`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> std::io::Result<String> {
        let path = match find::named(name, "profiles", &self.folder) {
            Found::At(path) if Path::new(name).extension().is_none() => path,
            _ => self.folder.join(name),
        };
        std::fs::read_to_string(path)
    }

    /// The specification.
    pub fn spec(&self) -> &ScenarioSpec {
        &self.parsed.spec
    }
}
