//! The attempts that have started and not ended.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesUnordered, StreamExt};
use lumos_core::scheduler::AttemptId;

use crate::attempt::{Execution, Happening};
use crate::meter::Meter;

/// Attempts that are polled one by one: up to here that costs less than telling their wakers apart.
const FEW: usize = 4;

/// An attempt that may be started or has been; without a future it is cancelled.
pub(crate) struct Attempt<'a> {
    pub(crate) id: AttemptId,
    pub(crate) future: Option<Execution<'a>>,
    /// What is known of it while it goes on; `None` when it asks no backend.
    pub(crate) meter: Option<Arc<Meter>>,
}

impl Future for Attempt<'_> {
    type Output = Happening;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Happening> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let kind = ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(kind)
    }
}

/// Attempts in flight. Most runs have one or two, some have thousands; a run that has none holds nothing.
#[derive(Default)]
pub(crate) struct InFlight<'a> {
    few: Vec<Attempt<'a>>,
    many: Option<Box<FuturesUnordered<Attempt<'a>>>>,
}

impl<'a> InFlight<'a> {
    /// Adds an attempt that has been polled and did not end.
    pub(crate) fn push(&mut self, attempt: Attempt<'a>) {
        if self.few.len() < FEW {
            if self.few.is_empty() {
                // Most runs have one at a time, and a vector begins with room for four.
                self.few.reserve_exact(1);
            }
            self.few.push(attempt);
        } else {
            self.many.get_or_insert_default().push(attempt);
        }
    }

    /// Drops an attempt; gives back its meter.
    pub(crate) fn cancel(&mut self, id: AttemptId) -> Option<Arc<Meter>> {
        if let Some(position) = self.few.iter().position(|attempt| attempt.id == id) {
            return self.few.swap_remove(position).meter;
        }
        // What is left of it is woken by nobody and goes with the run.
        let attempt = self.many.iter_mut().flat_map(|many| many.iter_mut()).find(|attempt| attempt.id == id)?;
        attempt.future = None;
        attempt.meter.take()
    }

    /// Waits for the next end; for ever when nothing is in flight.
    pub(crate) async fn next(&mut self) -> Happening {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Happening> {
        for index in 0..self.few.len() {
            if let Poll::Ready(kind) = Pin::new(&mut self.few[index]).poll(context) {
                self.few.swap_remove(index);
                return Poll::Ready(kind);
            }
        }
        match self.many.as_mut().map(|many| many.poll_next_unpin(context)) {
            Some(Poll::Ready(Some(kind))) => Poll::Ready(kind),
            _ => Poll::Pending,
        }
    }
}
