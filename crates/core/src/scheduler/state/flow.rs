//! From step to step: readiness, conditions, skips and the start of steps, maps and sub-workflows.

use super::{
    Body, Command, Failure, GraphId, Join, Lane, MapPolicy, MapState, Node, NodeId, Outcome, Phase, Plan, Progress,
    Resolution, RunState, Scope, ScopeId, Semantics, Slot, Status, StepId, StepTrace, Todo, Usd, View, chance,
};

impl<S: Semantics> RunState<S> {
    pub(super) fn work_off(&mut self, semantics: &S, out: &mut Vec<Command>) {
        let plan = semantics.plan();
        while let Some(todo) = self.todo.pop() {
            if self.outcome.is_some() {
                self.todo.clear();
                return;
            }
            if self.is_moot(&todo) {
                continue;
            }
            match todo {
                Todo::Activate(scope, node, cause) => self.activate(semantics, scope, node, cause, out),
                Todo::Entries(scope, node, index, end, cause) => {
                    if index + 1 < end {
                        self.todo.push(Todo::Entries(scope, node, index + 1, end, cause));
                    }
                    self.add_step(semantics, (scope, node), Some(index), 0, None, cause, out);
                }
                Todo::Skip(scope, node, cause) => self.skip(scope, node, cause),
                Todo::Resolved(scope, node, cause, how) => self.resolved(plan, scope, node, cause, how, out),
                Todo::Output(step, value) => self.step_output(semantics, step, value, out),
                Todo::ScopeEnded(scope, cause) => self.scope_ended(semantics, scope, cause, out),
            }
        }
    }

    /// Whether a failure elsewhere has made something superfluous since it was noted down.
    fn is_moot(&self, todo: &Todo<S::Value>) -> bool {
        match todo {
            Todo::Entries(scope, node, ..) => {
                self.scopes[scope.0 as usize].closed
                    || self.slots[self.slot_index(*scope, *node)].progress != Progress::Active
            }
            Todo::Activate(scope, ..)
            | Todo::Skip(scope, ..)
            | Todo::Resolved(scope, ..)
            | Todo::ScopeEnded(scope, _) => self.scopes[scope.0 as usize].closed,
            // Taken up right after it was noted down.
            Todo::Output(..) => false,
        }
    }

    /// Makes the nodes of a fresh scope that wait for nothing ready, the first in the file first.
    pub(super) fn enter(&mut self, plan: &Plan, scope: ScopeId, cause: Option<StepId>) {
        let graph = self.graph(plan, scope);
        if graph.nodes().is_empty() {
            self.todo.push(Todo::ScopeEnded(scope, cause));
        }
        for (id, node) in graph.nodes().iter().enumerate().rev() {
            if node.dependencies().is_empty() && node.judges.is_none() {
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
                Err(failure) => return self.give_up_node(plan, scope, id, cause, failure, out),
            }
        }
        let Some(MapPolicy { concurrency }) = node.policy.map else {
            return self.add_step(semantics, (scope, id), None, 0, None, cause, out);
        };
        let view = View { state: self, scope, node: Some(id), step: None };
        let items = match semantics.items(view) {
            Ok(items) => items,
            Err(failure) => return self.give_up_node(plan, scope, id, cause, failure, out),
        };
        if items.is_empty() {
            return self.gather(semantics, scope, id, Vec::new(), cause, out);
        }
        let Ok(count) = u32::try_from(items.len()) else {
            let failure = Failure::fatal("the list to map over is too long");
            return self.give_up_node(plan, scope, id, cause, failure, out);
        };
        let first = concurrency.unwrap_or(count).clamp(1, count);
        let results = vec![None; items.len()];
        let first_step = self.steps.len() as u32;
        self.slots[slot].map = Some(Box::new(MapState { items, results, next: first, done: 0, first_step }));
        self.todo.push(Todo::Entries(scope, id, 0, first, cause));
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
        if !self.may_add_step(plan, scope, out) {
            return;
        }
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
        match node.policy.approval {
            Some(_) => self.ask(semantics, step, out),
            None => self.launch(semantics, step, out),
        }
    }

