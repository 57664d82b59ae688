//! `lumos load`: a scenario's runs for real, and beside them what was predicted.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use lumos::Home;
use lumos::core::load::Scenario;
use lumos::decide::compare::{Compared, compare};
use lumos::decide::load::{LoadOptions, LoadPlan, LoadedRun, drive, measured};
use lumos::sim::results::{Results, Series, summarize};
use lumos::sim::{Options, simulate};
use lumos_report::{Column, Role, Table, figure};
use serde_json::json;

use super::arguments::Format;
use super::failure::{self, Failure, INTERRUPTED};
use super::output;
use super::recheck::{Rechecks, Unchecked};
use super::session::Session;
use super::simulate::arguments::Load;
use super::simulate::tables;

pub fn run(arguments: &Load, home: Home, seed: u64) -> Result<u8, Failure> {
    let deployments: Vec<_> = arguments.deployment.iter().cloned().collect();
    let (scenario, mut warnings) = Scenario::open(&arguments.scenario, &deployments).map_err(Failure::Invalid)?;
    // Whether it is known how fast a backend is matters to its simulation only.
    warnings.retain(|warning| arguments.against.is_some() || warning.field.as_deref() != Some("services"));
    failure::warn(&warnings);
    let [bundle] = scenario.bundles.as_slice() else {
        let message = format!("the scenario has {} deployments, and a load needs one", scenario.bundles.len());
        let hint = Some("name it with -d".to_owned());
        return Err(Failure::invalid(&scenario.parsed.file, message, hint));
    };
    let options =
        LoadOptions { seed, load_factor: arguments.factor, runs: arguments.runs, duration_s: arguments.duration };
    let file = |name: &str| scenario.read(name);
    let plan = LoadPlan::new(&scenario, options, &file).map_err(Failure::Invalid)?;
    // Before the load, because what is wrong with the prediction is better known now.
    let model = match arguments.against {
        Some(_) => lumos::scenario_to_replay(&scenario, &home)?,
        None => None,
    };
    let workload = &scenario.spec().workload;
    let (loaded, found, rechecked, unchecked) = Session::quiet(home, |session| {
        let program = session.ready(bundle)?;
        let live = Live::new(&plan);
        let told = |run: &LoadedRun| live.take(run);
        let mut rechecked = match arguments.recheck {
            Some(requests) => Rechecks::new(&scenario, &program, requests)?,
            None => Rechecks::default(),
        };
        rechecked.ask(session).map_err(Unchecked::failure)?;
        let loaded = session.finish(drive(session.lumos.engine(), &program, plan, &session.cancel, &told));
        live.bar.finish_and_clear();
        let unchecked = if loaded.is_partial { None } else { rechecked.ask(session).err() };
        let of = (options, workload, &scenario.spec().slo);
        let found = measured(&scenario.spec().name, &program, &loaded, of);
        Ok((loaded, found, rechecked, unchecked))
    })?;
    if let Some(lost) = &loaded.lost {
        output::log(&output::warning(&format!("not all runs were kept: {lost}"), None));
    }
    if let Some(unchecked) = &unchecked {
        output::log(&output::warning(
            &format!("the backends were not all checked again after the load: {unchecked}"),
            None,
        ));
    }
    if loaded.runs.is_empty() {
        return Err(if loaded.is_partial { Failure::Interrupted } else { Failure::failed("no run arrived") });
    }
    let simulated = match model {
        Some(model) => {
            let model = rechecked.slow(model).replaying(loaded.runs.iter().map(|run| &run.record));
            let runs = loaded.runs.iter().map(|run| run.number + 1).max();
            let options = Options { seed, load_factor: arguments.factor, runs, ..Options::default() };
            let measures = simulate(&model, options).map_err(|error| Failure::of_simulation(&error, &scenario))?;
            Some(summarize(&model, &measures, arguments.factor, &[seed]))
        }
        None => None,
    };
    print(arguments.format, found, simulated, &rechecked, unchecked.as_ref())?;
    let is_interrupted = loaded.is_partial || unchecked.is_some_and(|unchecked| unchecked.is_interrupted());
    Ok(if is_interrupted { INTERRUPTED } else { 0 })
}

fn print(
    format: Format,
    measured: Results,
    simulated: Option<Results>,
    rechecked: &Rechecks,
    unchecked: Option<&Unchecked>,
) -> Result<(), Failure> {
    let errors = simulated.as_ref().map(|simulated| compare(&measured, simulated));
    let results: Vec<Results> = std::iter::once(measured).chain(simulated).collect();
    if format == Format::Json {
        let scenario = &results[0].scenario;
        return output::json(&json!({
            "scenario": scenario,
            "results": results,
            "errors": errors,
            "rechecked": rechecked.document(),
            "unchecked": unchecked.map(ToString::to_string),
        }));
    }
    let mut text = String::new();
    for result in &results {
        text.push_str(&tables::text(std::slice::from_ref(result)));
    }
    text.push_str(&rechecked.text());
    if let Some(errors) = errors {
        text.push_str(&output::lines(&side_by_side(&errors).lines()));
    }
    output::styled(&text)
}

fn side_by_side(errors: &[Compared]) -> Table {
    let mut table = Table::new(vec![
        Column::left("node"),
        Column::left("figure"),
        Column::right("measured"),
        Column::right("simulated"),
        Column::right("error"),
    ]);
    for compared in errors {
        let unit = compared.figure.split('.').next().unwrap_or_default();
        let shown = |value: f64| match unit {
            unit if unit.ends_with("_ms") => format!("{value:.1} ms"),
            unit if unit.ends_with("per_s") => format!("{value:.3} /s"),
            unit if unit.ends_with("_s") => tables::seconds(value),
            _ => format!("{value:.2}"),
        };
        table.row(
            Role::Row,
            vec![
                compared.node.clone().unwrap_or_else(|| "all".to_owned()),
                compared.figure.clone(),
                shown(compared.measured),
                shown(compared.simulated),
                format!("{:+.1} %", compared.error_percent),
            ],
        );
    }
    table
}

/// Percentiles while the load goes on.
struct Live {
    bar: ProgressBar,
    latency: Mutex<Series>,
}

impl Live {
    fn new(plan: &LoadPlan) -> Self {
        let bar =
            if output::shows_progress() { ProgressBar::new(plan.runs.unwrap_or(0)) } else { ProgressBar::hidden() };
        let count = if plan.runs.is_some() { "{bar:20} {pos}/{len} runs" } else { "{spinner} {pos} runs" };
        if let Ok(style) = ProgressStyle::with_template(&format!("{count}, {{elapsed}}: {{msg}}")) {
            bar.set_style(style);
        }
        bar.set_message("none has ended");
        Self { bar, latency: Mutex::default() }
    }

    fn take(&self, run: &LoadedRun) {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency.record(0, run.ended_us.saturating_sub(run.due_us));
        let at = |share: f64| latency.quantile(share).map_or_else(String::new, figure::duration);
        self.bar.set_message(format!("p50 {}, p95 {}, most {}", at(0.5), at(0.95), at(1.0)));
        self.bar.inc(1);
    }
}
