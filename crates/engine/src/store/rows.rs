//! A run's outline as rows of `runs` and `endings`, for lists, filters and people's queries.

use lumos_core::Usd;
use lumos_core::program::{AttemptOutline, Outline, StepOutline};
use lumos_core::record::Totals;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// Columns of `runs` that are known when a run pauses or ends.
pub(super) const UPDATE_RUN: &str = "
    UPDATE runs SET status = ?3, duration_us = ?4, critical_path_us = ?5, cost_nano = ?6, cost_complete = ?7,
        input_tokens = ?8, cached_input_tokens = ?9, output_tokens = ?10, attempts = ?11, bytes_outside = ?12,
        owner = NULL
    WHERE id = ?1 AND epoch = ?2
";

/// Replaces what is said about the steps of a run.
pub(super) const WRITE_ENDING: &str = "
    INSERT INTO endings (run, steps) VALUES (?1, ?2)
    ON CONFLICT (run) DO UPDATE SET steps = excluded.steps
";

/// Room for a step with one attempt.
const STEP: usize = 256;

/// What is known of a run, without contents.
pub(crate) struct Rows {
    pub(super) status: &'static str,
    pub(super) totals: Totals,
    /// As `endings` has them.
    pub(super) steps: String,
}

impl Rows {
    /// Of a run that has paused or ended.
    pub(crate) fn of(outline: &Outline<'_>) -> Self {
        let mut json = Vec::with_capacity(outline.steps.len() * STEP);
        // Neither writing to memory nor texts and numbers can fail.
        let written = serde_json::to_writer(&mut json, &Each(&outline.steps, StepRow));
        debug_assert!(written.is_ok());
        // JSON is UTF-8.
        let steps = String::from_utf8(json).unwrap_or_default();
        Self { status: outline.status.as_str(), totals: outline.totals, steps }
    }
}

/// An array of rows.
struct Each<'r, T, R>(&'r [T], fn(&'r T) -> R);

impl<T, R: Serialize> Serialize for Each<'_, T, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

/// A step as an array of the columns of the view `steps`, its attempts before what was decided.
struct StepRow<'r>(&'r StepOutline<'r>);

impl Serialize for StepRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let step = self.0;
        let path = (!step.path.is_empty()).then(|| step.path.join("/"));
        let mut row = serializer.serialize_seq(None)?;
        row.serialize_element(&step.node.name)?;
        row.serialize_element(&path)?;
        row.serialize_element(&step.index)?;
        row.serialize_element(&step.iteration)?;
        row.serialize_element(step.node.kind)?;
        row.serialize_element(&step.node.agent)?;
        row.serialize_element(&step.status)?;
        row.serialize_element(&step.failure.map(|failure| &failure.message))?;
        row.serialize_element(&step.ready_us)?;
        row.serialize_element(&step.end_us)?;
        row.serialize_element(&step.critical_us)?;
        row.serialize_element(&Each(&step.attempts, AttemptRow))?;
        if let Some((verdict, by)) = &step.verdict {
            row.serialize_element(verdict)?;
            row.serialize_element(by)?;
        }
        row.end()
    }
}

/// An attempt as an array of the columns of the view `attempts`.
struct AttemptRow<'r>(&'r AttemptOutline<'r>);

impl Serialize for AttemptRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attempt = self.0;
        let (trace, backend, report) = (attempt.trace, attempt.backend, attempt.report());
        let (usage, basis) = (attempt.usage(), attempt.basis());
        let mut row = serializer.serialize_seq(None)?;
        row.serialize_element(&trace.id.number)?;
        row.serialize_element(&backend.map(|backend| &backend.backend))?;
        row.serialize_element(&backend.map(|backend| &backend.model))?;
        row.serialize_element(&backend.map(|backend| &backend.provider))?;
        row.serialize_element(&trace.status)?;
        row.serialize_element(&attempt.start_us())?;
        row.serialize_element(&attempt.queue_us())?;
        row.serialize_element(&report.and_then(|report| report.ttft_us))?;
        row.serialize_element(&attempt.duration_us())?;
        for tokens in [usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.reasoning_tokens] {
            row.serialize_element(&tokens)?;
        }
        row.serialize_element(&attempt.cost().map(nano))?;
        row.serialize_element(&attempt.bytes_sent())?;
        row.serialize_element(&attempt.destination())?;
        row.serialize_element(&report.and_then(|report| report.finish_reason))?;
        row.serialize_element(&report.and_then(|report| report.request_id.as_deref()))?;
        row.serialize_element(&trace.failure.as_deref().map(|failure| &failure.message))?;
        row.serialize_element(&basis.latency)?;
        row.serialize_element(&basis.tokens)?;
        row.serialize_element(&basis.cost)?;
        if attempt.shared {
            row.serialize_element(&true)?;
        }
        row.end()
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
