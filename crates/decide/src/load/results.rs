//! Results of a load from the records of its runs, with the names that simulated results have.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::graph::{Body, GraphId, NodeId};
use lumos_core::price::{Price, reserved};
use lumos_core::program::Program;
use lumos_core::record::{AttemptRecord, Status, StepRecord};
use lumos_core::spec::{SloSpec, WorkloadSpec};
use lumos_engine::BoundProgram;
use lumos_sim::arrivals::clients_told;
use lumos_sim::results::{
    BATCHES, NodeResult, Pattern, Percentiles, Queue, Results, Series, ServiceResult, Verdict, Watch, verdict_of_runs,
};

use super::{LoadOptions, Loaded, LoadedRun};

/// What is said of a load of that workload, whose runs at the beginning do not count.
pub fn measured(
    scenario: &str,
    program: &BoundProgram,
    loaded: &Loaded,
    (options, workload, slo): (LoadOptions, &WorkloadSpec, &SloSpec),
) -> Results {
    let horizon_us = loaded.runs.iter().map(|run| run.ended_us).max().unwrap_or(0).max(1);
    let total = loaded.runs.iter().map(|run| run.number + 1).max().unwrap_or(0);
    let batch = |run: &LoadedRun| (u128::from(run.number) * BATCHES as u128 / u128::from(total.max(1))) as usize;
    let warmup = workload.warmup_runs;
    let counted: Vec<&LoadedRun> = loaded.runs.iter().filter(|run| run.number >= warmup).collect();
    // What rates and averages are taken over begins with the first run that counts.
    let first_us = counted.iter().map(|run| run.due_us).min().filter(|_| warmup > 0).unwrap_or(0);
    let window = Window { from_us: first_us, until_us: horizon_us.max(first_us + 1), warmup };
    let measured_s = window.us() / 1e6;
    let gates = Gates::of(program);
    let mut nodes = nodes(program.program());
    let paths = nodes.paths.clone();
    let mut latency = Series::default();
    let (mut good, mut cost) = (0, Usd::ZERO);
    for run in &counted {
        let mut worst = (0, 0.0f64);
        for step in &run.record.steps {
            let Some(node) = paths.get(&(step.path.clone(), step.node.clone())) else { continue };
            let node = &mut nodes.found[*node];
            for attempt in &step.attempts {
                let times = Times::of(attempt, &gates);
                node.take(batch(run), attempt, &times);
                if attempt.status == Status::Succeeded {
                    worst = (worst.0.max(times.ttft.unwrap_or(0)), worst.1.max(times.tpot.unwrap_or(0.0)));
                }
            }
        }
        cost += run.record.totals.cost_usd.unwrap_or(Usd::ZERO);
        if run.record.status == Status::Succeeded {
            let latency_us = run.ended_us.saturating_sub(run.due_us);
            latency.record(batch(run), latency_us);
            let within = |limit: Option<f64>, value: f64| limit.is_none_or(|limit| value <= limit);
            let is_good = within(slo.run_s, latency_us as f64 / 1e6)
                && within(slo.ttft_s, worst.0 as f64 / 1e6)
                && within(slo.tpot_ms, worst.1 / 1e3);
            good += u64::from(is_good);
        }
    }
    let count = |status: &[Status]| counted.iter().filter(|run| status.contains(&run.record.status)).count() as u64;
    let runs = counted.len() as u64;
    let (succeeded, refused, limited) =
        (count(&[Status::Succeeded]), count(&[Status::Refused]), count(&[Status::Limited]));
    let pattern = workload.arrivals.as_ref().map_or(Pattern::Closed, Pattern::of);
    let verdict = verdict(loaded, pattern);
    let stable = !matches!(verdict, Verdict::Unstable { .. });
    let good_share = (!slo.is_empty() && runs > 0).then(|| good as f64 / runs as f64);
    let ended = loaded.runs.iter().filter(|run| run.ended_us >= window.from_us).count();
    let throughput_per_s = ended as f64 / measured_s;
    let services = services(program, loaded, window);
    let hourly: Usd = services.iter().filter_map(|service| service.reserved_usd).sum();
    let by_token: Usd =
        services.iter().filter(|service| service.reserved_usd.is_none()).filter_map(|service| service.cost_usd).sum();
    let cost_complete = counted.iter().all(|run| run.record.totals.cost_complete);
    let cost = known(cost, cost_complete);
    let reserved_cost = known(hourly + by_token, cost_complete);
    let per = |usd: Option<Usd>, runs: u64| usd.filter(|_| runs > 0).and_then(|usd| usd.scaled(1, runs));
    let mut assumptions = Vec::new();
    if loaded.is_partial {
        assumptions.push(format!("ended before all runs had arrived; {} were cancelled", loaded.cancelled));
    }
    let late_us = loaded.runs.iter().map(|run| run.begun_us.saturating_sub(run.due_us)).max().unwrap_or(0);
    if late_us > LATE_US {
        let late_ms = late_us / 1000;
        assumptions.push(format!("this machine began runs up to {late_ms} ms late: that counts as their latency"));
    }
    Results {
        scenario: scenario.to_owned(),
        workflow: program.program().name().to_owned(),
        deployment: program.deployment().to_owned(),
        basis: "measured",
        load_factor: options.load_factor,
        seeds: vec![options.seed],
        runs,
        warmup_runs: loaded.runs.len() as u64 - runs,
        succeeded,
        failed: runs - succeeded - refused - limited,
        refused,
        limited,
        duration_s: loaded.runs.iter().map(|run| run.due_us).max().unwrap_or(0) as f64 / 1e6,
        measured_s,
        throughput_per_s,
        succeeded_per_s: throughput_per_s * succeeded as f64 / runs.max(1) as f64,
        good_share,
        goodput_per_s: good_share.map(|share| share * throughput_per_s),
        meets_slo: good_share.map(|share| stable && share >= slo.share.unwrap_or(1.0)),
        latency_s: Percentiles::of(&latency, 1e6),
        runs_in_system: area(window.clip(spans(loaded))) / window.us(),
        most_runs_in_system: most(window.clip(spans(loaded))),
        cost_usd: cost,
        cost_complete,
        cost_per_run_usd: per(cost, runs),
        cost_per_succeeded_run_usd: per(cost, succeeded),
        reserved_cost_usd: reserved_cost,
        reserved_cost_per_run_usd: per(reserved_cost, runs),
        reserved_cost_per_succeeded_run_usd: per(reserved_cost, succeeded),
        nodes: nodes.found.into_iter().filter(|node| node.kind != "workflow").map(Found::result).collect(),
        services,
        assumptions,
        warnings: workload
            .arrivals
            .as_ref()
            .and_then(|arrivals| clients_told(arrivals, options.load_factor))
            .into_iter()
            .collect(),
        verdict,
    }
}

