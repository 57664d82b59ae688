//! What is going to happen, ordered by time and then by when it was noted.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use lumos_core::scheduler::Timer;

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// Somebody may begin a run.
    Comes(Who),
    /// Work ends, or an answer is there.
    Done(Handle),
    /// A pool wants to be advanced.
    Pool(u32),
    /// The first at a gate asks again.
    Gate(u32),
    /// A run's timer.
    Timer(Handle, Timer),
}

/// Who may begin a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The next of the open arrivals.
    Arrival,
    /// A client of a closed loop.
    Client,
    /// A session, with its next turn.
    Turn(u32),
}

/// Names an entry of a slab; one that was given back has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Handle {
    /// As one number.
    pub(super) fn id(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The handle that [`Handle::id`] made a number of.
    pub(super) fn of(id: u64) -> Self {
        Self { index: id as u32, generation: (id >> 32) as u32 }
    }
}

/// The events to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Noted>,
    sequence: u64,
}

/// An event with its key: the time, then the order in which events were noted.
#[derive(Debug)]
struct Noted {
    key: u128,
    happening: Happening,
}

impl Ord for Noted {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Noted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Noted {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Noted {}

impl Agenda {
    pub(super) fn at(&mut self, at_us: u64, happening: Happening) {
        self.sequence += 1;
        let key = u128::from(at_us) << 64 | u128::from(self.sequence);
        self.heap.push(Noted { key, happening });
    }

    pub(super) fn next(&mut self) -> Option<(u64, Happening)> {
        self.heap.pop().map(|noted| ((noted.key >> 64) as u64, noted.happening))
    }
}

/// Entries in slots that are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: T) -> Handle {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.1 = Some(entry);
            return Handle { index, generation: slot.0 };
        }
        self.slots.push((0, Some(entry)));
        Handle { index: self.slots.len() as u32 - 1, generation: 0 }
    }

    pub(super) fn get(&mut self, handle: Handle) -> Option<&mut T> {
        let (generation, entry) = self.slots.get_mut(handle.index as usize)?;
        entry.as_mut().filter(|_| *generation == handle.generation)
    }

    /// The handle of whatever is in a slot.
    pub(super) fn handle(&self, index: u32) -> Handle {
        Handle { index, generation: self.slots[index as usize].0 }
    }

    pub(super) fn remove(&mut self, handle: Handle) -> Option<T> {
        let (generation, entry) = self.slots.get_mut(handle.index as usize)?;
        if *generation != handle.generation {
            return None;
        }
        let entry = entry.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(handle.index);
        Some(entry)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
