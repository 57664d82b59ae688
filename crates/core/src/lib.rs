//! The heart of lumos: workflow specification, validation, graph, scheduler, records and the traits that agents and
//! backends implement. It depends on no runtime, no HTTP and no model library, and it reads no clock.

pub mod admission;
pub mod agent;
pub mod backend;
pub mod chance;
pub mod check;
mod choices;
pub mod clock;
pub mod graph;
pub mod load;
pub mod money;
pub mod price;
pub mod problem;
pub mod program;
pub mod read;
pub mod record;
pub mod scheduler;
pub mod spec;
pub mod template;
pub mod trace;
pub mod usage;

pub use agent::{Agent, AgentCall, AgentError, AgentOutput, Arguments, Prepared, SharedAgent};
pub use backend::{
    Backend, BackendError, BackendErrorKind, BackendInfo, ChatRequest, Completion, Decoding, Delta, DeltaSink,
    Embeddings, Message, NoDeltas, OutputFormat, Role, SharedBackend, ToolCall, ToolDefinition, estimate_input_tokens,
};
pub use clock::Clock;
pub use money::Usd;
pub use problem::{Problem, Severity};
pub use record::{
    AttemptBasis, AttemptRecord, Destination, ErrorRecord, Exchange, RunRecord, Status, StepRecord, Totals,
};
pub use trace::{TraceContext, TraceScope};
pub use usage::{Basis, CallReport, FinishReason, RateLimit, RateLimits, Usage};
