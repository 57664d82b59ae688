//! Pools: routing, scaling, cold starts, outages, and what prompts share.

use super::*;
use crate::{
    iteration::{Affine, Batch},
    replica::Prefix,
};
use proptest::prelude::*;

/// A millisecond per iteration, whatever is in it.
fn time() -> Arc<dyn IterationTime> {
    Arc::new(|_: &Batch| Affine { base_ps: 1_000_000_000, per_kv_token_ps: 0 })
}

fn spec(replicas: u32, routing: Routing) -> PoolSpec {
    let replica = ReplicaSpec { max_num_seqs: 4, ..ReplicaSpec::vllm(1000) };
    PoolSpec {
        replica,
        replicas,
        routing,
        cold_start_us: 50_000,
        scaling: None,
        outages: Vec::new(),
        prefix_cache: true,
    }
}

fn request(id: u64, output_tokens: u32) -> Request {
    Request::new(id, 100, output_tokens)
}

fn drain(pool: &mut Pool) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some(next_us) = pool.next_us() {
        pool.advance(next_us, &mut replies);
    }
    replies
}

fn ends(replies: &[Reply]) -> Vec<(u64, u64)> {
    replies
        .iter()
        .map(|reply| match *reply {
            Reply::Done { id, at_us, .. } | Reply::Failed { id, at_us, .. } => (id, at_us),
        })
        .collect()
}

#[test]
fn requests_go_in_turn_or_to_the_least_loaded() -> Result<(), Box<dyn std::error::Error>> {
    for (routing, expected) in [
        (Routing::RoundRobin, [0, 1, 2, 0, 1, 2]),
        (Routing::LeastRequests, [0, 1, 2, 0, 1, 2]),
        (Routing::LeastTokens, [0, 1, 2, 1, 2, 1]),
    ] {
        let mut pool = Pool::new(spec(3, routing), time())?;
        let outputs = [500, 10, 30, 10, 10, 10];
        let mut picked = Vec::new();
        for (id, output) in outputs.into_iter().enumerate() {
            picked.push(pool.submit(0, request(id as u64, output))?.replica);
        }
        assert_eq!(picked, expected, "{routing:?}");
    }
    Ok(())
}

#[test]
fn a_warm_cache_is_worth_its_slack() -> Result<(), Box<dyn std::error::Error>> {
    let mut pool = Pool::new(spec(2, Routing::Prefix { slack: 2 }), time())?;
    let shared = |id| Request { prefix: Some(Prefix { id: 7, tokens: 64 }), ..request(id, 10) };
    pool.submit(0, request(0, 5))?;
    assert_eq!(pool.submit(0, shared(1))?.replica, 1, "cold everywhere: the least loaded");
    drain(&mut pool);
    let now_us = 100_000;
    let picked: Result<Vec<u32>, _> = (2..7).map(|id| pool.submit(now_us, shared(id)).map(|t| t.replica)).collect();
    assert_eq!(picked?, [1, 1, 1, 0, 1], "warm until it has three more");
    Ok(())
}

#[test]
fn replicas_come_with_the_load_and_go_without() -> Result<(), Box<dyn std::error::Error>> {
    let scaling = Scaling { min: 0, max: 2, target: 2, idle_us: 10_000 };
    let mut pool = Pool::new(PoolSpec { scaling: Some(scaling), ..spec(0, Routing::LeastRequests) }, time())?;
    for id in 0..5 {
        pool.submit(1_000, request(id, 10))?;
    }
    assert_eq!(pool.provisioned(), 2, "no more than the most");
    let replies = drain(&mut pool);
    assert_eq!(replies.len(), 5);
    assert!(
        ends(&replies).iter().all(|(_, at_us)| *at_us == 1_000 + 50_000 + 10_000),
        "cold start, ten iterations: {replies:?}"
    );
    let totals = pool.totals(200_000);
    assert_eq!((pool.provisioned(), totals.started, totals.stopped), (0, 2, 2));
    assert_eq!(totals.provisioned_us, 2 * (50_000 + 10_000 + 10_000));
    Ok(())
}

#[test]
fn an_outage_fails_what_is_there_and_holds_what_comes() -> Result<(), Box<dyn std::error::Error>> {
    let outages = vec![Outage { replica: 0, at_us: 5_500, for_us: 20_000 }];
    let mut pool = Pool::new(PoolSpec { outages, ..spec(1, Routing::RoundRobin) }, time())?;
    pool.submit(0, request(0, 10))?;
    let mut replies = Vec::new();
    pool.advance(6_000, &mut replies);
    let progress = Progress {
        output_tokens: 5,
        cached_tokens: 0,
        start_us: Some(0),
        first_us: Some(1_000),
        busy_ps: 5_500_000_000,
    };
    assert_eq!(replies, [Reply::Failed { id: 0, at_us: 5_500, progress }]);
    pool.submit(6_000, request(1, 10))?;
    assert_eq!(pool.waiting(7_000), 1, "nothing has put a batch together");
    assert_eq!(ends(&drain(&mut pool)), [(1, 35_500)]);
    assert_eq!(pool.totals(40_000).failed, 1);
    Ok(())
}

