//! `lumos eval`: a workflow over a data set, and how good its answers are.

pub mod arguments;
pub mod externals;
pub mod screen;

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexSet;
use indicatif::{ProgressBar, ProgressStyle};
use lumos::Home;
use lumos::core::Problem;
use lumos::core::load::{Bundle, find_deployment};
use lumos::core::record::Status;
use lumos::core::spec::{NodeKind, WorkflowSpec};
use lumos::decide::comparison::{Gate, Held};
use lumos::decide::eval::{
    Dataset, EvalOptions, Evaluation, Externals, Notes, Outcome, Scorer, Side, evaluate, summarize,
};
use lumos::decide::summary::Summary;
use serde_json::json;

use super::arguments::Format;
use super::failure::{self, COMMAND_LINE, FAILED, Failure, INTERRUPTED};
use super::output;
use super::session::Session;
use arguments::{Eval, Rows, Scoring};

pub fn run(arguments: &Eval, home: Home, seed: u64) -> Result<u8, Failure> {
    let workflow = &arguments.workflow;
    let deployment = arguments.deployment.clone().or_else(|| find_deployment("local", workflow));
    let (mut bundle, warnings) = Bundle::open(workflow, deployment.as_deref()).map_err(Failure::Invalid)?;
    failure::warn(&warnings);
    let scoring = &arguments.scoring;
    let dataset = dataset(&arguments.dataset, &bundle, &scoring.rows, true)?;
    let gate = gate(scoring, &dataset, &[deployment_of(&bundle)])?;
    if scoring.is_cached {
        cache(&mut bundle, true);
    }
    let options = options(&scoring.rows, seed);
    let bundles = [bundle];
    let (mut evaluations, is_cancelled) = carry_out(home, &bundles, &dataset, (scoring, options))?;
    let evaluation = evaluations.pop().unwrap_or_default();
    warn_of_losses([&evaluation]);
    if evaluation.outcomes.is_empty() && is_cancelled {
        return Err(Failure::Interrupted);
    }
    let bundle = &bundles[0];
    let results = summarize((&bundle.workflow.parsed.spec.name, &deployment_of(bundle)), &dataset, options, evaluation);
    let held = gate.map(|gate| gate.held([(results.deployment.as_str(), &results.summary)], &[]));
    match arguments.format {
        Format::Json => {
            let mut document = json!(results);
            if let Some(held) = &held {
                document["gate"] = verdict(held);
            }
            output::json(&document)?;
        }
        Format::Human => output::styled(&screen::text(&results, held.as_deref()))?,
    }
    if is_cancelled {
        output::log(&output::error("interrupted", Some("the same command goes on where it was")));
        return Ok(INTERRUPTED);
    }
    Ok(code(held.as_deref(), [&results.summary]))
}

/// What a gate says, as part of a document.
pub fn verdict(held: &[Held]) -> serde_json::Value {
    json!({ "passed": held.iter().all(|it| it.passed), "conditions": held })
}

/// The exit code: of a gate that does not hold, and of deployments none of whose runs succeeded.
pub fn code<'a>(held: Option<&[Held]>, summaries: impl IntoIterator<Item = &'a Summary>) -> u8 {
    let is_held = held.is_none_or(|held| held.iter().all(|it| it.passed));
    let succeeded = |summary: &Summary| summary.statuses.contains_key(Status::Succeeded.as_str());
    if is_held && summaries.into_iter().all(succeeded) { 0 } else { FAILED }
}

/// The name of a bundle's deployment.
pub fn deployment_of(bundle: &Bundle) -> String {
    bundle.deployment.as_ref().map_or_else(|| "none".to_owned(), |source| source.parsed.spec.name.clone())
}

/// How runs are made.
pub fn options(rows: &Rows, seed: u64) -> EvalOptions {
    EvalOptions { seed, concurrency: rows.concurrency as usize, repeats: rows.repeats }
}

