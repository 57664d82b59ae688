//! What was used of a backend, and the decision whether more may be.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::breaker::{Blocked, Breaker};
use super::bucket::{Bucket, Ready};
use super::claims::Claims;
use super::owners::{OwnerId, Owners, Slot};
use super::rules::Rules;
use crate::money::Usd;
use crate::scheduler::Failure;

/// A clock that shows less than before by no more than this was read a little earlier; by more, it was set back.
const JITTER_US: u64 = 1_000_000;

const DAY_US: u64 = 86_400_000_000;

/// The pause after a 429 that doesn't say how long; doubled with each one in a row up to a minute.
const PAUSE_US: u64 = 1_000_000;

/// The longest pause that is kept, whatever a server asks for.
const LONGEST_PAUSE_US: u64 = DAY_US;

/// Names a request from its admission to its settlement; unique among all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// What a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Names it.
    pub ticket: Ticket,
    /// Its input tokens.
    pub input_tokens: u64,
    /// The most tokens it may generate.
    pub output_tokens: u64,
    /// The most it can cost, where known.
    pub worst_cost: Option<Usd>,
    /// After this time without a settlement it counts as dead. It then keeps what it asked for.
    pub lease_us: u64,
    /// Who sends it, where others can tell when that has died; see [`Ledger::settle_dead`].
    pub owner: Option<OwnerId>,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Now. It must be settled.
    Admitted,
    /// Later: ask again.
    Wait {
        /// When, unless something is settled before; `None` when only a settlement can help.
        until_us: Option<u64>,
    },
    /// Not for a while.
    Rejected(Failure),
}

/// What a request did use; `None` is unknown. One that the server refused, or never got, used nothing: say zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actual {
    /// Input tokens; unknown keeps what was asked for.
    pub input_tokens: Option<u64>,
    /// Output tokens; unknown keeps what was asked for.
    pub output_tokens: Option<u64>,
    /// What it cost; unknown keeps the most it could.
    pub cost: Option<Usd>,
    /// How it ended.
    pub end: End,
}

impl Actual {
    /// A request of which nothing is known but how it ended.
    pub fn unknown(end: End) -> Self {
        Self { input_tokens: None, output_tokens: None, cost: None, end }
    }
}

/// How a request ended, as far as it tells something about the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an answer.
    Succeeded,
    /// By the backend's fault: a server error, a timeout, no connection.
    Failed {
        /// How long the server asks to be left alone.
        retry_after_us: Option<u64>,
    },
    /// By our own: the server refused what was asked.
    Ours,
    /// The server counts more than it allows.
    RateLimited {
        /// How long it asks to be left alone.
        retry_after_us: Option<u64>,
    },
    /// Nobody waited for its end.
    Cancelled,
}

/// What was used of one backend: shared, as text, by all processes. A new one assumes that nothing was.
///
/// Right: every request is admitted, then settled or withdrawn once. Wrong: to keep a ledger per run; the server counts
/// them all together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    at_us: u64,
    day: u64,
    spent: Usd,
    paused_until_us: u64,
    /// 429s in a row that didn't say how long to wait.
    strikes: u32,
    breaker: Breaker,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    input: Option<Bucket>,
    output: Option<Bucket>,
    /// In order of admission, which the buckets rely on.
    leases: Vec<Lease>,
    #[serde(default, skip_serializing_if = "Owners::is_empty")]
    owners: Owners,
    claims: Claims,
    /// Whether something has changed that other processes must know.
    #[serde(skip)]
    changed: bool,
}

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    ticket: Ticket,
    input: u64,
    output: u64,
    worst_cost: Option<Usd>,
    expires_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Slot>,
}

