//! What a run was made by and what has happened in it: its definition, and its log folded into a state.

use std::collections::BTreeMap;

use lumos_core::Clock;
use lumos_core::load::Definition;
use lumos_core::program::{BackendRef, Header, LiveValue, Outline, Program};
use lumos_core::record::RunRecord;
use lumos_core::scheduler::{Command, Decision, Failure, RunState, StepId, Timer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::binding::BoundProgram;
use crate::clock::UnixClock;
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

/// The backends that attempts were made on before a run was bound as it is now: those below a number, in order of start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Earlier(Vec<(usize, Vec<Vec<BackendRef>>)>);

impl Earlier {
    /// The same, and those below `end` that it did not know of yet.
    pub(crate) fn until(&mut self, end: usize, backends: Vec<Vec<BackendRef>>) {
        self.0.push((end, backends));
    }

    /// The backend of an attempt; `now` is how nodes are bound now.
    pub(crate) fn backend<'b>(
        &'b self,
        attempt: usize,
        (position, candidate): (usize, u32),
        now: impl FnOnce() -> Option<&'b BackendRef>,
    ) -> Option<&'b BackendRef> {
        match self.0.iter().find(|(end, _)| attempt < *end) {
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
    pub(crate) folded: Folded,
}

/// A run's log, folded.
pub(crate) struct Folded {
    pub(crate) program: Program,
    pub(crate) state: RunState<Program>,
    /// Timers that were set, whether they are still awaited or not.
    pub(crate) timers: Vec<(u64, Timer)>,
    /// Steps that people were asked about, and when that was on disk, in microseconds since the Unix epoch.
    asked: Vec<(StepId, u64)>,
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
        let mut state = RunState::new(&program, first_inputs, seed);
        let mut boundaries: BTreeMap<u64, Vec<Vec<BackendRef>>> = BTreeMap::new();
        for (earlier, events) in lineage {
            boundaries.entry(events).or_insert(earlier.backends);
        }
        let mut earlier = Vec::new();
        let (mut commands, mut timers, mut asked, mut number) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (digest, events) = reader.events(header, until, &mut |event, committed_us| {
            if let Some(backends) = boundaries.remove(&number) {
                earlier.push((state.attempts().len(), backends));
            }
            number += 1;
            state.handle(&program, event, &mut commands);
            for command in commands.drain(..) {
                match command {
                    Command::SetTimer { timer, at_us } => timers.push((at_us, timer)),
                    Command::AskHuman(step) => asked.push((step, committed_us)),
                    _ => {}
                }
            }
        })?;
        earlier.extend(boundaries.into_values().map(|backends| (state.attempts().len(), backends)));
        let folded = Folded { program, state, timers, asked, digest, events };
        let (run_id, started_at) = (header.run_id.clone(), header.started_at.clone());
        Ok(Self { run_id, started_at, blueprint, inputs, earlier: Earlier(earlier), folded })
    }

    /// Everything that has happened.
    pub fn record(&self) -> RunRecord {
        let header = Header {
            run_id: self.run_id.clone(),
            deployment: self.blueprint.deployment.clone(),
            started_at: self.started_at.clone(),
            inputs: inputs(&self.inputs),
        };
        self.folded.program.record(&self.folded.state, header, self.backends())
    }

    /// Everything that has happened beside contents.
    pub(crate) fn outline(&self) -> Outline<'_> {
        self.folded.program.outline(&self.folded.state, self.backends())
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

    /// The defaults of those that nobody decided about in time; people's time goes on while no process has the run.
    pub fn overdue(&self) -> Vec<(StepId, Decision<LiveValue>)> {
        let Folded { program, state, asked, .. } = &self.folded;
        let now_us = UnixClock.now_us();
        let overdue = state.asked().filter_map(|step| {
            let approval = state.approval_policy(program.plan(), step)?;
            let (_, asked_us) = asked.iter().rev().find(|(asked, _)| *asked == step)?;
            let is_over = now_us >= asked_us.saturating_add(approval.timeout_us?);
            is_over.then(|| (step, Decision::by_default(approval.default)))
        });
        overdue.collect()
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
