//! What an optimization found, as people and programs read it.

use indexmap::IndexMap;
use lumos_core::record::Status;
use lumos_core::{Basis, Usd};
use serde::Serialize;

use super::compose::Measured;
use super::point::{Goals, Point};
use super::search::Found;
use super::space::{Assignment, Space};
use super::verify::{Off, off};
use crate::comparison::{Gate, Held};
use crate::eval::{Evaluation, Outcome};
use crate::statistics::Bootstrap;
use crate::summary::{Amount, Figure, Summary};

/// What an optimization found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Optimization {
    /// The workflow's name.
    pub workflow: String,
    /// The deployment that was begun with.
    pub deployment: String,
    /// The data set's file.
    pub dataset: String,
    /// Seed of everything random.
    pub seed: u64,
    /// What the choice is to be best at.
    pub objective: &'static str,
    /// Whether `quality` is the share of runs that succeed, because nothing scores them.
    pub is_unscored: bool,
    /// What can be chosen.
    pub space: Space,
    /// What was done to find out.
    pub effort: Effort,
    /// Choices that nothing else is better than, and the base; the best for the objective first.
    pub frontier: Vec<Choice>,
    /// The same of those whose cost is not known, so that nobody can say how they compare with the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<Choice>,
    /// The name of the choice in `frontier` or `apart`; `null` when nothing meets the conditions, or no run succeeds.
    pub chosen: Option<String>,
    /// When nothing is chosen, what comes nearest.
    pub nearest: Option<Choice>,
}

/// What was done to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Effort {
    /// Rows, times repeats.
    pub rows: u64,
    /// Rows that are in no figure, because a part of them is missing.
    pub left_out: u64,
    /// Assignments that can be chosen; `null` when they cannot be counted.
    pub assignments: Option<u64>,
    /// Assignments, and branches of the search, that were looked at.
    pub looked_at: u64,
    /// Whether nothing better can be left.
    pub is_complete: bool,
    /// Assignments that meet the conditions, of those that were looked at.
    pub met: u64,
    /// Runs of the base.
    pub base_runs: u64,
    /// Runs with one node elsewhere, in which only that node and what follows from it was asked.
    pub changed_runs: u64,
    /// Runs that verify.
    pub verifying_runs: u64,
    /// Attempts on backends in all of these.
    pub attempts: u64,
    /// What all of them cost; `null` when a part of it is unknown.
    pub cost_usd: Option<Usd>,
    /// Runs that every combination would have taken.
    pub runs_of_all: Option<u64>,
}

impl Effort {
    /// Adds what some runs took; it says how many there were.
    pub fn add<'a>(&mut self, evaluations: impl IntoIterator<Item = &'a Evaluation>) -> u64 {
        let mut runs = 0;
        for outcome in evaluations.into_iter().flat_map(|evaluation| &evaluation.outcomes) {
            runs += 1;
            self.attempts += outcome.figures.attempts;
            self.cost_usd = self.cost_usd.zip(outcome.figures.known_cost()).map(|(sum, cost)| sum + cost);
        }
        runs
    }
}

/// An assignment with its figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Its name: the base's, and what is elsewhere than there.
    pub name: String,
    /// The backend of each node.
    pub bind: IndexMap<String, String>,
    /// Whether it is what was begun with.
    pub is_base: bool,
    /// Means, as composed.
    pub goals: Goals,
    /// Objectives that are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<&'static str>,
    /// What was composed.
    pub composed: Summary,
    /// What was measured, when it was run for real.
    pub measured: Option<Summary>,
    /// How far the composed figures were off; empty when it was not run for real.
    pub off: Vec<Off>,
    /// Whether each condition holds: as measured, else as composed; empty without conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Held>,
    /// The option of each node.
    #[serde(skip)]
    pub assignment: Assignment,
}

impl Choice {
    /// Whether a run of it succeeds and all conditions hold.
    pub fn is_met(&self) -> bool {
        self.succeeds() && self.conditions.iter().all(|it| it.passed)
    }

    /// Whether any of its runs succeeds.
    pub fn succeeds(&self) -> bool {
        self.summary().statuses.contains_key(Status::Succeeded.as_str())
    }

    /// The figures that count: measured ones where there are any.
    pub fn summary(&self) -> &Summary {
        self.measured.as_ref().unwrap_or(&self.composed)
    }

