//! Scorers: what an output is held against, and how.

use std::fmt;

use lumos_core::problem::nearest;
use lumos_core::template::Template;
use regex::Regex;
use serde_json::{Map, Value};

use super::call::Call;

/// The alias of a judge where none is named.
pub const JUDGE_ALIAS: &str = "judge";

/// What scores an output of a row.
#[derive(Clone)]
pub struct Scorer {
    /// The node whose output is scored, sub-workflows before it as in `outer/inner`; `None` for the run's.
    pub node: Option<String>,
    /// How it is named in results.
    pub label: String,
    /// What it does.
    pub kind: ScorerKind,
    /// What part of the output is scored: one expression over `output`.
    pub of: Option<Template>,
    /// As it was written.
    pub(super) text: String,
}

/// The scorers that there are. Those of texts take every expectation that is a list as several, of which one suffices.
#[derive(Clone)]
pub enum ScorerKind {
    /// 1 for the expected text, but for space around it, or the expected value.
    Exact {
        /// Whether capitals don't matter.
        ignore_case: bool,
    },
    /// 1 when the output holds the expected text.
    Contains {
        /// Whether capitals don't matter.
        ignore_case: bool,
        /// Whether all texts of a list must be there.
        all: bool,
    },
    /// 1 when a regular expression is found in the output.
    Regex {
        /// The expression; without one it is the expectation.
        pattern: Option<Regex>,
    },
    /// How far the words of the output and of the expected text are the same: the F1 of SQuAD (Rajpurkar et al. 2016).
    F1,
    /// 1 when the number that the output is, or ends with, is as near as `tolerance`.
    Number {
        /// The largest distance.
        tolerance: f64,
        /// Whether that is a share of the expected number.
        relative: bool,
    },
    /// 1 when the output fits a JSON schema.
    JsonSchema {
        /// The schema; without one it is the expectation.
        schema: Option<Value>,
    },
    /// The share of the expected ids among the first `k` distinct ones of the output.
    RecallAt {
        /// How many count.
        k: usize,
    },
    /// Discounted gain of the first `k` distinct ids over the best there could be; the expectation is a list of ids, or grades
    /// by id, which count as they are (as in `trec_eval`).
    Ndcg {
        /// How many count.
        k: usize,
    },
    /// Symmetric mean absolute percentage error as in the M4 competition, 0 to 200; less is better.
    Smape,
    /// Mean absolute scaled error (Hyndman and Koehler 2006): over the error of the seasonal naive forecast in the history;
    /// less is better.
    Mase {
        /// Observations in a season.
        season: usize,
    },
    /// A model's grade, from 0 to 1.
    Judge {
        /// What it shall look for.
        rubric: String,
        /// The alias, or the backend, of the model.
        alias: String,
        /// The lowest grade.
        min: i32,
        /// The highest grade.
        max: i32,
    },
    /// What a program, or a workflow, makes of it.
    Custom(Custom),
}

/// Who scores in place of lumos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Custom {
    /// A command, run by a shell, that reads a JSON document and prints a score.
    Command(String),
    /// A workflow's file, whose output is the score.
    Workflow(String),
    /// What the embedding program registered under this name.
    Registered(String),
}

/// The names that there are.
pub const NAMES: &[&str] = &[
    "exact",
    "contains",
    "regex",
    "f1",
    "number",
    "json_schema",
    "recall_at",
    "ndcg",
    "smape",
    "mase",
    "judge",
    "custom",
];

impl Scorer {
    /// Reads a scorer such as `find: recall_at(10)`.
    ///
    /// # Errors
    /// What is wrong with it, as a lowercase fragment.
    pub fn read(text: &str) -> Result<Self, String> {
        Self::of(Call::read(text)?, text.trim().to_owned())
    }

