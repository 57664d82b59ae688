//! The planner: a list of distinct texts from a model. Its value is `{FIELD: [text, …]}`.
//!
//! The list's bounds are part of the schema that decoding is constrained by, and `max_tokens` leaves room for the
//! longest list that the schema allows. A list that is cut off all the same keeps its complete entries.

use async_trait::async_trait;
use lumos_core::spec::{PlannerItems, PlannerSpec};
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Decoding, OutputFormat, Prepared, SharedBackend,
};
use serde_json::{Map, Value, json};

use crate::build::{BuildContext, BuildError};
use crate::chat::{self, Ask};
use crate::words;

/// Most entries of a list.
const MOST_ITEMS: u32 = 1000;
/// Most characters of an entry.
const MOST_CHARS: u32 = 10_000;

/// Most selections of choices that a schema lists.
const MOST_SELECTIONS: usize = 500;

/// Asks a model for a list.
pub struct Planner {
    ask: Ask,
    field: String,
    items: PlannerItems,
    schema: Value,
}

impl Planner {
    pub(crate) fn new(spec: &PlannerSpec, context: &BuildContext) -> Result<Self, BuildError> {
        let items = spec.items.clone();
        if spec.field.trim().is_empty() || spec.field.contains(['"', '\\']) {
            return Err(
                BuildError::new("field", format!("{:?} is no field name", spec.field)).with_hint("e.g. `steps`")
            );
        }
        if items.min < 1 || items.min > items.max || items.max > MOST_ITEMS {
            return Err(BuildError::new("items", format!("{} to {} entries make no list", items.min, items.max))
                .with_hint(format!("wanted 1 ≤ min ≤ max ≤ {MOST_ITEMS}")));
        }
        if items.max_chars == 0 || items.max_chars > MOST_CHARS {
            return Err(BuildError::new("items.max_chars", format!("{} is out of range", items.max_chars))
                .with_hint(format!("from 1 to {MOST_CHARS}")));
        }
        if items.choices.iter().any(|choice| choice.trim().is_empty()) {
            return Err(BuildError::new("items.choices", "a choice is empty"));
        }
        let defaults = Decoding { max_tokens: items.room(&spec.field), ..Decoding::default() };
        let ask = Ask::new(&spec.prompt, &spec.decoding, defaults, context)?;
        Ok(Self { ask, field: spec.field.clone(), schema: schema(&spec.field, &items), items })
    }

    /// The entries of a model's answer, trimmed, without empty and repeated ones, at most `items.max` of them.
    fn entries(&self, text: &str) -> Result<Vec<String>, String> {
        let raw = match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(fields)) => match fields.get(&self.field) {
                Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => return Err(format!("the answer has no list `{}`", self.field)),
            },
            Ok(_) => return Err("the answer is no JSON object".to_owned()),
            Err(_) => complete_strings(text),
        };
        let mut seen = Vec::new();
        let mut entries = Vec::new();
        for entry in raw {
            let Some(entry) = self.accept(&entry) else { continue };
            let folded = entry.to_lowercase();
            if !seen.contains(&folded) {
                seen.push(folded);
                entries.push(entry);
            }
        }
        entries.truncate(self.items.max as usize);
        match entries.len() {
            0 => Err("the answer holds no usable entry".to_owned()),
            found if found < self.items.min as usize => {
                Err(format!("the answer holds {found} distinct entries, fewer than {}", self.items.min))
            }
            _ => Ok(entries),
        }
    }

    /// An entry as it goes into the list: one of the choices, or a text within its length.
    fn accept(&self, entry: &str) -> Option<String> {
        let entry = entry.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
        let entry = unnumbered(&entry.collect::<Vec<_>>().join(" ")).to_owned();
        if self.items.choices.is_empty() {
            let fits =
                entry.chars().any(char::is_alphanumeric) && entry.chars().count() <= self.items.max_chars as usize;
            return fits.then_some(entry);
        }
        let folded = entry.to_lowercase();
        self.items.choices.iter().find(|choice| choice.trim().to_lowercase() == folded).cloned()
    }
}

#[async_trait]
impl Agent for Planner {
    fn prepare(&self, arguments: &Arguments, backend: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        self.ask.prepare(arguments, OutputFormat::JsonSchema(self.schema.clone()), backend)
    }

    async fn run(&self, mut call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let completion = chat::complete(&mut call).await?;
        let entries = self.entries(completion.text.trim()).map_err(|why| chat::unusable(&completion, why))?;
        let value = Value::Object(Map::from_iter([(self.field.clone(), json!(entries))]));
        Ok(AgentOutput { value, report: Some(completion.report) })
    }
}

