//! Throughput and processor time of the engine without a sink, with telemetry on and a receiver that takes everything,
//! with a collector that is not there, and with one that never answers; in turn, in one run. Then the last two once more, in
//! bursts of 50 ms beside bursts without a sink, which tells a hundredth.
//!
//! `bench-telemetry FOLDER [--bursts]` writes `results.csv` there, with `--bursts` of the bursts only;
//! `bench-telemetry --receiver` is the receiver. `ratios.py` says what the modes cost.

mod engine;
mod receiver;

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use engine::{Bench, Mode};

const ROUNDS: usize = 101;
/// Rounds with the measures that take long.
const LONG_ROUNDS: usize = 5;

/// How long what waits may be sent after a measure, outside the timing: by a receiver that takes it, and by others.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn main() {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let rounds = if std::env::args().any(|argument| argument == "--bursts") { 0 } else { ROUNDS };
    if argument == "--receiver" {
        return receiver::serve();
    }
    let (child, live) = receiver();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_url = format!("http://{}", silent.local_addr().expect("an address"));
    let modes = [
        ("none", Mode::None),
        ("live", Mode::To(live.clone(), None, LONG)),
        ("dead", Mode::To("http://127.0.0.1:9".to_owned(), None, SHORT)),
        ("silent", Mode::To(silent_url, None, SHORT)),
    ];
    let bench = Bench::new();
    let path = std::path::Path::new(&argument).join("results.csv");
    let mut csv = "measure,mode,round,value,left_out\n".to_owned();
    for round in 0..rounds {
        for offset in 0..modes.len() {
            // Another one begins each round.
            let (name, mode) = &modes[(offset + round) % modes.len()];
            let (value, left_out) = bench.saturated(mode);
            let _ = writeln!(csv, "saturated_runs_per_s,\"{name}\",{round},{value:.0},{left_out}");
            if round < LONG_ROUNDS {
                let (value, left_out) = bench.paced(mode);
                let _ = writeln!(csv, "paced_cpu_us_per_step,\"{name}\",{round},{value:.3},{left_out}");
            }
        }
        // After each round, so that a measure that is broken off leaves what there is.
        write(&path, &csv);
        eprintln!("round {} of {rounds}", round + 1);
    }
    // Two engines without a sink, which say what a difference means.
    let control = ("none", Mode::None);
    for (name, mode) in std::iter::once(&control).chain(&modes[2..]) {
        for (pair, found) in bench.side_by_side(mode).into_iter().enumerate() {
            for (name, value) in [(format!("none before {name}"), found[0]), (format!("{name} after none"), found[1])] {
                let _ = writeln!(csv, "burst_runs_per_s,\"{name}\",{pair},{value:.0},");
            }
        }
        write(&path, &csv);
    }
    // Last, because the memory that it takes and gives back slows the others down.
    let all = Mode::To(live, Some(usize::MAX >> 1), LONG);
    for round in 0..LONG_ROUNDS.min(rounds) {
        for (name, mode) in [("none, afterwards", &Mode::None), ("live, all runs told of", &all)] {
            let (value, left_out) = bench.saturated(mode);
            let _ = writeln!(csv, "saturated_runs_per_s,\"{name}\",{round},{value:.0},{left_out}");
        }
    }
    write(&path, &csv);
    end(child);
}

fn write(path: &std::path::Path, csv: &str) {
    std::fs::write(path, csv).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The receiver in a process of its own, and its address.
fn receiver() -> (Child, String) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program).arg("--receiver").stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("an address");
    (child, line.trim().to_owned())
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