    /// What of the figures that count is wanted.
    pub fn wanted(&self) -> Goals {
        let Some(measured) = &self.measured else { return self.goals };
        let success = measured.failures.value.map(|failures| 1.0 - failures);
        Goals {
            quality: if measured.quality.is_some() { measured.quality.and_then(|it| it.value) } else { success },
            cost_usd: measured.cost_usd.value.map(|cost| cost.nanos() as f64 / 1e9),
            latency_s: measured.latency_s.and_then(|times| times.mean.value),
            bytes_outside: measured.bytes_outside.value,
        }
    }
}

/// Puts together what is said of assignments.
pub struct Telling<'a> {
    /// What was measured.
    pub measured: &'a Measured,
    /// The name of the base.
    pub base: &'a str,
    /// What must hold.
    pub gate: Option<&'a Gate>,
    /// Seed of everything random.
    pub seed: u64,
}

impl Telling<'_> {
    /// How far an assignment is from what must hold, as composed.
    pub fn shortfall(&self, assignment: &[usize]) -> f64 {
        let Some(gate) = self.gate else { return 0.0 };
        // Intervals don't matter to a gate, and take long.
        let bootstrap = Bootstrap { seed: self.seed, resamples: 1 };
        let outcomes = self.measured.outcomes(assignment);
        gate.shortfall(self.base, &Summary::by(&outcomes, &|scorer| self.measured.is_error(scorer), bootstrap))
    }

    /// All that is known of a point; `real` are its runs, if there were any.
    pub fn choice(&self, point: &Point, real: Option<&[Outcome]>) -> Choice {
        let is_error = |scorer: &str| self.measured.is_error(scorer);
        let composed = estimated(Summary::of(&self.measured.outcomes(&point.assignment), &is_error, self.seed));
        let measured = real.map(|real| Summary::of(real, &is_error, self.seed));
        let goals = point.goals;
        let known = [
            ("quality", goals.quality),
            ("cost_usd", goals.cost_usd),
            ("latency_s", goals.latency_s),
            ("bytes_outside", goals.bytes_outside),
        ];
        let bind = self.measured.space.named(&point.assignment);
        let name = self.measured.space.name(self.base, &point.assignment);
        let counts = measured.as_ref().unwrap_or(&composed);
        // A gate knows deployments by the name of the base.
        let mut conditions: Vec<Held> = self.gate.map(|gate| gate.held([(self.base, counts)], &[])).unwrap_or_default();
        for condition in &mut conditions {
            condition.deployment.clone_from(&name);
        }
        Choice {
            bind: bind.map(|(node, backend)| (node.to_owned(), backend.to_owned())).collect(),
            is_base: point.assignment.iter().all(|option| *option == 0),
            goals,
            unknown: known.into_iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect(),
            off: real.map(|real| off(self.measured, &point.assignment, real, self.seed)).unwrap_or_default(),
            conditions,
            composed,
            measured,
            name,
            assignment: point.assignment.clone(),
        }
    }
}

/// The points that are run for real: the best for the objective, then those that are best for the others, then the rest as
/// they are ranked.
pub fn to_verify<'f>(found: &'f Found, first: super::Objective, most: usize) -> Vec<&'f Point> {
    let all = || found.frontier.iter().chain(&found.apart);
    let ranked = |objective| {
        let mut points: Vec<&Point> = all().collect();
        points.sort_by(|a, b| a.goals.compare(&b.goals, objective));
        points
    };
    let best = super::Objective::ALL.into_iter().filter_map(|objective| ranked(objective).first().copied());
    let by_rank = ranked(first);
    let mut chosen: Vec<&'f Point> = Vec::new();
    for point in by_rank.first().copied().into_iter().chain(best).chain(by_rank.iter().copied()) {
        if chosen.len() < most && !chosen.contains(&point) {
            chosen.push(point);
        }
    }
    chosen
}

/// Says of figures that they are composed of others.
fn estimated(mut summary: Summary) -> Summary {
    let mark = |figure: &mut Figure| figure.basis = figure.basis.map(|_| Basis::Estimated);
    let amount = |amount: &mut Amount| amount.basis = amount.basis.map(|_| Basis::Estimated);
    summary.quality.iter_mut().for_each(mark);
    summary.scores.values_mut().for_each(|result| mark(&mut result.mean));
    if let Some(times) = &mut summary.latency_s {
        [&mut times.mean, &mut times.p50, &mut times.p95, &mut times.p99].into_iter().for_each(mark);
    }
    [&mut summary.failures, &mut summary.input_tokens, &mut summary.output_tokens, &mut summary.bytes_outside]
        .into_iter()
        .for_each(mark);
    [&mut summary.cost_usd, &mut summary.cost_per_1000_usd, &mut summary.total_cost_usd].into_iter().for_each(amount);
    summary
}
