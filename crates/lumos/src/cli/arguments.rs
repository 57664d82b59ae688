//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use lumos::core::price::Date;

#[cfg(feature = "sim")]
use super::audit::arguments::Audit;
#[cfg(feature = "sim")]
use super::eval::arguments::{Compare, Eval, Optimize};
#[cfg(feature = "html")]
use super::report::Report;
use super::runs::arguments::Runs;
#[cfg(feature = "sim")]
use super::simulate::arguments::{Calibrate, Load, Plan, Simulate};

/// Run multi-agent workflows on local models, and know the latency and cost of every step.
#[derive(Debug, Parser)]
#[command(
    name = "lumos",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 succeeded, 1 failed, 2 invalid file, input or usage, 3 refused by a guard,\n\
                  4 ended by a budget, deadline or limit, 5 waiting for a person, 130 interrupted."
)]
pub struct Arguments {
    /// Where models, indexes and records are kept [default: $LUMOS_HOME, else the platform's data folder].
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub home: Option<PathBuf>,
    /// Seed of everything random in a run [default: 0].
    #[arg(long, global = true, value_name = "N", help_heading = "Global options")]
    pub seed: Option<u64>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workflow; models that are missing are fetched first.
    Run(Run),
    /// Go on with a run whose process died, or that waited for a person.
    Resume(Resume),
    /// Decide about a step that a run waits with, and go on with the run.
    Approve(Approve),
    /// Start a run that shares the beginning of another's log, and goes its own way from a step on.
    Fork(Fork),
    /// Say whether a run's log would be the same again, at no cost; or ask one node again elsewhere.
    Replay(Replay),
    /// Check workflows, agents, deployments, scenarios and claims, and print every problem.
    Check(Check),
    /// Draw a workflow.
    Graph(Graph),
    /// Run a workflow over a data set, and say how good its answers are.
    #[cfg(feature = "sim")]
    Eval(Eval),
    /// Put deployments of a workflow side by side: quality, latency, cost, and what leaves the building.
    #[cfg(feature = "sim")]
    Compare(Compare),
    /// Find which backend is best for which node, without running every combination.
    #[cfg(feature = "sim")]
    Optimize(Optimize),
    /// Find what may leave the boundary, and what has left it.
    #[cfg(feature = "sim")]
    Audit(Audit),
    /// Simulate a scenario with each of its deployments.
    #[cfg(feature = "sim")]
    Simulate(Simulate),
    /// Make a scenario's runs for real, at the times that it says.
    #[cfg(feature = "sim")]
    Load(Load),
    /// Fit a serving profile to a backend that runs, and state its error on loads that it was not fitted to.
    #[cfg(feature = "sim")]
    Calibrate(Calibrate),
    /// Find the smallest fleet that meets a scenario's SLO, what it costs, and where it breaks even with an API.
    #[cfg(feature = "sim")]
    Plan(Plan),
    /// Write results as one HTML file with plots, which needs no network; or check claims.
    #[cfg(feature = "html")]
    Report(Report),
    /// List, fetch or verify model weights and data sets.
    Assets(Assets),
    /// Look at earlier runs.
    Runs(Box<Runs>),
    /// Look at list prices of models, with their dates and sources, or bring them up to date.
    Prices(Prices),
    /// Make a folder with a working workflow to start from.
    New(New),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON document.
    Json,
}

/// How a command that carries out a run tells of it.
#[derive(Debug, Clone, Copy, Args)]
pub struct Printing {
    /// Print events as they happen, one JSON document per line; the last one holds the record.
    #[arg(long)]
    pub stream: bool,
    /// How to print the result.
    // Last, whatever options of its own the command has.
    #[arg(long, value_enum, default_value_t, display_order = 900)]
    pub format: Format,
}

impl Printing {
    /// The format of errors and results.
    pub fn format(self) -> Format {
        if self.stream { Format::Json } else { self.format }
    }

    /// The format of the result; `None` when it was streamed.
    pub fn of_result(self) -> Option<Format> {
        (!self.stream).then_some(self.format)
    }
}

/// `lumos run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The workflow's file.
    pub workflow: PathBuf,
    /// The deployment: a file, or the name of one in `deployments/` [default: local, if there is one].
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// An input; can be given several times.
    #[arg(short, long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
    pub input: Vec<(String, String)>,
    /// A JSON object of inputs, or `-` to read it from stdin; `-i` wins where both give one.
    #[arg(long, value_name = "FILE.json")]
    pub inputs: Option<PathBuf>,
    /// Show prompts, bindings, the worst cost and what would leave the boundary, and run nothing.
    #[arg(long = "dry-run", conflicts_with = "stream")]
    pub is_dry: bool,
    #[command(flatten)]
    pub printing: Printing,
    /// Write the run's metrics as Prometheus text, for the node exporter's textfile collector.
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "FILE.prom", conflicts_with = "is_dry")]
    pub metrics: Option<PathBuf>,
}

/// `lumos resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The run's id, or how it begins.
    #[arg(required_unless_present = "all")]
    pub id: Option<String>,
    /// Go on with every run whose process died.
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// When files have changed, go on as a new run that asks again only what the changes touch.
    #[arg(long)]
    pub accept_changes: bool,
    #[command(flatten)]
    pub printing: Printing,
}

