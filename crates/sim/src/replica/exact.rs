//! The closed form is exact: on random replicas and loads it does what iterating does, to the picosecond, and both keep
//! what must be kept.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::iteration::{Affine, Batch};

#[derive(Debug, Clone, Copy)]
enum Step {
    Submit(Request),
    /// Cancels one of the requests so far.
    Cancel(usize),
    Fail {
        down_us: u64,
    },
}

#[derive(Debug, Clone)]
struct Scenario {
    spec: ReplicaSpec,
    times: [u64; 6],
    /// Microseconds after the one before, and what happens.
    steps: Vec<(u64, Step)>,
}

/// Times that depend on all of a batch, so that any difference in a batch shows.
fn profile(times: [u64; 6]) -> Arc<dyn IterationTime> {
    let [base, sequence, token, pair, history, kv] = times;
    Arc::new(move |batch: &Batch| Affine {
        base_ps: base
            // More sequences need not take longer.
            + sequence * u64::from((batch.decodes + batch.chunks) ^ 1)
            + token * u64::from(batch.chunk_tokens)
            + pair * batch.chunk_pairs
            + history * batch.chunk_history,
        per_kv_token_ps: kv,
    })
}

fn spec() -> impl Strategy<Value = ReplicaSpec> {
    let seqs = prop_oneof![1_u32..4, 4_u32..40];
    let kv = prop_oneof![4_u32..40, 40_u32..400, Just(100_000)];
    let block = prop_oneof![3 => Just(16_u32), 1 => 1_u32..40];
    let reserve = prop_oneof![Just(Reserve::Chunk), Just(Reserve::Prompt), Just(Reserve::Sequence)];
    let wait = prop_oneof![
        3 => Just(None),
        1 => (0_u32..30, 1_u32..600).prop_map(|(iterations, tokens)| Some(PrefillWait { iterations, tokens })),
    ];
    (seqs, kv, block, reserve, wait, 0_u32..300, any::<bool>(), 0_u32..4, any::<bool>()).prop_map(
        |(
            max_num_seqs,
            kv_blocks,
            block_tokens,
            reserve,
            prefill_wait,
            beyond,
            chunked_prefill,
            watermark_blocks,
            schedules_ahead,
        )| {
            ReplicaSpec {
                max_num_batched_tokens: max_num_seqs + beyond,
                max_num_seqs,
                kv_blocks,
                block_tokens,
                max_model_len: u32::MAX,
                chunked_prefill,
                reserve,
                watermark_blocks,
                prefill_wait,
                schedules_ahead,
                stepwise: false,
            }
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let prefix = |ids: std::ops::Range<u64>| {
        let prefix =
            (ids, 0_u32..200).prop_map(|(id, tokens)| Prefix { id, tokens: if tokens < 100 { 64 } else { tokens } });
        prop_oneof![1 => Just(None), 1 => prefix.prop_map(Some)]
    };
    let output = prop_oneof![1 => 0_u32..3, 3 => 1_u32..60, 1 => 60_u32..300];
    let keep = prop_oneof![1 => Just(None), 1 => (0_u64..8).prop_map(Some)];
    let extra = (0_u64..2_000_000, 0_u64..200_000).prop_map(|(first_ps, next_ps)| Extra { first_ps, next_ps });
    let extra = prop_oneof![1 => Just(Extra::default()), 1 => extra];
    (1_u32..300, output, prefix(0..3), prefix(3..6), keep, extra).prop_map(
        |(prompt_tokens, output_tokens, prefix, session, keep, extra)| Request {
            id: 0,
            prompt_tokens,
            output_tokens,
            prefix,
            session,
            keep,
            extra,
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let step = prop_oneof![
        20 => request().prop_map(Step::Submit),
        3 => any::<prop::sample::Index>().prop_map(|i| Step::Cancel(i.index(64))),
        1 => (0_u64..200).prop_map(|down_us| Step::Fail { down_us }),
    ];
    let gap = prop_oneof![2 => Just(0_u64), 3 => 0_u64..20, 3 => 0_u64..300, 1 => 0_u64..5_000];
    let times =
        (1_u64..9_000_000, 0_u64..100_000, 0_u64..20_000, 0_u64..50, 0_u64..50, prop_oneof![Just(0), 0_u64..500])
            .prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f]);
    // Whole microseconds, so that arrivals and boundaries coincide.
    let whole = (1_u64..9, 0_u64..2, 0_u64..2).prop_map(|(a, b, c)| [a, b, c, 0, 0, 0].map(|us| us * PS_PER_US));
    let times = prop_oneof![2 => times, 1 => whole];
    (spec(), times, prop::collection::vec((gap, step), 1..60)).prop_map(|(spec, times, steps)| Scenario {
        spec,
        times,
        steps,
    })
}

/// Everything that can be seen of a replica.
#[derive(Debug, PartialEq)]
struct Seen {
    replies: Vec<Reply>,
    cancelled: Vec<Option<Progress>>,
    rejected: Vec<Rejection>,
    outstanding: Vec<(u32, u64)>,
    totals: Totals,
    cached: Vec<u32>,
}

/// When a replica is advanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wakes {
    /// Whenever it wants to be, before what happens at the same time.
    First,
    /// Whenever it wants to be, after what happens at the same time.
    Last,
    /// When it must be.
    Late,
}

/// Drives a replica as a driver does.
fn play(scenario: &Scenario, stepwise: bool, wakes: Wakes) -> Result<Seen, TestCaseError> {
    let spec = ReplicaSpec { stepwise, ..scenario.spec.clone() };
    let mut replica = Replica::new(spec, profile(scenario.times)).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let mut seen = Seen {
        replies: vec![],
        cancelled: vec![],
        rejected: vec![],
        outstanding: vec![],
        totals: Totals::default(),
        cached: vec![],
    };
    let mut tickets = Vec::new();
    let mut asked = BTreeMap::new();
    let mut now_us = 0;
    for (gap_us, step) in &scenario.steps {
        now_us += gap_us;
        if wakes != Wakes::Late {
            let due = |next_us: &u64| *next_us < now_us || wakes == Wakes::First && *gap_us > 0 && *next_us == now_us;
            while let Some(next_us) = replica.next_us().filter(due) {
                replica.advance(next_us, &mut seen.replies);
                let (used, all) = replica.blocks();
                prop_assert!(used <= all);
            }
        }
        match *step {
            Step::Submit(request) => {
                let request = Request { id: tickets.len() as u64, ..request };
                match replica.submit(now_us, request) {
                    Ok(ticket) => {
                        tickets.push(ticket);
                        asked.insert(request.id, request);
                    }
                    Err(rejection) => seen.rejected.push(rejection),
                }
            }
            Step::Cancel(index) if !tickets.is_empty() => {
                replica.advance(now_us, &mut seen.replies);
                let id = index % tickets.len();
                let progress = replica.cancel(now_us, tickets[id]);
                if progress.is_some() {
                    asked.remove(&(id as u64));
                }
                seen.cancelled.push(progress);
            }
            Step::Cancel(_) => {}
            Step::Fail { down_us } => replica.fail(now_us, now_us + down_us, &mut seen.replies),
        }
        if wakes == Wakes::First {
            seen.outstanding.push((replica.outstanding(), replica.outstanding_tokens()));
        }
    }
    let mut events = 0;
    while let Some(next_us) = replica.next_us() {
        replica.advance(next_us, &mut seen.replies);
        events += 1;
        prop_assert!(events < 1_000_000, "it never ends");
    }
    seen.totals = replica.totals();
    seen.cached = (0..8).map(|id| replica.cache().cached(id)).collect();
    prop_assert_eq!(replica.outstanding(), 0);
    prop_assert_eq!(replica.outstanding_tokens(), 0);
    prop_assert_eq!(replica.blocks().0, 0, "blocks are held by nobody");
    for reply in &seen.replies {
        let (Reply::Done { id, .. } | Reply::Failed { id, .. }) = *reply;
        let request = asked.remove(&id);
        prop_assert!(request.is_some(), "{} ended twice or was never asked for", id);
        if let (Reply::Done { at_us, start_us, first_us, cached_tokens, .. }, Some(request)) = (*reply, request) {
            prop_assert!(start_us <= first_us && first_us <= at_us && cached_tokens < request.prompt_tokens);
        }
    }
    prop_assert!(asked.is_empty(), "never ended: {:?}", asked);
    let clean = !scenario.steps.iter().any(|(_, step)| !matches!(step, Step::Submit(_)));
    if clean {
        prop_assert_eq!(seen.totals.completed, seen.replies.len() as u64);
        prop_assert_eq!(seen.totals.preemptions + seen.totals.completed, seen.totals.admissions);
        let shares = seen.replies.iter().map(|reply| match *reply {
            Reply::Done { busy_ps, .. } => u128::from(busy_ps),
            Reply::Failed { progress, .. } => u128::from(progress.busy_ps),
        });
        // A picosecond is lost whenever the number of sequences changes.
        let lost = seen.totals.busy_ps - shares.sum::<u128>();
        let changes = 2 * u128::from(seen.totals.admissions);
        prop_assert!(lost <= changes * u128::from(scenario.spec.max_num_seqs), "{} ps are nobody's", lost);
    }
    Ok(seen)
}

fn compare(scenario: &Scenario) -> Result<(), TestCaseError> {
    let first = play(scenario, true, Wakes::First)?;
    prop_assert_eq!(&play(scenario, false, Wakes::First)?, &first);
    for wakes in [Wakes::Last, Wakes::Late] {
        let stepwise = play(scenario, true, wakes)?;
        prop_assert_eq!(&play(scenario, false, wakes)?, &stepwise);
        prop_assert_eq!(&stepwise.totals, &first.totals);
        prop_assert_eq!(&stepwise.replies, &first.replies);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_closed_form_is_what_iterating_does(scenario in scenario()) {
        compare(&scenario)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    #[ignore = "20,000 scenarios take minutes"]
    fn the_closed_form_is_what_iterating_does_at_length(scenario in scenario()) {
        compare(&scenario)?;
    }
}
