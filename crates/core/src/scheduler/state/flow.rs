//! From step to step: readiness, conditions, maps, loops, branches and sub-workflows.

use super::{
    Body, Command, Failure, GraphId, Join, MapPolicy, MapState, Node, NodeId, Outcome, Phase, Plan, Progress,
    Resolution, RunState, Scope, ScopeId, Semantics, Slot, Status, StepId, StepTrace, Todo, View, chance,
};

impl<S: Semantics> RunState<S> {
    pub(super) fn node_failed(
        &mut self,
        plan: &Plan,
        scope: ScopeId,
        node: NodeId,
        cause: Option<StepId>,
        failure: Failure,
        out: &mut Vec<Command>,
    ) {
        let graph = self.graph(plan, scope);
        let dependents = graph.node(node).dependents();
        let bearable = !dependents.is_empty()
            && dependents.iter().all(|id| graph.node(*id).policy.join == Join::Any)
            && matches!(graph.node(node).body, Body::Agent | Body::Graph(_));
        if bearable {
            let slot = self.slot_index(scope, node);
            self.slots[slot].failure = Some(Box::new(failure));
            self.slots[slot].progress = Progress::Resolved;
            self.todo.push(Todo::Resolved(scope, node, cause, Resolution::Failed));
        } else {
            self.finish(Outcome::Failed(failure), out);
        }
    }

    pub(super) fn work_off(&mut self, semantics: &S, out: &mut Vec<Command>) {
        let plan = semantics.plan();
        while let Some(todo) = self.todo.pop() {
            if self.outcome.is_some() {
                self.todo.clear();
                return;
            }
            match todo {
                Todo::Activate(scope, node, cause) => self.activate(semantics, scope, node, cause, out),
                Todo::Skip(scope, node, cause) => self.skip(scope, node, cause),
                Todo::Resolved(scope, node, cause, how) => self.resolved(plan, scope, node, cause, how, out),
                Todo::Output(step, value) => self.step_output(semantics, step, value, out),
                Todo::ScopeEnded(scope, cause) => self.scope_ended(semantics, scope, cause, out),
            }
        }
    }

    /// Makes the nodes of a fresh scope that wait for nothing ready, the first in the file first.
    pub(super) fn enter(&mut self, plan: &Plan, scope: ScopeId, cause: Option<StepId>) {
        let graph = self.graph(plan, scope);
        if graph.nodes().is_empty() {
            self.todo.push(Todo::ScopeEnded(scope, cause));
        }
        for (id, node) in graph.nodes().iter().enumerate().rev() {
            if node.dependencies().is_empty() {
                self.todo.push(Todo::Activate(scope, NodeId(id as u32), cause));
            }
        }
    }

