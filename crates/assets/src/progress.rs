//! How a pull tells its caller what it is doing, and how the caller stops it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Watches a pull. All methods are called on the pulling thread or on one that it waits for.
pub trait Progress: Sync {
    /// A source is about to be tried for asset `name`, whose files have `total_bytes` in all. Called again, with the
    /// count back at zero, when the next source is tried.
    fn started(&self, name: &str, total_bytes: u64);

    /// `bytes` more of the total are there. For a wheel, whose size differs from that of the files in it, this is the
    /// download's growth, and the rest comes with the unpacking. The sum never exceeds the total.
    fn advanced(&self, bytes: u64);

    /// Something a person waiting wants to know: which source is tried, why it was given up.
    fn message(&self, text: &str);

    /// Polled whenever bytes come, and while waiting for pip or for another pull: true ends the pull with [`AssetError::Cancelled`](crate::AssetError::Cancelled).
    /// What can be resumed stays on disk.
    fn cancelled(&self) -> bool {
        false
    }
}

/// A [`Progress`] that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _name: &str, _total_bytes: u64) {}
    fn advanced(&self, _bytes: u64) {}
    fn message(&self, _text: &str) {}
}

/// Turns positions into the increments that [`Progress`] wants.
pub(crate) struct Meter<'a> {
    progress: &'a dyn Progress,
    total: u64,
    position: AtomicU64,
}

impl<'a> Meter<'a> {
    /// Announces the asset.
    pub(crate) fn start(progress: &'a dyn Progress, name: &str, total: u64) -> Self {
        progress.started(name, total);
        Meter { progress, total, position: AtomicU64::new(0) }
    }

    /// Reports everything up to `position` of the total; never goes back.
    pub(crate) fn reach(&self, position: u64) {
        let position = position.min(self.total);
        let before = self.position.fetch_max(position, Ordering::Relaxed);
        if position > before {
            self.progress.advanced(position - before);
        }
    }

    /// Passes a message on.
    pub(crate) fn message(&self, text: &str) {
        self.progress.message(text);
    }

    /// Whether the caller wants the pull to end.
    pub(crate) fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Sum(Mutex<Vec<u64>>);

    impl Progress for Sum {
        fn started(&self, _name: &str, _total_bytes: u64) {}
        fn advanced(&self, bytes: u64) {
            self.0.lock().unwrap().push(bytes);
        }
        fn message(&self, _text: &str) {}
    }

    #[test]
    fn increments_add_up_to_the_total_and_never_beyond() {
        let sum = Sum::default();
        let meter = Meter::start(&sum, "x", 10);
        for position in [3, 3, 2, 7, 50, 10] {
            meter.reach(position);
        }
        assert_eq!(*sum.0.lock().unwrap(), [3, 4, 3]);
    }
}