/// An amount of which something is known: nothing that is not complete is no zero.
fn known(usd: Usd, is_complete: bool) -> Option<Usd> {
    (is_complete || usd != Usd::ZERO).then_some(usd)
}

/// Runs from when they were due until they ended, in microseconds.
fn spans(loaded: &Loaded) -> impl Iterator<Item = (u64, u64)> + '_ {
    loaded.runs.iter().map(|run| (run.due_us, run.ended_us))
}

/// From the first run that counts to the end of the last.
#[derive(Clone, Copy)]
struct Window {
    from_us: u64,
    until_us: u64,
    /// Runs before it.
    warmup: u64,
}

impl Window {
    /// How long it is.
    fn us(self) -> f64 {
        (self.until_us - self.from_us) as f64
    }

    /// What of the spans lies in it.
    fn clip(self, spans: impl Iterator<Item = (u64, u64)>) -> impl Iterator<Item = (u64, u64)> {
        let inside = spans.filter(move |(_, until)| *until >= self.from_us);
        inside.map(move |(from, until)| (from.max(self.from_us), until))
    }
}

/// How late a run may begin before that is worth a remark.
const LATE_US: u64 = 20_000;

/// Backends before which lumos itself makes attempts wait.
struct Gates(Vec<String>);

impl Gates {
    fn of(program: &BoundProgram) -> Self {
        let gated = program.backends().into_iter().filter(|backend| backend.gate.is_some());
        Self(gated.map(|backend| backend.reference.backend.clone()).collect())
    }
}

