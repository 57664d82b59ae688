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
