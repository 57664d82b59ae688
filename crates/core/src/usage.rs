//! Tokens, times and bytes of calls, each known or explicitly unknown.

use serde::{Deserialize, Serialize};

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
    /// Generated tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Generated tokens that are not shown.
    pub reasoning_tokens: Option<u64>,
}

/// What is known of one call of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Bytes sent to the backend's address; zero for a model in this process.
    pub bytes_sent: u64,
    /// Why generation ended; `None` for embeddings.
    pub finish_reason: Option<FinishReason>,
}

impl CallReport {
    /// The report of two calls made one after the other.
    ///
    /// Counts add up (unknown plus anything is unknown); the first TTFT and the last finish reason remain; the
    /// weaker basis holds for the sum.
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
                output_tokens: sum(self.usage.output_tokens, next.usage.output_tokens),
                reasoning_tokens: sum(self.usage.reasoning_tokens, next.usage.reasoning_tokens),
            },
            tokens_basis: self.tokens_basis.max(next.tokens_basis),
            queue_us: self.queue_us.saturating_add(next.queue_us),
            ttft_us: self.ttft_us.or(next.ttft_us),
            busy_us: sum(self.busy_us, next.busy_us),
            bytes_sent: self.bytes_sent.saturating_add(next.bytes_sent),
            finish_reason: next.finish_reason.or(self.finish_reason),
        }
    }
}
