//! What a run took, from its record.

use lumos_core::record::{AttemptRecord, RunRecord, Status};
use lumos_core::{Basis, Usd};
use serde::{Deserialize, Serialize};

/// What a run took. Unknown figures are `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Microseconds from start to end.
    pub duration_us: u64,
    /// Microseconds from sending to the first token, at the last step that a model answered.
    pub ttft_us: Option<u64>,
    /// The known costs; `null` when none is known.
    pub cost_usd: Option<Usd>,
    /// Whether all costs are known.
    pub cost_complete: bool,
    /// What answers from the response cache cost when they were first given.
    pub saved_usd: Option<Usd>,
    /// Tokens of prompts.
    pub input_tokens: Option<u64>,
    /// Tokens of answers.
    pub output_tokens: Option<u64>,
    /// Bytes that left the trust boundary; `null` when unknown.
    pub bytes_outside: Option<u64>,
    /// Attempts.
    pub attempts: u64,
    /// Where the tokens come from; `null` without any.
    pub tokens_basis: Option<Basis>,
    /// Where the cost comes from; `null` without any.
    pub cost_basis: Option<Basis>,
}

impl Figures {
    /// Those of a run.
    pub fn of(record: &RunRecord) -> Self {
        let totals = &record.totals;
        let attempts = || record.steps.iter().flat_map(|step| &step.attempts);
        // The weakest counts.
        let weakest = |of: fn(&AttemptRecord) -> Option<Basis>| attempts().filter_map(of).max();
        let answered = |attempt: &&AttemptRecord| attempt.status == Status::Succeeded && attempt.ttft_us.is_some();
        let last = record.steps.iter().filter_map(|step| step.attempts.iter().rfind(answered)).next_back();
        Self {
            duration_us: totals.duration_us,
            ttft_us: last.and_then(|attempt| Some(attempt.queue_us + attempt.ttft_us?)),
            cost_usd: totals.cost_usd,
            cost_complete: totals.cost_complete,
            saved_usd: totals.saved_usd,
            input_tokens: totals.input_tokens,
            output_tokens: totals.output_tokens,
            bytes_outside: totals.bytes_outside,
            attempts: totals.attempts,
            tokens_basis: weakest(|attempt| attempt.basis.tokens),
            cost_basis: weakest(|attempt| attempt.basis.cost),
        }
    }

    /// The whole cost; `None` when a part of it is unknown.
    pub fn known_cost(&self) -> Option<Usd> {
        self.cost_usd.filter(|_| self.cost_complete)
    }
}
