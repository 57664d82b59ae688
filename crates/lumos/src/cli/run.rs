//! `lumos run`: opens a workflow, fetches what is missing, loads models, runs, and prints the answer and the steps.

use std::sync::Arc;

use lumos::core::load::{Bundle, find_deployment};
use lumos::core::{ErrorRecord, RunRecord, Status, StepRecord};
use lumos::engine::{CancellationToken, EngineError, RunRequest};
use lumos::{Error, Home, Lumos};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::arguments::{Format, Run};
use super::failure::{self, FAILED, Failure, INTERRUPTED};
use super::progress::Live;
use super::stream::Stream;
use super::{dry_run, inputs, output, pull};

pub fn run(arguments: &Run, home: Home, seed: u64) -> Result<u8, Failure> {
    let workflow = &arguments.workflow;
    let deployment = arguments.deployment.clone().or_else(|| find_deployment("local", workflow));
    let (bundle, warnings) = Bundle::open(workflow, deployment.as_deref()).map_err(Failure::Invalid)?;
    failure::warn(&warnings);
    let values = inputs::read(arguments, &bundle)?;
    if arguments.is_dry {
        return dry_run::run(arguments.format, &home, &bundle, values, seed);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let result = execute(arguments, home, &bundle, RunRequest { inputs: values, seed }, &runtime);
    // Models may still be loading on threads that nobody waits for.
    runtime.shutdown_background();
    result
}

fn execute(
    arguments: &Run,
    home: Home,
    bundle: &Bundle,
    request: RunRequest,
    runtime: &Runtime,
) -> Result<u8, Failure> {
    let cancel = CancellationToken::new();
    runtime.spawn(watch_signals(cancel.clone()));
    let live = output::shows_progress().then(|| Arc::new(Live::start()));
    let stream = arguments.stream.then(|| Arc::new(Stream::start(cancel.clone())));
    let result = (|| {
        let mut builder = Lumos::builder(home).secrets(Arc::new(|name| std::env::var(name).ok()));
        if let Some(live) = &live {
            builder = builder.sink(live.clone());
        }
        if let Some(stream) = &stream {
            builder = builder.sink(stream.clone());
        }
        let lumos = builder.build()?;
        fetch(&lumos, bundle, &cancel, runtime)?;
        let program = lumos.bind(bundle).map_err(|error| Failure::of_binding(error, bundle))?;
        let loading = loading(&program);
        if let Some(live) = live.as_ref().filter(|_| !loading.is_empty()) {
            live.loading(Some(loading));
        }
        runtime.block_on(async {
            tokio::select! {
                loaded = lumos.warm_up(&program) => loaded.map_err(Failure::from),
                () = cancel.cancelled() => Err(Failure::Interrupted),
            }
        })?;
        if let Some(live) = &live {
            live.loading(None);
        }
        match runtime.block_on(lumos.run(&program, request, &cancel)) {
            Ok(finished) => Ok((finished.record(), None)),
            Err(Error::Engine(EngineError::Store { record, error })) => Ok((*record, Some(error))),
            Err(error) => Err(Failure::from(error)),
        }
    })();
    if let Some(live) = live {
        live.finish();
    }
    if let Some(stream) = stream {
        stream.finish();
    }
    let (record, lost) = result?;
    if !arguments.stream {
        print(&record, arguments.format)?;
    }
    if let Some(error) = lost {
        let failure = Failure::from(error);
        failure.report(Format::Human);
        return Ok(FAILED);
    }
    Ok(record.status.exit_code())
}

/// Fetches the assets that the bundle needs; unknown names are left for binding, which knows their place.
fn fetch(lumos: &Lumos, bundle: &Bundle, cancel: &CancellationToken, runtime: &Runtime) -> Result<(), Failure> {
    let store = lumos.assets();
    for name in lumos.missing_assets(bundle) {
        if store.catalog().get(&name).is_none() {
            continue;
        }
        let (store, cancel) = (store.clone(), cancel.clone());
        let pulled = runtime.block_on(runtime.spawn_blocking(move || pull::pull(&store, &name, &cancel)));
        pulled.map_err(|error| Failure::failed(format!("fetching stopped: {error}")))??;
    }
    Ok(())
}

/// Models that the program uses, with the backends that serve them.
fn loading(program: &lumos::engine::BoundProgram) -> String {
    let name = |bound: &Arc<lumos::engine::BoundBackend>| bound.reference.model.clone();
    program.backends().iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The first signal cancels, and what finished is kept; the second ends the process at once.
async fn watch_signals(cancel: CancellationToken) {
    signal().await;
    cancel.cancel();
    signal().await;
    std::process::exit(INTERRUPTED.into());
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminate.recv() => {}
        else => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

fn print(record: &RunRecord, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(record);
    }
    let mut text = String::new();
    if record.status == Status::Succeeded {
        text.push_str(&answer(&record.output));
        text.push('\n');
    }
    text.push_str(&steps(record));
    output::styled(&text)?;
    output::log(&ending(record));
    Ok(())
}

/// A run's output as people read it.
pub fn answer(output: &Value) -> String {
    let text = match output {
        Value::String(text) => output::shown(text),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    format!("{}\n", text.trim_end())
}

/// The step table, and under which name it is kept.
pub fn steps(record: &RunRecord) -> String {
    let mut text = output::lines(&lumos_report::step_table(record, output::width()));
    let kept = format!(
        "run {} · seed {} · deployment {}",
        record.run_id,
        record.seed,
        lumos_report::clean(&record.deployment)
    );
    text.push_str(&output::dim(&kept));
    text.push('\n');
    text
}

/// Why a run did not succeed; empty when it did.
pub fn ending(record: &RunRecord) -> String {
    if matches!(record.status, Status::Succeeded | Status::Running) {
        return String::new();
    }
    let status = record.status.as_str();
    if let Some(error @ ErrorRecord { message, hint }) = &record.error {
        // The innermost step that failed like this: its sub-workflows fail with it.
        let is_cause = |step: &&StepRecord| step.status == Status::Failed && step.error.as_ref() == Some(error);
        let cause = record.steps.iter().filter(is_cause).max_by_key(|step| step.path.len());
        let what = match cause.filter(|_| record.status == Status::Failed) {
            Some(step) => format!("node `{}` failed: {message}", lumos_report::step_label(step)),
            None => format!("{status}: {message}"),
        };
        return output::error(&what, hint.as_deref());
    }
    let kept = format!("`lumos runs show {}` shows what finished", record.run_id);
    output::error(status, Some(&kept))
}
