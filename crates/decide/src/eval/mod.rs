//! Quality: a workflow's runs over a data set, each scored against what was expected.
//!
//! Runs are carried out and kept as any others. What is done of an evaluation is noted beside them, so that one that was
//! interrupted goes on where it was.

mod call;
mod case;
mod command;
mod dataset;
mod drive;
mod figures;
mod judge;
mod notes;
mod results;
mod score;
mod scorer;

pub use case::{Bill, Case, ExternalScorer, Externals, Score, score_from};
pub use command::CommandScorer;
pub use dataset::{Dataset, Row};
pub use drive::{Earlier, EvalOptions, Evaluation, Outcome, Side, evaluate};
pub use figures::Figures;
pub use judge::{ByWorkflow, judge_bundle};
pub use notes::{Notes, inputs_digest};
pub use results::{EvalResults, ScorerResult, summarize};
pub use scorer::{Custom, JUDGE_ALIAS, NAMES, Scorer, ScorerKind};