/// Times of an attempt as simulated results have them: a queue is where lumos lets it wait; what a server lets it wait is part of
/// its time to first token.
///
/// In microseconds.
struct Times {
    queue: u64,
    wait: Option<u64>,
    ttft: Option<u64>,
    tpot: Option<f64>,
    duration: u64,
}

impl Times {
    fn of(attempt: &AttemptRecord, gates: &Gates) -> Self {
        let is_gated = attempt.backend.as_ref().is_some_and(|backend| gates.0.contains(backend));
        let writes = attempt.ttft_us.is_some();
        let served_us = if writes && !is_gated { attempt.queue_us } else { 0 };
        let ttft_us = attempt.ttft_us.map(|ttft_us| ttft_us + served_us);
        let tokens = attempt.usage.output_tokens.unwrap_or(0).saturating_sub(1);
        let duration_us = attempt.duration_us + served_us;
        let tpot_us =
            ttft_us.filter(|_| tokens > 0).map(|first| duration_us.saturating_sub(first) as f64 / tokens as f64);
        // How long a remote server lets a request wait is not seen.
        let is_seen = is_gated || attempt.provider.as_deref() == Some("local");
        let wait = is_seen.then_some(attempt.queue_us);
        Self { queue: attempt.queue_us - served_us, wait, ttft: ttft_us, tpot: tpot_us, duration: duration_us }
    }
}

/// Whether an attempt's error is a server's "too many requests".
fn says_429(attempt: &AttemptRecord) -> bool {
    attempt.error.as_ref().is_some_and(|error| error.message.contains("429"))
}

/// Whether an attempt at a backend costs something that nobody knows.
fn has_unknown_cost(attempt: &AttemptRecord) -> bool {
    attempt.backend.is_some() && attempt.cost_usd.is_none()
}

/// Whether an attempt's error is that prompt and answer are too long, as servers and local models say it.
fn exceeds_context(attempt: &AttemptRecord) -> bool {
    const SAYS: [&str; 2] = ["do not fit the model's context", "but the context holds"];
    attempt.error.as_ref().is_some_and(|error| SAYS.iter().any(|says| error.message.contains(says)))
}

/// Nodes in the order of the files, and where records find them.
struct Nodes {
    found: Vec<Found>,
    paths: BTreeMap<(Vec<String>, String), usize>,
}

/// What was found at a node.
struct Found {
    node: String,
    kind: &'static str,
    service: Option<String>,
    attempts: u64,
    failed: u64,
    cancelled: u64,
    retries: u64,
    rate_limited: u64,
    too_long: u64,
    queue: Series,
    wait: Series,
    ttft: Series,
    tpot: Series,
    duration: Series,
    tokens: (u64, u64, u64),
    cost: Usd,
    is_unknown: bool,
}

/// The nodes of a program. One that several paths lead to is there once, under the first.
fn nodes(program: &Program) -> Nodes {
    let mut nodes = Nodes { found: Vec::new(), paths: BTreeMap::new() };
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut open: Vec<(usize, Vec<String>)> = vec![(0, Vec::new())];
    while let Some((graph, path)) = open.pop() {
        let first = *seen.entry(graph).or_insert_with(|| nodes.found.len());
        let is_new = first == nodes.found.len();
        for (index, node) in program.plan().graphs()[graph].nodes().iter().enumerate() {
            let text = program.node(GraphId(graph as u32), NodeId(index as u32));
            if is_new {
                let names: Vec<&str> = path.iter().chain([&text.name]).map(String::as_str).collect();
                nodes.found.push(Found::new(names.join("/"), text.kind));
            }
            nodes.paths.insert((path.clone(), text.name.clone()), first + index);
            if let Body::Graph(inner) = node.body {
                open.push((inner.index(), path.iter().cloned().chain([text.name.clone()]).collect()));
            }
        }
    }
    nodes
}

