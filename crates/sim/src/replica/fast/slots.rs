//! What is known of each request, in places that are used again.

use crate::replica::{cache::Hold, request::Request};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;
/// No time yet.
pub(super) const NEVER: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Vacant,
    Waiting,
    Running,
    /// Cancelled while it stood in the queue, where it still stands.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub request: Request,
    pub generation: u32,
    pub state: State,
    /// Whether nobody wants to hear of its end.
    pub silent: bool,
    pub decoding: bool,
    pub arrival_ps: u64,
    /// Since when it waits, or runs.
    pub since_ps: u64,
    pub start_ps: u64,
    pub first_ps: u64,
    pub admission: u64,
    /// Tokens in the cache and tokens generated, at iteration count `joined` if it decodes.
    pub computed: u32,
    pub generated: u32,
    pub joined: u64,
    /// Tokens to be computed before the next one is generated.
    pub goal: u32,
    pub hold: Hold,
    pub cached_tokens: u32,
    pub preemptions: u32,
    /// Its share of the replica's time until it was last admitted, and what that of all was then.
    pub busy_ps: u64,
    pub shared_ps: u64,
    /// Neighbours in order of admission.
    pub before: u32,
    pub after: u32,
}

/// Running sequences in order of admission, linked through their slots.
#[derive(Debug)]
pub(super) struct Running {
    pub head: u32,
    pub tail: u32,
    pub count: u32,
}

impl Running {
    pub fn new() -> Self {
        Self { head: NONE, tail: NONE, count: 0 }
    }

    pub fn push(&mut self, slots: &mut [Slot], slot: u32) {
        (slots[slot as usize].before, slots[slot as usize].after) = (self.tail, NONE);
        match self.tail {
            NONE => self.head = slot,
            tail => slots[tail as usize].after = slot,
        }
        self.tail = slot;
        self.count += 1;
    }

    pub fn remove(&mut self, slots: &mut [Slot], slot: u32) {
        let (before, after) = (slots[slot as usize].before, slots[slot as usize].after);
        match before {
            NONE => self.head = after,
            before => slots[before as usize].after = after,
        }
        match after {
            NONE => self.tail = before,
            after => slots[after as usize].before = before,
        }
        self.count -= 1;
    }
}

impl Slot {
    pub fn vacant(request: Request) -> Self {
        Self {
            request,
            generation: 0,
            state: State::Vacant,
            silent: false,
            decoding: false,
            arrival_ps: 0,
            since_ps: 0,
            start_ps: NEVER,
            first_ps: NEVER,
            admission: 0,
            computed: 0,
            generated: 0,
            joined: 0,
            goal: 0,
            hold: Hold::EMPTY,
            cached_tokens: 0,
            preemptions: 0,
            busy_ps: 0,
            shared_ps: 0,
            before: NONE,
            after: NONE,
        }
    }

    pub fn is_outstanding(&self) -> bool {
        !self.silent && matches!(self.state, State::Waiting | State::Running)
    }
}
