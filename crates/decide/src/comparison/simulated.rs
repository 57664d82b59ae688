//! Sides of a comparison from simulations: one for each seed, the same arrivals for every deployment.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::{Basis, Usd};
use lumos_sim::results::{NodeResult, Percentiles, Results, Verdict};

use super::{Comparison, Difference, Side, Source};
use crate::statistics::{Estimate, student_interval};
use crate::summary::{Amount, Figure, Summary, Times};

/// A figure of one simulation.
type Of<'a> = &'a dyn Fn(&Results) -> Option<f64>;

/// A figure and its name.
type Named = (&'static str, fn(&Results) -> Option<f64>);

/// The figures whose differences are told.
const FIGURES: &[Named] = &[
    ("cost_usd", |it| it.cost_per_run_usd.filter(|_| it.cost_complete && !is_unstable(it)).map(nanos)),
    ("reserved_cost_usd", |it| {
        it.reserved_cost_per_run_usd.filter(|_| it.cost_complete && !is_unstable(it)).map(nanos)
    }),
    ("failures", |it| (it.runs > 0 && !is_unstable(it)).then(|| (it.runs - it.succeeded) as f64 / it.runs as f64)),
    ("input_tokens", |it| per_run(it, |node| node.input_tokens)),
    ("output_tokens", |it| per_run(it, |node| node.output_tokens)),
    ("latency_s.p50", |it| it.latency_s.map(|times| times.p50)),
    ("latency_s.p95", |it| it.latency_s.map(|times| times.p95)),
    ("latency_s.p99", |it| it.latency_s.map(|times| times.p99)),
    ("ttft_s.p50", |it| first(it).map(|times| times.p50)),
    ("ttft_s.p95", |it| first(it).map(|times| times.p95)),
];

/// Whether a queue grows without bound: whatever ended meanwhile says nothing of what is to come.
fn is_unstable(results: &Results) -> bool {
    matches!(results.verdict, Verdict::Unstable { .. })
}

fn nanos(usd: Usd) -> f64 {
    usd.nanos() as f64
}

fn per_run(results: &Results, of: fn(&NodeResult) -> u64) -> Option<f64> {
    let runs = results.runs;
    (runs > 0 && !is_unstable(results)).then(|| results.nodes.iter().map(of).sum::<u64>() as f64 / runs as f64)
}

/// Times to the first token at the last node that a model answers.
fn first(results: &Results) -> Option<Percentiles> {
    if is_unstable(results) {
        return None;
    }
    results.nodes.iter().rev().find_map(|node| node.ttft_s)
}

/// Compares deployments, each simulated with the same seeds, in the same order. A comparison of one seed has no intervals.
pub fn simulated(workflow: &str, scenario: String, seed: u64, deployments: Vec<Vec<Results>>) -> Comparison {
    let differences = match deployments.split_first() {
        Some((first, others)) => others.iter().flat_map(|other| between(first, other)).collect(),
        None => Vec::new(),
    };
    let sides = deployments.iter().map(|seeds| side(seeds)).collect();
    Comparison::new((workflow, Source::Simulated, Some(scenario)), seed, sides, differences)
}

fn name(seeds: &[Results]) -> &str {
    seeds.first().map_or("", |results| results.deployment.as_str())
}

fn between(a: &[Results], b: &[Results]) -> Vec<Difference> {
    let seeds = a.len().min(b.len()) as u64;
    let of = |(figure, of): &Named| {
        let pairs: Option<Vec<(f64, f64)>> = a.iter().zip(b).map(|(a, b)| of(a).zip(of(b))).collect();
        let absolute =
            pairs.as_ref().and_then(|pairs| student_interval(&pairs.iter().map(|(a, b)| b - a).collect::<Vec<_>>()));
        let shares: Option<Vec<f64>> = pairs
            .filter(|pairs| pairs.iter().all(|(a, _)| *a > 0.0))
            .map(|pairs| pairs.iter().map(|(a, b)| b / a - 1.0).collect());
        let relative = shares.as_deref().and_then(student_interval);
        Difference::of((name(b), name(a)), figure, (absolute, relative), (true, seeds))
    };
    FIGURES.iter().map(of).collect()
}

fn side(seeds: &[Results]) -> Side {
    let runs: u64 = seeds.iter().map(|results| results.runs).sum();
    let estimate = |of: Of<'_>| -> Option<Estimate> {
        // One seed in which it is not known makes it unknown.
        let values: Option<Vec<f64>> = seeds.iter().map(of).collect();
        values.as_deref().and_then(student_interval)
    };
    let figure = |of: Of<'_>| Figure::of(estimate(of), runs, Basis::Simulated);
    let times = |of: &dyn Fn(&Results) -> Option<Percentiles>| {
        let part = |part: fn(&Percentiles) -> f64| figure(&|results: &Results| of(results).as_ref().map(part));
        seeds.iter().all(|results| of(results).is_some()).then(|| Times {
            mean: part(|it| it.mean.value),
            p50: part(|it| it.p50),
            p95: part(|it| it.p95),
            p99: part(|it| it.p99),
        })
    };
    let unstable = seeds.iter().any(is_unstable);
    let amount = |of: Of<'_>| {
        let least = || Usd::from_nanos(0);
        match estimate(of) {
            Some(it) => Amount::of(Usd::from_nanos(it.value.round() as i128), Some(it), Basis::Simulated),
            // What a backend without a price costs comes on top of what the others cost.
            None if unstable => Amount::UNKNOWN,
            None => Amount { at_least: known(seeds).filter(|usd| *usd > least()), ..Amount::UNKNOWN },
        }
    };
    let count = |of: fn(&Results) -> u64| seeds.iter().map(of).sum::<u64>();
    let statuses: BTreeMap<&'static str, u64> = [
        ("succeeded", count(|it| it.succeeded)),
        ("failed", count(|it| it.failed)),
        ("refused", count(|it| it.refused)),
        ("limited", count(|it| it.limited)),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect();
    let of = |wanted: &str| {
        FIGURES.iter().find(|(name, _)| *name == wanted).map_or(none as fn(&Results) -> _, |(_, of)| *of)
    };
    let cost = amount(&of("cost_usd"));
    let total: Usd = seeds.iter().filter_map(|results| results.cost_usd).sum();
    let is_complete = seeds.iter().all(|results| results.cost_complete);
    let total_cost_usd = if unstable {
        Amount::UNKNOWN
    } else if is_complete {
        Amount::of(total, None, Basis::Simulated)
    } else {
        Amount { at_least: Some(total).filter(|total| *total > Usd::ZERO), ..Amount::UNKNOWN }
    };
    let mut assumptions: Vec<String> = Vec::new();
    if unstable {
        assumptions.push(format!("{} is unstable under this load: a queue grows without bound", name(seeds)));
    }
    for assumption in seeds.iter().flat_map(|results| &results.assumptions) {
        if !assumptions.contains(assumption) {
            assumptions.push(assumption.clone());
        }
    }
    let summary = Summary {
        runs,
        statuses,
        quality: None,
        scores: IndexMap::new(),
        failures: figure(&of("failures")),
        latency_s: times(&|results| results.latency_s),
        ttft_s: times(&first),
        cost_usd: cost,
        cost_per_1000_usd: cost.times(1_000),
        total_cost_usd,
        reserved_cost_usd: Some(amount(&of("reserved_cost_usd"))),
        saved_usd: None,
        input_tokens: figure(&of("input_tokens")),
        output_tokens: figure(&of("output_tokens")),
        // Prompts are lengths in a simulation: what of them leaves is not known.
        bytes_outside: Figure { n: runs, ..Figure::UNKNOWN },
        total_bytes_outside: None,
        judging: None,
    };
    Side { deployment: name(seeds).to_owned(), summary, outcomes: Vec::new(), assumptions }
}

fn none(_: &Results) -> Option<f64> {
    None
}

/// What is known of the cost of a run.
fn known(seeds: &[Results]) -> Option<Usd> {
    let costs: Option<Vec<Usd>> = seeds.iter().map(|results| results.cost_per_run_usd).collect();
    let costs = costs?;
    let count = costs.len() as u64;
    costs.into_iter().sum::<Usd>().scaled(1, count)
}
