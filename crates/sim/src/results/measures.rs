//! Raw measurements of one simulation, or of several merged.

use lumos_core::record::Status;
use lumos_core::{Usage, Usd};

use super::series::{BATCHES, Interval, Series};
use super::watch::Watch;
use crate::replica::{PoolTotals, Rejection};

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// Runs that arrived, those of the warm-up too.
    pub arrived: u64,
    /// Runs that count, by how they ended.
    pub succeeded: u64,
    /// Runs that count and failed.
    pub failed: u64,
    /// Runs that count and were refused.
    pub refused: u64,
    /// Runs that count and met a budget, a deadline or another limit.
    pub limited: u64,
    /// Runs that count, succeeded and met the SLO.
    pub good: u64,
    /// Microseconds from arrival to end, of runs that succeeded.
    pub latency: Series,
    /// Runs that count in each batch of their series, by order of arrival: as many as it takes to have enough batches.
    pub batch_runs: u64,
    /// Whether every attempt's cost is known.
    pub cost_complete: bool,
    /// By position of the node.
    pub nodes: Vec<NodeMeasures>,
    /// By position of the service.
    pub services: Vec<ServiceMeasures>,
    /// Microseconds from the first arrival that could be to the last end, of all simulations together.
    pub horizon_us: u64,
    /// What there was when the first run arrived that counts; `None` when that is the first of all.
    pub warm_up: Option<Box<WarmUp>>,
    /// Microseconds during which runs arrived.
    pub arriving_us: u64,
    /// Runs in the system, added up over time, in microseconds.
    pub area_us: u128,
    /// Microseconds that runs spent in the system, added up over runs; with `area_us`, Little's law.
    pub sojourn_us: u128,
    /// Runs that ended, those of the warm-up too.
    pub ended: u64,
    /// The most runs in the system at a time, since the warm-up.
    pub most_runs: u64,
    /// What queues looked like while runs arrived, by simulation.
    pub watches: Vec<Watch>,
    /// The mean latency of each simulation in seconds.
    pub mean_latency_s: Vec<f64>,
    /// The 95th percentile of each simulation's latency in seconds.
    pub p95_latency_s: Vec<f64>,
}

/// What was measured at a node, over attempts of runs that count.
#[derive(Debug, Clone, Default)]
pub struct NodeMeasures {
    /// Attempts that were sent, cancelled ones too.
    pub attempts: u64,
    /// Attempts that failed, those refused by a rate limit too.
    pub failed: u64,
    /// Attempts that were cancelled: hedges that lost, timeouts.
    pub cancelled: u64,
    /// Attempts beyond a step's first.
    pub again: u64,
    /// Answers 429.
    pub rate_limited: u64,
    /// Requests that no replica could ever serve.
    pub too_long: u64,
    /// Why not the first of them.
    pub rejection: Option<Rejection>,
    /// Answers that were to be longer than the agent allows, and end there.
    pub cut: u64,
    /// The longest that one of them was to be.
    pub longest: u32,
    /// Microseconds of waiting: for admission, or for a free server.
    pub queue: Series,
    /// Microseconds of waiting, for a place in a replica's batch too, of requests that replicas answered.
    pub wait: Series,
    /// Microseconds from sending to the first token.
    pub ttft: Series,
    /// Nanoseconds per token after the first.
    pub tpot: Series,
    /// Microseconds from sending, or from the start of work, to the end.
    pub duration: Series,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of prompts that came from a cache.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// What the attempts cost that are paid by the token, as far as it is known.
    pub cost: Usd,
    /// Whether it is not known of some attempt what it cost.
    pub is_unknown: bool,
}

/// Sums at the end of the warm-up, which are no part of what was measured.
#[derive(Debug, Clone, Default)]
pub struct WarmUp {
    /// When it ended, in microseconds; of all simulations together.
    pub at_us: u64,
    /// As [`Measures::area_us`].
    pub area_us: u128,
    /// By position of the service.
    pub services: Vec<ServiceMeasures>,
}

