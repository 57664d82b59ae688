//! What routers must have chosen for a node to run: nodes that ask for different choices never run together.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Graph;
use crate::spec::Join;

/// The positions of the labels of which a router must choose one, by the router; any of them where a router is not named.
pub(crate) type Choices = BTreeMap<usize, BTreeSet<usize>>;

impl Graph {
    /// What must be chosen for each node to run. Conditions are not looked at: they only keep more nodes from running. Nor
    /// are routers that choose several times.
    pub(crate) fn choices(&self) -> Vec<Choices> {
        let mut routed = vec![Choices::new(); self.nodes().len()];
        for (router, node) in self.nodes().iter().enumerate() {
            if node.policy.map.is_some() || node.policy.at_most.is_some() {
                continue;
            }
            for (label, targets) in node.routes.iter().enumerate() {
                for target in targets {
                    routed[target.index()].entry(router).or_default().insert(label);
                }
            }
        }
        let order = self.topological().iter().map(|id| id.index());
        let waits: Vec<BTreeSet<usize>> =
            self.nodes().iter().map(|node| node.dependencies().iter().map(|id| id.index()).collect()).collect();
        follow(order, &waits, |node| self.nodes()[node].policy.join, routed, |_, _, _| ())
    }
}

/// Follows choices along edges. `order` has dependencies first, `waits` for each node those that it waits for, `routed`
/// what the routers say of each node by themselves. `impossible(node, router, known)` hears of nodes that can never run;
/// they are taken to run whatever is chosen.
pub(crate) fn follow(
    order: impl IntoIterator<Item = usize>,
    waits: &[BTreeSet<usize>],
    join: impl Fn(usize) -> Join,
    routed: Vec<Choices>,
    mut impossible: impl FnMut(usize, usize, &[Choices]),
) -> Vec<Choices> {
    let mut known = vec![Choices::new(); waits.len()];
    for node in order {
        let mut choices = routed[node].clone();
        match join(node) {
            Join::All => waits[node].iter().for_each(|before| narrow(&mut choices, &known[*before])),
            Join::Any => narrow(&mut choices, &either(waits[node].iter().map(|before| &known[*before]))),
        }
        if let Some(router) = conflict(&choices) {
            impossible(node, router, &known);
            choices.clear();
        }
        known[node] = choices;
    }
    known
}

/// The first router that would have to choose two labels.
pub(crate) fn conflict(choices: &Choices) -> Option<usize> {
    choices.iter().find(|(_, labels)| labels.is_empty()).map(|(router, _)| *router)
}

/// Both must hold.
pub(crate) fn narrow(choices: &mut Choices, more: &Choices) {
    for (router, labels) in more {
        match choices.get_mut(router) {
            Some(known) => known.retain(|label| labels.contains(label)),
            None => drop(choices.insert(*router, labels.clone())),
        }
    }
}

/// One of them must hold.
fn either<'a>(mut all: impl Iterator<Item = &'a Choices>) -> Choices {
    let mut choices = all.next().cloned().unwrap_or_default();
    for other in all {
        choices.retain(|router, _| other.contains_key(router));
        for (router, labels) in &mut choices {
            labels.extend(&other[router]);
        }
    }
    choices
}
