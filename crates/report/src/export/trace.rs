//! Runs as Trace Event Format, which Perfetto and `chrome://tracing` open: a process per run, tracks per node, a slice
//! per step and attempt, arrows along the critical path.
//!
//! Slices of one track nest or do not touch, as the format demands: what goes on at the same time is on several tracks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use lumos_core::{AttemptRecord, RunRecord, StepRecord};
use serde_json::{Value, json};

use super::ExportError;
use crate::label;
use crate::timeline::tree;

/// Writes events.
pub struct Trace<W: Write> {
    writer: W,
    count: usize,
    runs: u64,
    /// When the first run started, in microseconds since the Unix epoch.
    origin_us: Option<i64>,
}

/// The tracks of a run.
#[derive(Default)]
struct Tracks {
    /// The node, and until when the track is taken.
    all: Vec<(String, u64)>,
    of: BTreeMap<String, Vec<usize>>,
}

impl Tracks {
    /// A track of `node` that is free from `from` on, taken until `to`.
    fn take(&mut self, node: &str, from: u64, to: u64) -> usize {
        let mine = self.of.entry(node.to_owned()).or_default();
        let free = mine.iter().copied().find(|track| self.all[*track].1 <= from);
        let track = free.unwrap_or_else(|| {
            mine.push(self.all.len());
            let name = if mine.len() == 1 { node.to_owned() } else { format!("{node} ({})", mine.len()) };
            self.all.push((name, 0));
            self.all.len() - 1
        });
        self.all[track].1 = to;
        track
    }
}

impl<W: Write> Trace<W> {
    pub fn new(mut writer: W) -> Result<Self, ExportError> {
        writer.write_all(b"{\"displayTimeUnit\": \"ms\", \"traceEvents\": [")?;
        Ok(Self { writer, count: 0, runs: 0, origin_us: None })
    }

    pub fn finish(mut self) -> Result<W, ExportError> {
        self.writer.write_all(b"\n]}\n")?;
        Ok(self.writer)
    }

    pub fn add(&mut self, record: &RunRecord) -> Result<(), ExportError> {
        self.runs += 1;
        let started_us = record.started_at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        let origin_us = *self.origin_us.get_or_insert(started_us.unwrap_or_default());
        let base_us = u64::try_from(started_us.unwrap_or(origin_us) - origin_us).unwrap_or_default();
        let mut run = Run { trace: self, record, pid: 0, base_us, tracks: Tracks::default() };
        run.pid = run.trace.runs;
        run.write()?;
        Ok(())
    }

    fn event(&mut self, event: &Value) -> io::Result<()> {
        self.writer.write_all(if self.count == 0 { b"\n" } else { b",\n" })?;
        self.count += 1;
        serde_json::to_writer(&mut self.writer, event).map_err(io::Error::from)
    }
}

struct Run<'t, 'r, W: Write> {
    trace: &'t mut Trace<W>,
    record: &'r RunRecord,
    pid: u64,
    base_us: u64,
    tracks: Tracks,
}

/// Where a step's slice is.
struct Place {
    track: usize,
    from: u64,
    to: u64,
}

