//! Results as people and programs read them: every figure of them is simulated.

use lumos_core::Usd;
use lumos_core::price::{Price, reserved};
use serde::Serialize;

use super::measures::{Measures, NodeMeasures, ServiceMeasures};
use super::series::{Interval, Series};
use super::verdict::{Pattern, Verdict, Watched, verdict};
use crate::arrivals::clients_told;
use crate::model::{Model, NodeModel, Order, ServiceKind, ServiceModel};

/// What one deployment does under the scenario's load.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// The scenario's name.
    pub scenario: String,
    /// The workflow's name.
    pub workflow: String,
    /// The deployment's name.
    pub deployment: String,
    /// Where the figures come from: always `simulated`.
    pub basis: &'static str,
    /// How many times as often runs arrive as the scenario says.
    pub load_factor: f64,
    /// Seeds that were simulated; their figures are added up.
    pub seeds: Vec<u64>,
    /// How the load is borne; percentiles and shares of good runs are absent where a queue grows without bound.
    pub verdict: Verdict,
    /// Runs that count: those after the warm-up.
    pub runs: u64,
    /// Runs at the beginning that don't count, of all seeds together.
    pub warmup_runs: u64,
    /// Of those, how many succeeded.
    pub succeeded: u64,
    /// Of those, how many failed.
    pub failed: u64,
    /// Of those, how many were refused.
    pub refused: u64,
    /// Of those, how many met a limit.
    pub limited: u64,
    /// Simulated seconds during which runs arrived, those of the warm-up too.
    pub duration_s: f64,
    /// Simulated seconds from the arrival of the first run that counts to the end of the last: what rates, averages over time,
    /// utilization and reserved machines are taken over. Without a warm-up it begins at 0.
    pub measured_s: f64,
    /// Runs that count per second of `measured_s`, whatever became of them.
    pub throughput_per_s: f64,
    /// Of those, runs that succeeded: `succeeded` over `measured_s`.
    pub succeeded_per_s: f64,
    /// Runs that met the SLO, as a share of those that count; absent without an SLO, and where a queue grows without bound.
    pub good_share: Option<f64>,
    /// Runs per second that met the SLO; absent where the share is.
    pub goodput_per_s: Option<f64>,
    /// Whether the share of good runs is what the SLO asks for; absent without an SLO.
    pub meets_slo: Option<bool>,
    /// Seconds from arrival to end, of runs that succeeded.
    pub latency_s: Option<Percentiles>,
    /// Mean runs in the system, and what Little's law makes of throughput and time there.
    pub runs_in_system: f64,
    /// The most runs in the system at a time.
    pub most_runs_in_system: u64,
    /// Tokens of attempts of runs that count, and of machines paid by the hour the time in which they had work:
    /// `reserved_cost_usd` without what is paid for idle time. The sum of what is known; absent when nothing is, or nothing has
    /// a price.
    pub cost_usd: Option<Usd>,
    /// Whether every attempt's cost is known, and every machine's price.
    pub cost_complete: bool,
    /// `cost_usd` per run that counts, whatever became of it.
    pub cost_per_run_usd: Option<Usd>,
    /// `cost_usd` per run that succeeded: what failed, was refused or met a limit is paid for too. Absent when none did.
    pub cost_per_succeeded_run_usd: Option<Usd>,
    /// What is paid in all: tokens of runs that count, and machines by the hour over `measured_s` whether busy or idle. The sum
    /// of what is known; absent when nothing is.
    pub reserved_cost_usd: Option<Usd>,
    /// `reserved_cost_usd` per run that counts.
    pub reserved_cost_per_run_usd: Option<Usd>,
    /// `reserved_cost_usd` per run that succeeded.
    pub reserved_cost_per_succeeded_run_usd: Option<Usd>,
    /// By node, in the order of the file.
    pub nodes: Vec<NodeResult>,
    /// By service.
    pub services: Vec<ServiceResult>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// Where what happened is not what the scenario says.
    pub warnings: Vec<String>,
}