/// What was measured at a service, over everything that was asked of it.
#[derive(Debug, Clone, Default)]
pub struct ServiceMeasures {
    /// Requests that were sent to it.
    pub requests: u64,
    /// Requests that it refused with 429.
    pub rate_limited: u64,
    /// Requests that failed otherwise.
    pub failed: u64,
    /// Requests that waited or were served, added up over time, in microseconds.
    pub area_us: u128,
    /// Requests that were served, added up over time, in microseconds.
    pub served_us: u128,
    /// Microseconds that requests spent there, added up over requests.
    pub sojourn_us: u128,
    /// The most requests at a time, since the warm-up.
    pub most: u64,
    /// What attempts of runs that count cost there by the token, as far as it is known.
    pub cost: Usd,
    /// Whether it is not known of some attempt what it cost.
    pub is_unknown: bool,
    /// Requests there now.
    pub(crate) here: u64,
    /// Requests that are served now.
    pub(crate) serving: u64,
    pub(crate) since_us: u64,
    /// What its replicas did.
    pub pool: Option<PoolTotals>,
    /// Machine-microseconds that are paid for where that is by the hour, busy or idle.
    pub paid_us: u64,
    /// Of those, how many had work: replicas with requests in their batch, a station's busy servers as a share of all.
    pub busy_us: u64,
    /// By position of the node, nanoseconds of that time that attempts of runs that count had: how it is divided.
    pub busy_ns: Vec<u128>,
}

impl ServiceMeasures {
    pub(crate) fn advance(&mut self, now_us: u64) {
        let passed = u128::from(now_us - self.since_us);
        self.area_us += passed * u128::from(self.here);
        self.served_us += passed * u128::from(self.serving);
        self.since_us = now_us;
    }
}

impl Measures {
    pub(crate) fn new(nodes: usize, services: usize) -> Self {
        Self {
            batch_runs: 1,
            cost_complete: true,
            nodes: vec![NodeMeasures::default(); nodes],
            services: vec![ServiceMeasures { busy_ns: vec![0; nodes], ..ServiceMeasures::default() }; services],
            ..Self::default()
        }
    }

    /// Microseconds from the end of the warm-up to the last end, of all simulations together.
    pub fn measured_us(&self) -> u64 {
        self.horizon_us - self.warm_up.as_ref().map_or(0, |warm_up| warm_up.at_us)
    }

    /// As `area_us`, since the warm-up.
    pub fn measured_area_us(&self) -> u128 {
        self.area_us - self.warm_up.as_ref().map_or(0, |warm_up| warm_up.area_us)
    }

    /// What was measured at a service since the warm-up.
    pub fn measured_at(&self, service: usize) -> ServiceMeasures {
        let whole = self.services.get(service).cloned().unwrap_or_default();
        match self.warm_up.as_ref().and_then(|warm_up| warm_up.services.get(service)) {
            Some(before) => whole.since(before),
            None => whole,
        }
    }

    /// Runs that count.
    pub fn counted(&self) -> u64 {
        self.succeeded + self.failed + self.refused + self.limited
    }

    pub(crate) fn count(&mut self, status: Status) {
        *match status {
            Status::Succeeded => &mut self.succeeded,
            Status::Refused => &mut self.refused,
            Status::Limited => &mut self.limited,
            _ => &mut self.failed,
        } += 1;
    }

    /// Makes room in batches for the run that is `number`th of those that count, from 0.
    pub(crate) fn make_room(&mut self, number: u64) {
        while number / self.batch_runs >= BATCHES as u64 {
            self.coarsen();
        }
    }

    /// The batch of a run for which there is room.
    pub(crate) fn batch(&self, number: u64) -> usize {
        (number / self.batch_runs) as usize
    }

    fn coarsen(&mut self) {
        self.batch_runs *= 2;
        self.latency.coarsen();
        for node in &mut self.nodes {
            for series in [&mut node.queue, &mut node.wait, &mut node.ttft, &mut node.tpot, &mut node.duration] {
                series.coarsen();
            }
        }
    }

    /// Notes this simulation's own means, which merging keeps apart.
    pub(crate) fn close(&mut self, watch: Watch) {
        self.watches.push(watch);
        self.mean_latency_s.extend(self.latency.mean().map(|mean| mean / 1e6));
        self.p95_latency_s.extend(self.latency.quantile(0.95).map(|us| us as f64 / 1e6));
    }

    /// The mean latency in seconds: with an interval over simulations when there are several, else over batches.
    pub fn latency_interval(&self) -> Option<Interval> {
        if self.mean_latency_s.len() > 1 {
            let value = self.latency.mean()? / 1e6;
            return Some(Interval { value, half: Interval::of(&self.mean_latency_s).half });
        }
        let Interval { value, half } = self.latency.mean_interval()?;
        Some(Interval { value: value / 1e6, half: half.map(|half| half / 1e6) })
    }

