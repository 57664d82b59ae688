//! Timelines worked out by hand: what vLLM's scheduler does in small cases, and what is refused.

use std::sync::Arc;

use super::*;
use crate::iteration::{Affine, Batch};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// 1 ms per iteration and 1 µs per prompt token and per token that decoding sequences hold.
fn replica(spec: ReplicaSpec) -> Result<Replica, ReplicaError> {
    let time = |batch: &Batch| Affine {
        base_ps: 1_000 * PS_PER_US + u64::from(batch.chunk_tokens) * PS_PER_US,
        per_kv_token_ps: PS_PER_US,
    };
    Replica::new(spec, Arc::new(time))
}

fn small(max_num_batched_tokens: u32, max_num_seqs: u32, kv_blocks: u32) -> ReplicaSpec {
    ReplicaSpec { max_num_batched_tokens, max_num_seqs, block_tokens: 4, ..ReplicaSpec::vllm(kv_blocks) }
}

/// Shares of its time apart, see the test of those.
fn drain(replica: &mut Replica) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some(next_us) = replica.next_us() {
        replica.advance(next_us, &mut replies);
    }
    for reply in &mut replies {
        if let Reply::Done { busy_ps, .. } = reply {
            *busy_ps = 0;
        }
    }
    replies
}

fn done(id: u64, start_us: u64, first_us: u64, at_us: u64) -> Reply {
    Reply::Done { id, at_us, start_us, first_us, cached_tokens: 0, preemptions: 0, busy_ps: 0 }
}

#[test]
fn a_prompt_is_cut_to_the_budget_and_its_end_is_the_first_token() -> Outcome {
    let mut replica = replica(small(4, 4, 100))?;
    replica.submit(10, Request::new(7, 10, 3))?;
    // Chunks of 4, 4 and 2, then two iterations that find 10 and 11 tokens in the cache.
    let first_us = 10 + 1004 + 1004 + 1002;
    assert_eq!(drain(&mut replica), [done(7, 10, first_us, first_us + 1010 + 1011)]);
    Ok(())
}

#[test]
fn decodes_come_first_and_prompts_share_what_is_left() -> Outcome {
    let mut replica = replica(small(8, 4, 100))?;
    replica.submit(0, Request::new(0, 4, 4))?;
    replica.submit(0, Request::new(1, 8, 1))?;
    replica.submit(500, Request::new(2, 4, 1))?;
    // [0: 4, 1: 4], [0 decodes, 1: 4, 2: 3], [0 decodes, 2: 1], [0 decodes].
    let ends = [1008, 1008 + 1007 + 4, 1008 + 1011 + 1001 + 5, 1008 + 1011 + 1006 + 1006];
    assert_eq!(
        drain(&mut replica),
        [done(1, 0, ends[1], ends[1]), done(2, ends[0], ends[2], ends[2]), done(0, 0, ends[0], ends[3])]
    );
    Ok(())
}

#[test]
fn what_a_token_takes_beside_its_iteration_is_waited_for_by_all() -> Outcome {
    let mut replica = replica(small(4, 4, 100))?;
    let extra = Extra { first_ps: 100 * PS_PER_US, next_ps: 20 * PS_PER_US };
    replica.submit(0, Request::new(0, 2, 4))?;
    replica.submit(0, Request { extra, ..Request::new(1, 5, 3) })?;
    // [0: 2, 1: 2], [0 decodes, 1: 3 and its first token], [both decode] twice.
    let ends = [1_004, 2_009 + 100, 3_117 + 20];
    let last = ends[2] + 1_010 + 20;
    assert_eq!(drain(&mut replica), [done(0, 0, ends[0], last), done(1, 0, ends[1], last)]);
    Ok(())
}