/// Percentiles of a quantity; its mean with a 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Mean.
    pub mean: Interval,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Percentiles {
    /// Of a series whose unit is divided by `per`; `None` without values.
    pub fn of(series: &Series, per: f64) -> Option<Self> {
        let at = |share: f64| Some(series.quantile(share)? as f64 / per);
        let Interval { value, half } = series.mean_interval()?;
        Some(Self {
            mean: Interval { value: value / per, half: half.map(|half| half / per) },
            p50: at(0.5)?,
            p90: at(0.9)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            max: series.max()? as f64 / per,
        })
    }
}

/// What was found at a node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeResult {
    /// Its path.
    pub node: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where its first attempts go; absent where nobody waits.
    pub service: Option<String>,
    /// Attempts of runs that count, cancelled ones too.
    pub attempts: u64,
    /// Of those, how many failed.
    pub failed: u64,
    /// Of those, how many were cancelled.
    pub cancelled: u64,
    /// Attempts beyond a step's first.
    pub retries: u64,
    /// Answers 429.
    pub rate_limited: u64,
    /// Requests that did not fit the model's context or the KV cache.
    pub too_long: u64,
    /// Why the first of them did not.
    pub rejection: Option<String>,
    /// Seconds of waiting for admission, or for a free server.
    pub queue_s: Option<Percentiles>,
    /// Seconds of waiting in all: as `queue_s`, and for a place in the batch of a replica, which is part of `ttft_s` too.
    /// Absent where nobody sees it: at an API that lumos does not limit.
    pub wait_s: Option<Percentiles>,
    /// Seconds from sending to the first token.
    pub ttft_s: Option<Percentiles>,
    /// Milliseconds per token after the first.
    pub tpot_ms: Option<Percentiles>,
    /// Seconds from sending to the end.
    pub duration_s: Option<Percentiles>,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Of those, from a cache.
    pub cached_input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// What its attempts cost, as far as it is known: tokens, and their share of the time in which machines had work. Absent when
    /// nothing is, or nothing has a price.
    pub cost_usd: Option<Usd>,
    /// Whether it is known of every attempt.
    pub cost_complete: bool,
}

/// What was found at a service.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceResult {
    /// Its name.
    pub service: String,
    /// The model, where it serves one.
    pub model: Option<String>,
    /// `station`, `api` or `replicas`.
    pub kind: &'static str,
    /// Where its times come from.
    pub basis: String,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Of those, refused with 429.
    pub rate_limited: u64,
    /// Of those, failed otherwise.
    pub failed: u64,
    /// Requests that were served, on average over time.
    pub mean_served: f64,
    /// Requests that waited or were served, on average over time.
    pub mean_there: f64,
    /// The most requests at a time.
    pub most_there: u64,
    /// Of a station the share of its servers that were busy, on average. Of replicas the share of the time in which they computed
    /// anything, were it for one request: no share of what they could bear, for which see `replicas`. Absent for an API.
    pub utilization: Option<f64>,
    /// What its replicas did.
    pub replicas: Option<PoolResult>,
    /// What attempts of runs that count cost there by the token, or what is paid for the time in which its machines had work:
    /// `reserved_usd` without `idle_usd`. As far as it is known; absent when nothing is, or it has no price.
    pub cost_usd: Option<Usd>,
    /// Whether it is known of every attempt, and what the machines cost.
    pub cost_complete: bool,
    /// What its machines cost, busy or idle; absent where nothing is paid by the hour, or the price is not known.
    pub reserved_usd: Option<Usd>,
    /// The part of that for idle time.
    pub idle_usd: Option<Usd>,
}

/// What replicas did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PoolResult {
    /// Replicas on average over time.
    pub mean_replicas: f64,
    /// The most replicas at a time.
    pub most_replicas: u32,
    /// Iterations.
    pub iterations: u64,
    /// Sequences in a batch, on average over busy time.
    pub mean_batch: f64,
    /// Places in batches that were taken, as a share of `max_seqs` of all replicas, on average over time, idle time too. One of
    /// what may run out first; the KV cache and the time of an iteration are others.
    pub batch_occupancy: f64,
    /// Requests that waited for a place in a batch, on average over time.
    pub mean_waiting: f64,
    /// Share of the KV cache in use, on average over time.
    pub kv_occupancy: f64,
    /// Most of the KV cache in use at a time, as a share.
    pub peak_kv_occupancy: f64,
    /// Sequences that lost their place in the KV cache.
    pub preemptions: u64,
    /// Prompt tokens that were found in the cache, as a share.
    pub cache_hits: f64,
    /// Tokens generated per second.
    pub output_tokens_per_s: f64,
}

