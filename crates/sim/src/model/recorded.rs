//! What recorded runs asked for, so that a simulation asks for the same: lengths, widths of maps, rounds of loops, branches
//! and conditions. How long anything takes is not taken over: that is what a simulation predicts.

use std::collections::BTreeMap;

use lumos_core::graph::{Body, Plan};
use lumos_core::record::{AttemptRecord, RunRecord, Status, StepRecord};
use lumos_core::scheduler::{RunState, StepId, View};
use lumos_core::spec::DistSpec;

use super::Model;
use crate::chance::Quantity;

/// Recorded runs by their seeds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    runs: BTreeMap<u64, Recording>,
}

/// What one run asked for. Entries of maps inside maps, and rounds of loops inside loops, count as the innermost says.
#[derive(Debug, Clone, Default)]
struct Recording {
    steps: BTreeMap<Place, Step>,
    /// Entries of a map, by its node and the round that it is in.
    widths: BTreeMap<(u32, Option<u32>), u32>,
    /// Rounds of a loop, by its node and the entry that it is in.
    rounds: BTreeMap<(u32, Option<u32>), u32>,
}

/// A node's position, with the entry and the round that it worked on.
type Place = (u32, Option<u32>, Option<u32>);

#[derive(Debug, Clone, Default)]
struct Step {
    is_skipped: bool,
    is_refused: bool,
    choice: Option<String>,
    attempts: Vec<Asked>,
}

/// What one attempt asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Tokens of prompt and answer.
    pub(crate) lengths: Option<(u32, u32)>,
    /// Tokens of the answer that its format prescribed.
    pub(crate) prescribed: Option<u32>,
    /// Whether its answer was of no use: that is the answer's doing, not the load's.
    pub(crate) is_useless: bool,
}

impl Recorded {
    /// Lengths of prompts and answers by the node's position: for runs that were not recorded.
    fn lengths(&self) -> BTreeMap<u32, (Vec<f64>, Vec<f64>)> {
        let mut found: BTreeMap<u32, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for ((position, ..), step) in self.runs.values().flat_map(|run| &run.steps) {
            for (input, output) in step.attempts.iter().filter_map(|attempt| attempt.lengths) {
                let entry = found.entry(*position).or_default();
                entry.0.push(f64::from(input));
                entry.1.push(f64::from(output));
            }
        }
        found
    }
}

