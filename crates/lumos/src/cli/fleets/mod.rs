//! `lumos plan`: the smallest fleet that meets a scenario's SLO, what it costs, and where it breaks even with an API.

mod breakeven;
mod tables;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use indicatif::ProgressBar;
use lumos::Home;
use lumos::core::load::{Bundle, Scenario};
use lumos::core::spec::BackendSpec;
use lumos::core::{Problem, Severity};
use lumos::sim::Options;
use lumos::sim::arrivals::clients_told;
use lumos::sim::model::Sources;
use lumos::sim::plan::{
    BreakEven, Capacity, Coverage, Laboratory, PlanError, Sized, Space, Together, break_even, capacity, chosen,
    smallest, together,
};
use lumos_report::{Tornado, tornado_svg};
use serde_json::json;

use super::arguments::Format;
use super::failure::{COMMAND_LINE, FAILED, Failure};
use super::file::to_file;
use super::learned::Described;
use super::output;
use super::simulate::arguments::Plan;

/// What was found.
struct Found {
    deployment: String,
    coverage: Coverage,
    sized: Vec<Sized>,
    /// The chosen fleets; absent when nothing suffices for some backend.
    together: Option<Together>,
    capacity: Option<Capacity>,
    compared: Vec<BreakEven>,
}

impl Found {
    /// Whether there are fleets that meet the SLO over all that was planned for.
    fn meets_slo(&self) -> bool {
        self.together.as_ref().is_some_and(|together| together.results.meets_slo == Some(true))
    }

    /// Backends for which nothing suffices.
    fn missing(&self) -> Vec<&str> {
        let mut missing: Vec<&str> = Vec::new();
        for name in self.sized.iter().map(|found| found.backend.as_str()) {
            let suffices = self.sized.iter().any(|found| found.backend == name && found.meets_slo);
            if !suffices && !missing.contains(&name) {
                missing.push(name);
            }
        }
        missing
    }
}

pub fn run(arguments: &Plan, home: &Home, seed: u64) -> Result<u8, Failure> {
    let from = arguments.profile_from.as_deref();
    let Described { scenario, warnings, .. } =
        super::learned::describe(&arguments.scenario, &arguments.deployment, from, home)?;
    super::failure::warn(&warnings);
    let told = scenario.spec().workload.arrivals.as_ref().and_then(|it| clients_told(it, arguments.load_factor));
    let of_clients = |text| Problem::of_file(COMMAND_LINE, format!("--load-factor: {text}"), None);
    let told = told.map(|text| Problem { severity: Severity::Warning, ..of_clients(text) });
    super::failure::warn(told.as_slice());
    let options = Options { seed, load_factor: arguments.load_factor, runs: arguments.runs, stepwise: false };
    let (own, bought) = sides(&scenario)?;
    let bar = if output::shows_progress() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let told = |what: &str| {
        bar.set_message(what.to_owned());
        bar.tick();
    };
    let files = |name: &str| scenario.read(name);
    let failed = |error: PlanError| failure(&scenario, error);
    let prices = lumos::scenario_prices(own, home)?;
    let laboratory = Laboratory::new(&scenario, own, Sources { prices: &prices, files: &files }, options);
    let sized = smallest(&laboratory, &space(arguments)?, &told).map_err(failed)?;
    let mut found = Found {
        deployment: name(own),
        coverage: laboratory.coverage().clone(),
        sized,
        together: None,
        capacity: None,
        compared: Vec::new(),
    };
    if found.missing().is_empty() {
        told("all together");
        let together = together(&laboratory, chosen(&found.sized), arguments.most_replicas).map_err(failed)?;
        told("goodput");
        found.capacity = capacity(&laboratory, &together.fleets).map_err(failed)?;
        for api in &bought {
            told(&format!("break-even with {}", name(api)));
            let prices = lumos::scenario_prices(api, home)?;
            let other = Laboratory::new(&scenario, api, Sources { prices: &prices, files: &files }, options);
            let compared = break_even(&laboratory, &together.fleets, &other, found.capacity.as_ref());
            found.compared.push(compared.map_err(failed)?);
        }
        found.together = Some(together);
    }
    bar.finish_and_clear();
    if let Some(path) = &arguments.plot {
        plot(path, &found)?;
    }
    match arguments.format {
        Format::Json => output::json(&json!({
            "scenario": scenario.spec().name,
            "deployment": found.deployment,
            "basis": "simulated",
            "meets_slo": found.meets_slo(),
            "insufficient": found.missing(),
            "coverage": found.coverage,
            "candidates": found.sized,
            "chosen": found.together.as_ref().map(|together| &together.fleets),
            "together": found.together.as_ref().map(|together| &together.results),
            "goodput": found.capacity,
            "break_even": found.compared,
        }))?,
        Format::Human => output::styled(&tables::text(&found))?,
    }
    Ok(if found.meets_slo() { 0 } else { FAILED })
}

