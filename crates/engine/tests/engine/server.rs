//! A server that counts exactly: buckets refilled continuously, requests and input taken at arrival, output at its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lumos_core::Clock;
use lumos_core::admission::Rules;
use lumos_core::chance::mix;

/// The tests' own clock: tokio's, which stands still or jumps when it is paused.
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for TokioClock {
    fn now_us(&self) -> u64 {
        1_700_000_000_000_000 + self.0.elapsed().as_micros() as u64
    }
}

struct Bucket {
    limit: u32,
    level: f64,
}

/// What a request is, and how long its ways and its work take.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub estimated_input: u64,
    pub input: u64,
    pub most_output: u64,
    pub output: u64,
    pub way: Duration,
    pub works: Duration,
    pub way_back: Duration,
}

impl Call {
    /// One of about `input` and `output` tokens that takes up to `works`.
    pub fn draw(number: u64, input: u64, output: u64, works: Duration) -> Self {
        let share = |purpose: u64| (mix(mix(number) ^ purpose) % 1000) as f64 / 1000.0;
        let around = |tokens: u64, purpose: u64| (tokens as f64 * (0.5 + share(purpose))) as u64;
        let (estimated_input, output) = (around(input, 1), around(output, 2));
        Self {
            estimated_input,
            input: (estimated_input as f64 * (0.8 + 0.35 * share(3))) as u64,
            most_output: output + (output as f64 * share(4)) as u64,
            output,
            way: Duration::from_millis(50).mul_f64(share(5)),
            works: works.mul_f64(share(6)),
            way_back: Duration::from_millis(50).mul_f64(share(7)),
        }
    }
}

/// What a server has seen.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub accepted: u64,
    pub refused: u64,
    pub input: u64,
    pub output: u64,
    first_us: Option<u64>,
    last_us: u64,
}

struct State {
    buckets: [Option<Bucket>; 4],
    at_us: u64,
    seen: Seen,
}

pub struct Server {
    rules: Rules,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Server {
    pub fn new(rules: Rules, clock: Arc<dyn Clock>) -> Arc<Self> {
        let full = |limit: Option<u32>| limit.map(|limit| Bucket { limit, level: f64::from(limit) });
        let buckets = [rules.rpm, rules.tpm, rules.input_tpm, rules.output_tpm].map(full);
        let state = State { buckets, at_us: clock.now_us(), seen: Seen::default() };
        Arc::new(Self { rules, clock, state: Mutex::new(state) })
    }

    /// Whether a request is accepted; otherwise it is a 429.
    pub fn arrives(&self, input: u64) -> bool {
        let mut state = self.refilled();
        let wants = [1.0, input as f64, input as f64, 0.0];
        let fits = state.buckets.iter().zip(wants).all(|(bucket, wants)| {
            bucket.as_ref().is_none_or(|bucket| bucket.level + 1e-6 >= wants && bucket.level > 0.0)
        });
        if !fits {
            state.seen.refused += 1;
            return false;
        }
        state.seen.accepted += 1;
        state.seen.input += input;
        for (bucket, wants) in state.buckets.iter_mut().zip(wants) {
            if let Some(bucket) = bucket {
                bucket.level -= wants;
            }
        }
        true
    }

    /// An answer ends.
    pub fn ends(&self, output: u64) {
        let mut state = self.refilled();
        state.seen.output += output;
        for index in [1, 3] {
            if let Some(bucket) = &mut state.buckets[index] {
                bucket.level -= output as f64;
            }
        }
    }

    pub fn seen(&self) -> Seen {
        self.refilled().seen
    }

    /// The largest share of a limit that was used, and its name: from full, and refilled since the first request.
    pub fn binding(&self) -> (f64, &'static str) {
        let Seen { accepted, input, output, first_us, last_us, .. } = self.seen();
        let minutes = (last_us - first_us.unwrap_or(last_us)) as f64 / 60e6;
        [
            (self.rules.rpm, accepted, "rpm"),
            (self.rules.tpm, input + output, "tpm"),
            (self.rules.input_tpm, input, "input_tpm"),
            (self.rules.output_tpm, output, "output_tpm"),
        ]
        .into_iter()
        .filter_map(|(limit, used, name)| Some((used as f64 / (f64::from(limit?) * (1.0 + minutes)), name)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("it has a limit")
    }

    fn refilled(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now_us = self.clock.now_us().max(state.at_us);
        let minutes = (now_us - state.at_us) as f64 / 60e6;
        for bucket in state.buckets.iter_mut().flatten() {
            bucket.level = (bucket.level + f64::from(bucket.limit) * minutes).min(f64::from(bucket.limit));
        }
        state.at_us = now_us;
        state.seen.first_us.get_or_insert(now_us);
        state.seen.last_us = now_us;
        state
    }
}
