//! What an assignment would take, from what single changes took: times along the longest way, costs and bytes as sums, scores
//! by how each change moved them.

use indexmap::IndexMap;
use lumos_core::record::Status;
use lumos_core::{Basis, Usd};
use serde_json::Value;

use super::space::Space;
use super::timing::Level;
use crate::eval::{Figures, Outcome, Score};
use crate::statistics::mean;

/// Quantities of a node's work in a run. Unknown ones are `None`, and so is every sum with one.
pub(super) type Amounts = [Option<f64>; 5];

pub(super) const WORK_US: usize = 0;
pub(super) const COST: usize = 1;
pub(super) const BYTES: usize = 2;
pub(super) const INPUT: usize = 3;
pub(super) const OUTPUT: usize = 4;

/// What is added to nothing.
pub(super) const NOTHING: Amounts = [Some(0.0); 5];

/// What single changes did to the runs of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What can be chosen.
    pub space: Space,
    /// Of which scorers less is better.
    pub errors: Vec<String>,
    /// Runs that were left out, because a part of them is missing.
    pub left_out: usize,
    /// Each run of the base, with what became of it.
    pub(super) runs: Vec<Run>,
}

/// A run of the base, and what each change made of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    /// The row's number, line and id, and which of its runs it is.
    pub(super) place: (usize, u32, String, u32),
    /// How it went in the base.
    pub(super) base: Went,
    /// Microseconds that no node took.
    pub(super) beside_us: f64,
    /// Its nodes as they followed each other.
    pub(super) level: Level,
    /// Scorers that a run's quality is the mean of.
    pub(super) counted: Vec<String>,
    /// What each unit took in the base.
    pub(super) units: Vec<Amounts>,
    /// The node of each unit that can be chosen.
    pub(super) owners: Vec<Option<usize>>,
    /// What became of it: by node, then by option, whose first is the base itself.
    pub(super) changed: Vec<Vec<Changed>>,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Went {
    pub(super) failed: bool,
    /// What each scorer says; `None` when it could not score it.
    pub(super) scores: IndexMap<String, Option<f64>>,
}

/// A run with one node elsewhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Changed {
    pub(super) went: Went,
    /// What the node's own units took.
    pub(super) own: Vec<(usize, Amounts)>,
    /// What other units took that were asked something else than in the base.
    pub(super) others: Vec<(usize, Amounts)>,
}

/// What a run is composed of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Composed {
    pub(super) failed: bool,
    pub(super) duration_us: f64,
    /// Of all units; of [`WORK_US`] nothing can be said.
    pub(super) total: Amounts,
    pub(super) scores: IndexMap<String, Option<f64>>,
    pub(super) quality: Option<f64>,
}

impl Measured {
    /// Whether less is better.
    pub(super) fn is_error(&self, scorer: &str) -> bool {
        self.errors.iter().any(|error| error == scorer)
    }

    /// How many runs all figures are of.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The runs as they would be with an assignment. They are in no store.
    pub fn outcomes(&self, assignment: &[usize]) -> Vec<Outcome> {
        self.runs.iter().map(|run| run.outcome(assignment, self)).collect()
    }

    /// What each run would come to.
    pub(super) fn composed<'a>(&'a self, assignment: &'a [usize]) -> impl Iterator<Item = Composed> + 'a {
        self.runs.iter().map(|run| run.composed(assignment, &|scorer| self.is_error(scorer)))
    }
}

impl Run {
    /// What it would come to.
    pub(super) fn composed(&self, assignment: &[usize], is_error: &dyn Fn(&str) -> bool) -> Composed {
        let values = self.values(assignment);
        let total = values.iter().fold(NOTHING, |sum, amounts| plus(&sum, amounts));
        let duration_us = self.duration_us(&values);
        let (failed, scores) = self.went(assignment, is_error);
        let counted: Option<Vec<f64>> = self.counted.iter().map(|label| *scores.get(label)?).collect();
        Composed { failed, duration_us, total, quality: counted.and_then(|scores| mean(&scores)), scores }
    }

    /// What each unit would take: of the node's own as measured where it was asked, then as much more or less as other
    /// changes made of it.
    pub(super) fn values(&self, assignment: &[usize]) -> Vec<Amounts> {
        let mut values = self.units.clone();
        for (node, option) in assignment.iter().enumerate().filter(|(_, option)| **option != 0) {
            for (unit, amounts) in &self.changed[node][*option].own {
                values[*unit] = *amounts;
            }
        }
        for (node, option) in assignment.iter().enumerate().filter(|(_, option)| **option != 0) {
            for (unit, amounts) in &self.changed[node][*option].others {
                let base = &self.units[*unit];
                let value = &mut values[*unit];
                *value = std::array::from_fn(|at| Some(moved(value[at]?, base[at]?, amounts[at]?)));
            }
        }
        values
    }

