//! So many servers with one queue; whoever comes first is served first.

use std::collections::VecDeque;

/// A station. Customers are numbers that its user gives; how long they are served is the user's business too.
#[derive(Debug)]
pub(crate) struct Station {
    servers: u32,
    busy: u32,
    queue: VecDeque<u32>,
}

impl Station {
    pub(crate) fn new(servers: u32) -> Self {
        Self { servers, busy: 0, queue: VecDeque::new() }
    }

    /// Somebody comes; whether a server is free for them.
    pub(crate) fn enter(&mut self, customer: u32) -> bool {
        if self.busy < self.servers {
            self.busy += 1;
            return true;
        }
        self.queue.push_back(customer);
        false
    }

    /// A server has become free; who takes it.
    pub(crate) fn leave(&mut self) -> Option<u32> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.busy = self.busy.saturating_sub(1);
        }
        next
    }

    /// Somebody in the queue gives up.
    pub(crate) fn give_up(&mut self, customer: u32) {
        self.queue.retain(|waiting| *waiting != customer);
    }
}
