//! A replica: one copy of a model on its hardware, batching continuously as vLLM v1 does.
//!
//! An iteration computes one token of each sequence that decodes and, with the rest of its token budget, chunks of prompts
//! in order of arrival. The iteration that ends a prompt generates its first token. When blocks of the KV cache run out,
//! the sequence that was admitted last is preempted: it loses its blocks and is computed again, before all others that
//! wait. Requests and cancellations are seen at the first boundary between iterations after them; an idle replica begins at
//! once, with all that is submitted at that microsecond before it is advanced.
//!
//! Time is integer picoseconds inside and microseconds outside, rounded up. A stretch of iterations in which the batch does
//! not change is advanced in closed form, so a request costs the same whether it generates ten tokens or ten thousand;
//! [`ReplicaSpec::stepwise`] carries out each iteration instead, to the same picosecond.

mod cache;
#[cfg(test)]
mod exact;
mod fast;
mod growth;
mod pool;
mod request;
mod routing;
mod shares;
mod spec;
mod stepwise;
mod stretch;
#[cfg(test)]
mod timelines;
mod totals;

use std::{fmt, sync::Arc};

pub use pool::{Outage, Pool, PoolSpec, PoolTotals, Scaling};
pub use request::{Extra, Prefix, Progress, Rejection, Reply, Request, Ticket};
pub use routing::Routing;
pub use spec::{PrefillWait, ReplicaError, ReplicaSpec, Reserve};
pub use totals::Totals;

use crate::iteration::{IterationTime, PS_PER_US};
use cache::Cache;
use fast::{Fast, us};
use stepwise::Stepwise;

/// One replica. Pure: time comes in with each call and must not decrease.
///
/// Right: at each event of the driver, `advance(now_us)` if [`Replica::next_us`] is due, then `submit` or `cancel` at
/// `now_us`, then ask `next_us` again. Wrong: `submit` for a time that has already been advanced over.
pub struct Replica {
    spec: ReplicaSpec,
    inner: Inner,
}

enum Inner {
    Fast(Box<Fast>),
    Stepwise(Box<Stepwise>),
}

/// Calls a method of whichever replica it is.
macro_rules! inner {
    ($self:ident, $name:ident($($argument:expr),*)) => {
        match &$self.inner {
            Inner::Fast(replica) => replica.$name($($argument),*),
            Inner::Stepwise(replica) => replica.$name($($argument),*),
        }
    };
    (mut $self:ident, $name:ident($($argument:expr),*)) => {
        match &mut $self.inner {
            Inner::Fast(replica) => replica.$name($($argument),*),
            Inner::Stepwise(replica) => replica.$name($($argument),*),
        }
    };
}

impl Replica {
    /// A replica that is up at time 0.
    pub fn new(spec: ReplicaSpec, time: Arc<dyn IterationTime>) -> Result<Self, ReplicaError> {
        spec.check()?;
        let inner = if spec.stepwise {
            Inner::Stepwise(Box::new(Stepwise::new(spec.clone(), time)))
        } else {
            Inner::Fast(Box::new(Fast::new(spec.clone(), time)))
        };
        Ok(Self { spec, inner })
    }

    /// Takes a request at `now_us`, unless it could never be served.
    pub fn submit(&mut self, now_us: u64, request: Request) -> Result<Ticket, Rejection> {
        self.accepts(&request)?;
        Ok(Ticket { replica: 0, key: inner!(mut self, submit(ps(now_us), request)) })
    }

    /// Whether a request can be served at all.
    pub fn accepts(&self, request: &Request) -> Result<(), Rejection> {
        let spec = &self.spec;
        if request.prompt_tokens == 0 {
            return Err(Rejection::Empty);
        }
        let tokens = u64::from(request.prompt_tokens) + u64::from(request.output_tokens.saturating_sub(1));
        spec.takes(request.prompt_tokens, request.output_tokens)?;
        let blocks = tokens.div_ceil(u64::from(spec.block_tokens));
        if blocks > u64::from(spec.kv_blocks) || u32::try_from(tokens).is_err() {
            let there = u64::from(spec.kv_blocks) * u64::from(spec.block_tokens);
            return Err(Rejection::TooLong { needed: tokens, there });
        }
        if !spec.chunked_prefill && request.prompt_tokens > spec.max_num_batched_tokens {
            return Err(Rejection::Unchunked { tokens: request.prompt_tokens, budget: spec.max_num_batched_tokens });
        }
        Ok(())
    }

    /// Cancels a request at `now_us`: no reply comes, and the batch and the cache are rid of it at the next boundary between
    /// iterations. Tells what it had, or `None` if it has ended already.
    pub fn cancel(&mut self, now_us: u64, ticket: Ticket) -> Option<Progress> {
        inner!(mut self, cancel(ps(now_us), ticket.key))
    }

    /// When it wants to be advanced; `None` while idle. A submission or a cancellation may make it earlier.
    pub fn next_us(&self) -> Option<u64> {
        inner!(self, next_ps()).map(us)
    }

    /// Goes on to `now_us` and appends what has ended until then, in order.
    pub fn advance(&mut self, now_us: u64, out: &mut Vec<Reply>) {
        inner!(mut self, advance(ps(now_us), out));
    }

    /// Goes down at `now_us` and is up again, with an empty cache, at `up_us`: all that it had fails. What is submitted
    /// meanwhile waits.
    pub fn fail(&mut self, now_us: u64, up_us: u64, out: &mut Vec<Reply>) {
        self.advance(now_us, out);
        inner!(mut self, reset(ps(now_us), out));
        self.start_at(up_us);
    }

    /// Begins no iteration before `at_us`: loading the model, say.
    pub fn start_at(&mut self, at_us: u64) {
        inner!(mut self, start_at(ps(at_us)));
    }

    /// Requests for which there was no place in the batch when it was last put together, as of `now_us`, until which it has
    /// been advanced.
    pub fn waiting(&self, now_us: u64) -> usize {
        inner!(self, waiting(ps(now_us)))
    }

    /// Requests that are not in the batch: those too that only wait for an iteration to end.
    pub fn queued(&self) -> usize {
        inner!(self, queued())
    }

    /// Requests that wait or run.
    pub fn outstanding(&self) -> u32 {
        inner!(self, outstanding())
    }

    /// Prompt and output tokens of these, whatever of them is computed.
    pub fn outstanding_tokens(&self) -> u64 {
        inner!(self, outstanding_tokens())
    }

    /// Tokens of a request's prompt that are in the cache at `now_us`.
    pub fn warm_tokens(&mut self, now_us: u64, request: &Request) -> u32 {
        if let Inner::Fast(fast) = &mut self.inner {
            fast.settle(ps(now_us));
        }
        self.cache().find(request, request.prompt_tokens).blocks() * self.spec.block_tokens
    }

    /// Blocks that running requests hold, as of the last boundary that it was advanced over, and all blocks.
    pub fn blocks(&self) -> (u32, u32) {
        (self.cache().used(), self.spec.kv_blocks)
    }

    /// Sums until the last boundary that it was advanced over.
    pub fn totals(&self) -> Totals {
        inner!(self, totals())
    }

    /// The same with the iterations under way until `now_us`, their time and what those that are over have generated.
    pub fn totals_at(&self, now_us: u64) -> Totals {
        inner!(self, totals_at(ps(now_us)))
    }

    fn cache(&self) -> &Cache {
        inner!(self, cache())
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("spec", &self.spec).field("next_us", &self.next_us()).finish_non_exhaustive()
    }
}

fn ps(us: u64) -> u64 {
    us.saturating_mul(PS_PER_US)
}
