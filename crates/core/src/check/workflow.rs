//! Checks of one workflow: names, templates, options, agents and sub-workflows; the order of nodes is the subject of
//! [`super::flow`].

use serde_json::Value as Json;

use super::condition;
use super::flow;
use super::limits;
use super::policies;
use super::reference::{self, Place};
use super::sink::{Sink, is_name, suggest};
use crate::load::{AgentSource, Bundle, WorkflowSource};
use crate::problem::Problem;
use crate::spec::{AgentSpec, InputKind, InputSpec, NodeKind, NodeSpec, ToolKind, WorkflowSpec};
use crate::template::{Template, is_builtin};

/// Names that templates use for something else.
const RESERVED: [&str; 5] = ["inputs", "item", "index", "previous", "output"];

/// The compiled texts of a node, each with the field it stands in.
pub(super) struct Texts {
    pub(super) list: Vec<(String, Place, Template)>,
}

/// Checks one workflow of a bundle.
pub(super) fn check(bundle: &Bundle, source: &WorkflowSource) -> Vec<Problem> {
    let spec = &source.parsed.spec;
    let mut checker = Checker { bundle, source, spec, sink: Sink::new(&source.parsed, &source.text) };
    checker.names();
    checker.inputs();
    let texts: Vec<Texts> = spec.nodes.iter().map(|(name, node)| checker.node(name, node)).collect();
    let output = checker.template("output", &spec.output);
    if let Some(output) = &output {
        reference::check(&mut checker, None, "output", Place::Output, output);
    }
    limits::workflow(&mut checker.sink, spec);
    flow::check(&mut checker.sink, source, &texts, output.as_ref());
    checker.sink.into_problems()
}

/// What the checks of one workflow share.
pub(super) struct Checker<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) source: &'a WorkflowSource,
    pub(super) spec: &'a WorkflowSpec,
    pub(super) sink: Sink<'a>,
}

