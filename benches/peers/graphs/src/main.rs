//! Measures graph-flow and adk-graph: `bench-graphs SYSTEM MEASURE` prints one figure.
//!
//! Measures: `chain`, `fan`, `layered`, `columns` (µs per node), `diamond` (runs/s), `memory` (bytes per run in flight); and
//! of what survives the process, `durable-chain` (µs per step), `durable` (runs/s), `size` (bytes per step).

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
    let checkpoints = system == "adk-graph-sqlite";
    match measure {
        "durable-chain" if checkpoints => return Some(adk::durable(&Shape::named("chain")?, false).await),
        "durable" if checkpoints => return Some(adk::durable(&Shape::named("diamond")?, true).await),
        "size" if checkpoints => return Some(adk::size().await),
        _ => {}
    }
    let shape = Shape::named(measure)?;
    let concurrent = measure == "diamond";
    match system {
        "graph-flow" => Some(flow::time(&shape, concurrent).await),
        "adk-graph" => Some(adk::time(&shape, concurrent).await),
        _ => None,
    }
}
