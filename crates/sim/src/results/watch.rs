//! Looks at queues while runs arrive: between 64 and 128 of them, evenly in time, however long that lasts.

/// Looks that are kept at most; then every other one is let go, and they come half as often.
const LOOKS: usize = 128;

/// What is there of one service, or of runs, at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Requests that have come until now.
    pub came: u64,
    /// Requests that wait: for lumos's own limiter, for a free server, for a place in a batch.
    pub waiting: u64,
    /// Requests that wait or are served.
    pub there: u64,
    /// Whether more of it may serve later than does now: replicas start, may still be started, or something is down.
    pub is_partial: bool,
}

/// A service after the last arrival: the last look at which its queue was still long.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    at_us: u64,
    queue: Queue,
    /// What is long.
    enough: u64,
    is_over: bool,
}

/// Looks after the last arrival come this part of the time since then apart, so that any queue is worked off in a few.
const TAIL_PART: u64 = 64;

/// What was offered to a limit, as a multiple of what it lets pass in that time, and by how many requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Offered {
    /// The multiple: above 1 nobody can keep up, whether or not a full bucket hides it yet.
    pub load: f64,
    /// Requests.
    pub requests: u64,
}

/// What one simulation, or one load, saw of its queues while runs arrived.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Runs first, then services.
    width: usize,
    slot_us: u64,
    next_us: u64,
    /// At the ends of slots, `width` at a time.
    looks: Vec<Queue>,
    /// The most that waited at a time in each slot, as far as somebody noted it, and since the last look.
    peaks: Vec<u64>,
    highest: Vec<u64>,
    until_us: u64,
    /// By service; empty without limits.
    offered: Vec<Option<Offered>>,
    /// By service, once the last run has arrived.
    tails: Vec<Tail>,
    is_closed: bool,
}

impl Watch {
    /// Begins at time 0, when nobody is there.
    pub fn new(services: usize) -> Self {
        Self {
            width: services + 1,
            slot_us: 1,
            next_us: 1,
            looks: Vec::new(),
            peaks: Vec::new(),
            highest: vec![0; services + 1],
            until_us: 0,
            offered: Vec::new(),
            tails: Vec::new(),
            is_closed: false,
        }
    }

    /// So many wait for a service now, as may be forgotten by the next look.
    pub fn note(&mut self, service: usize, waiting: u64) {
        if let Some(highest) = self.highest.get_mut(service + 1) {
            *highest = (*highest).max(waiting);
        }
    }

    /// When it wants to look next; `u64::MAX` when it has seen enough.
    pub fn next_us(&self) -> u64 {
        self.next_us
    }

    /// What has been there since the last event, the runs first, told when the clock goes on to `now_us`.
    pub fn look(&mut self, now_us: u64, queues: &[Queue]) {
        if self.is_closed {
            return self.look_after(now_us, queues);
        }
        while self.next_us <= now_us {
            self.looks.extend_from_slice(queues);
            for (highest, queue) in self.highest.iter_mut().zip(queues) {
                self.peaks.push((*highest).max(queue.waiting));
                *highest = queue.waiting;
            }
            if self.looks.len() == LOOKS * self.width {
                let width = self.width;
                let kept = self.looks.chunks_exact(width).skip(1).step_by(2).flatten().copied();
                self.looks = kept.collect();
                let slots = self.peaks.chunks_exact(2 * width);
                let larger = |two: &[u64]| (0..width).map(|of| two[of].max(two[width + of])).collect::<Vec<_>>();
                self.peaks = slots.flat_map(larger).collect();
                self.slot_us *= 2;
            }
            self.next_us = (self.count() as u64 + 1).saturating_mul(self.slot_us);
        }
    }

    /// What has served of a service is all of it that will while runs arrive.
    pub fn call_whole(&mut self, service: usize) {
        for queues in self.looks.chunks_exact_mut(self.width) {
            queues[service + 1].is_partial = false;
        }
    }

    /// The last run arrives now, and `offered` is what limits were asked for until then.
    pub fn close(&mut self, now_us: u64, offered: Vec<Option<Offered>>) {
        if self.is_closed {
            return;
        }
        (self.until_us, self.offered, self.is_closed) = (now_us, offered, true);
        let tail = |service: usize| {
            let end = self.at(Some(service), self.count());
            let enough = self.enough(service, 0..=self.count());
            Tail { enough, is_over: end.is_partial || end.waiting < enough, ..Tail::default() }
        };
        self.tails = (0..self.width - 1).map(tail).collect();
        self.note_next(now_us);
    }