#[test]
fn an_arrival_is_seen_at_the_next_boundary() -> Outcome {
    let mut replica = replica(small(100, 4, 1000))?;
    replica.submit(0, Request::new(0, 10, 100))?;
    // Boundaries at 1010, 2020, 3031; the request at 2021 waits for the last.
    replica.advance(2_021, &mut Vec::new());
    replica.submit(2_021, Request::new(1, 5, 1))?;
    assert_eq!(replica.next_us(), Some(3_031));
    assert_eq!(drain(&mut replica)[0], done(1, 3_031, 3_031 + 1005 + 12, 3_031 + 1005 + 12));
    Ok(())
}

#[test]
fn an_arrival_is_seen_one_boundary_later_by_a_scheduler_that_plans_ahead() -> Outcome {
    let mut replica = replica(ReplicaSpec { schedules_ahead: true, ..small(100, 4, 1000) })?;
    replica.submit(0, Request::new(0, 10, 100))?;
    // An idle replica begins at once. Boundaries at 1010, 2020, 3031, 4043: the one at 3031 was planned at 2020.
    replica.advance(2_021, &mut Vec::new());
    replica.submit(2_021, Request::new(1, 5, 1))?;
    assert_eq!(drain(&mut replica)[0], done(1, 4_043, 4_043 + 1005 + 13, 4_043 + 1005 + 13));
    Ok(())
}

#[test]
fn the_last_admitted_is_preempted_and_computed_again() -> Outcome {
    let mut replica = replica(ReplicaSpec { reserve: Reserve::Prompt, ..small(100, 4, 4) })?;
    replica.submit(0, Request::new(0, 8, 5))?;
    replica.submit(0, Request::new(1, 8, 5))?;
    // Two blocks each: the first decode of 0 needs a third, and 1 makes room. Its two blocks hold 0 to its end, at 12
    // tokens; then 8 tokens and the one generated are computed again.
    let first = 1016;
    let end = first + 1008 + 1009 + 1010 + 1011;
    let again = end + 1009;
    let reply = Reply::Done {
        id: 1,
        at_us: again + 1009 + 1010 + 1011,
        start_us: 0,
        first_us: first,
        cached_tokens: 0,
        preemptions: 1,
        busy_ps: 0,
    };
    assert_eq!(drain(&mut replica), [done(0, 0, first, end), reply]);
    assert_eq!(replica.totals().prefill_tokens, 8 + 8 + 9);
    Ok(())
}

#[test]
fn who_reserves_the_whole_sequence_is_never_preempted() -> Outcome {
    let mut replica = replica(ReplicaSpec { reserve: Reserve::Sequence, ..small(100, 4, 4) })?;
    replica.submit(0, Request::new(0, 8, 5))?;
    replica.submit(0, Request::new(1, 8, 5))?;
    let end = 1008 + 1008 + 1009 + 1010 + 1011;
    assert_eq!(drain(&mut replica), [done(0, 0, 1008, end), done(1, end, end + 1008, 2 * end)]);
    Ok(())
}

#[test]
fn whole_blocks_of_a_prefix_are_computed_once() -> Outcome {
    let mut replica = replica(small(100, 4, 100))?;
    let shared = |id, prompt| Request { prefix: Some(Prefix { id: 9, tokens: 10 }), ..Request::new(id, prompt, 1) };
    replica.submit(0, shared(0, 12))?;
    replica.submit(0, shared(1, 12))?;
    replica.submit(0, shared(2, 8))?;
    let cached: Vec<u32> = drain(&mut replica)
        .iter()
        .map(|reply| if let Reply::Done { cached_tokens, .. } = reply { *cached_tokens } else { u32::MAX })
        .collect();
    // Two whole blocks of four; of a prompt that ends with them the last is computed, for its logits. In one iteration.
    assert_eq!(cached, [0, 8, 4]);
    assert_eq!(replica.totals().prefill_tokens, 12 + 4 + 4);
    assert_eq!(replica.totals().peak_blocks, 3 + 1 + 1, "shared blocks count once");
    Ok(())
}

