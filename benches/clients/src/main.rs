//! What a client adds to a call of a chat API: `bench-clients server`, or `bench-clients CLIENT URL`.
//!
//! The server is the fault server with a faultless script: 32 tokens, streamed at once, with usage. A client makes calls
//! one after another, which gives latencies, then keeps 32 in flight, which gives a throughput; it prints
//! `p50_us p99_us calls_per_s`.

mod clients;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clients::Client;
use lumos_core::Clock;
use lumos_engine::SystemClock;
use lumos_faults::{Answer, FaultServer, Script};

const WARM_UP: usize = 200;
const ONE_BY_ONE: usize = 2_000;
const IN_FLIGHT: usize = 32;
const TOGETHER_FOR: Duration = Duration::from_secs(3);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (what, url) = (arguments.next().unwrap_or_default(), arguments.next());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match (what.as_str(), url) {
        ("server", None) => runtime.block_on(serve()),
        (client, Some(url)) => {
            // Every client sees the same provider of cryptography, though nothing here is encrypted.
            let _ = rustls::crypto::ring::default_provider().install_default();
            match Client::new(client, &url) {
                Some(client) => runtime.block_on(measure(client.into())),
                None => eprintln!("the clients are {}", clients::NAMES.join(", ")),
            }
        }
        _ => eprintln!("usage: bench-clients server | bench-clients CLIENT URL"),
    }
}

async fn serve() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let script = Script::always(Answer::new(&"word ".repeat(32)));
    let server = FaultServer::start(script, clock).await.expect("a free port");
    println!("{}", server.url());
    std::future::pending::<()>().await;
}

async fn measure(client: Arc<Client>) {
    for _ in 0..WARM_UP {
        client.call().await;
    }
    let mut latencies = Vec::with_capacity(ONE_BY_ONE);
    for _ in 0..ONE_BY_ONE {
        let start = Instant::now();
        client.call().await;
        latencies.push(start.elapsed());
    }
    latencies.sort_unstable();
    let start = Instant::now();
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
    let per_second = calls as f64 / start.elapsed().as_secs_f64();
    let at = |share: f64| latencies[(ONE_BY_ONE as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{:.1} {:.1} {per_second:.0}", at(0.5), at(0.99));
}
