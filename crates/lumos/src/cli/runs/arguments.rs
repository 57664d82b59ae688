//! What can be written after `lumos runs`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lumos::core::{Status, Usd};
use lumos_report::ExportTable;

use super::moment::Moment;
use crate::cli::arguments::Format;

/// `lumos runs`; without a command, `list`.
#[derive(Debug, Args)]
pub struct Runs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    #[command(flatten)]
    list: List,
}

/// What can be done with runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Show the runs, the newest first.
    List(List),
    /// Show a run: what ran when, for how long and at what cost.
    Show(Show),
    /// Look for damage in what is kept of runs.
    Verify(VerifyRuns),
    /// Remove runs that are old enough and have ended.
    Prune(PruneRuns),
    /// Write runs for other programs.
    Export(ExportRuns),
}

/// `lumos runs list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub filters: Filters,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Which runs are meant; a run must fit every option.
#[derive(Debug, Args)]
pub struct Filters {
    /// How they stand, such as `failed`.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    pub status: Option<Status>,
    /// The name of their workflow.
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
    /// The name of their deployment.
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,
    /// They started at this moment or later: an instant, a day (UTC), or a span before now such as `2h` or `7d`.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// They started before this moment.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// Their known cost is more than this.
    #[arg(long, value_name = "USD")]
    pub cost_above: Option<Usd>,
    /// At most this many, the newest [default: 20 when they are listed for people, otherwise all].
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
}

/// `lumos runs show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The run's id, or how it begins.
    pub id: String,
    /// Show the prompt and the answer of one attempt; without a number, of the step's last one.
    #[arg(long, value_name = "STEP[:N]", conflicts_with_all = ["shows_all", "shows_steps"])]
    pub attempt: Option<String>,
    /// Show every entry of maps, every round and every error.
    #[arg(long = "all")]
    pub shows_all: bool,
    /// Show the table of all figures that `lumos run` prints, instead of the timeline.
    #[arg(long = "steps", conflicts_with = "shows_all")]
    pub shows_steps: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos runs verify`.
#[derive(Debug, Args)]
pub struct VerifyRuns {
    /// The run's id, or how it begins [default: all runs, and the file itself].
    pub id: Option<String>,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos runs prune`.
#[derive(Debug, Args)]
pub struct PruneRuns {
    /// Remove runs that began before this moment: an instant, a day (UTC), or a span before now such as `30d`.
    #[arg(long, value_name = "WHEN")]
    pub older_than: Moment,
    /// Keep runs that failed, were refused or ran into a limit.
    #[arg(long)]
    pub keep_failed: bool,
    /// Print which runs would be removed, and remove nothing.
    #[arg(long = "dry-run")]
    pub is_dry: bool,
    /// How to print what was removed.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos runs export`.
#[derive(Debug, Args)]
pub struct ExportRuns {
    /// The runs' ids, or how they begin [default: all runs that fit the options].
    #[arg(value_name = "ID", conflicts_with_all = ["status", "workflow", "deployment", "since", "until", "cost_above", "limit"])]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub filters: Filters,
    /// How to write them.
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportAs,
    /// What a row of csv or parquet is [default: attempts].
    #[arg(long, value_enum)]
    pub table: Option<Rows>,
    /// The file to write [default: stdout].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Formats of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ExportAs {
    /// The run's document; of several runs, {"runs": [...]}.
    #[default]
    Json,
    /// One run per line.
    Jsonl,
    /// One row per attempt; unknown is an empty cell.
    Csv,
    /// The same with types; unknown is null.
    #[cfg(feature = "parquet")]
    Parquet,
    /// For Perfetto and chrome://tracing.
    ChromeTrace,
}

/// What a row of an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// A run.
    Runs,
    /// A step of a run.
    Steps,
    /// An attempt of a step.
    Attempts,
}

impl From<Rows> for ExportTable {
    fn from(rows: Rows) -> Self {
        match rows {
            Rows::Runs => Self::Runs,
            Rows::Steps => Self::Steps,
            Rows::Attempts => Self::Attempts,
        }
    }
}

impl Runs {
    /// How to list, unless a run is to be shown.
    pub fn list(&self) -> &List {
        match &self.command {
            Some(RunsCommand::List(list)) => list,
            _ => &self.list,
        }
    }

    /// The format of errors and results.
    pub fn format(&self) -> Format {
        match &self.command {
            Some(RunsCommand::Show(show)) => show.format,
            Some(RunsCommand::Verify(verify)) => verify.format,
            Some(RunsCommand::Prune(prune)) => prune.format,
            Some(RunsCommand::Export(export)) if export.format == ExportAs::Json => Format::Json,
            Some(RunsCommand::Export(_)) => Format::Human,
            _ => self.list().format,
        }
    }
}

fn status(text: &str) -> Result<Status, String> {
    // A run is not skipped, only its steps.
    Status::from_word(text)
        .filter(|status| *status != Status::Skipped)
        .ok_or_else(|| "one of running, succeeded, failed, refused, limited, interrupted, cancelled, paused".to_owned())
}
