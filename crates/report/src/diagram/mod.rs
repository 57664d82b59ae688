//! Drawings of workflows: as a table of layers, in Mermaid, in Graphviz's dot, and as SVG with a layout of our own.
//!
//! A sub-workflow is drawn inside the first node that runs it; other nodes that run it refer to that one.

mod dot;
mod layout;
mod marks;
mod mermaid;
mod svg;
mod text;

use lumos_core::graph::{Graph, GraphId};
use lumos_core::program::{CompileError, Program, Workflows};
use lumos_core::spec::{InputKind, InputSpec, Join, NodeKind, NodeSpec, OnBlock, Verdict, WorkflowSpec};

pub use marks::Mark;
use marks::Marking;

use crate::figure;
use crate::table::{clean, fit};

pub(crate) use svg::escape;

/// Longest expression that is drawn in full.
const EXPRESSION: usize = 60;

/// A workflow, ready to be drawn.
#[derive(Debug, Clone)]
pub struct Diagram {
    sheet: Sheet,
    description: String,
    inputs: Vec<String>,
    /// Lines of the template.
    output: Vec<String>,
    limits: Vec<String>,
}

/// One workflow or sub-workflow.
#[derive(Debug, Clone)]
struct Sheet {
    name: String,
    items: Vec<Item>,
    /// Positions in `items`, dependencies first.
    order: Vec<usize>,
    arrows: Vec<Arrow>,
}

/// A node.
#[derive(Debug, Clone)]
struct Item {
    /// Unique in the diagram.
    id: usize,
    name: String,
    kind: &'static str,
    agent: Option<String>,
    /// When, how often and how it works.
    notes: Vec<String>,
    /// Length of the longest chain of nodes before it.
    layer: usize,
    mapped: bool,
    /// The sub-workflow that is drawn inside it.
    inner: Option<Sheet>,
    mark: Option<Marking>,
}

/// An edge between two positions in `items`.
#[derive(Debug, Clone)]
struct Arrow {
    from: usize,
    to: usize,
    label: Option<String>,
    mark: Option<Marking>,
}

impl Diagram {
    /// A drawing of a workflow with its sub-workflows.
    ///
    /// # Errors
    /// What keeps it from being a program.
    pub fn new(workflows: &Workflows) -> Result<Self, CompileError> {
        Self::marked(workflows, &[])
    }

    /// A drawing on which ways through the workflow stand out.
    ///
    /// # Errors
    /// As for [`Diagram::new`].
    pub fn marked(workflows: &Workflows, marks: &[Mark]) -> Result<Self, CompileError> {
        let program = Program::compile(workflows)?;
        let drawn = vec![None; workflows.list.len()];
        let mut builder = Builder { workflows, program: &program, marks, next_id: 0, drawn };
        let sheet = builder.sheet(0);
        let (spec, _) = &workflows.list[0];
        Ok(Self {
            sheet,
            description: clean(&spec.description),
            inputs: spec.inputs.iter().map(|(name, input)| describe_input(name, input)).collect(),
            output: spec.output.trim().lines().map(clean).collect(),
            limits: limits(spec),
        })
    }

    /// A table: nodes of one layer can run at the same time.
    pub fn text(&self) -> String {
        text::draw(self)
    }

    /// A Mermaid flowchart.
    pub fn mermaid(&self) -> String {
        mermaid::draw(&self.sheet)
    }

    /// A Graphviz graph.
    pub fn dot(&self) -> String {
        dot::draw(&self.sheet)
    }

    /// A self-contained SVG image.
    pub fn svg(&self) -> String {
        svg::draw(&self.sheet)
    }
}

struct Builder<'a> {
    workflows: &'a Workflows,
    program: &'a Program,
    marks: &'a [Mark],
    next_id: usize,
    /// Under which node each workflow has been drawn.
    drawn: Vec<Option<String>>,
}

impl Builder<'_> {
    fn sheet(&mut self, position: usize) -> Sheet {
        let (spec, children) = &self.workflows.list[position];
        let graph = self.program.plan().graph(GraphId(position as u32));
        let layers = layers(graph);
        let mut items = Vec::with_capacity(spec.nodes.len());
        for ((name, node), layer) in spec.nodes.iter().zip(layers) {
            let id = self.next_id;
            self.next_id += 1;
            let mut notes = notes(node);
            let mut inner = None;
            if let NodeKind::Workflow { path } = &node.kind
                && let Some(child) = children.get(path)
            {
                if let Some(elsewhere) = self.drawn[*child].clone() {
                    notes.insert(0, format!("like {elsewhere}"));
                } else {
                    self.drawn[*child] = Some(name.clone());
                    inner = Some(self.sheet(*child)).filter(|sheet| !sheet.items.is_empty());
                }
            }
            items.push(Item {
                id,
                name: clean(name),
                kind: node.kind.name(),
                agent: match &node.kind {
                    NodeKind::Workflow { path } => Some(clean(path)),
                    kind => kind.agent().map(clean),
                },
                notes,
                layer,
                mapped: node.options.map.is_some(),
                inner,
                mark: None,
            });
        }
        let order = graph.topological().iter().map(|id| id.index()).filter(|at| *at < items.len()).collect();
        let mut sheet = Sheet { name: clean(&spec.name), items, order, arrows: arrows(spec, graph) };
        marks::draw(&mut sheet, graph, GraphId(position as u32), self.marks, &mut self.next_id);
        sheet
    }
}

