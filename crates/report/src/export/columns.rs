//! The columns of the tables that records are exported to; `docs/records.md` lists them for people.

use lumos_core::{AttemptRecord, Basis, Destination, RunRecord, Status, StepRecord, Usd};

use super::ExportError;
use crate::{label, steps};

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTable {
    /// A run.
    Runs,
    /// A step of a run.
    Steps,
    /// An attempt of a step.
    Attempts,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportKind {
    /// UTF-8.
    Text,
    /// A signed integer of 64 bits.
    Integer,
    /// An unsigned integer of 64 bits.
    Unsigned,
    /// Dollars: `DECIMAL(18, 9)`.
    Money,
    /// A moment in UTC, to the microsecond.
    Timestamp,
    /// True or false.
    Boolean,
    /// A floating-point number of 64 bits.
    Real,
}

/// A column.
pub struct ExportColumn {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ExportKind,
    of: fn(&Row) -> Cell,
}

/// What stands in a row's column; `None` is what nobody knows or what does not exist.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(Option<String>),
    /// Integers, nano-dollars, and microseconds since the Unix epoch.
    Number(Option<i64>),
    Boolean(Option<bool>),
    Real(Option<f64>),
}

/// What is said of a simulated run beside its record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulation<'s> {
    /// The scenario's name.
    pub scenario: &'s str,
    /// How many times as often runs arrived as the scenario says.
    pub load_factor: f64,
    /// The seed of the whole simulation.
    pub seed: u64,
    /// Whether the run is past the warm-up.
    pub counts: bool,
}

/// What a row is made of.
pub(super) struct Row<'r> {
    run: &'r RunRecord,
    /// Of the run's start.
    started_us: Option<i64>,
    /// With its whole name.
    step: Option<(&'r StepRecord, &'r str)>,
    attempt: Option<&'r AttemptRecord>,
    simulation: Option<Simulation<'r>>,
}

impl ExportTable {
    /// Its columns, in order.
    pub fn columns(self) -> &'static [ExportColumn] {
        match self {
            Self::Runs => RUNS,
            Self::Steps => STEPS,
            Self::Attempts => ATTEMPTS,
        }
    }

    /// Its columns, and those that say of which simulation a row is.
    #[cfg(feature = "parquet")]
    pub(super) fn columns_of(self, is_simulated: bool) -> impl Iterator<Item = &'static ExportColumn> {
        self.columns().iter().chain(if is_simulated { SIMULATION } else { &[] })
    }

    /// Calls `take` with each row of a run.
    pub(super) fn rows(
        self,
        run: &RunRecord,
        simulation: Option<Simulation<'_>>,
        mut take: impl FnMut(Vec<Cell>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let started_us = run.started_at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        let mut add = |step, attempt| {
            let row = Row { run, started_us, step, attempt, simulation };
            let more = if simulation.is_some() { SIMULATION } else { &[] };
            take(self.columns().iter().chain(more).map(|column| column.cell(&row)).collect::<Result<_, _>>()?)
        };
        if self == Self::Runs {
            return add(None, None);
        }
        for (step, name) in run.steps.iter().zip(&label::step_names(run)) {
            let named = Some((step, name.as_str()));
            if self == Self::Steps {
                add(named, None)?;
                continue;
            }
            for attempt in &step.attempts {
                add(named, Some(attempt))?;
            }
        }
        Ok(())
    }
}

impl ExportColumn {
    const fn new(name: &'static str, kind: ExportKind, of: fn(&Row) -> Cell) -> Self {
        Self { name, kind, of }
    }

    fn cell(&self, row: &Row) -> Result<Cell, ExportError> {
        let cell = (self.of)(row);
        // Eighteen digits.
        let is_over = matches!(cell, Cell::Number(Some(nanos)) if nanos.unsigned_abs() >= 1_000_000_000_000_000_000);
        if self.kind == ExportKind::Money && is_over {
            let reason = format!("its {} has more than nine digits before the point", self.name);
            return Err(ExportError::Record { run: row.run.run_id.clone(), reason });
        }
        Ok(cell)
    }
}

impl Row<'_> {
    fn step<T>(&self, of: impl FnOnce(&StepRecord) -> Option<T>) -> Option<T> {
        self.step.and_then(|(step, _)| of(step))
    }

    fn attempt<T>(&self, of: impl FnOnce(&AttemptRecord) -> Option<T>) -> Option<T> {
        self.attempt.and_then(of)
    }
}

