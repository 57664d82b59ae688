//! A closed loop of clients against one replica: the load under which the rows were measured.

use std::collections::BTreeSet;
use std::sync::Arc;

use lumos_sim::profile::Profile;
use lumos_sim::replica::{Replica, ReplicaSpec, Reply, Request};

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
    /// The shortest length against the nominal one.
    pub ratio: f64,
}

const SEED: u64 = 1;

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
pub fn simulate(row: &Row, profile: Profile, internal: Internal) -> Option<Predicted> {
    let request_us = profile.request_ps() / 1_000_000;
    let spec = ReplicaSpec { prefill_wait: row.prefill_wait(), ..profile.replica().clone() };
    let mut replica = Replica::new(spec, Arc::new(profile)).ok()?;
    let (waves, ratio) = match (row.source, row.engine.as_str()) {
        (Source::InferenceMax, _) => (10, 0.8),
        (Source::Internal, "sglang") => (1, 1.0),
        (Source::Internal, _) => (internal.waves, internal.ratio),
    };
    let total = u64::from(row.concurrency * waves);
    let mut lengths = Lengths(SEED, ratio);
    // When each request was sent, its prompt and its output.
    let mut sent: Vec<(u64, u32, u32)> = Vec::new();
    // Requests on their way to the replica, by arrival.
    let mut coming = BTreeSet::new();
    let mut send = |at_us: u64, sent: &mut Vec<(u64, u32, u32)>, coming: &mut BTreeSet<(u64, u64)>| {
        coming.insert((at_us + request_us, sent.len() as u64));
        sent.push((at_us, lengths.next(row.prompt), lengths.next(row.output)));
    };
    for _ in 0..row.concurrency {
        send(0, &mut sent, &mut coming);
    }
    let (mut ttft, mut tpot, mut done, mut replies) = (0.0, 0.0, 0u64, Vec::new());
    while done < total {
        let arrival = coming.first().map(|it| it.0);
        let now = arrival.into_iter().chain(replica.next_us()).min()?;
        replica.advance(now, &mut replies);
        for reply in replies.drain(..) {
            let Reply::Done { id, at_us, first_us, .. } = reply else { return None };
            let (at, _, output) = sent[id as usize];
            ttft += (first_us - at) as f64;
            tpot += (at_us - first_us) as f64 / f64::from(output.max(2) - 1);
            done += 1;
            if (sent.len() as u64) < total {
                send(at_us, &mut sent, &mut coming);
            }
        }
        while let Some(&(at, id)) = coming.first()
            && at <= now
        {
            coming.pop_first();
            let (_, prompt_tokens, output_tokens) = sent[id as usize];
            replica.submit(now, Request::new(id, prompt_tokens, output_tokens)).ok()?;
        }
    }
    Some(Predicted { ttft_us: ttft / total as f64, tpot_us: tpot / total as f64 })
}
