//! From specification to program: templates are compiled, references become edges.

use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::{Argument, Program, ProgramGraph, ProgramNode, labels};
use crate::graph::{
    Approval, Body, Cascade, Graph, GraphError, GraphId, Limits, MapPolicy, Node, NodeId, Plan, Policy,
};
use crate::spec::{LimitsSpec, NodeKind, NodeSpec, OnBlock, WorkflowSpec};
use crate::template::{Template, TemplateError};

/// A workflow and the sub-workflows it reaches.
#[derive(Debug, Clone)]
pub struct Workflows {
    /// Each with the position, in this list, of every `path` that its nodes name. The workflow itself comes first.
    pub list: Vec<(Arc<WorkflowSpec>, IndexMap<String, usize>)>,
    /// What is known of agents, by name.
    pub agents: IndexMap<String, Reading>,
}

/// What an agent makes of its arguments, as far as labels are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The arguments that it reads; `None` is all.
    pub arguments: Option<IndexSet<String>>,
    /// Whether it lets everything through: a guard that looks for no text.
    pub is_blind: bool,
}

impl Workflows {
    /// Workflows of whose agents nothing is known.
    pub fn new(list: Vec<(Arc<WorkflowSpec>, IndexMap<String, usize>)>) -> Self {
        Self { list, agents: IndexMap::new() }
    }
}

/// Why a specification is no program. Validation of files finds these, and more, with their places.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// A template does not compile.
    #[error("node `{node}`, field `{field}`: {error}")]
    Template {
        /// The node, or `output`.
        node: String,
        /// The field.
        field: String,
        /// What is wrong.
        error: TemplateError,
    },
    /// A node names another that is not there.
    #[error("node `{node}`: there is no node `{unknown}`")]
    UnknownNode {
        /// Who names it.
        node: String,
        /// What is named.
        unknown: String,
    },
    /// A node names a workflow that was not given.
    #[error("node `{node}`: there is no workflow `{path}`")]
    UnknownWorkflow {
        /// Who names it.
        node: String,
        /// What is named.
        path: String,
    },
    /// A field must be exactly one `{{ expression }}`.
    #[error("node `{node}`: `{field}` must be exactly one `{{{{ expression }}}}`")]
    NotAnExpression {
        /// The node.
        node: String,
        /// The field.
        field: String,
    },
    /// The nodes do not form a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A list of workflows without a workflow.
    #[error("no workflow was given")]
    Empty,
}

impl From<Arc<WorkflowSpec>> for Workflows {
    fn from(workflow: Arc<WorkflowSpec>) -> Self {
        Self::new(vec![(workflow, IndexMap::new())])
    }
}

impl Program {
    /// Compiles a workflow with its sub-workflows.
    ///
    /// # Errors
    /// The first thing that keeps it from running.
    pub fn compile(workflows: &Workflows) -> Result<Self, CompileError> {
        let (root, _) = workflows.list.first().ok_or(CompileError::Empty)?;
        let mut position = 0;
        let mut graphs = Vec::with_capacity(workflows.list.len());
        let mut texts = Vec::with_capacity(workflows.list.len());
        for (spec, children) in &workflows.list {
            let (graph, text) = compile_graph(spec, children, &workflows.agents, &mut position)?;
            graphs.push(graph);
            texts.push(text);
        }
        let plan = Plan::new(graphs, limits(&root.limits));
        let flows = labels::flow(&plan, &mut texts);
        Ok(Self { name: root.name.clone(), workflows: workflows.clone(), plan, graphs: texts, flows })
    }
}

