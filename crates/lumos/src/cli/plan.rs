//! What a run would do, as far as it can be known before it: bindings, prompts, and the most it can cost.

use indexmap::{IndexMap, IndexSet};
use lumos::core::load::{Bundle, WorkflowSource};
use lumos::core::price::{Bounds, Price};
use lumos::core::program::Program;
use lumos::core::spec::{AgentSpec, BackendSpec, DeploymentSpec, NodeKind, NodeSpec};
use lumos::core::template::Template;
use lumos::core::{Destination, Usd};
use serde::Serialize;
use serde_json::{Map, Value};

/// Most nodes that are listed, sub-workflows included.
const MOST_NODES: usize = 1_000;

/// What a run would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub workflow: String,
    pub deployment: Option<String>,
    pub seed: u64,
    pub inputs: IndexMap<String, Value>,
    pub nodes: Vec<PlannedNode>,
    /// `null` when nothing bounds it, or a price is unknown.
    pub worst_cost_usd: Option<Usd>,
    /// How it was found, or why it is unknown.
    pub worst_cost_reason: String,
    /// Nodes whose prompts would go to a backend outside the boundary, with that backend.
    pub leaves_boundary: Vec<Leaving>,
    /// Assets that the run would fetch first.
    pub missing_assets: Vec<String>,
}

/// A node of the workflow or of a sub-workflow.
#[derive(Debug, Serialize)]
pub struct PlannedNode {
    pub node: String,
    /// Enclosing sub-workflow nodes, outermost first.
    pub path: Vec<String>,
    pub kind: &'static str,
    pub agent: Option<String>,
    pub backend: Option<String>,
    pub model: Option<String>,
    pub destination: Option<Destination>,
    pub fallback: Vec<String>,
    /// What a person is asked first, as written where it depends on what other nodes give.
    pub question: Option<String>,
    /// Rendered arguments; `null` for those that depend on what other nodes give.
    pub arguments: IndexMap<String, Value>,
    /// The rendered prompt; `null` for nodes without one, and when an argument is not known.
    pub prompt: Option<IndexMap<&'static str, String>>,
    /// Most attempts; `null` when it depends on how many entries a list will have.
    pub attempts_at_most: Option<u64>,
    /// The most that all its attempts can cost; `null` when nothing bounds it.
    pub worst_cost_usd: Option<Usd>,
}

/// Something that would leave the boundary.
#[derive(Debug, Serialize)]
pub struct Leaving {
    pub node: String,
    pub backend: String,
    pub labels: Vec<String>,
    /// Why the step would be refused; `null` when it would not.
    pub refused: Option<String>,
}

/// Makes the plan; nothing is opened or fetched.
///
/// `prices` has the price of each backend; one that is missing is not known.
pub fn plan(
    bundle: &Bundle,
    prices: IndexMap<String, Price>,
    missing_assets: Vec<String>,
    inputs: IndexMap<String, Value>,
    seed: u64,
) -> Plan {
    let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
    let mut planner = Planner {
        bundle,
        deployment,
        program: Program::compile(&bundle.workflows()).ok(),
        prices,
        nodes: Vec::new(),
        leaving: Vec::new(),
        backends: IndexSet::new(),
    };
    let known: Map<String, Value> = inputs.clone().into_iter().collect();
    planner.workflow(&bundle.workflow, &[], Some(known.into()), Some(1));
    let (worst_cost_usd, worst_cost_reason) = planner.worst_cost();
    Plan {
        workflow: bundle.workflow.parsed.spec.name.clone(),
        deployment: deployment.map(|spec| spec.name.clone()),
        seed,
        inputs,
        nodes: planner.nodes,
        worst_cost_usd,
        worst_cost_reason,
        leaves_boundary: planner.leaving,
        missing_assets,
    }
}

struct Planner<'a> {
    bundle: &'a Bundle,
    deployment: Option<&'a DeploymentSpec>,
    program: Option<Program>,
    prices: IndexMap<String, Price>,
    nodes: Vec<PlannedNode>,
    leaving: Vec<Leaving>,
    /// Every backend that an attempt may be made on.
    backends: IndexSet<&'a str>,
}

impl<'a> Planner<'a> {
    /// `times` is how often the workflow runs at most.
    fn workflow(&mut self, source: &'a WorkflowSource, path: &[String], inputs: Option<Value>, times: Option<u64>) {
        let mut scope = IndexMap::new();
        scope.extend(inputs.map(|inputs| ("inputs".to_owned(), inputs)));
        for (name, node) in &source.parsed.spec.nodes {
            if self.nodes.len() >= MOST_NODES {
                return;
            }
            let arguments = arguments(node, &scope);
            let rounds = node.options.repeat.as_ref().map_or(1, |repeat| u64::from(repeat.at_most));
            let entries = match &node.options.map {
                Some(map) => known(map, &scope).and_then(|list| Some(list.as_array()?.len() as u64)),
                None => Some(1),
            };
            let times = times.zip(entries).map(|(times, entries)| times.saturating_mul(entries).saturating_mul(rounds));
            if let NodeKind::Workflow { path: file } = &node.kind {
                self.nodes.push(PlannedNode {
                    node: name.clone(),
                    path: path.to_vec(),
                    kind: node.kind.name(),
                    agent: None,
                    backend: None,
                    model: None,
                    destination: None,
                    fallback: Vec::new(),
                    question: question(node, &scope),
                    prompt: None,
                    attempts_at_most: Some(0),
                    worst_cost_usd: Some(Usd::ZERO),
                    arguments: arguments.clone(),
                });
                if let Some(child) = self.bundle.subworkflow(source, file) {
                    let inputs = Self::child_inputs(child, &arguments);
                    let path: Vec<String> = path.iter().chain([name]).cloned().collect();
                    self.workflow(child, &path, inputs, times);
                }
                continue;
            }
            let question = question(node, &scope);
            let planned = PlannedNode { question, ..self.node((source, name, node), path, arguments, times) };
            self.nodes.push(planned);
        }
    }

