//! What can be chosen: the nodes that ask a model, and the backends that each of them may be bound to.

use std::sync::Arc;

use indexmap::IndexMap;
use lumos_engine::{BoundBackend, BoundProgram};
use serde::Serialize;

/// The option of each node, by its position in [`Choice::options`].
pub type Assignment = Vec<usize>;

/// What can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Space {
    /// The nodes with more than one backend, in the order of the workflow.
    pub nodes: Vec<Choice>,
    /// Nodes that ask a model and stay where they are.
    pub fixed: Vec<Fixed>,
}

/// A node, and where it may be bound to. Nodes of one name, in sub-workflows, are bound together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Its name.
    pub node: String,
    /// Backends; the first is the one of the base deployment.
    pub options: Vec<Candidate>,
    /// Backends that it may not, or cannot, be bound to, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Fixed>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its name in the deployment.
    pub backend: String,
    /// Its model.
    pub model: String,
    /// Whether it may be chosen; a base that may not be is only measured.
    pub is_offered: bool,
}

/// A node's backend that is no matter of choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fixed {
    /// The node.
    pub node: String,
    /// The backend.
    pub backend: String,
    /// Why.
    pub why: String,
}

impl Space {
    /// That of a bound program, with backends to choose from. Judges of cascades and what embedding programs register stay as
    /// they are bound.
    pub fn of(bound: &BoundProgram, candidates: &[Arc<BoundBackend>]) -> Self {
        let mut space = Self { nodes: Vec::new(), fixed: Vec::new() };
        let mut asking: IndexMap<&str, Vec<Choice>> = IndexMap::new();
        for node in bound.program().nodes() {
            let Some(base) = bound.binding(node.position).backends.first() else { continue };
            let fixed = |backend: &BoundBackend, why: String| Fixed {
                node: node.name.clone(),
                backend: backend.reference.backend.clone(),
                why,
            };
            if node.judged.is_some() {
                space.fixed.push(fixed(base, "the judge of a cascade is part of its node".to_owned()));
                continue;
            }
            let embeds = node.kind == "retriever";
            let why_not = |candidate: &Arc<BoundBackend>| {
                let info = candidate.backend.info();
                if embeds && !info.embed {
                    return Some("it does not embed".to_owned());
                }
                if !embeds && !info.chat {
                    return Some("it only embeds".to_owned());
                }
                bound.forbidden(node, Some(&**candidate)).map(|failure| failure.message)
            };
            let name = |bound: &BoundBackend| bound.reference.backend.clone();
            let candidate = |bound: &BoundBackend, is_offered: bool| Candidate {
                backend: name(bound),
                model: bound.reference.model.clone(),
                is_offered,
            };
            let (fit, unfit): (Vec<_>, Vec<_>) = candidates.iter().partition(|it| why_not(it).is_none());
            let is_base = |it: &BoundBackend| name(it) == name(base);
            let mut options = vec![candidate(base, fit.iter().any(|it| is_base(it)))];
            options.extend(fit.iter().filter(|it| !is_base(it)).map(|it| candidate(it, true)));
            let excluded: Vec<Fixed> = unfit.iter().map(|it| fixed(it, why_not(it).unwrap_or_default())).collect();
            let of_name = asking.entry(&node.name).or_default();
            of_name.push(Choice { node: node.name.clone(), options, excluded });
        }
        for choices in asking.into_values() {
            space.add(choices);
        }
        space
    }

    /// Adds what nodes of one name may be bound to. Bound by that name, they take what suits all of them.
    fn add(&mut self, choices: Vec<Choice>) {
        let mut choices = choices.into_iter();
        let Some(mut all) = choices.next() else { return };
        let mut bases = vec![all.options[0].backend.clone()];
        for choice in choices {
            let base = &choice.options[0];
            if !bases.contains(&base.backend) {
                bases.push(base.backend.clone());
            }
            // Another base is none of theirs, and they stay where they are.
            all.options.iter_mut().take(1).for_each(|it| it.is_offered &= base.is_offered);
            all.options.retain(|it| choice.options.iter().any(|other| other.backend == it.backend));
            for excluded in choice.excluded {
                if all.excluded.iter().all(|it| it.backend != excluded.backend) {
                    all.excluded.push(excluded);
                }
            }
        }
        let why = match (bases.len(), all.options.as_slice()) {
            (1, [base]) => {
                let why = match (base.is_offered, all.excluded.is_empty()) {
                    (false, _) => "no backend fits it",
                    (true, true) => "no other backend is offered",
                    (true, false) => "no other backend fits it",
                };
                let excluded: Vec<String> =
                    all.excluded.iter().map(|it| format!("`{}`: {}", it.backend, it.why)).collect();
                if excluded.is_empty() { why.to_owned() } else { format!("{why} ({})", excluded.join("; ")) }
            }
            (1, _) => return self.nodes.push(all),
            _ => "nodes of this name are bound to different backends".to_owned(),
        };
        let fixed = |backend| Fixed { node: all.node.clone(), backend, why: why.clone() };
        self.fixed.extend(bases.into_iter().map(fixed));
    }

    /// Every node where it is bound at first.
    pub fn base(&self) -> Assignment {
        vec![0; self.nodes.len()]
    }

    /// The assignments with one node elsewhere than in the base.
    pub fn single(&self) -> Vec<(usize, usize)> {
        let of = |(node, choice): (usize, &Choice)| (1..choice.options.len()).map(move |option| (node, option));
        self.nodes.iter().enumerate().flat_map(of).collect()
    }

    /// How many assignments there are of what is offered; `None` when they cannot be counted.
    pub fn size(&self) -> Option<u64> {
        self.nodes.iter().try_fold(1u64, |size, choice| size.checked_mul(choice.offered().count() as u64))
    }

    /// The name of an assignment: the base's, and what is elsewhere than there.
    pub fn name(&self, base: &str, assignment: &[usize]) -> String {
        let named = self.named(assignment).zip(assignment).filter(|(_, option)| **option != 0);
        let moved: Vec<String> = named.map(|((node, backend), _)| format!("{node}={backend}")).collect();
        if moved.is_empty() { base.to_owned() } else { format!("{base}+{}", moved.join(",")) }
    }

    /// Each node with its backend.
    pub fn named<'a>(&'a self, assignment: &'a [usize]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.nodes.iter().zip(assignment);
        pairs.map(|(choice, option)| (choice.node.as_str(), choice.options[*option].backend.as_str()))
    }
}

impl Choice {
    /// The options that may be chosen.
    pub fn offered(&self) -> impl Iterator<Item = usize> + '_ {
        self.options.iter().enumerate().filter(|(_, option)| option.is_offered).map(|(at, _)| at)
    }
}