/// `lumos approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// The run's id, or how it begins.
    pub id: String,
    /// The step, as the run named it [default: the only one that it waits with].
    pub step: Option<String>,
    /// Let the step not be done: the run ends as refused.
    #[arg(long = "reject")]
    pub is_rejected: bool,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", requires = "is_rejected")]
    pub reason: Option<String>,
    /// Let the step be done with other arguments: a JSON object of those that change, or `-` to read it from stdin.
    #[arg(long, value_name = "FILE.json", conflicts_with = "is_rejected")]
    pub edit: Option<PathBuf>,
    #[command(flatten)]
    pub printing: Printing,
}

/// `lumos fork`.
#[derive(Debug, Args)]
pub struct Fork {
    /// The run's id, or how it begins.
    pub id: String,
    /// The first step that is made anew, as `lumos runs show` names it.
    #[arg(long, value_name = "STEP")]
    pub at: String,
    /// An input that is another from there on; can be given several times.
    #[arg(short, long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
    pub input: Vec<(String, String)>,
    /// The deployment from there on [default: that of the run].
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    #[command(flatten)]
    pub printing: Printing,
}

/// `lumos replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The run's id, or how it begins.
    pub id: String,
    /// The deployment that nodes are bound by [default: that of the run].
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// Ask this node, or this step, again by that deployment, and show both answers; this costs what it costs.
    #[arg(long, value_name = "NODE", requires = "deployment")]
    pub only: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Workflows, agents and deployments; a workflow is checked with all that it names.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Check workflows together with this deployment.
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// How to print problems.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos graph`.
#[derive(Debug, Args)]
pub struct Graph {
    /// The workflow's file.
    pub workflow: PathBuf,
    /// The drawing's language.
    #[arg(long, value_enum, default_value_t)]
    pub format: Drawing,
}

/// Languages of drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Drawing {
    /// A table of layers.
    #[default]
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz graph.
    Dot,
    /// An image.
    Svg,
}

/// `lumos assets`.
#[derive(Debug, Args)]
#[command(subcommand_value_name = "COMMAND", arg_required_else_help = true)]
pub struct Assets {
    /// What to do.
    #[command(subcommand)]
    pub command: AssetsCommand,
}

/// What can be done with assets.
#[derive(Debug, Subcommand)]
pub enum AssetsCommand {
    /// Show every asset, its size, its licence and whether it is here.
    List {
        /// How to print them.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Fetch assets.
    Pull {
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// How to print where they are.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Compare assets with their checksums.
    Verify {
        /// Their names; without one, everything that is here.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// How to print the result.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

impl Assets {
    /// The format of errors and results.
    pub fn format(&self) -> Format {
        match self.command {
            AssetsCommand::List { format }
            | AssetsCommand::Pull { format, .. }
            | AssetsCommand::Verify { format, .. } => format,
        }
    }
}

/// `lumos prices`.
#[derive(Debug, Args)]
#[command(subcommand_value_name = "COMMAND", arg_required_else_help = true)]
pub struct Prices {
    /// What to do.
    #[command(subcommand)]
    pub command: PricesCommand,
}

/// What can be done with prices.
#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// Show prices per million tokens.
    List(ListPrices),
    /// Show everything about the price of a model, and what an exchange costs.
    Check(CheckPrice),
    /// Take newer prices from a file; they override the built-in ones entry by entry.
    Update(UpdatePrices),
}

/// `lumos prices list`.
#[derive(Debug, Args)]
pub struct ListPrices {
    /// Show the models whose name or alias has this in it.
    pub filter: Option<String>,
    /// Show the models of this provider.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// The day on which prices are to be in force [default: today].
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub on: Option<Date>,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos prices check`.
#[derive(Debug, Args)]
pub struct CheckPrice {
    /// The model's name, with or without its version.
    pub model: String,
    /// Who bills [default: everyone who has the model].
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// The day on which the price is to be in force [default: today].
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub on: Option<Date>,
    /// Tokens of input of the example, cached ones included.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub input: u64,
    /// Those of the input that are read from a prompt cache.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cached: u64,
    /// Those of the input that are written to a prompt cache, for whatever time.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub write: u64,
    /// Those of the written ones that are to be kept for an hour.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub write_1h: u64,
    /// Generated tokens of the example, reasoning included [default: 1000, and 0 for embedding models].
    #[arg(long, value_name = "N")]
    pub output: Option<u64>,
    /// Price the example as part of a batch.
    #[arg(long = "batch")]
    pub is_batch: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos prices update`.
#[derive(Debug, Args)]
pub struct UpdatePrices {
    /// A catalog in RON like the built-in one, or the `data.json` of genai-prices (that of its layout 2 has batches).
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Take the prices of this provider only.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// The day on which the file was right, where it doesn't say so itself [default: today].
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub as_of: Option<Date>,
    /// How to print what changed.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl Prices {
    /// The format of errors and results.
    pub fn format(&self) -> Format {
        match &self.command {
            PricesCommand::List(list) => list.format,
            PricesCommand::Check(check) => check.format,
            PricesCommand::Update(update) => update.format,
        }
    }
}

/// `lumos new`.
#[derive(Debug, Args)]
pub struct New {
    /// The folder to make; its last part is the workflow's name.
    pub name: PathBuf,
    /// How to print what was made.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, e.g. question=\"what is in stock?\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_input_is_split_at_the_first_equals_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("=b").is_err() && key_value("a").is_err());
    }
}