fn limits(spec: &LimitsSpec) -> Limits {
    Limits { cost: spec.cost_usd, deadline_us: spec.deadline_s.map(micros), steps: spec.steps }
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

fn compile_graph(
    spec: &WorkflowSpec,
    children: &IndexMap<String, usize>,
    agents: &IndexMap<String, Reading>,
    position: &mut usize,
) -> Result<(Graph, ProgramGraph), CompileError> {
    let ids: IndexMap<String, NodeId> =
        spec.nodes.keys().enumerate().map(|(id, name)| (name.clone(), NodeId(id as u32))).collect();
    let mut nodes = Vec::with_capacity(spec.nodes.len());
    let mut texts = Vec::with_capacity(spec.nodes.len());
    let mut edges = Vec::new();
    for (name, node) in &spec.nodes {
        let compiler = Compiler { name, ids: &ids, agents };
        let (program_node, read) = compiler.texts(node, *position)?;
        *position += 1;
        let id = ids[name.as_str()];
        edges.extend(read.into_iter().filter(|from| *from != id).map(|from| (from, id)));
        for before in &node.options.after {
            edges.push((compiler.id(before)?, id));
        }
        nodes.push(compiler.node(node, children)?);
        texts.push(program_node);
    }
    for (id, (name, node)) in spec.nodes.iter().enumerate() {
        let Some(agent) = node.judged_by() else { continue };
        let compiler = Compiler { name, ids: &ids, agents };
        let judge = NodeId(nodes.len() as u32);
        texts.push(compiler.judge(node, agent, *position)?);
        *position += 1;
        let timeout_us = node.options.timeout_s.map(micros);
        let policy = Policy { attempts: nodes[id].policy.attempts, timeout_us, ..Policy::default() };
        let mut judging = Node::new(format!("{name}.judge"), Body::Agent, policy);
        judging.judges = Some(NodeId(id as u32));
        nodes.push(judging);
        nodes[id].policy.cascade = Some(Cascade { judge: Some(judge) });
    }
    let output = Template::parse(&spec.output).map_err(|error| CompileError::Template {
        node: spec.name.clone(),
        field: "output".to_owned(),
        error,
    })?;
    let graph = Graph::new(nodes, &edges)?;
    Ok((graph, ProgramGraph { name: spec.name.clone(), inputs: spec.inputs.clone(), nodes: texts, ids, output }))
}

struct Compiler<'a> {
    name: &'a str,
    ids: &'a IndexMap<String, NodeId>,
    agents: &'a IndexMap<String, Reading>,
}

