//! Checks of a claim: names that lead nowhere, ranges that hold nothing, templates that don't compile.

use serde_json::Value;

use super::sink::{Sink, is_name, suggest};
use crate::problem::Problem;
use crate::read::Parsed;
use crate::spec::{ClaimSpec, FigureSpec, GivenSpec, PartSpec, QuestionSpec, RangeSpec};
use crate::template::{Template, is_builtin};

/// Most points at which a figure is worked out to see how far what is given moves it.
const MOST_EXTREMES: usize = 64;

/// Fewest seeds of one question: one shows nothing of chance, and a figure without an interval would seem certain.
const FEWEST_SEEDS: u32 = 2;

/// Most seeds of one question.
const MOST_SEEDS: u32 = 100;

/// Checks a claim.
pub(super) fn check(claim: &Parsed<ClaimSpec>) -> Vec<Problem> {
    let spec = &claim.spec;
    let mut sink = Sink::new(claim, "");
    names(&mut sink, spec);
    for (name, given) in &spec.given {
        check_given(&mut sink, &format!("given.{name}"), given);
    }
    for (name, question) in &spec.asked {
        check_question(&mut sink, spec, &format!("asked.{name}"), question);
    }
    if spec.parts.is_empty() && sink.has("parts") {
        sink.error(
            "parts",
            "there is nothing that must be true",
            "parts: [Figure(says: …, figure: …, must_be: …)]".to_owned(),
        );
    }
    for (at, part) in spec.parts.iter().enumerate() {
        if let PartSpec::Figure(figure) = part {
            check_figure(&mut sink, spec, &format!("parts.{at}"), figure);
        }
    }
    let decides = |part: &PartSpec| match part {
        PartSpec::Figure(figure) => figure.must_be.is_some(),
        PartSpec::Unknown { .. } => true,
    };
    if !spec.parts.is_empty() && !spec.parts.iter().any(decides) {
        sink.error("parts", "no part says what must be", "must_be: AtLeast(10)".to_owned());
    }
    sink.into_problems()
}

fn names(sink: &mut Sink<'_>, spec: &ClaimSpec) {
    let given = spec.given.keys().map(|name| ("given", name));
    let asked = spec.asked.keys().map(|name| ("asked", name));
    for (field, name) in given.chain(asked) {
        let path = format!("{field}.{name}");
        if !is_name(name) || is_builtin(name) {
            sink.error(&path, format!("`{name}` is no name"), "letters, digits and `_`, a letter first".to_owned());
        }
        if field == "asked" && spec.given.contains_key(name) {
            sink.error(&path, format!("`{name}` is given and asked"), "call one of them otherwise".to_owned());
        }
    }
}

fn check_given(sink: &mut Sink<'_>, path: &str, given: &GivenSpec) {
    match given {
        GivenSpec::Range(RangeSpec { at, from, to, search, .. }) => {
            if !(from <= at && at <= to && from < to) {
                let message = format!("{at} between {from} and {to} is no range");
                sink.error(path, message, "from <= at <= to, and from < to".to_owned());
            }
            if let Some((low, high)) = search
                && !(low <= from && to <= high)
            {
                let message = format!("the search from {low} to {high} leaves out what is plausible");
                sink.error(&format!("{path}.search"), message, format!("at most {from} and at least {to}"));
            }
        }
        GivenSpec::OneOf { values, .. } => {
            if values.len() < 2 {
                sink.error(path, "there is nothing to choose from", "values: [\"a\", \"b\"]".to_owned());
            }
            if let Some(value) = values.iter().find(|value| !value.is_string() && !value.is_number()) {
                sink.error(path, format!("{value} is neither a text nor a number"), None);
            }
        }
    }
}

fn check_question(sink: &mut Sink<'_>, spec: &ClaimSpec, path: &str, question: &QuestionSpec) {
    let text = |sink: &mut Sink<'_>, field: &str, text: &str| {
        check_template(sink, spec, &format!("{path}.{field}"), text, &[]);
    };
    match question {
        QuestionSpec::Simulate { scenario, deployment, load_factor, runs, seeds } => {
            text(sink, "scenario", scenario);
            text(sink, "deployment", deployment);
            check_number(sink, spec, &format!("{path}.load_factor"), load_factor);
            if *seeds < FEWEST_SEEDS {
                let message = format!("seeds are {seeds}, and fewer than {FEWEST_SEEDS} show nothing of chance");
                sink.error(&format!("{path}.seeds"), message, format!("{FEWEST_SEEDS} to {MOST_SEEDS}"));
            } else if *seeds > MOST_SEEDS {
                let hint = format!("{FEWEST_SEEDS} to {MOST_SEEDS}");
                sink.error(&format!("{path}.seeds"), format!("there are {seeds} seeds"), hint);
            }
            if *runs == Some(0) {
                sink.error(&format!("{path}.runs"), "there are no runs", "at least 1".to_owned());
            }
        }
        QuestionSpec::Plan { scenario, deployment, .. } => {
            text(sink, "scenario", scenario);
            text(sink, "deployment", deployment);
        }
        QuestionSpec::Price { provider, model, input_tokens, output_tokens } => {
            text(sink, "provider", provider);
            text(sink, "model", model);
            check_number(sink, spec, &format!("{path}.input_tokens"), input_tokens);
            check_number(sink, spec, &format!("{path}.output_tokens"), output_tokens);
        }
        QuestionSpec::Audit { workflow, deployment } => {
            text(sink, "workflow", workflow);
            text(sink, "deployment", deployment);
        }
    }
}