    pub(super) fn activate(
        &mut self,
        semantics: &S,
        scope: ScopeId,
        id: NodeId,
        cause: Option<StepId>,
        out: &mut Vec<Command>,
    ) {
        let plan = semantics.plan();
        let node = self.graph(plan, scope).node(id);
        let slot = self.slot_index(scope, id);
        if self.slots[slot].progress != Progress::Waiting {
            return;
        }
        self.slots[slot].progress = Progress::Active;
        let view = View { state: self, scope, node: Some(id), step: None };
        if node.policy.conditional {
            match semantics.condition(view) {
                Ok(true) => {}
                Ok(false) => return self.todo.push(Todo::Skip(scope, id, cause)),
                Err(failure) => return self.fail_before_start(plan, scope, id, cause, failure, out),
            }
        }
        let Some(MapPolicy { concurrency }) = node.policy.map else {
            return self.add_step(semantics, (scope, id), None, 0, None, cause, out);
        };
        let view = View { state: self, scope, node: Some(id), step: None };
        let items = match semantics.items(view) {
            Ok(items) => items,
            Err(failure) => return self.fail_before_start(plan, scope, id, cause, failure, out),
        };
        if items.is_empty() {
            return self.gather(semantics, scope, id, Vec::new(), cause, out);
        }
        let Ok(count) = u32::try_from(items.len()) else {
            let failure = Failure::fatal("the list to map over is too long");
            return self.fail_before_start(plan, scope, id, cause, failure, out);
        };
        let first = concurrency.unwrap_or(count).clamp(1, count);
        let results = vec![None; items.len()];
        self.slots[slot].map = Some(Box::new(MapState { items, results, next: first, done: 0 }));
        for index in 0..first {
            self.add_step(semantics, (scope, id), Some(index), 0, None, cause, out);
            if self.outcome.is_some() {
                return;
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn add_step(
        &mut self,
        semantics: &S,
        (scope, id): (ScopeId, NodeId),
        index: Option<u32>,
        iteration: u32,
        previous: Option<S::Value>,
        cause: Option<StepId>,
        out: &mut Vec<Command>,
    ) {
        let plan = semantics.plan();
        if let Some(limit) = plan.limits.steps.filter(|limit| self.executed >= *limit) {
            let failure = Failure {
                message: format!("the limit of {limit} steps is reached"),
                hint: Some("raise `limits.steps`, or bound the map or loop that makes so many".to_owned()),
                retryable: false,
            };
            return self.finish(Outcome::Limited(failure), out);
        }
        self.executed += 1;
        let node = self.graph(plan, scope).node(id);
        let parent = self.scopes[scope.0 as usize].parent;
        let mut key = parent.map_or(0, |parent| self.step(parent).key);
        for part in [u64::from(id.0), index.map_or(0, |index| u64::from(index) + 1), u64::from(iteration)] {
            key = chance::combine(key, part);
        }
        let iteration = node.policy.at_most.is_some().then_some(iteration);
        let mut trace = self.new_trace(scope, id, index, cause);
        (trace.key, trace.iteration, trace.previous) = (key, iteration, previous);
        let step = StepId(self.steps.len() as u32);
        self.steps.push(trace);
        match node.body {
            Body::Agent | Body::Guard => self.begin_attempt(step, out),
            Body::Graph(graph) => match semantics.arguments(self.view(step)) {
                Ok(inputs) => {
                    self.steps[step.index()].phase = Phase::Open;
                    let inner = self.add_scope(plan, graph, Some(step), inputs);
                    self.enter(plan, inner, cause);
                }
                Err(failure) => self.give_up(plan, step, failure, out),
            },
        }
    }

    pub(super) fn step_output(&mut self, semantics: &S, id: StepId, value: S::Value, out: &mut Vec<Command>) {
        let StepTrace { scope, node, index, iteration, .. } = self.steps[id.index()];
        let plan = semantics.plan();
        let definition = self.graph(plan, scope).node(node);
        if definition.body == Body::Guard {
            match semantics.refusal(self.view(id), &value) {
                Ok(None) => {}
                Ok(Some(failure)) => {
                    self.steps[id.index()].value = Some(value);
                    self.end_step(id, Status::Refused, Some(failure.clone()));
                    return self.finish(Outcome::Refused(failure), out);
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
            let values = map.results.iter_mut().filter_map(Option::take).collect();
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
            Err(failure) => self.fail_before_start(semantics.plan(), scope, node, cause, failure, out),
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
            let view = View { state: self, scope, node: Some(id), step: cause };
            let chosen = match semantics.branch(view, &value) {
                Ok(branch) if branch < node.routes.len() => branch,
                Ok(_) => {
                    let failure = Failure::fatal("the router chose a branch that is not there");
                    return self.fail_before_start(plan, scope, id, cause, failure, out);
                }
                Err(failure) => return self.fail_before_start(plan, scope, id, cause, failure, out),
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

    pub(super) fn skip(&mut self, scope: ScopeId, node: NodeId, cause: Option<StepId>) {
        let slot = self.slot_index(scope, node);
        self.slots[slot].progress = Progress::Resolved;
        let mut trace = self.new_trace(scope, node, None, cause);
        (trace.status, trace.phase) = (Status::Skipped, Phase::Ended);
        self.steps.push(trace);
        self.todo.push(Todo::Resolved(scope, node, cause, Resolution::Skipped));
    }

    /// Tells the dependents of a node that it has ended, and the scope when it was the last.
    pub(super) fn resolved(
        &mut self,
        plan: &Plan,
        scope: ScopeId,
        id: NodeId,
        cause: Option<StepId>,
        how: Resolution,
        out: &mut Vec<Command>,
    ) {
        let graph = self.graph(plan, scope);
        let unresolved = &mut self.scopes[scope.0 as usize].unresolved;
        *unresolved -= 1;
        if *unresolved == 0 {
            return self.todo.push(Todo::ScopeEnded(scope, cause));
        }
        for dependent in graph.node(id).dependents().iter().rev() {
            let node = graph.node(*dependent);
            let index = self.slot_index(scope, *dependent);
            let slot = &mut self.slots[index];
            slot.waiting -= 1;
            slot.succeeded += u32::from(how == Resolution::Succeeded);
            if slot.progress != Progress::Waiting {
                continue;
            }
            let all_succeeded = slot.succeeded as usize == node.dependencies().len();
            let ready = match node.policy.join {
                Join::All => slot.waiting == 0 && all_succeeded,
                Join::Any => how == Resolution::Succeeded,
            };
            if ready && !slot.excluded {
                self.todo.push(Todo::Activate(scope, *dependent, cause));
            } else if slot.waiting == 0 {
                let broken = (!slot.excluded && node.policy.join == Join::Any)
                    .then(|| self.failure_before(scope, node))
                    .flatten();
                if let Some(failure) = broken {
                    self.node_failed(plan, scope, *dependent, cause, failure, out);
                } else {
                    self.slots[index].progress = Progress::Active;
                    self.todo.push(Todo::Skip(scope, *dependent, cause));
                }
            }
        }
    }

    pub(super) fn failure_before(&self, scope: ScopeId, node: &Node) -> Option<Failure> {
        let mut dependencies = node.dependencies().iter();
        dependencies.find_map(|id| self.slots[self.slot_index(scope, *id)].failure.as_deref().cloned())
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

    /// Records a failed step for a node that failed before, or after, all of its steps.
    pub(super) fn fail_before_start(
        &mut self,
        plan: &Plan,
        scope: ScopeId,
        node: NodeId,
        cause: Option<StepId>,
        failure: Failure,
        out: &mut Vec<Command>,
    ) {
        let step = StepId(self.steps.len() as u32);
        let trace = self.new_trace(scope, node, None, cause);
        self.steps.push(trace);
        self.end_step(step, Status::Failed, Some(failure.clone()));
        self.node_failed(plan, scope, node, Some(step), failure, out);
    }

    pub(super) fn new_trace(
        &self,
        scope: ScopeId,
        node: NodeId,
        index: Option<u32>,
        cause: Option<StepId>,
    ) -> StepTrace<S::Value> {
        StepTrace {
            scope,
            node,
            index,
            iteration: None,
            status: Status::Running,
            ready_us: self.now_us,
            end_us: self.now_us,
            cause,
            value: None,
            failure: None,
            key: 0,
            attempt: 0,
            tries_on_candidate: 0,
            candidate: 0,
            phase: Phase::Preparing,
            reserved: None,
            previous: None,
        }
    }

    pub(super) fn add_scope(
        &mut self,
        plan: &Plan,
        graph: GraphId,
        parent: Option<StepId>,
        inputs: S::Value,
    ) -> ScopeId {
        let id = ScopeId(self.scopes.len() as u32);
        let nodes = plan.graph(graph).nodes();
        let first_slot = self.slots.len() as u32;
        self.scopes.push(Scope { graph, first_slot, unresolved: nodes.len() as u32, parent, inputs });
        self.slots.extend(nodes.iter().map(|node| Slot {
            waiting: node.dependencies().len() as u32,
            succeeded: 0,
            progress: Progress::Waiting,
            excluded: false,
            value: None,
            map: None,
            failure: None,
        }));
        id
    }
}