/// The data set of a command, checked against the workflow.
pub fn dataset(path: &Path, bundle: &Bundle, rows: &Rows, needs_scores: bool) -> Result<Arc<Dataset>, Failure> {
    let (mut scorers, mut problems) = (Vec::new(), Vec::new());
    for text in &rows.scorers {
        match Scorer::read(text) {
            Ok(scorer) => scorers.push(scorer),
            Err(message) => {
                let hint = "`lumos eval --help` shows how scorers are written".to_owned();
                problems.push(Problem::of_file(COMMAND_LINE, format!("--scorer: {message}"), Some(hint)));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Invalid(problems));
    }
    let mut dataset = Dataset::open(path, bundle, &scorers, needs_scores).map_err(Failure::Invalid)?;
    dataset.rows.truncate(rows.limit.map_or(usize::MAX, |limit| limit as usize));
    Ok(Arc::new(dataset))
}

/// The gate of a command.
pub fn gate(scoring: &Scoring, dataset: &Dataset, deployments: &[String]) -> Result<Option<Gate>, Failure> {
    gate_of(scoring, &labels(dataset), deployments)
}

/// The names of all scorers of a data set, each once.
pub fn labels(dataset: &Dataset) -> Vec<String> {
    let all = dataset.rows.iter().flat_map(|row| &row.scorers).map(|scorer| scorer.label.clone());
    all.collect::<IndexSet<_>>().into_iter().collect()
}

/// The gate of a command over these scorers.
pub fn gate_of(scoring: &Scoring, scorers: &[String], deployments: &[String]) -> Result<Option<Gate>, Failure> {
    let read = scoring.gate.as_deref().map(|text| Gate::read(text, scorers, deployments));
    read.transpose().map_err(|error| Failure::invalid(COMMAND_LINE, format!("--gate: {error}"), error.hint))
}

/// Says for all nodes that ask a model whether their answers may be reused.
pub fn cache(bundle: &mut Bundle, is_on: bool) {
    let set = |spec: &mut WorkflowSpec| {
        for node in spec.nodes.values_mut() {
            let asks = matches!(
                node.kind,
                NodeKind::Planner { .. }
                    | NodeKind::Judge { .. }
                    | NodeKind::Generator { .. }
                    | NodeKind::Router { agent: Some(_), .. }
            );
            node.options.cache = is_on && asks;
        }
    };
    for source in std::iter::once(&mut bundle.workflow).chain(bundle.subworkflows.values_mut()) {
        set(&mut Arc::make_mut(source).parsed.spec);
    }
}

/// Makes the runs of a data set with each bundle; whether a person ended it comes with what was found.
pub fn carry_out(
    home: Home,
    bundles: &[Bundle],
    dataset: &Arc<Dataset>,
    (scoring, options): (&Scoring, EvalOptions),
) -> Result<(Vec<Evaluation>, bool), Failure> {
    let folder = home.folder().join("evals");
    Session::quiet(home, |session| {
        let mut sides = Vec::new();
        for bundle in bundles {
            let program = session.ready(bundle)?;
            let notes = Notes::open(&folder, program.definition(), options.seed, scoring.rows.is_fresh);
            let notes = notes.map_err(|error| {
                let hint = Some("point --home or LUMOS_HOME to a folder that can be written".to_owned());
                Failure::Failed { message: format!("cannot note in {}: {error}", folder.display()), hint }
            })?;
            sides.push(Side { program, notes, after: None });
        }
        let externals: Externals = externals::of(session, dataset, bundles, &scoring.rows)?;
        let total = dataset.rows.len() as u64 * u64::from(options.repeats) * bundles.len() as u64;
        let live = Live::new(total);
        let told = |_: usize, outcome: &Outcome| live.take(outcome);
        let work = evaluate(
            session.lumos.engine(),
            sides,
            dataset,
            (&externals, session.lumos.store()),
            options,
            &session.cancel,
            &told,
        );
        let evaluations = session.finish(work);
        live.finish();
        let resumed: u64 = evaluations.iter().map(|evaluation| evaluation.resumed).sum();
        if resumed > 0 {
            output::log(&format!("went on: {resumed} of {total} runs were made before\n"));
        }
        Ok((evaluations, session.cancel.is_cancelled()))
    })
}

/// Says what was not kept.
pub fn warn_of_losses<'a>(evaluations: impl IntoIterator<Item = &'a Evaluation>) {
    for lost in evaluations.into_iter().filter_map(|evaluation| evaluation.lost.as_ref()) {
        output::log(&output::warning(&format!("not all was kept: {lost}"), None));
    }
}

/// How far it is.
pub struct Live {
    bar: ProgressBar,
    failed: std::sync::atomic::AtomicU64,
}

impl Live {
    /// Of so many runs.
    pub fn new(total: u64) -> Self {
        let bar = if output::shows_progress() { ProgressBar::new(total) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {elapsed}, {eta} left{msg}") {
            bar.set_style(style);
        }
        Self { bar, failed: std::sync::atomic::AtomicU64::new(0) }
    }

    /// A run has ended.
    pub fn take(&self, outcome: &Outcome) {
        use std::sync::atomic::Ordering;
        if outcome.status != Status::Succeeded {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!(", {failed} failed"));
        }
        self.bar.inc(1);
    }

    /// All have.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
