//! From which volume on one's own machines are cheaper than an API, and what that depends on.
//!
//! Costs are per run that succeeds: a service that fails most runs is not cheap because failures cost nothing. What is paid
//! by the hour counts by the month on either side, busy or idle.

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::spec::SloSpec;
use rayon::prelude::*;
use serde::Serialize;

use super::{Capacity, Fleet, Laboratory, MONTH_H, PlanError, Span};
use crate::results::{Interval, Results};

/// Seeds over which the interval is taken.
const SEEDS: u64 = 5;

/// One side of a comparison: what it costs, and whether it does what is asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The deployment.
    pub deployment: String,
    /// Runs that count, of all seeds together.
    pub runs: u64,
    /// Of those, how many succeeded.
    pub succeeded: u64,
    /// Of those, the share that met the SLO; absent where a queue grows without bound.
    pub good_share: Option<f64>,
    /// Whether the SLO is met, with every seed.
    pub meets_slo: bool,
    /// What is paid by the month for machines, busy or idle.
    pub month_usd: Option<Usd>,
    /// What is paid beside that for each run that succeeds; absent when none does.
    pub per_run_usd: Option<Usd>,
    /// What is paid in a month of the scenario's load: machines, and tokens of all runs that arrive, whatever becomes of them.
    pub at_load_usd: Option<Usd>,
    /// Services whose price is not known: then costs are absent.
    pub unpriced: Vec<String>,
}

/// The volume from which a fleet is cheaper than an API.
#[derive(Debug, Clone, Serialize)]
pub struct BreakEven {
    /// The deployment that pays by the token.
    pub api: String,
    /// What a run that succeeds costs there: all that is paid for tokens over the runs that succeed.
    pub api_per_run_usd: Option<Usd>,
    /// What the machines cost by the month, busy or idle: the fleets, and what else the deployment pays by the hour.
    pub fleet_month_usd: Option<Usd>,
    /// What a run that succeeds costs beside the machines, for what stays with APIs.
    pub fleet_per_run_usd: Option<Usd>,
    /// The fleets.
    pub fleet_side: Side,
    /// The API.
    pub api_side: Side,
    /// Runs that succeed per month from which the fleet is cheaper, with its interval over seeds; absent when a run costs no
    /// less on the machines than at the API, the fleets don't bear so many within the SLO, or a price is not known.
    pub runs_per_month: Option<Interval>,
    /// Where that would be if the fleets bore so many; absent when they do, or there is none.
    pub beyond_capacity: Option<f64>,
    /// Runs per month that succeed under the highest load that the fleets bear within the SLO; absent when they miss it.
    pub capacity_per_month: Option<f64>,
    /// Whether more was not tried, so that the fleets may bear more than that.
    pub capacity_is_at_least: bool,
    /// Seeds that were simulated.
    pub seeds: u64,
    /// Runs per month that arrive under the scenario's load, at the mean rate that it declares: what both sides are paid for.
    pub arrived_per_month: f64,
    /// Runs per month that succeed on the fleets under the scenario's load, at the mean rate that it declares.
    pub served_per_month: f64,
    /// Whether the break-even lies within what the fleet serves.
    pub is_reached: bool,
    /// Which of those that meet the SLO costs less for as many runs that succeed as `served_per_month`: `fleet` or `api`; absent
    /// when neither meets it, or that is not known.
    pub choice: Option<&'static str>,
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
    /// Runs per month of the break-even at each; absent where there is none that the fleets bear.
    pub runs_per_month: [Option<f64>; 2],
    /// Whether there is one at each that they don't bear.
    pub beyond_capacity: [bool; 2],
}

/// Costs that a break-even is made of, in dollars.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// By the token, per run that succeeds at the API.
    api_run: f64,
    /// Machines by the month that the API's deployment keeps.
    api_month: f64,
    /// The fleets by the month.
    fleets: f64,
    /// Other machines by the month beside the fleets.
    others: f64,
    /// By the token, per run that succeeds on the fleets.
    fleet_run: f64,
    /// By the token, per run that arrives: at the API, and on the fleets.
    per_arrival: [f64; 2],
}

impl Costs {
    fn runs_per_month(self) -> Option<f64> {
        let saved = self.api_run - self.fleet_run;
        (saved > 0.0).then(|| ((self.fleets + self.others - self.api_month) / saved).max(0.0))
    }

    /// Whether the fleets cost less for so many runs that succeed in a month: a bill that is smaller because more runs fail
    /// buys less.
    fn is_fleet_cheaper(self, succeed: f64) -> bool {
        self.fleets + self.others + self.fleet_run * succeed <= self.api_month + self.api_run * succeed
    }
}