/// Draws what break-evens depend on.
fn plot(path: &Path, found: &Found) -> Result<(), Failure> {
    let charts: Vec<Tornado> = found.compared.iter().filter_map(breakeven::chart).collect();
    if charts.is_empty() {
        let why = Problem::of_file(COMMAND_LINE, "--plot: there is no break-even to draw".to_owned(), None);
        super::failure::warn(&[Problem { severity: Severity::Warning, ..why }]);
        return Ok(());
    }
    to_file(path, |mut file| {
        let written = file.write_all(tornado_svg(&charts).as_bytes());
        written.map_err(|error| Failure::failed(format!("cannot write to {}: {error}", path.display())))
    })
}

fn space(arguments: &Plan) -> Result<Space, Failure> {
    let mut device_hour = BTreeMap::new();
    for (name, usd) in &arguments.device_hour {
        if device_hour.insert(name.clone(), *usd).is_some() {
            let message = format!("--device-hour {name}: two prices are given");
            return Err(Failure::invalid(COMMAND_LINE, message, Some("give one of them".to_owned())));
        }
    }
    Ok(Space {
        hardware: arguments.hardware.clone(),
        tensor_parallel: arguments.tensor_parallel.clone(),
        quantization: arguments.quantization.clone(),
        max_seqs: arguments.max_seqs.clone(),
        most_replicas: arguments.most_replicas,
        device_hour,
    })
}

/// The deployment that is sized, and those that it is compared with.
fn sides(scenario: &Scenario) -> Result<(&Bundle, Vec<&Bundle>), Failure> {
    let (own, bought): (Vec<&Bundle>, Vec<&Bundle>) = scenario.bundles.iter().partition(|bundle| has_machines(bundle));
    match own.as_slice() {
        [own] => Ok((own, bought)),
        [] => {
            let named: Vec<String> = scenario.bundles.iter().map(name).collect();
            Err(failure(scenario, PlanError::NothingToSize(named.join(", "))))
        }
        several => {
            let names: Vec<String> = several.iter().map(|bundle| format!("`{}`", name(bundle))).collect();
            let message = format!("one deployment is sized at a time, and {} have machines to size", names.join(", "));
            Err(Failure::invalid(COMMAND_LINE, message, Some("-d DEPLOYMENT names those that are meant".to_owned())))
        }
    }
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
    let message = error.to_string();
    match error {
        PlanError::Problems(problems) => Failure::Invalid(problems),
        PlanError::NoSlo => Failure::invalid(file, message, Some("slo: (run_s: 5, ttft_s: 1, share: 0.95)".to_owned())),
        PlanError::NothingToSize(_) => {
            let hint = "backends: { \"name\": Simulated(model: \"…\", hardware: \"…\") }".to_owned();
            Failure::invalid(file, message, Some(hint))
        }
        PlanError::Unknown { hint, .. } => Failure::invalid(COMMAND_LINE, message, hint),
        PlanError::NothingFits { .. } => {
            let hint = "--hardware, --tensor-parallel and --quantization say what else may be tried".to_owned();
            Failure::invalid(COMMAND_LINE, message, Some(hint))
        }
        PlanError::Simulation(error) => Failure::of_simulation(&error, scenario),
    }
}
