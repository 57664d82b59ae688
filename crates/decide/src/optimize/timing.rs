//! How long a run takes, from how long its nodes do: the longest way through the workflow as it was run.

use std::collections::BTreeMap;

use lumos_core::graph::{Body, GraphId};
use lumos_core::program::Program;
use lumos_core::record::{RunRecord, Status, StepRecord};
use lumos_core::spec::Join;

/// Steps of a run, by the node and the sub-workflows around it.
pub(super) type Steps<'r> = BTreeMap<String, Vec<&'r StepRecord>>;

/// The entry of a map and the round of a loop that a step belongs to.
type Place = (Option<u32>, Option<u32>);

/// A workflow, or a sub-workflow, as it was run: its nodes, those that others wait for first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Level(pub(super) Vec<Stage>);

/// A node of a level.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    /// Positions in the level of the nodes that it waits for.
    pub(super) waits_for: Vec<usize>,
    /// Whether the first of them is enough.
    pub(super) any: bool,
    /// What it does.
    pub(super) work: Work,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Work {
    /// Nothing: it was skipped.
    Nothing,
    /// It works for so many microseconds, which change as those of the unit do.
    Unit(usize, f64),
    /// Rounds of a sub-workflow, one after the other, each of entries of which so many run at a time.
    Rounds(Vec<Vec<Level>>, usize),
}

impl Level {
    /// The level as it was run. `unit` gives a node's number, by its name behind those of the sub-workflows around it.
    pub(super) fn of(program: &Program, steps: &Steps<'_>, unit: &mut dyn FnMut(&str) -> usize) -> Self {
        Self::read(program, steps, (GraphId::ROOT, "", None), unit)
    }

    fn read(
        program: &Program,
        steps: &Steps<'_>,
        (graph, path, within): (GraphId, &str, Option<Place>),
        unit: &mut dyn FnMut(&str) -> usize,
    ) -> Self {
        let nodes = program.plan().graph(graph);
        let order: Vec<_> = nodes.topological().iter().filter(|id| nodes.node(**id).judges.is_none()).collect();
        let stage = |id: &&lumos_core::graph::NodeId| {
            let node = nodes.node(**id);
            let waits_for = { node.dependencies().iter() }.filter_map(|it| order.iter().position(|id| *id == it));
            let name = format!("{path}{}", node.name);
            let (maps, loops) = (node.policy.map, node.policy.at_most.is_some());
            let is_within = |step: &&&StepRecord| {
                let is_here = within.is_none_or(|(index, iteration)| {
                    (maps.is_some() || step.index == index) && (loops || step.iteration == iteration)
                });
                is_here && step.status != Status::Skipped
            };
            let found: Vec<&StepRecord> = steps.get(&name).into_iter().flatten().filter(is_within).copied().collect();
            let at_a_time = maps.and_then(|map| map.concurrency).map_or(usize::MAX, |most| most as usize);
            let work = match node.body {
                _ if found.is_empty() => Work::Nothing,
                Body::Graph(inner) => {
                    let inside = format!("{name}/");
                    let mut rounds: BTreeMap<Option<u32>, Vec<Self>> = BTreeMap::new();
                    for step in &found {
                        let within = Some((step.index, step.iteration));
                        let level = Self::read(program, steps, (inner, &inside, within), unit);
                        rounds.entry(step.iteration).or_default().push(level);
                    }
                    Work::Rounds(rounds.into_values().collect(), at_a_time)
                }
                Body::Agent | Body::Guard => Work::Unit(unit(&name), span(&found, at_a_time)),
            };
            Stage { waits_for: waits_for.collect(), any: node.policy.join == Join::Any, work }
        };
        Self(order.iter().map(stage).collect())
    }

