//! Why a simulation says nothing.

use thiserror::Error;

use crate::replica::ReplicaError;

/// Why a simulation says nothing.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SimError {
    /// A pool of replicas cannot be.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The clock has no more room.
    #[error("runs go on after {} days, and the simulated clock ends there", end_us / 86_400_000_000)]
    EndOfTime {
        /// When it ends, in microseconds.
        end_us: u64,
    },
    /// Runs follow one another without any time passing.
    #[error("time stands still at {} s: {runs} runs began there, one after the other", *at_us as f64 / 1e6)]
    StandsStill {
        /// When.
        at_us: u64,
        /// Runs that began then.
        runs: u64,
    },
    /// More clients than there is room for.
    #[error("{clients} clients are more than the {MOST_CLIENTS} that can be simulated")]
    Crowd {
        /// Clients, with the load factor.
        clients: u64,
    },
    /// Nobody arrived after the warm-up.
    #[error("no run counts: {}", none_counts(*runs, *warmup_runs))]
    NoneCounts {
        /// Runs that arrived, or were to arrive.
        runs: u64,
        /// Runs that are left out of the results.
        warmup_runs: u64,
    },
}

/// Most clients of a closed loop.
pub(crate) const MOST_CLIENTS: u64 = 10_000_000;

fn none_counts(runs: u64, warmup_runs: u64) -> String {
    match (runs, warmup_runs) {
        (0, _) => "none arrives".to_owned(),
        (1, _) => format!("1 run arrives, and the first {warmup_runs} warm up"),
        (runs, _) => format!("{runs} runs arrive, and the first {warmup_runs} warm up"),
    }
}

impl SimError {
    /// Where in a scenario one would look, and what would help.
    pub fn place(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Replica(_) => None,
            Self::EndOfTime { .. } => Some((
                "workload",
                "let runs arrive more often, or fewer of them; with replicas, whose clocks count picoseconds, half a year is all",
            )),
            Self::StandsStill { .. } => {
                Some(("workload.arrivals.think_s", "let clients think, or say how long nodes take: `duration_s`"))
            }
            Self::Crowd { .. } => Some(("workload.arrivals.clients", "fewer clients, or a smaller load factor")),
            Self::NoneCounts { runs: 0, .. } => Some(("workload", "let it last longer, or let runs arrive more often")),
            Self::NoneCounts { .. } => Some((
                "workload.warmup_runs",
                "lower `warmup_runs`, or let more runs arrive: `runs`, `duration_s`, `--runs`",
            )),
        }
    }
}
