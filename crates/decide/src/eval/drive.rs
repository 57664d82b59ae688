//! Carries out an evaluation: the runs of every row on every side, in turns, and what scorers say of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use lumos_core::chance::combine;
use lumos_core::record::{ErrorRecord, RunRecord, Status};
use lumos_engine::{BoundProgram, CancellationToken, Engine, EngineError, RecordStore, RunRequest};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use super::case::{Case, Externals, Score, output_of, own_score, part};
use super::dataset::{Dataset, Row};
use super::figures::Figures;
use super::notes::{Notes, digest};
use super::scorer::Scorer;

/// How an evaluation is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// Runs at a time, at least 1.
    pub concurrency: usize,
    /// Runs of each row, at least 1.
    pub repeats: u32,
}

/// One of what is evaluated: a workflow on a deployment.
pub struct Side {
    /// The workflow, bound.
    pub program: Arc<BoundProgram>,
    /// What is done already.
    pub notes: Notes,
    /// Runs of the same rows, by row and repeat, that these are made after: what they asked of the same backends is not
    /// asked again. A row without one is left out.
    pub after: Option<Arc<Earlier>>,
}

/// The id of a run by its row's number and which of the row's runs it is.
pub type Earlier = BTreeMap<(usize, u32), String>;

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The row's number, from 1.
    pub row: usize,
    /// The row's line in its file.
    pub line: u32,
    /// The row's name.
    pub id: String,
    /// Which of the row's runs it is, from 0.
    pub repeat: u32,
    /// The run.
    pub run_id: String,
    /// How it ended.
    pub status: Status,
    /// Why it did not succeed.
    pub error: Option<ErrorRecord>,
    /// Its output.
    pub output: Value,
    /// The mean of its scores from 0 to 1; `null` without any.
    pub quality: Option<f64>,
    /// What each scorer says.
    pub scores: IndexMap<String, Score>,
    /// What it took.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What came of a side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// Runs that ended, in the order of rows and repeats.
    pub outcomes: Vec<Outcome>,
    /// How many of them an earlier evaluation had done.
    pub resumed: u64,
    /// Why runs or notes were not kept, of the first.
    pub lost: Option<String>,
}

/// Hears of each run that has ended, with the number of its side.
pub type Told<'a> = &'a (dyn Fn(usize, &Outcome) + Sync);

/// Makes the runs of a data set on all sides, row by row, so that what changes with time changes for all. Runs that the
/// notes of a side and the store know are not made again. `cancel` ends it; what has ended until then is there.
///
/// Sides with the same seed give a row the same seed, however the rows are ordered.
pub async fn evaluate(
    engine: &Engine,
    sides: Vec<Side>,
    dataset: &Arc<Dataset>,
    (externals, store): (&Externals, Option<&RecordStore>),
    options: EvalOptions,
    cancel: &CancellationToken,
    told: Told<'_>,
) -> Vec<Evaluation> {
    let shared = Arc::new(Shared {
        engine: engine.clone(),
        dataset: dataset.clone(),
        externals: externals.clone(),
        store: store.cloned(),
        cancel: cancel.clone(),
        programs: sides.iter().map(|side| side.program.clone()).collect(),
        after: sides.iter().map(|side| side.after.clone()).collect(),
        notes: sides.into_iter().map(|side| Mutex::new(side.notes)).collect(),
    });
    let mut work = shared.work(options).into_iter();
    let mut evaluations = vec![Evaluation::default(); shared.programs.len()];
    let mut tasks: JoinSet<(usize, Ended)> = JoinSet::new();
    loop {
        while tasks.len() < options.concurrency.max(1)
            && !cancel.is_cancelled()
            && let Some(item) = work.next()
        {
            let shared = shared.clone();
            tasks.spawn(async move { (item.side, shared.carry_out(item).await) });
        }
        let Some(ended) = tasks.join_next().await else { break };
        let Ok((side, ended)) = ended else {
            // A task that broke; which one, nobody knows.
            evaluations[0].lost.get_or_insert_with(|| "a run ended without a record".to_owned());
            continue;
        };
        let evaluation = &mut evaluations[side];
        if let Some(lost) = ended.lost {
            evaluation.lost.get_or_insert(lost);
        }
        if let Some(outcome) = ended.outcome {
            told(side, &outcome);
            evaluation.resumed += u64::from(ended.is_resumed);
            evaluation.outcomes.push(outcome);
        }
    }
    for (evaluation, notes) in evaluations.iter_mut().zip(&shared.notes) {
        evaluation.outcomes.sort_by_key(|outcome| (outcome.row, outcome.repeat));
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = if cancel.is_cancelled() { Ok(()) } else { notes.end() };
        if let Some(error) = ended.err().or_else(|| notes.lost()) {
            evaluation.lost.get_or_insert_with(|| format!("what is done could not be noted: {error}"));
        }
    }
    evaluations
}

