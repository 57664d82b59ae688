//! The shape of an answer: how it is asked for, and whether an answer has it.

use jsonschema::Validator;
use lumos_core::{BackendError, BackendErrorKind, Message, OutputFormat, Role};
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::failure::{error, quote};
use lumos_core::spec::Structured;

/// The field of the object that a schema is wrapped in where only objects may be asked for.
const ANSWER: &str = "answer";
/// The field of the object that holds a choice.
const CHOICE: &str = "choice";

/// What an answer must look like.
pub(crate) struct Shape {
    kind: Kind,
    /// The schema for the provider's own means; `None` asks by the prompt.
    schema: Option<Value>,
    /// The field of the answer that counts, where the schema was wrapped.
    field: Option<&'static str>,
}

enum Kind {
    Json(Box<Validator>, Value),
    Choice(Vec<String>),
    Regex(Regex, String),
}

impl Shape {
    /// The shape of `format`; `None` for any text. `Err` when no answer could have it.
    pub(crate) fn new(
        format: &OutputFormat,
        structured: Structured,
        objects_only: bool,
    ) -> Result<Option<Self>, BackendError> {
        let refuse = |message: String| error(BackendErrorKind::InvalidRequest, message);
        let native = structured == Structured::Native;
        let shape = match format {
            OutputFormat::Text => return Ok(None),
            OutputFormat::JsonSchema(schema) => {
                let validator = jsonschema::validator_for(schema)
                    .map_err(|error| refuse(format!("the answer's schema is no JSON schema: {error}")))?;
                let kind = Kind::Json(Box::new(validator), schema.clone());
                let wrap = native && objects_only && schema.get("type").and_then(Value::as_str) != Some("object");
                let sent = if wrap { wrapped(schema) } else { schema.clone() };
                Self { kind, schema: native.then_some(sent), field: wrap.then_some(ANSWER) }
            }
            OutputFormat::Choice(choices) if choices.is_empty() => {
                return Err(refuse("there is nothing to choose from; give at least one text".to_owned()));
            }
            OutputFormat::Choice(choices) => {
                let schema = object(CHOICE, json!({"type": "string", "enum": choices}));
                let (schema, field) = (native.then_some(schema), native.then_some(CHOICE));
                Self { kind: Kind::Choice(choices.clone()), schema, field }
            }
            OutputFormat::Regex(pattern) => {
                let regex = Regex::new(&format!(r"\A(?:{pattern})\z"))
                    .map_err(|error| refuse(format!("the answer's pattern is no regular expression: {error}")))?;
                Self { kind: Kind::Regex(regex, pattern.clone()), schema: None, field: None }
            }
        };
        Ok(Some(shape))
    }

    /// The schema that the provider shall hold the answer to.
    pub(crate) fn schema(&self) -> Option<&Value> {
        self.schema.as_ref()
    }

    /// Puts into `messages` what the provider is not told otherwise: at the end of the system's message, because
    /// some models know only a leading one.
    pub(crate) fn instruct(&self, messages: &mut Vec<Message>) {
        if self.schema.is_some() {
            return;
        }
        let order = self.order();
        match messages.iter_mut().find(|message| message.role == Role::System) {
            Some(system) => system.content = format!("{}\n\n{order}", system.content),
            None => messages.insert(0, Message::new(Role::System, order)),
        }
    }

    /// Shows the model its answer and what is wrong with it.
    pub(crate) fn complain(&self, messages: &mut Vec<Message>, answer: &str, why: &str) {
        if !answer.is_empty() {
            messages.push(Message::new(Role::Assistant, answer));
        }
        messages.push(Message::new(Role::User, format!("This answer cannot be used: {why}. {}", self.order())));
    }

    fn order(&self) -> String {
        match &self.kind {
            Kind::Json(_, schema) => {
                format!("Answer with nothing but a JSON document that satisfies this JSON schema: {schema}")
            }
            Kind::Choice(choices) => {
                format!("Answer with nothing but one of these texts: {}", Value::from(choices.clone()))
            }
            Kind::Regex(_, pattern) => {
                format!("Answer with nothing but a text that this regular expression matches as a whole: {pattern}")
            }
        }
    }

