//! What can be chosen: the nodes that ask a model, and the backends that each of them may be bound to.

use std::sync::Arc;

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
            if let Some(known) = space.nodes.iter_mut().find(|choice| choice.node == node.name) {
                if known.options[0].backend != options[0].backend {
                    known.options.truncate(1);
                    let why = "nodes of this name are bound to different backends";
                    space.fixed.push(fixed(base, why.to_owned()));
                    continue;
                }
                // Bound by one name, they take what suits all of them.
                known.options[0].is_offered &= options[0].is_offered;
                known.options.retain(|it| options.iter().any(|other| other.backend == it.backend));
                known.excluded.extend(excluded);
                continue;
            }
            if options.len() == 1 {
                let why = if options[0].is_offered { "no other backend is offered" } else { "no backend fits it" };
                space.fixed.push(fixed(base, why.to_owned()));
                continue;
            }
            space.nodes.push(Choice { node: node.name.clone(), options, excluded });
        }
        space.nodes.retain(|choice| choice.options.len() > 1);
        space
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
