//! From the records of a base and of its single changes to what assignments are composed of.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::graph::Graph;
use lumos_core::program::Program;
use lumos_core::record::{AttemptRecord, Destination, RunRecord, Status, StepRecord};

use super::compose::{Amounts, Changed, Measured, NOTHING, Run, WORK_US, Went};
use super::space::Space;
use super::timing::{Level, span, steps};
use crate::eval::{Dataset, Outcome};

/// A run with what was said of it.
pub struct Trial {
    /// What came of it.
    pub outcome: Outcome,
    /// What happened.
    pub record: RunRecord,
}

/// What single changes did to the runs of a base: `changes` in the order of [`Space::single`]. Runs of which a part is missing
/// are left out.
pub fn measured(
    space: &Space,
    program: &Program,
    dataset: &Dataset,
    base: &[Trial],
    changes: &[Vec<Trial>],
) -> Measured {
    let key = |trial: &Trial| (trial.outcome.row, trial.outcome.repeat);
    let by_run: Vec<BTreeMap<(usize, u32), &Trial>> =
        changes.iter().map(|trials| trials.iter().map(|trial| (key(trial), trial)).collect()).collect();
    let scorers = || dataset.rows.iter().flat_map(|row| &row.scorers);
    let mut measured = Measured {
        space: space.clone(),
        errors: scorers().filter(|scorer| scorer.is_error()).map(|scorer| scorer.label.clone()).collect(),
        left_out: 0,
        runs: Vec::new(),
    };
    for trial in base {
        let found: Option<Vec<&Trial>> = by_run.iter().map(|trials| trials.get(&key(trial)).copied()).collect();
        match found {
            Some(found) => {
                let run = run(space, program, dataset, trial, &found);
                measured.runs.push(run);
            }
            None => measured.left_out += 1,
        }
    }
    measured
}

fn run(space: &Space, program: &Program, dataset: &Dataset, base: &Trial, changes: &[&Trial]) -> Run {
    let mut units: IndexMap<String, Amounts> = IndexMap::new();
    let in_base = steps(&base.record);
    for (name, found) in &in_base {
        if is_unit(found) {
            units.insert(name.clone(), amounts(found, program));
        }
    }
    let known = units.len();
    let mut own_and_others = Vec::new();
    for ((node, _), trial) in space.single().into_iter().zip(changes) {
        let name = &space.nodes[node].node;
        let now = steps(&trial.record);
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (unit, found) in now.iter().filter(|(_, found)| is_unit(found)) {
            let is_own = found[0].node == *name;
            if is_own || is_asked(found, in_base.get(unit)) {
                let at = units.insert_full(unit.clone(), units.get(unit).copied().unwrap_or(NOTHING)).0;
                if is_own { &mut own } else { &mut others }
                    .push((at, amounts(&restored(found, in_base.get(unit)), program)));
            }
        }
        // What the base did and the change made superfluous, unless the run did not come that far.
        let is_done = |unit: &String| now.get(unit).is_some_and(|found| is_unit(found));
        for (at, unit) in units.keys().take(known).enumerate().filter(|(_, unit)| !is_done(unit)) {
            let is_own = unit.rsplit('/').next() == Some(name);
            if is_own || trial.record.status == Status::Succeeded {
                if is_own { &mut own } else { &mut others }.push((at, NOTHING));
            }
        }
        own_and_others.push((own, others));
    }
    let mut numbers: IndexMap<String, usize> = units.keys().cloned().zip(0..).collect();
    let level = Level::of(program, &in_base, &mut |name| {
        let next = numbers.len();
        *numbers.entry(name.to_owned()).or_insert(next)
    });
    let row = dataset.rows.iter().find(|row| row.number == base.outcome.row);
    let counted = row.into_iter().flat_map(|row| &row.scorers).filter(|scorer| !scorer.is_error());
    let mut changed: Vec<Vec<Changed>> =
        { space.nodes.iter() }.map(|_| vec![Changed { went: went(&base.outcome), ..Changed::default() }]).collect();
    for (((node, _), trial), (own, others)) in space.single().into_iter().zip(changes).zip(own_and_others) {
        changed[node].push(Changed { went: went(&trial.outcome), own, others });
    }
    let owner = |unit: &String| {
        let node = unit.rsplit('/').next().unwrap_or(unit);
        space.nodes.iter().position(|choice| choice.node == node)
    };
    let outcome = &base.outcome;
    let mut run = Run {
        place: (outcome.row, outcome.line, outcome.id.clone(), outcome.repeat),
        base: went(outcome),
        beside_us: 0.0,
        counted: counted.map(|scorer| scorer.label.clone()).collect(),
        owners: units.keys().map(owner).collect(),
        units: units.into_values().collect(),
        level,
        changed,
    };
    run.beside_us = (outcome.figures.duration_us as f64 - run.level.takes(&|_| 1.0)).max(0.0);
    run
}

