//! What is going to happen, ordered by time and then by when it was noted.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

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
///
/// A run's deadline is noted when it arrives and hardly ever met, so most of what is noted are deadlines and timeouts of
/// what has long ended. Those that are noted equally far ahead come in the order of noting: they stand in line, and only
/// the rest has to be kept in order.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Noted>,
    lines: Vec<Line>,
    sequence: u64,
}

/// Events that are noted equally far ahead.
#[derive(Debug)]
struct Line {
    ahead_us: u64,
    noted: VecDeque<Noted>,
}

/// Lines at most: more distances than this are no distances of a plan.
const LINES: usize = 8;

/// An event with its key: the time, then the order in which events were noted.
#[derive(Debug)]
struct Noted {
    at_us: u64,
    sequence: u64,
    happening: Happening,
}

impl Noted {
    fn key(&self) -> (u64, u64) {
        (self.at_us, self.sequence)
    }
}

impl Ord for Noted {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Noted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Noted {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Noted {}

impl Agenda {
    pub(super) fn at(&mut self, at_us: u64, happening: Happening) {
        let noted = self.noted(at_us, happening);
        self.heap.push(noted);
    }

    /// Notes a run's timer.
    pub(super) fn timer(&mut self, now_us: u64, at_us: u64, run: Handle, timer: Timer) {
        let noted = self.noted(at_us, Happening::Timer(run, timer));
        // The other timers are set for times that no policy fixes.
        let is_fixed = matches!(timer, Timer::Deadline | Timer::Timeout(_) | Timer::Hedge(_));
        let ahead_us = at_us.saturating_sub(now_us);
        let line = self.lines.iter().position(|line| line.ahead_us == ahead_us);
        match line.filter(|_| is_fixed) {
            Some(line) => self.lines[line].noted.push_back(noted),
            None if is_fixed && self.lines.len() < LINES => {
                self.lines.push(Line { ahead_us, noted: VecDeque::from([noted]) });
            }
            None => self.heap.push(noted),
        }
    }

    fn noted(&mut self, at_us: u64, happening: Happening) -> Noted {
        self.sequence += 1;
        Noted { at_us, sequence: self.sequence, happening }
    }

    pub(super) fn next(&mut self) -> Option<(u64, Happening)> {
        let mut first = self.heap.peek().map(Noted::key);
        let mut line = None;
        for (index, candidate) in self.lines.iter().enumerate() {
            if let Some(noted) = candidate.noted.front()
                && first.is_none_or(|first| noted.key() < first)
            {
                (first, line) = (Some(noted.key()), Some(index));
            }
        }
        let noted = match line {
            Some(line) => self.lines[line].noted.pop_front(),
            None => self.heap.pop(),
        };
        noted.map(|noted| (noted.at_us, noted.happening))
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

#[cfg(test)]
mod tests {
    use lumos_core::scheduler::{AttemptId, StepId};

    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_noted_whatever_line_they_stand_in() {
        let mut agenda = Agenda::default();
        let run = Handle { index: 0, generation: 0 };
        let timeout = |step: u32| Timer::Timeout(AttemptId { step: StepId(step), number: 1 });
        let mut expected = Vec::new();
        // More distances than there are lines, and ties between lines and the heap.
        for now_us in 0..60u64 {
            for ahead_us in (0..12u64).rev() {
                let at_us = now_us + ahead_us;
                let number = expected.len() as u32;
                if ahead_us == 5 {
                    agenda.at(at_us, Happening::Gate(number));
                    expected.push((at_us, Happening::Gate(number)));
                } else {
                    agenda.timer(now_us, at_us, run, timeout(number));
                    expected.push((at_us, Happening::Timer(run, timeout(number))));
                }
            }
        }
        expected.sort_by_key(|(at_us, _)| *at_us);
        let found: Vec<(u64, Happening)> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(found, expected);
    }
}