impl Ledger {
    /// Decides whether a request may be sent now, and notes it if so. Whoever waits asks again with the same ticket, at
    /// least every 100 ms: it is then served, after a second, before those who came later. Who gives up withdraws.
    pub fn admit(&mut self, rules: &Rules, now_us: u64, ask: &Ask) -> Decision {
        let now_us = self.advance(rules, now_us);
        if let Some(failure) = self.rejection(rules, now_us, ask) {
            return Decision::Rejected(failure);
        }
        let wait = if self.paused_until_us > now_us {
            Some(Some(self.paused_until_us))
        } else if self.claims.precede(ask.ticket, now_us) {
            Some(None)
        } else {
            match self.ready(rules, now_us, ask) {
                Ready::At(until_us) => Some(Some(until_us)),
                Ready::Held => Some(None),
                Ready::Now => None,
            }
        };
        if let Some(until_us) = wait {
            self.changed |= self.claims.note(ask.ticket, now_us);
            return Decision::Wait { until_us };
        }
        self.changed = true;
        self.claims.drop(ask.ticket);
        for (bucket, tokens) in
            [(&mut self.requests, 1), (&mut self.tokens, ask.input_tokens), (&mut self.input, ask.input_tokens)]
        {
            if let Some(bucket) = bucket {
                bucket.begin(tokens);
            }
        }
        if rules.breaker.is_some() {
            self.breaker.passed(ask.ticket);
        }
        let leases = &self.leases;
        let uses = |slot| leases.iter().any(|lease| lease.owner == Some(slot));
        let owner = ask.owner.map(|owner| self.owners.slot(owner, uses));
        self.leases.push(Lease {
            ticket: ask.ticket,
            input: ask.input_tokens,
            output: ask.output_tokens,
            worst_cost: ask.worst_cost,
            expires_us: now_us.saturating_add(ask.lease_us),
            owner,
        });
        Decision::Admitted
    }

    /// Takes note of what a request used. One whose lease has run out was settled by that.
    pub fn settle(&mut self, rules: &Rules, now_us: u64, ticket: Ticket, actual: &Actual) {
        let now_us = self.advance(rules, now_us);
        self.changed = true;
        if let Some(index) = self.position(ticket) {
            self.close(index, now_us, 1, actual);
        }
        if let Some(rule) = rules.breaker {
            self.breaker.ended(rule, now_us, ticket, actual.end);
        }
        match actual.end {
            End::Succeeded => self.strikes = 0,
            End::RateLimited { retry_after_us } => {
                self.rate_limited(now_us, retry_after_us);
            }
            End::Failed { retry_after_us: Some(retry_after_us) } => self.pause(now_us, retry_after_us),
            End::Failed { retry_after_us: None } | End::Ours | End::Cancelled => {}
        }
    }

    /// Takes an admission back, as nothing of the request was sent, or stops waiting for one.
    pub fn withdraw(&mut self, rules: &Rules, now_us: u64, ticket: Ticket) {
        let now_us = self.advance(rules, now_us);
        self.changed = true;
        self.claims.drop(ticket);
        let nothing =
            Actual { input_tokens: Some(0), output_tokens: Some(0), cost: Some(Usd::ZERO), end: End::Cancelled };
        if let Some(index) = self.position(ticket) {
            self.close(index, now_us, 0, &nothing);
        }
        self.breaker.given_up(now_us, ticket);
    }

    /// Whether what stands in the way of a request that was not admitted is in the hands of others: room that requests in
    /// flight take up, or a probe. If so, it is worth a look which [`owners`](Self::owners) still live.
    pub fn is_held_up(&self, decision: &Decision) -> bool {
        match decision {
            Decision::Admitted => false,
            Decision::Wait { until_us } => until_us.is_none(),
            Decision::Rejected(_) => self.breaker.is_probing(),
        }
    }

    /// The owners of requests in flight, as far as they are known.
    pub fn owners(&self) -> BTreeSet<OwnerId> {
        self.leases.iter().filter_map(|lease| self.owner(lease)).collect()
    }

