//! Several simulations side by side: deployments, seeds and load factors. What they find does not depend on threads.

use rayon::prelude::*;

use crate::driver::{Options, simulate};
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
    let each: Vec<(usize, u64)> =
        jobs.iter().enumerate().flat_map(|(job, spec)| spec.seeds().into_iter().map(move |seed| (job, seed))).collect();
    let found: Vec<Measures> = each
        .par_iter()
        .map(|(job, seed)| {
            let Job { model, options, .. } = jobs[*job];
            let found = simulate(model, Options { seed: *seed, ..options });
            told();
            found
        })
        .collect::<Result<_, _>>()?;
    // Merged in order, whatever was ready first.
    let mut merged: Vec<Option<Measures>> = jobs.iter().map(|_| None).collect();
    for ((job, _), measures) in each.iter().zip(found) {
        match &mut merged[*job] {
            Some(sum) => sum.merge(&measures),
            none => *none = Some(measures),
        }
    }
    Ok(jobs
        .iter()
        .zip(merged)
        .filter_map(|(job, measures)| Some(summarize(job.model, &measures?, job.options.load_factor, &job.seeds())))
        .collect())
}
