//! The sink: takes runs that have ended, and sends them from a thread of its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use lumos_core::{Clock, TraceContext};
use lumos_engine::{EventSink, RunEvent, RunTrace, UnixClock};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use crate::attributes::{Attributes, is_final};
use crate::measures::Measures;
use crate::otlp::{Batch, Sender};
use crate::settings::{Settings, Target};
use crate::tally::Tally;
use crate::{logs, spans};

/// Spans that are made and sent in a millisecond at most: about four hundredths of a processor, which with two of them
/// costs half that.
const SPANS_PER_MS: u64 = 5;

/// What was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loss {
    /// Runs that were left out because too much waited already.
    pub runs: u64,
    /// Requests that failed.
    pub requests: u64,
    /// Which signals were in them: `traces`, `metrics`, `logs`.
    pub signals: BTreeSet<&'static str>,
    /// Why the last of them failed.
    pub last: Option<String>,
}

/// Sends runs to a collector as traces, metrics and logs.
pub struct Telemetry {
    settings: Arc<Settings>,
    traces: UnboundedSender<Box<RunTrace>>,
    stop: Arc<Notify>,
    queued: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
    left_out: Arc<Tally>,
    loss: Arc<Mutex<Loss>>,
    done: Mutex<mpsc::Receiver<()>>,
}

impl Telemetry {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let settings = Arc::new(settings);
        let (traces, receiver) = unbounded_channel();
        let stop = Arc::new(Notify::new());
        let (finished, done) = mpsc::channel();
        let is_down = Arc::new(AtomicBool::new(false));
        let (queued, loss) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Loss::default())));
        let left_out = Arc::new(Tally::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = Worker {
            settings: settings.clone(),
            queued: queued.clone(),
            is_down: is_down.clone(),
            is_proven: false,
            left_out: left_out.clone(),
            loss: loss.clone(),
            spans: Vec::new(),
            logs: Vec::new(),
            measures: Measures::default(),
            is_measured: false,
            began: unix_ns(),
        };
        let stopped = stop.clone();
        std::thread::Builder::new().name("lumos-telemetry".to_owned()).spawn(move || {
            runtime.block_on(worker.work(receiver, stopped));
            // Nobody may wait for it any more.
            let _ = finished.send(());
        })?;
        Ok(Self { settings, traces, stop, queued, is_down, left_out, loss, done: Mutex::new(done) })
    }

    /// Sends what waits, for at most `limit`, and says what was lost. Runs that end later are left out.
    pub fn finish(&self, limit: Duration) -> Loss {
        self.stop.notify_one();
        let waited = lock(&self.done).recv_timeout(limit);
        let mut loss = lock(&self.loss).clone();
        loss.runs = self.left_out.sum();
        if waited == Err(mpsc::RecvTimeoutError::Timeout) {
            loss.requests += 1;
            // The first that is sent is what nobody answers.
            loss.signals.insert("traces");
            loss.last.get_or_insert_with(|| "it does not answer".to_owned());
        }
        loss
    }

    /// Whether the collector did not take the last spans, so that runs are left out until it is asked again.
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Whether a run would wait in vain or too long.
    fn is_closed(&self) -> bool {
        self.is_down() || self.queued.load(Ordering::Relaxed) >= self.settings.queue
    }
}

impl EventSink for Telemetry {
    fn event(&self, _: &str, _: &RunEvent) {}

    fn is_live(&self) -> bool {
        false
    }

    fn samples(&self, trace_id: u128, parent: Option<&TraceContext>) -> Option<bool> {
        if self.is_closed() {
            self.left_out.increment();
            return None;
        }
        let sampled = self.settings.sampler.keeps(trace_id, parent.map(|parent| parent.sampled));
        Some(sampled && self.settings.traces.is_some())
    }

    fn traced(&self, trace: &dyn Fn(bool) -> RunTrace) {
        if self.is_closed() {
            self.left_out.increment();
            return;
        }
        let content = self.settings.content;
        let trace = Box::new(trace(content.on_spans || content.on_events));
        self.queued.fetch_add(weight(&trace), Ordering::Relaxed);
        // After the end nobody listens.
        let _ = self.traces.send(trace);
    }
}

/// Spans of a run, about.
fn weight(trace: &RunTrace) -> usize {
    1 + trace.steps.len() + trace.record.totals.attempts as usize
}