/// A run that is to be made.
struct Item {
    side: usize,
    row: usize,
    repeat: u32,
    seed: u64,
    /// What the row's run is noted by.
    key: String,
}

/// How a run ended; without an outcome when it was cancelled or could not be begun.
struct Ended {
    outcome: Option<Outcome>,
    is_resumed: bool,
    lost: Option<String>,
}

struct Shared {
    engine: Engine,
    dataset: Arc<Dataset>,
    externals: Externals,
    store: Option<RecordStore>,
    cancel: CancellationToken,
    programs: Vec<Arc<BoundProgram>>,
    after: Vec<Option<Arc<Earlier>>>,
    notes: Vec<Mutex<Notes>>,
}

impl Shared {
    fn work(&self, options: EvalOptions) -> Vec<Item> {
        let mut again: BTreeMap<String, u64> = BTreeMap::new();
        let mut work = Vec::new();
        for (at, row) in self.dataset.rows.iter().enumerate() {
            let inputs = digest(&row.inputs);
            // Rows with the same inputs are different runs.
            let time = again.entry(inputs.clone()).or_default();
            let of_row = combine(combine(options.seed, u64::from_str_radix(&inputs, 16).unwrap_or_default()), *time);
            for repeat in 0..options.repeats.max(1) {
                let seed = combine(of_row, u64::from(repeat));
                let key = format!("{inputs}-{time}-{repeat}");
                work.extend((0..self.programs.len()).map(|side| Item {
                    side,
                    row: at,
                    repeat,
                    seed,
                    key: key.clone(),
                }));
            }
            *time += 1;
        }
        work
    }

    async fn carry_out(&self, item: Item) -> Ended {
        let row = &self.dataset.rows[item.row];
        let (record, is_resumed, lost) = if let Some(record) = self.earlier(&item) {
            (record, true, None)
        } else {
            let program = &self.programs[item.side];
            let finished = if let Some(after) = &self.after[item.side] {
                let nothing = Ended { outcome: None, is_resumed: false, lost: None };
                let Some(run_id) = after.get(&(row.number, item.repeat)) else { return nothing };
                self.engine.rerun(program, run_id, &self.cancel).await
            } else {
                let request = RunRequest { inputs: row.inputs.clone(), seed: item.seed, trace_parent: None };
                self.engine.run(program, request, &self.cancel).await
            };
            match finished {
                Ok(finished) => (finished.record(), false, None),
                Err(EngineError::Store { record, error }) => (*record, false, Some(error.to_string())),
                Err(error) => return Ended { outcome: None, is_resumed: false, lost: Some(error.to_string()) },
            }
        };
        let nothing = Ended { outcome: None, is_resumed, lost };
        if record.status == Status::Cancelled {
            return nothing;
        }
        if !is_resumed && nothing.lost.is_none() {
            self.notes(item.side, |notes| notes.note_run(&item.key, &record.run_id));
        }
        let mut scores = IndexMap::new();
        for scorer in &row.scorers {
            let Some(score) = self.score(&item, row, scorer, &record).await else { return nothing };
            scores.insert(scorer.label.clone(), score);
        }
        Ended { outcome: Some(outcome(row, item.repeat, record, scores)), ..nothing }
    }

