//! What can be written after `lumos audit`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::arguments::Format;
use crate::cli::runs::Moment;

/// `lumos audit`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing was found, 1 something was found, 2 invalid file, input or usage.")]
pub struct Audit {
    /// The workflow's file; or recorded runs, by their ids or how those begin.
    #[arg(required = true, value_name = "WORKFLOW|RUN")]
    pub subjects: Vec<String>,
    /// The deployment: a file, or the name of one in `deployments/` [default: local, if there is one].
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// Look at what the recorded runs of the workflow on the deployment have sent, too.
    #[arg(long = "runs")]
    pub with_runs: bool,
    /// Only runs that began then or later, e.g. 7d or 2026-11-24.
    #[arg(long, value_name = "MOMENT", requires = "with_runs")]
    pub since: Option<Moment>,
    /// A label that must not leave, beside those that the deployment forbids; can be given several times.
    #[arg(long, value_name = "LABEL")]
    pub forbid: Vec<String>,
    /// A label that may leave, or a kind of personal data that may be found; can be given several times.
    #[arg(long, value_name = "LABEL|KIND")]
    pub allow: Vec<String>,
    /// How to print what is found.
    #[arg(long, value_enum, default_value_t)]
    pub format: AuditFormat,
    /// Write it to a file in place of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How an audit is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AuditFormat {
    /// For people, on a screen.
    #[default]
    Human,
    /// For programs: one JSON document.
    Json,
    /// For people, to be filed: everything, with the files' digests.
    Markdown,
    /// The workflow's drawing in Mermaid, with the ways of labels to the outside.
    Mermaid,
    /// The same in Graphviz's dot.
    Dot,
    /// The same as an image.
    Svg,
}

impl AuditFormat {
    /// How errors are printed.
    pub fn of_errors(self) -> Format {
        if self == Self::Json { Format::Json } else { Format::Human }
    }
}
