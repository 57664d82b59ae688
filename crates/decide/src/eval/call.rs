//! How a scorer is written: `exact`, `recall_at(10)`, `find: ndcg(k=5)`, `judge(rubric="Is it polite?", alias="large")`.

use serde_json::{Map, Value};

/// A scorer as it was written, before its name and arguments are looked at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// The node whose output is scored, sub-workflows before it as in `outer/inner`; `None` for the run's.
    pub(super) node: Option<String>,
    /// The scorer's name.
    pub(super) name: String,
    /// Arguments without a name, in order.
    pub(super) values: Vec<Value>,
    /// Arguments by name.
    pub(super) named: Map<String, Value>,
}

impl Call {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it, as a lowercase fragment.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let head = text.split(['(', '"', '\'']).next().unwrap_or_default();
        let (node, rest) = match head.split_once(':') {
            Some((node, _)) => (Some(node.trim().to_owned()), text[node.len() + 1..].trim()),
            None => (None, text),
        };
        let (name, arguments) = match rest.split_once('(') {
            None => (rest, None),
            Some((name, arguments)) => {
                let inner =
                    arguments.strip_suffix(')').ok_or_else(|| format!("`{text}` has no closing parenthesis"))?;
                (name.trim(), Some(inner))
            }
        };
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name(name) {
            return Err(format!("`{text}` is no scorer"));
        }
        if node.as_deref().is_some_and(|node| !node.split('/').all(is_name)) {
            return Err(format!("`{}` is no node", node.unwrap_or_default()));
        }
        let mut call = Self { node, name: name.to_owned(), values: Vec::new(), named: Map::new() };
        for part in parts(arguments.unwrap_or_default())? {
            call.argument(part)?;
        }
        Ok(call)
    }

    fn argument(&mut self, part: &str) -> Result<(), String> {
        let is_key = |key: &str| key.chars().all(|c| c.is_ascii_alphabetic() || c == '_') && !key.is_empty();
        match part.split_once('=').map(|(key, value)| (key.trim(), value)) {
            Some((key, value)) if is_key(key) => {
                if self.named.insert(key.to_owned(), value_of(value)).is_some() {
                    return Err(format!("`{key}` is given twice"));
                }
            }
            _ if self.named.is_empty() => self.values.push(value_of(part)),
            _ => return Err(format!("`{}` comes after an argument with a name", part.trim())),
        }
        Ok(())
    }
}

/// A JSON value, a text in single quotes, or a bare text.
fn value_of(text: &str) -> Value {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    quoted.unwrap_or(text).into()
}

/// The arguments between commas that stand in no quotes and no brackets.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0i32);
    let mut quote: Option<char> = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some('"') if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' => quote = Some(c),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            },
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if depth != 0 {
        return Err("brackets don't match".to_owned());
    }
    parts.push(&text[start..]);
    if parts.len() == 1 && parts[0].trim().is_empty() {
        parts.clear();
    }
    if parts.iter().any(|part| part.trim().is_empty()) {
        return Err("an argument is empty".to_owned());
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_values_and_named_arguments() {
        let call = Call::read(" find: recall_at(10) ").unwrap();
        assert_eq!(
            (call.node.as_deref(), call.name.as_str(), &call.values[..]),
            (Some("find"), "recall_at", &[json!(10)][..])
        );
        let call = Call::read(r#"judge(rubric="Is it (really) polite, and short?", alias=large)"#).unwrap();
        assert_eq!(call.named["rubric"], "Is it (really) polite, and short?");
        assert_eq!(call.named["alias"], "large");
        assert_eq!(call.node, None);
        let call = Call::read("json_schema({\"type\": [\"object\", \"null\"]})").unwrap();
        assert_eq!(call.values, [json!({"type": ["object", "null"]})]);
        let call = Call::read("regex('a: b=c')").unwrap();
        assert_eq!((call.values, call.node), (vec![json!("a: b=c")], None));
        assert_eq!(Call::read("outer/inner: exact()").unwrap().node.as_deref(), Some("outer/inner"));
    }

    #[test]
    fn what_is_no_scorer() {
        for text in
            ["", "(", "f1(", "f 1", "a b: f1", ": f1", "f1(,)", "f1(k=1, k=2)", "f1(k=1, 2)", "f1(\"a)", "f1([)"]
        {
            assert!(Call::read(text).is_err(), "{text}: {:?}", Call::read(text));
        }
    }
}
