//! What a run was made by and what has happened in it: its definition, and its log folded into a state.

use std::collections::BTreeMap;

use lumos_core::Clock;
use lumos_core::load::Definition;
use lumos_core::program::{BackendRef, Header, LiveValue, Outline, Program, Shared};
use lumos_core::record::RunRecord;
use lumos_core::scheduler::{Command, Failure, RunState, StepId, Timer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::binding::BoundProgram;
use crate::clock::{UnixClock, timestamp};
use crate::store::{self, Digest, Reader, StoreError};

/// What a run is made by, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Blueprint {
    /// The workflow with everything it names.
    pub definition: Definition,
    /// The deployment's name.
    pub deployment: String,
    /// The backends of each node, by its position.
    pub backends: Vec<Vec<BackendRef>>,
}

impl Blueprint {
    /// The workflow, ready to be folded; agents and backends are not needed for that.
    ///
    /// # Errors
    /// What keeps this version of lumos from reading it.
    pub fn program(&self) -> Result<Program, String> {
        let bundle = self
            .definition
            .bundle()
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        Program::compile(&bundle.workflows()).map_err(|error| error.to_string())
    }
}

/// Blueprints of a run and the runs whose log it shares, the oldest first, each with the number of the event from which
/// on it no longer holds.
pub(crate) struct Lineage(pub(crate) Vec<(Blueprint, u64)>);

/// The runs whose log a run shares: how far each reaches, and the backends that its attempts were made on; oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Earlier(Vec<(Shared, Vec<Vec<BackendRef>>)>);

impl Earlier {
    /// The same, and what is shared up to `end` that it did not know of yet.
    pub(crate) fn until(&mut self, end: Shared, backends: Vec<Vec<BackendRef>>) {
        self.0.push((end, backends));
    }

    /// How much of the run is others'.
    pub(crate) fn shared(&self) -> Shared {
        self.0.last().map(|(end, _)| *end).unwrap_or_default()
    }

    /// The backend of an attempt; `now` is how nodes are bound now.
    pub(crate) fn backend<'b>(
        &'b self,
        attempt: usize,
        (position, candidate): (usize, u32),
        now: impl FnOnce() -> Option<&'b BackendRef>,
    ) -> Option<&'b BackendRef> {
        match self.0.iter().find(|(end, _)| attempt < end.attempts) {
            Some((_, backends)) => backends.get(position)?.get(candidate as usize),
            None => now(),
        }
    }
}

/// A run as far as its log goes.
pub struct History {
    run_id: String,
    started_at: String,
    /// What it was made by last.
    pub(crate) blueprint: Blueprint,
    pub(crate) inputs: LiveValue,
    pub(crate) earlier: Earlier,
    /// The run that it was forked from.
    pub(crate) forked_from: Option<String>,
    /// The run that it goes on with under changed files.
    pub(crate) continues: Option<String>,
    pub(crate) folded: Folded,
}

/// A run's log, folded.
pub(crate) struct Folded {
    pub(crate) program: Program,
    pub(crate) state: RunState<Program>,
    /// Timers that were set, whether they are still awaited or not.
    timers: Vec<(u64, Timer)>,
    /// When people were asked about steps, in microseconds since the Unix epoch.
    pub(crate) asked: BTreeMap<StepId, u64>,
    /// Of the log's last row.
    pub(crate) digest: Digest,
    /// Number of events, those of a shared log included.
    pub(crate) events: u64,
}

impl History {
    pub(crate) fn read(reader: &mut Reader<'_>, header: &store::Header) -> Result<Self, StoreError> {
        Self::read_until(reader, header, u64::MAX, header.seed)
    }

    /// As it was after so many events, or would be with another seed.
    pub(crate) fn read_until(
        reader: &mut Reader<'_>,
        header: &store::Header,
        until: u64,
        seed: u64,
    ) -> Result<Self, StoreError> {
        let mut lineage = reader.lineage(header)?.0;
        // The last one made the run itself.
        let blueprint = lineage.pop().map(|(blueprint, _)| blueprint);
        let blueprint = blueprint.ok_or_else(|| StoreError::NoLog(header.run_id.clone()))?;
        let program = blueprint.program().map_err(|reason| reader.damaged(header, reason))?;
        let (inputs, first_inputs) = (reader.inputs(header)?, reader.first_inputs(header)?);
        let (forked_from, continues) = (reader.forked_from(header)?, reader.continues(header)?);
        let mut state = RunState::new(&program, first_inputs, seed);
        let mut boundaries: BTreeMap<u64, Vec<Vec<BackendRef>>> = BTreeMap::new();
        for (earlier, events) in lineage {
            boundaries.entry(events).or_insert(earlier.backends);
        }
        let mut earlier = Vec::new();
        let (mut commands, mut timers, mut asked, mut number) = (Vec::new(), Vec::new(), BTreeMap::new(), 0);
        let reached = |state: &RunState<Program>| Shared { attempts: state.attempts().len(), until_us: state.now_us() };
        let (digest, events) = reader.events(header, until, &mut |event, committed_us| {
            if let Some(backends) = boundaries.remove(&number) {
                earlier.push((reached(&state), backends));
            }
            number += 1;
            state.handle(&program, event, &mut commands);
            for command in commands.drain(..) {
                match command {
                    Command::SetTimer { timer, at_us } => timers.push((at_us, timer)),
                    Command::AskHuman(step) => _ = asked.insert(step, committed_us),
                    _ => {}
                }
            }
        })?;
        earlier.extend(boundaries.into_values().map(|backends| (reached(&state), backends)));
        let folded = Folded { program, state, timers, asked, digest, events };
        let (run_id, started_at) = (header.run_id.clone(), header.started_at.clone());
        Ok(Self { run_id, started_at, blueprint, inputs, earlier: Earlier(earlier), forked_from, continues, folded })
    }

