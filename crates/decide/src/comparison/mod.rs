//! Deployments side by side: what each does, how sure one can be that they differ, and a verdict in plain words.

#[cfg(test)]
mod coverage;
mod difference;
mod gate;
mod records;
mod simulated;
mod verdict;

use serde::Serialize;

#[cfg(test)]
pub(crate) use difference::between_by;
pub use difference::{Difference, Says, between};
pub use gate::{Condition, Gate, GateError, Held};
pub use records::from_records;
pub use simulated::simulated;
pub use verdict::{Verdict, verdict};

use crate::eval::Outcome;
use crate::summary::Summary;

/// Where the figures of a comparison come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Runs of a data set, made for it.
    Live,
    /// Runs that were recorded before.
    Records,
    /// A scenario on a virtual clock.
    Simulated,
}

/// One deployment of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Its name.
    pub deployment: String,
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// Each run; empty when they were simulated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
    /// What was taken for granted, where it was simulated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<String>,
}

/// Deployments side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The workflow's name.
    pub workflow: String,
    /// Where the figures come from.
    pub source: Source,
    /// The data set or the scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether it was ended before all runs were made.
    pub is_partial: bool,
    /// The deployments; the first is what the others are held against.
    pub sides: Vec<Side>,
    /// How the others differ from the first.
    pub differences: Vec<Difference>,
    /// The same in words.
    pub verdicts: Vec<Verdict>,
}

impl Comparison {
    /// The differences of all sides from the first, and the verdicts, from the runs of the sides.
    pub fn of_outcomes((workflow, source, file): (&str, Source, Option<String>), seed: u64, sides: Vec<Side>) -> Self {
        let differences: Vec<Difference> = match sides.split_first() {
            None => Vec::new(),
            Some((first, others)) => others.iter().flat_map(|side| between(first, side, seed)).collect(),
        };
        Self::new((workflow, source, file), seed, sides, differences)
    }

    fn new(
        (workflow, source, file): (&str, Source, Option<String>),
        seed: u64,
        sides: Vec<Side>,
        differences: Vec<Difference>,
    ) -> Self {
        let others = sides.iter().skip(1);
        let verdicts = others.map(|side| verdict(&side.deployment, &sides[0].deployment, &differences)).collect();
        let workflow = workflow.to_owned();
        Self { workflow, source, file, seed, is_partial: false, sides, differences, verdicts }
    }
}
