//! What a template may read: inputs, other nodes and their fields, and the names of maps and loops where they hold.

use super::shape::{self, Shape};
use super::sink::suggest;
use super::workflow::Checker;
use crate::problem::nearest;
use crate::spec::{AgentSpec, GeneratorFormat, InputKind, NodeKind, NodeSpec};
use crate::template::{Reference, Template};

/// Where a template stands, which decides what it may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// An argument of a node.
    Argument,
    /// `when`, decided once per node.
    When,
    /// `map`, evaluated once per node.
    Map,
    /// `repeat.until`, evaluated after each round.
    Until,
    /// `cascade.accept`, evaluated after an answer.
    Accept,
    /// The workflow's output.
    Output,
}

/// Checks everything that a template reads.
pub(super) fn check(
    checker: &mut Checker<'_>,
    node: Option<(&str, &NodeSpec)>,
    field: &str,
    place: Place,
    template: &Template,
) {
    let path = node.map_or_else(|| field.to_owned(), |(name, _)| format!("nodes.{name}.{field}"));
    for reference in template.references() {
        if checker.sink.is_full() {
            return;
        }
        let root = reference.root.as_str();
        match root {
            "inputs" => input(checker, &path, reference, template),
            "item" | "index" => {
                let mapped = node.is_some_and(|(_, node)| node.options.map.is_some());
                let message = match place {
                    Place::Argument | Place::Until | Place::Accept if mapped => continue,
                    Place::Map => format!("`map` gives the list, so it can't read `{root}`"),
                    Place::When if mapped => format!("`when` is decided once, before `map`, so it can't read `{root}`"),
                    _ => format!("`{root}` is there only in a node with `map`"),
                };
                let hint = "map: \"{{ plan.items }}\" runs the node once per entry".to_owned();
                checker.sink.error_within(&path, at(reference, template), message, (!mapped).then_some(hint));
            }
            "output" if matches!(place, Place::Until | Place::Accept) => {
                own_output(checker, &path, node, reference, template);
            }
            "output" => {
                let hint = "name the node, e.g. `answer.text`".to_owned();
                checker.sink.error_within(
                    &path,
                    at(reference, template),
                    "`output` is there only in `repeat.until` and `cascade.accept`",
                    hint,
                );
            }
            "previous" => {
                let repeated = node.is_some_and(|(_, node)| node.options.repeat.is_some());
                match place {
                    Place::Argument | Place::Until if repeated => own_output(checker, &path, node, reference, template),
                    _ => {
                        let hint = "repeat: (until: \"{{ … }}\", at_most: 3)".to_owned();
                        let message = if repeated {
                            "`previous` is there only in the arguments and in `until`"
                        } else {
                            "`previous` is there only in a node with `repeat`"
                        };
                        checker.sink.error_within(&path, at(reference, template), message, (!repeated).then_some(hint));
                    }
                }
            }
            own if node.is_some_and(|(name, _)| name == own) => {
                let hint = match node {
                    Some((_, node)) if node.options.repeat.is_some() => "`previous` is the last round's value",
                    _ => "with `repeat`, `previous` is the last round's value",
                };
                checker.sink.error_within(
                    &path,
                    at(reference, template),
                    format!("`{own}` reads itself"),
                    hint.to_owned(),
                );
            }
            other => other_node(checker, &path, node.map(|(name, _)| name), other, reference, template),
        }
    }
    if place == Place::Map {
        list(checker, &path, template);
    }
}

/// Where a reference stands in its template.
fn at<'a>(reference: &Reference, template: &'a Template) -> (&'a str, usize) {
    (template.source(), reference.offset_in(template.source()).unwrap_or(0))
}

/// `map` must give a list, as far as that is known before a run.
fn list(checker: &mut Checker<'_>, path: &str, template: &Template) {
    if template.references().is_empty() {
        match template.evaluate(&indexmap::IndexMap::<String, serde_json::Value>::new()) {
            Ok(value) if value.is_array() => {}
            Ok(value) => checker.sink.error(path, format!("`map` needs a list, not {value}"), None),
            Err(error) => checker.sink.error(path, error.message, error.hint),
        }
        return;
    }
    let [reference] = template.references() else { return };
    let only = template.source().trim().trim_start_matches(['{', '-', ' ']).trim_end_matches(['}', '-', ' ']);
    if only != reference.to_string() {
        return;
    }
    let shape = match (reference.root.as_str(), reference.path.as_slice()) {
        ("inputs", [name]) => checker.spec.inputs.get(name).map_or(Shape::Any, |input| of_input(input.kind)),
        (name, _) => {
            checker.spec.nodes.get(name).map_or(Shape::Any, |node| shape::of_node(checker.bundle, checker.source, node))
        }
    };
    let path_in = if reference.root == "inputs" { &[] } else { reference.path.as_slice() };
    if let Some(found) = shape.follow(path_in).ok().and_then(Shape::no_list) {
        let hint = match &shape {
            Shape::Object { fields, .. } if path_in.is_empty() => fields
                .iter()
                .find(|(_, field)| field.no_list().is_none())
                .map(|(field, _)| format!("did you mean `{reference}.{field}`?")),
            _ => None,
        };
        checker.sink.error(path, format!("`map` needs a list, and `{reference}` is {found}"), hint);
    }
}

fn of_input(kind: InputKind) -> Shape {
    match kind {
        InputKind::Json => Shape::Any,
        InputKind::Text => Shape::Plain("a text"),
        InputKind::Number | InputKind::Integer => Shape::Plain("a number"),
        InputKind::Bool => Shape::Plain("true or false"),
    }
}

