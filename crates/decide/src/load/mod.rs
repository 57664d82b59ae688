//! A scenario's load for real: runs of its workflow begin when the scenario says, whether earlier ones have ended or not, and
//! their latency counts from that moment.

mod plan;
mod results;
mod runs;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lumos_core::Clock;
use lumos_core::chance::combine;
use lumos_core::record::{RunRecord, Status};
use lumos_engine::{BoundProgram, CancellationToken, Engine};
use tokio::task::JoinSet;

pub use plan::{LoadOptions, LoadPlan};
pub use results::measured;

use plan::Coming;
use runs::Runs;

/// What the draws of a closed loop's pauses are for, beside the seeds of runs, which are counted from 0.
const THINK: u64 = 1 << 59;

/// A run of a load. Times in microseconds since the load began.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedRun {
    /// From 0, in the order of arrival.
    pub number: u64,
    /// When it was to arrive.
    pub due_us: u64,
    /// When it began: late, when this machine is overloaded.
    pub begun_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// What happened in it.
    pub record: RunRecord,
}

/// What a load did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// Runs that ended, in the order of arrival.
    pub runs: Vec<LoadedRun>,
    /// Runs that were begun and cancelled.
    pub cancelled: u64,
    /// Whether it was ended before all runs had arrived.
    pub is_partial: bool,
    /// Why runs were not kept, of the first.
    pub lost: Option<String>,
}

/// Hears of each run that has ended.
pub type Told<'a> = &'a (dyn Fn(&LoadedRun) + Sync);

/// Makes the runs of a plan; its backends are warm. `cancel` ends it, and what has ended until then is there.
pub async fn drive(
    engine: &Engine,
    program: &Arc<BoundProgram>,
    plan: LoadPlan,
    cancel: &CancellationToken,
    told: Told<'_>,
) -> Loaded {
    let runs = Arc::new(Runs {
        engine: engine.clone(),
        program: program.clone(),
        start_us: engine.clock().now_us(),
        cancel: cancel.clone(),
        inputs: plan.inputs,
        seed: plan.seed,
    });
    let ends = Ends { runs: plan.runs, duration_us: plan.duration_us };
    let mut loaded = match plan.coming {
        Coming::Open(arrivals) => open(&runs, arrivals.map(|arrival| arrival.at_us), ends, told).await,
        Coming::Closed { clients, think } => {
            let pause_us = move |client: u64, turn: u64| think.us(combine(combine(plan.seed, THINK + client), turn));
            closed(&runs, clients, Arc::new(pause_us), ends, told).await
        }
    };
    loaded.runs.sort_by_key(|run| run.number);
    loaded
}

/// When runs stop arriving.
#[derive(Debug, Clone, Copy)]
struct Ends {
    runs: Option<u64>,
    duration_us: Option<u64>,
}

impl Ends {
    fn is_open(self, number: u64, at_us: u64) -> bool {
        self.runs.is_none_or(|runs| number < runs) && self.duration_us.is_none_or(|duration_us| at_us < duration_us)
    }
}

async fn open(runs: &Arc<Runs>, arrivals: impl Iterator<Item = u64>, ends: Ends, told: Told<'_>) -> Loaded {
    let mut loaded = Loaded::default();
    let mut tasks: JoinSet<Ended> = JoinSet::new();
    for (number, due_us) in (0..).zip(arrivals) {
        if !ends.is_open(number, due_us) {
            break;
        }
        let due = runs.sleep_until(due_us);
        tokio::pin!(due);
        loop {
            tokio::select! {
                biased;
                () = runs.cancel.cancelled() => { loaded.is_partial = true; break }
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => loaded.take(ended.ok(), told),
                () = &mut due => break,
            }
        }
        if loaded.is_partial {
            break;
        }
        let runs = runs.clone();
        tasks.spawn(async move { runs.carry_out(number, due_us).await });
    }
    while let Some(ended) = tasks.join_next().await {
        loaded.take(ended.ok(), told);
    }
    loaded
}

async fn closed(
    runs: &Arc<Runs>,
    clients: u32,
    pause_us: Arc<dyn Fn(u64, u64) -> u64 + Send + Sync>,
    ends: Ends,
    told: Told<'_>,
) -> Loaded {
    let numbers = Arc::new(AtomicU64::new(0));
    let (send, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for client in 0..u64::from(clients) {
        let (runs, numbers, send, pause_us) = (runs.clone(), numbers.clone(), send.clone(), pause_us.clone());
        tasks.spawn(async move {
            for turn in 0.. {
                let due_us = runs.now_us() + pause_us(client, turn);
                tokio::select! {
                    biased;
                    () = runs.cancel.cancelled() => return,
                    () = runs.sleep_until(due_us) => {}
                }
                // Who comes first takes the number, as an open load's runs have theirs by arrival.
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if !ends.is_open(number, due_us) || send.send(runs.carry_out(number, due_us).await).is_err() {
                    return;
                }
            }
        });
    }
    drop(send);
    let mut loaded = Loaded::default();
    while let Some(one) = ended.recv().await {
        loaded.take(Some(one), told);
    }
    loaded.is_partial = runs.cancel.is_cancelled();
    loaded
}

/// How a run of a load ended, and why it was not kept; without a record when it could not be begun.
type Ended = (Option<LoadedRun>, Option<String>);

impl Loaded {
    /// Takes a run that has ended; `None` is a task that broke, of which there is no record.
    fn take(&mut self, ended: Option<Ended>, told: Told<'_>) {
        let Some((run, lost)) = ended else {
            self.lost.get_or_insert_with(|| "a run ended without a record".to_owned());
            return;
        };
        if self.lost.is_none() {
            self.lost = lost;
        }
        let Some(run) = run else { return };
        if run.record.status == Status::Cancelled {
            self.cancelled += 1;
            return;
        }
        told(&run);
        self.runs.push(run);
    }
}
