//! Scorers that need more than an output: judges, workflows and commands, made ready before anything runs.

use std::path::Path;
use std::sync::Arc;

use lumos::core::load::{Bundle, DeploymentSource};
use lumos::core::problem::nearest;
use lumos::core::spec::Label;
use lumos::core::{Problem, Severity};
use lumos::decide::eval::{
    ByWorkflow, CommandScorer, Custom, Dataset, ExternalScorer, Externals, JUDGE_ALIAS, ScorerKind, judge_bundle,
};

use super::arguments::Rows;
use crate::cli::failure::{self, COMMAND_LINE, Failure};
use crate::cli::session::Session;

/// Those of a data set. Judges are bound by one deployment, whichever is judged: two judges would be no comparison.
pub fn of(session: &Session, dataset: &Dataset, bundles: &[Bundle], rows: &Rows) -> Result<Externals, Failure> {
    let mut externals = Externals::new();
    let labels = labels(bundles);
    for scorer in dataset.rows.iter().flat_map(|row| &row.scorers).filter(|scorer| scorer.is_external()) {
        let text = scorer.to_string();
        if externals.contains_key(&text) {
            continue;
        }
        let external: Arc<dyn ExternalScorer> = match &scorer.kind {
            ScorerKind::Judge { rubric, alias, min, max } => {
                let deployment = deployment(bundles, rows)?;
                check_alias(&deployment, alias, &text)?;
                let bundle = judge_bundle((rubric, alias), (*min, *max), &labels, deployment);
                Arc::new(by_workflow(session, &bundle)?)
            }
            ScorerKind::Custom(Custom::Command(command)) => Arc::new(CommandScorer { command: command.clone() }),
            ScorerKind::Custom(Custom::Workflow(path)) => {
                let deployment = deployment(bundles, rows).ok();
                let (mut bundle, warnings) = Bundle::open(Path::new(path), None).map_err(Failure::Invalid)?;
                crate::cli::failure::warn(&warnings);
                bundle.deployment = deployment;
                Arc::new(by_workflow(session, &bundle)?)
            }
            ScorerKind::Custom(Custom::Registered(name)) => {
                let hint = "custom(command=\"…\") and custom(workflow=\"….ron\") need no program that registers them"
                    .to_owned();
                return Err(Failure::invalid(COMMAND_LINE, format!("no scorer is registered as `{name}`"), Some(hint)));
            }
            _ => continue,
        };
        externals.insert(text, external);
    }
    Ok(externals)
}

fn by_workflow(session: &Session, bundle: &Bundle) -> Result<ByWorkflow, Failure> {
    let program = session.ready(bundle)?;
    Ok(ByWorkflow { engine: session.lumos.engine().clone(), program, cancel: session.cancel.clone() })
}

/// The deployment that judges are bound by.
fn deployment(bundles: &[Bundle], rows: &Rows) -> Result<DeploymentSource, Failure> {
    let first = &bundles[0];
    if let Some(named) = &rows.judges {
        return DeploymentSource::load(named, &first.workflow.folder).map_err(Failure::Invalid);
    }
    first.deployment.clone().ok_or_else(|| {
        let hint = Some("name a deployment with -d, or for judges alone with --judges".to_owned());
        Failure::invalid(COMMAND_LINE, "a judge needs a model, and there is no deployment", hint)
    })
}

/// Whether a deployment knows an alias. That `*` stands for one that it does not name, as it does for nodes, is said unless
/// nobody named it.
fn check_alias(deployment: &DeploymentSource, alias: &str, scorer: &str) -> Result<(), Failure> {
    let spec = &deployment.parsed.spec;
    if spec.backends.contains_key(alias) || spec.bind.contains_key(alias) {
        return Ok(());
    }
    let names = || spec.bind.keys().chain(spec.backends.keys()).filter(|name| *name != "*");
    let hint = match nearest(alias, names().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    let message = format!("{scorer}: deployment `{}` has no alias or backend `{alias}`", spec.name);
    let file = &deployment.parsed.file;
    match spec.bind.get("*") {
        None => return Err(Failure::invalid(file, message, Some(hint))),
        Some(_) if alias == JUDGE_ALIAS => {}
        Some(backend) => {
            let message = format!("{message}: `*` stands for it, which is `{backend}`");
            let problem = Problem { severity: Severity::Warning, ..Problem::of_file(file, message, Some(hint)) };
            failure::warn(&[problem]);
        }
    }
    Ok(())
}

/// The labels that inputs carry: what is judged may carry them all.
fn labels(bundles: &[Bundle]) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for input in bundles.iter().flat_map(|bundle| bundle.workflow.parsed.spec.inputs.values()) {
        for label in &input.labels {
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
    }
    labels
}
