//! What the semantics may look at.

use super::super::event::Decision;
use super::{GraphId, NodeId, RunState, ScopeId, Semantics, StepId};
use crate::chance;

/// What [`Semantics`] may look at when it answers: a node, seen from its scope.
pub struct View<'a, S: Semantics> {
    /// The whole run.
    pub state: &'a RunState<S>,
    /// The scope in which names are looked up.
    pub scope: ScopeId,
    /// The node; `None` when the question is about the scope's output.
    pub node: Option<NodeId>,
    /// The step, where there is one.
    pub step: Option<StepId>,
}

impl<S: Semantics> Clone for View<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Semantics> Copy for View<'_, S> {}

impl<'a, S: Semantics> View<'a, S> {
    /// The graph that the scope executes.
    pub fn graph(self) -> GraphId {
        self.state.scopes[self.scope.0 as usize].graph
    }

    /// The scope's inputs.
    pub fn inputs(self) -> &'a S::Value {
        &self.state.scopes[self.scope.0 as usize].inputs
    }

    /// The value of a node of the same scope; `None` while it has none.
    pub fn value(self, node: NodeId) -> Option<&'a S::Value> {
        let scope = &self.state.scopes[self.scope.0 as usize];
        self.state.slots[scope.first_slot as usize + node.index()].value.as_ref()
    }

    /// The entry of the map that the step works on, and its position.
    pub fn item(self) -> Option<(&'a S::Value, u32)> {
        let id = self.step?;
        let step = self.state.step(self.state.step(id).judges.unwrap_or(id));
        let index = step.index?;
        let map = self.state.slots[self.state.slot_index(step.scope, step.node)].map.as_ref()?;
        map.items.get(index as usize).map(|item| (item, index))
    }

    /// What the round before the step's produced.
    pub fn previous(self) -> Option<&'a S::Value> {
        let step = self.state.step(self.step?);
        let step = step.judges.map_or(step, |judged| self.state.step(judged));
        step.previous.as_ref()
    }

    /// The answer that the step judges.
    pub fn judged(self) -> Option<&'a S::Value> {
        let step = self.state.step(self.step?);
        step.judges.and(step.previous.as_ref())
    }

    /// What a person has made of the step's arguments, or of those of the step that it judges.
    pub fn edited(self) -> Option<&'a S::Value> {
        let id = self.step?;
        match self.state.decision(self.state.step(id).judges.unwrap_or(id))? {
            Decision::Edited(arguments) => Some(arguments),
            Decision::Approved { .. } | Decision::Rejected { .. } => None,
        }
    }

    /// Names what the view looks from; the same whatever the order of events, and so the place of what is drawn for it.
    pub fn key(self) -> u64 {
        if let Some(step) = self.step {
            return self.state.step(step).key;
        }
        let scope = self.parent().map_or(0, View::key);
        chance::combine(scope, self.node.map_or(0, |node| u64::from(node.0) + 1))
    }

    /// The view from the step whose sub-workflow this scope executes.
    pub fn parent(self) -> Option<View<'a, S>> {
        let step = self.state.scopes[self.scope.0 as usize].parent?;
        Some(self.state.view(step))
    }
}
