//! What an evaluation found, as people and programs read it.

use indexmap::IndexMap;
use serde::Serialize;

use super::dataset::Dataset;
use super::drive::{EvalOptions, Evaluation, Outcome};
use crate::summary::{Figure, Summary};

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvalResults {
    /// The workflow's name.
    pub workflow: String,
    /// The deployment's name.
    pub deployment: String,
    /// The data set's file.
    pub dataset: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Rows of the data set.
    pub rows: usize,
    /// Runs of each row.
    pub repeats: u32,
    /// Whether it was ended before all runs were made.
    pub is_partial: bool,
    /// How many runs an earlier evaluation, which was interrupted, had made.
    pub resumed: u64,
    /// Figures over all runs.
    #[serde(flatten)]
    pub summary: Summary,
    /// Each run.
    pub outcomes: Vec<Outcome>,
}

/// What one scorer says over all rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScorerResult {
    /// Whether less is better.
    pub is_error: bool,
    /// The mean.
    #[serde(flatten)]
    pub mean: Figure,
    /// Runs that it could not score: they are in no mean.
    pub unscored: u64,
}

/// Puts together what is said of an evaluation.
pub fn summarize(
    (workflow, deployment): (&str, &str),
    dataset: &Dataset,
    options: EvalOptions,
    evaluation: Evaluation,
) -> EvalResults {
    let total = dataset.rows.len() as u64 * u64::from(options.repeats.max(1));
    let errors: IndexMap<&str, bool> = { dataset.rows.iter() }
        .flat_map(|row| &row.scorers)
        .map(|scorer| (scorer.label.as_str(), scorer.is_error()))
        .collect();
    let is_error = |label: &str| errors.get(label).copied().unwrap_or(false);
    EvalResults {
        workflow: workflow.to_owned(),
        deployment: deployment.to_owned(),
        dataset: dataset.file.clone(),
        seed: options.seed,
        rows: dataset.rows.len(),
        repeats: options.repeats,
        is_partial: (evaluation.outcomes.len() as u64) < total,
        resumed: evaluation.resumed,
        summary: Summary::of(&evaluation.outcomes, &is_error, options.seed),
        outcomes: evaluation.outcomes,
    }
}
