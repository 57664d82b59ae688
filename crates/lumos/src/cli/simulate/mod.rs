//! `lumos simulate`: a scenario on a virtual clock, with each of its deployments.

pub mod arguments;
pub mod tables;
#[cfg(feature = "parquet")]
mod traced;

use indicatif::{ProgressBar, ProgressStyle};
use lumos::Home;
use lumos::sim::{Job, Options, simulate_all};
use serde_json::json;

use self::arguments::Simulate;
use super::arguments::Format;
use super::failure::{self, Failure};
use super::learned::{self, Opened};
use super::output;

pub fn run(arguments: &Simulate, home: &Home, seed: u64) -> Result<u8, Failure> {
    let from = arguments.profile_from.as_deref();
    let opened = learned::open(&arguments.scenario, &arguments.deployment, from, home)?;
    let Opened { scenario, models, warnings, learned } = opened;
    failure::warn(&warnings);
    let factors = if arguments.load_factor.is_empty() { vec![1.0] } else { arguments.load_factor.clone() };
    let jobs: Vec<Job<'_>> = models
        .iter()
        .flat_map(|model| {
            factors.iter().map(move |load_factor| Job {
                model,
                options: Options {
                    seed,
                    load_factor: *load_factor,
                    runs: arguments.runs,
                    stepwise: arguments.stepwise,
                },
                seeds: arguments.seeds,
            })
        })
        .collect();
    let bar = progress(jobs.len() as u64 * u64::from(arguments.seeds.max(1)));
    let told = || bar.inc(1);
    let results = match trace(arguments) {
        #[cfg(feature = "parquet")]
        Some((path, table)) => traced::to_file(path, table, &jobs, &scenario, &told)?,
        _ => {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads.unwrap_or(0)).build();
            let threads = threads.map_err(|error| Failure::failed(format!("no threads to simulate on: {error}")))?;
            let results = threads.install(|| simulate_all(&jobs, &told));
            results.map_err(|error| Failure::of_simulation(&error, &scenario))?
        }
    };
    bar.finish_and_clear();
    match arguments.format {
        Format::Json => {
            let mut document = json!({ "scenario": models[0].scenario, "results": results });
            if let Some(learned) = learned {
                document["profile_from"] = json!(learned);
            }
            output::json(&document)?;
        }
        Format::Human => output::styled(&tables::text(&results))?,
    }
    Ok(0)
}

/// Where simulated runs are written, and what a row is.
#[cfg(feature = "parquet")]
fn trace(arguments: &Simulate) -> Option<(&std::path::Path, lumos_report::ExportTable)> {
    let table = arguments.trace_table.unwrap_or(crate::cli::runs::arguments::Rows::Attempts);
    Some((arguments.trace.as_deref()?, table.into()))
}

/// Without Parquet nothing is written.
#[cfg(not(feature = "parquet"))]
fn trace(_: &Simulate) -> Option<std::convert::Infallible> {
    None
}

/// A bar that shows itself when it takes longer than people like to wait.
fn progress(length: u64) -> ProgressBar {
    if !output::shows_progress() || length < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} simulations, {elapsed}") {
        bar.set_style(style);
    }
    bar
}