    /// Begins a step that nothing holds back any more.
    pub(super) fn launch(&mut self, semantics: &S, step: StepId, out: &mut Vec<Command>) {
        let plan = semantics.plan();
        match self.node_of(plan, step).body {
            Body::Agent | Body::Guard => self.begin_attempt(step, out),
            Body::Graph(graph) => match semantics.arguments(self.view(step)) {
                Ok(inputs) => {
                    let inner = self.add_scope(plan, graph, Some(step), inputs);
                    self.steps[step.index()].lane.phase = Phase::Open(inner);
                    self.enter(plan, inner, self.step(step).cause);
                }
                Err(failure) => self.give_up(plan, step, failure, out),
            },
        }
    }

    /// Counts one more step, or ends the run because there may be no more.
    pub(super) fn may_add_step(&mut self, plan: &Plan, scope: ScopeId, out: &mut Vec<Command>) -> bool {
        let Some(limit) = plan.limits.steps.filter(|limit| self.executed >= *limit) else {
            self.executed += 1;
            return true;
        };
        let failure = Failure::fatal(format!("the limit of {limit} steps is reached"))
            .with_hint("raise `limits.steps`, or bound the map or loop that makes so many");
        let outcome = Outcome::Limited(failure);
        match self.scope_parent(scope) {
            Some(parent) => self.stop(parent, outcome, out),
            None => self.finish(outcome, out),
        }
        false
    }

    pub(super) fn skip(&mut self, scope: ScopeId, node: NodeId, cause: Option<StepId>) {
        let slot = self.slot_index(scope, node);
        self.slots[slot].progress = Progress::Resolved;
        let mut trace = self.new_trace(scope, node, None, cause);
        (trace.status, trace.lane.phase) = (Status::Skipped, Phase::Ended);
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
        let from = graph.node(id);
        for dependent in from.dependents().iter().rev() {
            let node = graph.node(*dependent);
            let index = self.slot_index(scope, *dependent);
            let slot = &mut self.slots[index];
            let succeeded = how == Resolution::Succeeded;
            slot.waiting -= 1;
            slot.succeeded += u32::from(succeeded);
            if from.routes_to(*dependent) {
                slot.gates -= 1;
            } else {
                slot.fed |= succeeded;
            }
            if slot.progress != Progress::Waiting {
                continue;
            }
            let all_ended = slot.waiting == 0;
            let ready = match node.policy.join {
                Join::All => all_ended && slot.succeeded as usize == node.dependencies().len(),
                // Its routers decide first whether it may run; then it waits for one of the others, if there are any.
                Join::Any => slot.gates == 0 && (slot.fed || (all_ended && slot.succeeded > 0)),
            };
            if ready && !slot.excluded {
                self.todo.push(Todo::Activate(scope, *dependent, cause));
            } else if all_ended {
                let broken = if slot.excluded { None } else { self.failure_before(scope, node) };
                self.slots[index].progress = Progress::Active;
                match broken {
                    Some(failure) => {
                        self.give_up_node(plan, scope, *dependent, cause, failure, out);
                        // It may have ended the run or this scope, and must do so only once.
                        if self.outcome.is_some() || self.scopes[scope.0 as usize].closed {
                            return;
                        }
                    }
                    None => self.todo.push(Todo::Skip(scope, *dependent, cause)),
                }
            }
        }
    }

    fn failure_before(&self, scope: ScopeId, node: &Node) -> Option<Failure> {
        let mut dependencies = node.dependencies().iter();
        dependencies.find_map(|id| self.slots[self.slot_index(scope, *id)].failure.as_deref().cloned())
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
            interrupted: 0,
            lane: Lane { number: 0, phase: Phase::Preparing, reserved: Usd::ZERO },
            hedge: None,
            judges: None,
            question: None,
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
        let unresolved = nodes.iter().filter(|node| node.judges.is_none()).count() as u32;
        self.scopes.push(Scope { graph, first_slot, unresolved, parent, closed: false, inputs });
        self.slots.extend(nodes.iter().map(|node| Slot {
            waiting: node.dependencies().len() as u32,
            gates: node.gates(),
            succeeded: 0,
            fed: false,
            progress: Progress::Waiting,
            excluded: false,
            value: None,
            map: None,
            failure: None,
        }));
        id
    }
}
