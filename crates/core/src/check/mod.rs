//! Validation: what is wrong with files that are well formed, all at once, each with its place and what would be valid.

mod agent;
mod branches;
mod claim;
mod condition;
mod deployment;
mod flow;
mod inputs;
mod limits;
mod policies;
mod reference;
mod remote;
mod scenario;
mod shape;
mod sink;
mod workflow;

use std::path::Path;

use crate::load::{AgentSource, Bundle, Scenario};
use crate::problem::Problem;
use crate::read::{self, FileKind, Parsed};
use crate::spec::{AgentSpec, ClaimSpec, DeploymentSpec};

pub use inputs::{Given, check_inputs};

/// Every problem of a bundle, by file and place.
///
/// Problems of shape are those of [`Bundle::load`]; a part that could not be read is not reported again here.
pub fn check_bundle(bundle: &Bundle) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in bundle.sources() {
        problems.extend(workflow::check(bundle, source));
    }
    for agent in bundle.agents.values() {
        problems.extend(agent::check(
            &agent.parsed,
            agent.text.as_deref().unwrap_or_default(),
            agent.user_prompt.as_deref(),
        ));
    }
    if let Some(deployment) = &bundle.deployment {
        problems.extend(deployment::check(&deployment.parsed));
        problems.extend(deployment::check_bindings(bundle, deployment));
    }
    sorted(problems)
}

/// Every problem that an agent has by itself.
pub fn check_agent(agent: &Parsed<AgentSpec>) -> Vec<Problem> {
    sorted(agent::check(agent, "", None))
}

/// Every problem that a deployment has by itself.
pub fn check_deployment(deployment: &Parsed<DeploymentSpec>) -> Vec<Problem> {
    sorted(deployment::check(deployment))
}

/// Every problem that a claim has by itself.
pub fn check_claim(claim: &Parsed<ClaimSpec>) -> Vec<Problem> {
    sorted(claim::check(claim))
}

/// Every problem that a scenario has, beside those of the workflow and the deployments that it names.
pub fn check_scenario(scenario: &Scenario) -> Vec<Problem> {
    sorted(scenario::check(scenario))
}

fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(Problem::by_place);
    problems
}

/// Every problem of a workflow's, agent's, deployment's, scenario's or claim's file; workflows and scenarios are checked with all
/// that they name.
pub fn check_file(path: &Path) -> Vec<Problem> {
    let shown = path.display().to_string();
    let text = match read::read_file(path) {
        Ok(text) => text,
        Err(problem) => return vec![*problem],
    };
    let problems = match read::file_kind(&text) {
        Some(FileKind::Agent) => {
            let (agent, mut problems) = AgentSource::load(path);
            problems.extend(agent.iter().flat_map(|agent| {
                agent::check(&agent.parsed, agent.text.as_deref().unwrap_or_default(), agent.user_prompt.as_deref())
            }));
            problems
        }
        Some(FileKind::Deployment) => {
            let (deployment, mut problems) = read::parse_deployment(&shown, &text);
            problems.extend(deployment.iter().flat_map(check_deployment));
            problems
        }
        Some(FileKind::Scenario) => match Scenario::open(path, &[]) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        },
        Some(FileKind::Claim) => {
            let (claim, mut problems) = read::parse_claim(&shown, &text);
            problems.extend(claim.iter().flat_map(check_claim));
            problems
        }
        Some(FileKind::Workflow) | None => {
            let (bundle, mut problems) = Bundle::load(path, None);
            problems.extend(bundle.iter().flat_map(check_bundle));
            problems
        }
    };
    sorted(problems)
}

#[cfg(test)]
mod tests;