    /// How queues are worked off after the last arrival.
    fn look_after(&mut self, now_us: u64, queues: &[Queue]) {
        for (tail, queue) in self.tails.iter_mut().zip(queues.iter().skip(1)) {
            tail.is_over |= queue.is_partial || queue.waiting < tail.enough;
            if !tail.is_over {
                (tail.at_us, tail.queue) = (now_us, *queue);
            }
        }
        self.note_next(now_us);
    }

    fn note_next(&mut self, now_us: u64) {
        let passed_us = now_us - self.until_us;
        let is_over = self.tails.iter().all(|tail| tail.is_over);
        self.next_us = if is_over { u64::MAX } else { now_us + self.slot_us.max(passed_us / TAIL_PART) };
    }

    /// How many that wait for a service are many, of those that did at these looks.
    pub(super) fn enough(&self, service: usize, looks: std::ops::RangeInclusive<usize>) -> u64 {
        let waiting = |slots: usize| self.at(Some(service), slots).waiting;
        let longest = looks.map(waiting).max().unwrap_or(0);
        (longest / 10).max(1)
    }

    /// What was there of a service when its queue was last long, and when, if that was after the last arrival and it had been
    /// long until then.
    pub(super) fn tail(&self, service: usize) -> Option<(u64, Queue)> {
        self.tails.get(service).filter(|tail| tail.at_us > 0).map(|tail| (tail.at_us, tail.queue))
    }

    /// Slots that lie in the time of arrivals.
    pub(super) fn count(&self) -> usize {
        self.looks.len() / self.width
    }

    /// Length of a slot.
    pub(super) fn slot_us(&self) -> u64 {
        self.slot_us
    }

    /// How long runs arrived.
    pub(super) fn until_us(&self) -> u64 {
        self.until_us
    }

    /// What was there of a service after so many slots; `None` means runs.
    pub(super) fn at(&self, service: Option<usize>, slots: usize) -> Queue {
        let index = service.map_or(0, |service| service + 1);
        slots.checked_sub(1).map_or_else(Queue::default, |look| self.looks[look * self.width + index])
    }

    /// The most that waited for a service at a time in the slot that ends after so many.
    pub(super) fn peak(&self, service: usize, slots: usize) -> u64 {
        slots.checked_sub(1).map_or(0, |look| self.peaks[look * self.width + service + 1])
    }

    /// What its limits were asked for.
    pub(super) fn offered(&self, service: usize) -> Option<Offered> {
        self.offered.get(service).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_between_looks_is_not_forgotten() {
        let mut watch = Watch::new(1);
        let queues = |waiting| [Queue::default(), Queue { waiting, ..Queue::default() }];
        for now_us in 0..100_000u64 {
            watch.look(now_us, &queues(1));
            if now_us == 33_333 {
                watch.note(0, 70);
            }
        }
        let peaks: Vec<u64> = (0..=watch.count()).map(|slots| watch.peak(0, slots)).collect();
        assert_eq!(peaks.iter().filter(|peak| **peak == 70).count(), 1, "{peaks:?}");
        assert!(peaks[1..].iter().all(|peak| [1, 70].contains(peak)), "{peaks:?}");
    }

    #[test]
    fn looks_are_evenly_spread_whatever_the_time_and_however_long_nothing_happens() {
        for end_us in [200u64, 100_000, 86_400_000_000] {
            let mut watch = Watch::new(0);
            // Events come in three bunches; between them nothing happens.
            for (index, now_us) in [1, end_us / 3, end_us / 2, end_us].into_iter().enumerate() {
                watch.look(now_us, &[Queue { came: index as u64, ..Queue::default() }]);
            }
            watch.close(end_us, Vec::new());
            let count = watch.count();
            assert!((LOOKS / 2..LOOKS).contains(&count), "{count} looks in {end_us} µs");
            let came = |share: f64| watch.at(None, (count as f64 * share) as usize).came;
            assert_eq!((came(0.0), came(0.3), came(0.45), came(0.9)), (0, 1, 2, 3));
            assert!(watch.slot_us() * count as u64 <= end_us);
        }
    }
}
