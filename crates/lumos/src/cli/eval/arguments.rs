//! What can be written after `lumos eval`, `lumos compare` and `lumos optimize`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lumos::decide::optimize::Objective;

use crate::cli::arguments::Format;
use crate::cli::runs::Moment;

/// How the rows of a data set are run and scored.
#[derive(Debug, Clone, Args)]
pub struct Rows {
    /// What scores the outputs, beside what rows name themselves, e.g. f1 or 'find: recall_at(10)'; can be given several times.
    #[arg(short, long = "scorer", value_name = "[NODE:]SCORER", long_help = SCORER_HELP)]
    pub scorers: Vec<String>,
    /// Runs at a time.
    #[arg(short = 'j', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub concurrency: u32,
    /// Runs of each row, with different seeds.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repeats: u32,
    /// Only the first rows.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Begin anew, even if an earlier one was interrupted.
    #[arg(long = "fresh")]
    pub is_fresh: bool,
    /// The deployment that judges are bound by [default: the first that is given].
    #[arg(long, value_name = "DEPLOYMENT")]
    pub judges: Option<PathBuf>,
}

/// The same, with what comes of it.
#[derive(Debug, Args)]
pub struct Scoring {
    #[command(flatten)]
    pub rows: Rows,
    /// Reuse answers to the very same request at every node; what they cost at first is shown apart.
    #[arg(long = "cache")]
    pub is_cached: bool,
    /// Conditions that must hold, else the exit code is 1, e.g. 'quality >= 0.8, p95_s < 2, cost_usd < 0.01'; of several
    /// deployments also 'quality >= 0.95 * baseline', which is the first.
    #[arg(long, value_name = "CONDITIONS")]
    pub gate: Option<String>,
}

const SCORER_HELP: &str = "\
What scores the outputs, beside what rows name themselves; can be given several times. NODE: scores a node's output in \
place of the run's.

exact, contains, regex('PATTERN'), f1, number(tolerance=0.5 or 5%), json_schema(SCHEMA), recall_at(K), ndcg(K), smape, \
mase(season=N), judge(rubric='…', alias='…'), custom(command='…'), custom(workflow='FILE.ron')

Each takes name='…' for results, and of='EXPRESSION' for the part of `output` that it looks at.";

/// `lumos eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// The workflow's file.
    pub workflow: PathBuf,
    /// The deployment: a file, or the name of one in `deployments/` [default: local, if there is one].
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// Rows of inputs and expectations, one JSON object per line.
    #[arg(long, value_name = "FILE.jsonl")]
    pub dataset: PathBuf,
    #[command(flatten)]
    pub scoring: Scoring,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// The workflow's file.
    pub workflow: PathBuf,
    /// A deployment: a file, or the name of one in `deployments/`; the others are held against the first.
    #[arg(short, long = "deployment", value_name = "DEPLOYMENT", required = true)]
    pub deployments: Vec<PathBuf>,
    /// Run the rows of this data set on each. Without it, and without a scenario, recorded runs are compared.
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "scenario")]
    pub dataset: Option<PathBuf>,
    /// Simulate this scenario with each.
    #[arg(long, value_name = "FILE.ron")]
    pub scenario: Option<PathBuf>,
    #[command(flatten)]
    pub scoring: Scoring,
    /// Simulations of each, with different seeds: the intervals are between them.
    #[arg(long, value_name = "N", default_value_t = 5, requires = "scenario", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub seeds: u32,
    /// Simulated runs, in place of the scenario's.
    #[arg(long, value_name = "N", requires = "scenario", value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: Option<u64>,
    /// Only recorded runs since then: an instant, a day, or a span before now such as 7d.
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["dataset", "scenario"])]
    pub since: Option<Moment>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos optimize`.
#[derive(Debug, Args)]
pub struct Optimize {
    /// The workflow's file.
    pub workflow: PathBuf,
    /// The deployment that is begun with: a file, or the name of one in `deployments/`; others add their backends [default:
    /// local, if there is one].
    #[arg(short, long = "deployment", value_name = "DEPLOYMENT")]
    pub deployments: Vec<PathBuf>,
    /// Rows of inputs and expectations, one JSON object per line.
    #[arg(long, value_name = "FILE.jsonl")]
    pub dataset: PathBuf,
    /// The backends to choose from, by their names in the deployments.
    #[arg(long, value_name = "BACKEND,…", value_delimiter = ',', required = true)]
    pub over: Vec<String>,
    #[command(flatten)]
    pub rows: Rows,
    /// What must hold of a choice, in the words of `compare --gate`, e.g. 'bytes_outside = 0, quality >= 0.8'.
    #[arg(long = "where", value_name = "CONDITIONS")]
    pub conditions: Option<String>,
    /// What the choice is to be best at; the others decide between equals.
    #[arg(long, value_enum, value_name = "OBJECTIVE", default_value_t)]
    pub pick: Pick,
    /// Most choices that are run for real, the one that is picked first.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub verify: u32,
    /// Write the chosen deployment to this file.
    #[arg(short, long, value_name = "FILE.ron")]
    pub output: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What a choice is to be best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Pick {
    /// Right answers; where nothing is scored, runs that succeed.
    #[default]
    Quality,
    /// Little money.
    Cost,
    /// Little time.
    Latency,
    /// Few bytes outside.
    Bytes,
}

impl From<Pick> for Objective {
    fn from(pick: Pick) -> Self {
        match pick {
            Pick::Quality => Self::Quality,
            Pick::Cost => Self::Cost,
            Pick::Latency => Self::Latency,
            Pick::Bytes => Self::Bytes,
        }
    }
}
