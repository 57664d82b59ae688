//! From which volume on one's own machines are cheaper than an API, and what that depends on.

use indexmap::IndexMap;
use lumos_core::Usd;
use serde::Serialize;

use super::{Fleet, Laboratory, MONTH_H, PlanError};
use crate::results::{Interval, Results};

/// Seeds over which the interval is taken.
const SEEDS: u64 = 5;

/// The volume from which a fleet is cheaper than an API.
#[derive(Debug, Clone, Serialize)]
pub struct BreakEven {
    /// The deployment that pays by the token.
    pub api: String,
    /// What a run costs there.
    pub api_per_run_usd: Usd,
    /// What the machines cost by the month, busy or idle.
    pub fleet_month_usd: Usd,
    /// What a run costs beside the machines, for what stays with APIs.
    pub fleet_per_run_usd: Usd,
    /// Runs per month from which the fleet is cheaper, with its interval over seeds; absent when a run costs no less on the
    /// machines than at the API.
    pub runs_per_month: Option<Interval>,
    /// Runs per month that the fleet is known to serve within the SLO: those of the scenario.
    pub served_per_month: f64,
    /// Whether the break-even lies within what the fleet serves.
    pub is_reached: bool,
    /// How far single assumptions move it, the strongest first.
    pub assumptions: Vec<Assumption>,
}

/// One assumption at its lower and upper end, the others being as they are.
#[derive(Debug, Clone, Serialize)]
pub struct Assumption {
    /// What is assumed.
    pub what: String,
    /// The lower and the upper end, in words.
    pub ends: [String; 2],
    /// Runs per month of the break-even at each; absent where there is none.
    pub runs_per_month: [Option<f64>; 2],
}

/// Costs of one simulation that a break-even is made of.
#[derive(Debug, Clone, Copy)]
struct Costs {
    api: f64,
    fleet_month: f64,
    fleet_run: f64,
}

impl Costs {
    fn runs_per_month(self) -> Option<f64> {
        let saved = self.api - self.fleet_run;
        (saved > 0.0).then(|| self.fleet_month / saved)
    }
}

/// Compares fleets of one's own with a deployment that pays by the token, under the scenario's load. `None` when a price is
/// not known.
///
/// # Errors
/// A simulation that cannot be.
pub fn break_even(
    own: &Laboratory<'_>,
    fleets: &IndexMap<String, Fleet>,
    api: &Laboratory<'_>,
) -> Result<Option<BreakEven>, PlanError> {
    let mut each = Vec::new();
    for offset in 0..SEEDS {
        let seed = own.seed().wrapping_add(offset);
        let there = api.try_out(&IndexMap::new(), 1.0, seed)?;
        let here = own.try_out(fleets, 1.0, seed)?;
        each.push((here, there));
    }
    let Some((here, there)) = each.first() else { return Ok(None) };
    let month: Option<Usd> = fleets.values().map(Fleet::month).sum();
    let (Some(month), true, true) = (month, there.cost_complete, here.cost_complete) else { return Ok(None) };
    let costs = |here: &Results, there: &Results| Costs {
        api: per_run(there),
        fleet_month: dollars(month),
        fleet_run: token_cost_per_run(here, fleets),
    };
    let points: Vec<f64> = each.iter().filter_map(|(here, there)| costs(here, there).runs_per_month()).collect();
    let complete = points.len() as u64 == SEEDS;
    let base = costs(here, there);
    let served = here.throughput_per_s * 3600.0 * MONTH_H as f64;
    let point = complete.then(|| Interval::of(&points));
    Ok(Some(BreakEven {
        api: there.deployment.clone(),
        api_per_run_usd: there.reserved_cost_per_succeeded_run_usd.unwrap_or(Usd::ZERO),
        fleet_month_usd: month,
        fleet_per_run_usd: usd(base.fleet_run),
        is_reached: point.is_some_and(|point| point.value <= served),
        runs_per_month: point,
        served_per_month: served,
        assumptions: tornado(base, here),
    }))
}

/// How far prices and use move the break-even.
fn tornado(base: Costs, here: &Results) -> Vec<Assumption> {
    let change = |what: &str, ends: [&str; 2], varied: [Costs; 2]| Assumption {
        what: what.to_owned(),
        ends: ends.map(str::to_owned),
        runs_per_month: varied.map(Costs::runs_per_month),
    };
    let api = |factor: f64| Costs { api: base.api * factor, ..base };
    let machine = |factor: f64| Costs { fleet_month: base.fleet_month * factor, ..base };
    // A fleet that is only used for a part of its time has to be paid for by what is left.
    let busy: Vec<f64> =
        here.services.iter().filter(|it| it.replicas.is_some()).filter_map(|it| it.utilization).collect();
    let most = busy.iter().copied().fold(0.0, f64::max);
    let mut all = vec![
        change("price of the API", ["-30 %", "+30 %"], [api(0.7), api(1.3)]),
        change("price of the machines", ["-30 %", "+30 %"], [machine(0.7), machine(1.3)]),
        change(
            "people who run them, as a share of the machines' price",
            ["0 %", "+50 %"],
            [machine(1.0), machine(1.5)],
        ),
    ];
    if most > 0.0 {
        let words = [format!("{:.0} % busy", 90.0), format!("{:.0} % busy", most * 50.0)];
        all.push(Assumption {
            what: format!("use of the machines ({:.0} % busy here)", most * 100.0),
            ends: words,
            runs_per_month: [machine((most / 0.9).min(1.0)), machine(2.0)].map(Costs::runs_per_month),
        });
    }
    let width = |it: &Assumption| match it.runs_per_month {
        [Some(a), Some(b)] => (a - b).abs(),
        _ => f64::INFINITY,
    };
    all.sort_by(|a, b| width(b).total_cmp(&width(a)));
    all
}

/// What a run that succeeds costs; those that don't are paid for too.
fn per_run(results: &Results) -> f64 {
    dollars(results.reserved_cost_per_succeeded_run_usd.unwrap_or(Usd::ZERO))
}

/// What a run that succeeds costs at services that are no part of the fleets.
fn token_cost_per_run(results: &Results, fleets: &IndexMap<String, Fleet>) -> f64 {
    let outside = results.services.iter().filter(|service| !fleets.contains_key(&service.service));
    let sum: Usd = outside.filter_map(|service| service.cost_usd).sum();
    dollars(sum) / results.succeeded.max(1) as f64
}

fn dollars(usd: Usd) -> f64 {
    usd.nanos() as f64 / 1e9
}

fn usd(dollars: f64) -> Usd {
    Usd::from_nanos((dollars * 1e9).round() as i128)
}
