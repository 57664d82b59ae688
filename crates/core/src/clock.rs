//! The clock as an argument: `core` never reads one, whoever measures is given one.

/// Microseconds since some fixed origin; never goes back.
///
/// The live engine measures from the start of the process, the simulator counts virtual time. Backends receive a
/// clock when they are built, so that TTFT and queueing are measured on the same axis as the run.
pub trait Clock: Send + Sync {
    /// Microseconds since the clock's origin.
    fn now_us(&self) -> u64;
}