    /// Reads a scorer of a data set: its text, or an object with `type` and the arguments by name.
    ///
    /// # Errors
    /// What is wrong with it, as a lowercase fragment.
    pub(super) fn of_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::read(text),
            Value::Object(fields) => {
                let mut named = fields.clone();
                let name = named.shift_remove("type").and_then(|name| name.as_str().map(str::to_owned));
                let name =
                    name.ok_or("a scorer's object has a text `type`, e.g. {\"type\": \"number\", \"tolerance\": 0.1}")?;
                let node = match named.shift_remove("node") {
                    None => None,
                    Some(Value::String(node)) => Some(node),
                    Some(other) => return Err(format!("`node` is {other}, not a node's name")),
                };
                Self::of(Call { node, name, values: Vec::new(), named }, value.to_string())
            }
            other => Err(format!("{other} is no scorer: wanted a text such as \"exact\"")),
        }
    }

    fn of(call: Call, text: String) -> Result<Self, String> {
        let Call { node, name, values, named } = call;
        if !NAMES.contains(&name.as_str()) {
            let near = nearest(&name, NAMES.iter().copied());
            let hint = near.map_or_else(|| NAMES.join(", "), |near| format!("did you mean `{near}`?"));
            return Err(format!("there is no scorer `{name}`: {hint}"));
        }
        let mut arguments = Arguments { scorer: name.clone(), values: values.into_iter(), named };
        let kind = arguments.kind(&name)?;
        let of = arguments.expression()?;
        let label = arguments.text("name")?;
        arguments.end()?;
        let label = label.unwrap_or_else(|| kind.short());
        let label = node.as_ref().map_or_else(|| label.clone(), |node| format!("{node}:{label}"));
        Ok(Self { node, label, kind, of, text })
    }

    /// Whether less is better. Such scores are no part of the quality, which is a share of what could be had.
    pub fn is_error(&self) -> bool {
        matches!(self.kind, ScorerKind::Smape | ScorerKind::Mase { .. })
    }

    /// Whether a model, or somebody else's program, has a say.
    pub fn is_external(&self) -> bool {
        matches!(self.kind, ScorerKind::Judge { .. } | ScorerKind::Custom(_))
    }

    /// What kind of expectation is needed, in words; `None` when none is.
    pub(super) fn wants(&self) -> Option<&'static str> {
        match &self.kind {
            ScorerKind::Exact { .. } => Some("a value"),
            ScorerKind::Contains { .. } | ScorerKind::F1 => Some("a text, or a list of texts"),
            ScorerKind::Regex { pattern: None } => Some("a regular expression"),
            ScorerKind::Number { .. } => Some("a number"),
            ScorerKind::JsonSchema { schema: None } => Some("a JSON schema"),
            ScorerKind::RecallAt { .. } => Some("a list of ids"),
            ScorerKind::Ndcg { .. } => Some("a list of ids, or grades by id"),
            ScorerKind::Smape => Some("a list of numbers"),
            ScorerKind::Mase { .. } => Some("{\"actual\": [numbers], \"history\": [numbers]}"),
            ScorerKind::Regex { .. }
            | ScorerKind::JsonSchema { .. }
            | ScorerKind::Judge { .. }
            | ScorerKind::Custom(_) => None,
        }
    }
}

impl fmt::Display for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ScorerKind {
    fn short(&self) -> String {
        match self {
            Self::Exact { .. } => "exact".to_owned(),
            Self::Contains { .. } => "contains".to_owned(),
            Self::Regex { .. } => "regex".to_owned(),
            Self::F1 => "f1".to_owned(),
            Self::Number { .. } => "number".to_owned(),
            Self::JsonSchema { .. } => "json_schema".to_owned(),
            Self::RecallAt { k } => format!("recall_at({k})"),
            Self::Ndcg { k } => format!("ndcg({k})"),
            Self::Smape => "smape".to_owned(),
            Self::Mase { .. } => "mase".to_owned(),
            Self::Judge { .. } => "judge".to_owned(),
            Self::Custom(Custom::Registered(name)) => name.clone(),
            Self::Custom(_) => "custom".to_owned(),
        }
    }
}