/// What is said of a model's measurements.
pub fn summarize(model: &Model, measures: &Measures, load_factor: f64, seeds: &[u64]) -> Results {
    let names: Vec<&str> = model.services.iter().map(|service| service.name.as_str()).collect();
    let order = Order::new(model);
    let watched = Watched {
        names: &names,
        is_before: &|first, then| order.is_before(first, then),
        batches: &|service| matches!(model.services[service].kind, ServiceKind::Pool { .. }),
        pattern: Pattern::of(&model.workload.arrivals),
        has_outages: model.services.iter().any(ServiceModel::has_outages),
    };
    let verdict = verdict(&measures.watches, &watched);
    let stable = !matches!(verdict, Verdict::Unstable { .. });
    let measured_s = measures.measured_us().max(1) as f64 / 1e6;
    let runs = measures.counted();
    let found: Vec<ServiceMeasures> = (0..model.services.len()).map(|index| measures.measured_at(index)).collect();
    let services: Vec<ServiceResult> = model
        .services
        .iter()
        .zip(&found)
        .map(|(service, found)| service_result(service, found, measures.measured_us()))
        .collect();
    let has_price = model.services.iter().any(|service| !service.is_free());
    // An idle pool without a price has no attempt whose cost is unknown.
    let cost_complete = measures.cost_complete && services.iter().all(|service| service.cost_complete);
    let known = |usd: Usd| known(usd, cost_complete).filter(|_| has_price);
    let per = |usd: Option<Usd>, runs: u64| usd.filter(|_| runs > 0).and_then(|usd| usd.scaled(1, runs));
    let cost = known(services.iter().filter_map(|service| service.cost_usd).sum());
    let busy_by_node = busy_by_node(&services, &found);
    let hourly: Usd = services.iter().filter_map(|service| service.reserved_usd).sum();
    let by_token: Usd = model
        .services
        .iter()
        .zip(&found)
        .filter(|(service, _)| !matches!(service.price, Price::PerHour(_)))
        .map(|(_, found)| found.cost)
        .sum();
    let reserved_cost = known(hourly + by_token);
    let latency_s = Percentiles::of(&measures.latency, 1e6).filter(|_| stable).map(|percentiles| Percentiles {
        mean: measures.latency_interval().unwrap_or(percentiles.mean),
        ..percentiles
    });
    let has_slo = !model.slo.is_empty();
    let throughput_per_s = runs as f64 / measured_s;
    let good_share = (has_slo && stable && runs > 0).then(|| measures.good as f64 / runs as f64);
    Results {
        scenario: model.scenario.clone(),
        workflow: model.workflow.clone(),
        deployment: model.deployment.clone(),
        basis: "simulated",
        load_factor,
        seeds: seeds.to_vec(),
        runs,
        warmup_runs: measures.arrived.saturating_sub(runs),
        succeeded: measures.succeeded,
        failed: measures.failed,
        refused: measures.refused,
        limited: measures.limited,
        duration_s: measures.arriving_us as f64 / 1e6,
        measured_s,
        throughput_per_s,
        succeeded_per_s: measures.succeeded as f64 / measured_s,
        good_share,
        goodput_per_s: good_share.map(|share| share * throughput_per_s),
        meets_slo: (has_slo && runs > 0)
            .then(|| good_share.is_some_and(|share| share >= model.slo.share.unwrap_or(1.0))),
        latency_s,
        runs_in_system: measures.measured_area_us() as f64 / 1e6 / measured_s,
        most_runs_in_system: measures.most_runs,
        cost_usd: cost,
        cost_complete,
        cost_per_run_usd: per(cost, runs),
        cost_per_succeeded_run_usd: per(cost, measures.succeeded),
        reserved_cost_usd: reserved_cost,
        reserved_cost_per_run_usd: per(reserved_cost, runs),
        reserved_cost_per_succeeded_run_usd: per(reserved_cost, measures.succeeded),
        nodes: model
            .all_nodes()
            .map(|node| {
                let mut of_node = node.candidates.iter().map(|index| &model.services[*index as usize]);
                let has_price = of_node.clone().any(|service| !service.is_free());
                let position = node.position as usize;
                let busy = busy_by_node.get(position).copied().unwrap_or(Usd::ZERO);
                let found = &measures.nodes[position];
                let cost_usd = self::known(found.cost + busy, !found.is_unknown).filter(|_| has_price);
                NodeResult { cost_usd, ..node_result(node, of_node.next(), found, stable) }
            })
            .filter(|node| node.kind != "workflow")
            .collect(),
        services,
        assumptions: model.assumptions.clone(),
        warnings: warnings(model, measures, load_factor),
        verdict,
    }
}

