//! What recorded runs show of a workflow's nodes and of the APIs that they asked: what a scenario would have to declare.

mod apis;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::graph::{Body, Node, Plan};
use lumos_core::load::Scenario;
use lumos_core::program::{CompileError, Program};
use lumos_core::record::{RunRecord, Status, StepRecord};
use lumos_core::spec::{DistSpec, ProfileSpec};
use serde::Serialize;

/// Most samples that are kept of a quantity: evenly among all, in order of size.
const MOST_SAMPLES: usize = 400;

/// Fewest runs that a profile is learned from: of fewer, a share of one in ten is mostly not seen at all.
pub const FEWEST_RUNS: usize = 10;

/// What a scenario has learned of its nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Learned {
    /// The workflow.
    pub workflow: String,
    /// Runs that it was learned from.
    pub runs: usize,
    /// The fields of each node's profile that now say what was seen.
    pub nodes: IndexMap<String, Vec<&'static str>>,
    /// Attempts from which the times of each API were estimated.
    pub apis: IndexMap<String, u64>,
    /// Nodes that runs have and the workflow does not have any more.
    pub unknown: Vec<String>,
}

/// Why nothing can be learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// There is too little to learn from.
    #[error("{} of `{workflow}` recorded and over; a profile needs {FEWEST_RUNS}", match runs {
        0 => "no run is".to_owned(),
        1 => "1 run is".to_owned(),
        runs => format!("{runs} runs are"),
    })]
    TooFew {
        /// The workflow.
        workflow: String,
        /// Runs that there are.
        runs: usize,
    },
    /// The scenario's workflow is not one.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Puts what recorded runs of a scenario's workflow show in the place of what the scenario declares, field by field: what
/// they don't show stays as declared. Runs that a person ended, or that are not over, say little and are left out.
///
/// # Errors
/// When there are fewer than [`FEWEST_RUNS`].
pub fn learn(scenario: &mut Scenario, records: &[RunRecord]) -> Result<Learned, LearnError> {
    let Some(bundle) = scenario.bundles.first() else {
        return Err(LearnError::TooFew { workflow: scenario.spec().workflow.clone(), runs: 0 });
    };
    let program = Program::compile(&bundle.workflows())?;
    let workflow = program.name().to_owned();
    let is_over =
        |status: Status| matches!(status, Status::Succeeded | Status::Failed | Status::Refused | Status::Limited);
    let records: Vec<&RunRecord> = records
        .iter()
        .filter(|record| record.workflow == workflow && is_over(record.status) && record.forked_from.is_none())
        .collect();
    if records.len() < FEWEST_RUNS {
        return Err(LearnError::TooFew { workflow, runs: records.len() });
    }
    let mut learned =
        Learned { workflow, runs: records.len(), nodes: IndexMap::new(), apis: IndexMap::new(), unknown: Vec::new() };
    learned.apis = apis::learn(scenario, &records);
    for (path, profile) in profiles_from(records, &program) {
        if node_at(program.plan(), &path).is_none() {
            learned.unknown.push(path);
            continue;
        }
        let declared = scenario.parsed.spec.nodes.entry(path.clone()).or_default();
        learned.nodes.insert(path, replace(declared, profile));
    }
    Ok(learned)
}

/// Puts what was seen in the place of what is declared; the names of those fields.
fn replace(declared: &mut ProfileSpec, seen: ProfileSpec) -> Vec<&'static str> {
    fn put<T>(declared: &mut Option<T>, seen: Option<T>) -> bool {
        let is_seen = seen.is_some();
        if is_seen {
            *declared = seen;
        }
        is_seen
    }
    let has_branches = !seen.branches.is_empty();
    if has_branches {
        declared.branches = seen.branches;
    }
    [
        ("input_tokens", put(&mut declared.input_tokens, seen.input_tokens)),
        ("output_tokens", put(&mut declared.output_tokens, seen.output_tokens)),
        ("prescribed", put(&mut declared.prescribed, seen.prescribed)),
        ("duration_s", put(&mut declared.duration_s, seen.duration_s)),
        ("when", put(&mut declared.when, seen.when)),
        ("branches", has_branches),
        ("width", put(&mut declared.width, seen.width)),
        ("rounds", put(&mut declared.rounds, seen.rounds)),
        ("refuse", put(&mut declared.refuse, seen.refuse)),
        ("fail", put(&mut declared.fail, seen.fail)),
    ]
    .into_iter()
    .filter_map(|(field, is_seen)| is_seen.then_some(field))
    .collect()
}

/// What is seen of a node.
#[derive(Default)]
struct Seen {
    input: Vec<f64>,
    output: Vec<f64>,
    /// Tokens of answers of which it is known how many were prescribed, and those.
    prescribed: Option<(u64, u64)>,
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
pub fn profiles_from<'r>(
    records: impl IntoIterator<Item = &'r RunRecord>,
    program: &Program,
) -> IndexMap<String, ProfileSpec> {
    let mut seen: IndexMap<String, Seen> = IndexMap::new();
    for record in records {
        let mut widths: BTreeMap<(String, Option<u32>), u32> = BTreeMap::new();
        let mut rounds: BTreeMap<(String, Option<u32>), u32> = BTreeMap::new();
        for step in &record.steps {
            let path: String = step.path.iter().chain([&step.node]).map(String::as_str).collect::<Vec<_>>().join("/");
            let policy = policy(program.plan(), &path);
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

fn policy(plan: &Plan, path: &str) -> Often {
    let policy = node_at(plan, path).map(|node| &node.policy);
    Often {
        conditional: policy.is_some_and(|policy| policy.conditional),
        map: policy.is_some_and(|policy| policy.map.is_some()),
        loops: policy.is_some_and(|policy| policy.at_most.is_some()),
    }
}

/// The node that a path such as `outer/inner` leads to.
fn node_at<'p>(plan: &'p Plan, path: &str) -> Option<&'p Node> {
    let mut graph = plan.graphs().first()?;
    let mut names = path.split('/').peekable();
    loop {
        let name = names.next()?;
        let node = graph.nodes().iter().find(|node| *node.name == *name)?;
        match (names.peek(), node.body) {
            (None, _) => return Some(node),
            (Some(_), Body::Graph(inner)) => graph = plan.graph(inner),
            (Some(_), _) => return None,
        }
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
                    if let Some(prescribed) = usage.prescribed_tokens {
                        let (all, known) = self.prescribed.unwrap_or_default();
                        self.prescribed = Some((all + output, known + prescribed.min(output)));
                    }
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
            prescribed: self.prescribed.filter(|(_, known)| *known > 0).map(|(all, known)| share(known, all)),
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