/// The schema of an answer.
///
/// Free entries begin with a letter (small models like to count and then write nothing but numbers) and hold neither quotes nor backslashes nor control characters, so that
/// an entry is never empty and one character never takes more than itself in JSON.
///
/// Where choices are few, every selection of distinct ones is written out: a model that decodes under the schema then
/// cannot repeat itself, which `uniqueItems` asks for but constrained decoding does not know.
fn schema(field: &str, items: &PlannerItems) -> Value {
    let selections = selections(items);
    if !selections.is_empty() {
        return json!({
            "type": "object",
            "properties": {field: {"enum": selections}},
            "required": [field],
            "additionalProperties": false,
        });
    }
    let entry = if items.choices.is_empty() {
        json!({"type": "string", "pattern": words::pattern(false, items.max_chars)})
    } else {
        json!({"enum": items.choices})
    };
    json!({
        "type": "object",
        "properties": {field: {"type": "array", "minItems": items.min, "maxItems": items.max, "items": entry}},
        "required": [field],
        "additionalProperties": false,
    })
}

/// Every selection of `min` to `max` distinct choices, in any order; none when there are no choices or too many
/// selections.
fn selections(items: &PlannerItems) -> Vec<Vec<&str>> {
    let mut distinct: Vec<&str> = Vec::new();
    for choice in &items.choices {
        if !distinct.iter().any(|known| known.trim().to_lowercase() == choice.trim().to_lowercase()) {
            distinct.push(choice);
        }
    }
    let (mut all, mut longest) = (Vec::new(), vec![Vec::new()]);
    for length in 1..=items.max.min(distinct.len() as u32) {
        let longer = longest.iter().flat_map(|shorter: &Vec<&str>| {
            let others = distinct.iter().filter(|choice| !shorter.contains(choice));
            others.map(|choice| [shorter.as_slice(), &[*choice]].concat())
        });
        longest = longer.take(MOST_SELECTIONS + 1).collect();
        if all.len() + longest.len() > MOST_SELECTIONS {
            return Vec::new();
        }
        if length >= items.min {
            all.extend_from_slice(&longest);
        }
    }
    all
}

/// The entry without a number or a bullet before it.
fn unnumbered(entry: &str) -> &str {
    let after_number = entry.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = match entry.len() - after_number.len() {
        0 => entry.strip_prefix(['-', '*', '•']),
        1..=3 => after_number.strip_prefix(['.', ')']),
        _ => None,
    };
    rest.and_then(|rest| rest.strip_prefix(' ')).unwrap_or(entry)
}