/// What is paid by the hour for the time in which machines had work, by the node for which they did it.
fn busy_by_node(services: &[ServiceResult], found: &[ServiceMeasures]) -> Vec<Usd> {
    let mut by_node = Vec::new();
    for (service, found) in services.iter().zip(found) {
        let (Some(busy), Some(_)) = (service.cost_usd, service.reserved_usd) else { continue };
        by_node.resize(found.busy_ns.len(), Usd::ZERO);
        let all = found.busy_ns.iter().sum::<u128>();
        // Of a sum that grows, so that the parts are the whole.
        let (mut sum, mut given) = (0, Usd::ZERO);
        for (usd, busy_ns) in by_node.iter_mut().zip(&found.busy_ns) {
            sum += busy_ns;
            let until = match u128::try_from(busy.nanos()) {
                Ok(nanos) if all > 0 => i128::try_from(nanos.saturating_mul(sum) / all).map_or(busy, Usd::from_nanos),
                _ => Usd::ZERO,
            };
            *usd += until - given;
            given = until;
        }
    }
    by_node
}

/// How far from whole days a daily load may be before that is said: the last arrival comes a little before the end.
const PART_OF_A_DAY: f64 = 0.05;

/// An amount of which something is known: nothing that is not complete is no zero.
fn known(usd: Usd, is_complete: bool) -> Option<Usd> {
    (is_complete || usd != Usd::ZERO).then_some(usd)
}

/// What the scenario says of the load and of lengths, and what became of it.
fn warnings(model: &Model, measures: &Measures, load_factor: f64) -> Vec<String> {
    let workload = &model.workload;
    let mut warnings: Vec<String> = clients_told(&workload.arrivals, load_factor).into_iter().collect();
    let simulations = measures.watches.len() as u64;
    if let (Some(runs), Some(duration_us)) = (workload.runs, workload.duration_us)
        && measures.arrived == runs * simulations
        && measures.arriving_us < duration_us * simulations / 50 * 49
    {
        let hours = |us: u64| us as f64 / 3.6e9;
        warnings.push(format!(
            "the workload's `runs`, {runs}, had arrived after {:.2} h of the {:.2} h that it was to last: the rest is left out",
            hours(measures.arriving_us / simulations.max(1)),
            hours(duration_us)
        ));
    }
    if let Pattern::Daily { day_us } = Pattern::of(&workload.arrivals)
        && warnings.is_empty()
    {
        let days = measures.arriving_us as f64 / simulations.max(1) as f64 / day_us as f64;
        if (days - days.round().max(1.0)).abs() > PART_OF_A_DAY {
            warnings.push(format!(
                "runs arrived during {:.2} h, which is {days:.2} days: rates, and what machines cost per run, are those of that time",
                days * day_us as f64 / 3.6e9
            ));
        }
    }
    for node in model.all_nodes() {
        let found = &measures.nodes[node.position as usize];
        if let (Some(rejection), count) = (found.rejection, found.too_long) {
            warnings.push(format!("`{}`: {count} of {} requests were refused: {rejection}", node.path, found.attempts));
        }
        if let (Some(most), 1..) = (node.max_output, found.cut) {
            warnings.push(format!(
                "`{}`: {} of {} answers were to have up to {} tokens and are cut at the agent's max_tokens of {most}",
                node.path, found.cut, found.attempts, found.longest
            ));
        }
    }
    warnings
}