/// Compares fleets of one's own with a deployment that pays by the token, under all of the scenario's load: with several seeds
/// where the search saw all of it, else with one.
///
/// # Errors
/// A simulation that cannot be.
pub fn break_even(
    own: &Laboratory<'_>,
    fleets: &IndexMap<String, Fleet>,
    api: &Laboratory<'_>,
    capacity: Option<&Capacity>,
) -> Result<BreakEven, PlanError> {
    let seeds = if own.coverage().is_whole { SEEDS } else { 1 };
    let seed = |offset: u64| own.seed().wrapping_add(offset);
    let simulated = |offset: u64| {
        let here = || own.try_out(fleets, Span::Whole, 1.0, seed(offset));
        let there = || api.try_out(&IndexMap::new(), Span::Whole, 1.0, seed(offset));
        let (here, there) = rayon::join(here, there);
        Ok((here?, there?))
    };
    let each = (0..seeds).into_par_iter().map(simulated).collect::<Result<Vec<_>, PlanError>>()?;
    let (here, there): (Vec<Results>, Vec<Results>) = each.into_iter().unzip();
    let month: Option<Usd> = fleets.values().map(Fleet::month).sum();
    // How often runs arrive is declared; how many of a sample came in its time is chance.
    let per_s = |it: &Results| match own.runs_per_s() {
        Some(per_s) => per_s * it.succeeded as f64 / it.runs.max(1) as f64,
        None => it.succeeded_per_s,
    };
    let month_s = 3600.0 * MONTH_H as f64;
    let served_per_month = mean(&here, per_s) * month_s;
    let arrived_per_month = own.runs_per_s().unwrap_or_else(|| mean(&here, |it| it.throughput_per_s)) * month_s;
    let slo = &own.scenario().spec().slo;
    let (mut fleet_side, mut api_side) = (side(&here, slo), side(&there, slo));
    let costs = |here: &Results, there: &Results| Costs {
        api_run: by_token(there) / there.succeeded.max(1) as f64,
        api_month: by_month(there, &IndexMap::new()),
        fleets: month.map_or(0.0, dollars),
        others: by_month(here, fleets),
        fleet_run: by_token(here) / here.succeeded.max(1) as f64,
        per_arrival: [there, here].map(|it| by_token(it) / it.runs.max(1) as f64),
    };
    let of: Vec<Costs> = here.iter().zip(&there).map(|(here, there)| costs(here, there)).collect();
    let average = |of_one: fn(&Costs) -> f64| of.iter().map(of_one).sum::<f64>() / of.len().max(1) as f64;
    let base = Costs {
        api_run: average(|it| it.api_run),
        api_month: average(|it| it.api_month),
        fleets: average(|it| it.fleets),
        others: average(|it| it.others),
        fleet_run: average(|it| it.fleet_run),
        per_arrival: [average(|it| it.per_arrival[0]), average(|it| it.per_arrival[1])],
    };
    if fleet_side.unpriced.is_empty() && month.is_some() {
        let month = base.fleets + base.others;
        fleet_side.price(month, base.fleet_run, month + base.per_arrival[1] * arrived_per_month);
    }
    if api_side.unpriced.is_empty() {
        api_side.price(base.api_month, base.api_run, base.api_month + base.per_arrival[0] * arrived_per_month);
    }
    let are_known = fleet_side.per_run_usd.is_some() && api_side.per_run_usd.is_some();
    let points: Vec<f64> = of.iter().filter_map(|costs| costs.runs_per_month()).collect();
    // A break-even at some seeds and none at others is none.
    let point = base.runs_per_month().filter(|_| are_known && points.len() == of.len());
    let bound = capacity.filter(|capacity| !capacity.is_at_least).map(|it| it.load_factor * served_per_month);
    let (borne, beyond_capacity) = within(point, bound);
    let runs_per_month = borne.map(|value| Interval { value, half: Interval::of(&points).half });
    let choice = match are_known.then(|| base.is_fleet_cheaper(served_per_month)) {
        _ if !fleet_side.meets_slo && !api_side.meets_slo => None,
        _ if !api_side.meets_slo => Some("fleet"),
        _ if !fleet_side.meets_slo => Some("api"),
        is_cheaper => is_cheaper.map(|is_cheaper| if is_cheaper { "fleet" } else { "api" }),
    };
    Ok(BreakEven {
        api: api_side.deployment.clone(),
        api_per_run_usd: api_side.per_run_usd,
        fleet_month_usd: fleet_side.month_usd,
        fleet_per_run_usd: fleet_side.per_run_usd,
        is_reached: borne.is_some_and(|point| point <= served_per_month),
        runs_per_month,
        beyond_capacity,
        capacity_per_month: capacity.map(|capacity| capacity.load_factor * served_per_month),
        capacity_is_at_least: capacity.is_some_and(|capacity| capacity.is_at_least),
        seeds,
        arrived_per_month,
        served_per_month,
        choice,
        assumptions: if point.is_some() { tornado(base, capacity, bound) } else { Vec::new() },
        fleet_side,
        api_side,
    })
}

impl Side {
    /// Says what it costs, in dollars: machines by the month, a run that succeeds, and all that is paid in a month.
    fn price(&mut self, month: f64, run: f64, at_load: f64) {
        (self.month_usd, self.at_load_usd) = (Some(usd(month)), Some(usd(at_load)));
        // Without a run that succeeds there is no price of one.
        self.per_run_usd = (self.succeeded > 0).then(|| usd(run));
    }
}

