//! Data-parallel replicas of one model behind a router: cold starts, scaling with the load, outages.

use std::{fmt, sync::Arc};

use super::{
    Progress, Rejection, Replica, ReplicaError, ReplicaSpec, Reply, Request, Ticket, Totals,
    routing::{Router, Routing},
};
use crate::iteration::IterationTime;

/// What a pool is. Times are microseconds since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// Each of its replicas.
    pub replica: ReplicaSpec,
    /// Replicas that are up at time 0.
    pub replicas: u32,
    /// Which replica gets a request.
    pub routing: Routing,
    /// From the decision to have a replica more until it serves: getting a machine, loading the model.
    pub cold_start_us: u64,
    /// How the number of replicas follows the load; `None` leaves it.
    pub scaling: Option<Scaling>,
    /// When replicas are down.
    pub outages: Vec<Outage>,
    /// Whether what prompts begin with is kept for the next.
    pub prefix_cache: bool,
}

/// How the number of replicas follows the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaling {
    /// Replicas at least; 0 waits for a request.
    pub min: u32,
    /// Replicas at most.
    pub max: u32,
    /// Outstanding requests per replica: as soon as there are more, another is started.
    pub target: u32,
    /// How long a replica does nothing before it is stopped, if the others suffice by `target`.
    pub idle_us: u64,
}

/// A replica that goes down: what it has fails, its cache is lost. One that is not up then stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The replica, from 0.
    pub replica: u32,
    /// When.
    pub at_us: u64,
    /// How long until it serves again.
    pub for_us: u64,
}

/// What a pool did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolTotals {
    /// Sums over its replicas.
    pub replicas: Totals,
    /// Microseconds that replicas were paid for, together: from the decision to start one, through outages, until it stopped.
    pub provisioned_us: u64,
    /// The most replicas at a time.
    pub peak_replicas: u32,
    /// Replicas that were started and stopped to follow the load.
    pub started: u32,
    /// See `started`.
    pub stopped: u32,
    /// Requests that an outage failed.
    pub failed: u64,
}

impl PoolTotals {
    /// Sums of two pools, or of two simulations of one.
    pub fn merge(&mut self, other: &Self) {
        self.replicas.merge(&other.replicas);
        self.provisioned_us += other.provisioned_us;
        self.peak_replicas = self.peak_replicas.max(other.peak_replicas);
        self.started += other.started;
        self.stopped += other.stopped;
        self.failed += other.failed;
    }

    /// What came after `before`, an earlier state of the same pool; peaks are those of all time.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            replicas: self.replicas.since(&before.replicas),
            provisioned_us: self.provisioned_us - before.provisioned_us,
            peak_replicas: self.peak_replicas,
            started: self.started - before.started,
            stopped: self.stopped - before.stopped,
            failed: self.failed - before.failed,
        }
    }
}

/// Replicas behind a router, with the calls of a single [`Replica`].
pub struct Pool {
    spec: PoolSpec,
    time: Arc<dyn IterationTime>,
    members: Vec<Member>,
    /// When each wants to be advanced, `u64::MAX` for never.
    next_us: Vec<u64>,
    router: Router,
    /// Outages to come, the next one last.
    outages: Vec<Outage>,
    provisioned: u32,
    /// When and which replica stops unless something happens, if scaling finds one.
    stop: Option<(u64, u32)>,
    totals: PoolTotals,
}

#[derive(Debug)]
struct Member {
    replica: Replica,
    /// Since when it is provisioned.
    since_us: Option<u64>,
    /// When it serves, or did begin to.
    ready_us: u64,
    /// Since when it has nothing to do.
    idle_us: u64,
}

impl Pool {
    /// A pool whose first replicas are up at time 0.
    pub fn new(spec: PoolSpec, time: Arc<dyn IterationTime>) -> Result<Self, ReplicaError> {
        match spec.scaling {
            None if spec.replicas == 0 => return Err(ReplicaError::NoReplicas),
            Some(Scaling { min, max, .. }) if min > max || max == 0 || spec.replicas < min || spec.replicas > max => {
                return Err(ReplicaError::Scaling { min, max, replicas: spec.replicas });
            }
            Some(Scaling { target: 0, .. }) => return Err(ReplicaError::Target),
            _ => {}
        }
        let mut outages = spec.outages.clone();
        outages.sort_by_key(|outage| std::cmp::Reverse((outage.at_us, outage.replica)));
        let mut pool = Self {
            router: Router::new(spec.routing),
            members: Vec::new(),
            next_us: Vec::new(),
            outages,
            provisioned: 0,
            stop: None,
            totals: PoolTotals::default(),
            spec,
            time,
        };
        // One is built in any case: it tells whether the specification makes sense, and what it accepts.
        for _ in 0..pool.spec.replicas.max(1) {
            pool.add_member()?;
        }
        for member in &mut pool.members[..pool.spec.replicas as usize] {
            member.since_us = Some(0);
        }
        pool.provisioned = pool.spec.replicas;
        pool.totals.peak_replicas = pool.provisioned;
        pool.find_stop();
        Ok(pool)
    }