impl Compiler<'_> {
    fn id(&self, name: &str) -> Result<NodeId, CompileError> {
        let unknown = || CompileError::UnknownNode { node: self.name.to_owned(), unknown: name.to_owned() };
        self.ids.get(name).copied().ok_or_else(unknown)
    }

    fn template(&self, field: &str, text: &str) -> Result<Template, CompileError> {
        Template::parse(text).map_err(|error| CompileError::Template {
            node: self.name.to_owned(),
            field: field.to_owned(),
            error,
        })
    }

    fn expression(&self, field: &str, text: Option<&String>) -> Result<Option<Template>, CompileError> {
        let Some(text) = text else { return Ok(None) };
        let template = self.template(field, text)?;
        if template.is_expression() {
            Ok(Some(template))
        } else {
            Err(CompileError::NotAnExpression { node: self.name.to_owned(), field: field.to_owned() })
        }
    }

    /// The node's texts, and the nodes that they read.
    fn texts(&self, spec: &NodeSpec, position: usize) -> Result<(ProgramNode, IndexSet<NodeId>), CompileError> {
        let options = &spec.options;
        let mut arguments = Vec::new();
        for (name, text) in spec.kind.templates() {
            arguments.push((name.to_owned(), Argument::Template(self.template(name, text)?)));
        }
        for (name, value) in spec.kind.constants() {
            arguments.push((name.to_owned(), Argument::Constant(value)));
        }
        for (name, text) in &options.with {
            arguments.push((name.clone(), Argument::Template(self.template(name, text)?)));
        }
        let condition = self.expression("when", options.when.as_ref())?;
        let map = self.expression("map", options.map.as_ref())?;
        let until = self.expression("repeat.until", options.repeat.as_ref().map(|repeat| &repeat.until))?;
        let (branches, default) = match &spec.kind {
            NodeKind::Router { routes, default, .. } => (routes.keys().cloned().collect(), default.as_ref()),
            _ => (Vec::new(), None),
        };
        let default_branch = default.and_then(|default| branches.iter().position(|branch| branch == default));
        let written = arguments.iter().filter_map(|(_, argument)| match argument {
            Argument::Template(template) => Some(template),
            Argument::Constant(_) => None,
        });
        let accept = self.expression("cascade.accept", options.cascade.as_ref().map(|cascade| &cascade.accept))?;
        let ask = options.approve.as_ref().map(|approve| self.template("approve", &approve.ask)).transpose()?;
        let templates = written.chain(&condition).chain(&map).chain(&until).chain(&accept).chain(&ask);
        let roots =
            templates.flat_map(super::super::template::Template::references).map(|reference| reference.root.as_str());
        let read = roots.filter_map(|root| self.ids.get(root).copied()).collect();
        // An agent that the embedding program registers is known to nobody else.
        let known = spec.kind.agent().filter(|_| !matches!(spec.kind, NodeKind::Custom { .. }));
        let reading = known.and_then(|agent| self.agents.get(agent));
        let redacts = matches!(spec.kind, NodeKind::Guard { on_block: OnBlock::Redact, .. });
        let node = ProgramNode {
            name: self.name.to_owned(),
            kind: spec.kind.name(),
            agent: spec.kind.agent().map(str::to_owned),
            fallback: spec.named_backends().map(str::to_owned).collect(),
            labels: options.labels.clone(),
            clears: redacts && !reading.is_some_and(|reading| reading.is_blind),
            reads: reading.and_then(|reading| reading.arguments.clone()),
            cache: options.cache,
            judged: None,
            carries: IndexMap::new(),
            position,
            arguments,
            condition,
            map,
            until,
            accept,
            ask,
            branches,
            default_branch,
        };
        Ok((node, read))
    }

    /// The step that judges the node's answers: it reads the answer, and the node's input as context.
    fn judge(&self, spec: &NodeSpec, agent: &str, position: usize) -> Result<ProgramNode, CompileError> {
        const ANSWER: &str = "{{ output.text if output is mapping and output.text is defined else output }}";
        let field = "cascade.judge";
        let mut arguments = vec![("input".to_owned(), Argument::Template(self.template(field, ANSWER)?))];
        let input = spec.kind.templates().into_iter().find(|(name, _)| *name == "input");
        if let Some((_, input)) = input {
            arguments.push(("context".to_owned(), Argument::Template(self.template(field, input)?)));
        }
        Ok(ProgramNode {
            name: format!("{}.judge", self.name),
            kind: "judge",
            agent: Some(agent.to_owned()),
            fallback: Vec::new(),
            labels: Vec::new(),
            clears: false,
            reads: self.agents.get(agent).and_then(|reading| reading.arguments.clone()),
            cache: spec.options.cache,
            judged: Some(self.id(self.name)?),
            carries: IndexMap::new(),
            position,
            arguments,
            condition: None,
            map: None,
            until: None,
            accept: None,
            ask: None,
            branches: Vec::new(),
            default_branch: None,
        })
    }

    fn node(&self, spec: &NodeSpec, children: &IndexMap<String, usize>) -> Result<Node, CompileError> {
        let options = &spec.options;
        let body = match &spec.kind {
            NodeKind::Guard { .. } => Body::Guard,
            NodeKind::Workflow { path } => {
                let unknown = || CompileError::UnknownWorkflow { node: self.name.to_owned(), path: path.clone() };
                Body::Graph(GraphId(*children.get(path).ok_or_else(unknown)? as u32))
            }
            _ => Body::Agent,
        };
        let policy = Policy {
            join: options.join,
            conditional: options.when.is_some(),
            map: options.map.is_some().then_some(MapPolicy { concurrency: options.concurrency }),
            at_most: options.repeat.as_ref().map(|repeat| repeat.at_most),
            timeout_us: options.timeout_s.map(micros),
            attempts: options.retry.as_ref().map_or(1, |retry| retry.attempts),
            once: options.retry.as_ref().is_some_and(|retry| retry.attempts == 1),
            backoff: options.retry.as_ref().map(|retry| retry.backoff.clone()).unwrap_or_default(),
            fallbacks: options.fallback.len() as u32,
            hedge_after_us: options.hedge_after_ms.map(|ms| u64::from(ms) * 1000),
            cascade: options.cascade.as_ref().map(|_| Cascade { judge: None }),
            approval: options.approve.as_ref().map(|approve| Approval {
                timeout_us: approve.timeout_s.map(micros),
                default: approve.default.unwrap_or_default(),
            }),
        };
        let mut node = Node::new(self.name, body, policy);
        if let NodeKind::Router { routes, .. } = &spec.kind {
            for targets in routes.values() {
                node.routes.push(targets.iter().map(|target| self.id(target)).collect::<Result<_, _>>()?);
            }
        }
        Ok(node)
    }
}

