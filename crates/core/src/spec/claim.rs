//! A claim: what somebody says of cost, speed or safety, and the questions to lumos that decide about it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A claim as written in `scenarios/claims/*.ron`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClaimSpec {
    /// Name in results.
    pub name: String,
    /// What is claimed, in the words of whoever claims it.
    pub claim: String,
    /// Who says so, and where.
    pub source: String,
    /// What is taken for granted beside what is `given`.
    pub assumes: Vec<String>,
    /// What the claim leaves open, with the values that it may have.
    pub given: IndexMap<String, GivenSpec>,
    /// What lumos is asked.
    pub asked: IndexMap<String, QuestionSpec>,
    /// What must be true, all of it, for the claim to hold.
    pub parts: Vec<PartSpec>,
}

/// What a claim leaves open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GivenSpec {
    /// A number between two ends.
    Range(RangeSpec),
    /// One of several values, numbers or texts.
    OneOf {
        /// The values; the first is the one that is taken unless something else is said.
        values: Vec<Value>,
        /// What it is, as in "the deployment".
        says: String,
        /// Where the values come from.
        source: String,
    },
}

impl GivenSpec {
    /// What it is.
    pub fn says(&self) -> &str {
        match self {
            Self::Range(range) => &range.says,
            Self::OneOf { says, .. } => says,
        }
    }

    /// Where its values come from.
    pub fn source(&self) -> &str {
        match self {
            Self::Range(range) => &range.source,
            Self::OneOf { source, .. } => source,
        }
    }

    /// The value that is taken unless something else is said.
    pub fn usual(&self) -> Value {
        match self {
            Self::Range(range) => Value::from(range.at),
            Self::OneOf { values, .. } => values.first().cloned().unwrap_or_default(),
        }
    }

    /// The ends of a range, or all values.
    pub fn extremes(&self) -> Vec<Value> {
        match self {
            Self::Range(range) => vec![Value::from(range.from), Value::from(range.to)],
            Self::OneOf { values, .. } => values.clone(),
        }
    }
}

/// A number between two ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeSpec {
    /// The value that is taken unless something else is said.
    pub at: f64,
    /// The lowest that is plausible.
    pub from: f64,
    /// The highest that is plausible.
    pub to: f64,
    /// How far beyond that is looked for a value with which the claim would hold.
    pub search: Option<(f64, f64)>,
    /// Whether only whole numbers mean something.
    pub whole: bool,
    /// What it is, as in "the price of a GPU-hour".
    pub says: String,
    /// Its unit: `$` stands before it, anything else behind.
    pub unit: String,
    /// Where its ends come from.
    pub source: String,
}

/// A question to lumos. Texts are templates over what is given; a number is written as a number or as one expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum QuestionSpec {
    /// What `lumos simulate` finds.
    Simulate {
        /// The scenario's file, relative to the claim's.
        scenario: String,
        /// The deployment, as the scenario names it.
        deployment: String,
        /// How many times as often runs arrive.
        load_factor: Value,
        /// Runs that arrive; those of the scenario when absent.
        runs: Option<u64>,
        /// Seeds, from 0 on.
        seeds: u32,
    },
    /// What `lumos plan` finds: the smallest fleet of the deployment's hardware.
    Plan {
        /// The scenario's file, relative to the claim's.
        scenario: String,
        /// The deployment, as the scenario names it.
        deployment: String,
        /// Runs of each simulation of the search.
        runs: Option<u64>,
    },
    /// What tokens cost at the list price of the day, as `lumos prices check` says.
    Price {
        /// Who sells it.
        provider: String,
        /// The model.
        model: String,
        /// Tokens of prompts.
        input_tokens: Value,
        /// Tokens of answers.
        output_tokens: Value,
    },
    /// What `lumos audit` proves of a workflow on a deployment.
    Audit {
        /// The workflow's file, relative to the claim's.
        workflow: String,
        /// The deployment, as the workflow's folder knows it.
        deployment: String,
    },
}

/// Something that must be true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PartSpec {
    /// A figure and what is said of it.
    Figure(FigureSpec),
    /// What lumos cannot know without asking the models themselves.
    Unknown {
        /// What is said.
        says: String,
        /// How it could be known.
        measure: String,
    },
}

/// A figure and what is said of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureSpec {
    /// What the figure is, as in "the bill of a month".
    pub says: String,
    /// One expression over what is given and the answers.
    pub figure: String,
    /// Its unit: `$` stands before it, anything else behind.
    pub unit: String,
    /// What it must be; a figure without is shown and decides nothing.
    pub must_be: Option<Bounds>,
    /// What is given of which the condition is looked for.
    pub vary: Option<String>,
    /// How far off the model behind it may be, as a share of the figure, beyond what seeds show.
    pub off_by: f64,
    /// Who says how far off it may be.
    pub off_by_source: String,
}

/// The ends of what a figure may be; both belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The least.
    pub least: Option<f64>,
    /// The most.
    pub most: Option<f64>,
}