    fn notes<T>(&self, side: usize, take: impl FnOnce(&mut Notes) -> T) -> T {
        take(&mut self.notes[side].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The record of a run that an earlier evaluation made, when it came to an end.
    fn earlier(&self, item: &Item) -> Option<RunRecord> {
        let run_id = self.notes(item.side, |notes| notes.run_of(&item.key).cloned())?;
        let record = self.store.as_ref()?.load(&run_id).ok()?;
        let is_over =
            !matches!(record.status, Status::Running | Status::Interrupted | Status::Cancelled | Status::Paused);
        is_over.then_some(record)
    }

    /// What a scorer says; `None` when it was cancelled.
    async fn score(&self, item: &Item, row: &Row, scorer: &Scorer, record: &RunRecord) -> Option<Score> {
        let Some(output) = output_of(record, scorer.node.as_deref()) else {
            let what = match &scorer.node {
                Some(node) => format!("`{node}` has no output"),
                None => format!("the run {}", ended(record.status)),
            };
            // Who gets no answer gets no right one.
            return Some(Score::because((!scorer.is_error()).then_some(0.0), what));
        };
        let output = match part(scorer.of.as_ref(), output, row) {
            Ok(output) => output,
            Err(reason) => return Some(Score::because(None, reason)),
        };
        let expected = row.expected_by(scorer);
        if let Some(score) = own_score(scorer, &output, expected) {
            return Some(score);
        }
        let key = digest(&(scorer.to_string(), &scorer.node, expected));
        if let Some(score) = self.notes(item.side, |notes| notes.score_of(&record.run_id, &key).cloned()) {
            return Some(score);
        }
        let Some(external) = self.externals.get(&scorer.to_string()) else {
            return Some(Score::because(None, format!("nobody is there to score by `{scorer}`")));
        };
        let case = Case { row, record, output: &output, expected };
        let seed = combine(item.seed, u64::from_str_radix(&key, 16).unwrap_or_default());
        let score = external.score(&case, seed).await.unwrap_or_else(|reason| Score::because(None, reason));
        if self.cancel.is_cancelled() && score.score.is_none() {
            return None;
        }
        self.notes(item.side, |notes| notes.note_score(&record.run_id, &key, &score));
        Some(score)
    }
}

fn ended(status: Status) -> &'static str {
    match status {
        Status::Refused => "was refused",
        Status::Limited => "met a limit",
        Status::Paused => "waits for a person",
        _ => "failed",
    }
}

fn outcome(row: &Row, repeat: u32, record: RunRecord, scores: IndexMap<String, Score>) -> Outcome {
    let counted = row.scorers.iter().filter(|scorer| !scorer.is_error());
    // A run of which a scorer cannot say anything is not known to be good or bad.
    let counted: Option<Vec<f64>> = counted.map(|scorer| scores.get(&scorer.label)?.score).collect();
    let quality = counted.and_then(|scores| crate::statistics::mean(&scores));
    Outcome { quality, scores, ..Outcome::of((row.number, row.line, row.id.clone(), repeat), record) }
}

impl Outcome {
    /// What a run came to, not scored. `place`: the row's number, line and id, and which of its runs it is.
    pub(crate) fn of(place: (usize, u32, String, u32), record: RunRecord) -> Self {
        let (row, line, id, repeat) = place;
        Self {
            row,
            line,
            id,
            repeat,
            figures: Figures::of(&record),
            run_id: record.run_id,
            status: record.status,
            error: record.error,
            output: record.output,
            quality: None,
            scores: IndexMap::new(),
        }
    }
}
