//! What a simulated request costs the simulator: Poisson-like arrivals of requests of about 200 prompt and 150 output tokens
//! at a mean batch of about 32, on one replica driven as a scenario drives it.
//!
//! `cargo run --release -p lumos-sim --example replica_cost [requests [gap_us [kv_blocks]]] [stepwise]`; time it from outside (`perf stat`, `time`),
//! since the crate reads no clock.

use std::{env, sync::Arc};

use lumos_sim::{
    iteration::{Affine, Batch},
    replica::{Prefix, Replica, ReplicaError, ReplicaSpec, Request},
};

/// A small deterministic sequence of numbers (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn main() -> Result<(), ReplicaError> {
    let arguments: Vec<String> = env::args().collect();
    let requests: u64 = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let gap_us: f64 = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(54_000.0);
    let kv_blocks: u32 = arguments.get(3).and_then(|n| n.parse().ok()).unwrap_or(40_000);
    let spec = ReplicaSpec { stepwise: arguments.iter().any(|a| a == "stepwise"), ..ReplicaSpec::vllm(kv_blocks) };
    // 8 ms per iteration, 20 µs per sequence and 30 µs per prompt token: a model of some 8B parameters on a large GPU.
    let time = |batch: &Batch| Affine {
        base_ps: 8_000_000_000 + 20_000_000 * u64::from(batch.decodes) + 30_000_000 * u64::from(batch.chunk_tokens),
        per_kv_token_ps: 60_000,
    };
    let mut replica = Replica::new(spec, Arc::new(time))?;
    let (mut seed, mut now_us, mut replies, mut sum_us, mut wakes) = (1, 0_u64, Vec::new(), 0_u64, 0_u64);
    for id in 0..requests {
        let uniform = (next(&mut seed) >> 11) as f64 / (1_u64 << 53) as f64;
        now_us += (-uniform.max(1e-12).ln() * gap_us) as u64;
        while let Some(next_us) = replica.next_us().filter(|next_us| *next_us <= now_us) {
            replica.advance(next_us, &mut replies);
            wakes += 1;
        }
        sum_us += replies
            .drain(..)
            .map(|reply| if let lumos_sim::replica::Reply::Done { at_us, .. } = reply { at_us } else { 0 })
            .sum::<u64>();
        let mut tokens = |least: u32| least + (next(&mut seed) % 200) as u32;
        let request =
            Request { prefix: Some(Prefix { id: id % 4, tokens: 64 }), ..Request::new(id, tokens(100), tokens(50)) };
        // Nothing that the cache can hold is ever too long here.
        let _ticket = replica.submit(now_us, request);
    }
    while let Some(next_us) = replica.next_us() {
        replica.advance(next_us, &mut replies);
        now_us = next_us;
    }
    let totals = replica.totals();
    let mean = |sum: u128| sum as f64 / 1e6 / now_us as f64;
    println!(
        "{} requests, {} iterations, {:.1} running and {:.2} waiting in the mean, {:.2} wakes a request, {}",
        totals.completed,
        totals.iterations,
        mean(totals.running_ps),
        mean(totals.waiting_ps),
        wakes as f64 / requests as f64,
        sum_us % 1000
    );
    Ok(())
}
