//! Templates of workflow and agent files: Jinja syntax through `minijinja`, compiled once, strict about missing
//! values, and bounded in work and output.

mod complexity;
mod error;
mod filters;
mod known;
mod path;
mod value;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior};
use serde_json::Value as Json;

pub use error::TemplateError;
pub use value::{from_json, to_json};

use path::Path;

/// Most bytes that a template may produce.
pub const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// Work that a template may do: about one unit per instruction and per 64 bytes produced.
const FUEL: u64 = 1_000_000;

/// Most scopes that a template may open within each other: loops, macros calling themselves.
const RECURSION: usize = 200;

/// Most references that are put in the order of the text.
const MAX_ORDERED: usize = 1_000;

/// The name under which a text's only template is stored in its environment.
const NAME: &str = "template";

/// Where a template's variables come from.
pub trait Scope {
    /// The variable of that name.
    fn get(&self, name: &str) -> Option<Value>;

    /// The names there are, for the hint of an error.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Scope for indexmap::IndexMap<String, Json> {
    fn get(&self, name: &str) -> Option<Value> {
        indexmap::IndexMap::get(self, name).map(from_json)
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// What a template reads: `plan.steps` is the root `plan` with the path `["steps"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The variable's name.
    pub root: String,
    /// Attributes after it, as far as they are written with dots.
    pub path: Vec<String>,
}

impl Reference {
    /// Where the text first names it.
    pub(crate) fn offset_in(&self, text: &str) -> Option<usize> {
        let dotted = self.to_string();
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        text.match_indices(&dotted).map(|(at, _)| at).find(|at| {
            !text[..*at].ends_with(|c| is_part(c) || c == '.') && !text[at + dotted.len()..].starts_with(is_part)
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        self.path.iter().try_for_each(|attribute| write!(f, ".{attribute}"))
    }
}

/// A compiled template; clones share it.
///
/// A text that is exactly one `{{ expression }}` is an expression and keeps the type of what it evaluates to; any
/// other text renders to text. Loop variables, macros and built-in functions are no references.
///
/// ```
/// use indexmap::IndexMap;
/// use lumos_core::template::Template;
/// use serde_json::json;
///
/// let scope = IndexMap::from([("plan".to_owned(), json!({"steps": ["a", "b"]}))]);
/// assert_eq!(Template::parse("{{ plan.steps }}")?.evaluate(&scope)?, json!(["a", "b"]));
/// assert_eq!(Template::parse("{{ plan.steps | length }} steps")?.evaluate(&scope)?, json!("2 steps"));
/// # Ok::<(), lumos_core::template::TemplateError>(())
/// ```
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    source: String,
    code: Code,
    references: Vec<Reference>,
}

enum Code {
    /// Text without any template syntax.
    Literal,
    /// `{{ plan.steps }}`: looked up without running anything.
    Path(Path),
    Expression(Expression<'static, 'static>),
    Text(Environment<'static>),
}

impl Template {
    /// Compiles a text.
    ///
    /// # Errors
    /// Syntax errors, and syntax that reaches for other files (`include`, `import`, `extends`).
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Self::compiled(text, Code::Literal, Vec::new()));
        }
        complexity::check(text)?;
        known::check(text)?;
        if let Some(inner) = expression_of(text) {
            if let Some(path) = Path::parse(inner) {
                let references = vec![path.reference()];
                return Ok(Self::compiled(text, Code::Path(path), references));
            }
            if let Ok(expression) = environment().compile_expression_owned(inner.to_owned()) {
                let references = references(expression.undeclared_variables(true), text);
                return Ok(Self::compiled(text, Code::Expression(expression), references));
            }
        }
        let mut own = environment().clone();
        own.add_template_owned(NAME, text.to_owned()).map_err(|error| TemplateError::of_syntax(&error))?;
        let undeclared = own.get_template(NAME).map_err(|error| TemplateError::of_syntax(&error))?;
        let references = references(undeclared.undeclared_variables(true), text);
        Ok(Self::compiled(text, Code::Text(own), references))
    }

    fn compiled(source: &str, code: Code, references: Vec<Reference>) -> Self {
        Self(Arc::new(Compiled { source: source.to_owned(), code, references }))
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether the text is exactly one `{{ expression }}`.
    pub fn is_expression(&self) -> bool {
        matches!(self.0.code, Code::Path(_) | Code::Expression(_))
    }

    /// What the template reads, in the order of the text.
    pub fn references(&self) -> &[Reference] {
        &self.0.references
    }

    /// The value of an expression, or the text of anything else.
    ///
    /// # Errors
    /// A missing value that is used, an operation that doesn't fit its operands, too much work or output, or a
    /// result that JSON can't hold.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Json, TemplateError> {
        match &self.0.code {
            Code::Path(path) => to_json(&path.look_up(scope)?),
            Code::Expression(_) => to_json(&self.evaluate_value(scope)?),
            Code::Literal | Code::Text(_) => self.render(scope).map(Json::String),
        }
    }