/// The arguments of a scorer, taken one by one; what is left in the end is unknown.
struct Arguments {
    scorer: String,
    values: std::vec::IntoIter<Value>,
    named: Map<String, Value>,
}

impl Arguments {
    fn kind(&mut self, name: &str) -> Result<ScorerKind, String> {
        Ok(match name {
            "exact" => ScorerKind::Exact { ignore_case: self.flag("ignore_case", false)? },
            "contains" => {
                ScorerKind::Contains { ignore_case: self.flag("ignore_case", false)?, all: self.flag("all", false)? }
            }
            "regex" => {
                let pattern = self.first("pattern").map(|value| text_of("pattern", value)).transpose()?;
                let compiled = |text: String| Regex::new(&text).map_err(|error| last_line(&error.to_string()));
                ScorerKind::Regex { pattern: pattern.map(compiled).transpose()? }
            }
            "f1" => ScorerKind::F1,
            "number" => self.number()?,
            "json_schema" => {
                let schema = self.first("schema");
                if let Some(schema) = &schema {
                    jsonschema::validator_for(schema)
                        .map_err(|error| format!("`schema` is no JSON schema: {error}"))?;
                }
                ScorerKind::JsonSchema { schema }
            }
            "recall_at" => {
                ScorerKind::RecallAt { k: self.count("k")?.ok_or("how many count? write e.g. recall_at(10)")? }
            }
            "ndcg" => ScorerKind::Ndcg { k: self.count("k")?.unwrap_or(10) },
            "smape" => ScorerKind::Smape,
            "mase" => ScorerKind::Mase { season: self.count("season")?.unwrap_or(1) },
            "judge" => self.judge()?,
            _ => ScorerKind::Custom(self.custom()?),
        })
    }

    fn number(&mut self) -> Result<ScorerKind, String> {
        let (tolerance, relative) = match self.first("tolerance") {
            None => (0.0, false),
            Some(Value::Number(number)) => (number.as_f64().unwrap_or(f64::NAN), false),
            Some(Value::String(text)) => {
                let percent = text.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
                (percent.ok_or_else(|| format!("`tolerance` is {text}: wanted e.g. 0.5 or 5%"))? / 100.0, true)
            }
            Some(other) => return Err(format!("`tolerance` is {other}: wanted e.g. 0.5 or 5%")),
        };
        if !(tolerance >= 0.0 && tolerance.is_finite()) {
            return Err(format!("`tolerance` is {tolerance}: wanted at least 0"));
        }
        Ok(ScorerKind::Number { tolerance, relative })
    }

    fn judge(&mut self) -> Result<ScorerKind, String> {
        let rubric = self.first("rubric").map(|value| text_of("rubric", value)).transpose()?;
        let rubric = rubric.filter(|rubric| !rubric.trim().is_empty());
        let rubric = rubric.ok_or("what shall the judge look for? write judge(rubric=\"…\", alias=\"…\")")?;
        let alias = self.first("alias").map(|value| text_of("alias", value)).transpose()?;
        let alias = alias.unwrap_or_else(|| JUDGE_ALIAS.to_owned());
        let whole = |value: Option<Value>, key: &str, absent: i32| match value {
            None => Ok(absent),
            Some(value) => value
                .as_i64()
                .and_then(|value| i32::try_from(value).ok())
                .ok_or(format!("`{key}` is {value}: wanted a whole number")),
        };
        let (min, max) =
            (whole(self.named.shift_remove("min"), "min", 0)?, whole(self.named.shift_remove("max"), "max", 10)?);
        if min >= max {
            return Err(format!("{min} to {max} is no range of grades"));
        }
        Ok(ScorerKind::Judge { rubric, alias, min, max })
    }

