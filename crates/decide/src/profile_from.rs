//! What recorded runs show of a workflow's nodes: the profile that a scenario would have to declare.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::graph::Plan;
use lumos_core::program::Program;
use lumos_core::record::{RunRecord, Status, StepRecord};
use lumos_core::spec::{DistSpec, ProfileSpec};

/// Most samples that are kept of a quantity: evenly among all, in order of size.
const MOST_SAMPLES: usize = 400;

/// What is seen of a node.
#[derive(Default)]
struct Seen {
    input: Vec<f64>,
    output: Vec<f64>,
    duration_s: Vec<f64>,
    choices: IndexMap<String, u64>,
    widths: Vec<f64>,
    rounds: Vec<f64>,
    steps: u64,
    skipped: u64,
    refused: u64,
    attempts: u64,
    failed: u64,
}

/// Profiles of the nodes that the records have, by path. `program` is the workflow that the runs followed.
pub fn profiles_from(records: &[RunRecord], program: &Program) -> IndexMap<String, ProfileSpec> {
    let mut seen: IndexMap<String, Seen> = IndexMap::new();
    for record in records {
        let mut widths: BTreeMap<(String, Option<u32>), u32> = BTreeMap::new();
        let mut rounds: BTreeMap<(String, Option<u32>), u32> = BTreeMap::new();
        for step in &record.steps {
            let path: String = step.path.iter().chain([&step.node]).map(String::as_str).collect::<Vec<_>>().join("/");
            let policy = policy(program.plan(), step);
            if let (Some(index), true) = (step.index, policy.map) {
                let width = widths.entry((path.clone(), step.iteration)).or_default();
                *width = (*width).max(index + 1);
            }
            if let (Some(round), true) = (step.iteration, policy.loops) {
                let count = rounds.entry((path.clone(), step.index)).or_default();
                *count = (*count).max(round + 1);
            }
            let entry = seen.entry(path).or_default();
            if policy.conditional {
                entry.steps += 1;
                entry.skipped += u64::from(step.status == Status::Skipped);
            }
            entry.refused += u64::from(step.kind == "guard" && step.status == Status::Refused);
            if let Some(choice) = step.output.get("choice").and_then(|choice| choice.as_str()) {
                *entry.choices.entry(choice.to_owned()).or_default() += 1;
            }
            entry.take(step);
        }
        for ((path, _), width) in widths {
            seen[&path].widths.push(f64::from(width));
        }
        for ((path, _), count) in rounds {
            seen[&path].rounds.push(f64::from(count));
        }
    }
    let known = seen.into_iter().map(|(path, seen)| (path, seen.profile()));
    known.filter(|(_, profile)| *profile != ProfileSpec::default()).collect()
}

/// What a node's graph says about how often it runs.
struct Often {
    conditional: bool,
    map: bool,
    loops: bool,
}

fn policy(plan: &Plan, step: &StepRecord) -> Often {
    use lumos_core::graph::Body;

    let mut graph = 0;
    for name in &step.path {
        let outer = plan.graphs()[graph].nodes().iter().find(|node| *node.name == **name);
        if let Some(Body::Graph(inner)) = outer.map(|node| &node.body) {
            graph = inner.index();
        }
    }
    let node = plan.graphs()[graph].nodes().iter().find(|node| *node.name == *step.node);
    Often {
        conditional: node.is_some_and(|node| node.policy.conditional),
        map: node.is_some_and(|node| node.policy.map.is_some()),
        loops: node.is_some_and(|node| node.policy.at_most.is_some()),
    }
}

impl Seen {
    fn take(&mut self, step: &StepRecord) {
        for attempt in &step.attempts {
            self.attempts += 1;
            if attempt.status != Status::Succeeded {
                self.failed += u64::from(attempt.status == Status::Failed);
                continue;
            }
            let usage = &attempt.usage;
            match (usage.input_tokens, usage.output_tokens) {
                (Some(input), Some(output)) if output > 0 => {
                    self.input.push(input.max(1) as f64);
                    self.output.push(output as f64);
                }
                _ => self.duration_s.push(attempt.duration_us as f64 / 1e6),
            }
        }
    }

    fn profile(self) -> ProfileSpec {
        let chosen: u64 = self.choices.values().sum();
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        ProfileSpec {
            input_tokens: samples(self.input),
            output_tokens: samples(self.output),
            duration_s: samples(self.duration_s),
            when: (self.steps > 0).then(|| 1.0 - share(self.skipped, self.steps)),
            branches: self.choices.into_iter().map(|(choice, count)| (choice, share(count, chosen))).collect(),
            width: samples(self.widths),
            rounds: samples(self.rounds),
            refuse: (self.refused > 0).then(|| share(self.refused, self.attempts.max(1))),
            fail: (self.failed > 0).then(|| share(self.failed, self.attempts)),
            ..ProfileSpec::default()
        }
    }
}

/// The values themselves, or so many of them that they say the same.
fn samples(mut values: Vec<f64>) -> Option<DistSpec> {
    values.sort_by(f64::total_cmp);
    let (first, last) = (*values.first()?, *values.last()?);
    if first == last {
        return Some(DistSpec::Fixed(first));
    }
    if values.len() > MOST_SAMPLES {
        let at = |index: usize| values[(2 * index + 1) * values.len() / (2 * MOST_SAMPLES)];
        values = (0..MOST_SAMPLES).map(at).collect();
    }
    Some(DistSpec::Samples(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_samples_are_thinned_without_changing_what_they_say() {
        let Some(DistSpec::Samples(kept)) = samples((0..10_000).rev().map(f64::from).collect()) else { panic!() };
        assert_eq!((kept.len(), kept[200]), (400, 5012.0));
        assert!((DistSpec::Samples(kept).mean() - 4999.5).abs() < 1.0);
        assert_eq!(samples(vec![2.0, 2.0]), Some(DistSpec::Fixed(2.0)));
        assert_eq!(samples(Vec::new()), None);
    }
}