fn node_result(node: &NodeModel, service: Option<&ServiceModel>, found: &NodeMeasures, stable: bool) -> NodeResult {
    let of = |series: &Series, per: f64| Percentiles::of(series, per).filter(|_| stable);
    let wait = match service.map(|service| (&service.kind, service.rules.is_empty())) {
        Some((ServiceKind::Pool { .. }, _)) => Some(&found.wait),
        Some((ServiceKind::Api(_), true)) | None => None,
        Some(_) => Some(&found.queue),
    };
    NodeResult {
        node: node.path.clone(),
        kind: node.kind,
        service: service.map(|service| service.name.clone()),
        attempts: found.attempts,
        failed: found.failed,
        cancelled: found.cancelled,
        retries: found.again,
        rate_limited: found.rate_limited,
        too_long: found.too_long,
        rejection: found.rejection.map(|rejection| rejection.to_string()),
        queue_s: of(&found.queue, 1e6),
        wait_s: wait.and_then(|wait| of(wait, 1e6)),
        ttft_s: of(&found.ttft, 1e6),
        tpot_ms: of(&found.tpot, 1e6),
        duration_s: of(&found.duration, 1e6),
        input_tokens: found.input_tokens,
        cached_input_tokens: found.cached_tokens,
        output_tokens: found.output_tokens,
        cost_usd: None,
        cost_complete: !found.is_unknown,
    }
}

/// What is said of a service over `measured_us`.
fn service_result(service: &ServiceModel, found: &ServiceMeasures, measured_us: u64) -> ServiceResult {
    let measured = measured_us.max(1) as f64;
    let mean_served = found.served_us as f64 / measured;
    let (kind, utilization) = match &service.kind {
        ServiceKind::Station { servers } => ("station", Some(mean_served / f64::from(*servers))),
        ServiceKind::Api(_) => ("api", None),
        ServiceKind::Pool { .. } => {
            let busy = found.busy_us as f64 / found.paid_us.max(1) as f64;
            ("replicas", found.pool.map(|_| busy))
        }
    };
    let replicas = match (&service.kind, &found.pool) {
        (ServiceKind::Pool { spec, .. }, Some(pool)) => {
            let totals = &pool.replicas;
            let blocks = f64::from(spec.replica.kv_blocks);
            let prompt = totals.prefill_tokens + totals.cached_tokens;
            Some(PoolResult {
                mean_replicas: pool.provisioned_us as f64 / measured,
                most_replicas: pool.peak_replicas,
                iterations: totals.iterations,
                batch_occupancy: totals.running_ps as f64
                    / 1e6
                    / f64::from(spec.replica.max_num_seqs)
                    / pool.provisioned_us.max(1) as f64,
                mean_batch: totals.running_ps as f64 / totals.busy_ps.max(1) as f64,
                mean_waiting: totals.waiting_ps as f64 / 1e6 / measured,
                kv_occupancy: totals.twice_block_ps as f64 / 2e6 / blocks / pool.provisioned_us.max(1) as f64,
                peak_kv_occupancy: f64::from(totals.peak_blocks) / blocks,
                preemptions: totals.preemptions,
                cache_hits: totals.cached_tokens as f64 / prompt.max(1) as f64,
                output_tokens_per_s: totals.output_tokens as f64 * 1e6 / measured,
            })
        }
        _ => None,
    };
    let bill = match &service.price {
        Price::PerHour(usd) => reserved(*usd, found.paid_us, found.busy_us),
        _ => None,
    };
    let has_price = !matches!((&service.kind, &service.price), (ServiceKind::Pool { .. }, Price::Unknown));
    let cost_complete = has_price && !found.is_unknown;
    ServiceResult {
        service: service.name.clone(),
        model: service.reference.as_ref().map(|reference| reference.model.clone()),
        kind,
        basis: service.basis.clone(),
        requests: found.requests,
        rate_limited: found.rate_limited,
        failed: found.failed,
        mean_served,
        mean_there: found.area_us as f64 / measured,
        most_there: found.most,
        utilization,
        replicas,
        cost_usd: match &bill {
            Some(bill) => Some(bill.busy),
            None => known(found.cost, cost_complete).filter(|_| !service.is_free()),
        },
        cost_complete,
        reserved_usd: bill.map(|bill| bill.total),
        idle_usd: bill.map(|bill| bill.idle),
    }
}
