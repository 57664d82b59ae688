//! What values mean in a live run: the scheduler's questions answered by templates.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{Argument, LiveValue, Program, ProgramNode};
use crate::agent::Arguments;
use crate::graph::{Body, Plan};
use crate::scheduler::{Failure, RunState, Semantics, StepId, View};
use crate::template::{Scope, Template, TemplateError};

/// The names that a template of a node may use.
struct Names<'a> {
    program: &'a Program,
    view: View<'a, Program>,
    output: Option<&'a LiveValue>,
}

impl Scope for Names<'_> {
    fn get(&self, name: &str) -> Option<minijinja::Value> {
        let view = self.view;
        let graph = &self.program.graphs[view.graph().index()];
        match name {
            "inputs" => Some(view.inputs().template()),
            "item" => view.item().map(|(item, _)| item.template()),
            "index" => view.item().map(|(_, index)| minijinja::Value::from(index)),
            "output" => self.output.or_else(|| view.judged()).map(LiveValue::template),
            "previous" => {
                let node = view.node.map(|node| &graph.nodes[node.index()])?;
                node.until.as_ref().map(|_| view.previous().map_or_else(|| ().into(), LiveValue::template))
            }
            node => view.value(*graph.ids.get(node)?).map(LiveValue::template),
        }
    }

    fn names(&self) -> Vec<String> {
        let graph = &self.program.graphs[self.view.graph().index()];
        let reserved = ["inputs", "item", "index", "output", "previous"].map(str::to_owned);
        reserved.into_iter().chain(graph.ids.keys().cloned()).filter(|name| self.get(name).is_some()).collect()
    }
}

impl Program {
    /// A step's arguments, rendered.
    ///
    /// # Errors
    /// A template that cannot be evaluated, with its field and a hint.
    pub fn arguments(&self, state: &RunState<Self>, step: StepId) -> Result<Arguments, Failure> {
        self.render_arguments(state.view(step))
    }

    /// The arguments of a step as they would be had no person changed them.
    ///
    /// # Errors
    /// As for [`Self::arguments`].
    pub fn proposed(&self, state: &RunState<Self>, step: StepId) -> Result<Arguments, Failure> {
        self.render_templates(state.view(step), None)
    }

    fn render_arguments(&self, view: View<'_, Self>) -> Result<Arguments, Failure> {
        let node = self.node_in(view)?;
        let edited = match view.edited().map(LiveValue::json) {
            None => None,
            Some(Value::Object(edited)) => Some(edited),
            Some(other) => {
                let message =
                    format!("the edited arguments of `{}` are {}, not an object", node.name, type_name(other));
                return Err(Failure::fatal(message));
            }
        };
        if let Some(edited) = edited.filter(|_| node.judged.is_none()) {
            return Ok(edited.iter().map(|(name, value)| (name.clone(), value.clone())).collect());
        }
        self.render_templates(view, edited)
    }

    /// `edited` are the arguments that a person gave to the step whose answer this one judges.
    fn render_templates(
        &self,
        view: View<'_, Self>,
        edited: Option<&Map<String, Value>>,
    ) -> Result<Arguments, Failure> {
        let node = self.node_in(view)?;
        let names = Names { program: self, view, output: None };
        let mut arguments = Arguments::with_capacity(node.arguments.len());
        for (name, argument) in &node.arguments {
            let value = match argument {
                Argument::Constant(value) => value.clone(),
                // A judge is told what the answer was made of.
                Argument::Template(_)
                    if name == "context" && edited.is_some_and(|edited| edited.contains_key("input")) =>
                {
                    edited.and_then(|edited| edited.get("input")).cloned().unwrap_or_default()
                }
                Argument::Template(template) => {
                    template.evaluate(&names).map_err(|error| failure(&node.name, name, error))?
                }
            };
            arguments.insert(name.clone(), value);
        }
        Ok(arguments)
    }

