//! From a scenario and one of its bundles to a model; everything that is not known, at once.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use lumos_core::Problem;
use lumos_core::graph::{Body, GraphId, Node};
use lumos_core::load::{Bundle, Scenario};
use lumos_core::price::Price;
use lumos_core::program::{Program, ProgramNode};
use lumos_core::spec::{ArrivalSpec, NodeKind, NodeSpec, ProfileSpec};

use super::services::Services;
use super::{Model, NodeModel, Sessions, Workload};
use crate::chance::Quantity;
use crate::profile::Choice;
use crate::trace;

/// What a model is made of beside the scenario.
pub struct Sources<'a> {
    /// The price of each backend of the deployment.
    pub prices: &'a IndexMap<String, Price>,
    /// Text of the files that the scenario names, by the name it writes.
    pub files: &'a (dyn Fn(&str) -> std::io::Result<String> + Sync),
}

impl Model {
    /// Compiles a scenario with one of its bundles.
    ///
    /// # Errors
    /// Everything that would have to be known and is not.
    pub fn new(scenario: &Scenario, bundle: &Bundle, sources: &Sources<'_>) -> Result<Self, Vec<Problem>> {
        Self::compile(scenario, bundle, sources, false)
    }

    /// The same for runs that will be given by [`Model::replaying`]: lengths, widths, rounds, branches and conditions need
    /// not be known.
    ///
    /// # Errors
    /// Everything that would have to be known all the same, and is not.
    pub fn to_replay(scenario: &Scenario, bundle: &Bundle, sources: &Sources<'_>) -> Result<Self, Vec<Problem>> {
        Self::compile(scenario, bundle, sources, true)
    }

    fn compile(
        scenario: &Scenario,
        bundle: &Bundle,
        sources: &Sources<'_>,
        is_replayed: bool,
    ) -> Result<Self, Vec<Problem>> {
        let program = Program::compile(&bundle.workflows())
            .map_err(|error| vec![Problem::of_file(&scenario.parsed.file, error.to_string(), None)])?;
        let mut builder = Builder {
            scenario,
            bundle,
            services: Services::new(scenario, bundle, sources),
            problems: Vec::new(),
            assumptions: Vec::new(),
            idle: Vec::new(),
            by_rows: None,
            is_replayed,
        };
        let nodes = builder.nodes(&program);
        let workload = builder.workload(sources);
        if !builder.idle.is_empty() {
            let listed: Vec<String> = builder.idle.iter().map(|path| format!("`{path}`")).collect();
            builder.assumptions.push(format!("{} take no time: no `duration_s` is given", listed.join(", ")));
        }
        let Builder { mut problems, assumptions, services, .. } = builder;
        let (services, assumed, found) = services.into_parts();
        let assumptions = [assumed, assumptions].concat();
        problems.extend(found);
        problems.sort_by(Problem::by_place);
        problems.dedup();
        let Some(workload) = workload.filter(|_| problems.is_empty()) else { return Err(problems) };
        let deployment = bundle.deployment.as_ref().map(|source| source.parsed.spec.name.clone());
        let workflow = program.name().to_owned();
        Ok(Self {
            program,
            nodes,
            services,
            workload,
            slo: scenario.spec().slo,
            recorded: None,
            scenario: scenario.spec().name.clone(),
            workflow,
            deployment: deployment.unwrap_or_default(),
            assumptions,
        })
    }
}

struct Builder<'a> {
    scenario: &'a Scenario,
    bundle: &'a Bundle,
    services: Services<'a>,
    problems: Vec<Problem>,
    assumptions: Vec<String>,
    /// Nodes that take no time because nobody says how long they take.
    idle: Vec<String>,
    /// A node whose lengths are those of a trace's rows.
    by_rows: Option<String>,
    /// Whether runs will be replayed, so that what they ask for need not be known.
    is_replayed: bool,
}