/// What the simulations of a deployment with each seed say together.
fn side(seeds: &[Results], slo: &SloSpec) -> Side {
    let incomplete = seeds.iter().flat_map(|it| &it.services).filter(|service| !service.cost_complete);
    let mut unpriced: Vec<String> = incomplete.map(|service| service.service.clone()).collect();
    unpriced.sort_unstable();
    unpriced.dedup();
    // Of seeds of which one is unstable nothing is known.
    let shares: Option<Vec<f64>> = seeds.iter().map(|it| it.good_share).collect();
    let good_share = shares.map(|shares| shares.iter().sum::<f64>() / shares.len().max(1) as f64);
    Side {
        deployment: seeds.first().map(|it| it.deployment.clone()).unwrap_or_default(),
        runs: seeds.iter().map(|it| it.runs).sum(),
        succeeded: seeds.iter().map(|it| it.succeeded).sum(),
        good_share,
        meets_slo: good_share.is_some_and(|share| share >= slo.share.unwrap_or(1.0)),
        month_usd: None,
        per_run_usd: None,
        at_load_usd: None,
        unpriced,
    }
}

fn mean(seeds: &[Results], of: impl Fn(&Results) -> f64) -> f64 {
    seeds.iter().map(of).sum::<f64>() / seeds.len().max(1) as f64
}

/// A point that lies within what can be borne, or one beyond it.
fn within(point: Option<f64>, bound: Option<f64>) -> (Option<f64>, Option<f64>) {
    match point {
        Some(point) if bound.is_some_and(|bound| point > bound) => (None, Some(point)),
        point => (point, None),
    }
}

/// How far prices and use move the break-even of fleets that bear at most `bound` runs per month.
fn tornado(base: Costs, capacity: Option<&Capacity>, bound: Option<f64>) -> Vec<Assumption> {
    // As many times as many machines bear as many times as much.
    let assumed = |what: String, ends: [String; 2], varied: [Costs; 2], machines: [f64; 2]| {
        let end = |index: usize| within(varied[index].runs_per_month(), bound.map(|bound| bound * machines[index]));
        let found = [end(0), end(1)];
        let (runs_per_month, beyond) = (found.map(|(borne, _)| borne), found.map(|(_, beyond)| beyond.is_some()));
        Assumption { what, ends, runs_per_month, beyond_capacity: beyond }
    };
    let change = |what: &str, ends: [&str; 2], varied: [Costs; 2]| {
        assumed(what.to_owned(), ends.map(str::to_owned), varied, [1.0, 1.0])
    };
    let api = |factor: f64| Costs { api_run: base.api_run * factor, ..base };
    let machine = |factor: f64| Costs { fleets: base.fleets * factor, ..base };
    let mut all = vec![
        change("price of the API", ["-30 %", "+30 %"], [api(0.7), api(1.3)]),
        change("price of the machines", ["-30 %", "+30 %"], [machine(0.7), machine(1.3)]),
        change(
            "people who run them, as a share of the machines' price",
            ["0 %", "+50 %"],
            [machine(1.0), machine(1.5)],
        ),
    ];
    if let Some(Capacity { used, is_at_least, .. }) = capacity {
        // Machines that are used less have to be paid for by fewer runs: those for what is planned cost as much more. At most
        // they are used up to the load at which the SLO is only just met.
        let least = if *is_at_least { "at most " } else { "" };
        all.push(assumed(
            format!("use of the load that the fleets bear within the SLO ({least}{:.0} % here)", used * 100.0),
            ["100 %".to_owned(), format!("{:.0} %", used * 50.0)],
            [machine(*used), machine(2.0)],
            [*used, 2.0],
        ));
    }
    let width = |it: &Assumption| match it.runs_per_month {
        [Some(a), Some(b)] => (a - b).abs(),
        _ => f64::INFINITY,
    };
    all.sort_by(|a, b| width(b).total_cmp(&width(a)));
    all
}

/// Dollars that are paid by the token.
fn by_token(results: &Results) -> f64 {
    let services = results.services.iter().filter(|service| service.reserved_usd.is_none());
    dollars(services.filter_map(|service| service.cost_usd).sum())
}

/// Dollars a month for machines that are paid by the hour and are no part of the fleets.
fn by_month(results: &Results, fleets: &IndexMap<String, Fleet>) -> f64 {
    let others = results.services.iter().filter(|service| !fleets.contains_key(&service.service));
    let sum: Usd = others.filter_map(|service| service.reserved_usd).sum();
    dollars(sum) / results.measured_s.max(1e-6) * 3600.0 * MONTH_H as f64
}

fn dollars(usd: Usd) -> f64 {
    usd.nanos() as f64 / 1e9
}

fn usd(dollars: f64) -> Usd {
    Usd::from_nanos((dollars * 1e9).round() as i128)
}
