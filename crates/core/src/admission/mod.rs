//! Admission to a backend: whether a request may leave now, ahead of the server's own limits. A pure state machine
//! beside the scheduler, shared by all runs: no IO, no clock, no chance.
//!
//! [`Rules`] say what is allowed, [`Ledger`] is what was used of it. A request is admitted with what it may use at most
//! and settled with what it did use. Time is an argument, in microseconds since the Unix epoch.
//!
//! **Never ahead of the server.** A server keeps token buckets: full at first, refilled continuously up to the limit per
//! minute; it takes requests and input tokens when a request arrives, output tokens when they end, and answers 429 when
//! there is too little. The ledger mirrors such a bucket. Three things could bring the mirror ahead of the original:
//!
//! - *Output paid early.* If the most that a request may generate left the bucket at its start, the bucket would refill
//!   meanwhile and stand full when the server takes the tokens. So output is *held*, not taken: it lessens what may be
//!   asked for and leaves the bucket when the request is settled.
//! - *Input refunded late.* An estimate too high that is given back at the end would also give back what the server's
//!   bucket, full in the meantime, could not refill. So the bucket remembers for each request in flight how it would
//!   stand had it been full since, and a refund brings it to exactly where the right figure would have brought it.
//! - *Different delays.* Two requests may arrive closer together than they left. With delays that differ by `d`, the
//!   server stands at most `d` of refill below the mirror (both are minima over the past of capacity plus refill less
//!   use, and the use in an interval at the server left within one longer by `d`). So a reserve of 2 % of the limit (at
//!   least one request or token) is never used, enough for 1.2 s. It lessens bursts, not the long-run rate.
//!
//! **Processes die.** What is in flight is a lease: if nobody settles it, it ends after its time, or as soon as its owner
//! is known to be dead, and counts as having used all that it asked for.

mod breaker;
mod bucket;
mod claims;
mod ledger;
mod owners;
#[cfg(test)]
mod properties;
mod rules;

pub use ledger::{Actual, Ask, Decision, End, Ledger, Ticket};
pub use owners::OwnerId;
pub use rules::{BreakerRule, Rules};