/// A number, or one expression.
fn check_number(sink: &mut Sink<'_>, spec: &ClaimSpec, path: &str, value: &Value) {
    let hint = "a number, or one \"{{ expression }}\"".to_owned();
    match value {
        Value::Number(_) => {}
        Value::String(text) => {
            if let Some(template) = check_template(sink, spec, path, text, &[])
                && !template.is_expression()
            {
                sink.error(path, "this is no number", hint);
            }
        }
        _ => sink.error(path, "this is no number", hint),
    }
}

fn check_figure(sink: &mut Sink<'_>, spec: &ClaimSpec, path: &str, figure: &FigureSpec) {
    let asked: Vec<&str> = spec.asked.keys().map(String::as_str).collect();
    let field = format!("{path}.figure");
    let template = check_template(sink, spec, &field, &figure.figure, &asked);
    if figure.must_be.is_some()
        && let Some(plan) = template.as_ref().and_then(|template| simulated_of_plan(spec, template))
    {
        let message = format!("`{plan}` is from one simulation, which shows nothing of chance");
        let hint = "Simulate(…, seeds: 3) has times with their intervals; of a plan, fleets and prices are judged";
        sink.error(&field, message, hint.to_owned());
    }
    if template.is_some_and(|template| !template.is_expression()) {
        sink.error(&field, "a figure is one expression", "\"{{ answer.latency_s.p95 * 1000 }}\"".to_owned());
    }
    if let Some(vary) = &figure.vary
        && !spec.given.contains_key(vary)
    {
        let hint = suggest(vary, spec.given.keys().map(String::as_str), "given is");
        sink.error(&format!("{path}.vary"), format!("`{vary}` is not given"), hint);
    }
    if let Some(bounds) = figure.must_be
        && let (Some(least), Some(most)) = (bounds.least, bounds.most)
        && least > most
    {
        sink.error(&format!("{path}.must_be"), format!("nothing lies between {least} and {most}"), None);
    }
    if !(0.0..1.0).contains(&figure.off_by) {
        sink.error(
            &format!("{path}.off_by"),
            format!("`off_by` is {}", figure.off_by),
            "a share, from 0 to below 1".to_owned(),
        );
    }
    if figure.off_by > 0.0 && figure.off_by_source.is_empty() {
        let hint = "off_by_source: \"benches/runs/…\"".to_owned();
        sink.error(&format!("{path}.off_by"), "nobody is named who says how far off it may be", hint);
    }
    let extremes = spec.given.values().map(|given| given.extremes().len()).try_fold(1_usize, usize::checked_mul);
    if extremes.is_none_or(|extremes| extremes > MOST_EXTREMES) {
        let hint = format!("at most {MOST_EXTREMES}: two for a range, one for each value of a choice");
        sink.error("given", "what is given has too many extremes together", hint);
    }
}

/// What an expression reads of the simulation behind a plan.
fn simulated_of_plan(spec: &ClaimSpec, template: &Template) -> Option<String> {
    let is_plan = |name: &str| matches!(spec.asked.get(name), Some(QuestionSpec::Plan { .. }));
    let read = template
        .references()
        .iter()
        .find(|reference| is_plan(&reference.root) && reference.path.first().is_some_and(|field| field == "together"));
    read.map(ToString::to_string)
}

/// A template over what is given and, besides, `asked`.
fn check_template(sink: &mut Sink<'_>, spec: &ClaimSpec, path: &str, text: &str, asked: &[&str]) -> Option<Template> {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            sink.template_error(path, text, error);
            return None;
        }
    };
    let known: Vec<&str> = spec.given.keys().map(String::as_str).chain(asked.iter().copied()).collect();
    for reference in template.references() {
        let root = reference.root.as_str();
        if !known.contains(&root) && !is_builtin(root) {
            let hint = suggest(root, known.iter().copied(), "there is");
            sink.error(path, format!("`{root}` is neither given nor asked"), hint);
        }
    }
    Some(template)
}
