//! Checks of one agent: ranges, prompts, formats.

use super::sink::{Sink, is_name};
use crate::problem::Problem;
use crate::read::Parsed;
use crate::spec::{AgentSpec, DecodingSpec, GeneratorFormat, PromptSpec, ToolKind};
use crate::template::Template;

/// Checks an agent by its file's `text`; `user_prompt` is the text of its `user_file`.
pub(super) fn check(agent: &Parsed<AgentSpec>, text: &str, user_prompt: Option<&str>) -> Vec<Problem> {
    let mut sink = Sink::new(agent, text);
    if let Some(model) = agent.spec.model()
        && model.trim().is_empty()
    {
        sink.error("model", "the model alias is empty", "e.g. model: \"small\"".to_owned());
    }
    if let Some(spec) = agent.spec.prompt() {
        prompt(&mut sink, spec, user_prompt);
    }
    match &agent.spec {
        AgentSpec::Retriever(spec) => {
            if spec.sources.is_empty() {
                sink.error(
                    "sources",
                    "the retriever has no sources",
                    "files and folders beside the agent's file, or asset:NAME".to_owned(),
                );
            }
            empty_texts(&mut sink, "sources", &spec.sources);
            sink.at_least_one("chunk.max_chars", Some(spec.chunk.max_chars));
            sink.at_least_one("rrf_k", spec.rrf_k);
            if let Some(weight) = spec.bm25_weight.filter(|weight| !(0.0..=1.0).contains(weight)) {
                sink.error("bm25_weight", format!("`bm25_weight` is {weight}"), "from 0 to 1".to_owned());
            }
            if spec.bm25_weight.is_some() && spec.rrf_k.is_some() {
                let message = "passages are fused by rank or by score, not by both".to_owned();
                sink.error("rrf_k", message, "leave `rrf_k` or `bm25_weight` out".to_owned());
            }
            if spec.chunk.overlap_chars >= spec.chunk.max_chars && spec.chunk.max_chars > 0 {
                let hint = format!("less than `max_chars`, which is {}", spec.chunk.max_chars);
                sink.error("chunk.overlap_chars", format!("`overlap_chars` is {}", spec.chunk.overlap_chars), hint);
            }
        }
        AgentSpec::Planner(spec) => {
            decoding(&mut sink, &spec.decoding);
            if !is_name(&spec.field) {
                let hint = "letters, digits and `_`, beginning with a letter or `_`".to_owned();
                sink.error("field", format!("`{}` is no name that templates can use", spec.field), hint);
            }
            let items = &spec.items;
            sink.at_least_one("items.min", Some(items.min));
            sink.at_least_one("items.max_chars", Some(items.max_chars));
            if items.min > items.max {
                let message = format!("`min` is {} and `max` is {}", items.min, items.max);
                sink.error("items.max", message, "at least `min`".to_owned());
            }
            empty_texts(&mut sink, "items.choices", &items.choices);
            let choices = items.choices.len();
            if choices > 0 && (items.min as usize) > choices {
                let hint = "entries are distinct, so `min` is at most their number".to_owned();
                sink.error("items.choices", format!("`min` is {} and there are {choices} choices", items.min), hint);
            }
        }
        AgentSpec::Forecaster(spec) => {
            sink.at_least_one("season", Some(spec.season));
            sink.at_least_one("folds", Some(spec.folds));
            if !(spec.level > 0.0 && spec.level < 1.0) {
                sink.error("level", format!("`level` is {}", spec.level), "above 0 and below 1, e.g. 0.9".to_owned());
            }
            if spec.models.is_empty() {
                sink.error("models", "there is no model to choose from", "SeasonalNaive, Ets, Mstl".to_owned());
            }
        }
        AgentSpec::Guard(spec) => {
            sink.at_least_one("max_chars", spec.max_chars);
            empty_texts(&mut sink, "deny", &spec.deny);
            if spec.detect.is_empty() && spec.deny.is_empty() && spec.max_chars.is_none() {
                sink.warning(
                    "",
                    "the guard lets everything through",
                    "give `detect`, `deny` or `max_chars`".to_owned(),
                );
            }
        }
        AgentSpec::Judge(spec) => {
            decoding(&mut sink, &spec.decoding);
            if spec.min >= spec.max {
                let message = format!("`min` is {} and `max` is {}", spec.min, spec.max);
                sink.error("max", message, "more than `min`".to_owned());
            }
        }
        AgentSpec::Router(spec) => decoding(&mut sink, &spec.decoding),
        AgentSpec::Generator(spec) => {
            decoding(&mut sink, &spec.decoding);
            match &spec.format {
                GeneratorFormat::Json(schema) if !schema.is_object() => {
                    let hint = "Json({\"type\": \"object\", \"properties\": {…}})".to_owned();
                    sink.error("format", format!("a JSON Schema is an object, not {schema}"), hint);
                }
                GeneratorFormat::Regex(pattern) if pattern.is_empty() => {
                    sink.error("format", "the regular expression is empty", None);
                }
                _ => {}
            }
        }
        AgentSpec::Tool(spec) => match &spec.tool {
            ToolKind::Calculator => {}
            ToolKind::HttpGet { allow, max_bytes, timeout_s } => {
                if allow.is_empty() {
                    sink.error("tool.allow", "nothing may be fetched", "allow: [\"https://example.org/\"]".to_owned());
                }
                for (at, prefix) in allow.iter().enumerate() {
                    let host = prefix.strip_prefix("https://").or_else(|| prefix.strip_prefix("http://"));
                    if host.is_none_or(|host| !host.contains('/') || host.starts_with('/')) {
                        let hint = "scheme, host and at least `/`, e.g. \"https://example.org/\"".to_owned();
                        sink.error(&format!("tool.allow.{at}"), format!("`{prefix}` is no prefix of an address"), hint);
                    }
                }
                sink.at_least_one("tool.max_bytes", Some(*max_bytes));
                sink.seconds("tool.timeout_s", Some(*timeout_s));
            }
        },
    }
    sink.into_problems()
}

