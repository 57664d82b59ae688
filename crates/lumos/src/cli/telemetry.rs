//! Telemetry of the command line: what the environment asks for, and what is said when a collector does not take it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lumos::LumosBuilder;
use lumos::core::{RunRecord, Status, TraceContext};
use lumos::telemetry::{Settings, Telemetry, prometheus_text};

use super::failure::Failure;
use super::output;

/// How long the end of a command waits for a collector.
const PATIENCE: Duration = Duration::from_secs(2);

/// What sends the runs of a command; nothing unless the environment says where to.
pub struct Sending(Option<Arc<Telemetry>>);

impl Sending {
    /// Reads `OTEL_*` and starts what they ask for. What cannot be understood is said, and telemetry is left out.
    pub fn start() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let settings = Settings::read(&variable).unwrap_or_else(|error| {
            output::log(&output::warning(&format!("no telemetry: {error}"), None));
            None
        });
        Self(settings.and_then(|settings| match Telemetry::start(settings) {
            Ok(telemetry) => Some(Arc::new(telemetry)),
            Err(error) => {
                output::log(&output::warning(&format!("no telemetry: {error}"), None));
                None
            }
        }))
    }

    /// Adds the sink to a facade.
    pub fn add_to(&self, builder: LumosBuilder) -> LumosBuilder {
        match &self.0 {
            Some(telemetry) => builder.sink(telemetry.clone()),
            None => builder,
        }
    }

    /// Sends what waits; says once what was lost.
    pub fn finish(&self) {
        let Some(telemetry) = &self.0 else { return };
        let loss = telemetry.finish(PATIENCE);
        if let Some(error) = &loss.last {
            let signals: Vec<&str> = loss.signals.iter().copied().collect();
            let variables: Vec<String> =
                signals.iter().map(|signal| format!("`OTEL_{}_EXPORTER=none`", signal.to_uppercase())).collect();
            let (signals, variables) = (signals.join(", "), variables.join(", "));
            let hint = format!("{variables} sends none");
            let message = format!("telemetry was lost, the collector takes no {signals}: {error}");
            output::log(&output::warning(&message, Some(&hint)));
        } else if loss.runs > 0 {
            let message =
                format!("telemetry leaves out {} runs: they ended faster than they could be told of", loss.runs);
            output::log(&output::warning(&message, Some("`OTEL_BSP_MAX_QUEUE_SIZE` says how many spans may wait")));
        }
    }
}

/// Where runs would send telemetry now, by host.
#[cfg(feature = "sim")]
pub fn collectors() -> Vec<lumos::decide::audit::Telemetry> {
    let variable = |name: &str| std::env::var(name).ok();
    let Ok(Some(settings)) = Settings::read(&variable) else { return Vec::new() };
    let mut collectors: Vec<lumos::decide::audit::Telemetry> = Vec::new();
    // Metrics hold figures only.
    let content = settings.content;
    for (target, sends_content) in [(&settings.traces, content.on_spans), (&settings.logs, content.on_events)] {
        let Some(host) = target.as_ref().and_then(|target| target.endpoint.host_str()) else { continue };
        let host = host.trim_matches(['[', ']']);
        match collectors.iter_mut().find(|known| known.host == host) {
            Some(known) => known.content |= sends_content,
            None => collectors.push(lumos::decide::audit::Telemetry {
                host: host.to_owned(),
                errors: true,
                content: sends_content,
            }),
        }
    }
    collectors
}

/// The caller's span, from `TRACEPARENT` and `TRACESTATE`.
pub fn parent() -> Option<Box<TraceContext>> {
    let parent = std::env::var("TRACEPARENT").ok()?;
    TraceContext::parse(&parent, std::env::var("TRACESTATE").ok().as_deref()).map(Box::new)
}

/// Writes a run's metrics where the node exporter or whoever else reads them: whole or not at all.
pub fn write_metrics(path: &Path, record: &RunRecord) -> Result<(), Failure> {
    let mut text = prometheus_text([record]);
    if matches!(record.status, Status::Paused | Status::Interrupted) {
        text =
            format!("# run {} is {}: it is counted once it has ended\n{text}", record.run_id, record.status.as_str());
    }
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        // What was written in part is of no use to anyone; it may not be there.
        let _ = std::fs::remove_file(&temporary);
        Failure::failed(format!("the metrics cannot be written to {}: {error}", path.display()))
    })
}