impl Found {
    fn new(node: String, kind: &'static str) -> Self {
        Self {
            node,
            kind,
            service: None,
            attempts: 0,
            failed: 0,
            cancelled: 0,
            retries: 0,
            rate_limited: 0,
            too_long: 0,
            queue: Series::default(),
            wait: Series::default(),
            ttft: Series::default(),
            tpot: Series::default(),
            duration: Series::default(),
            tokens: (0, 0, 0),
            cost: Usd::ZERO,
            is_unknown: false,
        }
    }

    fn take(&mut self, batch: usize, attempt: &AttemptRecord, times: &Times) {
        if self.service.is_none() {
            self.service.clone_from(&attempt.backend);
        }
        self.attempts += 1;
        self.retries += u64::from(attempt.attempt > 1);
        self.tokens.0 += attempt.usage.input_tokens.unwrap_or(0);
        self.tokens.1 += attempt.usage.cached_input_tokens.unwrap_or(0);
        self.tokens.2 += attempt.usage.output_tokens.unwrap_or(0);
        self.cost += attempt.cost_usd.unwrap_or(Usd::ZERO);
        self.is_unknown |= has_unknown_cost(attempt);
        if attempt.status == Status::Cancelled {
            self.cancelled += 1;
            return;
        }
        let is_failed = attempt.status != Status::Succeeded;
        self.failed += u64::from(is_failed);
        self.rate_limited += u64::from(is_failed && says_429(attempt));
        self.too_long += u64::from(is_failed && exceeds_context(attempt));
        self.queue.record(batch, times.queue);
        times.wait.into_iter().for_each(|us| self.wait.record(batch, us));
        self.duration.record(batch, times.duration);
        if !is_failed {
            times.ttft.into_iter().for_each(|us| self.ttft.record(batch, us));
            times.tpot.into_iter().for_each(|us| self.tpot.record(batch, (us * 1e3).round() as u64));
        }
    }

    fn result(self) -> NodeResult {
        NodeResult {
            node: self.node,
            kind: self.kind,
            service: self.service,
            attempts: self.attempts,
            failed: self.failed,
            cancelled: self.cancelled,
            retries: self.retries,
            rate_limited: self.rate_limited,
            too_long: self.too_long,
            rejection: None,
            queue_s: Percentiles::of(&self.queue, 1e6),
            wait_s: Percentiles::of(&self.wait, 1e6),
            ttft_s: Percentiles::of(&self.ttft, 1e6),
            tpot_ms: Percentiles::of(&self.tpot, 1e6),
            duration_s: Percentiles::of(&self.duration, 1e6),
            input_tokens: self.tokens.0,
            cached_input_tokens: self.tokens.1,
            output_tokens: self.tokens.2,
            cost_usd: known(self.cost, !self.is_unknown),
            cost_complete: !self.is_unknown,
        }
    }
}

