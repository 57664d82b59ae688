//! Admissions per second through a gate, each settled: in memory, and through `limits.db`.
//!
//! `cargo bench -p lumos-engine --bench gate`; an item is an admission with its settlement.

use std::collections::VecDeque;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use lumos_core::admission::{Actual, End, Rules};
use lumos_engine::{AskFor, Gate, SharedLedger, UnixClock};

const MOST: Option<u32> = Some(u32::MAX);

const ADMISSIONS: usize = 500;

fn main() {
    divan::main();
}

/// Admits and settles with `in_flight` requests out all the time.
fn through(gate: &Arc<Gate>, in_flight: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let ask = AskFor { input_tokens: Some(100), output_tokens: 100, worst_cost: None, lease_us: 60_000_000 };
    let actual = Actual { input_tokens: Some(90), output_tokens: Some(50), ..Actual::unknown(End::Succeeded) };
    runtime.block_on(async {
        let mut permits = VecDeque::with_capacity(in_flight + 1);
        for _ in 0..ADMISSIONS {
            permits.push_back(gate.admit(ask).await.expect("no limit is reached"));
            if permits.len() > in_flight {
                permits.pop_front().expect("one at least").settle(actual);
            }
        }
        for permit in permits {
            permit.settle(actual);
        }
    });
}

fn rules() -> Rules {
    Rules { rpm: MOST, tpm: MOST, input_tpm: MOST, output_tpm: MOST, concurrency: MOST, ..Rules::default() }
}

#[divan::bench(args = [0, 200])]
fn in_memory(bencher: Bencher<'_, '_>, in_flight: usize) {
    let gate = Gate::new(rules(), "bench", None, Arc::new(UnixClock));
    bencher.counter(ItemsCount::new(ADMISSIONS)).bench(|| through(&gate, in_flight));
}

#[divan::bench(args = [0, 200])]
fn through_limits_db(bencher: Bencher<'_, '_>, in_flight: usize) {
    let home = tempfile::tempdir().expect("a folder");
    let shared = SharedLedger::open(home.path(), Arc::new(UnixClock)).expect("a new file");
    let gate = Gate::new(rules(), "bench", Some(shared), Arc::new(UnixClock));
    bencher.counter(ItemsCount::new(ADMISSIONS)).bench(|| through(&gate, in_flight));
}

/// As two processes do it: two connections take turns, each reads what the other has written.
#[divan::bench(args = [0, 200])]
fn through_limits_db_twice(bencher: Bencher<'_, '_>, in_flight: usize) {
    let home = tempfile::tempdir().expect("a folder");
    let gates = [(); 2].map(|()| {
        let shared = SharedLedger::open(home.path(), Arc::new(UnixClock)).expect("a file");
        Gate::new(rules(), "bench", Some(shared), Arc::new(UnixClock))
    });
    bencher.counter(ItemsCount::new(2 * ADMISSIONS)).bench(|| {
        std::thread::scope(|scope| {
            for gate in &gates {
                scope.spawn(|| through(gate, in_flight / 2));
            }
        });
    });
}
