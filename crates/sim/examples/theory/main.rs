//! Queues of which theory says how long one waits, simulated as scenarios: `theory [CUSTOMERS]`.
//!
//! Prints CSV: for each queue and load the mean and the 95th percentile of the time in the queue, theory's, how far off the
//! simulation is, and the half width of its 95 % interval over eight seeds, in percent of theory.

mod exact;
mod queue;

use std::time::Duration;

use lumos_sim::results::{Interval, Measures};
use lumos_sim::{Options, simulate};

use exact::Waits;
use queue::{Queue, queues};

const SEEDS: u64 = 8;

fn main() {
    let customers: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(16_000_000);
    println!(
        "queue,load,customers,mean_s,theory_s,off_percent,half_percent,p95_s,theory_p95_s,off_percent,half_percent,ns_per_customer"
    );
    for queue in queues() {
        report(&queue, customers / SEEDS);
    }
}

fn report(queue: &Queue, customers: u64) {
    let model = queue.model(customers);
    let mut means = Vec::new();
    let mut tails = Vec::new();
    let mut time = Duration::ZERO;
    for seed in 0..SEEDS {
        let start = clock();
        let found = simulate(&model, Options { seed, ..Options::default() }).expect("there are no replicas");
        time += clock().saturating_sub(start);
        means.push(mean(&found, queue));
        tails.push(found.nodes[queue.node].queue.quantile(0.95).unwrap_or(0) as f64 / 1e6);
    }
    let Waits { mean: theory, p95 } = queue.theory;
    let (mean, tail) = (Interval::of(&means), Interval::of(&tails));
    let off = |found: f64, theory: f64| (found / theory - 1.0) * 100.0;
    println!(
        "{},{},{},{:.4},{theory:.4},{:+.2},{:.2},{:.4},{},{},{},{:.0}",
        queue.name,
        queue.load,
        customers * SEEDS,
        mean.value,
        off(mean.value, theory),
        mean.half.unwrap_or(0.0) / theory * 100.0,
        tail.value,
        p95.map_or(String::new(), |p95| format!("{p95:.4}")),
        p95.map_or(String::new(), |p95| format!("{:+.2}", off(tail.value, p95))),
        p95.map_or(String::new(), |p95| format!("{:.2}", tail.half.unwrap_or(0.0) / p95 * 100.0)),
        time.as_nanos() as f64 / (customers * SEEDS) as f64,
    );
}

fn mean(found: &Measures, queue: &Queue) -> f64 {
    found.nodes[queue.node].queue.mean().unwrap_or(0.0) / 1e6
}

/// Processor time would need a library; on an idle machine the wall says the same.
#[allow(clippy::disallowed_methods, reason = "an example that measures itself has no other clock")]
fn clock() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