fn input(checker: &mut Checker<'_>, path: &str, reference: &Reference, template: &Template) {
    let Some(name) = reference.path.first() else { return };
    let inputs = &checker.spec.inputs;
    if inputs.contains_key(name) || checker.source.parsed.broken.contains(name) {
        let shape = inputs.get(name).map(|input| of_input(input.kind));
        if let (Some(Shape::Plain(plain)), Some(field)) = (shape, reference.path.get(1)) {
            let hint = format!("`inputs.{name}` is {plain}, which has no fields");
            checker.sink.error_within(
                path,
                at(reference, template),
                format!("`inputs.{name}` has no field `{field}`"),
                hint,
            );
        }
        return;
    }
    if is_optional(template.source(), &format!("inputs.{name}")) {
        return;
    }
    let hint = suggest(name, inputs.keys().map(String::as_str), "the inputs are")
        .unwrap_or_else(|| format!("inputs: {{ \"{name}\": Text() }}"));
    checker.sink.error_within(path, at(reference, template), format!("there is no input `{name}`"), hint);
}

fn own_output(
    checker: &mut Checker<'_>,
    path: &str,
    node: Option<(&str, &NodeSpec)>,
    reference: &Reference,
    template: &Template,
) {
    let Some((_, node)) = node else { return };
    // A node with both runs its loop within each entry of the map, so `output` is one entry's.
    let mut alone = node.clone();
    alone.options.map = None;
    // With a judge, `accept` reads what the judge says.
    if let Some(judge) = node.judged_by().filter(|_| path.ends_with("cascade.accept") && reference.root == "output") {
        alone.kind = NodeKind::Judge { agent: judge.to_owned(), input: String::new(), context: None };
    }
    fields(checker, path, &alone, reference, template);
}

fn other_node(
    checker: &mut Checker<'_>,
    path: &str,
    own: Option<&str>,
    name: &str,
    reference: &Reference,
    template: &Template,
) {
    let spec = checker.spec;
    if let Some(node) = spec.nodes.get(name) {
        fields(checker, path, node, reference, template);
        return;
    }
    if checker.source.parsed.broken.contains(name) || is_optional(template.source(), name) {
        return;
    }
    let hint = if spec.inputs.contains_key(name) {
        Some(format!("an input is written `inputs.{name}`"))
    } else {
        let others = || spec.nodes.keys().map(String::as_str).filter(|other| Some(*other) != own);
        match nearest(name, others().chain(["inputs"])) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => suggest(name, others(), "the nodes are"),
        }
    };
    checker.sink.error_within(path, at(reference, template), format!("there is no node `{name}`"), hint);
}

fn fields(checker: &mut Checker<'_>, path: &str, node: &NodeSpec, reference: &Reference, template: &Template) {
    let shape = shape::of_node(checker.bundle, checker.source, node);
    let Err(missing) = shape.follow(&reference.path) else { return };
    if is_optional(template.source(), &reference.to_string()) {
        return;
    }
    let name = &reference.path[missing.depth];
    let before = Reference { root: reference.root.clone(), path: reference.path[..missing.depth].to_vec() };
    let hint = match missing.found {
        Shape::Object { fields, .. } => special_hint(checker, node, name)
            .or_else(|| suggest(name, fields.iter().map(|(field, _)| field.as_str()), &format!("`{before}` has"))),
        Shape::Gathered => Some(format!(
            "the node has `map`, so `{before}` is a list: {{{{ {before} | map(attribute=\"{name}\") | list }}}}"
        )),
        Shape::Plain(what) => Some(format!("`{before}` is {what}, which has no fields")),
        Shape::Any => None,
    };
    let message = format!("`{before}` has no field `{name}`");
    if !missing.perhaps {
        checker.sink.error_within(path, at(reference, template), message, hint);
    } else if hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean")) {
        checker.sink.warning(path, format!("`{before}` may have no field `{name}`"), hint);
    }
}

/// Fields that are there only when the agent is asked for them.
fn special_hint(checker: &Checker<'_>, node: &NodeSpec, field: &str) -> Option<String> {
    let agent = node.kind.agent().and_then(|name| checker.bundle.agents.get(name))?;
    match (&node.kind, agent.spec(), field) {
        (NodeKind::Judge { .. }, AgentSpec::Judge(_), "reason") => {
            Some(format!("agent `{}` gives reasons with `reason_chars: 200`", agent.name))
        }
        (NodeKind::Generator { .. }, AgentSpec::Generator(spec), "data")
            if !matches!(spec.format, GeneratorFormat::Json(_)) =>
        {
            Some(format!("agent `{}` gives data with `format: Json(…)`", agent.name))
        }
        _ => None,
    }
}

/// Whether a template takes care of the case that something is not there, by `is defined` or `default`.
pub(super) fn is_optional(template: &str, dotted: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    template.match_indices(dotted).any(|(at, _)| {
        let rest = &template[at + dotted.len()..];
        let whole = !template[..at].ends_with(|c| is_part(c) || c == '.') && !rest.starts_with(is_part);
        let rest = rest.trim_start();
        let filter = rest.strip_prefix('|').map(str::trim_start);
        let test = rest.strip_prefix("is ").map(str::trim_start);
        whole
            && (filter.is_some_and(|filter| filter.starts_with("default") || filter.starts_with("d("))
                || test.is_some_and(|test| {
                    ["defined", "undefined", "not defined"].iter().any(|word| test.starts_with(word))
                }))
    })
}
