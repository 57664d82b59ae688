//! A workflow: inputs, nodes, output and limits.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::money::Usd;

/// A workflow as written, before references are resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSpec {
    /// Name in records.
    pub name: String,
    /// A sentence for people.
    pub description: String,
    /// What a run is given.
    pub inputs: IndexMap<String, InputSpec>,
    /// Nodes by name, in the order of the file.
    pub nodes: IndexMap<String, NodeSpec>,
    /// Template of the run's result.
    pub output: String,
    /// What ends a run early.
    pub limits: LimitsSpec,
}

/// An input's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputKind {
    /// A text.
    Text,
    /// A finite number.
    Number,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Bool,
    /// Any JSON value.
    Json,
}

/// An input: `Text(required: true)`, `Number(default: 0.5)`, …
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Its type.
    pub kind: InputKind,
    /// Whether a run without it is an error.
    pub required: bool,
    /// Its value when it is not given; `None` reads as `""`, `0`, `false` or `null`.
    pub default: Option<Value>,
    /// Labels that its value carries.
    pub labels: Vec<Label>,
    /// A sentence for people.
    pub description: String,
}

impl InputSpec {
    /// Its value when a run does not give it: the default, else the type's empty value.
    pub fn initial(&self) -> Value {
        self.default.clone().unwrap_or_else(|| match self.kind {
            InputKind::Text => Value::String(String::new()),
            InputKind::Number => 0.0.into(),
            InputKind::Integer => 0.into(),
            InputKind::Bool => false.into(),
            InputKind::Json => Value::Null,
        })
    }
}

/// A label on data, such as `Pii`; compared by its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(pub String);

/// A node: its kind with what only that kind has, and the options that all kinds share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// What it does.
    pub kind: NodeKind,
    /// When, how often and how persistently it does it.
    pub options: NodeOptions,
}

impl NodeSpec {
    /// The agent that judges the node's answers, if any.
    pub fn judged_by(&self) -> Option<&str> {
        self.options.cascade.as_ref()?.judge.as_deref()
    }

    /// The backends that the node names itself, in the order in which they are tried.
    pub fn named_backends(&self) -> impl Iterator<Item = &str> {
        let to = self.options.cascade.as_ref().map(|cascade| cascade.to.as_str());
        self.options.fallback.iter().map(String::as_str).chain(to)
    }
}

/// The kinds of node. Texts are templates unless said otherwise; `with` adds arguments for the agent's prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NodeKind {
    /// Finds passages: `{query, passages: [{id, source, text, score, rank}]}`.
    Retriever {
        /// The agent's name.
        agent: String,
        /// What to look for.
        query: String,
        /// Most passages to return.
        top_k: Option<u32>,
    },
    /// Makes a list of steps or items: an object with the agent's list field.
    Planner {
        /// The agent's name.
        agent: String,
        /// The task.
        input: String,
        /// What is known.
        context: Option<String>,
    },
    /// Forecasts a series: `{series, model, season, horizon, level, last, last_total, mean, lower, upper, total,
    /// backtest, observations, start, end}`.
    Forecaster {
        /// The agent's name.
        agent: String,
        /// A series' name in the agent's source, or a list of numbers.
        series: String,
        /// Steps ahead.
        horizon: u32,
    },
    /// Screens a text: `{text, outcome, findings}`.
    Guard {
        /// The agent's name.
        agent: String,
        /// The text to screen.
        input: String,
        /// What a finding does.
        on_block: OnBlock,
    },
    /// Chooses one of several branches: `{choice, labels}`.
    Router {
        /// The agent that chooses; `None` when `choose` does.
        agent: Option<String>,
        /// What the agent looks at.
        input: Option<String>,
        /// What is known.
        context: Option<String>,
        /// An expression that evaluates to a label.
        choose: Option<String>,
        /// Nodes of each label's branch; nodes of the other branches are skipped.
        routes: IndexMap<String, Vec<String>>,
        /// The label taken when `choose` gives none of them.
        default: Option<String>,
    },
    /// Scores a text: `{score, min, max}`, and `{reason}` where the agent gives one.
    Judge {
        /// The agent's name.
        agent: String,
        /// What to score.
        input: String,
        /// What is known.
        context: Option<String>,
    },
    /// Writes a text: `{text}`, and `{data}` where the agent asks for JSON.
    Generator {
        /// The agent's name.
        agent: String,
        /// The task.
        input: String,
        /// What is known.
        context: Option<String>,
    },
    /// Calls a tool with the arguments in `with`: `{result}` and what else the tool says.
    Tool {
        /// The agent's name.
        agent: String,
    },
    /// Runs another workflow; its value is that workflow's output.
    Workflow {
        /// The file, relative to this one.
        path: String,
    },
    /// An agent that the embedding program registered under this name.
    Custom {
        /// The registered name.
        agent: String,
    },
}

