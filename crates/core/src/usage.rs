//! Tokens, times and bytes of calls, each known or explicitly unknown.

use serde::{Deserialize, Serialize};

use crate::money::Usd;

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Measured or counted by lumos itself.
    Measured,
    /// Stated by the server that did the work.
    Reported,
    /// Derived from measured or reported figures and stated assumptions (a price, a power figure).
    Estimated,
    /// Drawn by the simulator.
    Simulated,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer, met a stop text or completed the required format.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
    /// The provider withheld the answer.
    ContentFilter,
    /// The model asks for a tool.
    ToolCalls,
}

/// Tokens of a call. `None` is unknown, which is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens, those read from a cache included.
    pub input_tokens: Option<u64>,
    /// Input tokens read from a prompt cache.
    pub cached_input_tokens: Option<u64>,
    /// Input tokens written to a prompt cache.
    pub cache_write_tokens: Option<u64>,
    /// Those of `cache_write_tokens` that are kept for an hour, where a provider prices them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_tokens: Option<u64>,
    /// Generated tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Generated tokens that are not shown.
    pub reasoning_tokens: Option<u64>,
    /// Those of `output_tokens` that the format left no choice about, and that the model therefore read at once; `None` where
    /// no format prescribed any, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prescribed_tokens: Option<u64>,
}

/// One limit that a server keeps, as it states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RateLimit {
    /// How much it allows per window.
    pub limit: Option<u64>,
    /// How much of it is left.
    pub remaining: Option<u64>,
    /// Microseconds from the reply until all of it is allowed again.
    pub reset_us: Option<u64>,
}

/// The limits that a server stated with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RateLimits {
    /// Requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RateLimit>,
    /// Tokens of prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<RateLimit>,
    /// Tokens of answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<RateLimit>,
    /// Tokens of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<RateLimit>,
}

/// What is known of one call of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReport {
    /// Tokens.
    pub usage: Usage,
    /// Basis of the tokens.
    pub tokens_basis: Basis,
    /// Microseconds between the request's arrival and the start of its execution.
    pub queue_us: u64,
    /// Microseconds between the start of execution and the first output token; `None` without output tokens.
    pub ttft_us: Option<u64>,
    /// Microseconds during which the request occupied the backend; what `PerHour` is charged by. `None` when the
    /// backend cannot know.
    pub busy_us: Option<u64>,
    /// Bytes of requests, heads included, sent to the backend's address; zero for a model in this process.
    pub bytes_sent: u64,
    /// Why generation ended; `None` for embeddings.
    pub finish_reason: Option<FinishReason>,
    /// The name that the server gave to the request: what its support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
    /// The limits that the server stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<Box<RateLimits>>,
    /// What the answer cost when it was first given, when it came from the response cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_usd: Option<Usd>,
}

impl CallReport {
    /// A report that knows nothing yet and whose tokens will be of `basis`.
    pub fn new(tokens_basis: Basis) -> Self {
        Self {
            usage: Usage::default(),
            tokens_basis,
            queue_us: 0,
            ttft_us: None,
            busy_us: None,
            bytes_sent: 0,
            finish_reason: None,
            request_id: None,
            rate_limits: None,
            saved_usd: None,
        }
    }

    /// The report of two calls made one after the other.
    ///
    /// Counts add up (unknown plus anything is unknown); the first TTFT, the last finish reason, the last request id
    /// and the last stated limits remain; the weaker basis holds for the sum.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            Some(a?.saturating_add(b?))
        }
        Self {
            usage: Usage {
                input_tokens: sum(self.usage.input_tokens, next.usage.input_tokens),
                cached_input_tokens: sum(self.usage.cached_input_tokens, next.usage.cached_input_tokens),
                cache_write_tokens: sum(self.usage.cache_write_tokens, next.usage.cache_write_tokens),
                cache_write_1h_tokens: sum(self.usage.cache_write_1h_tokens, next.usage.cache_write_1h_tokens),
                output_tokens: sum(self.usage.output_tokens, next.usage.output_tokens),
                reasoning_tokens: sum(self.usage.reasoning_tokens, next.usage.reasoning_tokens),
                prescribed_tokens: sum(self.usage.prescribed_tokens, next.usage.prescribed_tokens),
            },
            tokens_basis: self.tokens_basis.max(next.tokens_basis),
            queue_us: self.queue_us.saturating_add(next.queue_us),
            ttft_us: self.ttft_us.or(next.ttft_us),
            busy_us: sum(self.busy_us, next.busy_us),
            bytes_sent: self.bytes_sent.saturating_add(next.bytes_sent),
            finish_reason: next.finish_reason.or(self.finish_reason),
            request_id: next.request_id.or(self.request_id),
            rate_limits: next.rate_limits.or(self.rate_limits),
            saved_usd: match (self.saved_usd, next.saved_usd) {
                (Some(a), Some(b)) => Some(a.saturating_add(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(input_tokens: Option<u64>, request_id: Option<&str>) -> CallReport {
        CallReport {
            usage: Usage { input_tokens, ..Usage::default() },
            bytes_sent: 10,
            request_id: request_id.map(Into::into),
            ..CallReport::new(Basis::Reported)
        }
    }

    #[test]
    fn two_calls_add_up_and_the_last_known_request_id_remains() {
        let both = report(Some(3), Some("a")).then(report(Some(4), None));
        assert_eq!((both.usage.input_tokens, both.bytes_sent, both.request_id.as_deref()), (Some(7), 20, Some("a")));
        let both = report(Some(3), Some("a")).then(report(None, Some("b")));
        assert_eq!((both.usage.input_tokens, both.request_id.as_deref()), (None, Some("b")));
    }

    #[test]
    fn what_is_unknown_leaves_no_trace_in_a_record() {
        let json = serde_json::to_value(report(Some(3), None)).expect("a report is JSON");
        assert!(json.get("request_id").is_none() && json["usage"].get("cache_write_1h_tokens").is_none(), "{json}");
        assert_eq!(serde_json::from_value::<CallReport>(json).expect("and back"), report(Some(3), None));
    }
}
