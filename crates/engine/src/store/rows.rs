//! A record as rows of `runs`, `steps` and `attempts`, for lists, filters and people's queries.

use lumos_core::record::{AttemptRecord, RunRecord, StepRecord, Totals};
use lumos_core::{Destination, Usd};
use rusqlite::{Connection, params};
use serde::Serialize;

/// Columns of `runs` that are known when a run pauses or ends.
pub(super) const UPDATE_RUN: &str = "
    UPDATE runs SET status = ?3, duration_us = ?4, critical_path_us = ?5, cost_nano = ?6, cost_complete = ?7,
        input_tokens = ?8, cached_input_tokens = ?9, output_tokens = ?10, attempts = ?11, bytes_outside = ?12,
        owner = NULL
    WHERE id = ?1 AND epoch = ?2
";

const INSERT_STEP: &str = "
    INSERT INTO steps (run, step, node, path, idx, iteration, kind, agent, status, error, ready_us, end_us, critical_us)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
";

const INSERT_ATTEMPT: &str = "
    INSERT INTO attempts (run, step, attempt, backend, model, provider, status, start_us, queue_us, ttft_us, duration_us,
        input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, cost_nano, bytes_sent, destination,
        finish_reason, request_id, error, latency_basis, tokens_basis, cost_basis)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)
";

/// What a record says about a run, without contents.
pub(crate) struct Rows {
    pub(super) status: &'static str,
    pub(super) totals: Totals,
    steps: Vec<StepRecord>,
}

impl Rows {
    /// Of a run that has paused or ended.
    pub(crate) fn of(record: RunRecord) -> Self {
        Self { status: record.status.as_str(), totals: record.totals, steps: record.steps }
    }

    /// Replaces what the tables say about the steps of a run.
    pub(super) fn write_steps(&self, connection: &Connection, run: i64, is_first: bool) -> rusqlite::Result<()> {
        if !is_first {
            connection.execute("DELETE FROM steps WHERE run = ?1", [run])?;
            connection.execute("DELETE FROM attempts WHERE run = ?1", [run])?;
        }
        let mut insert_step = connection.prepare_cached(INSERT_STEP)?;
        let mut insert_attempt = connection.prepare_cached(INSERT_ATTEMPT)?;
        for (number, step) in self.steps.iter().enumerate() {
            let error = step.error.as_ref().map(|error| error.message.as_str());
            insert_step.execute(params![
                run,
                number as i64,
                step.node,
                (!step.path.is_empty()).then(|| step.path.join("/")),
                step.index,
                step.iteration,
                step.kind,
                step.agent,
                step.status.as_str(),
                error,
                step.ready_us.map(int),
                step.end_us.map(int),
                step.critical_us.map(int),
            ])?;
            for attempt in &step.attempts {
                write_attempt(&mut insert_attempt, run, number as i64, attempt)?;
            }
        }
        Ok(())
    }
}

fn write_attempt(
    insert: &mut rusqlite::CachedStatement<'_>,
    run: i64,
    step: i64,
    attempt: &AttemptRecord,
) -> rusqlite::Result<usize> {
    let destination = match attempt.destination {
        Destination::Inside => "inside",
        Destination::Outside => "outside",
    };
    insert.execute(params![
        run,
        step,
        attempt.attempt,
        attempt.backend,
        attempt.model,
        attempt.provider,
        attempt.status.as_str(),
        int(attempt.start_us),
        int(attempt.queue_us),
        attempt.ttft_us.map(int),
        int(attempt.duration_us),
        attempt.usage.input_tokens.map(int),
        attempt.usage.cached_input_tokens.map(int),
        attempt.usage.output_tokens.map(int),
        attempt.usage.reasoning_tokens.map(int),
        attempt.cost_usd.map(nano),
        int(attempt.bytes_sent),
        destination,
        attempt.finish_reason.as_ref().and_then(word),
        attempt.request_id,
        attempt.error.as_ref().map(|error| error.message.as_str()),
        word(&attempt.basis.latency),
        attempt.basis.tokens.as_ref().and_then(word),
        attempt.basis.cost.as_ref().and_then(word),
    ])
}

/// The word that records use for something.
fn word(value: &impl Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

/// SQLite's integers have a sign.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Nano-dollars.
pub(super) fn nano(usd: Usd) -> i64 {
    i64::try_from(usd.nanos()).unwrap_or(i64::MAX)
}