impl<W: Write> Run<'_, '_, W> {
    fn write(&mut self) -> io::Result<()> {
        let record = self.record;
        let title = format!("{} {}", record.workflow, record.run_id);
        self.meta("process_name", None, json!({ "name": title }))?;
        self.meta("process_sort_index", None, json!({ "sort_index": self.pid }))?;
        let names = label::step_names(record);
        let mut steps: Vec<(&StepRecord, &str, u64, u64)> = Vec::new();
        for (step, name) in record.steps.iter().zip(&names) {
            if let Some(span) = tree::span(step, record.totals.duration_us) {
                // Attempts belong to their step even where they were settled after it.
                let last = step.attempts.iter().map(tree::end_us).max().unwrap_or_default();
                let first = step.attempts.iter().map(|attempt| attempt.start_us).min().unwrap_or(span.start);
                steps.push((step, name, span.start.min(first), span.end.max(last)));
            }
        }
        // Tracks are taken in the order of time.
        steps.sort_by_key(|(_, _, from, _)| *from);
        let mut path: Vec<Place> = Vec::new();
        for (step, name, from, to) in steps {
            let node: String =
                step.path.iter().flat_map(|outer| [outer.as_str(), "/"]).chain([step.node.as_str()]).collect();
            let track = self.tracks.take(&node, from, to);
            let arguments = json!({
                "status": step.status, "kind": step.kind, "agent": step.agent, "critical_us": step.critical_us,
                "error": step.error.as_ref().map(|error| &error.message),
            });
            self.slice(name, "step", track, (from, to), arguments)?;
            self.attempts(step, &node, track)?;
            if tree::is_critical(step) {
                path.push(Place { track, from, to });
            }
        }
        self.arrows(&path)?;
        for track in 0..self.tracks.all.len() {
            let name = self.tracks.all[track].0.clone();
            self.meta("thread_name", Some(track), json!({ "name": name }))?;
            self.meta("thread_sort_index", Some(track), json!({ "sort_index": track }))?;
        }
        Ok(())
    }

    fn attempts(&mut self, step: &StepRecord, node: &str, track: usize) -> io::Result<()> {
        let mut attempts: Vec<(usize, &AttemptRecord)> = step.attempts.iter().enumerate().collect();
        attempts.sort_by_key(|(_, attempt)| (attempt.start_us, attempt.attempt));
        let mut taken = 0;
        for (at, attempt) in attempts {
            let (from, to) = (attempt.start_us, tree::end_us(attempt));
            // What goes on beside another attempt of its step needs a track of its own.
            let track = if from < taken { self.tracks.take(&format!("{node} (beside)"), from, to) } else { track };
            taken = taken.max(to);
            let why = tree::reason(step, at).map(|why| format!(" ({why})")).unwrap_or_default();
            let arguments = serde_json::to_value(attempt).map_err(io::Error::from)?;
            self.slice(
                &format!("try {}{why}", attempt.attempt),
                attempt.status.as_str(),
                track,
                (from, to),
                arguments,
            )?;
            let started = from.saturating_add(attempt.queue_us);
            if attempt.queue_us > 0 {
                self.slice("waiting for the backend", "queue", track, (from, started), json!({}))?;
            }
            if let Some(ttft_us) = attempt.ttft_us {
                let first = started.saturating_add(ttft_us).min(to);
                self.slice("until the first token", "ttft", track, (started, first), json!({}))?;
            }
        }
        Ok(())
    }

    /// From the end of each step of the critical path to the start of the next.
    fn arrows(&mut self, path: &[Place]) -> io::Result<()> {
        for (number, pair) in path.windows(2).enumerate() {
            let id = self.pid * 1_000_000 + number as u64;
            let common = |phase: &str, place: &Place, at: u64| {
                json!({
                    "ph": phase, "name": "critical path", "cat": "critical", "id": id, "pid": self.pid,
                    "tid": place.track, "ts": self.base_us + at, "bp": "e",
                })
            };
            // The arrow's ends must lie within the slices.
            let begin = common("s", &pair[0], pair[0].to.saturating_sub(1).max(pair[0].from));
            let end = common("f", &pair[1], pair[1].from);
            self.trace.event(&begin)?;
            self.trace.event(&end)?;
        }
        Ok(())
    }

    fn slice(
        &mut self,
        name: &str,
        category: &str,
        track: usize,
        span: (u64, u64),
        arguments: Value,
    ) -> io::Result<()> {
        self.trace.event(&json!({
            "ph": "X", "name": name, "cat": category, "pid": self.pid, "tid": track,
            "ts": self.base_us.saturating_add(span.0), "dur": span.1.saturating_sub(span.0), "args": arguments,
        }))
    }

    fn meta(&mut self, name: &str, track: Option<usize>, arguments: Value) -> io::Result<()> {
        let mut event = json!({ "ph": "M", "name": name, "pid": self.pid, "args": arguments });
        if let Some(track) = track {
            event["tid"] = track.into();
        }
        self.trace.event(&event)
    }
}
