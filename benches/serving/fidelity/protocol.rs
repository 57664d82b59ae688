//! A closed loop of clients against one replica: the load under which the rows were measured.

use std::sync::Arc;

use lumos_sim::profile::Profile;
use lumos_sim::replica::{Replica, Reply, Request};

use crate::rows::{Row, Source};

/// Mean time to first token and mean time per output token, microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Predicted {
    pub ttft_us: f64,
    pub tpot_us: f64,
}

/// How rows whose protocol is not documented are taken to have been measured.
#[derive(Debug, Clone, Copy)]
pub struct Internal {
    /// Requests for each client.
    pub waves: u32,
    pub ratio: f64,
    pub stagger: f64,
}

/// Lengths, from a small generator of its own: SplitMix64.
struct Lengths(u64, f64);

impl Lengths {
    fn next(&mut self, nominal: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let least = (f64::from(nominal) * self.1) as u32;
        (least + (z % u64::from(nominal - least + 1)) as u32).max(1)
    }
}

/// Simulates a row. `None`: a request doesn't fit.
pub fn simulate(row: &Row, profile: Profile, internal: Internal, seed: u64) -> Option<Predicted> {
    let request_us = profile.request_ps() / 1_000_000;
    let mut replica = Replica::new(row.spec(profile.memory().kv_blocks), Arc::new(profile)).ok()?;
    let (waves, ratio) = match (row.source, row.engine.as_str()) {
        (Source::InferenceMax, _) => (10, 0.8),
        (Source::Internal, "sglang") => (1, 1.0),
        (Source::Internal, _) => (internal.waves, internal.ratio),
    };
    let total = u64::from(row.concurrency * waves);
    let mut lengths = Lengths(seed, ratio);
    // When each request was sent, and its output tokens.
    let mut sent: Vec<(u64, u32)> = Vec::new();
    // Requests on their way to the replica, as (arrival, id): a fixed delay keeps them in order.
    let mut coming = std::collections::VecDeque::new();
    let mut prompts = Vec::new();
    let mut send = |at_us: u64, sent: &mut Vec<(u64, u32)>, coming: &mut std::collections::VecDeque<(u64, u64)>| {
        let (prompt, output) = (lengths.next(row.prompt), lengths.next(row.output));
        coming.push_back((at_us + request_us, sent.len() as u64));
        sent.push((at_us, output));
        prompts.push(prompt);
        prompt
    };
    let mut queue_prompts = std::collections::VecDeque::new();
    for _ in 0..row.concurrency {
        let prompt = send(0, &mut sent, &mut coming);
        queue_prompts.push_back(prompt);
    }
    let (mut ttft, mut tpot, mut done, mut replies) = (0.0, 0.0, 0u64, Vec::new());
    while done < total {
        let arrival = coming.front().map(|it: &(u64, u64)| it.0);
        let now = match (arrival, replica.next_us()) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) => a,
            (None, Some(b)) => b,
            (None, None) => return None,
        };
        replica.advance(now, &mut replies);
        for reply in replies.drain(..) {
            let Reply::Done { id, at_us, first_us, .. } = reply else { return None };
            let (at, output) = sent[id as usize];
            ttft += (first_us - at) as f64;
            tpot += (at_us - first_us) as f64 / f64::from(output.max(2) - 1);
            done += 1;
            if (sent.len() as u64) < total {
                let prompt = send(at_us, &mut sent, &mut coming);
                queue_prompts.push_back(prompt);
            }
        }
        while coming.front().is_some_and(|it| it.0 <= now) {
            let (Some((_, id)), Some(prompt)) = (coming.pop_front(), queue_prompts.pop_front()) else { return None };
            let request = Request {
                id,
                prompt_tokens: prompt,
                output_tokens: sent[id as usize].1,
                prefix: None,
                session: None,
                keep: None,
            };
            replica.submit(now, request).ok()?;
        }
    }
    Some(Predicted { ttft_us: ttft / total as f64, tpot_us: tpot / total as f64 })
}