#[test]
fn an_outage_does_not_hasten_a_cold_start() -> Result<(), Box<dyn std::error::Error>> {
    let scaling = Some(Scaling { min: 0, max: 1, target: 1, idle_us: 0 });
    let outages = vec![Outage { replica: 0, at_us: 10_000, for_us: 5_000 }];
    let mut pool = Pool::new(PoolSpec { scaling, outages, ..spec(0, Routing::RoundRobin) }, time())?;
    pool.submit(0, request(0, 1))?;
    let mut replies = Vec::new();
    pool.advance(10_000, &mut replies);
    assert_eq!(ends(&replies), [(0, 10_000)]);
    pool.submit(10_001, request(1, 1))?;
    assert_eq!(ends(&drain(&mut pool)), [(1, 51_000)]);
    Ok(())
}

#[test]
fn pools_that_make_no_sense_are_refused() {
    let zero = Pool::new(spec(0, Routing::RoundRobin), time()).map(|_| ());
    assert_eq!(zero, Err(ReplicaError::NoReplicas));
    let scaling = |min, max, target| Some(Scaling { min, max, target, idle_us: 0 });
    let refused = |scaling| Pool::new(PoolSpec { scaling, ..spec(1, Routing::RoundRobin) }, time()).map(|_| ());
    assert_eq!(refused(scaling(2, 1, 1)), Err(ReplicaError::Scaling { min: 2, max: 1, replicas: 1 }));
    assert_eq!(refused(scaling(0, 1, 0)), Err(ReplicaError::Target));
    assert_eq!(refused(scaling(2, 3, 1)), Err(ReplicaError::Scaling { min: 2, max: 3, replicas: 1 }));
}

#[derive(Debug, Clone)]
struct Load {
    routing: Routing,
    scaling: Option<Scaling>,
    outages: Vec<Outage>,
    requests: Vec<(u64, u32, u32, Option<u64>)>,
    cancels: Vec<prop::sample::Index>,
}

fn load() -> impl Strategy<Value = Load> {
    let routing = prop_oneof![
        Just(Routing::RoundRobin),
        Just(Routing::LeastRequests),
        Just(Routing::LeastTokens),
        (0_u32..4).prop_map(|slack| Routing::Prefix { slack }),
    ];
    let scaling = (0_u32..3, 0_u32..3, 1_u32..4, 0_u64..80_000).prop_map(|(min, more, target, idle_us)| Scaling {
        min,
        max: (min + more).max(2),
        target,
        idle_us,
    });
    let outage = (0_u32..4, 0_u64..400_000, 0_u64..100_000);
    let outage = outage.prop_map(|(replica, at_us, for_us)| Outage { replica, at_us, for_us });
    let request = (prop_oneof![Just(0_u64), 0_u64..30_000], 1_u32..200, 0_u32..80, prop::option::of(0_u64..4));
    (
        routing,
        prop::option::of(scaling),
        prop::collection::vec(outage, 0..4),
        prop::collection::vec(request, 1..50),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    )
        .prop_map(|(routing, scaling, outages, requests, cancels)| Load {
            routing,
            scaling,
            outages,
            requests,
            cancels,
        })
}

type Seen = (Vec<Reply>, Vec<Option<Progress>>, PoolTotals);

/// Ends of all requests in order of time and id, what cancelled ones had, and sums.
fn play(load: &Load, stepwise: bool) -> Result<Seen, TestCaseError> {
    let replica = ReplicaSpec { max_num_seqs: 4, stepwise, ..ReplicaSpec::vllm(60) };
    let (scaling, outages) = (load.scaling, load.outages.clone());
    let spec = PoolSpec { replica, scaling, outages, ..spec(2, load.routing) };
    let time = |batch: &Batch| Affine {
        base_ps: 900_000_007 + 3_000_001 * u64::from(batch.chunk_tokens),
        per_kv_token_ps: 17,
    };
    let mut pool = Pool::new(spec, Arc::new(time)).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let (mut now_us, mut replies, mut cancelled, mut tickets) = (0, Vec::new(), Vec::new(), Vec::new());
    for (id, (gap_us, prompt_tokens, output_tokens, session)) in load.requests.iter().enumerate() {
        now_us += gap_us;
        while let Some(next_us) = pool.next_us().filter(|next_us| *next_us < now_us) {
            pool.advance(next_us, &mut replies);
        }
        let prefix = session.map(|id| Prefix { id, tokens: *prompt_tokens });
        let request = Request { prefix, keep: *session, ..Request::new(id as u64, *prompt_tokens, *output_tokens) };
        tickets.push(pool.submit(now_us, request).map_err(|e| TestCaseError::fail(e.to_string()))?);
        for index in load.cancels.iter().filter(|index| index.index(load.requests.len()) == id) {
            pool.advance(now_us, &mut replies);
            cancelled.push(pool.cancel(now_us, *index.get(&tickets)));
        }
    }
    replies.extend(drain(&mut pool));
    prop_assert_eq!(pool.outstanding(), 0);
    let gone = cancelled.iter().filter(|progress| progress.is_some()).count();
    prop_assert_eq!(replies.len() + gone, tickets.len(), "every request ends once");
    replies.sort_by_key(|reply| match *reply {
        Reply::Done { id, at_us, .. } | Reply::Failed { id, at_us, .. } => (at_us, id),
    });
    let ids: std::collections::BTreeSet<u64> = ends(&replies).iter().map(|(id, _)| *id).collect();
    prop_assert_eq!(ids.len(), replies.len());
    Ok((replies, cancelled, pool.totals(now_us + 1_000_000_000)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn pools_are_the_same_in_closed_form(load in load()) {
        prop_assert_eq!(play(&load, false)?, play(&load, true)?);
    }
}