fn prompt(sink: &mut Sink<'_>, spec: &PromptSpec, user_file: Option<&str>) {
    if spec.user_file.is_none() && spec.user.trim().is_empty() {
        sink.error("prompt", "the prompt is empty", "prompt: (user: \"{{ input }}\")".to_owned());
    }
    let file = if user_file.is_some() { "prompt.user_file" } else { "prompt.user" };
    for (path, text) in [("prompt.system", spec.system.as_str()), (file, user_file.unwrap_or(&spec.user))] {
        if let Err(error) = Template::parse(text) {
            let alone = path == "prompt.user" && !sink.has(path);
            sink.template_error(if alone { "prompt" } else { path }, text, error);
        }
    }
}

fn decoding(sink: &mut Sink<'_>, spec: &DecodingSpec) {
    let mut range = |name: &str, number: Option<f64>, valid: fn(f64) -> bool, hint: &str| {
        if let Some(number) = number.filter(|number| !number.is_finite() || !valid(*number)) {
            sink.error(&format!("decoding.{name}"), format!("`{name}` is {number}"), hint.to_owned());
        }
    };
    range("temperature", spec.temperature, |number| number >= 0.0, "at least 0; 0 is greedy");
    range("top_p", spec.top_p, |number| (0.0..=1.0).contains(&number), "from 0 to 1");
    range("repetition_penalty", spec.repetition_penalty, |number| number >= 1.0, "at least 1; 1 changes nothing");
    sink.at_least_one("decoding.top_k", spec.top_k);
    sink.at_least_one("decoding.max_tokens", spec.max_tokens);
    empty_texts(sink, "decoding.stop", &spec.stop);
}

fn empty_texts(sink: &mut Sink<'_>, path: &str, texts: &[String]) {
    for (at, _) in texts.iter().enumerate().filter(|(_, text)| text.is_empty()) {
        sink.error(&format!("{path}.{at}"), "the text is empty", "remove it".to_owned());
    }
}