/// What was asked of each backend.
fn services(program: &BoundProgram, loaded: &Loaded, window: Window) -> Vec<ServiceResult> {
    let mut asked: IndexMap<String, Vec<(&LoadedRun, &AttemptRecord)>> = IndexMap::new();
    let steps = loaded.runs.iter().flat_map(|run| run.record.steps.iter().map(move |step| (run, step)));
    for (run, attempt) in steps.flat_map(|(run, step): (_, &StepRecord)| step.attempts.iter().map(move |of| (run, of)))
    {
        if let Some(backend) = &attempt.backend {
            asked.entry(backend.clone()).or_default().push((run, attempt));
        }
    }
    let measured = window.us();
    let bound = program.backends();
    asked
        .into_iter()
        .map(|(name, attempts)| {
            let backend = bound.iter().find(|bound| bound.reference.backend == name);
            let there = |(run, attempt): &(&LoadedRun, &AttemptRecord)| {
                let from = run.begun_us + attempt.start_us;
                (from, from + attempt.queue_us + attempt.duration_us)
            };
            let served = |at: &(&LoadedRun, &AttemptRecord)| (there(at).0 + at.1.queue_us, there(at).1);
            let busy = union(window.clip(attempts.iter().map(served))) / measured;
            let inside = || attempts.iter().filter(|at| there(at).0 >= window.from_us).map(|(_, attempt)| *attempt);
            let failed = || inside().filter(|attempt| attempt.status == Status::Failed);
            let rate_limited = failed().filter(|attempt| says_429(attempt)).count() as u64;
            let counted =
                || attempts.iter().filter(|(run, _)| run.number >= window.warmup).map(|(_, attempt)| *attempt);
            let cost: Usd = counted().filter_map(|attempt| attempt.cost_usd).sum();
            let cost_complete = !counted().any(has_unknown_cost);
            let measured_us = measured as u64;
            let bill = match backend.map(|backend| &backend.price) {
                Some(Price::PerHour(usd)) => {
                    reserved(*usd, measured_us, (busy * measured) as u64).map(|bill| (*usd, bill))
                }
                _ => None,
            };
            ServiceResult {
                model: backend.map(|backend| backend.reference.model.clone()),
                kind: "backend",
                basis: "measured".to_owned(),
                requests: inside().count() as u64,
                rate_limited,
                failed: failed().count() as u64 - rate_limited,
                mean_served: area(window.clip(attempts.iter().map(served))) / measured,
                mean_there: area(window.clip(attempts.iter().map(there))) / measured,
                most_there: most(window.clip(attempts.iter().map(there))),
                utilization: Some(busy),
                replicas: None,
                cost_usd: known(cost, cost_complete),
                cost_complete,
                reserved_usd: bill.as_ref().and_then(|(usd, _)| usd.scaled(measured_us, 3_600_000_000)),
                idle_usd: bill.map(|(_, bill)| bill.idle),
                service: name,
            }
        })
        .collect()
}

/// Whether runs pile up; services are not told apart, because only their answers are seen.
fn verdict(loaded: &Loaded, pattern: Pattern) -> Verdict {
    let mut changes: Vec<(u64, bool)> =
        loaded.runs.iter().flat_map(|run| [(run.due_us, true), (run.ended_us, false)]).collect();
    changes.sort_unstable();
    let mut watch = Watch::new(0);
    let (mut came, mut there) = (0, 0);
    let last_us = loaded.runs.iter().map(|run| run.due_us).max().unwrap_or(0);
    for (at_us, comes) in changes.into_iter().take_while(|(at_us, _)| *at_us <= last_us) {
        watch.look(at_us, &[Queue { came, there, ..Queue::default() }]);
        came += u64::from(comes);
        there = if comes { there + 1 } else { there - 1 };
    }
    watch.close(last_us, Vec::new());
    let mut took: Vec<u64> = loaded.runs.iter().map(|run| run.ended_us.saturating_sub(run.due_us)).collect();
    took.sort_unstable();
    // Those that were held up least.
    verdict_of_runs(&watch, took.get(took.len() / 10).copied(), pattern)
}

/// Microseconds of all spans together.
fn area(spans: impl Iterator<Item = (u64, u64)>) -> f64 {
    spans.map(|(from, until)| until.saturating_sub(from) as f64).sum()
}

/// Microseconds in which there was any span.
fn union(spans: impl Iterator<Item = (u64, u64)>) -> f64 {
    let mut spans: Vec<(u64, u64)> = spans.collect();
    spans.sort_unstable();
    let mut covered = 0;
    let mut reached = 0;
    for (from, until) in spans {
        covered += until.saturating_sub(from.max(reached));
        reached = reached.max(until);
    }
    covered as f64
}

/// The most spans at a time.
fn most(spans: impl Iterator<Item = (u64, u64)>) -> u64 {
    let mut changes: Vec<(u64, i64)> = spans.flat_map(|(from, until)| [(from, 1), (until, -1)]).collect();
    changes.sort_unstable();
    let mut now = 0;
    let most = changes.into_iter().fold(0i64, |most, (_, change)| {
        now += change;
        most.max(now)
    });
    most.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_once_and_together() {
        let spans = [(0, 10), (5, 15), (20, 30), (30, 40)];
        assert_eq!((union(spans.into_iter()), area(spans.into_iter()), most(spans.into_iter())), (35.0, 40.0, 2));
    }
}