fn unix_ns() -> u64 {
    UnixClock.now_us().saturating_mul(1000)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ways to the collectors, where a signal has one.
struct Senders {
    traces: Option<Sender>,
    metrics: Option<Sender>,
    logs: Option<Sender>,
}

struct Worker {
    settings: Arc<Settings>,
    queued: Arc<AtomicUsize>,
    /// Whether the last request with spans has failed: until the next tick then nothing is made that would be lost as well.
    is_down: Arc<AtomicBool>,
    /// Whether the last request with spans was taken. Until one is, the first run is sent at once, so that little is made for
    /// a collector that is not there.
    is_proven: bool,
    left_out: Arc<Tally>,
    loss: Arc<Mutex<Loss>>,
    spans: Vec<Span>,
    logs: Vec<LogRecord>,
    measures: Measures,
    /// Whether the metrics have changed since they were sent.
    is_measured: bool,
    began: u64,
}

impl Worker {
    async fn work(mut self, mut traces: UnboundedReceiver<Box<RunTrace>>, stop: Arc<Notify>) {
        let sender = |worker: &Self, signal, target: Option<&Target>| {
            target.and_then(|target| Sender::new(target).map_err(|error| worker.lost(signal, error)).ok())
        };
        let senders = Senders {
            traces: sender(&self, "traces", self.settings.traces.as_ref()),
            metrics: sender(&self, "metrics", self.settings.metrics.as_ref()),
            logs: sender(&self, "logs", self.settings.logs.as_ref()),
        };
        let mut ticks = tokio::time::interval(self.settings.delay);
        let mut measured = tokio::time::interval(self.settings.interval);
        for interval in [&mut ticks, &mut measured] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval.reset();
        }
        let mut taken = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.notified() => break,
                _ = measured.tick() => self.send_metrics(&senders).await,
                _ = ticks.tick() => {
                    self.is_down.store(false, Ordering::Relaxed);
                    self.send(&senders).await;
                }
                trace = traces.recv() => {
                    let Some(trace) = trace else { break };
                    taken += self.take(*trace);
                    if !self.is_proven && !self.spans.is_empty() {
                        self.send(&senders).await;
                        if self.is_down.load(Ordering::Relaxed) {
                            self.leave_out(&mut traces);
                        }
                    }
                    if taken < self.settings.batch {
                        continue;
                    }
                    while self.spans.len() >= self.settings.batch {
                        self.send(&senders).await;
                    }
                    // The processors are left to the runs for a while.
                    let pause = Duration::from_millis(std::mem::take(&mut taken) as u64 / SPANS_PER_MS);
                    tokio::select! {
                        () = stop.notified() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
        traces.close();
        while let Ok(trace) = traces.try_recv() {
            self.take(*trace);
        }
        while !self.spans.is_empty() || !self.logs.is_empty() {
            self.send(&senders).await;
        }
        self.send_metrics(&senders).await;
    }

    /// Leaves out what waits: it would be lost as well.
    fn leave_out(&self, traces: &mut UnboundedReceiver<Box<RunTrace>>) {
        while let Ok(trace) = traces.try_recv() {
            self.queued.fetch_sub(weight(&trace), Ordering::Relaxed);
            self.left_out.increment();
        }
    }

    /// Makes of a run what is to be sent; gives the spans that it counted for.
    fn take(&mut self, trace: RunTrace) -> usize {
        let weight = weight(&trace);
        self.queued.fetch_sub(weight, Ordering::Relaxed);
        if self.settings.traces.is_some() && trace.scope.sampled() && is_final(&trace.record) {
            self.spans.extend(spans::spans(&trace, &self.settings));
        }
        if self.settings.logs.is_some() {
            self.logs.extend(logs::logs(&trace, &self.settings));
        }
        if self.settings.metrics.is_some() {
            self.measures.record(&trace.record, trace.shared_us, self.settings.conventions);
            self.is_measured = true;
        }
        weight
    }

    /// Sends a batch of spans and all logs.
    async fn send(&mut self, senders: &Senders) {
        if let Some(sender) = senders.traces.as_ref().filter(|_| !self.spans.is_empty()) {
            let rest = self.spans.split_off(self.spans.len().min(self.settings.batch));
            let spans = std::mem::replace(&mut self.spans, rest);
            let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
            let resource_spans =
                vec![ResourceSpans { resource: Some(self.resource()), scope_spans, ..ResourceSpans::default() }];
            self.told("traces", sender.send(Batch::Traces(ExportTraceServiceRequest { resource_spans })).await);
        }
        if let Some(sender) = senders.logs.as_ref().filter(|_| !self.logs.is_empty()) {
            let log_records = std::mem::take(&mut self.logs);
            let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
            let resource_logs =
                vec![ResourceLogs { resource: Some(self.resource()), scope_logs, ..ResourceLogs::default() }];
            self.told("logs", sender.send(Batch::Logs(ExportLogsServiceRequest { resource_logs })).await);
        }
        // What cannot be sent anywhere does not wait for ever.
        self.spans.truncate(if senders.traces.is_some() { usize::MAX } else { 0 });
        self.logs.truncate(if senders.logs.is_some() { usize::MAX } else { 0 });
    }

    async fn send_metrics(&mut self, senders: &Senders) {
        let Some(sender) = senders.metrics.as_ref().filter(|_| self.is_measured) else { return };
        self.is_measured = false;
        let metrics = self.measures.metrics(self.began, unix_ns());
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: Some(self.resource()), scope_metrics, ..ResourceMetrics::default() }];
        self.told("metrics", sender.send(Batch::Metrics(ExportMetricsServiceRequest { resource_metrics })).await);
    }

    fn told(&mut self, signal: &'static str, result: Result<(), String>) {
        // Who takes traces may take nothing else.
        if signal == "traces" {
            self.is_proven = result.is_ok();
            self.is_down.store(result.is_err(), Ordering::Relaxed);
        }
        if let Err(error) = result {
            self.lost(signal, error);
        }
    }

    fn lost(&self, signal: &'static str, error: String) {
        let mut loss = lock(&self.loss);
        loss.requests += 1;
        loss.signals.insert(signal);
        loss.last = Some(error);
    }

    fn resource(&self) -> Resource {
        let mut attributes = Attributes::default();
        for (key, value) in &self.settings.resource {
            attributes.text(key, value);
        }
        Resource { attributes: attributes.0, ..Resource::default() }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "lumos".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