    /// Microseconds from its start to its end, when each unit takes so many times what it took.
    pub(super) fn takes(&self, factor: &dyn Fn(usize) -> f64) -> f64 {
        let mut ends: Vec<f64> = Vec::with_capacity(self.0.len());
        for stage in &self.0 {
            let before = stage.waits_for.iter().map(|at| ends[*at]);
            let start = if stage.any { before.reduce(f64::min) } else { before.reduce(f64::max) }.unwrap_or(0.0);
            let takes = match &stage.work {
                Work::Nothing => 0.0,
                Work::Unit(unit, us) => us * factor(*unit),
                Work::Rounds(rounds, at_a_time) => {
                    let round = |entries: &Vec<Self>| makespan(entries.iter().map(|it| it.takes(factor)), *at_a_time);
                    rounds.iter().map(round).sum()
                }
            };
            ends.push(start + takes);
        }
        ends.into_iter().fold(0.0, f64::max)
    }
}

/// Microseconds that the steps of a node take: rounds one after the other, entries so many at a time.
pub(super) fn span(steps: &[&StepRecord], at_a_time: usize) -> f64 {
    let mut rounds: BTreeMap<Option<u32>, Vec<f64>> = BTreeMap::new();
    for step in steps {
        let us = step.ready_us.zip(step.end_us).map_or(0, |(ready, end)| end.saturating_sub(ready));
        rounds.entry(step.iteration).or_default().push(us as f64);
    }
    // An entry that waits for its turn is not ready yet: what it takes is its own.
    rounds.into_values().map(|entries| makespan(entries, at_a_time)).sum()
}

/// When the last of some entries ends, each of which begins as soon as there is a place for it.
fn makespan(entries: impl IntoIterator<Item = f64>, places: usize) -> f64 {
    let mut busy: Vec<f64> = Vec::new();
    for takes in entries {
        if busy.len() < places.max(1) {
            busy.push(takes);
        } else if let Some(first) = busy.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *first += takes;
        }
    }
    busy.into_iter().fold(0.0, f64::max)
}

/// The steps of a run.
pub(super) fn steps(record: &RunRecord) -> Steps<'_> {
    let mut steps: Steps<'_> = BTreeMap::new();
    for step in &record.steps {
        steps.entry(name_of(step)).or_default().push(step);
    }
    steps
}

/// A step's node behind the names of the sub-workflows around it.
pub(super) fn name_of(step: &StepRecord) -> String {
    step.path.iter().chain([&step.node]).map(String::as_str).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(waits_for: &[usize], work: Work) -> Stage {
        Stage { waits_for: waits_for.to_vec(), any: false, work }
    }

    #[test]
    fn the_longer_of_two_ways_counts() {
        // a; b and c beside each other; d after both.
        let level = Level(vec![
            stage(&[], Work::Unit(0, 10.0)),
            stage(&[0], Work::Unit(1, 30.0)),
            stage(&[0], Work::Unit(2, 20.0)),
            stage(&[1, 2], Work::Unit(3, 5.0)),
        ]);
        assert_eq!(level.takes(&|_| 1.0), 45.0);
        assert_eq!(level.takes(&|unit| if unit == 2 { 1.4 } else { 1.0 }), 45.0, "28 are not more than 30");
        assert_eq!(level.takes(&|unit| if unit == 2 { 2.0 } else { 1.0 }), 55.0);
        let first = Level(vec![
            stage(&[], Work::Unit(0, 10.0)),
            stage(&[], Work::Unit(1, 30.0)),
            Stage { any: true, ..stage(&[0, 1], Work::Unit(2, 1.0)) },
        ]);
        assert_eq!(first.takes(&|_| 1.0), 30.0, "who is not waited for still works");
    }

    #[test]
    fn rounds_follow_each_other_and_entries_share_places() {
        let entry = |us| Level(vec![stage(&[], Work::Unit(0, us))]);
        let rounds = vec![vec![entry(4.0), entry(3.0), entry(2.0)], vec![entry(1.0)]];
        let level = |places| Level(vec![stage(&[], Work::Rounds(rounds.clone(), places))]);
        assert_eq!(level(usize::MAX).takes(&|_| 1.0), 5.0);
        assert_eq!(level(2).takes(&|_| 1.0), 6.0, "4 beside 3 and 2, then 1");
        assert_eq!(level(1).takes(&|_| 2.0), 20.0);
    }
}