    /// Microseconds from start to end.
    pub(super) fn duration_us(&self, values: &[Amounts]) -> f64 {
        // What the base did not do stands in no place of its level: it counts as if everything waited for it.
        let mut beside = self.beside_us;
        for (value, base) in values.iter().zip(&self.units) {
            if base[WORK_US] == Some(0.0) {
                beside += value[WORK_US].unwrap_or(0.0);
            }
        }
        let factor = |unit: usize| match (values[unit][WORK_US], self.units[unit][WORK_US]) {
            (Some(now), Some(then)) if then > 0.0 => now / then,
            _ => 1.0,
        };
        self.level.takes(&factor) + beside
    }

    /// Whether it would fail, and what scorers would say: each change moves what the base came to as it did alone, within
    /// the ends of the scale.
    fn went(&self, assignment: &[usize], is_error: &dyn Fn(&str) -> bool) -> (bool, IndexMap<String, Option<f64>>) {
        let changes = || assignment.iter().enumerate().map(|(node, option)| &self.changed[node][*option].went);
        let fails = |went: &Went| f64::from(u8::from(went.failed));
        let base = fails(&self.base);
        let failed = base + changes().map(|went| fails(went) - base).sum::<f64>() > 0.5;
        let scores = self.base.scores.iter().map(|(label, base)| {
            let moves: Option<f64> = changes().map(|went| Some((*went.scores.get(label)?)? - (*base)?)).sum();
            let moved = base.zip(moves).map(|(base, moves)| base + moves);
            let score = match (is_error(label), failed) {
                (true, true) => None,
                (true, false) => moved.map(|score| score.max(0.0)),
                (false, true) => Some(0.0),
                (false, false) => moved.map(|score| score.clamp(0.0, 1.0)),
            };
            (label.clone(), score)
        });
        (failed, scores.collect())
    }

    fn outcome(&self, assignment: &[usize], measured: &Measured) -> Outcome {
        let composed = self.composed(assignment, &|scorer| measured.is_error(scorer));
        let (row, line, id, repeat) = self.place.clone();
        let whole = |at: usize| composed.total[at].map(|amount| amount.round() as u64);
        let cost = composed.total[COST].map(|nanos| Usd::from_nanos(nanos.round() as i128));
        Outcome {
            row,
            line,
            id,
            repeat,
            run_id: String::new(),
            status: if composed.failed { Status::Failed } else { Status::Succeeded },
            error: None,
            output: Value::Null,
            quality: composed.quality,
            scores: { composed.scores.into_iter() }
                .map(|(label, score)| (label, Score { score, ..Score::default() }))
                .collect(),
            figures: Figures {
                duration_us: composed.duration_us.max(0.0).round() as u64,
                ttft_us: None,
                cost_usd: cost,
                cost_complete: cost.is_some(),
                saved_usd: None,
                input_tokens: whole(INPUT),
                output_tokens: whole(OUTPUT),
                bytes_outside: whole(BYTES),
                attempts: 0,
                tokens_basis: Some(Basis::Estimated),
                cost_basis: Some(Basis::Estimated),
            },
        }
    }
}

/// A value that another change would have made `now` of `base`: by the same factor, which holds at other prices and speeds
/// too; where there was nothing, by as much.
fn moved(value: f64, base: f64, now: f64) -> f64 {
    if base > 0.0 { value * now / base } else { value + now }
}

