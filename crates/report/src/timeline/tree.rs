//! The steps of a run as a tree: sub-workflows hold their steps, maps and loops their entries and rounds.

use std::collections::BTreeMap;
use std::ops::Range;

use lumos_core::{AttemptRecord, RunRecord, Status, StepRecord};

use crate::label;

/// A run with the places of its steps.
pub struct Tree<'r> {
    /// The run.
    pub record: &'r RunRecord,
    /// What stands at the top.
    pub roots: Vec<Branch<'r>>,
    /// The whole name of each step.
    pub names: Vec<String>,
}

/// A step, or the steps that one node has made.
pub struct Branch<'r> {
    /// What it is called beside its siblings.
    pub label: String,
    /// The step; `None` for several of one node.
    pub step: Option<&'r StepRecord>,
    /// What stands below it.
    pub children: Vec<Branch<'r>>,
}

impl<'r> Tree<'r> {
    /// The tree of a record, whose steps of a sub-workflow follow its own step.
    pub fn new(record: &'r RunRecord) -> Self {
        let standings = label::standings(record);
        let mut below: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (position, standing) in standings.iter().enumerate() {
            below.entry(standing.parent).or_default().push(position);
        }
        let mut builder = Builder { record, standings: &standings, below };
        let roots = builder.branches(None);
        Self { record, roots, names: label::step_names(record) }
    }
}

struct Builder<'r, 's> {
    record: &'r RunRecord,
    standings: &'s [label::Standing],
    below: BTreeMap<Option<usize>, Vec<usize>>,
}

impl<'r> Builder<'r, '_> {
    /// What stands below a step; nesting is as deep as sub-workflows are, which is limited when they are read.
    fn branches(&mut self, parent: Option<usize>) -> Vec<Branch<'r>> {
        let mut nodes: Vec<(&'r str, Vec<usize>)> = Vec::new();
        let mut known: BTreeMap<&'r str, usize> = BTreeMap::new();
        for position in self.below.remove(&parent).unwrap_or_default() {
            let node = self.record.steps[position].node.as_str();
            let at = *known.entry(node).or_insert_with(|| {
                nodes.push((node, Vec::new()));
                nodes.len() - 1
            });
            nodes[at].1.push(position);
        }
        nodes.into_iter().map(|(node, positions)| self.node(node, &positions)).collect()
    }

    fn node(&mut self, node: &str, positions: &[usize]) -> Branch<'r> {
        let is_group = positions.len() > 1;
        let mut entries: Vec<Branch<'r>> = Vec::with_capacity(positions.len());
        for position in positions {
            let standing = self.standings[*position];
            let place = label::place(standing.index, standing.iteration);
            let label = if is_group && !place.is_empty() { place } else { format!("{node}{place}") };
            let children = self.branches(Some(*position));
            entries.push(Branch { label, step: Some(&self.record.steps[*position]), children });
        }
        match entries.pop() {
            Some(only) if !is_group => only,
            last => {
                entries.extend(last);
                Branch { label: node.to_owned(), step: None, children: entries }
            }
        }
    }
}

impl<'r> Branch<'r> {
    /// All steps of this branch.
    pub fn steps(&self) -> Vec<&'r StepRecord> {
        let mut steps: Vec<&StepRecord> = self.step.into_iter().collect();
        steps.extend(self.children.iter().flat_map(Branch::steps));
        steps
    }

    /// All attempts of this branch.
    pub fn attempts(&self) -> impl Iterator<Item = &'r AttemptRecord> {
        self.steps().into_iter().flat_map(|step| &step.attempts)
    }

    /// Whether it decided how long the run took.
    pub fn is_critical(&self) -> bool {
        self.step.is_some_and(is_critical) || self.children.iter().any(Branch::is_critical)
    }

    /// When it was going on; `None` for what never began. What has no end yet goes on until `now_us`.
    pub fn span(&self, now_us: u64) -> Option<Range<u64>> {
        if let Some(step) = self.step {
            return span(step, now_us);
        }
        let spans = self.children.iter().filter_map(|child| child.span(now_us));
        spans.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
    }
}

/// Whether a step is on the critical path by itself, and not only through the steps that it holds.
pub fn is_critical(step: &StepRecord) -> bool {
    step.critical_us.is_some() && step.kind != "workflow"
}

/// When an attempt ended.
pub fn end_us(attempt: &AttemptRecord) -> u64 {
    attempt.start_us.saturating_add(attempt.queue_us).saturating_add(attempt.duration_us)
}

/// From a step's readiness to its end.
pub fn span(step: &StepRecord, now_us: u64) -> Option<Range<u64>> {
    let first = step.attempts.iter().map(|attempt| attempt.start_us).min();
    let last = step.attempts.iter().map(end_us).max();
    let start = step.ready_us.or(first)?;
    let is_open = matches!(step.status, Status::Running | Status::Paused);
    let end = step.end_us.or(if is_open { Some(now_us) } else { last }).unwrap_or(start);
    Some(start..end.max(start))
}

/// The attempt whose answer the step has.
pub fn winner(step: &StepRecord) -> Option<&AttemptRecord> {
    step.attempts.iter().rev().find(|attempt| attempt.status == Status::Succeeded)
}

/// Why there is an attempt beyond the first.
pub fn reason(step: &StepRecord, position: usize) -> Option<&'static str> {
    let attempt = step.attempts.get(position)?;
    let before = &step.attempts[..position];
    let previous = before.last()?;
    Some(if before.iter().any(|other| attempt.start_us < end_us(other)) {
        "hedge"
    } else if previous.status == Status::Succeeded {
        "escalation"
    } else if previous.backend != attempt.backend {
        "fallback"
    } else {
        "retry"
    })
}
