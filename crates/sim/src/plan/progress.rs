//! How near a fleet comes to what is asked for, and what is in its way.

use lumos_core::spec::SloSpec;

use crate::results::{NodeResult, Percentiles, Results, Verdict};

/// Changes that count: of the share of good runs, of times as a share of them, and of those who wait.
const SHARE: f64 = 0.001;
const TIMES: f64 = 0.99;
const WAITING: f64 = 0.9;

/// Requests that wait on average where hardly anybody does.
const NOBODY: f64 = 0.01;

/// How near a fleet comes to the SLO. The share of good runs says nothing while it is 0; times and queues still move then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nearness {
    /// The share of good runs; `None` where a queue grows without bound.
    share: Option<f64>,
    /// The 95th percentile over what is allowed, of whatever exceeds it most; `None` when no run succeeds.
    excess: Option<f64>,
    /// Requests that wait for the backend, on average.
    waiting: f64,
    /// Whether more may be asked of that backend than it can do, as far as is seen.
    is_short: bool,
}

impl Nearness {
    /// Of what a fleet for `backend` does.
    pub fn of(results: &Results, slo: &SloSpec, backend: &str) -> Self {
        let service = results.services.iter().find(|service| service.service == backend);
        Self {
            share: results.good_share,
            excess: excess(results, slo),
            waiting: service.and_then(|it| it.replicas.as_ref()).map_or(0.0, |pool| pool.mean_waiting),
            is_short: match &results.verdict {
                Verdict::Stable => false,
                Verdict::Unclear { services } => services.iter().any(|name| name == backend),
                Verdict::Overloaded { spans } => spans.iter().any(|span| span.service == backend),
                // What comes after a service whose queue grows is not seen yet.
                Verdict::Unstable { .. } => true,
            },
        }
    }

    /// Whether it is nearer than with fewer replicas, or more of them are needed in any case.
    pub fn is_nearer(&self, before: &Self) -> bool {
        let share = self.share.zip(before.share);
        let excess = self.excess.zip(before.excess);
        self.is_short
            || share.is_none_or(|(share, before)| share > before + SHARE)
            || excess.is_some_and(|(excess, before)| excess < before * TIMES)
            || self.excess.is_some() && before.excess.is_none()
            || before.waiting > NOBODY && self.waiting < before.waiting * WAITING
    }

    /// In the order of how good it is.
    pub fn rank(&self) -> (f64, f64) {
        (self.share.unwrap_or(-1.0), -self.excess.unwrap_or(f64::INFINITY))
    }
}

/// The 95th percentile of what exceeds the SLO most, as a multiple of what it allows.
fn excess(results: &Results, slo: &SloSpec) -> Option<f64> {
    let over = |found: Option<&Percentiles>, limit: Option<f64>| Some(found?.p95 / limit?);
    let run = over(results.latency_s.as_ref(), slo.run_s);
    let nodes = results.nodes.iter();
    let of_nodes = nodes
        .flat_map(|node| [over(node.ttft_s.as_ref(), slo.ttft_s), over(node.tpot_ms.as_ref(), slo.tpot_ms)])
        .flatten();
    results.latency_s.as_ref()?;
    run.into_iter().chain(of_nodes).reduce(f64::max)
}

/// Why a fleet of so many replicas does not suffice: how many runs are good, and what is in the way. `more`: what is to be
/// said of more replicas.
pub(super) fn why_not(results: &Results, slo: &SloSpec, replicas: u32, more: &str) -> String {
    let with = format!("with {replicas} replica{}", if replicas == 1 { "" } else { "s" });
    let mut why = match &results.verdict {
        Verdict::Unstable { services, .. } if !services.is_empty() => {
            let names: Vec<&str> = services.iter().map(|it| it.service.as_str()).collect();
            format!("{with} the queue of {} grows without bound", names.join(", "))
        }
        Verdict::Unstable { .. } => format!("{with} the backlog grows without bound"),
        Verdict::Stable | Verdict::Overloaded { .. } | Verdict::Unclear { .. } => {
            let share = results.good_share.unwrap_or(0.0) * 100.0;
            let wanted = slo.share.unwrap_or(1.0) * 100.0;
            format!("{with} {share:.1} % of runs are good instead of {wanted} %")
        }
    };
    why.push_str(more);
    for cause in causes(results, slo) {
        why.push_str("; ");
        why.push_str(&cause);
    }
    why
}

/// What is in the way of good runs, with the services that it happens at.
fn causes(results: &Results, slo: &SloSpec) -> Vec<String> {
    let mut causes = Vec::new();
    let at = |node: &NodeResult| match &node.service {
        Some(service) => format!("`{}` on {service}", node.node),
        None => format!("`{}`", node.node),
    };
    for node in &results.nodes {
        if let Some(rejection) = &node.rejection {
            causes.push(format!(
                "{}: {} of {} requests are refused: {rejection}",
                at(node),
                node.too_long,
                node.attempts
            ));
        }
    }
    for service in results.services.iter().filter(|service| service.rate_limited > 0) {
        let (count, requests) = (service.rate_limited, service.requests);
        causes.push(format!("{} answers {count} of {requests} requests with 429", service.service));
    }
    match &results.verdict {
        Verdict::Overloaded { spans } => {
            let mut names: Vec<&str> = spans.iter().map(|span| span.service.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            causes.push(format!("more is asked of {} for some time than it serves", names.join(", ")));
        }
        Verdict::Unclear { services } => {
            causes.push(format!("these runs are too few to tell whether {} keeps up", services.join(", ")));
        }
        Verdict::Stable | Verdict::Unstable { .. } => {}
    }
    let p95 = |found: Option<&Percentiles>| found.map_or(0.0, |found| found.p95);
    let beyond = |found: f64, limit: Option<f64>| limit.filter(|limit| found > *limit);
    let run_s = p95(results.latency_s.as_ref());
    if let Some(limit) = beyond(run_s, slo.run_s) {
        let takes = |node: &NodeResult| p95(node.queue_s.as_ref()) + p95(node.duration_s.as_ref());
        let slowest = results.nodes.iter().max_by(|a, b| takes(a).total_cmp(&takes(b)));
        let slowest = slowest.map_or(String::new(), |node| format!(", {:.3} s of it at {}", takes(node), at(node)));
        causes.push(format!("p95 of runs is {run_s:.3} s instead of {limit} s{slowest}"));
    }
    type Of = fn(&NodeResult) -> Option<&Percentiles>;
    let limits: [(Of, Option<f64>, &str, &str); 2] = [
        (|node| node.ttft_s.as_ref(), slo.ttft_s, "TTFT", "s"),
        (|node| node.tpot_ms.as_ref(), slo.tpot_ms, "TPOT", "ms"),
    ];
    for (of, limit, what, unit) in limits {
        let worst = results.nodes.iter().max_by(|a, b| p95(of(a)).total_cmp(&p95(of(b))));
        if let Some((node, limit)) = worst.and_then(|node| Some((node, beyond(p95(of(node)), limit)?))) {
            causes.push(format!(
                "p95 of {what} of {} is {:.3} {unit} instead of {limit} {unit}",
                at(node),
                p95(of(node))
            ));
        }
    }
    let failed = results.runs - results.succeeded;
    if failed > 0 {
        causes.push(format!("{failed} of {} runs do not succeed", results.runs));
    }
    causes
}
