//! `lumos calibrate`: a profile of a backend that runs, with its error.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use lumos::Home;
use lumos::core::load::DeploymentSource;
use lumos::core::spec::BackendSpec;
use lumos::decide::calibrate::{CalibrateError, CalibrateOptions, Calibration, calibrate};
use lumos::sim::profile::{HeldOut, Way};
use lumos_report::{Column, Role, Table, clean};
use serde_json::json;

use super::arguments::Format;
use super::failure::Failure;
use super::output;
use super::session::Session;
use super::simulate::arguments::Calibrate;

pub fn run(arguments: &Calibrate, home: Home, seed: u64) -> Result<u8, Failure> {
    let deployment = DeploymentSource::load(&arguments.deployment, Path::new(".")).map_err(Failure::Invalid)?;
    let name = &arguments.backend;
    let Some(spec) = deployment.parsed.spec.backends.get(name).cloned() else {
        let known: Vec<&str> = deployment.parsed.spec.backends.keys().map(String::as_str).collect();
        let message = format!("the deployment has no backend `{name}`");
        return Err(Failure::invalid(&deployment.parsed.file, message, Some(format!("it has {}", known.join(", ")))));
    };
    let path = arguments.output.clone().unwrap_or_else(|| PathBuf::from(format!("profiles/{name}.ron")));
    let options = CalibrateOptions {
        name: name.clone(),
        measured_on: lumos::engine::today().to_string(),
        quick: arguments.is_quick,
        most_clients: arguments.clients,
        max_batched_tokens: arguments.max_batched_tokens,
        seed,
    };
    let calibration = Session::quiet(home, |session| {
        if let BackendSpec::Local(local) = &spec {
            session.fetch_asset(&local.model)?;
        }
        let bound = session.lumos.open_backend(deployment, name)?;
        let bar = progress();
        let told = |ended: u64, of: u64, what: &str| show(&bar, ended, of, what.to_owned());
        let clock = Arc::new(session.lumos.clock());
        let done = session.finish(calibrate(&*bound.backend, clock, &options, &session.cancel, &told));
        bar.finish_and_clear();
        done.map_err(|error| failure(name, error))
    })?;
    write(&path, &calibration.profile.to_ron())?;
    match arguments.format {
        Format::Json => {
            let path = path.display().to_string();
            output::json(&json!({ "file": path, "calibration": calibration }))?;
        }
        Format::Human => output::styled(&text(&calibration, &path))?,
    }
    Ok(0)
}

/// What to say of a calibration that failed.
pub fn failure(name: &str, error: CalibrateError) -> Failure {
    let hint = match &error {
        CalibrateError::Cancelled => return Failure::Interrupted,
        CalibrateError::NoChat => "name a backend whose model writes",
        CalibrateError::Backend { .. } => {
            "see that its server runs and that nothing else uses it; for a small context, say `context` in the deployment"
        }
        CalibrateError::NoUsage => "a server that reports `usage`, in streams too, can be calibrated",
        CalibrateError::ShortAnswers { .. } => {
            "where the server has it, add `extra: { \"ignore_eos\": true }` to the backend"
        }
        CalibrateError::SmallContext { .. } => "calibrate it with a larger context",
    };
    Failure::Failed { message: format!("backend `{name}`: {error}"), hint: Some(hint.to_owned()) }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    std::fs::write(path, text).map_err(fail)
}

/// A bar of requests, where somebody sees it.
pub fn progress() -> ProgressBar {
    if !output::shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} requests, {elapsed}: {msg}") {
        bar.set_style(style);
    }
    bar
}

/// What a bar of requests shows after one of them.
pub fn show(bar: &ProgressBar, ended: u64, of: u64, message: String) {
    bar.set_length(of);
    bar.set_position(ended);
    bar.set_message(message);
}

fn text(calibration: &Calibration, path: &Path) -> String {
    let profile = &calibration.profile;
    let mut text = format!(
        "{}  {}\n\n",
        output::bold(&clean(&profile.name)),
        output::dim(&format!("{}; {} requests", clean(&profile.of), calibration.requests))
    );
    let _ = writeln!(
        text,
        "serves {} at a time: {:.1} tokens/s alone, {:.1} tokens/s together",
        profile.max_seqs, calibration.tokens_per_s_alone, calibration.tokens_per_s_together
    );
    let _ = writeln!(
        text,
        "fit is off by {:.1} % of an iteration, {:.1} % of TTFT (medians, on what it was fitted to)\n",
        calibration.iteration_error_percent, calibration.ttft_error_percent
    );
    text.push_str(&output::lines(&coefficients(calibration).lines()));
    text.push('\n');
    text.push_str(&output::lines(&held_out(&profile.held_out).lines()));
    for assumption in &calibration.assumptions {
        let _ = writeln!(text, "{} {}", output::bold("assumed:"), clean(assumption));
    }
    let _ = writeln!(text, "written to {}", path.display());
    text
}

fn coefficients(calibration: &Calibration) -> Table {
    let profile = &calibration.profile;
    let mut table = Table::new(vec![Column::left("what takes time"), Column::right("each"), Column::left("")]);
    let mut row = |what: &str, each: f64, unit: &str| {
        table.row(Role::Row, vec![what.to_owned(), format!("{each}"), unit.to_owned()]);
    };
    row("a request, beside its iterations", profile.request_us, "µs");
    if profile.decode_us.is_empty() {
        row("an iteration", profile.iteration_us, "µs");
        row("a sequence that generates", profile.sequence_us, "µs");
    } else {
        row("an iteration in which none generates", profile.iteration_us, "µs");
    }
    for (sequences, us) in &profile.decode_us {
        row(
            &format!("an iteration in which {sequences} generate{}", if *sequences == 1 { "s" } else { "" }),
            *us,
            "µs",
        );
    }
    row("a prompt, whatever its length", profile.prompt_us, "µs");
    row("a token of a prompt", profile.prompt_token_us, "µs");
    row("a pair of a prompt's tokens", profile.prompt_pair_ns, "ns");
    row("a token in the KV cache", profile.kv_token_ns, "ns");
    for way in Way::ALL {
        if let Some(time) = profile.choosing.way(way) {
            row(&format!("a token chosen {}, more", way.words()), time.token_us, "µs");
            row("the first of them, more", time.first_us, "µs");
        }
    }
    table
}

fn held_out(loads: &[HeldOut]) -> Table {
    let mut table = Table::new(vec![
        Column::left("held-out load: prediction over measurement"),
        Column::right("TTFT p50"),
        Column::right("p95"),
        Column::right("TPOT"),
        Column::right("time p50"),
        Column::right("p95"),
    ]);
    for load in loads {
        let figures = [
            load.ttft_p50_percent,
            load.ttft_p95_percent,
            load.tpot_percent,
            load.latency_p50_percent,
            load.latency_p95_percent,
        ];
        let cells = figures.iter().map(|percent| format!("{percent:+.1} %"));
        table.row(Role::Row, std::iter::once(load.load.clone()).chain(cells).collect());
    }
    table
}