fn plus(a: &Amounts, b: &Amounts) -> Amounts {
    std::array::from_fn(|at| Some(a[at]? + b[at]?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::optimize::space::{Candidate, Choice};
    use crate::optimize::timing::{Stage, Work};

    /// Nodes one after the other, each with as many options.
    pub(in crate::optimize) fn chain(nodes: usize, options: usize) -> Space {
        let option = |at: usize| Candidate { backend: format!("b{at}"), model: format!("m{at}"), is_offered: true };
        let node = |at: usize| Choice {
            node: format!("n{at}"),
            options: (0..options).map(option).collect(),
            excluded: Vec::new(),
        };
        Space { nodes: (0..nodes).map(node).collect(), fixed: Vec::new() }
    }

    /// A run of such a chain. `figures` gives microseconds, nano-dollars and the score of a node with an option: the run is as
    /// good as its worst node.
    pub(in crate::optimize) fn run(
        space: &Space,
        row: usize,
        mut figures: impl FnMut(usize, usize) -> (f64, f64, f64),
    ) -> Run {
        let drawn: Vec<Vec<(f64, f64, f64)>> = { space.nodes.iter().enumerate() }
            .map(|(node, choice)| (0..choice.options.len()).map(|option| figures(node, option)).collect())
            .collect();
        let amounts = |(us, nanos, _): (f64, f64, f64)| [Some(us), Some(nanos), Some(0.0), Some(1.0), Some(1.0)];
        let went = |changed: Option<(usize, usize)>| {
            let scores = drawn.iter().enumerate().map(|(node, of)| {
                let option = changed.filter(|(at, _)| *at == node).map_or(0, |(_, option)| option);
                of[option].2
            });
            let score = scores.fold(1.0, f64::min);
            Went { failed: false, scores: IndexMap::from([("exact".to_owned(), Some(score))]) }
        };
        let stage = |node: usize| Stage {
            waits_for: node.checked_sub(1).into_iter().collect(),
            any: false,
            work: Work::Unit(node, drawn[node][0].0),
        };
        let changed = |node: usize, option: usize| Changed {
            went: went(Some((node, option))),
            own: vec![(node, amounts(drawn[node][option]))],
            others: Vec::new(),
        };
        Run {
            place: (row, row as u32, row.to_string(), 0),
            base: went(None),
            beside_us: 0.0,
            level: Level((0..drawn.len()).map(stage).collect()),
            counted: vec!["exact".to_owned()],
            units: drawn.iter().map(|of| amounts(of[0])).collect(),
            owners: (0..drawn.len()).map(Some).collect(),
            changed: { drawn.iter().enumerate() }
                .map(|(node, of)| (0..of.len()).map(|option| changed(node, option)).collect())
                .collect(),
        }
    }

    fn is_error(_: &str) -> bool {
        false
    }

    #[test]
    fn one_change_is_what_was_measured() {
        let space = chain(2, 2);
        let run = run(&space, 1, |node, option| ((node * 10 + option + 1) as f64, 5.0 * (option + 1) as f64, 1.0));
        let of = |assignment: &[usize]| {
            let composed = run.composed(assignment, &is_error);
            (composed.duration_us, composed.total[COST], composed.quality)
        };
        assert_eq!(of(&[0, 0]), (12.0, Some(10.0), Some(1.0)));
        assert_eq!(of(&[1, 0]), (13.0, Some(15.0), Some(1.0)));
        assert_eq!(of(&[1, 1]), (14.0, Some(20.0), Some(1.0)));
    }

    #[test]
    fn two_changes_that_spoil_the_same_run_spoil_it_once() {
        let space = chain(2, 2);
        let spoilt = run(&space, 1, |_, option| (1.0, 1.0, if option == 0 { 1.0 } else { 0.0 }));
        assert_eq!(spoilt.composed(&[1, 1], &is_error).quality, Some(0.0));
        let mended = run(&space, 1, |node, option| (1.0, 1.0, if node == 0 && option == 0 { 0.0 } else { 1.0 }));
        assert_eq!(mended.composed(&[0, 1], &is_error).quality, Some(0.0));
        assert_eq!(mended.composed(&[1, 1], &is_error).quality, Some(1.0));
    }

    #[test]
    fn what_is_asked_more_of_costs_more_at_other_prices_too() {
        let space = chain(2, 2);
        let mut run = run(&space, 1, |node, option| (10.0, if node == 1 && option == 1 { 3.0 } else { 30.0 }, 1.0));
        // With the first node elsewhere the second reads and writes twice as much.
        let twice = [Some(20.0), Some(60.0), Some(0.0), Some(2.0), Some(2.0)];
        run.changed[0][1].others.push((1, twice));
        let composed = run.composed(&[1, 1], &is_error);
        assert_eq!((composed.total[COST], composed.duration_us), (Some(36.0), 30.0));
    }

    #[test]
    fn an_unknown_cost_is_not_zero() {
        let space = chain(2, 2);
        let mut run = run(&space, 1, |_, _| (1.0, 1.0, 1.0));
        run.changed[1][1].own[0].1[COST] = None;
        assert_eq!(run.composed(&[0, 1], &is_error).total[COST], None);
        assert_eq!(run.composed(&[1, 0], &is_error).total[COST], Some(2.0));
        let measured = Measured { space, errors: Vec::new(), left_out: 0, runs: vec![run] };
        let outcome = &measured.outcomes(&[0, 1])[0];
        assert_eq!((outcome.figures.cost_usd, outcome.figures.cost_complete), (None, false));
    }

    #[test]
    fn a_run_that_fails_gets_no_right_answer() {
        let space = chain(2, 2);
        let mut run = run(&space, 1, |_, _| (1.0, 1.0, 1.0));
        run.changed[0][1].went = Went { failed: true, scores: IndexMap::from([("exact".to_owned(), Some(0.0))]) };
        let composed = run.composed(&[1, 1], &is_error);
        assert!(composed.failed && composed.quality == Some(0.0));
        // What the base failed at, a change may mend.
        run.base.failed = true;
        let fine = Went { failed: false, scores: IndexMap::from([("exact".to_owned(), Some(1.0))]) };
        run.changed[1][1].went = fine;
        run.changed[0][0].went.failed = true;
        run.changed[1][0].went.failed = true;
        assert!(!run.composed(&[0, 1], &is_error).failed);
    }
}