    fn add_member(&mut self) -> Result<(), ReplicaError> {
        let replica = Replica::new(self.spec.replica.clone(), self.time.clone())?;
        self.members.push(Member { replica, since_us: None, ready_us: 0, idle_us: 0 });
        self.next_us.push(u64::MAX);
        Ok(())
    }

    /// Takes a request at `now_us`, unless no replica could ever serve it, and gives it to one of them. While none serves, it
    /// waits for the one that does next.
    pub fn submit(&mut self, now_us: u64, request: Request) -> Result<Ticket, Rejection> {
        let request = if self.spec.prefix_cache {
            request
        } else {
            Request { prefix: None, session: None, keep: None, ..request }
        };
        self.members[0].replica.accepts(&request)?;
        self.scale_up(now_us);
        let index = self.route(now_us, &request);
        let member = &mut self.members[index];
        let ticket = member.replica.submit(now_us, request)?;
        self.next_us[index] = member.replica.next_us().unwrap_or(u64::MAX);
        self.find_stop();
        Ok(Ticket { replica: index as u32, ..ticket })
    }

    /// Whether a prompt, with an answer of at most so many tokens, is no longer than its replicas take.
    pub fn takes(&self, prompt: u32, answer: u32) -> Result<(), Rejection> {
        self.spec.replica.takes(prompt, answer)
    }

    /// As [`Replica::cancel`].
    pub fn cancel(&mut self, now_us: u64, ticket: Ticket) -> Option<Progress> {
        let index = ticket.replica as usize;
        let member = self.members.get_mut(index)?;
        let progress = member.replica.cancel(now_us, ticket);
        if progress.is_some() && member.replica.outstanding() == 0 {
            member.idle_us = now_us;
        }
        self.next_us[index] = member.replica.next_us().unwrap_or(u64::MAX);
        self.find_stop();
        progress
    }

    /// When it wants to be advanced. Outages and stops to come count, so it may want to be when nothing is outstanding.
    pub fn next_us(&self) -> Option<u64> {
        let event = self.event_us();
        let next = self.next_us.iter().fold(event, |least, next| least.min(*next));
        (next != u64::MAX).then_some(next)
    }

    /// As [`Replica::advance`]. Replies of different replicas come in order of time only if it is advanced whenever it wants
    /// to be.
    pub fn advance(&mut self, now_us: u64, out: &mut Vec<Reply>) {
        while self.event_us() <= now_us {
            let at_us = self.event_us();
            self.advance_members(at_us, out);
            if self.outages.last().is_some_and(|outage| outage.at_us <= at_us) {
                if let Some(outage) = self.outages.pop() {
                    self.fail(outage, out);
                }
            } else if let Some((_, index)) = self.stop.filter(|(stop_us, _)| *stop_us <= at_us) {
                self.stop_member(at_us, index as usize);
            }
            self.find_stop();
        }
        self.advance_members(now_us, out);
    }

    /// The next outage or stop, `u64::MAX` for none.
    fn event_us(&self) -> u64 {
        let outage = self.outages.last().map_or(u64::MAX, |outage| outage.at_us);
        self.stop.map_or(outage, |(stop_us, _)| outage.min(stop_us))
    }

    fn advance_members(&mut self, now_us: u64, out: &mut Vec<Reply>) {
        let mut idle = false;
        for (next_us, member) in self.next_us.iter_mut().zip(&mut self.members) {
            if *next_us > now_us {
                continue;
            }
            let busy = member.replica.outstanding() > 0;
            member.replica.advance(now_us, out);
            *next_us = member.replica.next_us().unwrap_or(u64::MAX);
            if busy && member.replica.outstanding() == 0 {
                member.idle_us = now_us;
                idle = true;
            }
        }
        if idle || self.spec.scaling.is_some() {
            self.find_stop();
        }
    }

    /// As [`Replica::waiting`]; before a replica that starts or is down all do.
    pub fn waiting(&self, now_us: u64) -> usize {
        let waiting = |member: &Member| {
            let (replica, is_ready) = (&member.replica, member.ready_us <= now_us);
            if is_ready { replica.waiting(now_us) } else { replica.outstanding() as usize }
        };
        self.members.iter().map(waiting).sum()
    }

    /// As [`Replica::queued`].
    pub fn queued(&self) -> usize {
        self.members.iter().map(|member| member.replica.queued()).sum()
    }