impl Model {
    /// The same model, whose runs ask for what these recorded ones asked for. A run is recognised by its seed, so the
    /// simulation must have the seed of the load that was recorded; other runs are drawn.
    #[must_use]
    pub fn replaying<'r>(mut self, records: impl IntoIterator<Item = &'r RunRecord>) -> Self {
        let runs = records.into_iter().map(|record| (record.seed, self.recording(record))).collect();
        let recorded = Recorded { runs };
        let mut lengths = recorded.lengths();
        for node in self.nodes.iter_mut().flatten() {
            let Some((input, output)) = lengths.remove(&node.position) else { continue };
            node.input.get_or_insert_with(|| Quantity::new(&DistSpec::Samples(input)));
            node.output.get_or_insert_with(|| Quantity::new(&DistSpec::Samples(output)));
        }
        self.recorded = Some(recorded);
        self
    }

    fn recording(&self, record: &RunRecord) -> Recording {
        let mut recording = Recording::default();
        for step in &record.steps {
            let Some(position) = self.position_of(step) else { continue };
            let place = (position, step.index, step.iteration);
            if step.index.is_some() {
                let width = recording.widths.entry((position, step.iteration)).or_default();
                *width = (*width).max(step.index.map_or(0, |index| index + 1));
            }
            if step.iteration.is_some() {
                let rounds = recording.rounds.entry((position, step.index)).or_default();
                *rounds = (*rounds).max(step.iteration.map_or(0, |round| round + 1));
            }
            let count = |tokens: Option<u64>| tokens.and_then(|tokens| u32::try_from(tokens).ok());
            let length_of = |attempt: &AttemptRecord| {
                let cached = attempt.usage.cached_input_tokens.unwrap_or(0);
                // Tokens from a cache cost the server next to nothing.
                let input = count(attempt.usage.input_tokens.map(|input| input.saturating_sub(cached)))?;
                Some((input.max(1), count(attempt.usage.output_tokens)?))
            };
            // An attempt that was refused states nothing; it asked for what another one of its step got.
            let known = step.attempts.iter().find_map(length_of);
            let known_prescribed = step.attempts.iter().find_map(|attempt| count(attempt.usage.prescribed_tokens));
            let attempts = step.attempts.iter().map(|attempt| Asked {
                lengths: length_of(attempt).or(known),
                prescribed: count(attempt.usage.prescribed_tokens).or(known_prescribed),
                is_useless: attempt.status == Status::Failed
                    && attempt.usage.output_tokens.is_some_and(|count| count > 0),
            });
            let entry = Step {
                is_skipped: step.status == Status::Skipped,
                is_refused: step.status == Status::Refused,
                choice: step.output.get("choice").and_then(|choice| choice.as_str()).map(str::to_owned),
                attempts: attempts.collect(),
            };
            recording.steps.insert(place, entry);
        }
        recording
    }

    /// The position of a recorded step's node.
    fn position_of(&self, step: &StepRecord) -> Option<u32> {
        let graph = graph_of(self.program.plan(), &step.path)?;
        let nodes = self.program.plan().graphs()[graph].nodes();
        let index = nodes.iter().position(|node| *node.name == *step.node)?;
        self.nodes.get(graph)?.get(index).map(|node| node.position)
    }

    /// What an attempt asked for, by its number from 1.
    pub(crate) fn recorded_attempt(&self, state: &RunState<Self>, step: StepId, attempt: u32) -> Option<Asked> {
        let recorded = self.recorded.as_ref()?.runs.get(&state.seed())?;
        let attempts = &recorded.steps.get(&self.place(state, step))?.attempts;
        // An attempt more than was made asks for what the last one did.
        attempts.get(attempt.saturating_sub(1) as usize).or(attempts.last()).copied()
    }

    pub(super) fn recorded_width(&self, view: View<'_, Self>) -> Option<u32> {
        let (recording, (position, _, iteration)) = self.recording_at(view)?;
        Some(recording.widths.get(&(position, iteration)).copied().unwrap_or(0))
    }

    pub(super) fn recorded_rounds(&self, view: View<'_, Self>) -> Option<u32> {
        let (recording, (position, index, _)) = self.recording_at(view)?;
        recording.rounds.get(&(position, index)).copied()
    }

    pub(super) fn recorded_condition(&self, view: View<'_, Self>) -> Option<bool> {
        let (recording, (position, index, iteration)) = self.recording_at(view)?;
        let mut steps = recording.steps.iter().filter(|((at, ..), _)| *at == position);
        let exact = recording.steps.get(&(position, index, iteration));
        // A node that is mapped has a step per entry, and asks before there are entries.
        let step = exact.or_else(|| steps.find(|((_, _, round), _)| *round == iteration).map(|(_, step)| step))?;
        Some(!step.is_skipped)
    }

    pub(super) fn recorded_branch(&self, view: View<'_, Self>, routes: &[String]) -> Option<usize> {
        let (recording, place) = self.recording_at(view)?;
        let choice = recording.steps.get(&place)?.choice.as_deref()?;
        routes.iter().position(|route| route == choice)
    }

    pub(super) fn recorded_refusal(&self, view: View<'_, Self>) -> Option<bool> {
        let (recording, place) = self.recording_at(view)?;
        Some(recording.steps.get(&place)?.is_refused)
    }

    fn recording_at(&self, view: View<'_, Self>) -> Option<(&Recording, Place)> {
        let recording = self.recorded.as_ref()?.runs.get(&view.state.seed())?;
        let node = view.node?;
        let position = self.node(view.graph(), node).position;
        let (index, iteration) = match view.step {
            Some(step) => inherited(view.state, step),
            None => {
                view.parent().and_then(|parent| parent.step).map_or((None, None), |outer| inherited(view.state, outer))
            }
        };
        Some((recording, (position, index, iteration)))
    }

    fn place(&self, state: &RunState<Self>, step: StepId) -> Place {
        let position = self.node(state.graph_of(step), state.step(step).node).position;
        let (index, iteration) = inherited(state, step);
        (position, index, iteration)
    }
}

/// Entry and round of a step, or of the innermost enclosing one that has them: what records say of it.
fn inherited(state: &RunState<Model>, step: StepId) -> (Option<u32>, Option<u32>) {
    let (mut index, mut iteration) = (None, None);
    let mut at = Some(step);
    while let Some(id) = at {
        let trace = state.step(id);
        index = index.or(trace.index);
        iteration = iteration.or(trace.iteration);
        at = state.scope_parent(trace.scope);
    }
    (index, iteration)
}

/// The graph that the sub-workflows of these nodes lead to.
fn graph_of(plan: &Plan, path: &[String]) -> Option<usize> {
    path.iter().try_fold(0, |graph, name| {
        let node = plan.graphs()[graph].nodes().iter().find(|node| *node.name == **name)?;
        match node.body {
            Body::Graph(inner) => Some(inner.index()),
            _ => None,
        }
    })
}
