//! A count that threads add to without waiting for each other's caches.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More threads than this share.
const LINES: usize = 16;

/// A sum in parts, each on a cache line of its own.
#[derive(Default)]
pub(crate) struct Tally([Line; LINES]);

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Tally {
    pub(crate) fn increment(&self) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static LINE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % LINES;
        }
        self.0[LINE.with(|line| *line)].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|line| line.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_threads_add_is_lost() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..LINES + 4 {
                scope.spawn(|| (0..1000).for_each(|_| tally.increment()));
            }
        });
        assert_eq!(tally.sum(), (LINES as u64 + 4) * 1000);
    }
}
