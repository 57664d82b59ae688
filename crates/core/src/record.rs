//! What happened in a run: the one definition of a record, which store, tables and exports project.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::ChatRequest;
use crate::money::Usd;
use crate::scheduler::By;
use crate::usage::{Basis, FinishReason, Usage};

/// How a run, a step or an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Still going on.
    Running,
    /// Did what it should.
    Succeeded,
    /// Ended by an error.
    Failed,
    /// Not needed: its condition was false or its branch not chosen.
    Skipped,
    /// Stopped by a guard or by the trust boundary.
    Refused,
    /// Stopped by a budget, a deadline or the step limit.
    Limited,
    /// The process died.
    Interrupted,
    /// Stopped by a person.
    Cancelled,
    /// Waits for a person.
    Paused,
}

impl Status {
    /// The word used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        }
    }

    /// The status of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Running,
            Self::Succeeded,
            Self::Failed,
            Self::Skipped,
            Self::Refused,
            Self::Limited,
            Self::Interrupted,
            Self::Cancelled,
            Self::Paused,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }

    /// The exit code of a run that ended like this; see `contract.md`, "Exit codes".
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded | Self::Skipped => 0,
            Self::Running | Self::Failed | Self::Interrupted => 1,
            Self::Refused => 3,
            Self::Limited => 4,
            Self::Paused => 5,
            Self::Cancelled => 130,
        }
    }
}

/// Why something ended as it did, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// A lowercase fragment.
    pub message: String,
    /// What would help.
    pub hint: Option<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// A ULID.
    pub run_id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The deployment's name.
    pub deployment: String,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// How it ended.
    pub status: Status,
    /// The rendered output, `null` unless it succeeded.
    pub output: Value,
    /// Why it did not succeed.
    pub error: Option<ErrorRecord>,
    /// Start in RFC 3339, UTC.
    pub started_at: String,
    /// The run whose log it shares the beginning of; absent unless it is a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<String>,
    /// The run that it goes on with under changed files; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// What it was given.
    pub inputs: IndexMap<String, Value>,
    /// Sums over its attempts, those of the run that it was forked from left out.
    pub totals: Totals,
    /// Steps in topological order (ties: order in the file), then by index and iteration.
    pub steps: Vec<StepRecord>,
}

/// Sums over the attempts that a run has made itself: what a fork shares was paid for by the other run. Times are those of
/// the whole run. A sum with an unknown term is `null`, except `cost_usd`: the sum of what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Microseconds from start to end.
    pub duration_us: u64,
    /// Microseconds of the longest chain of dependent steps.
    pub critical_path_us: u64,
    /// Sum of the known costs; `null` when there were attempts on backends and none has a known cost.
    pub cost_usd: Option<Usd>,
    /// Whether every attempt's cost is known.
    pub cost_complete: bool,
    /// Input tokens.
    pub input_tokens: Option<u64>,
    /// Input tokens read from a cache.
    pub cached_input_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: Option<u64>,
    /// Number of attempts.
    pub attempts: u64,
    /// What the machines that the run's backends reserve by the hour cost from its start to its end, busy or idle; absent
    /// without such a backend. `cost_usd` has only the run's share of their busy time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_usd: Option<Usd>,
    /// What the answers from the response cache cost when they were first given; absent without such answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_usd: Option<Usd>,
    /// Bytes sent to backends outside the boundary.
    pub bytes_outside: Option<u64>,
}

/// A step: one node's execution, one entry of its map or one round of its loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The node's name.
    pub node: String,
    /// Enclosing sub-workflow nodes, outermost first; empty at the top.
    pub path: Vec<String>,
    /// Position in the innermost enclosing map, its own included.
    pub index: Option<u32>,
    /// Round of the innermost enclosing loop, its own included; from 0.
    pub iteration: Option<u32>,
    /// The node's kind in lower case.
    pub kind: String,
    /// The agent's name.
    pub agent: Option<String>,
    /// How it ended.
    pub status: Status,
    /// Why it did not succeed.
    pub error: Option<ErrorRecord>,
    /// What a person is, or was, asked before it begins; absent for steps that need no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What was decided; absent while nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
    /// While a person is asked and may not take as long as they like: when the default holds, in RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    /// What holds then: `approved` or `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// While a person is asked, what the step would be given; afterwards, what the person made of it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// Microseconds since the run's start when the step became ready.
    pub ready_us: Option<u64>,
    /// Microseconds since the run's start when the step ended.
    pub end_us: Option<u64>,
    /// Microseconds that it adds to the run's critical path; `null` when it is not on it. Steps inside a sub-workflow
    /// count, the sub-workflow's own step adds nothing.
    pub critical_us: Option<u64>,
    /// Its value, `null` unless it succeeded.
    pub output: Value,
    /// Its attempts by number.
    pub attempts: Vec<AttemptRecord>,
}

/// What became of a step that a person was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// `approved`, `edited` or `rejected`.
    pub verdict: String,
    /// Who decided: a person, or the time that went by without one.
    pub by: By,
    /// Why it was rejected, if somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One try on one backend. Times in microseconds since the run's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// From 1.
    pub attempt: u32,
    /// The backend's name in the deployment; `null` for steps without a model.
    pub backend: Option<String>,
    /// The model; `null` for steps without one.
    pub model: Option<String>,
    /// Who serves it.
    pub provider: Option<String>,
    /// How it ended.
    pub status: Status,
    /// When it was started.
    pub start_us: u64,
    /// Waiting for the backend.
    pub queue_us: u64,
    /// From the end of the queue to the first output token.
    pub ttft_us: Option<u64>,
    /// From the end of the queue to the end; of an interrupted attempt at least, to the last that was noted of it.
    pub duration_us: u64,
    /// Tokens.
    #[serde(flatten)]
    pub usage: Usage,
    /// Cost; `null` when unknown.
    pub cost_usd: Option<Usd>,
    /// Bytes sent to the backend's address; `null` when unknown: of an attempt whose process died meanwhile.
    pub bytes_sent: Option<u64>,
    /// `inside` or `outside` the trust boundary.
    pub destination: Destination,
    /// Why generation ended.
    pub finish_reason: Option<FinishReason>,
    /// The name that the server gave to the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the answer cost when it was first given, when it came from the response cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_usd: Option<Usd>,
    /// Why it failed.
    pub error: Option<ErrorRecord>,
    /// Whether it was made in the run that this one was forked from, which paid for it; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Where the figures come from.
    pub basis: AttemptBasis,
}

/// What one attempt was given and what it gave; a part that nobody kept is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Exchange {
    /// The rendered arguments of its agent.
    pub arguments: Option<Value>,
    /// What was asked of a model.
    pub request: Option<ChatRequest>,
    /// What came back.
    pub output: Option<Value>,
    /// Why nothing came back.
    pub error: Option<ErrorRecord>,
}

/// Which side of the trust boundary a backend is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// Within it.
    Inside,
    /// Beyond it.
    Outside,
}

/// Where an attempt's figures come from; `null` for figures that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptBasis {
    /// Of the times.
    pub latency: Basis,
    /// Of the tokens.
    pub tokens: Option<Basis>,
    /// Of the cost.
    pub cost: Option<Basis>,
}
