//! The live driver's clock and source of run ids: the only place of the engine that reads either.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime};

use lumos_core::Clock;
use lumos_core::price::Date;

/// Microseconds since the clock was made, by the machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The tokio instant at which this clock shows `at_us`.
    pub(crate) fn instant(&self, at_us: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + Duration::from_micros(at_us))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }
}

/// Microseconds since the Unix epoch, by the machine's wall clock: the one clock that processes share. Unlike other
/// clocks it goes back when it is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnixClock;

impl Clock for UnixClock {
    fn now_us(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }
}

/// A number that no other process draws.
pub(crate) fn unique() -> u64 {
    // The lower half of a ULID is all chance.
    Stamp::now().id().0 as u64
}

/// Today's date in UTC.
pub fn today() -> Date {
    // A clock of another century names no day that prices know.
    Date::of_timestamp(&Stamp::now().started_at()).unwrap_or(Date::FIRST)
}

/// When a run began, and its id; texts are made when they are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    id: ulid::Ulid,
    at: SystemTime,
}

impl Stamp {
    pub(crate) fn now() -> Self {
        let at = SystemTime::now();
        Self { id: ulid::Ulid::from_datetime(at), at }
    }

    /// Of a run that began earlier, in this process or another.
    pub(crate) fn of(id: ulid::Ulid, started_at: &str) -> Self {
        let since = |at: jiff::Timestamp| Duration::from_millis(at.as_millisecond().unsigned_abs());
        let at = started_at.parse().map_or_else(|_| id.datetime(), |at| SystemTime::UNIX_EPOCH + since(at));
        Self { id, at }
    }

    /// Orders runs by the time of their start; no two are the same.
    pub(crate) fn id(&self) -> ulid::Ulid {
        self.id
    }

    /// When, in microseconds since the Unix epoch.
    pub(crate) fn unix_us(&self) -> u64 {
        self.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }

    pub(crate) fn run_id(&self) -> String {
        self.id.to_string()
    }

    /// In RFC 3339, UTC, to the millisecond.
    pub(crate) fn started_at(&self) -> String {
        timestamp(self.unix_us())
    }
}

/// A moment in microseconds since the Unix epoch in RFC 3339, UTC, to the millisecond.
pub(crate) fn timestamp(unix_us: u64) -> String {
    let at = i64::try_from(unix_us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    format!("{:.3}", at.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}
