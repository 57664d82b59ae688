//! What a client adds to a call of a chat API: `bench-clients server`, or `bench-clients CLIENT FAULTS QUICK`.
//!
//! `server` prints two addresses. At FAULTS is the fault server with a faultless script: 32 tokens, streamed at once, with
//! usage. QUICK sends the same bytes without the fault server's work. A client makes calls to FAULTS, one after another and
//! in turn with those of the bare client, which gives latencies and the floor beneath them; then it keeps 32 in flight,
//! first to FAULTS and then to QUICK. It prints `p50_us p99_us floor_p50_us floor_p99_us calls_per_s cpu_us
//! quick_calls_per_s quick_cpu_us`, the processor's time being per call with 32 in flight.

#![expect(clippy::disallowed_methods, reason = "it measures, and nothing of it is replayed")]

mod clients;
mod quick;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clients::Client;
use lumos_core::Clock;
use lumos_engine::SystemClock;
use lumos_faults::{Answer, FaultServer, Script};

const WARM_UP: usize = 200;
const ONE_BY_ONE: usize = 2_000;
const IN_FLIGHT: usize = 32;
const TOGETHER_FOR: Duration = Duration::from_secs(2);
/// Length of a tick of `/proc/self/stat`, the same on every Linux that Rust runs on.
const TICK_US: f64 = 10_000.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["server"] => runtime.block_on(serve()),
        [name, faults, quick] if clients::NAMES.contains(name) => {
            // Every client sees the same provider of cryptography, though nothing here is encrypted.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let (name, faults, quick) = (name.to_string(), faults.to_string(), quick.to_string());
            // As a task, as calls are made in a program.
            let task = async { tokio::spawn(async move { measure(&name, &faults, &quick).await }).await };
            runtime.block_on(task).expect("a measure that does not panic");
        }
        _ => {
            eprintln!("usage: bench-clients server | bench-clients {} FAULTS QUICK", clients::NAMES.join("|"));
            std::process::exit(2);
        }
    }
}

async fn serve() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let script = Script::always(Answer::new(&"word ".repeat(32)));
    let faults = FaultServer::start(script, clock).await.expect("a free port");
    let url = faults.url();
    let quick = quick::start(url.trim_start_matches("http://")).await.expect("a reply to repeat");
    println!("{url} {quick}");
    std::future::pending::<()>().await;
}

async fn measure(name: &str, faults: &str, quick: &str) {
    let client = Arc::new(Client::new(name, faults).expect("a client"));
    let bare = Client::new("bare", faults).expect("a client");
    warm_up(&client).await;
    warm_up(&bare).await;
    let (mut latencies, mut floor) = (Vec::with_capacity(ONE_BY_ONE), Vec::with_capacity(ONE_BY_ONE));
    for _ in 0..ONE_BY_ONE {
        floor.push(latency(&bare).await);
        latencies.push(latency(&client).await);
    }
    let [p50, p99] = percentiles(latencies);
    let [floor_p50, floor_p99] = percentiles(floor);
    let (calls, cpu) = together(&client).await;
    let client = Arc::new(Client::new(name, quick).expect("a client"));
    warm_up(&client).await;
    let (quick_calls, quick_cpu) = together(&client).await;
    print!("{p50:.1} {p99:.1} {floor_p50:.1} {floor_p99:.1} ");
    println!("{calls:.0} {cpu:.1} {quick_calls:.0} {quick_cpu:.1}");
}

async fn latency(client: &Client) -> Duration {
    let start = Instant::now();
    client.call().await;
    start.elapsed()
}

/// The 50th and the 99th, in µs.
fn percentiles(mut latencies: Vec<Duration>) -> [f64; 2] {
    latencies.sort_unstable();
    [0.5, 0.99].map(|share| latencies[(latencies.len() as f64 * share) as usize].as_secs_f64() * 1e6)
}

async fn warm_up(client: &Client) {
    for _ in 0..WARM_UP {
        client.call().await;
    }
}

/// Calls per second and µs of the processor per call, with [`IN_FLIGHT`] calls under way.
async fn together(client: &Arc<Client>) -> (f64, f64) {
    let (start, cpu) = (Instant::now(), processor_us());
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut calls = 0u64;
                while start.elapsed() < TOGETHER_FOR {
                    client.call().await;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for task in tasks {
        calls += task.await.expect("no panic");
    }
    (calls as f64 / start.elapsed().as_secs_f64(), (processor_us() - cpu) / calls as f64)
}

/// What all threads of this process have had of the processor, the kernel's work for them included.
fn processor_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // Behind the program's name, which may contain anything: user and system time are the 12th and 13th field.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() * TICK_US
}