#[test]
fn a_session_finds_its_earlier_turns_after_the_system_prompt() -> Outcome {
    let mut replica = replica(small(100, 4, 30))?;
    let turn = |id, prompt_tokens, session: Option<u32>| Request {
        prefix: Some(Prefix { id: 1, tokens: 8 }),
        session: session.map(|tokens| Prefix { id: 50, tokens }),
        keep: Some(50),
        ..Request::new(id, prompt_tokens, 6)
    };
    let cached = |replica: &mut Replica| match drain(replica)[..] {
        [Reply::Done { cached_tokens, .. }] => cached_tokens,
        ref other => panic!("one reply expected: {other:?}"),
    };
    replica.submit(0, turn(0, 20, None))?;
    assert_eq!(cached(&mut replica), 0);
    // 20 tokens of prompt and 5 of the output are in the cache: six whole blocks.
    replica.submit(100_000, turn(1, 40, Some(26)))?;
    assert_eq!(cached(&mut replica), 24);
    replica.submit(200_000, turn(2, 60, Some(46)))?;
    assert_eq!(cached(&mut replica), 44);
    // Another request takes 28 of the 30 blocks: the session's, left longest ago among what it holds, go from their end.
    replica.submit(300_000, Request::new(3, 110, 1))?;
    assert_eq!(cached(&mut replica), 0);
    replica.submit(400_000, turn(4, 60, Some(46)))?;
    assert_eq!(cached(&mut replica), 8, "the system prompt is left");
    Ok(())
}

#[test]
fn prompts_wait_for_each_other_while_others_decode() -> Outcome {
    let wait = PrefillWait { iterations: 3, tokens: 50 };
    let mut held = replica(ReplicaSpec { prefill_wait: Some(wait), ..small(100, 8, 1000) })?;
    held.submit(0, Request::new(0, 4, 20))?;
    held.submit(100, Request::new(1, 10, 1))?;
    // Seen at 1004, held back for three iterations that find 4, 5 and 6 tokens.
    let start = 1004 + 1004 + 1005 + 1006;
    assert_eq!(drain(&mut held)[0], done(1, start, start + 1010 + 7, start + 1010 + 7));

    let mut gathered = replica(ReplicaSpec { prefill_wait: Some(wait), ..small(100, 8, 1000) })?;
    gathered.submit(0, Request::new(0, 4, 20))?;
    gathered.submit(100, Request::new(1, 10, 1))?;
    gathered.submit(1_100, Request::new(2, 40, 1))?;
    let start = 1004 + 1004;
    let end = start + 1050 + 5;
    assert_eq!(drain(&mut gathered)[..2], [done(1, start, end, end), done(2, start, end, end)]);
    Ok(())
}

#[test]
fn a_cancelled_request_leaves_at_the_next_boundary_and_tells_what_it_had() -> Outcome {
    let mut replica = replica(small(100, 1, 1000))?;
    let ticket = replica.submit(0, Request::new(0, 10, 100))?;
    replica.submit(0, Request::new(1, 5, 1))?;
    let mut replies = Vec::new();
    replica.advance(2_500, &mut replies);
    let progress = Progress {
        output_tokens: 2,
        cached_tokens: 0,
        start_us: Some(0),
        first_us: Some(1_010),
        busy_ps: 2_500 * PS_PER_US,
    };
    assert_eq!(replica.cancel(2_500, ticket), Some(progress));
    assert_eq!(replica.cancel(2_500, ticket), None);
    assert_eq!((replica.outstanding(), replica.outstanding_tokens()), (1, 6));
    assert_eq!(drain(&mut replica), [done(1, 3_031, 4_036, 4_036)]);
    Ok(())
}

