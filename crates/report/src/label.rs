//! Names of steps: the label that people read, the whole name that tells entries of nested maps apart, and the way back.

use std::collections::BTreeMap;
use std::fmt::Write;

use lumos_core::problem::nearest;
use lumos_core::{AttemptRecord, RunRecord, StepRecord};

/// Why a text names no step, or no attempt, of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// No step has this label.
    #[error("the run has no step `{label}`")]
    Unknown {
        /// What was asked for.
        label: String,
        /// The label that is nearest, or some that there are.
        hint: String,
    },
    /// The label fits entries of several enclosing maps.
    #[error("`{label}` fits {} steps", names.len())]
    Ambiguous {
        /// What was asked for.
        label: String,
        /// The whole names of the steps that it fits.
        names: Vec<String>,
    },
    /// The step has no such attempt.
    #[error("`{label}` has {}", attempts_of(*attempts))]
    NoAttempt {
        /// The step.
        label: String,
        /// How many attempts it had.
        attempts: usize,
    },
}

impl StepError {
    /// What would be right.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { hint, .. } => hint.clone(),
            Self::Ambiguous { names, .. } => format!("name one of {}", some(names.iter().map(String::as_str))),
            Self::NoAttempt { attempts: 0, .. } => "it was skipped, cancelled early, or holds other steps".to_owned(),
            Self::NoAttempt { label, attempts } => format!("the last one is `{label}:{attempts}`"),
        }
    }
}

fn attempts_of(attempts: usize) -> String {
    match attempts {
        0 => "no attempt".to_owned(),
        1 => "only 1 attempt".to_owned(),
        _ => format!("only {attempts} attempts"),
    }
}

/// The step's name with the nodes around it, its entry of a map and its round of a loop: `outer/node[index]#iteration`.
pub fn step_label(step: &StepRecord) -> String {
    let mut label: String = step.path.iter().flat_map(|outer| [outer.as_str(), "/"]).collect();
    label.push_str(&step.node);
    label.push_str(&place(step.index, step.iteration));
    label
}

/// `[index]#iteration`, whichever there are.
pub(crate) fn place(index: Option<u32>, iteration: Option<u32>) -> String {
    let mut text = String::new();
    if let Some(index) = index {
        let _ = write!(text, "[{index}]");
    }
    if let Some(iteration) = iteration {
        let _ = write!(text, "#{iteration}");
    }
    text
}

/// Where a step stands in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The position of the step whose sub-workflow it is in.
    pub parent: Option<usize>,
    /// Its own entry of a map, not an enclosing one's.
    pub index: Option<u32>,
    /// Its own round of a loop.
    pub iteration: Option<u32>,
}

/// The steps of one node in one place: the first one's entry and round, and whether others have another.
struct Siblings {
    index: Option<u32>,
    iteration: Option<u32>,
    is_map: bool,
    is_loop: bool,
}

/// Where each step stands, in the order of the record: the steps of a sub-workflow follow its own step.
pub(crate) fn standings(record: &RunRecord) -> Vec<Standing> {
    let mut enclosing: Vec<usize> = Vec::new();
    let mut parents = Vec::with_capacity(record.steps.len());
    let mut nodes: BTreeMap<(Option<usize>, &str), Siblings> = BTreeMap::new();
    for (position, step) in record.steps.iter().enumerate() {
        enclosing.truncate(step.path.len());
        let is_inside = |at: &&usize| step.path.last() == Some(&record.steps[**at].node);
        let parent = enclosing.last().filter(|_| enclosing.len() == step.path.len()).filter(is_inside).copied();
        parents.push(parent);
        enclosing.resize(step.path.len(), position);
        enclosing.push(position);
        let first = Siblings { index: step.index, iteration: step.iteration, is_map: false, is_loop: false };
        let siblings = nodes.entry((parent, step.node.as_str())).or_insert(first);
        siblings.is_map |= siblings.index != step.index;
        siblings.is_loop |= siblings.iteration != step.iteration;
    }
    let standing = |(step, parent): (&StepRecord, Option<usize>)| {
        let outer = parent.map(|at| &record.steps[at]);
        let siblings = &nodes[&(parent, step.node.as_str())];
        Standing {
            parent,
            index: step.index.filter(|_| siblings.is_map || outer.is_none_or(|outer| outer.index != step.index)),
            iteration: step
                .iteration
                .filter(|_| siblings.is_loop || outer.is_none_or(|outer| outer.iteration != step.iteration)),
        }
    };
    record.steps.iter().zip(parents).map(standing).collect()
}

/// The whole name of each step, in the order of the record: like its label, but with the entry and the round of every
/// enclosing step at that step, `outer[2]/node[0]`, so that no two steps have the same.
pub fn step_names(record: &RunRecord) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(record.steps.len());
    for (step, standing) in record.steps.iter().zip(standings(record)) {
        let mut name = match standing.parent {
            Some(parent) => format!("{}/", names[parent]),
            None => step.path.iter().flat_map(|outer| [outer.as_str(), "/"]).collect(),
        };
        name.push_str(&step.node);
        name.push_str(&place(standing.index, standing.iteration));
        names.push(name);
    }
    names
}