impl Checker<'_> {
    fn names(&mut self) {
        if self.spec.name.trim().is_empty() && self.source.parsed.positions.has("name") {
            self.sink.error("name", "the workflow's name is empty", None);
        }
        if self.spec.nodes.is_empty() && self.source.parsed.broken.is_empty() {
            self.sink.error("nodes", "the workflow has no nodes", "nodes: { \"answer\": Generator(…) }".to_owned());
        }
        let inputs = self.spec.inputs.keys().map(|name| ("inputs", name));
        for (section, name) in inputs.chain(self.spec.nodes.keys().map(|name| ("nodes", name))) {
            let path = format!("{section}.{name}");
            if !is_name(name) {
                let hint = "letters, digits and `_`, beginning with a letter or `_`".to_owned();
                self.sink.error(&path, format!("`{name}` is no name that templates can use"), hint);
            } else if section == "nodes" && (RESERVED.contains(&name.as_str()) || is_builtin(name)) {
                let reserved = RESERVED.map(|name| format!("`{name}`")).join(", ");
                let hint = format!("{reserved} and the names of Jinja mean something else in templates");
                self.sink.error(&path, format!("a node can't be called `{name}`"), hint);
            }
        }
    }

    fn inputs(&mut self) {
        for (name, input) in &self.spec.inputs {
            let path = format!("inputs.{name}.default");
            if let Some(default) = &input.default {
                if let Err(expected) = fits(input.kind, default) {
                    self.sink.error(
                        &path,
                        format!("the default of `{name}` is {default}"),
                        format!("expected {expected}"),
                    );
                }
                if input.required {
                    let hint = "remove `required: true` or the default".to_owned();
                    self.sink.warning(&path, format!("`{name}` is required, so its default is never used"), hint);
                }
            }
        }
    }

    fn node(&mut self, name: &str, node: &NodeSpec) -> Texts {
        let path = format!("nodes.{name}");
        let options = &node.options;
        let mut list = Vec::new();
        let fields = node.kind.templates();
        let arguments = fields.iter().map(|(field, text)| ((*field).to_owned(), *text, Place::Argument));
        let with = options.with.iter().map(|(key, text)| (format!("with.{key}"), text.as_str(), Place::Argument));
        let single = [
            ("when", options.when.as_deref(), Place::When),
            ("map", options.map.as_deref(), Place::Map),
            ("repeat.until", options.repeat.as_ref().map(|repeat| repeat.until.as_str()), Place::Until),
            ("cascade.accept", options.cascade.as_ref().map(|cascade| cascade.accept.as_str()), Place::Accept),
        ];
        let single = single.into_iter().filter_map(|(field, text, place)| Some((field.to_owned(), text?, place)));
        // Written as a text alone, the question stands where the option does.
        let asked = if self.sink.has(&format!("{path}.approve.ask")) { "approve.ask" } else { "approve" };
        let question = options.approve.iter().map(|approve| (asked.to_owned(), approve.ask.as_str(), Place::Argument));
        for (field, text, place) in arguments.chain(with).chain(question).chain(single) {
            let at = format!("{path}.{field}");
            let Some(template) = self.template(&at, text) else { continue };
            let must = place != Place::Argument || field == "choose";
            if must && !template.is_expression() {
                let hint = format!("e.g. \"{{{{ {} }}}}\"", example(&field, text));
                self.sink.error(&at, format!("`{field}` must be exactly one {{{{ expression }}}}"), hint);
                continue;
            }
            reference::check(self, Some((name, node)), &field, place, &template);
            list.push((field, place, template));
        }
        let when = list.iter().find(|(field, ..)| field == "when").map(|(.., template)| template);
        if let Some(when) = when {
            condition::check(&mut self.sink, self.spec, &format!("{path}.when"), when);
        }
        for key in options.with.keys() {
            let constants = node.kind.constants();
            if fields.iter().any(|(field, _)| field == key) || constants.iter().any(|(field, _)| field == key) {
                let hint = "remove it from `with`".to_owned();
                self.sink.error(
                    &format!("{path}.with.{key}"),
                    format!("`{key}` is given twice: by the node and in `with`"),
                    hint,
                );
            } else if !is_name(key) {
                let hint = "letters, digits and `_`, beginning with a letter or `_`".to_owned();
                self.sink.error(
                    &format!("{path}.with.{key}"),
                    format!("`{key}` is no name that templates can use"),
                    hint,
                );
            }
        }
        limits::node(&mut self.sink, &path, node);
        policies::check(&mut self.sink, self.bundle, &path, node);
        self.agent(name, node);
        if let NodeKind::Router { agent, input, choose, routes, default, .. } = &node.kind {
            self.router(&path, agent.is_some(), input.is_some(), choose.is_some(), default.as_deref(), routes);
        }
        if let NodeKind::Workflow { path: written } = &node.kind {
            self.subworkflow(&path, written, node);
        }
        Texts { list }
    }

    fn template(&mut self, path: &str, text: &str) -> Option<Template> {
        Template::parse(text).map_err(|error| self.sink.template_error(path, text, error)).ok()
    }

    fn router(
        &mut self,
        path: &str,
        agent: bool,
        input: bool,
        choose: bool,
        default: Option<&str>,
        routes: &indexmap::IndexMap<String, Vec<String>>,
    ) {
        match (agent, choose) {
            (false, false) => {
                let hint = "agent: \"…\" asks a model, choose: \"{{ … }}\" evaluates an expression".to_owned();
                self.sink.error(path, "the router needs `agent` or `choose`", hint);
            }
            (true, true) => {
                self.sink.error(
                    &format!("{path}.choose"),
                    "`agent` and `choose` exclude each other",
                    "keep one of them".to_owned(),
                );
            }
            (true, false) if !input => {
                self.sink.error(path, "the router's agent needs `input`", "input: \"{{ inputs.… }}\"".to_owned());
            }
            _ => {}
        }
        if routes.is_empty() {
            self.sink.error(
                &format!("{path}.routes"),
                "the router has no routes",
                "routes: { \"label\": [\"node\"] }".to_owned(),
            );
        }
        if routes.keys().any(|label| label.trim().is_empty()) {
            self.sink.error(&format!("{path}.routes"), "a label is empty", None);
        }
        if let Some(default) = default
            && !routes.contains_key(default)
        {
            let hint = suggest(default, routes.keys().map(String::as_str), "the labels are");
            self.sink.error(&format!("{path}.default"), format!("`{default}` is none of the routes"), hint);
        }
    }

    /// Role, prompt and tool of the node's agent.
    fn agent(&mut self, name: &str, node: &NodeSpec) {
        if matches!(node.kind, NodeKind::Custom { .. }) {
            return;
        }
        let Some(agent) = node.kind.agent().and_then(|agent| self.bundle.agents.get(agent)) else { return };
        let path = format!("nodes.{name}.agent");
        let (wanted, found) = (node.kind.name(), agent.spec().role());
        if wanted != found {
            let hint = format!("name a {wanted} agent, or make the node a {}", capitalized(found));
            self.sink.error(&path, format!("`{}` is a {found} agent", agent.name), hint);
            return;
        }
        let fields = node.kind.templates();
        let constants = node.kind.constants();
        let given: Vec<&str> = fields
            .iter()
            .map(|(field, _)| *field)
            .chain(constants.iter().map(|(field, _)| *field))
            .chain(node.options.with.keys().map(String::as_str))
            .collect();
        let written: Vec<&str> =
            fields.iter().map(|(field, _)| *field).chain(node.options.with.keys().map(String::as_str)).collect();
        self.prompt(name, agent, &written, &given);
        if let AgentSpec::Tool(tool) = agent.spec() {
            let needed = match tool.tool {
                ToolKind::Calculator => "expression",
                ToolKind::HttpGet { .. } => "url",
            };
            if !given.contains(&needed) {
                let hint = format!("with: {{ \"{needed}\": \"…\" }}");
                self.sink.error(&path, format!("tool `{}` needs the argument `{needed}`", agent.name), hint);
            }
            for key in given.iter().filter(|key| **key != needed) {
                let hint = format!("it reads `{needed}`");
                self.sink.warning(&format!("nodes.{name}.with.{key}"), format!("the tool does not read `{key}`"), hint);
            }
        }
    }

    /// What the agent's prompt reads, against what the node writes and gives.
    fn prompt(&mut self, name: &str, agent: &AgentSource, fields: &[&str], given: &[&str]) {
        let path = format!("nodes.{name}.agent");
        let Some(prompt) = agent.spec().prompt() else { return };
        let user = agent.user_prompt.as_deref().unwrap_or(&prompt.user);
        let Ok(templates) =
            [prompt.system.as_str(), user].map(Template::parse).into_iter().collect::<Result<Vec<_>, _>>()
        else {
            return;
        };
        if prompt.user_file.is_some() && agent.user_prompt.is_none() {
            return;
        }
        for key in fields {
            let read = templates.iter().flat_map(Template::references).any(|reference| reference.root == *key);
            let with = self.spec.nodes.get(name).is_some_and(|node| node.options.with.contains_key(*key));
            if !read {
                let at = if with { format!("nodes.{name}.with.{key}") } else { format!("nodes.{name}.{key}") };
                let hint = format!("write `{{{{ {key} }}}}` in the prompt, or remove it here");
                self.sink.warning(&at, format!("the prompt of agent `{}` does not read `{key}`", agent.name), hint);
            }
        }
        let mut missing: Vec<&str> = templates
            .iter()
            .flat_map(|template| template.references().iter().map(move |reference| (template, reference)))
            .filter(|(template, reference)| {
                !given.contains(&reference.root.as_str()) && !reference::is_optional(template.source(), &reference.root)
            })
            .map(|(_, reference)| reference.root.as_str())
            .collect();
        missing.sort_unstable();
        missing.dedup();
        for root in missing {
            let hint = match suggest(root, given.iter().copied(), "the node gives") {
                Some(hint) if hint.starts_with("did") => hint,
                hint => format!(
                    "{}; add with: {{ \"{root}\": \"…\" }}",
                    hint.unwrap_or_else(|| "the node gives nothing".to_owned())
                ),
            };
            let message = format!("the prompt of agent `{}` reads `{root}`, which the node does not give", agent.name);
            self.sink.error(&path, message, hint);
        }
    }

    /// What a sub-workflow is given, against what it takes.
    fn subworkflow(&mut self, path: &str, written: &str, node: &NodeSpec) {
        let Some(inner) = self.bundle.subworkflow(self.source, written) else {
            if self.source.text.is_empty() {
                self.sink.error(&format!("{path}.path"), format!("there is no workflow `{written}`"), None);
            }
            return;
        };
        let takes = &inner.parsed.spec.inputs;
        for (key, text) in &node.options.with {
            let at = format!("{path}.with.{key}");
            let Some(input) = takes.get(key) else {
                if !inner.parsed.broken.contains(key) {
                    let hint = suggest(key, takes.keys().map(String::as_str), "it takes")
                        .unwrap_or_else(|| "it takes no inputs".to_owned());
                    self.sink.error(&at, format!("workflow `{written}` has no input `{key}`"), hint);
                }
                continue;
            };
            self.constant_input(&at, key, input, text);
        }
        for (key, _) in takes.iter().filter(|(key, input)| input.required && !node.options.with.contains_key(*key)) {
            let hint = format!("with: {{ \"{key}\": \"…\" }}");
            self.sink.error(path, format!("workflow `{written}` needs the input `{key}`"), hint);
        }
    }

    /// A text or constant that can't be what the input's type asks for.
    fn constant_input(&mut self, path: &str, key: &str, input: &InputSpec, text: &str) {
        let Ok(template) = Template::parse(text) else { return };
        let value = if !template.is_expression() {
            Json::String(text.to_owned())
        } else if template.references().is_empty() {
            let Ok(value) = template.evaluate(&indexmap::IndexMap::<String, Json>::new()) else { return };
            value
        } else {
            return;
        };
        if let Err(expected) = fits(input.kind, &value) {
            let hint = format!("expected {expected}, e.g. \"{{{{ inputs.… }}}}\"");
            self.sink.error(path, format!("input `{key}` is given a text"), hint);
        }
    }
}

/// Whether a value is of an input's type; if not, what was expected.
pub(super) fn fits(kind: InputKind, value: &Json) -> Result<(), &'static str> {
    let (fits, expected) = match kind {
        InputKind::Text => (value.is_string(), "a text"),
        InputKind::Number => (value.is_number(), "a number"),
        InputKind::Integer => (value.is_i64(), "a whole number"),
        InputKind::Bool => (value.is_boolean(), "true or false"),
        InputKind::Json => (true, "any value"),
    };
    if fits { Ok(()) } else { Err(expected) }
}

fn example(field: &str, text: &str) -> String {
    let bare = text.trim();
    if !bare.is_empty()
        && bare.len() < 60
        && Template::parse(&format!("{{{{ {bare} }}}}")).is_ok_and(|t| t.is_expression())
    {
        return bare.to_owned();
    }
    match field {
        "map" => "plan.items",
        "choose" => "inputs.topic",
        _ => "judge.score >= 7",
    }
    .to_owned()
}

fn capitalized(role: &str) -> String {
    let mut chars = role.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
