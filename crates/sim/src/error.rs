//! Why a simulation says nothing.

use thiserror::Error;

use crate::replica::ReplicaError;

/// Why a simulation says nothing.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SimError {
    /// A pool of replicas cannot be.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// Nobody arrived after the warm-up.
    #[error("no run counts: {}", none_counts(*runs, *warmup_runs))]
    NoneCounts {
        /// Runs that arrived, or were to arrive.
        runs: u64,
        /// Runs that are left out of the results.
        warmup_runs: u64,
    },
}

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
            Self::NoneCounts { runs: 0, .. } => Some(("workload", "let it last longer, or let runs arrive more often")),
            Self::NoneCounts { .. } => Some((
                "workload.warmup_runs",
                "lower `warmup_runs`, or let more runs arrive: `runs`, `duration_s`, `--runs`",
            )),
        }
    }
}
