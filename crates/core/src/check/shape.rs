//! What the output of a node looks like, as far as it is known before a run.

use serde_json::Value as Json;

use crate::load::{Bundle, WorkflowSource};
use crate::spec::{AgentSpec, GeneratorFormat, NodeKind, NodeSpec, ToolKind};
use crate::template::Template;

const LIST: &str = "a list";

/// Deepest schema that is followed.
const MAX_DEPTH: u32 = 32;

/// What is known of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// Nothing.
    Any,
    /// It has no fields: `a text`, `a number`, `a list`.
    Plain(&'static str),
    /// A list, because its node runs once per entry of `map`.
    Gathered,
    /// It has these fields and, when open, perhaps others.
    Object { fields: Vec<(String, Shape)>, open: bool },
}

/// A field that is not there.
pub(super) struct Missing<'a> {
    /// How many names of the path lead to something.
    pub(super) depth: usize,
    /// What is there instead.
    pub(super) found: &'a Shape,
    /// Whether the value might have it all the same.
    pub(super) perhaps: bool,
}

impl Shape {
    fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object { fields: fields.map(|(name, shape)| (name.to_owned(), shape)).into(), open: false }
    }

    /// Follows a path of field names to what is there.
    pub(super) fn follow(&self, path: &[String]) -> Result<&Self, Missing<'_>> {
        let mut shape = self;
        for (depth, name) in path.iter().enumerate() {
            match shape {
                Self::Any => return Ok(shape),
                Self::Plain(_) | Self::Gathered => return Err(Missing { depth, found: shape, perhaps: false }),
                Self::Object { fields, open } => match fields.iter().find(|(field, _)| field == name) {
                    Some((_, inner)) => shape = inner,
                    None => return Err(Missing { depth, found: shape, perhaps: *open }),
                },
            }
        }
        Ok(shape)
    }

    /// What it is, when it is certainly no list.
    pub(super) fn no_list(&self) -> Option<&'static str> {
        match self {
            Self::Any | Self::Gathered | Self::Plain(LIST) => None,
            Self::Plain(other) => Some(other),
            Self::Object { .. } => Some("a map"),
        }
    }
}

/// The shape of a node's value.
pub(super) fn of_node(bundle: &Bundle, source: &WorkflowSource, node: &NodeSpec) -> Shape {
    if node.options.map.is_some() { Shape::Gathered } else { of_kind(bundle, source, &node.kind) }
}

fn of_kind(bundle: &Bundle, source: &WorkflowSource, kind: &NodeKind) -> Shape {
    let text = || Shape::Plain("a text");
    let number = || Shape::Plain("a number");
    let list = || Shape::Plain(LIST);
    let agent = kind.agent().and_then(|name| bundle.agents.get(name)).map(|agent| agent.spec());
    match (kind, agent) {
        (NodeKind::Retriever { .. }, _) => Shape::object([("query", text()), ("passages", list())]),
        (NodeKind::Planner { .. }, Some(AgentSpec::Planner(spec))) => Shape::object([(&spec.field, list())]),
        (NodeKind::Forecaster { .. }, _) => {
            let backtest = Shape::object([
                ("metric", text()),
                ("folds", number()),
                ("horizon", number()),
                ("error", number()),
                ("errors", Shape::Any),
                ("smape", Shape::Any),
            ]);
            Shape::object([
                ("series", Shape::Any),
                ("model", text()),
                ("season", number()),
                ("horizon", number()),
                ("level", number()),
                ("last", number()),
                ("last_total", number()),
                ("mean", list()),
                ("lower", list()),
                ("upper", list()),
                ("total", number()),
                ("backtest", backtest),
                ("observations", number()),
                ("start", Shape::Any),
                ("end", Shape::Any),
            ])
        }
        (NodeKind::Guard { .. }, _) => Shape::object([("text", text()), ("outcome", text()), ("findings", list())]),
        (NodeKind::Router { .. }, _) => Shape::object([("choice", text()), ("labels", list())]),
        (NodeKind::Judge { .. }, Some(AgentSpec::Judge(spec))) => {
            let mut fields = vec![("score", number()), ("min", number()), ("max", number())];
            if spec.reason_chars > 0 {
                fields.push(("reason", text()));
            }
            Shape::Object {
                fields: fields.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect(),
                open: false,
            }
        }
        (NodeKind::Generator { .. }, Some(AgentSpec::Generator(spec))) => match &spec.format {
            GeneratorFormat::Json(schema) => Shape::object([("text", text()), ("data", of_schema(schema, 0))]),
            GeneratorFormat::Text | GeneratorFormat::Regex(_) => Shape::object([("text", text())]),
        },
        (NodeKind::Tool { .. }, Some(AgentSpec::Tool(spec))) => match spec.tool {
            ToolKind::Calculator => Shape::object([("result", number()), ("expression", text())]),
            ToolKind::HttpGet { .. } => Shape::object([
                ("result", text()),
                ("url", text()),
                ("status", number()),
                ("content_type", Shape::Any),
                ("json", Shape::Any),
            ]),
        },
        (NodeKind::Workflow { path }, _) => match bundle.subworkflow(source, path) {
            Some(inner) => match Template::parse(&inner.parsed.spec.output) {
                Ok(template) if !template.is_expression() => text(),
                _ => Shape::Any,
            },
            None => Shape::Any,
        },
        _ => Shape::Any,
    }
}

/// What a JSON Schema says about fields.
fn of_schema(schema: &Json, depth: u32) -> Shape {
    let Some(map) = schema.as_object().filter(|_| depth < MAX_DEPTH) else { return Shape::Any };
    let composed = ["$ref", "anyOf", "oneOf", "allOf", "if", "patternProperties"];
    if composed.iter().any(|key| map.contains_key(*key)) {
        return Shape::Any;
    }
    match map.get("type").and_then(Json::as_str) {
        Some("object") => {
            let properties = map.get("properties").and_then(Json::as_object);
            let fields =
                properties.into_iter().flatten().map(|(name, schema)| (name.clone(), of_schema(schema, depth + 1)));
            let open =
                map.get("additionalProperties").is_some_and(|more| *more != Json::Bool(false)) || properties.is_none();
            Shape::Object { fields: fields.collect(), open }
        }
        Some("array") => Shape::Plain(LIST),
        Some("string") => Shape::Plain("a text"),
        Some("number" | "integer") => Shape::Plain("a number"),
        Some("boolean") => Shape::Plain("true or false"),
        _ => Shape::Any,
    }
}
