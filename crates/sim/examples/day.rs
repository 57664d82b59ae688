//! How long a scenario takes to simulate: `day SCENARIO [RUNS [LOAD_FACTOR]]`. Prices are flat ones, so that costs are
//! accounted for as with any others.
//!
//! Prints CSV: runs, load factor, processor seconds, microseconds per run, the most memory that was resident in MB, replica
//! iterations, mean seconds per run and dollars per run.

#[path = "shared/processor.rs"]
mod processor;

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::load::Scenario;
use lumos_core::price::{Price, Rates, TokenPrice};
use lumos_core::spec::{BackendSpec, Cost};
use lumos_sim::model::{Model, Sources};
use lumos_sim::results::summarize;
use lumos_sim::{Options, simulate};
use processor::processor_seconds;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "scenarios/support_day.ron".to_owned());
    let runs = arguments.next().and_then(|runs| runs.parse().ok());
    let load_factor = arguments.next().and_then(|factor| factor.parse().ok()).unwrap_or(1.0);
    let (scenario, _) = Scenario::open(path.as_ref(), &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let bundle = &scenario.bundles[0];
    let backends = bundle.deployment.iter().flat_map(|source| &source.parsed.spec.backends);
    let prices: IndexMap<String, Price> = backends.map(|(name, spec)| (name.clone(), price(spec))).collect();
    let files = |name: &str| std::fs::read_to_string(scenario.folder.join(name));
    let model = Model::new(&scenario, bundle, &Sources { prices: &prices, files: &files })
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    let start = processor_seconds();
    let options = Options { runs, load_factor, ..Options::default() };
    let measures = simulate(&model, options).expect("replicas that can be");
    let seconds = processor_seconds() - start;
    let results = summarize(&model, &measures, load_factor, &[0]);
    let iterations: u64 = results.services.iter().filter_map(|it| it.replicas).map(|it| it.iterations).sum();
    println!("runs,load_factor,processor_s,us_per_run,peak_mb,iterations,mean_s,cost_per_run_usd");
    println!(
        "{},{load_factor},{seconds:.2},{:.2},{},{iterations},{},{}",
        measures.ended,
        seconds * 1e6 / measures.ended.max(1) as f64,
        peak_mb(),
        results.latency_s.map_or("unstable".to_owned(), |it| format!("{:.4}", it.mean.value)),
        results.cost_per_run_usd.map_or_else(String::new, |usd| usd.to_string()),
    );
}

fn price(spec: &BackendSpec) -> Price {
    match spec.cost() {
        Some(Cost::PerHour { usd }) => Price::PerHour(*usd),
        _ => Price::Tokens(Box::new(TokenPrice::flat(Rates {
            input: Usd::from_nanos(150_000_000),
            output: Some(Usd::from_nanos(600_000_000)),
            ..Rates::default()
        }))),
    }
}

/// The most memory that was resident.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1000
}
