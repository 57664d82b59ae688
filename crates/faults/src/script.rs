//! What a server shall do: a reply for each request.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::limits::Limits;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its number, from 0.
    pub number: usize,
    /// By the server's clock.
    pub at_us: u64,
    /// From the request line to the empty line.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// Bytes of head and body.
    pub fn bytes(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }

    /// The path with the query.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        { pairs }.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Tokens as a server counts them; what is `None` is not stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// All input tokens, those read from and written to a cache included.
    pub input: u64,
    /// Of those, read from a cache.
    pub cached: Option<u64>,
    /// Of those, written to a cache.
    pub cache_write: Option<u64>,
    /// Of the written ones, for an hour.
    pub cache_write_1h: Option<u64>,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Of those, reasoning.
    pub reasoning: Option<u64>,
}

impl Tokens {
    /// So many in and out, nothing else stated.
    pub fn new(input: u64, output: u64) -> Self {
        Self { input, cached: None, cache_write: None, cache_write_1h: None, output, reasoning: None }
    }
}

/// How often the tokens are stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageShown {
    /// At the end.
    Once,
    /// Not at all.
    Never,
    /// First half of them, then all: running totals.
    Twice,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Stop,
    /// At the limit.
    Length,
    /// Withheld.
    Filter,
    /// To have tools called.
    Calls,
}

/// A good answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The text in the pieces in which it is streamed.
    pub pieces: Vec<String>,
    /// Calls of tools: id, name, arguments as text.
    pub calls: Vec<(String, String, String)>,
    /// Vectors, for embeddings.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens.
    pub tokens: Tokens,
    /// How often they are stated.
    pub usage: UsageShown,
    /// Why it ends.
    pub ending: Ending,
    /// Wait before the first byte.
    pub first: Duration,
    /// Wait between two pieces.
    pub between: Duration,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// `text`, streamed word by word at once, with three tokens in and one out per word.
    pub fn new(text: &str) -> Self {
        let pieces: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        Self {
            tokens: Tokens::new(3, pieces.len() as u64),
            pieces,
            calls: Vec::new(),
            vectors: Vec::new(),
            usage: UsageShown::Once,
            ending: Ending::Stop,
            first: Duration::ZERO,
            between: Duration::ZERO,
            headers: Vec::new(),
        }
    }
}

/// How a good answer is spoiled, after half of its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Nothing more comes.
    Stall,
    /// The connection is closed.
    Cut,
    /// The stream ends as if all had been said.
    End,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// An event that is no JSON.
    InvalidJson,
    /// The server reports an error.
    Error,
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A good answer, in the protocol of the request's path.
    Answer(Answer),
    /// A spoiled one.
    Broken(Answer, Break),
    /// A status with headers and a body.
    Status(u16, Vec<(String, String)>, String),
    /// A good answer that claims to be of another media type.
    MediaType(Answer, String),
    /// A stream of so many bytes, without a line break.
    Huge(u64),
    /// Nothing at all; the connection stays open.
    Silence,
    /// Nothing at all; the connection is closed.
    Close,
}

impl Reply {
    /// A status with an error document.
    pub fn status(code: u16) -> Self {
        let body = format!(r#"{{"error": {{"message": "scripted {code}", "type": "scripted"}}}}"#);
        Self::Status(code, Vec::new(), body)
    }

    /// A status that says when to come back.
    pub fn retry_after(code: u16, after: &str) -> Self {
        let headers = vec![("retry-after".to_owned(), after.to_owned())];
        match Self::status(code) {
            Self::Status(code, _, body) => Self::Status(code, headers, body),
            other => other,
        }
    }

    /// A redirect to `target`.
    pub fn redirect(target: &str) -> Self {
        Self::Status(307, vec![("location".to_owned(), target.to_owned())], String::new())
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

type Rule = dyn Fn(&Received) -> Reply + Send + Sync;

/// What a server shall do.
#[derive(Clone)]
pub struct Script {
    pub(crate) rule: Arc<Rule>,
    pub(crate) limits: Option<Limits>,
    pub(crate) tls: bool,
}

impl Script {
    /// The reply is a function of the request.
    pub fn by(rule: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self { rule: Arc::new(rule), limits: None, tls: false }
    }

    /// Every request gets `reply`.
    pub fn always(reply: impl Into<Reply>) -> Self {
        let reply = reply.into();
        Self::by(move |_| reply.clone())
    }

    /// One reply after the other; the last one again and again.
    pub fn sequence(replies: Vec<Reply>) -> Self {
        Self::by(move |request| {
            let last = replies.len().saturating_sub(1);
            replies.get(request.number.min(last)).cloned().unwrap_or(Reply::Silence)
        })
    }

    /// The same, enforcing `limits`.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The same over TLS, with a certificate of an authority that nobody knows.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        self.tls = true;
        self
    }
}