    /// The inputs of a sub-workflow, when all that it is given is known.
    fn child_inputs(child: &WorkflowSource, given: &IndexMap<String, Value>) -> Option<Value> {
        let inputs = child.parsed.spec.inputs.iter().map(|(name, input)| match given.get(name) {
            Some(Value::Null) => None,
            Some(value) => Some((name.clone(), value.clone())),
            None => Some((name.clone(), input.initial())),
        });
        Some(inputs.collect::<Option<Map<_, _>>>()?.into())
    }

    fn node(
        &mut self,
        (workflow, name, node): (&'a WorkflowSource, &str, &'a NodeSpec),
        path: &[String],
        arguments: IndexMap<String, Value>,
        times: Option<u64>,
    ) -> PlannedNode {
        let agent = node.kind.agent();
        let source = agent.and_then(|agent| self.bundle.agents.get(agent));
        let spec = source.map(|source| source.spec());
        let bound = self.deployment.and_then(|deployment| deployment.binding(name, agent, spec));
        let candidates: Vec<&'a str> = match self.deployment {
            Some(deployment) => deployment.candidates(name, node, spec).collect(),
            None => node.named_backends().collect(),
        };
        let prompt = source.and_then(|source| {
            let spec = source.spec().prompt()?;
            let user = source.user_prompt.as_deref().unwrap_or(&spec.user);
            prompt(&spec.system, user, &arguments)
        });
        let tries = node.options.retry.as_ref().map_or(1, |retry| u64::from(retry.attempts));
        let attempts = times.map(|times| times.saturating_mul(tries));
        let mut worst = Some(Usd::ZERO);
        for backend in &candidates {
            self.backends.insert(backend);
            let each = self.worst_of(backend, node, spec, prompt.as_ref());
            let all = each.zip(attempts).and_then(|(each, attempts)| each.scaled(attempts, 1));
            worst = worst.zip(all).map(|(sum, all)| sum.saturating_add(all));
            if self.destination(backend) == Some(Destination::Outside) {
                let node_name: Vec<&str> = path.iter().map(String::as_str).chain([name]).collect();
                let (labels, refused) = self.labels(workflow, name);
                self.leaving.push(Leaving {
                    node: node_name.join("/"),
                    backend: (*backend).to_owned(),
                    labels,
                    refused,
                });
            }
        }
        PlannedNode {
            node: name.to_owned(),
            path: path.to_vec(),
            kind: node.kind.name(),
            agent: agent.map(str::to_owned),
            backend: bound.map(str::to_owned),
            model: bound.and_then(|backend| self.model(backend)),
            destination: bound.and_then(|backend| self.destination(backend)),
            fallback: node.options.fallback.clone(),
            question: None,
            prompt,
            attempts_at_most: attempts.map(|attempts| attempts.saturating_mul(candidates.len().max(1) as u64)),
            worst_cost_usd: worst,
            arguments,
        }
    }

    fn backend(&self, name: &str) -> Option<&'a BackendSpec> {
        self.deployment?.backends.get(name)
    }

    fn model(&self, backend: &str) -> Option<String> {
        Some(match self.backend(backend)? {
            BackendSpec::Local(local) => local.model.clone(),
            BackendSpec::Remote(remote) => remote.model.clone(),
            BackendSpec::Simulated(simulated) => simulated.model.clone(),
            BackendSpec::Custom { name, .. } => name.clone(),
        })
    }

    /// The most that one attempt of a node can cost.
    fn worst_of(
        &self,
        backend: &str,
        node: &NodeSpec,
        agent: Option<&AgentSpec>,
        prompt: Option<&IndexMap<&'static str, String>>,
    ) -> Option<Usd> {
        let price = self.prices.get(backend)?;
        let time_us = node.options.timeout_s.map(|seconds| (seconds * 1e6).round() as u64);
        if let Price::PerHour(_) = price {
            return price.worst_cost(&Bounds { time_us, ..Bounds::default() });
        }
        // A text has no more tokens than bytes. What answers in a given form may be asked twice.
        let context = match self.backend(backend)? {
            BackendSpec::Remote(remote) => remote.context,
            BackendSpec::Local(local) => local.context,
            BackendSpec::Simulated(_) | BackendSpec::Custom { .. } => None,
        };
        let written = prompt.map(|prompt| prompt.values().map(|text| text.len() as u64 + 64).sum::<u64>());
        let input = [written, context.map(u64::from)].into_iter().flatten().min()?;
        let output = u64::from(agent?.max_output_tokens().unwrap_or(0));
        price.worst_cost(&Bounds { input_tokens: 2 * input + output, output_tokens: 2 * output, time_us })
    }

    fn destination(&self, backend: &str) -> Option<Destination> {
        Some(self.deployment?.destination(backend))
    }

    /// The labels that a node's prompt carries, and why it would be refused outside.
    fn labels(&self, workflow: &WorkflowSource, node: &str) -> (Vec<String>, Option<String>) {
        let carried = self.program.as_ref().map(|program| program.carried(&workflow.parsed.spec.name, node));
        let carried = carried.unwrap_or_default();
        let forbidden = self.deployment.into_iter().flat_map(|deployment| &deployment.boundary.forbid_outside);
        let refused = { forbidden }.find_map(|label| {
            let way = carried.get(label)?;
            Some(format!("it carries `{}`: {} → {node}", label.0, way.join(" → ")))
        });
        (carried.keys().map(|label| label.0.clone()).collect(), refused)
    }

    fn worst_cost(&self) -> (Option<Usd>, String) {
        let limits = &self.bundle.workflow.parsed.spec.limits;
        if self.backends.is_empty() {
            return (Some(Usd::ZERO), "no model is asked".to_owned());
        }
        if let Some(unpriced) =
            self.backends.iter().find(|backend| matches!(self.prices.get(**backend), None | Some(Price::Unknown)))
        {
            return (None, format!("the price of `{unpriced}` is not known"));
        }
        let by_timeouts =
            self.nodes.iter().try_fold(Usd::ZERO, |sum, node| Some(sum.saturating_add(node.worst_cost_usd?)));
        let by_deadline = limits.deadline_s.and_then(|seconds| {
            let micros = (seconds * 1e6).round() as u64;
            self.backends.iter().try_fold(Usd::ZERO, |sum, backend| {
                let Some(price @ Price::PerHour(_)) = self.prices.get(*backend) else { return None };
                Some(sum.saturating_add(price.worst_cost(&Bounds { time_us: Some(micros), ..Bounds::default() })?))
            })
        });
        let by_hour = self.backends.iter().all(|backend| matches!(self.prices.get(*backend), Some(Price::PerHour(_))));
        let reason = if by_hour {
            "every attempt takes its whole timeout"
        } else {
            "every attempt reads and writes as much as it may"
        };
        let timeouts = by_timeouts.map(|cost| (cost, reason.to_owned()));
        let deadline = by_deadline
            .zip(limits.deadline_s)
            .map(|(cost, seconds)| (cost, format!("every backend is busy for the whole deadline of {seconds} s")));
        match timeouts.into_iter().chain(deadline).min_by_key(|(cost, _)| *cost) {
            Some((cost, reason)) => (Some(cost), reason),
            None if by_hour => {
                (None, "nothing bounds its time: set `limits.deadline_s`, or `timeout_s` on every node".to_owned())
            }
            None => {
                (None, "the length of a prompt is not known before the run: give its backend a `context`".to_owned())
            }
        }
    }
}

