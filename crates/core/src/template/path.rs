//! Expressions that only look something up, such as `plan.steps`: evaluated without a virtual machine.

use minijinja::value::Value;

use super::{Reference, Scope, TemplateError, is_builtin};

/// A variable and the attributes after it.
pub(super) struct Path {
    root: String,
    attributes: Vec<String>,
}

impl Path {
    /// Reads `name(.name)*`; anything else is an expression for the virtual machine.
    pub(super) fn parse(expression: &str) -> Option<Self> {
        let mut parts = expression.split('.');
        let root = parts.next().filter(|name| is_name(name))?;
        let attributes: Vec<String> =
            parts.map(|part| is_name(part).then(|| part.to_owned())).collect::<Option<_>>()?;
        if attributes.is_empty() && is_builtin(root)
            || matches!(root, "not" | "and" | "or" | "in" | "is" | "if" | "else")
        {
            return None;
        }
        Some(Self { root: root.to_owned(), attributes })
    }

    pub(super) fn reference(&self) -> Reference {
        Reference { root: self.root.clone(), path: self.attributes.clone() }
    }

    pub(super) fn look_up(&self, scope: &dyn Scope) -> Result<Value, TemplateError> {
        let missing = || TemplateError::missing(&[self.reference()], scope);
        let mut value = scope.get(&self.root).ok_or_else(missing)?;
        for attribute in &self.attributes {
            value = value.get_attr(attribute).map_err(|_| missing())?;
        }
        if value.is_undefined() { Err(missing()) } else { Ok(value) }
    }
}

/// Whether a text is `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
