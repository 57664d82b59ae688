//! The smallest fleet of each kind that meets the SLO, and what the chosen ones do together.

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::spec::{BackendSpec, SimulatedSpec};
use rayon::prelude::*;
use serde::Serialize;

use super::progress::{Nearness, why_not};
use super::{Candidate, Fleet, Laboratory, PlanError, Space, Span};
use crate::results::Results;

/// Doublings that must bring nothing before more replicas are taken not to help.
const IN_VAIN: u32 = 2;

/// Rounds in which fleets that suffice one by one are enlarged until they do together.
const ROUNDS: u32 = 8;

/// A candidate for one backend, and how many replicas of it are needed.
#[derive(Debug, Clone, Serialize)]
pub struct Sized {
    /// The backend.
    pub backend: String,
    /// The fleet; as far as was tried when it does not suffice.
    pub fleet: Fleet,
    /// Whether the SLO is met in the part of the load that is searched, while other backends have more than enough.
    pub meets_slo: bool,
    /// Why not, or why it cannot be.
    pub reason: Option<String>,
    /// What it costs by the month; absent when it does not suffice, or the price is not known.
    pub month_usd: Option<Usd>,
    /// What a million tokens of it cost, prompts and answers together, at the mean of the load that is planned for.
    pub per_million_tokens_usd: Option<Usd>,
    /// Simulations that it took.
    pub tries: u32,
    /// What the simulation of the fleet found.
    pub results: Option<Box<Results>>,
}

