//! `lumos plan`: the smallest fleet that meets a scenario's SLO, what it costs, and where it breaks even with an API.

mod tables;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use indicatif::ProgressBar;
use lumos::Home;
use lumos::core::load::{Bundle, Scenario};
use lumos::core::spec::BackendSpec;
use lumos::sim::Options;
use lumos::sim::model::Sources;
use lumos::sim::plan::{BreakEven, Fleet, Laboratory, PlanError, Sized, Space, break_even, smallest};
use serde_json::json;

use super::arguments::Format;
use super::failure::Failure;
use super::learned::Opened;
use super::output;
use super::simulate::arguments::Plan;

pub fn run(arguments: &Plan, home: &Home, seed: u64) -> Result<u8, Failure> {
    let from = arguments.profile_from.as_deref();
    let Opened { scenario, warnings, .. } =
        super::learned::open(&arguments.scenario, &arguments.deployment, from, home)?;
    super::failure::warn(&warnings);
    let space = Space {
        hardware: arguments.hardware.clone(),
        tensor_parallel: arguments.tensor_parallel.clone(),
        quantization: arguments.quantization.clone(),
        max_seqs: arguments.max_seqs.clone(),
        most_replicas: arguments.most_replicas,
        device_hour: arguments.device_hour.iter().cloned().collect::<BTreeMap<_, _>>(),
    };
    let options = Options { seed, load_factor: arguments.load_factor, runs: arguments.runs, stepwise: false };
    let (own, bought): (Vec<&Bundle>, Vec<&Bundle>) = scenario.bundles.iter().partition(|bundle| has_machines(bundle));
    let Some(own) = own.first().copied() else {
        let named: Vec<String> = scenario.bundles.iter().map(name).collect();
        return Err(failure(&scenario, PlanError::NothingToSize(named.join(", "))));
    };
    let bar = if output::shows_progress() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let told = |what: &str| {
        bar.set_message(what.to_owned());
        bar.tick();
    };
    let files = |name: &str| scenario.read(name);
    let prices = lumos::scenario_prices(own, home)?;
    let laboratory = Laboratory::new(&scenario, own, Sources { prices: &prices, files: &files }, options);
    let sized = smallest(&laboratory, &space, &told).map_err(|error| failure(&scenario, error))?;
    let chosen = chosen(&sized);
    let together = laboratory.try_out(&chosen, 1.0, seed).map_err(|error| failure(&scenario, error))?;
    let mut compared: Vec<BreakEven> = Vec::new();
    for api in &bought {
        told(&format!("break-even with {}", name(api)));
        let prices = lumos::scenario_prices(api, home)?;
        let other = Laboratory::new(&scenario, api, Sources { prices: &prices, files: &files }, options);
        compared.extend(break_even(&laboratory, &chosen, &other).map_err(|error| failure(&scenario, error))?);
    }
    bar.finish_and_clear();
    match arguments.format {
        Format::Json => output::json(&json!({
            "scenario": scenario.spec().name,
            "deployment": name(own),
            "basis": "simulated",
            "candidates": sized,
            "chosen": chosen,
            "together": together,
            "break_even": compared,
        }))?,
        Format::Human => output::styled(&tables::text(&name(own), &sized, &chosen, &together, &compared))?,
    }
    Ok(0)
}

/// The cheapest fleet that suffices for each backend.
fn chosen(sized: &[Sized]) -> IndexMap<String, Fleet> {
    let mut chosen = IndexMap::new();
    for found in sized.iter().filter(|found| found.meets_slo) {
        chosen.entry(found.backend.clone()).or_insert_with(|| found.fleet.clone());
    }
    chosen
}

fn has_machines(bundle: &Bundle) -> bool {
    let backends = bundle.deployment.iter().flat_map(|source| source.parsed.spec.backends.values());
    backends.into_iter().any(|backend| matches!(backend, BackendSpec::Simulated(_)))
}

fn name(bundle: &Bundle) -> String {
    bundle.deployment.as_ref().map(|source| source.parsed.spec.name.clone()).unwrap_or_default()
}

fn failure(scenario: &Scenario, error: PlanError) -> Failure {
    let file = &scenario.parsed.file;
    match error {
        PlanError::Problems(problems) => Failure::Invalid(problems),
        PlanError::NoSlo => {
            Failure::invalid(file, error.to_string(), Some("slo: (run_s: 5, ttft_s: 1, share: 0.95)".to_owned()))
        }
        PlanError::NothingToSize(_) => {
            let hint = "backends: { \"name\": Simulated(model: \"…\", hardware: \"…\") }".to_owned();
            Failure::invalid(file, error.to_string(), Some(hint))
        }
        PlanError::Simulation(error) => Failure::of_simulation(&error, scenario),
    }
}
