//! Moments as people write them: an instant, a day, or how long ago.

use std::str::FromStr;

use lumos::core::Clock;
use lumos::engine::UnixClock;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(jiff::Timestamp);

impl Moment {
    /// The moment that it is.
    pub fn now() -> Self {
        let now = i64::try_from(UnixClock.now_us()).unwrap_or_default();
        Self(jiff::Timestamp::from_microsecond(now).unwrap_or_default())
    }

    /// In RFC 3339, UTC, to the second.
    pub fn to_second(self) -> String {
        format!("{:.0}", self.0)
    }

    /// In RFC 3339, UTC, to the millisecond, as runs' starts are kept.
    pub fn rfc3339(self) -> String {
        format!("{:.3}", self.0)
    }

    /// Reads `2026-11-24T10:00:00Z`, `2026-11-24T10:00`, `2026-11-24` (its first moment; UTC where no offset is
    /// written), or a span such as `90m`, `2h` or `7d` before `now_us`.
    fn read(text: &str, now_us: i64) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(at));
        }
        if let Ok(at) = text.parse::<jiff::civil::DateTime>() {
            return jiff::tz::TimeZone::UTC.to_timestamp(at).map(Self).map_err(|error| error.to_string());
        }
        let hint = "write an instant (2026-11-24T10:00:00Z), a day (2026-11-24) or a span before now (90m, 2h, 7d)";
        let span: jiff::Span = text.parse().map_err(|_| hint.to_owned())?;
        if span.get_months() != 0 || span.get_years() != 0 {
            return Err("months and years differ in length: write weeks (4w) or days (30d)".to_owned());
        }
        if span.is_negative() {
            return Err("the span is before now anyway: write it without a sign".to_owned());
        }
        let days = jiff::SpanRelativeTo::days_are_24_hours();
        let span = span.to_duration(days).map_err(|_| hint.to_owned())?;
        let at = i64::try_from(span.as_micros()).ok().and_then(|span| now_us.checked_sub(span));
        at.and_then(|at| jiff::Timestamp::from_microsecond(at).ok()).map(Self).ok_or_else(|| hint.to_owned())
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text, i64::try_from(UnixClock.now_us()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_days_and_spans() {
        let now = 1_795_500_000_000_000;
        let read = |text: &str| Moment::read(text, now).map(|moment| moment.0.as_microsecond());
        let day = 86_400_000_000;
        let midnight = read("2026-11-24").unwrap();
        assert_eq!(midnight % day, 0);
        assert_eq!(read("2026-11-24T00:00:00Z"), Ok(midnight));
        assert_eq!(read("2026-11-24T01:00:00+01:00"), Ok(midnight));
        assert_eq!(read("2026-11-24T10:30"), Ok(midnight + day / 24 * 21 / 2));
        assert_eq!(read("2h"), Ok(now - day / 12));
        assert_eq!(read("7d"), Ok(now - 7 * day));
        assert_eq!(read("1w 1h30m"), Ok(now - 7 * day - 5_400_000_000));
        for text in ["", "yesterday", "1mo", "-2h", "2026-13-01", "7", "99999999999999d", "2026-11-24T25:00Z"] {
            assert!(read(text).is_err(), "{text} was read");
        }
    }
}