fn text(text: impl Into<Option<String>>) -> Cell {
    Cell::Text(text.into())
}

fn word(word: Option<&'static str>) -> Cell {
    Cell::Text(word.map(str::to_owned))
}

fn number(number: Option<u64>) -> Cell {
    Cell::Number(number.and_then(|number| i64::try_from(number).ok()))
}

fn money(amount: Option<Usd>) -> Cell {
    // What does not fit is refused by the column.
    Cell::Number(amount.map(|amount| i64::try_from(amount.nanos()).unwrap_or(i64::MAX)))
}

fn side(destination: Destination) -> &'static str {
    match destination {
        Destination::Inside => "inside",
        Destination::Outside => "outside",
    }
}

fn is_over(status: Status) -> bool {
    !matches!(status, Status::Running | Status::Paused)
}

use ExportKind::{Boolean, Integer, Money, Real, Text, Timestamp, Unsigned};

type C = ExportColumn;

const RUN_ID: C = C::new("run_id", Text, |row| text(row.run.run_id.clone()));
const WORKFLOW: C = C::new("workflow", Text, |row| text(row.run.workflow.clone()));
const DEPLOYMENT: C = C::new("deployment", Text, |row| text(row.run.deployment.clone()));
const STARTED_AT: C = C::new("started_at", Timestamp, |row| Cell::Number(row.started_us));
const STEP: C = C::new("step", Text, |row| text(row.step.map(|(_, name)| name.to_owned())));
const NODE: C = C::new("node", Text, |row| text(row.step(|step| Some(step.node.clone()))));
const PATH: C =
    C::new("path", Text, |row| text(row.step(|step| Some(step.path.join("/")).filter(|path| !path.is_empty()))));
const INDEX: C = C::new("index", Integer, |row| number(row.step(|step| step.index.map(u64::from))));
const ITERATION: C = C::new("iteration", Integer, |row| number(row.step(|step| step.iteration.map(u64::from))));
const KIND: C = C::new("kind", Text, |row| text(row.step(|step| Some(step.kind.clone()))));
const AGENT: C = C::new("agent", Text, |row| text(row.step(|step| step.agent.clone())));

static RUNS: &[C] = &[
    RUN_ID,
    WORKFLOW,
    DEPLOYMENT,
    // A column of 64 bits without a sign holds the same bits.
    C::new("seed", Unsigned, |row| Cell::Number(Some(row.run.seed.cast_signed()))),
    C::new("status", Text, |row| word(Some(row.run.status.as_str()))),
    STARTED_AT,
    C::new("duration_us", Integer, |row| number(Some(row.run.totals.duration_us).filter(|_| is_over(row.run.status)))),
    C::new("critical_path_us", Integer, |row| {
        number(Some(row.run.totals.critical_path_us).filter(|_| is_over(row.run.status)))
    }),
    C::new("cost_usd", Money, |row| money(row.run.totals.cost_usd)),
    C::new("cost_complete", Boolean, |row| Cell::Boolean(Some(row.run.totals.cost_complete))),
    C::new("reserved_usd", Money, |row| money(row.run.totals.reserved_usd)),
    C::new("saved_usd", Money, |row| money(row.run.totals.saved_usd)),
    C::new("input_tokens", Integer, |row| number(row.run.totals.input_tokens)),
    C::new("cached_input_tokens", Integer, |row| number(row.run.totals.cached_input_tokens)),
    C::new("output_tokens", Integer, |row| number(row.run.totals.output_tokens)),
    C::new("attempts", Integer, |row| number(Some(row.run.totals.attempts))),
    C::new("bytes_outside", Integer, |row| number(row.run.totals.bytes_outside)),
    C::new("forked_from", Text, |row| text(row.run.forked_from.clone())),
    C::new("error", Text, |row| text(row.run.error.as_ref().map(|error| error.message.clone()))),
];