/// What a guard's finding does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnBlock {
    /// The run ends as `refused`, exit code 3.
    #[default]
    Refuse,
    /// Findings are replaced by their kind in brackets, e.g. `[EMAIL]`; the run goes on.
    Redact,
}

/// Options common to every kind of node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeOptions {
    /// More arguments for the agent: name to template.
    pub with: IndexMap<String, String>,
    /// Nodes that must end first although no template names them.
    pub after: Vec<String>,
    /// One `{{ expression }}`; when false the node is skipped.
    pub when: Option<String>,
    /// Which of its dependencies a node waits for.
    pub join: Join,
    /// One `{{ expression }}` that gives a list: the node runs once per entry, as `item` at `index`.
    pub map: Option<String>,
    /// Most entries of `map` in flight at once; `None` is all of them.
    pub concurrency: Option<u32>,
    /// Runs the node again until an expression holds.
    pub repeat: Option<Repeat>,
    /// Seconds an attempt may take.
    pub timeout_s: Option<f64>,
    /// How often a failed attempt is tried again.
    pub retry: Option<Retry>,
    /// Backends to try when the bound one has failed, in order.
    pub fallback: Vec<String>,
    /// Milliseconds after which an attempt that still runs is joined by a second one; the first answer counts.
    pub hedge_after_ms: Option<u32>,
    /// Tests the answer and asks a better backend when it fails.
    pub cascade: Option<CascadeSpec>,
    /// Whether an answer to the very same request is reused.
    pub cache: bool,
    /// Labels that the node's output carries.
    pub labels: Vec<Label>,
    /// What a person is asked before a step of the node begins.
    pub approve: Option<ApprovalSpec>,
}

/// A question for a person: a step waits until it is approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalSpec {
    /// A template; reads what the node's arguments may read.
    pub ask: String,
    /// Seconds of wall-clock time after which `default` holds; without it a step waits for as long as it takes.
    pub timeout_s: Option<f64>,
    /// What holds when nobody has decided in time; `None` rejects.
    pub default: Option<Verdict>,
}

/// A decision that needs no person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Verdict {
    /// The step does not begin, and the run ends as refused.
    #[default]
    Reject,
    /// The step begins.
    Approve,
}

impl Verdict {
    /// What has become of a step for which it holds, in a word.
    pub fn as_past(self) -> &'static str {
        match self {
            Self::Reject => "rejected",
            Self::Approve => "approved",
        }
    }
}

/// An accept test for the answer of the bound backend, and the backend that is asked when it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeSpec {
    /// The agent that judges the answer, in a step of its own; without one the test looks at the answer itself.
    #[serde(default)]
    pub judge: Option<String>,
    /// One `{{ expression }}` over `output`: the judge's value or, without a judge, the answer.
    pub accept: String,
    /// The backend for answers that fail.
    pub to: String,
}

/// Which dependencies a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Join {
    /// All of them; skipped when one of them was skipped.
    #[default]
    All,
    /// The first that succeeds; skipped when all were skipped.
    Any,
}

/// A bounded loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// One `{{ expression }}` over `output` and `previous`; the loop ends when it holds.
    pub until: String,
    /// Most rounds, at least 1.
    pub at_most: u32,
}

/// How often and after what pause a failed attempt is made again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all per backend, at least 1.
    pub attempts: u32,
    /// The pause before the next attempt.
    #[serde(default)]
    pub backoff: Backoff,
}

/// Exponential backoff with full jitter: attempt `n` (from 1) is followed by a pause drawn uniformly from
/// `0..=min(max_s, base_s * 2^(n-1))` with the run's seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// Seconds.
    pub base_s: f64,
    /// Seconds.
    pub max_s: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_s: 0.5, max_s: 30.0 }
    }
}

/// What ends a run early.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Most money.
    pub cost_usd: Option<Usd>,
    /// Most seconds of running time.
    pub deadline_s: Option<f64>,
    /// Most steps, map entries and loop rounds counted one by one.
    pub steps: Option<u32>,
}
