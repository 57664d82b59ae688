//! What can be written after `lumos simulate`, `plan`, `load` and `calibrate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lumos::core::Usd;
use lumos::core::spec::Quantization;

use crate::cli::arguments::Format;

/// Most runs that a command may be asked for.
const MOST_RUNS: u64 = 1_000_000_000;

/// `lumos simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The scenario's file.
    pub scenario: PathBuf,
    /// A deployment in place of the scenario's own; can be given several times.
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Vec<PathBuf>,
    /// Runs, in place of the scenario's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_RUNS))]
    pub runs: Option<u64>,
    /// Simulations with different seeds, added up: the interval of the mean is then between them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub seeds: u32,
    /// How many times as often runs arrive as the scenario says; several, separated by commas, are simulated side by side.
    #[arg(long, value_name = "F", value_delimiter = ',', value_parser = factor)]
    pub load_factor: Vec<f64>,
    /// Threads [default: one for each processor]. The results don't depend on them.
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(..=1024))]
    pub threads: Option<usize>,
    /// Compute replicas iteration by iteration, which gives the same, slowly.
    #[arg(long)]
    pub stepwise: bool,
    /// Take lengths, durations, shares, widths and rounds from recorded runs of the workflow: `runs` for those in LUMOS_HOME,
    /// or the path of another home.
    #[arg(long, value_name = "runs|PATH")]
    pub profile_from: Option<PathBuf>,
    /// Write every simulated run to a file: the columns of `runs export`, and of which simulation it is. Simulations then
    /// follow one another.
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "FILE.parquet")]
    pub trace: Option<PathBuf>,
    /// What a row of the trace is [default: attempts].
    #[cfg(feature = "parquet")]
    #[arg(long, value_enum, value_name = "ROWS", requires = "trace")]
    pub trace_table: Option<crate::cli::runs::arguments::Rows>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos load`.
#[derive(Debug, Args)]
pub struct Load {
    /// The scenario's file.
    pub scenario: PathBuf,
    /// The deployment, in place of the scenario's own.
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// Runs, in place of what the scenario says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_RUNS))]
    pub runs: Option<u64>,
    /// Seconds during which runs arrive, in place of what the scenario says.
    #[arg(long, value_name = "SECONDS", value_parser = factor)]
    pub duration: Option<f64>,
    /// How many times as often runs arrive as the scenario says.
    #[arg(long = "load-factor", value_name = "F", default_value_t = 1.0, value_parser = factor)]
    pub factor: f64,
    /// Print beside it what is predicted for the same arrivals and the same lengths.
    #[arg(long, value_enum)]
    pub against: Option<Against>,
    /// Make so many single requests of each backend with a profile before the load, and as many after it; what is predicted is
    /// then as fast as the backends are today.
    #[arg(long, value_name = "N", requires = "against", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub recheck: Option<u32>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What a load is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// Its simulation.
    Simulated,
}

/// `lumos calibrate`.
#[derive(Debug, Args)]
pub struct Calibrate {
    /// The backend's name in the deployment.
    pub backend: String,
    /// The deployment: a file, or the name of one in `deployments/`.
    #[arg(short, long, value_name = "DEPLOYMENT", default_value = "local")]
    pub deployment: PathBuf,
    /// Where the profile is written [default: profiles/BACKEND.ron].
    #[arg(short, long, value_name = "FILE.ron")]
    pub output: Option<PathBuf>,
    /// Fewer lengths and repetitions, for a first look.
    #[arg(long = "quick")]
    pub is_quick: bool,
    /// Most requests at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub clients: u32,
    /// Tokens of an iteration, where the server's setting is known (vLLM's --max-num-batched-tokens, llama.cpp's --batch-size).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_batched_tokens: Option<u32>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `lumos plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// The scenario's file. Its deployment with `Simulated` backends is sized; the others are what it is compared with.
    pub scenario: PathBuf,
    /// A deployment in place of the scenario's own; can be given several times.
    #[arg(short, long, value_name = "DEPLOYMENT")]
    pub deployment: Vec<PathBuf>,
    /// Hardware to try, separated by commas, in place of the deployment's.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub hardware: Vec<String>,
    /// Devices that share each layer of a replica, to try.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub tensor_parallel: Vec<u32>,
    /// Formats of the weights to try: Fp16, Fp8, Int4, Mxfp4, Q8_0, Q6K, Q5KM, Q4KM.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', value_parser = quantization)]
    pub quantization: Vec<Quantization>,
    /// Most sequences in a replica's batch, to try.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub max_seqs: Vec<u32>,
    /// Most replicas of a backend.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub most_replicas: u32,
    /// What a device of some hardware costs by the hour when it is reserved, e.g. h100-sxm=2.50; can be given several times.
    #[arg(long, value_name = "NAME=USD", value_parser = device_hour)]
    pub device_hour: Vec<(String, Usd)>,
    /// Runs of each simulation of the search. Fewer than a day's curve, a cycle or a trace has are taken where it is busiest;
    /// what was found is then checked over all of it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_RUNS))]
    pub runs: Option<u64>,
    /// How many times as often runs arrive as the scenario says.
    #[arg(long, value_name = "F", default_value = "1", value_parser = factor)]
    pub load_factor: f64,
    /// Take lengths, durations, shares, widths and rounds from recorded runs of the workflow: `runs` for those in LUMOS_HOME,
    /// or the path of another home.
    #[arg(long, value_name = "runs|PATH")]
    pub profile_from: Option<PathBuf>,
    /// Draw what each break-even depends on (a tornado chart) into a file.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

fn quantization(text: &str) -> Result<Quantization, String> {
    Quantization::ALL.into_iter().find(|format| format!("{format:?}").eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<String> = Quantization::ALL.iter().map(|format| format!("{format:?}")).collect();
        let near = lumos::core::problem::nearest(text, names.iter().map(String::as_str));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        format!("it is one of {}{near}", names.join(", "))
    })
}

fn device_hour(text: &str) -> Result<(String, Usd), String> {
    let (name, usd) = text.split_once('=').ok_or("NAME=USD, e.g. h100-sxm=2.50")?;
    let usd: Usd = usd.parse().map_err(|error| format!("{error}"))?;
    if usd < Usd::ZERO { Err("a price is at least 0".to_owned()) } else { Ok((name.to_owned(), usd)) }
}

fn factor(text: &str) -> Result<f64, String> {
    /// Seconds of a load, or times as often.
    const MOST: f64 = 1e9;
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= MOST => Ok(factor),
        Ok(factor) if factor > MOST => Err(format!("a number of at most {MOST}")),
        _ => Err("a number above 0, e.g. 0.5".to_owned()),
    }
}