/// The step with this label, as [`step_label`] prints it, or with this whole name.
///
/// # Errors
/// When there is none, with the nearest label; when the label fits several steps, with their whole names.
pub fn find_step<'r>(record: &'r RunRecord, label: &str) -> Result<&'r StepRecord, StepError> {
    let names = step_names(record);
    if let Some(at) = names.iter().position(|name| name == label) {
        return Ok(&record.steps[at]);
    }
    let labels: Vec<String> = record.steps.iter().map(step_label).collect();
    let fits: Vec<usize> = (0..labels.len()).filter(|at| labels[*at] == label).collect();
    match fits[..] {
        [] => Err(StepError::Unknown { label: label.to_owned(), hint: near(label, &names, &labels) }),
        [at] => Ok(&record.steps[at]),
        _ => {
            let names = fits.into_iter().map(|at| names[at].clone()).collect();
            Err(StepError::Ambiguous { label: label.to_owned(), names })
        }
    }
}

/// The attempt that `STEP` or `STEP:N` names, with its step; without a number the last one.
///
/// # Errors
/// As for [`find_step`], and when the step has no such attempt.
pub fn find_attempt<'r>(record: &'r RunRecord, text: &str) -> Result<(&'r StepRecord, &'r AttemptRecord), StepError> {
    let (label, number) = match text.rsplit_once(':').and_then(|(label, number)| Some((label, number.parse().ok()?))) {
        Some((label, number)) => (label, Some(number)),
        None => (text, None::<u32>),
    };
    let step = find_step(record, label)?;
    let attempt = match number {
        Some(number) => step.attempts.iter().find(|attempt| attempt.attempt == number),
        None => step.attempts.last(),
    };
    let missing = || StepError::NoAttempt { label: label.to_owned(), attempts: step.attempts.len() };
    Ok((step, attempt.ok_or_else(missing)?))
}

fn near(label: &str, names: &[String], labels: &[String]) -> String {
    if let Some(near) = nearest(label, labels.iter().chain(names).map(String::as_str)) {
        return format!("did you mean `{near}`?");
    }
    // The same node elsewhere: another entry, another round, or inside a sub-workflow.
    let node = label.rsplit('/').next().unwrap_or_default().split(['[', '#']).next().unwrap_or_default();
    let same: Vec<&str> = names.iter().map(String::as_str).filter(|known| names_node(known, node)).collect();
    let known = if same.is_empty() { names.iter().map(String::as_str).collect() } else { same };
    if known.is_empty() { "the run has no steps".to_owned() } else { format!("there are {}", some(known.into_iter())) }
}

fn names_node(label: &str, node: &str) -> bool {
    let last = label.rsplit('/').next().unwrap_or_default();
    last.split(['[', '#']).next() == Some(node)
}

/// The first few of them, each in quotes.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names.take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{attempt, record, step};

    /// A map of two sub-workflows, each with a map of two.
    fn nested() -> RunRecord {
        let mut steps = vec![step("first", "tool", vec![attempt(1, None), attempt(2, None)])];
        for outer in 0..2 {
            let mut sub = step("sub", "workflow", Vec::new());
            sub.index = Some(outer);
            steps.push(sub);
            for inner in 0..2 {
                let mut entry = step("y", "tool", vec![attempt(1, None)]);
                (entry.path, entry.index) = (vec!["sub".to_owned()], Some(inner));
                steps.push(entry);
            }
            let mut plain = step("z", "tool", Vec::new());
            (plain.path, plain.index) = (vec!["sub".to_owned()], Some(outer));
            steps.push(plain);
        }
        record(steps)
    }

    #[test]
    fn whole_names_tell_all_steps_apart() {
        assert_eq!(
            step_names(&nested()),
            [
                "first",
                "sub[0]",
                "sub[0]/y[0]",
                "sub[0]/y[1]",
                "sub[0]/z",
                "sub[1]",
                "sub[1]/y[0]",
                "sub[1]/y[1]",
                "sub[1]/z"
            ]
        );
    }

    #[test]
    fn every_label_and_every_name_finds_its_step() {
        let record = nested();
        for (at, name) in step_names(&record).iter().enumerate() {
            assert!(std::ptr::eq(find_step(&record, name).unwrap(), &raw const record.steps[at]), "{name}");
        }
        assert_eq!(find_step(&record, "sub/z[1]").unwrap().index, Some(1));
    }

    #[test]
    fn what_names_no_step_is_told_what_would() {
        let record = nested();
        let told = |label: &str| {
            let error = find_step(&record, label).unwrap_err();
            format!("{error}; {}", error.hint())
        };
        insta::assert_snapshot!([told("frist"), told("sub/y[1]"), told("y"), told(""), told("nothing")].join("\n"), @r"
        the run has no step `frist`; did you mean `first`?
        `sub/y[1]` fits 2 steps; name one of `sub[0]/y[1]`, `sub[1]/y[1]`
        the run has no step `y`; there are `sub[0]/y[0]`, `sub[0]/y[1]`, `sub[1]/y[0]`, `sub[1]/y[1]`
        the run has no step ``; there are `first`, `sub[0]`, `sub[0]/y[0]`, `sub[0]/y[1]`, `sub[0]/z`, `sub[1]` and 3 more
        the run has no step `nothing`; there are `first`, `sub[0]`, `sub[0]/y[0]`, `sub[0]/y[1]`, `sub[0]/z`, `sub[1]` and 3 more
        ");
    }

    #[test]
    fn attempts_are_named_by_number_and_the_last_one_needs_none() {
        let record = nested();
        let number = |text: &str| find_attempt(&record, text).map(|(_, attempt)| attempt.attempt);
        assert_eq!((number("first"), number("first:1"), number("first:2")), (Ok(2), Ok(1), Ok(2)));
        let error = number("first:3").unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.hint().as_str()),
            ("`first` has only 2 attempts", "the last one is `first:2`")
        );
        assert!(matches!(number("sub[0]"), Err(StepError::NoAttempt { attempts: 0, .. })));
        assert!(matches!(number("first:x"), Err(StepError::Unknown { .. })));
    }
}