    /// Ends the requests of owners that have died, as they would have ended with their leases: what they used is not
    /// known, so they keep what they asked for. Whether there were any.
    pub fn settle_dead(&mut self, rules: &Rules, now_us: u64, dead: &BTreeSet<OwnerId>) -> bool {
        let now_us = self.advance(rules, now_us);
        let before = self.leases.len();
        self.give_up(now_us, |ledger, lease| ledger.owner(lease).is_some_and(|owner| dead.contains(&owner)));
        let any = self.leases.len() < before;
        self.changed |= any;
        any
    }

    /// Whether, since this was asked last, something has changed that other processes must know.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.leases.len()
    }

    /// What was spent on the day of the latest admission or settlement.
    pub fn spent_today(&self) -> Usd {
        self.spent
    }

    /// Lets time pass; returns the time that counts, which never goes back.
    fn advance(&mut self, rules: &Rules, now_us: u64) -> u64 {
        if now_us.saturating_add(JITTER_US) < self.at_us {
            self.set_back(self.at_us - now_us);
        }
        let from_us = self.at_us;
        let now_us = now_us.max(from_us);
        let in_flight = self.leases.len();
        for (bucket, limit) in [
            (&mut self.requests, rules.rpm),
            (&mut self.tokens, rules.tpm),
            (&mut self.input, rules.input_tpm),
            (&mut self.output, rules.output_tpm),
        ] {
            if let Some(bucket) = bucket {
                bucket.refill(from_us, now_us);
            }
            // A process without the limit uses up what another one counts.
            if let Some(limit) = limit {
                bucket.get_or_insert_with(|| Bucket::full(limit, in_flight)).adopt(limit);
            }
        }
        self.at_us = now_us;
        if now_us / DAY_US > self.day {
            self.day = now_us / DAY_US;
            self.spent = Usd::ZERO;
        }
        self.give_up(now_us, |_, lease| lease.expires_us <= now_us);
        now_us
    }

    fn set_back(&mut self, by_us: u64) {
        self.at_us = self.at_us.saturating_sub(by_us);
        self.day = self.day.min(self.at_us / DAY_US);
        self.paused_until_us = self.paused_until_us.saturating_sub(by_us);
        self.breaker.set_back(by_us);
        self.claims.set_back(by_us);
        for lease in &mut self.leases {
            lease.expires_us = lease.expires_us.saturating_sub(by_us);
        }
        for bucket in [&mut self.requests, &mut self.tokens, &mut self.input, &mut self.output].into_iter().flatten() {
            bucket.set_back(by_us);
        }
    }

    /// Why waiting for other requests would not help.
    fn rejection(&self, rules: &Rules, now_us: u64, ask: &Ask) -> Option<Failure> {
        if let Some(rule) = rules.breaker {
            let hint = "it is asked again by itself; a `fallback` would be used meanwhile";
            let (message, after_us) = match self.breaker.check(now_us) {
                Ok(()) => (None, 0),
                Err(Blocked::For(us)) => (Some(format!("it is left alone for another {}", seconds(us))), us),
                Err(Blocked::ByProbe) => (Some("one request probes it at the moment".to_owned()), 0),
            };
            if let Some(message) = message {
                let window = seconds(rule.window_us);
                let why = format!("the backend failed {} times within {window}: {message}", rule.failures);
                let retry_after_us = (after_us > 0).then_some(after_us);
                return Some(Failure { retryable: true, retry_after_us, ..Failure::fatal(why).with_hint(hint) });
            }
        }
        let limit = rules.usd_per_day?;
        let Some(worst_cost) = ask.worst_cost else {
            let message = "what the request costs at most is not known, so the backend's `usd_per_day` cannot be kept";
            let hint = "state the backend's `cost`, and a `timeout_s` where it is `PerHour`; or remove `usd_per_day`";
            return Some(Failure::fatal(message).with_hint(hint));
        };
        if self.spent + worst_cost <= limit {
            return None;
        }
        let message = format!(
            "the backend's budget for today cannot cover a request of up to {worst_cost} USD: {} of {limit} USD are spent",
            self.spent
        );
        let hint = "raise `usd_per_day`, or wait for the next day (UTC)";
        Some(Failure { is_limit: true, ..Failure::fatal(message).with_hint(hint) })
    }

    fn ready(&self, rules: &Rules, now_us: u64, ask: &Ask) -> Ready {
        if rules.concurrency.is_some_and(|most| self.leases.len() >= most as usize) {
            return Ready::Held;
        }
        if let (Some(limit), Some(worst_cost)) = (rules.usd_per_day, ask.worst_cost) {
            let reserved: Usd = self.leases.iter().filter_map(|lease| lease.worst_cost).sum();
            if self.spent + reserved + worst_cost > limit {
                return Ready::Held;
            }
        }
        let held = self.leases.iter().fold(0u64, |held, lease| held.saturating_add(lease.output));
        let both = ask.input_tokens.saturating_add(ask.output_tokens);
        let mut ready = Ready::Now;
        for (limit, bucket, tokens, held) in [
            (rules.rpm, &self.requests, 1, 0),
            (rules.tpm, &self.tokens, both, held),
            (rules.input_tpm, &self.input, ask.input_tokens, 0),
            (rules.output_tpm, &self.output, ask.output_tokens, held),
        ] {
            let (Some(_), Some(bucket)) = (limit, bucket) else { continue };
            ready = match (ready, bucket.ready(now_us, tokens, held)) {
                (Ready::Held, _) | (_, Ready::Held) => Ready::Held,
                (Ready::At(a), Ready::At(b)) => Ready::At(a.max(b)),
                (Ready::Now, other) | (other, Ready::Now) => other,
            };
        }
        ready
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        self.leases.iter().position(|lease| lease.ticket == ticket)
    }

    fn owner(&self, lease: &Lease) -> Option<OwnerId> {
        lease.owner.and_then(|slot| self.owners.get(slot))
    }

    /// Ends leases of which nobody tells any more what they used.
    fn give_up(&mut self, now_us: u64, which: impl Fn(&Self, &Lease) -> bool) {
        while let Some(index) = self.leases.iter().position(|lease| which(self, lease)) {
            let ticket = self.leases[index].ticket;
            self.close(index, now_us, 1, &Actual::unknown(End::Cancelled));
            self.breaker.given_up(now_us, ticket);
        }
    }

    /// Ends a lease that used `requests` requests.
    fn close(&mut self, index: usize, now_us: u64, requests: u64, actual: &Actual) {
        let lease = self.leases.remove(index);
        let input = actual.input_tokens.unwrap_or(lease.input);
        let output = actual.output_tokens.unwrap_or(lease.output);
        if let Some(bucket) = &mut self.requests {
            bucket.end(index, 1, requests, now_us);
        }
        for bucket in [&mut self.tokens, &mut self.input].into_iter().flatten() {
            bucket.end(index, lease.input, input, now_us);
        }
        for bucket in [&mut self.tokens, &mut self.output].into_iter().flatten() {
            bucket.take(output);
        }
        self.spent += actual.cost.or(lease.worst_cost).unwrap_or(Usd::ZERO);
    }

    /// The server counted more than we did: whatever we think is left is not.
    fn rate_limited(&mut self, now_us: u64, retry_after_us: Option<u64>) {
        for bucket in [&mut self.requests, &mut self.tokens, &mut self.input, &mut self.output].into_iter().flatten() {
            bucket.drain();
        }
        if let Some(us) = retry_after_us {
            self.pause(now_us, us);
        } else if self.paused_until_us <= now_us {
            // Those that were sent before the pause don't lengthen it.
            self.pause(now_us, (PAUSE_US << self.strikes.min(6)).min(60 * PAUSE_US));
            self.strikes = self.strikes.saturating_add(1);
        }
    }

    fn pause(&mut self, now_us: u64, us: u64) {
        self.paused_until_us = self.paused_until_us.max(now_us.saturating_add(us.min(LONGEST_PAUSE_US)));
    }
}

fn seconds(us: u64) -> String {
    format!("{:.1} s", us as f64 / 1e6)
}

#[cfg(test)]
mod tests;
