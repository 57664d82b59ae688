//! How much load fleets bear within the SLO: their goodput, of which the scenario's load uses a share.

use indexmap::IndexMap;
use serde::Serialize;

use super::{Fleet, Laboratory, PlanError, Span};
use crate::results::{Results, Verdict};

/// The highest factor that is tried: whoever bears more is used by less than a share that matters.
const MOST: f64 = 8.0;

/// Ratio between a factor that is borne and one that is not at which the search ends.
const NEAR: f64 = 1.04;

/// The highest load at which the SLO is still met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Capacity {
    /// How many times the scenario's load that is.
    pub load_factor: f64,
    /// Whether more was not tried, so that it may be more.
    pub is_at_least: bool,
    /// Good runs per second there, in the part of the load that is searched.
    pub good_runs_per_s: f64,
    /// The scenario's load as a share of it.
    pub used: f64,
}

/// Searches the highest factor of the scenario's load at which fleets still meet the SLO, to within 4 %; `None` when they
/// do not at 1, or too few runs come to tell. Every try sees the same draws.
///
/// # Errors
/// A simulation that cannot be.
pub fn capacity(laboratory: &Laboratory<'_>, fleets: &IndexMap<String, Fleet>) -> Result<Option<Capacity>, PlanError> {
    let attempt = |factor: f64| laboratory.try_out(fleets, Span::Searched, factor, laboratory.seed());
    let good = |results: &Results| results.meets_slo == Some(true);
    // What is good because too few runs came for a queue to grow may be good at any load.
    let unclear = |results: &Results| good(results) && matches!(results.verdict, Verdict::Unclear { .. });
    let busiest_per_s = laboratory.runs_per_s().map(|per_s| per_s * laboratory.coverage().searched_rate);
    // As many come as is declared; how many of a few did in their time is chance.
    let goodput = |results: &Results, factor: f64| match (busiest_per_s, results.good_share) {
        (Some(per_s), Some(share)) => per_s * factor * share,
        _ => results.goodput_per_s.unwrap_or(0.0),
    };
    let first = attempt(1.0)?;
    if !good(&first) || unclear(&first) {
        return Ok(None);
    }
    let (mut low, mut high, mut most) = (1.0, 2.0, goodput(&first, 1.0));
    loop {
        let results = attempt(high)?;
        if !good(&results) {
            break;
        }
        let is_told = !unclear(&results);
        if is_told {
            (low, most) = (high, goodput(&results, high));
        }
        if high >= MOST || !is_told {
            let low = laboratory.made(low);
            return Ok(Some(Capacity { load_factor: low, is_at_least: true, good_runs_per_s: most, used: 1.0 / low }));
        }
        high *= 2.0;
    }
    let mut is_at_least = false;
    while high / low > NEAR {
        let middle = f64::sqrt(low * high);
        let results = attempt(middle)?;
        if good(&results) && !unclear(&results) {
            (low, most) = (middle, goodput(&results, middle));
        } else {
            is_at_least = unclear(&results);
            high = middle;
        }
    }
    let low = laboratory.made(low);
    Ok(Some(Capacity { load_factor: low, is_at_least, good_runs_per_s: most, used: 1.0 / low }))
}