static STEPS: &[C] = &[
    RUN_ID,
    WORKFLOW,
    DEPLOYMENT,
    STARTED_AT,
    STEP,
    NODE,
    PATH,
    INDEX,
    ITERATION,
    KIND,
    AGENT,
    C::new("status", Text, |row| word(row.step(|step| Some(step.status.as_str())))),
    C::new("ready_us", Integer, |row| number(row.step(|step| step.ready_us))),
    C::new("end_us", Integer, |row| number(row.step(|step| step.end_us))),
    C::new("critical_us", Integer, |row| number(row.step(|step| step.critical_us))),
    C::new("attempts", Integer, |row| number(row.step(|step| Some(step.attempts.len() as u64)))),
    C::new("decision", Text, |row| text(row.step(|step| Some(step.decision.as_ref()?.verdict.clone())))),
    C::new("decided_by", Text, |row| word(row.step(|step| Some(step.decision.as_ref()?.by.as_str())))),
    C::new("decision_reason", Text, |row| text(row.step(|step| step.decision.as_ref()?.reason.clone()))),
    C::new("error", Text, |row| text(row.step(|step| step.error.as_ref().map(|error| error.message.clone())))),
];

static ATTEMPTS: &[C] = &[
    RUN_ID,
    WORKFLOW,
    DEPLOYMENT,
    STARTED_AT,
    STEP,
    NODE,
    PATH,
    INDEX,
    ITERATION,
    KIND,
    AGENT,
    C::new("attempt", Integer, |row| number(row.attempt(|it| Some(it.attempt.into())))),
    C::new("backend", Text, |row| text(row.attempt(|it| it.backend.clone()))),
    C::new("model", Text, |row| text(row.attempt(|it| it.model.clone()))),
    C::new("provider", Text, |row| text(row.attempt(|it| it.provider.clone()))),
    C::new("status", Text, |row| word(row.attempt(|it| Some(it.status.as_str())))),
    C::new("start_us", Integer, |row| number(row.attempt(|it| Some(it.start_us)))),
    C::new("queue_us", Integer, |row| number(row.attempt(|it| Some(it.queue_us).filter(|_| is_over(it.status))))),
    C::new("ttft_us", Integer, |row| number(row.attempt(|it| it.ttft_us))),
    C::new("duration_us", Integer, |row| number(row.attempt(|it| Some(it.duration_us).filter(|_| is_over(it.status))))),
    C::new("input_tokens", Integer, |row| number(row.attempt(|it| it.usage.input_tokens))),
    C::new("cached_input_tokens", Integer, |row| number(row.attempt(|it| it.usage.cached_input_tokens))),
    C::new("cache_write_tokens", Integer, |row| number(row.attempt(|it| it.usage.cache_write_tokens))),
    C::new("output_tokens", Integer, |row| number(row.attempt(|it| it.usage.output_tokens))),
    C::new("reasoning_tokens", Integer, |row| number(row.attempt(|it| it.usage.reasoning_tokens))),
    C::new("prescribed_tokens", Integer, |row| number(row.attempt(|it| it.usage.prescribed_tokens))),
    C::new("cost_usd", Money, |row| money(row.attempt(|it| it.cost_usd))),
    C::new("saved_usd", Money, |row| money(row.attempt(|it| it.saved_usd))),
    C::new("bytes_sent", Integer, |row| number(row.attempt(|it| it.bytes_sent))),
    C::new("destination", Text, |row| word(row.attempt(|it| Some(side(it.destination))))),
    C::new("finish_reason", Text, |row| word(row.attempt(|it| it.finish_reason).map(steps::finish))),
    C::new("request_id", Text, |row| text(row.attempt(|it| it.request_id.clone()))),
    C::new("error", Text, |row| text(row.attempt(|it| it.error.as_ref().map(|error| error.message.clone())))),
    C::new("shared", Boolean, |row| Cell::Boolean(row.attempt(|it| Some(it.shared)))),
    C::new("latency_basis", Text, |row| basis(row.attempt(|it| Some(it.basis.latency)))),
    C::new("tokens_basis", Text, |row| basis(row.attempt(|it| it.basis.tokens))),
    C::new("cost_basis", Text, |row| basis(row.attempt(|it| it.basis.cost))),
];

static SIMULATION: &[C] = &[
    C::new("basis", Text, |row| basis(row.simulation.map(|_| Basis::Simulated))),
    C::new("scenario", Text, |row| text(row.simulation.map(|it| it.scenario.to_owned()))),
    C::new("load_factor", Real, |row| Cell::Real(row.simulation.map(|it| it.load_factor))),
    C::new("simulation_seed", Unsigned, |row| Cell::Number(row.simulation.map(|it| it.seed.cast_signed()))),
    C::new("counts", Boolean, |row| Cell::Boolean(row.simulation.map(|it| it.counts))),
];

fn basis(basis: Option<Basis>) -> Cell {
    word(basis.map(steps::basis))
}