    /// The answer in its shape, freed from what models like to put around it; `Err` says what is wrong.
    pub(crate) fn accept(&self, text: &str) -> Result<String, String> {
        let bare = unfenced(text.trim());
        match &self.kind {
            Kind::Json(validator, _) => {
                let document = if self.schema.is_some() { bare } else { document(bare) };
                let value: Value = serde_json::from_str(document).map_err(|error| format!("it is no JSON: {error}"))?;
                let inner = self.field.and_then(|field| value.get(field));
                validator.validate(inner.unwrap_or(&value)).map_err(|error| {
                    let at = error.instance_path().to_string();
                    let place = if at.is_empty() { String::new() } else { format!(" (at {at})") };
                    quote(&format!("{error}{place}"))
                })?;
                Ok(inner.map_or_else(|| document.to_owned(), Value::to_string))
            }
            Kind::Choice(choices) => {
                let value = serde_json::from_str::<Value>(bare).ok();
                let inner = value.as_ref().and_then(|value| value.get(CHOICE).unwrap_or(value).as_str());
                let said = inner.unwrap_or(bare).trim();
                let plain = said.trim_matches(['"', '\'', '`', '.', '*']);
                let folded = plain.to_lowercase();
                let found = choices
                    .iter()
                    .find(|choice| choice.as_str() == said)
                    .or_else(|| choices.iter().find(|choice| choice.as_str() == plain))
                    .or_else(|| choices.iter().find(|choice| choice.to_lowercase() == folded));
                found.cloned().ok_or_else(|| format!("{:?} is none of the texts", quote(said)))
            }
            Kind::Regex(regex, _) => {
                let found = [text, text.trim(), bare].into_iter().find(|text| regex.is_match(text));
                found.map(str::to_owned).ok_or_else(|| "the regular expression does not match it".to_owned())
            }
        }
    }
}

fn object(field: &str, schema: Value) -> Value {
    let properties = Map::from_iter([(field.to_owned(), schema)]);
    json!({"type": "object", "properties": properties, "required": [field], "additionalProperties": false})
}

/// `schema` as the only field of an object; what it refers to in itself has moved.
fn wrapped(schema: &Value) -> Value {
    fn moved(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(target) if name == "$ref" && target.starts_with('#') => {
                            *target = format!("#/properties/{ANSWER}{}", &target[1..]);
                        }
                        other => moved(other),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(moved),
            _ => {}
        }
    }
    let mut schema = schema.clone();
    moved(&mut schema);
    object(ANSWER, schema)
}

/// The inside of a code block, if the text is one.
fn unfenced(text: &str) -> &str {
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inside.and_then(|inside| inside.split_once('\n')).map_or(text, |(_, inside)| inside.trim())
}

/// From the first brace or bracket to the last, if there are any.
fn document(text: &str) -> &str {
    let (start, end) = (text.find(['{', '[']), text.rfind(['}', ']']));
    match (start, end) {
        (Some(start), Some(end)) if start < end => &text[start..=end],
        _ => text,
    }
}