    /// A step's arguments with some of them changed by a person, for [`crate::scheduler::Decision::Edited`].
    ///
    /// # Errors
    /// Changes that name something that the step does not take, and templates that cannot be evaluated.
    pub fn edited(
        &self,
        state: &RunState<Self>,
        step: StepId,
        changes: Map<String, Value>,
    ) -> Result<LiveValue, Failure> {
        let node = self.node(state.graph_of(step), state.step(step).node);
        let mut arguments = self.arguments(state, step)?;
        let inputs = match self.plan.graph(state.graph_of(step)).node(state.step(step).node).body {
            Body::Graph(graph) => Some(&self.graphs[graph.index()].inputs),
            Body::Agent | Body::Guard => None,
        };
        for (name, value) in changes {
            if !arguments.contains_key(&name) && !inputs.is_some_and(|inputs| inputs.contains_key(&name)) {
                let takes = arguments.keys().chain(inputs.into_iter().flat_map(IndexMap::keys)).map(String::as_str);
                let mut takes: Vec<&str> = takes.collect();
                takes.sort_unstable();
                takes.dedup();
                let hint = if takes.is_empty() {
                    "it takes none".to_owned()
                } else {
                    format!("it takes {}", takes.join(", "))
                };
                return Err(Failure::fatal(format!("`{}` takes no argument `{name}`", node.name)).with_hint(hint));
            }
            arguments.insert(name, value);
        }
        Ok(Value::Object(arguments.into_iter().collect()).into())
    }

    fn node_in(&self, view: View<'_, Self>) -> Result<&ProgramNode, Failure> {
        let node = view.node.ok_or_else(|| Failure::fatal("there is no node to ask about"))?;
        Ok(self.node(view.graph(), node))
    }

    fn names<'a>(&'a self, view: View<'a, Self>, output: Option<&'a LiveValue>) -> Names<'a> {
        Names { program: self, view, output }
    }
}

fn failure(node: &str, field: &str, error: TemplateError) -> Failure {
    let message = format!("`{field}` of `{node}`: {error}");
    Failure { hint: error.hint, ..Failure::fatal(message) }
}

/// Whether the expression holds; a node without one has nothing to wait for.
fn holds(template: Option<&Template>, names: &Names<'_>, node: &str, field: &str) -> Result<bool, Failure> {
    template.map_or(Ok(true), |template| template.evaluate_bool(names).map_err(|error| failure(node, field, error)))
}

impl Semantics for Program {
    type Value = LiveValue;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn condition(&self, view: View<'_, Self>) -> Result<bool, Failure> {
        let node = self.node_in(view)?;
        holds(node.condition.as_ref(), &self.names(view, None), &node.name, "when")
    }

    fn items(&self, view: View<'_, Self>) -> Result<Vec<LiveValue>, Failure> {
        let node = self.node_in(view)?;
        let Some(template) = &node.map else { return Ok(Vec::new()) };
        let value = template.evaluate(&self.names(view, None)).map_err(|error| failure(&node.name, "map", error))?;
        match value {
            Value::Array(items) => Ok(items.into_iter().map(LiveValue::from).collect()),
            other => {
                let message = format!("`map` of `{}` must give a list, not {}", node.name, type_name(&other));
                Err(Failure::fatal(message).with_hint("name a list, such as `{{ plan.items }}`"))
            }
        }
    }

    fn loop_ends(&self, view: View<'_, Self>, output: &LiveValue) -> Result<bool, Failure> {
        let node = self.node_in(view)?;
        holds(node.until.as_ref(), &self.names(view, Some(output)), &node.name, "repeat.until")
    }

    fn accept(&self, view: View<'_, Self>, output: &LiveValue) -> Result<bool, Failure> {
        let node = self.node_in(view)?;
        holds(node.accept.as_ref(), &self.names(view, Some(output)), &node.name, "cascade.accept")
    }