    /// Everything that has happened.
    pub fn record(&self) -> RunRecord {
        let header = Header {
            run_id: self.run_id.clone(),
            deployment: self.blueprint.deployment.clone(),
            started_at: self.started_at.clone(),
            forked_from: self.forked_from.clone(),
            continues: self.continues.clone(),
            shared: self.earlier.shared(),
            due: due(&self.folded.program, &self.folded.state, |step| self.folded.asked.get(&step).copied()),
            inputs: inputs(&self.inputs),
        };
        self.folded.program.record(&self.folded.state, header, self.backends())
    }

    /// Everything that has happened beside contents.
    pub(crate) fn outline(&self) -> Outline<'_> {
        self.folded.program.outline(&self.folded.state, self.earlier.shared(), self.backends())
    }

    fn backends<'r>(&'r self) -> impl Fn(usize, usize, u32) -> Option<&'r BackendRef> {
        |attempt, position, candidate| {
            let now = || self.blueprint.backends.get(position)?.get(candidate as usize);
            self.earlier.backend(attempt, (position, candidate), now)
        }
    }

    /// The steps in the order of the record.
    pub fn steps(&self) -> Vec<StepId> {
        self.folded.program.order(&self.folded.state)
    }

    /// The steps that wait for a person's decision.
    pub fn asked(&self) -> Vec<StepId> {
        self.folded.state.asked().collect()
    }

    /// The arguments of a step that waits, with some of them changed.
    ///
    /// # Errors
    /// As for [`Program::edited`].
    pub fn edited(&self, step: StepId, changes: Map<String, Value>) -> Result<LiveValue, Failure> {
        self.folded.program.edited(&self.folded.state, step, changes)
    }

    /// The steps that nobody decided about in time; people's time goes on while no process has the run. Their defaults
    /// hold once the run is gone on with.
    pub fn overdue(&self) -> Vec<StepId> {
        let now_us = UnixClock.now_us();
        let is_over = |step: &StepId| self.due_us(*step).is_some_and(|due_us| now_us >= due_us);
        self.folded.state.asked().filter(is_over).collect()
    }

    /// When the default holds for a step that a person is asked about, in microseconds since the Unix epoch.
    fn due_us(&self, step: StepId) -> Option<u64> {
        let Folded { program, state, asked, .. } = &self.folded;
        due_us(program, state, step, *asked.get(&step)?)
    }

    /// Timers that are still awaited, as a driver that takes the run up has to set them.
    pub(crate) fn timers(&self) -> Vec<(u64, Timer)> {
        let (state, now_us) = (&self.folded.state, UnixClock.now_us());
        let awaited = self.folded.timers.iter().filter(|(_, timer)| state.awaits(*timer));
        let at_us = |at_us: u64, timer: Timer| match timer {
            Timer::Approval(step) => {
                self.due_us(step).map_or(at_us, |due_us| state.now_us() + due_us.saturating_sub(now_us))
            }
            _ => at_us,
        };
        awaited.map(|(at, timer)| (at_us(*at, *timer), *timer)).collect()
    }

    /// Its id.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// What it was made by.
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }
}

/// When the default holds for a step that a person was asked about at `asked_us`; `None` when it takes as long as it takes.
fn due_us(program: &Program, state: &RunState<Program>, step: StepId, asked_us: u64) -> Option<u64> {
    Some(asked_us.saturating_add(state.approval_policy(program.plan(), step)?.timeout_us?))
}

/// When the defaults hold for the steps that people are asked about, in RFC 3339, UTC; `asked_us` says when they were
/// asked, in microseconds since the Unix epoch.
pub(crate) fn due(
    program: &Program,
    state: &RunState<Program>,
    asked_us: impl Fn(StepId) -> Option<u64>,
) -> BTreeMap<StepId, String> {
    let due = state.asked().filter_map(|step| Some((step, due_us(program, state, step, asked_us(step)?)?)));
    due.map(|(step, due_us)| (step, timestamp(due_us))).collect()
}

/// A run's inputs as records have them.
pub(crate) fn inputs(inputs: &LiveValue) -> indexmap::IndexMap<String, serde_json::Value> {
    let inputs = inputs.json().as_object().into_iter().flatten();
    inputs.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl From<&BoundProgram> for Blueprint {
    fn from(bound: &BoundProgram) -> Self {
        let backends =
            |position| bound.binding(position).backends.iter().map(|bound| bound.reference.clone()).collect();
        Self {
            definition: bound.definition().clone(),
            deployment: bound.deployment().to_owned(),
            backends: (0..bound.program().nodes().count()).map(backends).collect(),
        }
    }
}
