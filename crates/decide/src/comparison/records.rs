//! Sides of a comparison from runs that were recorded before.

use std::collections::BTreeMap;

use lumos_core::record::{RunRecord, Status};

use super::Side;
use crate::eval::{Outcome, inputs_digest};
use crate::summary::Summary;

/// A side of recorded runs, in their order; those that did not come to an end are left out. Runs with the same inputs are
/// runs of one row, so that deployments that were given the same are compared pair by pair.
pub fn from_records(deployment: &str, records: Vec<RunRecord>, seed: u64) -> Side {
    let mut rows: BTreeMap<String, (usize, u32)> = BTreeMap::new();
    let is_over =
        |status| !matches!(status, Status::Running | Status::Interrupted | Status::Cancelled | Status::Paused);
    let mut outcomes = Vec::new();
    for record in records.into_iter().filter(|record| is_over(record.status)) {
        let id = inputs_digest(&record.inputs);
        let next = rows.len() + 1;
        let (row, repeats) = rows.entry(id.clone()).or_insert((next, 0));
        let (row, repeat) = (*row, *repeats);
        *repeats += 1;
        outcomes.push(Outcome::of((row, 0, id, repeat), record));
    }
    outcomes.sort_by_key(|outcome| (outcome.row, outcome.repeat));
    let summary = Summary::of(&outcomes, &|_| false, seed);
    Side { deployment: deployment.to_owned(), summary, outcomes, assumptions: Vec::new() }
}