    /// Whether more of its replicas may serve later than do now: some start, are down, or may still be started.
    pub fn is_partial(&self, now_us: u64) -> bool {
        let most = self.spec.scaling.map_or(self.spec.replicas, |scaling| scaling.max);
        let mut paid = self.members.iter().filter(|member| member.since_us.is_some());
        self.provisioned < most || paid.any(|member| member.ready_us > now_us)
    }

    /// Requests that wait or run.
    pub fn outstanding(&self) -> u32 {
        self.members.iter().map(|member| member.replica.outstanding()).sum()
    }

    /// Replicas that are paid for now.
    pub fn provisioned(&self) -> u32 {
        self.provisioned
    }

    /// Its replicas, those that are not provisioned too.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.members.iter().map(|member| &member.replica)
    }

    /// What it did until `now_us`.
    pub fn totals(&self, now_us: u64) -> PoolTotals {
        let mut totals = self.totals;
        for member in &self.members {
            totals.replicas.merge(&member.replica.totals_at(now_us));
            totals.provisioned_us += member.since_us.map_or(0, |since_us| now_us.saturating_sub(since_us));
        }
        totals
    }

    fn fail(&mut self, outage: Outage, out: &mut Vec<Reply>) {
        let index = outage.replica as usize;
        let Some(member) = self.members.get_mut(index).filter(|member| member.since_us.is_some()) else { return };
        let before = out.len();
        let ready_us = outage.at_us.saturating_add(outage.for_us).max(member.ready_us);
        member.replica.fail(outage.at_us, ready_us, out);
        self.totals.failed += out[before..].iter().filter(|reply| matches!(reply, Reply::Failed { .. })).count() as u64;
        (member.ready_us, member.idle_us) = (ready_us, outage.at_us);
        self.next_us[index] = member.replica.next_us().unwrap_or(u64::MAX);
    }

    /// Starts replicas until there are enough for one request more than are outstanding.
    fn scale_up(&mut self, now_us: u64) {
        let Some(scaling) = self.spec.scaling else { return };
        let wanted = (self.outstanding() + 1).div_ceil(scaling.target).clamp(scaling.min, scaling.max);
        while self.provisioned < wanted {
            if self.members.iter().all(|member| member.since_us.is_some()) && self.add_member().is_err() {
                return;
            }
            let ready_us = now_us.saturating_add(self.spec.cold_start_us);
            let Some(member) = self.members.iter_mut().find(|member| member.since_us.is_none()) else { return };
            // Whoever was stopped starts with an empty cache; nothing is outstanding there that could fail.
            member.replica.fail(now_us, ready_us, &mut Vec::new());
            (member.since_us, member.ready_us, member.idle_us) = (Some(now_us), ready_us, ready_us);
            self.provisioned += 1;
            self.totals.started += 1;
            self.totals.peak_replicas = self.totals.peak_replicas.max(self.provisioned);
        }
    }

    /// Finds the replica that stops next: the one idle for longest, if the others suffice.
    fn find_stop(&mut self) {
        let Some(scaling) = self.spec.scaling else { return };
        let wanted = self.outstanding().div_ceil(scaling.target).max(scaling.min);
        self.stop = None;
        if self.provisioned > wanted {
            let idle =
                self.members.iter().enumerate().filter(|(_, m)| m.since_us.is_some() && m.replica.outstanding() == 0);
            let stops = idle.map(|(i, m)| (m.idle_us.max(m.ready_us).saturating_add(scaling.idle_us), i as u32));
            self.stop = stops.min();
        }
    }

    fn stop_member(&mut self, at_us: u64, index: usize) {
        let member = &mut self.members[index];
        if let Some(since_us) = member.since_us.take() {
            self.totals.provisioned_us += at_us - since_us;
            self.totals.stopped += 1;
            self.provisioned -= 1;
        }
    }

    /// The replica for a request: one that serves now if any does, or else the one that does next.
    fn route(&mut self, now_us: u64, request: &Request) -> usize {
        let replicas = self.members.iter_mut().map(|member| {
            let serves = member.since_us.is_some() && member.ready_us <= now_us;
            serves.then_some(&mut member.replica)
        });
        if let Some(index) = self.router.pick(now_us, replicas, request) {
            return index;
        }
        let up = self.members.iter().enumerate().filter(|(_, member)| member.since_us.is_some());
        up.min_by_key(|(_, m)| (m.ready_us, m.replica.outstanding())).map_or(0, |(index, _)| index)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("spec", &self.spec).field("members", &self.members).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
        Request { id, prompt_tokens: 100, output_tokens, prefix: None, session: None, keep: None }
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
            let (prompt_tokens, output_tokens) = (*prompt_tokens, *output_tokens);
            let request =
                Request { id: id as u64, prompt_tokens, output_tokens, prefix, session: None, keep: *session };
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
}