impl NodeKind {
    /// The kind in lower case, as records name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retriever { .. } => "retriever",
            Self::Planner { .. } => "planner",
            Self::Forecaster { .. } => "forecaster",
            Self::Guard { .. } => "guard",
            Self::Router { .. } => "router",
            Self::Judge { .. } => "judge",
            Self::Generator { .. } => "generator",
            Self::Tool { .. } => "tool",
            Self::Workflow { .. } => "workflow",
            Self::Custom { .. } => "custom",
        }
    }

    /// The agent's name, for kinds that have one.
    pub fn agent(&self) -> Option<&str> {
        match self {
            Self::Retriever { agent, .. }
            | Self::Planner { agent, .. }
            | Self::Forecaster { agent, .. }
            | Self::Guard { agent, .. }
            | Self::Judge { agent, .. }
            | Self::Generator { agent, .. }
            | Self::Tool { agent }
            | Self::Custom { agent } => Some(agent),
            Self::Router { agent, .. } => agent.as_deref(),
            Self::Workflow { .. } => None,
        }
    }

    /// The arguments that are templates, by name. Those in `with` come on top.
    pub fn templates(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Retriever { query, .. } => vec![("query", query)],
            Self::Forecaster { series, .. } => vec![("series", series)],
            Self::Guard { input, .. } => vec![("input", input)],
            Self::Planner { input, context, .. }
            | Self::Judge { input, context, .. }
            | Self::Generator { input, context, .. } => {
                [Some(("input", input.as_str())), context.as_deref().map(|text| ("context", text))]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Self::Router { input, context, choose, .. } => [("input", input), ("context", context), ("choose", choose)]
                .into_iter()
                .filter_map(|(name, text)| text.as_deref().map(|text| (name, text)))
                .collect(),
            Self::Tool { .. } | Self::Workflow { .. } | Self::Custom { .. } => Vec::new(),
        }
    }

    /// The arguments that are the same in every run, by name.
    pub fn constants(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Retriever { top_k: Some(top_k), .. } => vec![("top_k", (*top_k).into())],
            Self::Forecaster { horizon, .. } => vec![("horizon", (*horizon).into())],
            Self::Guard { on_block, .. } => {
                let name = match on_block {
                    OnBlock::Refuse => "Refuse",
                    OnBlock::Redact => "Redact",
                };
                vec![("on_block", name.into())]
            }
            Self::Router { routes, default, .. } => {
                let labels = routes.keys().cloned().collect::<Vec<_>>();
                vec![("labels", labels.into()), ("default", default.clone().into())]
            }
            _ => Vec::new(),
        }
    }
}
