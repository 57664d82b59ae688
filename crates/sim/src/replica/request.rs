//! What goes into a replica and what comes out.

use thiserror::Error;

/// A request to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The caller's name for it, handed back in its [`Reply`].
    pub id: u64,
    /// Tokens of the prompt, cached ones included; at least 1.
    pub prompt_tokens: u32,
    /// Tokens that are generated. 0 computes the prompt only (an embedding, a score).
    pub output_tokens: u32,
    /// The beginning of the prompt that other requests share, such as a system prompt.
    pub prefix: Option<Prefix>,
    /// What earlier turns of the same session have left in the cache under [`Request::keep`]. Its tokens count from the
    /// beginning of the prompt, so they include those of `prefix`, which must be what it was then.
    pub session: Option<Prefix>,
    /// Keeps prompt and output in the cache, under this id, when the request is done: the session's next turn names it as
    /// `session` (or as `prefix`, where there is no other). A turn with a session keeps under its session's id only.
    pub keep: Option<u64>,
    /// What its tokens take beside what the profile says of every token.
    pub extra: Extra,
}

/// Time that the tokens of one request add to the iterations that bring them, such as that of choosing among those that a
/// grammar allows. Picoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extra {
    /// Of its first token, once: what it takes whatever the length of its answer is in there.
    pub first_ps: u64,
    /// Of each further token.
    pub next_ps: u64,
}

impl Extra {
    /// Of the token after so many.
    pub(super) fn after(self, generated: u32) -> u64 {
        if generated == 0 { self.first_ps } else { self.next_ps }
    }
}

/// A stretch of tokens from the beginning of a prompt whose KV cache can be used again. Only whole blocks can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Requests with equal ids have equal tokens there.
    pub id: u64,
    /// Its length from the beginning of the prompt.
    pub tokens: u32,
}

/// Names a request that a replica or a pool has, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(super) replica: u32,
    pub(super) key: u64,
}

/// How a request ended. Times are microseconds, rounded up from the picosecond at which an iteration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// All tokens are there.
    Done {
        /// The request's id.
        id: u64,
        /// When its last token was there.
        at_us: u64,
        /// When the first iteration that it took part in began: the end of its queueing.
        start_us: u64,
        /// When its first token was there (TTFT counts to here); `at_us` if it generates none.
        first_us: u64,
        /// Tokens of its prompt that it found in the cache when it was first admitted.
        cached_tokens: u32,
        /// How often it lost its blocks and was computed again.
        preemptions: u32,
        /// Its share of the replica's time, in picoseconds: of every iteration one n-th where n sequences are in the batch.
        busy_ps: u64,
    },
    /// Its replica went down.
    Failed {
        /// The request's id.
        id: u64,
        /// When.
        at_us: u64,
        /// What it had until then.
        progress: Progress,
    },
}

/// What an unfinished request had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Tokens that had been generated.
    pub output_tokens: u32,
    /// Tokens of its prompt that it found in the cache.
    pub cached_tokens: u32,
    /// When the first iteration that it took part in began, if it had.
    pub start_us: Option<u64>,
    /// When its first token was there, if it was.
    pub first_us: Option<u64>,
    /// Its share of the replica's time, as in [`Reply::Done`].
    pub busy_ps: u64,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejection {
    /// No prompt.
    #[error("a request needs at least 1 prompt token")]
    Empty,
    /// Prompt and answer, as long as it may get, are longer than the server takes.
    #[error("prompt and answer do not fit the model's context: {prompt} + {answer} tokens, and it has {most}")]
    Context {
        /// Tokens of the prompt.
        prompt: u32,
        /// Tokens that the answer may have.
        answer: u32,
        /// Tokens that the server takes.
        most: u32,
    },
    /// It needs more of the KV cache than there is.
    #[error("prompt and answer do not fit the KV cache: {needed} tokens, and a replica has {there}")]
    TooLong {
        /// Tokens at its end.
        needed: u64,
        /// Tokens that the replica can hold.
        there: u64,
    },
    /// The prompt must be computed in one iteration and does not fit into one.
    #[error("a prompt of {tokens} tokens exceeds the {budget} of an iteration, and prefill is not chunked")]
    Unchunked {
        /// Tokens of prompt, or of prompt and output where a preempted request has to be computed again.
        tokens: u32,
        /// Tokens of an iteration.
        budget: u32,
    },
}

impl Request {
    /// A request that shares nothing with others and whose tokens are chosen as they come.
    pub const fn new(id: u64, prompt_tokens: u32, output_tokens: u32) -> Self {
        let extra = Extra { first_ps: 0, next_ps: 0 };
        Self { id, prompt_tokens, output_tokens, prefix: None, session: None, keep: None, extra }
    }

    /// Prompt and output.
    pub(super) fn tokens(&self) -> u64 {
        u64::from(self.prompt_tokens) + u64::from(self.output_tokens)
    }

    /// Tokens that it holds in the cache when it ends: the last one that is generated is never computed.
    pub(super) fn cached_at_end(&self) -> u32 {
        self.prompt_tokens + self.output_tokens.saturating_sub(1)
    }
}
