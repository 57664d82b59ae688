//! The generator: a text, or JSON, from a model. Its value is `{text}`, with `data` where JSON is asked for.

use async_trait::async_trait;
use jsonschema::Validator;
use lumos_core::spec::{GeneratorFormat, GeneratorSpec};
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Decoding, OutputFormat, Prepared, SharedBackend,
};
use regex::Regex;
use serde_json::{Value, json};

use crate::build::{BuildContext, BuildError};
use crate::chat::{self, Ask};

/// Asks a model for a text.
pub struct Generator {
    ask: Ask,
    format: OutputFormat,
    check: Check,
}

/// What an answer must be, whatever the backend promises.
enum Check {
    Text,
    Json(Box<Validator>),
    Regex(Regex),
}

impl Generator {
    pub(crate) fn new(spec: &GeneratorSpec, context: &BuildContext) -> Result<Self, BuildError> {
        let ask = Ask::new(&spec.prompt, &spec.decoding, Decoding::default(), context)?;
        let (format, check) = match &spec.format {
            GeneratorFormat::Text => (OutputFormat::Text, Check::Text),
            GeneratorFormat::Json(schema) => {
                let validator = jsonschema::validator_for(schema).map_err(|error| {
                    BuildError::new("format", format!("not a JSON Schema: {error}"))
                        .with_hint("e.g. `Json({\"type\": \"object\", \"properties\": {…}})`")
                })?;
                (OutputFormat::JsonSchema(schema.clone()), Check::Json(Box::new(validator)))
            }
            GeneratorFormat::Regex(pattern) => {
                let compile = |pattern: &str| {
                    Regex::new(pattern).map_err(|error| {
                        let error = error.to_string();
                        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                        BuildError::new("format", format!("not a regular expression: {why}"))
                            .with_hint("e.g. `[a-z]+( [0-9]{1,3})?`; inside quotes a backslash is written twice")
                    })
                };
                // By itself first: brackets that do not match must not match those around it.
                compile(pattern)?;
                let regex = compile(&format!(r"\A(?:{pattern})\z"))?;
                (OutputFormat::Regex(pattern.clone()), Check::Regex(regex))
            }
        };
        Ok(Self { ask, format, check })
    }
}

#[async_trait]
impl Agent for Generator {
    fn prepare(&self, arguments: &Arguments, backend: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        self.ask.prepare(arguments, self.format.clone(), backend)
    }

    async fn run(&self, mut call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let completion = chat::complete(&mut call).await?;
        let text = completion.text.trim();
        if text.is_empty() {
            return Err(chat::unusable(&completion, "the model gave no text"));
        }
        let value = match &self.check {
            Check::Text => json!({"text": text}),
            Check::Json(validator) => {
                let data: Value = serde_json::from_str(text)
                    .map_err(|error| chat::unusable(&completion, format_args!("the answer is not JSON ({error})")))?;
                if let Err(error) = validator.validate(&data) {
                    let place = error.instance_path().to_string();
                    let why = format!("the answer breaks its schema at `{place}`");
                    return Err(chat::unusable(&completion, why));
                }
                json!({"text": text, "data": data})
            }
            Check::Regex(regex) if regex.is_match(&completion.text) => json!({"text": completion.text}),
            Check::Regex(_) => {
                return Err(chat::unusable(&completion, "the answer does not match the pattern asked for"));
            }
        };
        Ok(AgentOutput { value, report: Some(completion.report) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lumos_core::FinishReason;
    use lumos_core::spec::{DecodingSpec, PromptSpec};

    use super::*;
    use crate::script::{Script, attempt};

    fn generator(format: GeneratorFormat) -> Result<Generator, BuildError> {
        let spec = GeneratorSpec {
            model: "small".into(),
            prompt: PromptSpec { user: "{{ input }}".into(), ..PromptSpec::default() },
            decoding: DecodingSpec::default(),
            format,
        };
        let context = BuildContext { base: ".".into(), asset: Arc::new(|_| Err(String::new())), index_dir: ".".into() };
        Generator::new(&spec, &context)
    }

    fn schema() -> Value {
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    }

    #[tokio::test]
    async fn texts_are_trimmed_and_a_cut_off_text_is_kept() {
        let agent = generator(GeneratorFormat::Text).unwrap();
        let backend = Script::answering(&[" an answer\n"]);
        let output = attempt(&agent, Some(backend), &[("input", json!("x"))]).await.unwrap();
        assert_eq!(output.value, json!({"text": "an answer"}));
        let output = attempt(&agent, Some(Script::cut_off("half an")), &[("input", json!("x"))]).await.unwrap();
        assert_eq!(output.report.unwrap().finish_reason, Some(FinishReason::Length));
    }

    #[tokio::test]
    async fn an_empty_answer_may_be_retried_and_keeps_its_figures() {
        let agent = generator(GeneratorFormat::Text).unwrap();
        let error = attempt(&agent, Some(Script::answering(&["  "])), &[("input", json!("x"))]).await.unwrap_err();
        assert!(error.retryable && error.report.is_some(), "{error:?}");
    }

    #[tokio::test]
    async fn json_is_parsed_and_checked_again() {
        let agent = generator(GeneratorFormat::Json(schema())).unwrap();
        let backend = Script::answering(&["{\"n\": 1}", "{\"n\": \"1\"}", "{\"n\":"]);
        let backend: SharedBackend = backend;
        let arguments = [("input", json!("x"))];
        let output = attempt(&agent, Some(backend.clone()), &arguments).await.unwrap();
        assert_eq!(output.value["data"], json!({"n": 1}));
        let error = attempt(&agent, Some(backend.clone()), &arguments).await.unwrap_err();
        assert!(error.message.contains("`/n`") && error.retryable, "{error:?}");
        assert!(attempt(&agent, Some(backend), &arguments).await.unwrap_err().message.contains("not JSON"));
        let error = attempt(&agent, Some(Script::cut_off("{\"n\":")), &arguments).await.unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("raise `decoding.max_tokens`"));
    }

    #[tokio::test]
    async fn a_pattern_holds_for_the_whole_answer() {
        let agent = generator(GeneratorFormat::Regex("[a-z]|[0-9]+".into())).unwrap();
        let backend: SharedBackend = Script::answering(&["42", "42x"]);
        let arguments = [("input", json!("x"))];
        assert_eq!(attempt(&agent, Some(backend.clone()), &arguments).await.unwrap().value, json!({"text": "42"}));
        assert!(attempt(&agent, Some(backend), &arguments).await.is_err());
    }

    #[test]
    fn broken_formats_are_build_errors() {
        assert_eq!(generator(GeneratorFormat::Json(json!({"type": 3}))).map(drop).unwrap_err().field, "format");
        for pattern in ["(", ")|("] {
            let error = generator(GeneratorFormat::Regex(pattern.into())).map(drop).unwrap_err();
            assert!(error.field == "format" && !error.message.contains('\n'), "{error:?}");
        }
    }

    #[tokio::test]
    async fn without_a_model_the_deployment_is_named() {
        let agent = generator(GeneratorFormat::Text).unwrap();
        let error = attempt(&agent, None, &[("input", json!("x"))]).await.unwrap_err();
        assert!(error.hint.unwrap().contains("deployment"));
    }
}
