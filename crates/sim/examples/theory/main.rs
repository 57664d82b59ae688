//! Queues of which theory says how long one waits, simulated as scenarios: `theory [SCALE [QUEUE]]`.
//!
//! Prints CSV: for each queue and load the mean and the 95th percentile of the time in the queue, theory's, how far off the
//! simulation is, and the half width of its 95 % interval over the seeds, in percent of theory. The customers are as many as an
//! interval of ±2 % takes; SCALE multiplies them. QUEUE is the beginning of a row, such as `M/M/1,0.95`.

mod exact;
#[path = "../shared/processor.rs"]
mod processor;
mod queue;

use lumos_sim::results::{Interval, Measures};
use lumos_sim::{Options, simulate};
use rayon::prelude::*;

use exact::Waits;
use processor::processor_seconds;
use queue::{Queue, queues};

const SEEDS: u64 = 32;

fn main() {
    let scale: f64 = std::env::args().nth(1).and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    println!(
        "queue,load,customers,mean_s,theory_s,off_percent,half_percent,p95_s,theory_p95_s,off_percent,half_percent,us_per_customer"
    );
    let wanted = std::env::args().nth(2).unwrap_or_default();
    for queue in queues().into_iter().filter(|queue| format!("{},{}", queue.name, queue.load).starts_with(&wanted)) {
        report(&queue, (queue.customers as f64 * scale) as u64 / SEEDS);
    }
}

fn report(queue: &Queue, customers: u64) {
    let model = queue.model(customers);
    let before = processor_seconds();
    let found: Vec<(f64, f64)> = (0..SEEDS)
        .into_par_iter()
        .map(|seed| {
            let found = simulate(&model, Options { seed, ..Options::default() }).expect("there are no replicas");
            (mean(&found, queue), found.nodes[queue.node].queue.quantile(0.95).unwrap_or(0) as f64 / 1e6)
        })
        .collect();
    let seconds = processor_seconds() - before;
    let (means, tails): (Vec<f64>, Vec<f64>) = found.into_iter().unzip();
    let Waits { mean: theory, p95 } = queue.theory;
    let (mean, tail) = (Interval::of(&means), Interval::of(&tails));
    let off = |found: f64, theory: f64| (found / theory - 1.0) * 100.0;
    println!(
        "{},{},{},{:.4},{theory:.4},{:+.2},{:.2},{:.4},{},{},{},{:.2}",
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
        seconds * 1e6 / (customers * SEEDS) as f64,
    );
}

fn mean(found: &Measures, queue: &Queue) -> f64 {
    found.nodes[queue.node].queue.mean().unwrap_or(0.0) / 1e6
}
