//! What the heads of replies say: the request's id, how long to wait, and the limits that the server keeps.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use lumos_core::{RateLimit, RateLimits};
use reqwest::header::HeaderMap;

/// Where servers put the name of a request, most telling first.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "request-id", "x-goog-request-id", "x-litellm-call-id"];
/// Longest request id that is kept.
const MOST_ID: usize = 200;
/// Longest wait that is believed: a day.
const MOST_WAIT_US: f64 = 86_400e6;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The server's name for the request.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut ids = REQUEST_IDS.iter().filter_map(|name| text(headers, name));
    ids.find(|id| !id.is_empty() && id.len() <= MOST_ID)
}

/// How long the server asks to be left alone. A date is compared with the server's own `date`, so that no clock is
/// read and a wrong one does no harm.
pub(crate) fn retry_after_us(headers: &HeaderMap) -> Option<u64> {
    if let Some(wait) = text(headers, "retry-after-ms").and_then(|ms| microseconds(ms, 1e3)) {
        return Some(wait);
    }
    let after = text(headers, "retry-after")?;
    microseconds(after, 1e6).or_else(|| until(http_date(after)?, headers))
}

fn microseconds(number: &str, unit: f64) -> Option<u64> {
    let value: f64 = number.parse().ok()?;
    (value >= 0.0).then(|| (value * unit).min(MOST_WAIT_US).ceil() as u64)
}

fn http_date(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(text).ok()
}

/// Microseconds from the reply until `time`, by the server's clock.
fn until(time: Timestamp, headers: &HeaderMap) -> Option<u64> {
    let now = http_date(text(headers, "date")?)?;
    let microseconds = time.as_microsecond().saturating_sub(now.as_microsecond()).max(0);
    Some((microseconds as u64).min(MOST_WAIT_US as u64))
}

/// A span as Gemini (`"13s"`) and OpenAI (`"6m0s"`, `"20ms"`) write it.
pub(crate) fn span_us(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text.trim(), 0.0_f64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let value: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = match &after[..letters] {
            "d" => 86_400e6,
            "h" => 3_600e6,
            "m" => 60e6,
            "s" | "" => 1e6,
            "ms" => 1e3,
            "us" | "µs" => 1.0,
            "ns" => 1e-3,
            _ => return None,
        };
        total += value * unit;
        rest = &after[letters..];
    }
    Some(total.min(MOST_WAIT_US).ceil() as u64)
}

/// The limits that the server states, by OpenAI's or by Anthropic's headers.
pub(crate) fn rate_limits(headers: &HeaderMap) -> Option<RateLimits> {
    let openai = |what: &str| limit(headers, |part| format!("x-ratelimit-{part}-{what}"));
    let anthropic = |what: &str| limit(headers, |part| format!("anthropic-ratelimit-{what}-{part}"));
    let limits = RateLimits {
        requests: openai("requests").or_else(|| anthropic("requests")),
        input_tokens: anthropic("input-tokens"),
        output_tokens: anthropic("output-tokens"),
        tokens: openai("tokens").or_else(|| anthropic("tokens")),
    };
    (limits != RateLimits::default()).then_some(limits)
}

fn limit(headers: &HeaderMap, name: impl Fn(&str) -> String) -> Option<RateLimit> {
    let number = |part: &str| text(headers, &name(part))?.parse().ok();
    let reset = |text: &str| span_us(text).or_else(|| until(text.parse().ok()?, headers));
    let limit = RateLimit {
        limit: number("limit"),
        remaining: number("remaining"),
        reset_us: text(headers, &name("reset")).and_then(reset),
    };
    (limit != RateLimit::default()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn waits_are_seconds_milliseconds_or_a_date() {
        for (pairs, wanted) in [
            (&[("retry-after", "2")][..], Some(2_000_000)),
            (&[("retry-after", "0.5")], Some(500_000)),
            (&[("retry-after", "9"), ("retry-after-ms", "1500")], Some(1_500_000)),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")],
                Some(3_000_000),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "1e300")], Some(86_400_000_000)),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ] {
            assert_eq!(retry_after_us(&headers(pairs)), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn spans_are_read() {
        for (text, wanted) in [
            ("1s", Some(1_000_000)),
            ("6m0s", Some(360_000_000)),
            ("20ms", Some(20_000)),
            ("1h2m3.5s", Some(3_723_500_000)),
            ("12", Some(12_000_000)),
            ("", None),
            ("s", None),
            ("1x", None),
        ] {
            assert_eq!(span_us(text), wanted, "{text}");
        }
    }

    #[test]
    fn limits_are_read_from_both_families_of_headers() {
        let openai = rate_limits(&headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "149984"),
        ]))
        .unwrap();
        let limit = |limit, remaining, reset_us| Some(RateLimit { limit, remaining, reset_us });
        assert_eq!(openai.requests, limit(Some(60), Some(59), Some(1_000_000)));
        assert_eq!((openai.tokens, openai.input_tokens), (limit(None, Some(149_984), None), None));

        let anthropic = rate_limits(&headers(&[
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("anthropic-ratelimit-input-tokens-limit", "50000"),
            ("anthropic-ratelimit-input-tokens-remaining", "49000"),
            ("anthropic-ratelimit-input-tokens-reset", "1994-11-06T08:49:39Z"),
        ]))
        .unwrap();
        assert_eq!(anthropic.input_tokens, limit(Some(50_000), Some(49_000), Some(2_000_000)));
        assert_eq!(rate_limits(&headers(&[("date", "x")])), None);
    }

    #[test]
    fn the_most_telling_request_id_is_taken() {
        assert_eq!(request_id(&headers(&[("request-id", "b"), ("x-request-id", "a")])), Some("a"));
        assert_eq!(request_id(&headers(&[("x-request-id", ""), ("request-id", "b")])), Some("b"));
        assert_eq!(request_id(&headers(&[])), None);
    }
}