impl Builder<'_> {
    fn nodes(&mut self, program: &Program) -> Vec<Vec<NodeModel>> {
        let paths = paths(program);
        let mut position = 0;
        let specs: Vec<&IndexMap<String, NodeSpec>> =
            self.bundle.sources().map(|source| &source.parsed.spec.nodes).collect();
        let mut all = Vec::new();
        for (graph_id, graph) in program.plan().graphs().iter().enumerate() {
            let mut nodes = Vec::new();
            for (id, node) in graph.nodes().iter().enumerate() {
                let text = program.node(GraphId(graph_id as u32), lumos_core::graph::NodeId(id as u32));
                let outer = paths.get(&graph_id).cloned().unwrap_or_default();
                let spec = specs.get(graph_id).and_then(|nodes| nodes.get_index(id)).map(|(_, spec)| spec);
                nodes.push(self.node(&outer, node, text, spec, position));
                position += 1;
            }
            all.push(nodes);
        }
        all
    }

    /// A node; `outer` are the ways that lead to its graph, each with a `/` at its end.
    fn node(
        &mut self,
        outer: &[String],
        node: &Node,
        text: &ProgramNode,
        spec: Option<&NodeSpec>,
        position: u32,
    ) -> NodeModel {
        let written: Vec<(String, &ProfileSpec)> = outer
            .iter()
            .filter_map(|outer| {
                let path = format!("{outer}{}", text.name);
                let profile = self.scenario.spec().nodes.get(&path)?;
                Some((path, profile))
            })
            .collect();
        let path = format!("{}{}", outer.first().map_or("", String::as_str), text.name);
        if let [(first, profile), rest @ ..] = written.as_slice()
            && let Some((other, _)) = rest.iter().find(|(_, other)| other != profile)
        {
            let message = format!("`{other}` and `{first}` are the same node of one file, and their profiles differ");
            self.problem(&format!("nodes.{other}"), message, "give one of them; it holds for both".to_owned());
        }
        let path = written.first().map_or(path, |(path, _)| path.clone());
        let none = ProfileSpec::default();
        let profile = written.first().map_or(&none, |(_, profile)| *profile);
        let known = !written.is_empty();
        let place = if known { format!("nodes.{path}") } else { "nodes".to_owned() };
        let policy = &node.policy;
        let is_drawn = !self.is_replayed;
        let mut unknown = |needed: bool, given: bool, what: &str, hint: &str| {
            if needed && !given {
                let message = format!("`{path}` {what}");
                self.problems.push(problem(self.scenario, &place, message, format!("\"{path}\": ({hint})")));
            }
        };
        unknown(
            policy.conditional && is_drawn,
            profile.when.is_some(),
            "has a condition, and nothing says how often it holds",
            "when: 0.5",
        );
        unknown(
            policy.map.is_some() && is_drawn,
            profile.width.is_some(),
            "has a map, and nothing says how many entries",
            "width: 3",
        );
        unknown(
            policy.at_most.is_some() && is_drawn,
            profile.rounds.is_some(),
            "is a loop, and nothing says how many rounds",
            "rounds: 2",
        );
        unknown(
            policy.cascade.is_some(),
            profile.accept.is_some(),
            "has a cascade, and nothing says how often an answer is accepted",
            "accept: 0.8",
        );
        let branches = self.branches(&place, &path, spec, profile);
        let routes = match spec.map(|spec| &spec.kind) {
            Some(NodeKind::Router { routes, .. }) => routes.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let is_graph = matches!(node.body, Body::Graph(_));
        let bound = if is_graph { Vec::new() } else { self.backends(text) };
        let candidates: Vec<u32> = match (&profile.service, bound.is_empty()) {
            (Some(service), true) => self.services.index(service).into_iter().collect(),
            (Some(service), false) => {
                let message = format!("`{path}` works on the backend `{}`, not on `{service}`", bound[0]);
                self.problem(
                    &format!("{place}.service"),
                    message,
                    "remove `service`, or bind the node to it".to_owned(),
                );
                Vec::new()
            }
            (None, _) => bound.iter().filter_map(|backend| self.services.index(backend)).collect(),
        };
        let counts_tokens = candidates.iter().any(|service| self.services.counts_tokens(*service));
        let counts_time = candidates.is_empty() || candidates.iter().any(|service| self.services.is_station(*service));
        if counts_tokens {
            let has_rows = matches!(self.scenario.spec().workload.arrivals, Some(ArrivalSpec::Trace { .. }));
            if has_rows && is_drawn && (profile.input_tokens.is_none() || profile.output_tokens.is_none()) {
                self.by_rows.get_or_insert_with(|| path.clone());
            }
            for (given, field) in [(&profile.input_tokens, "input_tokens"), (&profile.output_tokens, "output_tokens")] {
                if given.is_none() && !has_rows && is_drawn {
                    let message =
                        format!("`{path}` asks a model, and nothing says how many {}", field.replace('_', " "));
                    self.problem(&place, message, format!("\"{path}\": ({field}: 200)"));
                }
            }
        }
        if counts_time && profile.duration_s.is_none() && !is_graph {
            self.idle.push(path.clone());
        }
        let agent = text.agent.as_deref().and_then(|agent| self.bundle.agents.get(agent));
        let choices = candidates.iter().map(|service| {
            let held = self.services.held(*service);
            agent.map_or_else(Choice::default, |agent| Choice::of(agent.spec(), held))
        });
        let choices: Vec<Choice> = choices.collect();
        for (service, choice) in candidates.iter().zip(&choices) {
            self.services.note_choice(*service, *choice);
        }
        let quantity =
            |spec: &Option<_>, otherwise: f64| spec.as_ref().map_or_else(|| Quantity::fixed(otherwise), Quantity::new);
        NodeModel {
            kind: text.kind,
            position,
            candidates,
            input: profile.input_tokens.as_ref().map(Quantity::new),
            output: profile.output_tokens.as_ref().map(Quantity::new),
            max_output: agent.and_then(|agent| agent.spec().max_output_tokens()),
            prescribed: profile.prescribed.unwrap_or(0.0),
            choices,
            shared_tokens: profile.shared_tokens,
            context: profile.context,
            duration: quantity(&profile.duration_s, 0.0),
            when: profile.when.unwrap_or(1.0),
            branches,
            routes,
            width: quantity(&profile.width, 0.0),
            rounds: quantity(&profile.rounds, 1.0),
            accept: profile.accept.unwrap_or(1.0),
            refuse: profile.refuse.unwrap_or(0.0),
            fail: profile.fail.unwrap_or(0.0),
            path,
        }
    }

    /// The backends that a node's attempts go to.
    fn backends(&self, text: &ProgramNode) -> Vec<String> {
        let Some(name) = text.agent.as_deref() else { return Vec::new() };
        let deployment = self.bundle.deployment.as_ref().map(|source| &source.parsed.spec);
        let spec = self.bundle.agents.get(name).map(|source| source.spec());
        let bound = deployment.and_then(|deployment| deployment.binding(&text.name, Some(name), spec));
        bound.into_iter().map(str::to_owned).chain(text.fallback.iter().cloned()).collect()
    }

    /// Chances of a router's branches in the order of its routes, added up.
    fn branches(&mut self, place: &str, path: &str, spec: Option<&NodeSpec>, profile: &ProfileSpec) -> Vec<f64> {
        let Some(NodeKind::Router { routes, .. }) = spec.map(|spec| &spec.kind) else {
            if !profile.branches.is_empty() {
                self.problem(&format!("{place}.branches"), format!("`{path}` is no router"), "remove them".to_owned());
            }
            return Vec::new();
        };
        let routes_listed = || {
            let listed: Vec<String> = routes.keys().map(|route| format!("\"{route}\": …")).collect();
            format!("\"{path}\": (branches: {{ {} }})", listed.join(", "))
        };
        if profile.branches.is_empty() && !self.is_replayed {
            let message = format!("`{path}` is a router, and nothing says how often it takes which branch");
            self.problem(place, message, routes_listed());
        }
        for branch in profile.branches.keys().filter(|branch| !routes.contains_key(*branch)) {
            let message = format!("`{path}` has no branch `{branch}`");
            self.problem(&format!("{place}.branches.{branch}"), message, routes_listed());
        }
        let mut sum = 0.0;
        let chances = routes.keys().map(|route| profile.branches.get(route).copied().unwrap_or(0.0));
        chances
            .map(|chance| {
                sum += chance;
                sum
            })
            .collect()
    }

    fn workload(&mut self, sources: &Sources<'_>) -> Option<Workload> {
        let workload = &self.scenario.spec().workload;
        let arrivals = workload.arrivals.clone()?;
        let rows = trace::rows(&arrivals, sources.files).unwrap_or_else(|message| {
            self.problem("workload.arrivals.file", message, trace::HINT.to_owned());
            Vec::new()
        });
        if let ArrivalSpec::Trace { file, .. } = &arrivals
            && let Some(row) = rows.iter().position(|row| row.lengths.is_none())
            && let Some(path) = self.by_rows.take()
        {
            let message = format!(
                "run {} of `{file}` has no lengths, and nothing else says how many tokens `{path}` reads and writes",
                row + 1
            );
            let hint = format!("\"{path}\": (input_tokens: 200, output_tokens: 100)");
            self.problem("workload.arrivals.file", message, hint);
        }
        let think = match &arrivals {
            ArrivalSpec::Closed { think_s, .. } => Quantity::new(think_s),
            _ => Quantity::fixed(0.0),
        };
        Some(Workload {
            arrivals,
            rows,
            runs: workload.runs,
            duration_us: workload.duration_s.map(|seconds| (seconds * 1e6).round() as u64),
            warmup_runs: workload.warmup_runs,
            sessions: workload.sessions.as_ref().map(|sessions| Sessions {
                turns: Quantity::new(&sessions.turns),
                think: Quantity::new(&sessions.think_s),
                growth: Quantity::new(&sessions.growth_tokens),
            }),
            think,
        })
    }

    fn problem(&mut self, place: &str, message: String, hint: String) {
        self.problems.push(problem(self.scenario, place, message, hint));
    }
}

/// A problem of the scenario's file.
pub(super) fn problem(scenario: &Scenario, place: &str, message: String, hint: String) -> Problem {
    scenario.parsed.problem(place, message, Some(hint))
}

/// The ways that lead to each graph, each with a `/` at its end but for the workflow's own, which is empty.
fn paths(program: &Program) -> BTreeMap<usize, Vec<String>> {
    let mut paths: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut open = vec![(0, String::new())];
    while let Some((graph, path)) = open.pop() {
        let nodes = program.plan().graphs()[graph].nodes();
        for node in nodes.iter().rev() {
            if let Body::Graph(inner) = node.body {
                open.push((inner.index(), format!("{path}{}/", node.name)));
            }
        }
        paths.entry(graph).or_default().push(path);
    }
    paths
}
