//! Data-parallel replicas of one model behind a router: cold starts, scaling with the load, outages.

use std::{fmt, sync::Arc};

use super::{
    Progress, Rejection, Replica, ReplicaError, ReplicaSpec, Reply, Request, Ticket, Totals,
    routing::{Router, Routing},
};
use crate::iteration::IterationTime;

/// Most replicas of a pool: each is simulated by itself.
const MOST_REPLICAS: u32 = 100_000;

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
        let most = spec.scaling.map_or(spec.replicas, |scaling| scaling.max.max(spec.replicas));
        if most > MOST_REPLICAS {
            return Err(ReplicaError::TooMany { replicas: most, most: MOST_REPLICAS });
        }
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
mod tests;