#[test]
fn who_shares_a_batch_shares_its_time_and_who_waits_has_none_of_it() -> Outcome {
    for stepwise in [false, true] {
        let mut replica = replica(ReplicaSpec { stepwise, ..small(100, 2, 100) })?;
        replica.submit(0, Request::new(0, 10, 3))?;
        replica.submit(0, Request::new(1, 10, 2))?;
        replica.submit(0, Request::new(2, 10, 1))?;
        let mut replies = Vec::new();
        while let Some(next_us) = replica.next_us() {
            replica.advance(next_us, &mut replies);
        }
        // Two prompts in 1020 µs and two tokens in 1020 are shared by 0 and 1; then 2 takes the place of 1, in 1021.
        let of = |id: u64| {
            let found = replies.iter().find_map(|reply| match reply {
                Reply::Done { id: done, busy_ps, .. } if *done == id => Some(*busy_ps / PS_PER_US),
                _ => None,
            });
            found.unwrap_or(0)
        };
        assert_eq!([of(0), of(1), of(2)], [1_530, 1_020, 510]);
        assert_eq!(replica.totals().busy_ps, (1_020 + 1_020 + 1_021) * u128::from(PS_PER_US));
    }
    Ok(())
}

#[test]
fn a_million_tokens_are_a_handful_of_steps() -> Outcome {
    let mut replica = replica(ReplicaSpec::vllm(100_000))?;
    replica.submit(0, Request::new(0, 10, 1_000_000))?;
    let mut replies = Vec::new();
    let mut steps = 0;
    while let Some(next_us) = replica.next_us() {
        replica.advance(next_us, &mut replies);
        steps += 1;
    }
    assert_eq!(replica.totals().iterations, 1_000_000);
    assert!(steps <= 3, "{steps}");
    // 1010 for the prompt, then 999,999 iterations of 1000 that find 10, 11, … tokens.
    let end_us = 1_010 + 999_999 * 1_010 + 999_999 * 999_998 / 2;
    let [Reply::Done { at_us, first_us: 1_010, busy_ps, .. }] = replies[..] else { panic!("{replies:?}") };
    assert_eq!((at_us, busy_ps), (end_us, end_us * PS_PER_US));
    Ok(())
}

#[test]
fn what_can_never_be_served_is_rejected() -> Outcome {
    let mut small_cache = replica(small(8, 4, 4))?;
    assert_eq!(small_cache.submit(0, Request::new(0, 0, 5)), Err(Rejection::Empty));
    assert_eq!(small_cache.submit(0, Request::new(0, 10, 8)), Err(Rejection::TooLong { needed: 17, there: 16 }));
    let much = Rejection::Context { prompt: u32::MAX, answer: u32::MAX, most: u32::MAX };
    assert_eq!(small_cache.submit(0, Request::new(0, u32::MAX, u32::MAX)), Err(much));
    assert!(small_cache.submit(0, Request::new(0, 10, 7)).is_ok(), "the last token is never computed");
    let mut whole = replica(ReplicaSpec { chunked_prefill: false, ..small(8, 4, 100) })?;
    assert_eq!(whole.submit(0, Request::new(0, 9, 1)), Err(Rejection::Unchunked { tokens: 9, budget: 8 }));
    Ok(())
}

#[test]
fn replicas_that_make_no_sense_are_refused() {
    let refused = |spec| replica(spec).map(|_| ()).map_err(|e| e.to_string());
    let spec = ReplicaSpec::vllm(10);
    let message = |text: &str| Err(text.to_owned());
    let seqs = refused(ReplicaSpec { max_num_seqs: 0, ..spec.clone() });
    assert_eq!(seqs, message("max_num_seqs of a replica must be at least 1"));
    let memory = refused(ReplicaSpec { kv_blocks: 0, ..spec.clone() });
    assert_eq!(memory, message("the model leaves no memory for a KV cache: 0 blocks"));
    let budget = refused(ReplicaSpec { max_num_batched_tokens: 5, max_num_seqs: 6, ..spec });
    assert_eq!(budget, message("max_num_batched_tokens (5) must be at least max_num_seqs (6)"));
}
