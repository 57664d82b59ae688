//! Several simulations side by side: deployments, seeds and load factors. What they find does not depend on threads.

use rayon::prelude::*;

use crate::driver::{Options, Traced, simulate, simulate_traced};
use crate::error::SimError;
use crate::model::Model;
use crate::results::{Measures, Results, summarize};

/// One of several simulations: a model under a load, with several seeds whose measurements are added up.
#[derive(Clone, Copy)]
pub struct Job<'m> {
    /// The scenario with one deployment.
    pub model: &'m Model,
    /// Its first seed and the rest.
    pub options: Options,
    /// Seeds from the first on.
    pub seeds: u32,
}

impl Job<'_> {
    fn seeds(&self) -> Vec<u64> {
        (0..u64::from(self.seeds.max(1))).map(|offset| self.options.seed.wrapping_add(offset)).collect()
    }
}

/// Simulates all jobs, in parallel over jobs and seeds; results come in the order of the jobs. `told` hears of each
/// simulation that has ended.
///
/// # Errors
/// The first simulation that says nothing.
pub fn simulate_all(jobs: &[Job<'_>], told: &(dyn Fn() + Sync)) -> Result<Vec<Results>, SimError> {
    let each = each(jobs);
    let found: Vec<Measures> = each
        .par_iter()
        .map(|(job, options)| {
            let found = simulate(jobs[*job].model, *options);
            told();
            found
        })
        .collect::<Result<_, _>>()?;
    Ok(merged(jobs, &each, found))
}

/// The same, one simulation after the other: `tell` hears of each run as it ends, with the options of its simulation.
///
/// # Errors
/// The first simulation that says nothing.
pub fn trace_all(
    jobs: &[Job<'_>],
    told: &dyn Fn(),
    tell: &mut dyn FnMut(&Model, &Options, Traced),
) -> Result<Vec<Results>, SimError> {
    let each = each(jobs);
    let mut found = Vec::with_capacity(each.len());
    for (job, options) in &each {
        let model = jobs[*job].model;
        found.push(simulate_traced(model, *options, &mut |traced| tell(model, options, traced))?);
        told();
    }
    Ok(merged(jobs, &each, found))
}

/// The simulations that jobs consist of, each with its job.
fn each(jobs: &[Job<'_>]) -> Vec<(usize, Options)> {
    let with = |(at, job): (usize, &Job<'_>)| {
        let options = job.options;
        job.seeds().into_iter().map(move |seed| (at, Options { seed, ..options })).collect::<Vec<_>>()
    };
    jobs.iter().enumerate().flat_map(with).collect()
}

/// What was found, by job: merged in order, whatever was ready first.
fn merged(jobs: &[Job<'_>], each: &[(usize, Options)], found: Vec<Measures>) -> Vec<Results> {
    let mut merged: Vec<Option<Measures>> = jobs.iter().map(|_| None).collect();
    for ((job, _), measures) in each.iter().zip(found) {
        match &mut merged[*job] {
            Some(sum) => sum.merge(&measures),
            none => *none = Some(measures),
        }
    }
    jobs.iter()
        .zip(merged)
        .filter_map(|(job, measures)| Some(summarize(job.model, &measures?, job.options.load_factor, &job.seeds())))
        .collect()
}
