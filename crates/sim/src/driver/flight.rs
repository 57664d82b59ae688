//! Attempts on their way, and the runs that they belong to.

use lumos_core::admission::Ticket as Permit;
use lumos_core::record::Status;
use lumos_core::scheduler::{AttemptId, RunState};

use super::happening::Handle;
use crate::model::Model;
use crate::replica::{Rejection, Ticket};

/// No service: nobody waits.
pub(super) const NOBODY: u32 = u32::MAX;

/// A run that goes on.
pub(super) struct Run {
    pub(super) state: RunState<Model>,
    /// Its place in the order of arrival, from 0.
    pub(super) number: u64,
    pub(super) arrived_us: u64,
    /// Whether it is past the warm-up.
    pub(super) counts: bool,
    pub(super) lengths: Option<(u32, u32)>,
    /// Tokens that the session has said before.
    pub(super) context: u32,
    /// The session; `u32::MAX` for a run by itself.
    pub(super) session: u32,
    pub(super) worst_ttft_us: u64,
    pub(super) worst_tpot_ns: u64,
    /// Its attempts that have not ended.
    pub(super) flights: Flights,
}

/// Attempts that have not ended, with their places.
pub(super) type Flights = Vec<(AttemptId, Handle)>;

/// An attempt that goes on.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) run: Handle,
    pub(super) attempt: AttemptId,
    /// Position of its node.
    pub(super) graph: u32,
    pub(super) node: u32,
    pub(super) service: u32,
    pub(super) phase: Phase,
    /// Everything random in it.
    pub(super) draw: u64,
    pub(super) input: u32,
    pub(super) output: u32,
    /// Tokens of the answer that its format prescribes, if the service reads those at once.
    pub(super) prescribed: u32,
    /// Most tokens that it may generate.
    pub(super) output_at_most: u32,
    /// Tokens that were drawn for it, if they are cut at that; otherwise 0.
    pub(super) was_to_have: u32,
    pub(super) cached: u32,
    pub(super) asked_us: u64,
    /// When it came to its service.
    pub(super) came_us: u64,
    /// When it was sent, or its work began.
    pub(super) sent_us: u64,
    pub(super) first_us: u64,
    /// When a replica took it into its batch.
    pub(super) start_us: u64,
    pub(super) fate: Fate,
    /// From lumos's own limiter.
    pub(super) permit: Option<Permit>,
    /// From a pool.
    pub(super) ticket: Option<Ticket>,
    /// What the occupancy of an hourly machine was when it came.
    pub(super) share_ns: u64,
    /// Its share of a replica's time.
    pub(super) busy_ps: u64,
}

impl Flight {
    /// Tokens of its answer, of which so many had to be generated.
    pub(super) fn written(&self, generated: u32) -> u32 {
        if generated > 0 { generated + self.prescribed } else { 0 }
    }
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its request is made.
    Prepared,
    /// It waits at the gate.
    Waiting,
    /// It may start.
    Admitted,
    /// It waits for a free server of a station.
    Queued,
    /// It is served.
    Running,
}

/// How an attempt will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Failed,
    /// No replica could ever serve it.
    Refused(Rejection),
    RateLimited {
        retry_after_us: Option<u64>,
    },
}

/// A conversation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    pub(super) turns_left: u32,
    pub(super) turn: u32,
    pub(super) context: u32,
    /// Those of the row that it began with, for each of its runs.
    pub(super) lengths: Option<(u32, u32)>,
    pub(super) draw: u64,
}

/// How a run ended.
pub(super) fn status(run: &Run) -> Option<Status> {
    run.state.outcome().map(lumos_core::scheduler::Outcome::status)
}