    fn branch(&self, view: View<'_, Self>, output: &LiveValue) -> Result<usize, Failure> {
        let node = self.node_in(view)?;
        let choice = output.json().get("choice").and_then(Value::as_str);
        let position = choice.and_then(|choice| node.branches.iter().position(|branch| branch == choice));
        position.or(node.default_branch).ok_or_else(|| {
            let chosen = choice.map_or_else(|| "nothing".to_owned(), |choice| format!("`{choice}`"));
            let message = format!("`{}` chose {chosen}, which is none of its routes", node.name);
            let hint = format!("its routes are {}; name one of them as `default`", node.branches.join(", "));
            Failure::fatal(message).with_hint(hint)
        })
    }

    fn refusal(&self, view: View<'_, Self>, output: &LiveValue) -> Result<Option<Failure>, Failure> {
        let node = self.node_in(view)?;
        let output = output.json();
        if output.get("outcome").and_then(Value::as_str) != Some("refuse") {
            return Ok(None);
        }
        let findings = output.get("findings").and_then(Value::as_array).into_iter().flatten();
        let mut kinds: Vec<&str> = findings.filter_map(|finding| finding.get("kind")?.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let message = format!("the guard `{}` refused the text: {}", node.name, kinds.join(", "));
        let hint = "remove what it names, or let the guard redact with `on_block: Redact`";
        Ok(Some(Failure::fatal(message).with_hint(hint)))
    }

    fn gather(&self, _: View<'_, Self>, values: Vec<LiveValue>) -> Result<LiveValue, Failure> {
        Ok(Value::Array(values.into_iter().map(|value| value.json().clone()).collect()).into())
    }

    fn arguments(&self, view: View<'_, Self>) -> Result<LiveValue, Failure> {
        let arguments = self.render_arguments(view)?;
        let body = view.node.map(|node| self.plan.graph(view.graph()).node(node).body);
        let Some(Body::Graph(graph)) = body else {
            return Err(Failure::fatal("only a sub-workflow has inputs"));
        };
        let mut inputs: Map<String, Value> =
            self.graphs[graph.index()].inputs.iter().map(|(name, input)| (name.clone(), input.initial())).collect();
        inputs.extend(arguments);
        Ok(Value::Object(inputs).into())
    }

    fn question(&self, view: View<'_, Self>) -> Result<String, Failure> {
        let node = self.node_in(view)?;
        let names = self.names(view, None);
        let text = node.ask.as_ref().map(|template| template.render(&names)).transpose();
        text.map(Option::unwrap_or_default).map_err(|error| failure(&node.name, "approve", error))
    }

    fn output(&self, view: View<'_, Self>) -> Result<LiveValue, Failure> {
        let graph = &self.graphs[view.graph().index()];
        let value = graph.output.evaluate(&self.names(view, None));
        value.map(LiveValue::from).map_err(|error| {
            let message = format!("the output of `{}`: {error}", graph.name);
            Failure { hint: error.hint, ..Failure::fatal(message) }
        })
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::super::{Header, Shared, Workflows};
    use super::*;
    use crate::record::Status;
    use crate::scheduler::{By, Decision, Event, EventKind};
    use crate::spec::{CascadeSpec, InputSpec, NodeSpec, WorkflowSpec};

    fn program() -> Program {
        let inner = WorkflowSpec::new("inner")
            .input("text", InputSpec::text().required())
            .input("tone", InputSpec::text().default_value("dry"))
            .node("say", NodeSpec::generator("a", "{{ inputs.text }}"))
            .output("{{ say.text }}");
        let judged = CascadeSpec {
            judge: Some("j".to_owned()),
            accept: "{{ output.score > 1 }}".to_owned(),
            to: "b".to_owned(),
        };
        let outer = WorkflowSpec::new("outer")
            .input("who", InputSpec::text())
            .node(
                "write",
                NodeSpec::generator("a", "To {{ inputs.who }}").cascade(judged).approve("Write to {{ inputs.who }}?"),
            )
            .node("run", NodeSpec::workflow("inner.ron").with("text", "{{ inputs.who }}").approve("Run?"))
            .output("");
        let paths = [("inner.ron".to_owned(), 1)].into_iter().collect();
        let list = vec![(Arc::new(outer), paths), (Arc::new(inner), IndexMap::new())];
        Program::compile(&Workflows::new(list)).unwrap()
    }

    fn state(program: &Program, kinds: impl IntoIterator<Item = EventKind<LiveValue>>) -> RunState<Program> {
        let kinds = std::iter::once(EventKind::Started).chain(kinds);
        RunState::fold(program, json!({ "who": "Ann" }).into(), 7, kinds.map(|kind| Event { at_us: 1, kind })).0
    }

    #[test]
    fn a_person_sees_the_arguments_and_what_is_changed_replaces_them() {
        let program = program();
        let (write, run) = (StepId(0), StepId(1));
        let paused = state(&program, []);
        assert!(paused.is_paused());
        assert_eq!(paused.question(write), Some("Write to Ann?"));
        let change = |step, changes: Value| program.edited(&paused, step, changes.as_object().unwrap().clone());
        let failure = change(run, json!({ "txet": "x" })).unwrap_err();
        assert_eq!(failure.message, "`run` takes no argument `txet`");
        assert_eq!(failure.hint.as_deref(), Some("it takes text, tone"));
        let edited = change(write, json!({ "input": "To Bob" })).unwrap();
        let inputs = change(run, json!({ "tone": "warm" })).unwrap();
        assert_eq!(inputs.json(), &json!({ "text": "Ann", "tone": "warm" }));
        let decided = |step, value| EventKind::Decided(step, Decision::Edited(value));
        let going = state(&program, [decided(write, edited.clone()), decided(run, inputs)]);
        assert_eq!(program.arguments(&going, write).unwrap()["input"], "To Bob");
        let say = StepId(2);
        assert_eq!(going.view(say).inputs().json(), &json!({ "text": "Ann", "tone": "warm" }));
        // The judge of the answer is told what the answer was made of.
        let attempt = crate::scheduler::AttemptId { step: write, number: 1 };
        let answer = json!({ "text": "Dear Bob" }).into();
        let judged = state(
            &program,
            [
                decided(write, edited),
                EventKind::Prepared(attempt, crate::scheduler::Estimate::default()),
                EventKind::Admitted(attempt),
                EventKind::Succeeded(attempt, answer, crate::scheduler::Bill::default()),
            ],
        );
        let arguments = program.arguments(&judged, StepId(2)).unwrap();
        assert_eq!((&arguments["input"], &arguments["context"]), (&json!("Dear Bob"), &json!("To Bob")));
        // What is no object, from a log that somebody else wrote, fails the attempt.
        let broken = state(&program, [decided(write, json!(5).into())]);
        assert!(program.arguments(&broken, write).unwrap_err().message.contains("not an object"));
    }

    #[test]
    fn records_say_what_was_asked_and_who_decided() {
        let program = program();
        let header = || Header {
            forked_from: None,
            continues: None,
            shared: Shared::default(),
            due: BTreeMap::new(),
            run_id: String::new(),
            deployment: String::new(),
            started_at: String::new(),
            inputs: IndexMap::new(),
        };
        let record = |state: &RunState<Program>| program.record(state, header(), |_, _, _| None);
        let paused = record(&state(&program, []));
        let step = &paused.steps[0];
        assert_eq!((paused.status, step.status, step.end_us), (Status::Paused, Status::Paused, None));
        assert_eq!(step.arguments, Some(json!({ "input": "To Ann" })));
        let by = By::Person;
        let approved = EventKind::Decided(StepId(0), Decision::Approved { by });
        let rejected =
            EventKind::Decided(StepId(1), Decision::Rejected { reason: Some("no".to_owned()), by: By::Timeout });
        let ended = record(&state(&program, [approved, rejected]));
        assert_eq!(ended.status, Status::Refused);
        let json = serde_json::to_value(&ended.steps).unwrap();
        assert_eq!(json[0]["question"], "Write to Ann?");
        assert_eq!(json[0]["decision"], json!({ "verdict": "approved", "by": "person" }));
        assert_eq!(json[1]["decision"], json!({ "verdict": "rejected", "by": "timeout", "reason": "no" }));
        assert!(json[0].get("arguments").is_none());
    }
}
