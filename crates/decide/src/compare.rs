//! What was measured beside what was simulated, with the error of the simulation.

use lumos_sim::results::{NodeResult, Percentiles, Results};
use serde::Serialize;

/// A figure, measured and simulated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The node; absent for whole runs.
    pub node: Option<String>,
    /// What it is, e.g. `ttft_s.p95`: its place in the results.
    pub figure: String,
    /// As measured.
    pub measured: f64,
    /// As simulated.
    pub simulated: f64,
    /// Simulated over measured, less 1, in percent.
    pub error_percent: f64,
}

/// A figure of percentiles, and how it is named.
type Part = (&'static str, fn(&Percentiles) -> f64);

/// A quantity of a node, and how it is named.
type Quantity = (&'static str, fn(&NodeResult) -> Option<&Percentiles>);

/// The figures that both have.
pub fn compare(measured: &Results, simulated: &Results) -> Vec<Compared> {
    let mut found = Vec::new();
    let mut both = |node: Option<&str>, figure: &str, measured: Option<f64>, simulated: Option<f64>| {
        if let (Some(measured), Some(simulated)) = (measured, simulated)
            && measured > 0.0
        {
            let error_percent = (simulated / measured - 1.0) * 100.0;
            let node = node.map(str::to_owned);
            found.push(Compared { node, figure: figure.to_owned(), measured, simulated, error_percent });
        }
    };
    let parts: [Part; 3] = [("mean", |of| of.mean.value), ("p50", |of| of.p50), ("p95", |of| of.p95)];
    let runs = [measured, simulated];
    for (part, of) in parts {
        let [a, b] = runs.map(|results| results.latency_s.as_ref().map(of));
        both(None, &format!("latency_s.{part}"), a, b);
    }
    both(None, "throughput_per_s", Some(measured.throughput_per_s), Some(simulated.throughput_per_s));
    both(None, "runs_in_system", Some(measured.runs_in_system), Some(simulated.runs_in_system));
    let figures: [Quantity; 4] = [
        ("ttft_s", |node| node.ttft_s.as_ref()),
        ("tpot_ms", |node| node.tpot_ms.as_ref()),
        ("duration_s", |node| node.duration_s.as_ref()),
        ("queue_s", |node| node.queue_s.as_ref()),
    ];
    for node in &measured.nodes {
        let Some(other) = simulated.nodes.iter().find(|other| other.node == node.node) else { continue };
        for (name, figure) in figures {
            for (part, of) in parts {
                let [a, b] = [node, other].map(|node| figure(node).map(of));
                // A queue of microseconds is none.
                both(Some(&node.node), &format!("{name}.{part}"), a.filter(|value| *value >= 0.001), b);
            }
        }
    }
    found
}
