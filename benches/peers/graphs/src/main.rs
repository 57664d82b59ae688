//! Measures graph-flow and adk-graph: `bench-graphs SYSTEM MEASURE` prints one figure.
//!
//! Measures: `chain`, `fan`, `layered`, `columns` (µs per node), `diamond` (runs/s), `memory` (bytes per run in flight).

mod adk;
mod flow;

use yardstick::{Gate, Shape};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [system, measure] = arguments.as_slice() else {
        eprintln!("usage: bench-graphs SYSTEM MEASURE");
        std::process::exit(2);
    };
    let figure = yardstick::runtime().block_on(async {
        let (system, measure) = (system.clone(), measure.clone());
        tokio::spawn(async move { run(&system, &measure).await }).await.expect("a measure that does not panic")
    });
    match figure {
        Some(figure) => println!("{figure}"),
        None => {
            eprintln!("there is no measure `{measure}` of `{system}`");
            std::process::exit(2);
        }
    }
}

async fn run(system: &str, measure: &str) -> Option<f64> {
    if measure == "memory" {
        let gate = Gate::default();
        return match system {
            "graph-flow" => Some(flow::memory(gate).await),
            "adk-graph" => Some(adk::memory(gate).await),
            _ => None,
        };
    }
    let shape = Shape::named(measure)?;
    let concurrent = measure == "diamond";
    match system {
        "graph-flow" => Some(flow::time(&shape, concurrent).await),
        "adk-graph" => Some(adk::time(&shape, concurrent).await),
        "adk-graph-sqlite" if concurrent => Some(adk::durable(&shape).await),
        _ => None,
    }
}