/// Whether OpenAI holds answers strictly to `schema`: every object closed and all its fields required, and no
/// keywords beyond those that it knows (platform.openai.com/docs/guides/structured-outputs, 2026).
pub(crate) fn is_strict(schema: &Value) -> bool {
    const KNOWN: [&str; 21] = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "definitions",
        "title",
        "description",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "pattern",
    ];
    let Some(fields) = schema.as_object() else { return false };
    if !fields.keys().all(|name| KNOWN.contains(&name.as_str())) {
        return false;
    }
    let named = |name: &str| fields.get(name).and_then(Value::as_object).into_iter().flatten();
    let is_object = fields.get("type").and_then(Value::as_str) == Some("object") || fields.contains_key("properties");
    if is_object {
        let required: Vec<&str> =
            fields.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
        if !closed || !named("properties").all(|(name, _)| required.contains(&name.as_str())) {
            return false;
        }
    }
    let all = |name: &str| named(name).all(|(_, inner)| is_strict(inner));
    let alternatives = fields.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    all("properties") && all("$defs") && all("definitions") && fields.get("items").is_none_or(is_strict) && {
        alternatives
    }
    .all(is_strict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(format: &OutputFormat, structured: Structured, objects_only: bool) -> Shape {
        Shape::new(format, structured, objects_only).unwrap().unwrap()
    }

    #[test]
    fn a_schema_of_no_object_is_wrapped_where_only_objects_may_be_asked_for() {
        let schema = json!({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}});
        let format = OutputFormat::JsonSchema(schema.clone());
        let wrapped = shape(&format, Structured::Native, true);
        let sent = wrapped.schema().unwrap();
        assert_eq!(sent["properties"]["answer"]["items"]["$ref"], "#/properties/answer/$defs/n");
        assert!(jsonschema::is_valid(sent, &json!({"answer": [1]})));
        assert_eq!(wrapped.accept(r#"{"answer": [1, 2]}"#).unwrap(), "[1,2]");
        // A server that does not listen may still give what was meant.
        assert_eq!(wrapped.accept("[1]").unwrap(), "[1]");
        assert_eq!(shape(&format, Structured::Native, false).schema(), Some(&schema));
        assert_eq!(shape(&format, Structured::Prompt, true).schema(), None);
    }

    #[test]
    fn json_is_validated_and_the_fault_named() {
        let format = OutputFormat::JsonSchema(json!({"type": "object", "properties": {"n": {"type": "integer"}}}));
        let shape = shape(&format, Structured::Prompt, true);
        assert_eq!(shape.accept("Sure! ```json\n{\"n\": 1}\n``` Done").unwrap(), "{\"n\": 1}");
        assert!(shape.accept("{\"n\": \"x\"}").unwrap_err().contains("/n"));
        assert!(shape.accept("nothing").unwrap_err().contains("no JSON"));
    }

    #[test]
    fn a_choice_is_found_in_whatever_surrounds_it() {
        let format = OutputFormat::Choice(vec!["Yes".to_owned(), "no".to_owned()]);
        let shape = shape(&format, Structured::Native, true);
        for text in [r#"{"choice": "Yes"}"#, "Yes", " \"yes\".\n", "```\nYES\n```"] {
            assert_eq!(shape.accept(text).unwrap(), "Yes", "{text}");
        }
        assert!(shape.accept("maybe").unwrap_err().contains("maybe"));
    }

    #[test]
    fn a_pattern_matches_the_whole_answer() {
        let shape = shape(&OutputFormat::Regex("a+|b".to_owned()), Structured::Native, true);
        assert_eq!(shape.accept(" aaa\n").unwrap(), "aaa");
        assert!(shape.accept("ab").is_err());
    }

    #[test]
    fn what_no_answer_could_be_is_refused() {
        for format in [
            OutputFormat::Choice(Vec::new()),
            OutputFormat::Regex("(".to_owned()),
            OutputFormat::JsonSchema(json!({"type": "thing"})),
        ] {
            let error = Shape::new(&format, Structured::Native, true).err().unwrap();
            assert_eq!(error.kind, BackendErrorKind::InvalidRequest);
        }
    }

    #[test]
    fn only_closed_objects_with_all_fields_required_are_strict() {
        let closed = object("a", json!({"type": "array", "items": object("b", json!({"type": "string"}))}));
        assert!(is_strict(&closed));
        for (pointer, value) in [
            ("/additionalProperties", json!(true)),
            ("/required", json!([])),
            ("/properties/a/items/required", json!([])),
            ("/properties/a/items/properties/b", json!({"type": "string", "maxLength": 3})),
        ] {
            let mut open = closed.clone();
            *open.pointer_mut(pointer).unwrap() = value;
            assert!(!is_strict(&open), "{pointer}");
        }
        assert!(!is_strict(&json!(true)));
    }
}