    /// Like [`Template::evaluate`], without the conversion to JSON.
    ///
    /// # Errors
    /// As for [`Template::evaluate`].
    pub fn evaluate_value(&self, scope: &dyn Scope) -> Result<Value, TemplateError> {
        match &self.0.code {
            Code::Literal => Ok(Value::from(self.0.source.as_str())),
            Code::Path(path) => path.look_up(scope),
            Code::Expression(expression) => {
                let value = expression
                    .eval(self.context(scope))
                    .map_err(|error| TemplateError::of_evaluation(&error, &self.0.references, scope))?;
                if value.is_undefined() {
                    return Err(TemplateError::missing(&self.0.references, scope));
                }
                Ok(value)
            }
            Code::Text(_) => self.render(scope).map(Value::from),
        }
    }

    /// The text of the template; the value of an expression is printed.
    ///
    /// # Errors
    /// As for [`Template::evaluate`].
    pub fn render(&self, scope: &dyn Scope) -> Result<String, TemplateError> {
        match &self.0.code {
            Code::Literal => Ok(self.0.source.clone()),
            Code::Path(_) | Code::Expression(_) => {
                let value = self.evaluate_value(scope)?;
                let text = match value.as_str() {
                    Some(text) => text.to_owned(),
                    None => value.to_string(),
                };
                if text.len() > MAX_OUTPUT_BYTES {
                    return Err(TemplateError::too_large());
                }
                Ok(text)
            }
            Code::Text(own) => {
                let template = own.get_template(NAME).map_err(|error| TemplateError::of_syntax(&error))?;
                let mut output = Bounded::default();
                match template.render_captured_to(self.context(scope), &mut output) {
                    Ok(_) => String::from_utf8(output.bytes).map_err(|_| TemplateError::new("the text is not UTF-8")),
                    Err(error) if error.kind() == ErrorKind::WriteFailure => Err(TemplateError::too_large()),
                    Err(error) => Err(TemplateError::of_evaluation(&error, &self.0.references, scope)),
                }
            }
        }
    }

    /// Whether the expression holds: `false`, `0`, `""`, `none` and empty lists and maps do not.
    ///
    /// # Errors
    /// As for [`Template::evaluate`].
    pub fn evaluate_bool(&self, scope: &dyn Scope) -> Result<bool, TemplateError> {
        Ok(self.evaluate_value(scope)?.is_true())
    }

    /// The variables that the template reads, taken out of the scope.
    fn context(&self, scope: &dyn Scope) -> Value {
        let mut roots: Vec<&str> = self.0.references.iter().map(|reference| reference.root.as_str()).collect();
        roots.sort_unstable();
        roots.dedup();
        Value::from_pairs(roots.into_iter().filter_map(|root| Some((root, scope.get(root)?))))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.0.source).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

/// What stands between the braces when the whole text is in one pair of them.
fn expression_of(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner).trim())
}

/// The names that mean something in every template: functions and constants.
pub(crate) fn is_builtin(name: &str) -> bool {
    matches!(name, "true" | "True" | "false" | "False" | "none" | "None" | "self" | "loop" | "caller")
        || environment().globals().any(|(global, _)| global == name)
}

fn references(undeclared: std::collections::HashSet<String>, text: &str) -> Vec<Reference> {
    let mut references: Vec<Reference> = undeclared
        .into_iter()
        .filter_map(|dotted| {
            let mut parts = dotted.split('.').map(str::to_owned);
            let reference = Reference { root: parts.next()?, path: parts.collect() };
            (!reference.path.is_empty() || !is_builtin(&reference.root)).then_some(reference)
        })
        .collect();
    // Looking each up takes as long as the text, so very many are left in the order of their names.
    let few = references.len() <= MAX_ORDERED;
    references.sort_by_cached_key(|reference| {
        let dotted = reference.to_string();
        if !few {
            return (0, dotted);
        }
        (reference.offset_in(text).unwrap_or(usize::MAX), dotted)
    });
    references
}

/// The environment that all templates share.
fn environment() -> &'static Environment<'static> {
    static SHARED: OnceLock<Environment<'static>> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            environment.set_syntax(syntax);
        }
        environment.set_recursion_limit(RECURSION);
        // `debug` prints everything in reach; a namespace can grow a value that is too deep to be dropped.
        environment.remove_global("debug");
        environment.remove_global("namespace");
        environment.add_filter("fixed", filters::fixed);
        environment.add_filter("thousands", filters::thousands);
        environment
    })
}

/// A writer that refuses to grow beyond [`MAX_OUTPUT_BYTES`].
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
