//! Measures lumos and hand-written tokio: `bench-lumos SYSTEM MEASURE` prints one figure.
//!
//! Measures: `chain`, `fan`, `layered`, `columns` (µs per node), `diamond` (runs/s), `memory` (bytes per run in flight); and
//! of what survives the process, `durable-chain` (µs per step), `durable` (runs/s), `resume-100k` (seconds), `size` (bytes
//! per step).

mod durable;
mod engine;
mod handwritten;
mod scheduler;

use yardstick::{Gate, Shape};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [system, measure] = arguments.as_slice() else {
        eprintln!("usage: bench-lumos SYSTEM MEASURE");
        std::process::exit(2);
    };
    let figure = yardstick::runtime().block_on(async {
        // As a task, so that it runs on a worker like whatever it spawns.
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
            "lumos" => Some(engine::memory(gate, false).await),
            "lumos-sqlite" => Some(engine::memory(gate, true).await),
            "tokio-joinset" => Some(handwritten::joinset_memory(gate).await),
            _ => None,
        };
    }
    match (system, measure) {
        ("rusqlite", "durable-chain") => return Some(durable::floor_of_steps(Shape::named("chain")?.len()).await),
        ("lumos-sqlite", "durable-chain") => return Some(durable::chain(Shape::named("chain")?.len()).await),
        ("rusqlite", "durable") => return Some(durable::floor_of_runs()),
        ("lumos-sqlite", "resume-100k") => return Some(durable::resume().await),
        ("lumos-sqlite", "size") => return Some(durable::size().await),
        _ => {}
    }
    let (shape, concurrent) = match measure {
        "durable" => (Shape::named("diamond")?, true),
        _ => (Shape::named(measure)?, measure == "diamond"),
    };
    match system {
        "bare-loop" => Some(scheduler::bare_loop(&shape, concurrent).await),
        "lumos-scheduler" => Some(scheduler::scheduler(&shape, concurrent).await),
        "lumos" => Some(engine::time(&shape, concurrent, engine::Records::Lazy).await),
        "lumos-record" => Some(engine::time(&shape, concurrent, engine::Records::Made).await),
        "lumos-sqlite" => Some(engine::time(&shape, concurrent, engine::Records::Durable).await),
        "tokio-spawn" => Some(handwritten::spawn(&shape, concurrent).await),
        "tokio-joinset" => Some(handwritten::joinset(&shape, concurrent).await),
        _ => None,
    }
}
