//! What a step's value leads to: the next round or entry, a gathered list, a branch, the end of its scope.

use super::{
    Body, Command, Failure, NodeId, Outcome, Progress, Resolution, RunState, ScopeId, Semantics, Status, StepId,
    StepTrace, Todo, View,
};

impl<S: Semantics> RunState<S> {
    pub(super) fn step_output(&mut self, semantics: &S, id: StepId, value: S::Value, out: &mut Vec<Command>) {
        let tested = match self.step(id).judges {
            Some(_) => self.judged(semantics, id, value, out),
            None => self.test(semantics, id, value, out).map(|value| (id, value)),
        };
        if let Some((id, value)) = tested {
            self.step_value(semantics, id, value, out);
        }
    }

    fn step_value(&mut self, semantics: &S, id: StepId, value: S::Value, out: &mut Vec<Command>) {
        let StepTrace { scope, node, index, iteration, .. } = self.steps[id.index()];
        let plan = semantics.plan();
        let definition = self.graph(plan, scope).node(node);
        if definition.body == Body::Guard {
            match semantics.refusal(self.view(id), &value) {
                Ok(None) => {}
                Ok(Some(failure)) => {
                    self.steps[id.index()].value = Some(value);
                    return self.stop(id, Outcome::Refused(failure), out);
                }
                Err(failure) => return self.give_up(plan, id, failure, out),
            }
        }
        if let (Some(at_most), Some(round)) = (definition.policy.at_most, iteration)
            && round + 1 < at_most
        {
            match semantics.loop_ends(self.view(id), &value) {
                Ok(true) => {}
                Ok(false) => {
                    self.steps[id.index()].value = Some(value.clone());
                    self.end_step(id, Status::Succeeded, None);
                    return self.add_step(semantics, (scope, node), index, round + 1, Some(value), Some(id), out);
                }
                Err(failure) => return self.give_up(plan, id, failure, out),
            }
        }
        self.steps[id.index()].value = Some(value.clone());
        self.end_step(id, Status::Succeeded, None);
        let Some(index) = index else {
            return self.node_succeeded(semantics, scope, node, value, Some(id), out);
        };
        let slot = self.slot_index(scope, node);
        let Some(map) = self.slots[slot].map.as_mut() else { return };
        map.results[index as usize] = Some(value);
        map.done += 1;
        if (map.next as usize) < map.items.len() {
            let next = map.next;
            map.next += 1;
            self.add_step(semantics, (scope, node), Some(next), 0, None, Some(id), out);
        } else if map.done as usize == map.items.len() {
            let values = std::mem::take(&mut map.results).into_iter().flatten().collect();
            self.gather(semantics, scope, node, values, Some(id), out);
        }
    }

    pub(super) fn gather(
        &mut self,
        semantics: &S,
        scope: ScopeId,
        node: NodeId,
        values: Vec<S::Value>,
        cause: Option<StepId>,
        out: &mut Vec<Command>,
    ) {
        let view = View { state: self, scope, node: Some(node), step: None };
        match semantics.gather(view, values) {
            Ok(value) => self.node_succeeded(semantics, scope, node, value, cause, out),
            Err(failure) => self.give_up_node(semantics.plan(), scope, node, cause, failure, out),
        }
    }

    pub(super) fn node_succeeded(
        &mut self,
        semantics: &S,
        scope: ScopeId,
        id: NodeId,
        value: S::Value,
        cause: Option<StepId>,
        out: &mut Vec<Command>,
    ) {
        let plan = semantics.plan();
        let node = self.graph(plan, scope).node(id);
        if !node.routes.is_empty() {
            // A map has no step of its own: its cause is the entry that ended last, or, without entries, something else.
            let own = cause.filter(|_| node.policy.map.is_none());
            let view = View { state: self, scope, node: Some(id), step: own };
            let chosen = semantics.branch(view, &value).and_then(|branch| {
                let failure = || Failure::fatal("the router chose a branch that is not there");
                (branch < node.routes.len()).then_some(branch).ok_or_else(failure)
            });
            let chosen = match (chosen, own) {
                (Ok(branch), _) => branch,
                (Err(failure), Some(step)) => return self.give_up(plan, step, failure, out),
                (Err(failure), None) => return self.give_up_node(plan, scope, id, cause, failure, out),
            };
            for target in node.routes.iter().flatten() {
                if !node.routes[chosen].contains(target) {
                    let slot = self.slot_index(scope, *target);
                    self.slots[slot].excluded = true;
                }
            }
        }
        let slot = self.slot_index(scope, id);
        self.slots[slot].value = Some(value);
        self.slots[slot].progress = Progress::Resolved;
        self.todo.push(Todo::Resolved(scope, id, cause, Resolution::Succeeded));
    }

    pub(super) fn scope_ended(&mut self, semantics: &S, scope: ScopeId, cause: Option<StepId>, out: &mut Vec<Command>) {
        let parent = self.scopes[scope.0 as usize].parent;
        match (semantics.output(View { state: self, scope, node: None, step: None }), parent) {
            (Ok(value), None) => self.finish(Outcome::Succeeded(value), out),
            (Ok(value), Some(step)) => {
                // Its cause is what ended last inside, so that the critical path goes through the sub-workflow.
                self.steps[step.index()].cause = cause.or(self.steps[step.index()].cause);
                self.todo.push(Todo::Output(step, value));
            }
            (Err(failure), None) => self.finish(Outcome::Failed(failure), out),
            (Err(failure), Some(step)) => self.give_up(semantics.plan(), step, failure, out),
        }
    }
}