impl Sheet {
    /// The items that come first and last in topological order; a sheet that is drawn inside a node has items.
    fn ends(&self) -> (&Item, &Item) {
        let at = |position: Option<&usize>| &self.items[position.copied().unwrap_or_default()];
        (at(self.order.first()), at(self.order.last()))
    }
}

impl Item {
    /// Kind and agent, where the agent says more than the name of the node.
    fn what(&self) -> String {
        match &self.agent {
            Some(agent) => format!("{} · {agent}", self.kind),
            None => self.kind.to_owned(),
        }
    }
}

fn layers(graph: &Graph) -> Vec<usize> {
    let mut layers = vec![0; graph.nodes().len()];
    for id in graph.topological() {
        let before = graph.node(*id).dependencies().iter().map(|from| layers[from.index()] + 1).max();
        layers[id.index()] = before.unwrap_or_default();
    }
    layers
}

fn arrows(spec: &WorkflowSpec, graph: &Graph) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for (to, node) in graph.nodes().iter().enumerate() {
        for from in node.dependencies().iter().map(|id| id.index()) {
            let label = match spec.nodes.get_index(from) {
                Some((_, NodeSpec { kind: NodeKind::Router { routes, .. }, .. })) => {
                    let name: &str = &node.name;
                    let labels: Vec<String> = routes
                        .iter()
                        .filter(|(_, targets)| targets.iter().any(|target| target == name))
                        .map(|(label, _)| fit(&clean(label), EXPRESSION))
                        .collect();
                    (!labels.is_empty()).then(|| labels.join(", "))
                }
                _ => None,
            };
            arrows.push(Arrow { from, to, label, mark: None });
        }
    }
    arrows
}

/// An expression without its braces, on one line.
fn expression(text: &str) -> String {
    let inner = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}")).unwrap_or(text);
    let words: Vec<&str> = inner.split_whitespace().collect();
    fit(&clean(&words.join(" ")), EXPRESSION)
}

fn notes(node: &NodeSpec) -> Vec<String> {
    let options = &node.options;
    let mut notes = Vec::new();
    if let Some(when) = &options.when {
        notes.push(format!("when {}", expression(when)));
    }
    if options.join == Join::Any {
        notes.push("after the first of them".to_owned());
    }
    if let Some(approve) = &options.approve {
        let default = match approve.default.unwrap_or_default() {
            Verdict::Reject => "rejected",
            Verdict::Approve => "approved",
        };
        let timeout = approve.timeout_s.map(|seconds| format!(", {default} after {}", seconds_of(seconds)));
        let words: Vec<&str> = approve.ask.split_whitespace().collect();
        let question = fit(&clean(&words.join(" ")), EXPRESSION);
        notes.push(format!("asks a person: {question}{}", timeout.unwrap_or_default()));
    }
    if let Some(map) = &options.map {
        let at_once = options.concurrency.map(|most| format!(", {most} at once")).unwrap_or_default();
        notes.push(format!("map {}{at_once}", expression(map)));
    }
    if let Some(repeat) = &options.repeat {
        notes.push(format!("repeat until {}, at most {}×", expression(&repeat.until), repeat.at_most));
    }
    match &node.kind {
        NodeKind::Guard { on_block: OnBlock::Refuse, .. } => notes.push("refuses".to_owned()),
        NodeKind::Guard { on_block: OnBlock::Redact, .. } => notes.push("redacts".to_owned()),
        NodeKind::Router { default: Some(default), .. } => {
            notes.push(format!("else {}", fit(&clean(default), EXPRESSION)));
        }
        _ => {}
    }
    if let Some(retry) = options.retry.as_ref().filter(|retry| retry.attempts > 1) {
        notes.push(format!("{} tries", retry.attempts));
    }
    if let Some(seconds) = options.timeout_s {
        notes.push(format!("timeout {}", seconds_of(seconds)));
    }
    if !options.fallback.is_empty() {
        notes.push(format!("falls back on {}", clean(&options.fallback.join(", "))));
    }
    notes
}

fn seconds_of(seconds: f64) -> String {
    format!("{seconds} s")
}

fn describe_input(name: &str, input: &InputSpec) -> String {
    let kind = match input.kind {
        InputKind::Text => "text",
        InputKind::Number => "number",
        InputKind::Integer => "whole number",
        InputKind::Bool => "true or false",
        InputKind::Json => "JSON",
    };
    let rest = match &input.default {
        _ if input.required => ", required".to_owned(),
        Some(default) => format!(", default {}", fit(&clean(&default.to_string()), EXPRESSION)),
        None => String::new(),
    };
    let about = if input.description.is_empty() { String::new() } else { format!(": {}", clean(&input.description)) };
    format!("{} ({kind}{rest}){about}", clean(name))
}

fn limits(spec: &WorkflowSpec) -> Vec<String> {
    let limits = &spec.limits;
    let cost = limits.cost_usd.map(figure::money);
    let deadline = limits.deadline_s.map(seconds_of);
    let steps = limits.steps.map(|steps| format!("{} steps", figure::count(steps.into())));
    [cost, deadline, steps].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