    /// Adds what another simulation of the same model measured.
    pub fn merge(&mut self, other: &Self) {
        // Batches are added up one by one, so they are to be of as many runs.
        while self.batch_runs < other.batch_runs {
            self.coarsen();
        }
        if other.batch_runs < self.batch_runs {
            let mut other = other.clone();
            while other.batch_runs < self.batch_runs {
                other.coarsen();
            }
            return self.merge(&other);
        }
        self.arrived += other.arrived;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.refused += other.refused;
        self.limited += other.limited;
        self.good += other.good;
        self.latency.merge(&other.latency);
        self.cost_complete &= other.cost_complete;
        for (node, more) in self.nodes.iter_mut().zip(&other.nodes) {
            node.merge(more);
        }
        for (service, more) in self.services.iter_mut().zip(&other.services) {
            service.merge(more);
        }
        self.horizon_us += other.horizon_us;
        match (&mut self.warm_up, &other.warm_up) {
            (Some(warm_up), Some(more)) => warm_up.merge(more),
            (warm_up, more) => *warm_up = warm_up.take().or_else(|| more.clone()),
        }
        self.arriving_us += other.arriving_us;
        self.area_us += other.area_us;
        self.sojourn_us += other.sojourn_us;
        self.ended += other.ended;
        self.most_runs = self.most_runs.max(other.most_runs);
        self.watches.extend(other.watches.iter().cloned());
        self.mean_latency_s.extend(&other.mean_latency_s);
        self.p95_latency_s.extend(&other.p95_latency_s);
    }
}

impl NodeMeasures {
    pub(crate) fn refuse(&mut self, rejection: Rejection) {
        self.too_long += 1;
        self.rejection.get_or_insert(rejection);
    }

    /// Adds what an attempt read and wrote.
    pub(crate) fn use_tokens(&mut self, usage: &Usage) {
        self.input_tokens += usage.input_tokens.unwrap_or(0);
        self.cached_tokens += usage.cached_input_tokens.unwrap_or(0);
        self.output_tokens += usage.output_tokens.unwrap_or(0);
    }

    /// An answer that was to have so many tokens ends earlier; 0: it has all that it was to have.
    pub(crate) fn cut(&mut self, tokens: u32) {
        self.cut += u64::from(tokens > 0);
        self.longest = self.longest.max(tokens);
    }

    fn merge(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.again += other.again;
        self.rate_limited += other.rate_limited;
        self.too_long += other.too_long;
        self.rejection = self.rejection.or(other.rejection);
        self.cut += other.cut;
        self.longest = self.longest.max(other.longest);
        self.queue.merge(&other.queue);
        self.wait.merge(&other.wait);
        self.ttft.merge(&other.ttft);
        self.tpot.merge(&other.tpot);
        self.duration.merge(&other.duration);
        self.input_tokens += other.input_tokens;
        self.cached_tokens += other.cached_tokens;
        self.output_tokens += other.output_tokens;
        self.cost += other.cost;
        self.is_unknown |= other.is_unknown;
    }
}

impl WarmUp {
    fn merge(&mut self, other: &Self) {
        self.at_us += other.at_us;
        self.area_us += other.area_us;
        for (service, more) in self.services.iter_mut().zip(&other.services) {
            service.merge(more);
        }
    }
}

impl ServiceMeasures {
    /// What came after `before`, an earlier state of the same service. The most at a time is of that time already.
    fn since(self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            rate_limited: self.rate_limited - before.rate_limited,
            failed: self.failed - before.failed,
            area_us: self.area_us - before.area_us,
            served_us: self.served_us - before.served_us,
            sojourn_us: self.sojourn_us - before.sojourn_us,
            pool: self.pool.zip(before.pool).map(|(pool, before)| pool.since(&before)),
            paid_us: self.paid_us - before.paid_us,
            busy_us: self.busy_us.saturating_sub(before.busy_us),
            ..self
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.rate_limited += other.rate_limited;
        self.failed += other.failed;
        self.area_us += other.area_us;
        self.served_us += other.served_us;
        self.sojourn_us += other.sojourn_us;
        self.most = self.most.max(other.most);
        self.cost += other.cost;
        self.is_unknown |= other.is_unknown;
        if let (Some(pool), Some(more)) = (&mut self.pool, &other.pool) {
            pool.merge(more);
        }
        self.paid_us += other.paid_us;
        self.busy_us += other.busy_us;
        for (busy_ns, more) in self.busy_ns.iter_mut().zip(&other.busy_ns) {
            *busy_ns += more;
        }
    }
}