    fn custom(&mut self) -> Result<Custom, String> {
        let found = [
            self.text("command")?.map(Custom::Command),
            self.text("workflow")?.map(Custom::Workflow),
            self.values.next().map(|value| text_of("the name", value)).transpose()?.map(Custom::Registered),
        ];
        let mut found = found.into_iter().flatten();
        match (found.next(), found.next()) {
            (Some(custom), None) => Ok(custom),
            _ => Err("write custom(command=\"…\") or custom(workflow=\"….ron\")".to_owned()),
        }
    }

    /// An argument by its name or, without one, the next.
    fn first(&mut self, key: &str) -> Option<Value> {
        self.named.shift_remove(key).or_else(|| self.values.next())
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        self.named.shift_remove(key).map(|value| text_of(key, value)).transpose()
    }

    fn flag(&mut self, key: &str, absent: bool) -> Result<bool, String> {
        match self.named.shift_remove(key) {
            None => Ok(absent),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(format!("`{key}` is {other}: wanted true or false")),
        }
    }

    fn count(&mut self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.first(key) else { return Ok(None) };
        match value.as_u64() {
            Some(count) if (1..=1_000_000).contains(&count) => Ok(Some(count as usize)),
            _ => Err(format!("`{key}` is {value}: wanted a whole number from 1")),
        }
    }

    fn expression(&mut self) -> Result<Option<Template>, String> {
        let Some(text) = self.text("of")? else { return Ok(None) };
        let text = if text.trim_start().starts_with("{{") { text } else { format!("{{{{ {text} }}}}") };
        let template = Template::parse(&text).map_err(|error| format!("`of`: {error}"))?;
        if template.is_expression() {
            Ok(Some(template))
        } else {
            Err(format!("`of` is {text}: wanted one expression"))
        }
    }

    /// What nobody took.
    fn end(mut self) -> Result<(), String> {
        if let Some(value) = self.values.next() {
            return Err(format!("`{}` takes no {value}", self.scorer));
        }
        match self.named.keys().next() {
            Some(key) => Err(format!("`{}` takes no `{key}`", self.scorer)),
            None => Ok(()),
        }
    }
}

fn text_of(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("`{key}` is {other}: wanted a text")),
    }
}

/// What an error of several lines ends with.
pub(super) fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_name_the_node() {
        let label = |text: &str| Scorer::read(text).unwrap().label;
        assert_eq!(label("find: recall_at(10, of=\"output.passages\")"), "find:recall_at(10)");
        assert_eq!(label("judge(rubric=\"Polite?\", alias=large, name=polite)"), "polite");
        assert_eq!(label("number(tolerance=5%)"), "number");
        assert_eq!(label("custom(mine)"), "mine");
    }

    #[test]
    fn mistakes_say_what_is_wanted() {
        let shown: Vec<String> = [
            "exakt",
            "exact(1)",
            "exact(ignore_case=maybe)",
            "number(near)",
            "number(-1)",
            "regex(\"(\")",
            "recall_at",
            "recall_at(0)",
            "ndcg(k=5, depth=3)",
            "mase(season=0.5)",
            "judge()",
            "judge(rubric=\"x\", min=3, max=3)",
            "custom()",
            "custom(a, command=\"b\")",
            "json_schema({\"type\": 7})",
            "f1(of=\"a b\")",
        ]
        .iter()
        .map(|text| format!("{text} -> {}", Scorer::read(text).expect_err(text)))
        .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn an_object_is_as_good_as_a_text() {
        let value = serde_json::json!({"type": "number", "tolerance": 0.5, "node": "sum"});
        let scorer = Scorer::of_value(&value).unwrap();
        assert_eq!(scorer.label, "sum:number");
        assert!(matches!(scorer.kind, ScorerKind::Number { tolerance: 0.5, relative: false }));
        assert!(Scorer::of_value(&serde_json::json!({"tolerance": 1})).unwrap_err().contains("type"));
        assert!(Scorer::of_value(&serde_json::json!(3)).is_err());
    }
}