/// Sizes every candidate of every backend whose size can be chosen, the others being as they are written; within a backend
/// those that meet the SLO come first, of them those whose price is known, the cheapest first. `told` hears of each.
///
/// # Errors
/// When the scenario asks for nothing, a name is unknown, or nothing can be sized.
pub fn smallest(
    laboratory: &Laboratory<'_>,
    space: &Space,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Sized>, PlanError> {
    if laboratory.scenario().spec().slo.is_empty() {
        return Err(PlanError::NoSlo);
    }
    let space = &space.named()?;
    let deployment = laboratory.bundle().deployment.as_ref().map(|source| &source.parsed.spec);
    let Some(deployment) = deployment else { return Err(PlanError::NothingToSize(String::new())) };
    let simulated: IndexMap<String, &SimulatedSpec> = deployment
        .backends
        .iter()
        .filter_map(|(name, spec)| match spec {
            BackendSpec::Simulated(spec) => Some((name.clone(), &**spec)),
            _ => None,
        })
        .collect();
    if let Some(name) = space.unused_prices(&simulated).first() {
        return Err(PlanError::Unknown {
            message: format!("--device-hour {name}: nothing that is tried is made of it"),
            hint: Some(format!("add --hardware {name}, or leave the price out")),
        });
    }
    // While one is sized the others must not stand in its way: they have as many replicas as are allowed.
    let generous: IndexMap<String, Fleet> =
        simulated.iter().filter_map(|(name, spec)| Some((name.clone(), space.generous(spec)?))).collect();
    let used = match laboratory.used(&generous) {
        Ok(used) => used,
        Err(error) => return Err(nothing_fits(&simulated, &generous, space, error)),
    };
    let mut all = Vec::new();
    for (name, spec) in simulated.iter().filter(|(name, _)| used.contains(*name)) {
        let mut sized = space
            .candidates(spec)
            .into_par_iter()
            .map(|candidate| {
                told(&format!("{name}: {}", candidate.words()));
                size(laboratory, space, (name, spec), candidate, &generous)
            })
            .collect::<Result<Vec<Sized>, PlanError>>()?;
        sized.sort_by(|a, b| {
            let key = |it: &Sized| (!it.meets_slo, it.month_usd.is_none(), it.month_usd, it.fleet.devices());
            key(a).cmp(&key(b))
        });
        all.extend(sized);
    }
    if all.is_empty() { Err(PlanError::NothingToSize(deployment.name.clone())) } else { Ok(all) }
}

/// The backend for which nothing can be, if that is why a scenario cannot be compiled.
fn nothing_fits(
    simulated: &IndexMap<String, &SimulatedSpec>,
    generous: &IndexMap<String, Fleet>,
    space: &Space,
    error: PlanError,
) -> PlanError {
    let PlanError::Problems(problems) = &error else { return error };
    // A backend that nothing uses is in nobody's way, and in no problem.
    let told = |name: &str| problems.iter().any(|problem| problem.message.contains(&format!("`{name}`")));
    match simulated.iter().find(|(name, _)| !generous.contains_key(*name) && told(name)) {
        Some((backend, spec)) => {
            let mut reasons: Vec<String> = Vec::new();
            for reason in space.candidates(spec).iter().filter_map(|it| it.check(spec).err()) {
                if !reasons.contains(&reason.message) {
                    reasons.push(reason.message);
                }
            }
            PlanError::NothingFits { backend: backend.clone(), reasons }
        }
        None => error,
    }
}

/// How a fleet does whose replicas were doubled until they sufficed.
enum Found {
    Enough(Results),
    TooFew { results: Results, is_in_vain: bool },
}

fn size(
    laboratory: &Laboratory<'_>,
    space: &Space,
    (name, spec): (&str, &SimulatedSpec),
    candidate: Candidate,
    generous: &IndexMap<String, Fleet>,
) -> Result<Sized, PlanError> {
    let replica_hour = space.hour(spec, &candidate);
    let fit = candidate.check(spec);
    let fleet = |replicas: u32| Fleet { candidate: candidate.clone(), replicas, replica_hour };
    let missed = |fleet: Fleet, reason: String, tries: u32, results: Option<Results>| Sized {
        backend: name.to_owned(),
        fleet,
        meets_slo: false,
        reason: Some(reason),
        month_usd: None,
        per_million_tokens_usd: None,
        tries,
        results: results.map(Box::new),
    };
    if let Err(unfit) = fit {
        return Ok(missed(fleet(0), unfit.message, 0, None));
    }
    let mut tries = 0;
    let mut attempt = |replicas: u32| {
        tries += 1;
        let mut fleets = generous.clone();
        fleets.insert(name.to_owned(), fleet(replicas));
        laboratory.try_out(&fleets, Span::Searched, 1.0, laboratory.seed())
    };
    let good = |results: &Results| results.meets_slo == Some(true);
    // Doubled until it is enough, then halved between the last that was not and the first that was.
    let (mut low, mut high) = (0, 1);
    let slo = &laboratory.scenario().spec().slo;
    let mut before: Option<Nearness> = None;
    let mut in_vain = 0;
    let found = loop {
        let results = attempt(high)?;
        if good(&results) {
            break Found::Enough(results);
        }
        let nearness = Nearness::of(&results, slo, name);
        let is_nearer = before.is_none_or(|before| nearness.is_nearer(&before));
        in_vain = if is_nearer { 0 } else { in_vain + 1 };
        before = Some(nearness);
        if high >= space.most_replicas || in_vain >= IN_VAIN {
            break Found::TooFew { results, is_in_vain: in_vain >= IN_VAIN };
        }
        low = high;
        high = (high * 2).min(space.most_replicas);
    };
    let mut results = match found {
        Found::Enough(results) => results,
        Found::TooFew { results, is_in_vain } => {
            let more = if is_in_vain { ", and more of them don't help" } else { ", the most that are tried" };
            let reason = why_not(&results, slo, high, more);
            return Ok(missed(fleet(high), reason, tries, Some(results)));
        }
    };
    while high - low > 1 {
        let middle = u32::midpoint(low, high);
        let tried = attempt(middle)?;
        if good(&tried) {
            (high, results) = (middle, tried);
        } else {
            low = middle;
        }
    }
    let fleet = fleet(high);
    Ok(Sized {
        backend: name.to_owned(),
        meets_slo: true,
        reason: None,
        month_usd: fleet.month(),
        per_million_tokens_usd: per_million_tokens(&results, &fleet, name, laboratory.runs_per_s()),
        fleet,
        tries,
        results: Some(Box::new(results)),
    })
}

/// What a million tokens of a fleet cost where so many runs arrive per second on average, of which those that were simulated
/// are examples: whether they came at a busy time or not makes no token cheaper.
fn per_million_tokens(results: &Results, fleet: &Fleet, name: &str, runs_per_s: Option<f64>) -> Option<Usd> {
    let nodes = results.nodes.iter().filter(|node| node.service.as_deref() == Some(name));
    let tokens: u64 = nodes.map(|node| node.input_tokens + node.output_tokens).sum();
    let tokens_per_run = tokens as f64 / results.runs.max(1) as f64;
    let per_s = runs_per_s.unwrap_or(results.throughput_per_s);
    let hour = fleet.replica_hour?.scaled(u64::from(fleet.replicas), 1)?;
    let nanos = hour.nanos() as f64 * 1e6 / (tokens_per_run * per_s * 3600.0);
    (tokens > 0 && nanos.is_finite()).then(|| Usd::from_nanos(nanos.round() as i128))
}

/// The cheapest fleet that suffices for each backend; one without a price only where none that suffices has one.
pub fn chosen(sized: &[Sized]) -> IndexMap<String, Fleet> {
    let mut chosen = IndexMap::new();
    for found in sized.iter().filter(|found| found.meets_slo) {
        chosen.entry(found.backend.clone()).or_insert_with(|| found.fleet.clone());
    }
    chosen
}

/// The chosen fleets together, over all that is planned for.
#[derive(Debug, Clone, Serialize)]
pub struct Together {
    /// The fleets; enlarged where those that suffice one by one did not together.
    pub fleets: IndexMap<String, Fleet>,
    /// Replicas by which they were enlarged.
    pub added: u32,
    /// What they do.
    pub results: Box<Results>,
}

/// Simulates fleets together over all that is planned for, and enlarges them one replica at a time, where it helps most, while
/// they miss the SLO.
///
/// # Errors
/// A simulation that cannot be.
pub fn together(
    laboratory: &Laboratory<'_>,
    mut fleets: IndexMap<String, Fleet>,
    most_replicas: u32,
) -> Result<Together, PlanError> {
    let try_out = |fleets: &IndexMap<String, Fleet>| laboratory.try_out(fleets, Span::Whole, 1.0, laboratory.seed());
    let mut results = try_out(&fleets)?;
    let mut added = 0;
    while results.meets_slo != Some(true) && added < ROUNDS {
        let larger = |name: &String| {
            let mut larger = fleets.clone();
            if let Some(fleet) = larger.get_mut(name) {
                fleet.replicas += 1;
            }
            let results = try_out(&larger)?;
            Ok((larger, results))
        };
        let names = fleets.iter().filter(|(_, fleet)| fleet.replicas < most_replicas).map(|(name, _)| name);
        let tried = names.collect::<Vec<_>>().into_par_iter().map(larger).collect::<Result<Vec<_>, PlanError>>()?;
        let slo = &laboratory.scenario().spec().slo;
        let rank = |results: &Results| (results.meets_slo == Some(true), Nearness::of(results, slo, "").rank());
        let best = tried
            .into_iter()
            .max_by(|(_, a), (_, b)| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal));
        match best {
            Some((larger, found)) if rank(&found) > rank(&results) => {
                (fleets, results) = (larger, found);
                added += 1;
            }
            _ => break,
        }
    }
    Ok(Together { fleets, added, results: Box::new(results) })
}
