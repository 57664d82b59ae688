//! A server that stalls one request in twenty: what a second request beside a slow one gains, and what it costs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lumos::core::chance::{combine, mix};
use lumos::core::{Status, Usd};
use lumos_faults::{Answer, Received, Reply, Script, Tokens};
use tokio::task::JoinSet;

use super::{Files, ask, bind, openai, percentile, serve};

const WORKERS: usize = 20;
const EACH: usize = 20;
const STALL: Duration = Duration::from_secs(2);

/// One request in twenty, drawn by what it asks for and how often that was asked: which ones does not depend on who comes first.
fn stalls(order: u64, before: u64) -> bool {
    mix(combine(order, before)).is_multiple_of(20)
}

fn rule() -> impl Fn(&Received) -> Reply {
    let asked = Mutex::new(HashMap::new());
    move |request| {
        let body = String::from_utf8_lossy(&request.body);
        let order = body.rsplit("order ").next().and_then(|rest| rest.split('?').next()?.parse().ok());
        let order = order.expect("the number of an order");
        let mut asked = asked.lock().expect("nobody panics with it");
        let before = asked.entry(order).or_insert(0);
        let first = if stalls(order, *before) { STALL } else { Duration::from_millis(20) };
        *before += 1;
        Reply::Answer(Answer { tokens: Tokens::new(40, 20), first, ..Answer::new("an answer of some words") })
    }
}

struct Outcome {
    p50_us: u64,
    p99_us: u64,
    cost: Usd,
    requests: usize,
}

async fn four_hundred(options: &str) -> Outcome {
    let server = serve(Script::by(rule())).await;
    let rest = r#"cost: PerMillionTokens(input: "2.00", output: "8.00")"#;
    let files = Files::new(options, 60, &openai("api", &server.url(), rest));
    let lumos = Arc::new(files.lumos());
    let program = bind(&lumos, files.folder());
    let mut running = JoinSet::new();
    for worker in 0..WORKERS {
        let (lumos, program) = (lumos.clone(), program.clone());
        running.spawn(async move {
            let mut records = Vec::new();
            for number in 0..EACH {
                let question = format!("How much do we order before the holidays in order {}?", worker * EACH + number);
                records.push(ask(&lumos, &program, &question).await);
            }
            records
        });
    }
    let records = running.join_all().await.concat();
    assert!(records.iter().all(|record| record.status == Status::Succeeded && record.totals.cost_complete));
    let mut durations: Vec<u64> = records.iter().map(|record| record.totals.duration_us).collect();
    let cost = records.iter().filter_map(|record| record.totals.cost_usd).sum();
    let (p50_us, p99_us) = (percentile(&mut durations, 0.5), percentile(&mut durations, 0.99));
    Outcome { p50_us, p99_us, cost, requests: server.requests().len() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_request_beside_a_slow_one_halves_the_p99() {
    let (plain, hedged) = tokio::join!(four_hundred(""), four_hundred(", hedge_after_ms: 250"));
    for (name, it) in [("without", &plain), ("with", &hedged)] {
        println!(
            "{name} hedging: p50 {} ms, p99 {} ms, {} USD in the records, {} requests",
            it.p50_us / 1000,
            it.p99_us / 1000,
            it.cost,
            it.requests
        );
    }
    let dearer = hedged.cost.nanos() as f64 / plain.cost.nanos() as f64 - 1.0;
    let more = hedged.requests as f64 / plain.requests as f64 - 1.0;
    println!(
        "cost {:+.1} % by the records, {:+.1} % if the server charges every request in full",
        dearer * 100.0,
        more * 100.0
    );
    assert_eq!(plain.requests, WORKERS * EACH);
    assert!(plain.p99_us > STALL.as_micros() as u64, "the server stalls");
    assert!(hedged.p99_us * 2 <= plain.p99_us);
    assert!(dearer > 0.0 && dearer < 0.1 && more < 0.1, "the losers are charged for, and few");
}
