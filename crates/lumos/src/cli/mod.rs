//! The command line: the only part of lumos that prints, picks exit codes and reads the environment.
//!
//! Data goes to stdout, progress and errors to stderr. Exit codes: 0 succeeded, 1 failed, 2 invalid file, input or
//! usage, 3 refused, 4 limited, 5 paused, 130 interrupted.

mod approve;
mod arguments;
mod assets;
#[cfg(feature = "sim")]
mod audit;
#[cfg(feature = "sim")]
mod calibrate;
mod check;
#[cfg(feature = "html")]
mod claims;
#[cfg(feature = "sim")]
mod compare;
mod dry_run;
#[cfg(feature = "sim")]
mod eval;
mod failure;
mod file;
#[cfg(feature = "sim")]
mod fleets;
mod fork;
mod graph;
mod home;
mod inputs;
#[cfg(feature = "sim")]
mod learned;
#[cfg(feature = "sim")]
mod load;
mod new;
#[cfg(feature = "sim")]
mod optimize;
mod output;
mod plan;
mod prices;
mod progress;
mod pull;
mod questions;
#[cfg(feature = "sim")]
mod recheck;
mod replay;
#[cfg(feature = "html")]
mod report;
mod resume;
mod run;
mod runs;
mod session;
#[cfg(feature = "sim")]
mod simulate;
mod steps;
mod stream;
#[cfg(feature = "otel")]
mod telemetry;
mod threads;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command, Format};
use failure::Failure;

/// Parses the arguments, carries out the command and gives its exit code.
pub fn main() -> ExitCode {
    threads::choose();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let home = || home::resolve(arguments.home.as_deref());
    let seed = arguments.seed.unwrap_or_default();
    let (result, format) = match &arguments.command {
        Command::Run(run) => (home().and_then(|home| run::run(run, home, seed)), run.printing.format()),
        Command::Resume(resume) => (home().and_then(|home| resume::run(resume, home)), resume.printing.format()),
        Command::Fork(fork) => (home().and_then(|home| fork::run(fork, home, arguments.seed)), fork.printing.format()),
        Command::Replay(replay) => (home().and_then(|home| replay::run(replay, home)), replay.format),
        Command::Approve(approve) => (home().and_then(|home| approve::run(approve, home)), approve.printing.format()),
        Command::Check(check) => (check::run(check), check.format),
        Command::Graph(graph) => (graph::run(graph), Format::Human),
        #[cfg(feature = "sim")]
        Command::Eval(eval) => (home().and_then(|home| eval::run(eval, home, seed)), eval.format),
        #[cfg(feature = "sim")]
        Command::Compare(compare) => (home().and_then(|home| compare::run(compare, home, seed)), compare.format),
        #[cfg(feature = "sim")]
        Command::Optimize(optimize) => (home().and_then(|home| optimize::run(optimize, home, seed)), optimize.format),
        #[cfg(feature = "sim")]
        Command::Audit(audit) => (home().and_then(|home| audit::run(audit, &home)), audit.format.of_errors()),
        #[cfg(feature = "sim")]
        Command::Calibrate(calibrate) => {
            (home().and_then(|home| calibrate::run(calibrate, home, seed)), calibrate.format)
        }
        #[cfg(feature = "sim")]
        Command::Load(load) => (home().and_then(|home| load::run(load, home, seed)), load.format),
        #[cfg(feature = "sim")]
        Command::Simulate(simulate) => (home().and_then(|home| simulate::run(simulate, &home, seed)), simulate.format),
        #[cfg(feature = "sim")]
        Command::Plan(plan) => (home().and_then(|home| fleets::run(plan, &home, seed)), plan.format),
        #[cfg(feature = "html")]
        Command::Report(report) => (home().and_then(|home| report::run(report, &home)), report.format),
        Command::Assets(assets) => (home().and_then(|home| assets::run(assets, &home)), assets.format()),
        Command::Runs(runs) => (home().and_then(|home| runs::run(runs, &home)), runs.format()),
        Command::Prices(prices) => (home().and_then(|home| prices::run(prices, &home)), prices.format()),
        Command::New(new) => (new::run(new), new.format),
        Command::Completions { shell } => (completions(*shell), Format::Human),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.report(format)),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "lumos", &mut script);
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Help and version, or what is wrong with the arguments; those who asked for JSON get it here too.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;

    if !error.use_stderr() {
        let shown = output::styled(&error.render().ansi().to_string());
        return ExitCode::from(shown.map_or_else(|failure| failure.report(Format::Human), |()| 0));
    }
    let wants_json = std::env::args().any(|argument| argument == "--format=json" || argument == "--stream")
        || std::env::args().zip(std::env::args().skip(1)).any(|(name, value)| name == "--format" && value == "json");
    if wants_json && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let rendered = error.render().to_string();
        let mut lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let hint = lines.next().map(|line| line.trim_start_matches("tip: ").to_owned());
        let problem = lumos::core::Problem::of_file(failure::COMMAND_LINE, message, hint);
        return ExitCode::from(Failure::Invalid(vec![problem]).report(Format::Json));
    }
    output::log(&error.render().ansi().to_string());
    ExitCode::from(failure::INVALID)
}