/// The node's arguments; `null` for what is not known before the run.
fn arguments(node: &NodeSpec, scope: &IndexMap<String, Value>) -> IndexMap<String, Value> {
    let own = node.kind.templates().into_iter().map(|(name, text)| (name.to_owned(), text));
    let with = node.options.with.iter().map(|(name, text)| (name.clone(), text.as_str()));
    let rendered = own.chain(with).map(|(name, text)| (name, known(text, scope).unwrap_or(Value::Null)));
    let constants = node.kind.constants().into_iter().filter(|(_, value)| !value.is_null());
    let constants = constants.map(|(name, value)| (name.to_owned(), value));
    rendered.chain(constants).collect()
}

/// What a person is asked before the node begins.
fn question(node: &NodeSpec, scope: &IndexMap<String, Value>) -> Option<String> {
    let ask = &node.options.approve.as_ref()?.ask;
    Some(match known(ask, scope) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => ask.clone(),
    })
}

/// The value of a template that reads nothing but what is in the scope.
fn known(text: &str, scope: &IndexMap<String, Value>) -> Option<Value> {
    let template = Template::parse(text).ok()?;
    let is_known = template.references().iter().all(|reference| scope.contains_key(&reference.root));
    is_known.then(|| template.evaluate(scope).ok()).flatten()
}

fn prompt(system: &str, user: &str, arguments: &IndexMap<String, Value>) -> Option<IndexMap<&'static str, String>> {
    if arguments.values().any(Value::is_null) {
        return None;
    }
    let mut prompt = IndexMap::new();
    for (role, text) in [("system", system), ("user", user)].into_iter().filter(|(_, text)| !text.trim().is_empty()) {
        prompt.insert(role, Template::parse(text).ok()?.render(arguments).ok()?);
    }
    Some(prompt)
}