/// The complete strings of the first list in a JSON text that ends too early.
fn complete_strings(text: &str) -> Vec<String> {
    let Some(start) = text.find('[') else { return Vec::new() };
    let mut found = Vec::new();
    let mut rest = text[start + 1..].trim_start_matches([' ', '\n', '\r', '\t', ',']);
    while rest.starts_with('"') {
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let Some(Ok(entry)) = stream.next() else { break };
        rest = rest[stream.byte_offset()..].trim_start_matches([' ', '\n', '\r', '\t', ',']);
        found.push(entry);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lumos_core::spec::{DecodingSpec, PromptSpec};

    use super::*;
    use crate::script::{Script, attempt};

    fn planner(items: PlannerItems) -> Result<Planner, BuildError> {
        let spec = PlannerSpec {
            model: "small".into(),
            prompt: PromptSpec { user: "{{ input }}".into(), ..PromptSpec::default() },
            decoding: DecodingSpec::default(),
            field: "steps".into(),
            items,
        };
        let context = BuildContext { base: ".".into(), asset: Arc::new(|_| Err(String::new())), index_dir: ".".into() };
        Planner::new(&spec, &context)
    }

    async fn plan(items: PlannerItems, answer: &str) -> Result<Value, AgentError> {
        let backend = Script::answering(&[answer]);
        let arguments = [("input", json!("x"))];
        attempt(&planner(items).unwrap(), Some(backend), &arguments).await.map(|output| output.value)
    }

    #[tokio::test]
    async fn entries_are_trimmed_and_distinct() {
        let answer = r#"{"steps": [" Find  stock ", "find stock", "", "…", "Order\nmore"]}"#;
        assert_eq!(
            plan(PlannerItems::default(), answer).await.unwrap(),
            json!({"steps": ["Find stock", "Order more"]})
        );
    }

    #[tokio::test]
    async fn numbers_and_bullets_do_not_make_entries_distinct() {
        let answer =
            r#"{"steps": ["1. Order milk", "2) order milk", "- Count", "• Count", "2012 sales", "1.5 kg of rice"]}"#;
        let wanted = json!({"steps": ["Order milk", "Count", "2012 sales", "1.5 kg of rice"]});
        assert_eq!(plan(PlannerItems::default(), answer).await.unwrap(), wanted);
    }

    #[test]
    fn a_schema_of_few_choices_lists_every_distinct_selection() {
        let choices: Vec<String> = ["a", "b", "c", "A "].map(str::to_owned).into();
        let items = PlannerItems { min: 2, max: 3, choices, ..PlannerItems::default() };
        let schema = schema("steps", &items);
        for (plan, fits) in [
            (json!(["a", "b"]), true),
            (json!(["c", "a", "b"]), true),
            (json!(["a"]), false),
            (json!(["a", "a"]), false),
            (json!(["a", "A "]), false),
            (json!(["b", "a", "b"]), false),
        ] {
            assert_eq!(jsonschema::is_valid(&schema, &json!({"steps": plan})), fits, "{plan}");
        }
        assert_eq!(selections(&items).len(), 6 + 6);
    }

    #[test]
    fn too_many_selections_are_left_to_the_check_of_the_answer() {
        let choices: Vec<String> = (0..40).map(|at| format!("series {at}")).collect();
        let items = PlannerItems { min: 1, max: 8, choices, ..PlannerItems::default() };
        assert!(selections(&items).is_empty());
        assert!(jsonschema::is_valid(&schema("steps", &items), &json!({"steps": ["series 3", "series 3"]})));
        assert!(selections(&PlannerItems::default()).is_empty());
    }

    #[tokio::test]
    async fn choices_keep_their_spelling_and_nothing_else_passes() {
        let items = PlannerItems { choices: vec!["Store 1".into(), "Store 2".into()], ..PlannerItems::default() };
        let answer = r#"{"steps": ["store 2", "Store 2", "Store 9"]}"#;
        assert_eq!(plan(items, answer).await.unwrap(), json!({"steps": ["Store 2"]}));
    }

    #[tokio::test]
    async fn a_list_that_is_cut_off_keeps_its_complete_entries() {
        let backend = Script::cut_off(r#"{"steps": ["a \"b\"", "c", "d and "#);
        let arguments = [("input", json!("x"))];
        let output = attempt(&planner(PlannerItems::default()).unwrap(), Some(backend), &arguments).await.unwrap();
        assert_eq!(output.value, json!({"steps": ["a \"b\"", "c"]}));
    }

    #[tokio::test]
    async fn no_usable_entry_is_an_error_that_may_pass() {
        for answer in ["", "[]", r#"{"steps": []}"#, r#"{"steps": ["--"]}"#, r#"{"other": ["a"]}"#, "3", "\"a\""] {
            let error = plan(PlannerItems::default(), answer).await.unwrap_err();
            assert!(error.retryable && error.report.is_some(), "{answer}: {error:?}");
        }
        let two = PlannerItems { min: 2, ..PlannerItems::default() };
        assert!(plan(two, r#"{"steps": ["a", "A"]}"#).await.unwrap_err().message.contains("fewer than 2"));
    }

    #[tokio::test]
    async fn the_longest_list_of_the_schema_fits_into_the_tokens_asked_for() {
        let backend = Script::answering(&[r#"{"steps": ["a"]}"#]);
        let agent = planner(PlannerItems::default()).unwrap();
        attempt(&agent, Some(backend.clone()), &[("input", json!("x"))]).await.unwrap();
        let request = backend.requests.lock().unwrap().remove(0);
        let OutputFormat::JsonSchema(schema) = request.format else { panic!("no schema") };
        let longest = json!({"steps": vec!["x".repeat(80); 8]});
        assert!(jsonschema::is_valid(&schema, &longest));
        assert!(longest.to_string().len() <= request.decoding.max_tokens as usize);
        for bad in [
            json!({"steps": vec!["x".repeat(81)]}),
            json!({"steps": [""]}),
            json!({"steps": [" x"]}),
            json!({"steps": ["1. x"]}),
        ] {
            assert!(!jsonschema::is_valid(&schema, &bad), "{bad}");
        }
    }

    #[test]
    fn bounds_that_allow_no_list_are_refused() {
        for (min, max) in [(0, 3), (4, 3), (1, 0), (1, 1001)] {
            assert_eq!(
                planner(PlannerItems { min, max, ..PlannerItems::default() }).map(drop).unwrap_err().field,
                "items"
            );
        }
        assert!(planner(PlannerItems { max_chars: 0, ..PlannerItems::default() }).is_err());
        assert!(planner(PlannerItems { choices: vec![" ".into()], ..PlannerItems::default() }).is_err());
    }
}
