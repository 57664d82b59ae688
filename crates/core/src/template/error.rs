//! Why a template can't be compiled or evaluated.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::{MAX_OUTPUT_BYTES, Reference, Scope};
use crate::problem::nearest;

/// Most names that a hint lists.
const LISTED: usize = 12;

/// Why a template can't be compiled or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// A lowercase fragment.
    pub message: String,
    /// What would be valid.
    pub hint: Option<String>,
    /// Line within the template, from 1.
    pub line: Option<u32>,
}

impl TemplateError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, line: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn too_large() -> Self {
        Self::new(format!("the template produces more than {} MiB", MAX_OUTPUT_BYTES >> 20))
            .with_hint("shorten what it repeats or inserts")
    }

    pub(super) fn of_syntax(error: &Error) -> Self {
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let mut this = Self::new(format!("template does not parse: {detail}"));
        this.line = error.line().and_then(|line| u32::try_from(line).ok());
        if ["include", "import", "extends", "block", "from"]
            .iter()
            .any(|tag| detail.contains(&format!("unknown statement {tag}")))
        {
            this.hint = Some(
                "a template reaches no other file; write the text here, or use the agent's `user_file`".to_owned(),
            );
        } else {
            this.hint =
                Some("a value is written `{{ node.field }}`, a loop `{% for x in list %}…{% endfor %}`".to_owned());
        }
        this
    }

    pub(super) fn of_evaluation(error: &Error, references: &[Reference], scope: &dyn Scope) -> Self {
        let line = error.line().and_then(|line| u32::try_from(line).ok());
        let this = match error.kind() {
            ErrorKind::UndefinedError => Self::missing(references, scope),
            ErrorKind::OutOfFuel => Self::new("the template does too much work")
                .with_hint("a loop is too long or nested too deep; let the planner or a tool make the list shorter"),
            kind => Self::new(error.detail().map_or_else(|| kind.to_string(), str::to_owned)),
        };
        Self { line, ..this }
    }

    /// The first reference that leads nowhere, with what there is instead.
    pub(super) fn missing(references: &[Reference], scope: &dyn Scope) -> Self {
        for reference in references {
            let Some(mut value) = scope.get(&reference.root) else {
                return Self::new(format!("`{}` is not there", reference.root)).with_optional_hint(suggestion(
                    &reference.root,
                    &scope.names(),
                    "there is",
                ));
            };
            let mut walked = reference.root.clone();
            for attribute in &reference.path {
                let next = value.get_attr(attribute).unwrap_or(Value::UNDEFINED);
                if next.is_undefined() {
                    let hint = match value.kind() {
                        ValueKind::Map => suggestion(attribute, &keys(&value), &format!("`{walked}` has")),
                        kind => Some(format!("`{walked}` is {}, which has no fields", described(kind))),
                    };
                    return Self::new(format!("`{walked}.{attribute}` is not there")).with_optional_hint(hint);
                }
                walked = format!("{walked}.{attribute}");
                value = next;
            }
        }
        Self::new("the template reads something that is not there")
            .with_hint("`{{ x | default(\"…\") }}` stands in for what may be missing")
    }

    fn with_optional_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

fn keys(value: &Value) -> Vec<String> {
    value.try_iter().into_iter().flatten().map(|key| key.to_string()).collect()
}

fn described(kind: ValueKind) -> String {
    match kind {
        ValueKind::String => "a text".to_owned(),
        ValueKind::Seq | ValueKind::Iterable => "a list".to_owned(),
        ValueKind::Number => "a number".to_owned(),
        ValueKind::None => "null".to_owned(),
        kind => kind.to_string(),
    }
}

fn suggestion(wanted: &str, names: &[String], lead: &str) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    if let Some(near) = nearest(wanted, names.iter().map(String::as_str)) {
        return Some(format!("did you mean `{near}`?"));
    }
    let more = if names.len() > LISTED { ", …" } else { "" };
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    Some(format!("{lead} {}{more}", listed.join(", ")))
}