fn went(outcome: &Outcome) -> Went {
    Went {
        failed: outcome.status != Status::Succeeded,
        scores: outcome.scores.iter().map(|(label, score)| (label.clone(), score.score)).collect(),
    }
}

/// Whether they are steps of an agent, and not those that stand for a sub-workflow. Judges of cascades work within the time of
/// the step that they judge, and cost on their own.
fn is_unit(steps: &[&StepRecord]) -> bool {
    steps.iter().any(|step| step.kind != "workflow" && step.status != Status::Skipped)
}

/// Whether a backend was asked, and not the base's answers given again.
fn is_asked(now: &[&StepRecord], base: Option<&Vec<&StepRecord>>) -> bool {
    if attempts(now).all(|attempt| attempt.backend.is_none()) {
        return !base.is_some_and(|found| is_unit(found));
    }
    now.iter().any(|step| !is_given_again(step) && step.attempts.iter().any(|attempt| attempt.backend.is_some()))
}

/// Whether all that a step was answered is what it was answered in the base.
fn is_given_again(step: &StepRecord) -> bool {
    let is_again = |attempt: &AttemptRecord| {
        let usage = &attempt.usage;
        (usage.input_tokens, usage.output_tokens) == (Some(0), Some(0)) && attempt.bytes_sent == Some(0)
    };
    !step.attempts.is_empty() && step.attempts.iter().all(is_again)
}

/// The steps of a unit, those that were answered from the base's log as they were in the base.
fn restored<'r>(now: &[&'r StepRecord], base: Option<&Vec<&'r StepRecord>>) -> Vec<&'r StepRecord> {
    let of = |step: &&'r StepRecord| {
        let is_same = |then: &&&StepRecord| (then.index, then.iteration) == (step.index, step.iteration);
        let then = base.filter(|_| is_given_again(step)).and_then(|base| base.iter().find(is_same));
        then.copied().unwrap_or(*step)
    };
    now.iter().map(of).collect()
}

fn attempts<'r>(steps: &'r [&'r StepRecord]) -> impl Iterator<Item = &'r AttemptRecord> {
    steps.iter().flat_map(|step| &step.attempts)
}

fn amounts(steps: &[&StepRecord], program: &Program) -> Amounts {
    let places = program.plan().graphs().iter().flat_map(Graph::nodes).find(|node| *node.name == *steps[0].node);
    let is_judge = places.is_some_and(|node| node.judges.is_some());
    let places =
        places.and_then(|node| node.policy.map).map(|map| map.concurrency.map_or(usize::MAX, |it| it as usize));
    // Entries of a map are worked on beside each other; where a map is around, one after the other.
    let work = if is_judge { 0.0 } else { span(steps, places.unwrap_or(1)) };
    let asked = || attempts(steps).filter(|attempt| attempt.backend.is_some());
    let sum = |of: &dyn Fn(&AttemptRecord) -> Option<f64>| asked().map(of).sum::<Option<f64>>();
    let outside = |attempt: &&AttemptRecord| attempt.destination == Destination::Outside;
    let mut amounts: Amounts = [
        None,
        attempts(steps).map(|attempt| Some(attempt.cost_usd?.nanos() as f64)).sum(),
        attempts(steps).filter(outside).map(|attempt| Some(attempt.bytes_sent? as f64)).sum(),
        sum(&|attempt| Some(attempt.usage.input_tokens? as f64)),
        sum(&|attempt| Some(attempt.usage.output_tokens? as f64)),
    ];
    amounts[WORK_US] = Some(work);
    amounts
}
