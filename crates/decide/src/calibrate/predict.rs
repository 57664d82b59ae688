//! What a profile says of a closed loop: each client asks again when it has its answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use lumos_sim::profile::Calibrated;
use lumos_sim::replica::{Replica, Reply, Request};

/// A predicted request. Times from the loop's start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Predicted {
    pub(super) asked_us: u64,
    pub(super) first_us: u64,
    pub(super) done_us: u64,
    pub(super) output: u32,
}

/// Microseconds of a request that nobody else disturbs, by the tokens of its prompt and its answer; 0 when it could never be served.
pub(super) fn alone_us(profile: &Calibrated, lengths: (u32, u32)) -> u64 {
    closed_loop(profile, &[vec![lengths]]).iter().map(|request| request.done_us - request.asked_us).sum()
}

/// A profile that reads a token in 0.1 ms and generates one in 1, for tests.
#[cfg(test)]
pub(super) fn one_at_a_time() -> Calibrated {
    Calibrated::parse(
        r#"Profile(
            name: "small", of: "a test", measured_on: "2026-11-28", iteration_us: 0, sequence_us: 1000, prompt_us: 0,
            prompt_token_us: 100, prompt_pair_ns: 0, kv_token_ns: 0, request_us: 0,
            max_seqs: 1, max_batched_tokens: 512, kv_tokens: 512,
        )"#,
    )
    .unwrap()
}

/// Predicts requests by the tokens of their prompts and answers, by client. What could never be served is left out.
pub(super) fn closed_loop(profile: &Calibrated, clients: &[Vec<(u32, u32)>]) -> Vec<Predicted> {
    let Ok(mut replica) = Replica::new(profile.replica(), Arc::new(profile.clone())) else { return Vec::new() };
    let overhead_us = profile.request_us.round() as u64;
    let mut next = vec![0usize; clients.len()];
    let mut asked = vec![0u64; clients.len()];
    let mut asks: BinaryHeap<Reverse<(u64, usize)>> = (0..clients.len()).map(|client| Reverse((0, client))).collect();
    let mut replies = Vec::new();
    let mut found = Vec::new();
    loop {
        let ask_us = asks.peek().map(|Reverse((at_us, _))| *at_us);
        match (ask_us, replica.next_us()) {
            (None, None) => return found,
            (Some(at_us), due) if due.is_none_or(|due_us| at_us < due_us) => {
                asks.pop().into_iter().for_each(|Reverse((_, client))| {
                    let Some((prompt_tokens, output_tokens)) = clients[client].get(next[client]).copied() else {
                        return;
                    };
                    next[client] += 1;
                    asked[client] = at_us;
                    let request = Request::new(client as u64, prompt_tokens, output_tokens);
                    // A request that never fits is passed over.
                    if replica.submit(at_us, request).is_err() {
                        asks.push(Reverse((at_us, client)));
                    }
                });
            }
            (_, due) => {
                replica.advance(due.unwrap_or_default(), &mut replies);
                for reply in replies.drain(..) {
                    let Reply::Done { id, at_us, first_us, .. } = reply else { continue };
                    let client = id as usize;
                    let output = clients[client][next[client] - 1].1;
                    let done_us = at_us + overhead_us;
                    found.push(Predicted {
                        asked_us: asked[client],
                        first_us: first_us + overhead_us,
                        done_us,
                        output,
                    });
                    asks.push(Reverse((done_us, client)));
                }
            }
        }
    }
}
