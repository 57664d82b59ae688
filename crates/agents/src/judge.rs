//! The judge: a whole number in a range from a model, and optionally why. Its value is `{score, min, max}`, with
//! `reason` where the agent asks for one. The reason comes before the score, because a score given first is not
//! based on it.

use async_trait::async_trait;
use lumos_core::spec::JudgeSpec;
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Decoding, OutputFormat, Prepared, SharedBackend,
};
use serde_json::{Value, json};

use crate::build::{BuildContext, BuildError};
use crate::chat::{self, Ask};
use crate::words;

/// Most characters of a reason.
const MOST_REASON: u32 = 10_000;

/// Asks a model for a score.
pub struct Judge {
    ask: Ask,
    min: i32,
    max: i32,
    reason_chars: u32,
    schema: Value,
}

impl Judge {
    pub(crate) fn new(spec: &JudgeSpec, context: &BuildContext) -> Result<Self, BuildError> {
        let &JudgeSpec { min, max, reason_chars, .. } = spec;
        if min >= max {
            return Err(BuildError::new("min", format!("{min} to {max} is no range")).with_hint("`min` below `max`"));
        }
        if reason_chars > MOST_REASON {
            return Err(BuildError::new("reason_chars", format!("{reason_chars} is more than {MOST_REASON}")));
        }
        let defaults = Decoding { max_tokens: 40 + reason_chars, ..Decoding::default() };
        let ask = Ask::new(&spec.prompt, &spec.decoding, defaults, context)?;
        Ok(Self { ask, min, max, reason_chars, schema: schema(min, max, reason_chars) })
    }

    fn value(&self, text: &str) -> Result<Value, String> {
        let answer: Value = serde_json::from_str(text).map_err(|error| format!("the answer is not JSON ({error})"))?;
        let score = answer["score"].as_i64().ok_or("the answer holds no whole number `score`")?;
        if score < i64::from(self.min) || score > i64::from(self.max) {
            return Err(format!("the score {score} is not from {} to {}", self.min, self.max));
        }
        let mut value = json!({"score": score, "min": self.min, "max": self.max});
        if self.reason_chars > 0 {
            let reason = answer["reason"].as_str().ok_or("the answer holds no `reason`")?.trim();
            value["reason"] = reason.chars().take(self.reason_chars as usize).collect::<String>().into();
        }
        Ok(value)
    }
}

#[async_trait]
impl Agent for Judge {
    fn prepare(&self, arguments: &Arguments, backend: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        self.ask.prepare(arguments, OutputFormat::JsonSchema(self.schema.clone()), backend)
    }

    async fn run(&self, mut call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let completion = chat::complete(&mut call).await?;
        let value = self.value(completion.text.trim()).map_err(|why| chat::unusable(&completion, why))?;
        Ok(AgentOutput { value, report: Some(completion.report) })
    }
}

fn schema(min: i32, max: i32, reason_chars: u32) -> Value {
    let score = json!({"type": "integer", "minimum": min, "maximum": max});
    if reason_chars == 0 {
        return json!({
            "type": "object",
            "properties": {"score": score},
            "required": ["score"],
            "additionalProperties": false,
        });
    }
    let reason = json!({"type": "string", "pattern": words::pattern(true, reason_chars)});
    json!({
        "type": "object",
        "properties": {"reason": reason, "score": score},
        "required": ["reason", "score"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lumos_core::spec::{DecodingSpec, PromptSpec};

    use super::*;
    use crate::script::{Script, attempt};

    fn judge(min: i32, max: i32, reason_chars: u32) -> Result<Judge, BuildError> {
        let spec = JudgeSpec {
            model: "small".into(),
            prompt: PromptSpec { user: "Score: {{ input }}".into(), ..PromptSpec::default() },
            decoding: DecodingSpec::default(),
            min,
            max,
            reason_chars,
        };
        let context = BuildContext { base: ".".into(), asset: Arc::new(|_| Err(String::new())), index_dir: ".".into() };
        Judge::new(&spec, &context)
    }

    async fn score(agent: &Judge, answer: &str) -> Result<Value, AgentError> {
        let arguments = [("input", json!("x"))];
        attempt(agent, Some(Script::answering(&[answer])), &arguments).await.map(|output| output.value)
    }

    #[tokio::test]
    async fn the_score_is_a_whole_number_in_range() {
        let agent = judge(-1, 5, 0).unwrap();
        assert_eq!(score(&agent, "{\"score\": -1}").await.unwrap(), json!({"score": -1, "min": -1, "max": 5}));
        for answer in ["{\"score\": 6}", "{\"score\": 2.5}", "{\"score\": \"2\"}", "{}", "2", "{\"score\": 2"] {
            assert!(score(&agent, answer).await.unwrap_err().retryable, "{answer}");
        }
    }

    #[tokio::test]
    async fn the_reason_is_kept_within_its_length() {
        let agent = judge(0, 10, 5).unwrap();
        let value = score(&agent, r#"{"reason": "grounded", "score": 9}"#).await.unwrap();
        assert_eq!(value, json!({"score": 9, "min": 0, "max": 10, "reason": "groun"}));
        assert!(score(&agent, r#"{"score": 9}"#).await.unwrap_err().message.contains("reason"));
    }

    #[test]
    fn a_reason_is_asked_for_before_the_score() {
        let schema = schema(0, 10, 80);
        assert_eq!(schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), ["reason", "score"]);
        assert!(jsonschema::is_valid(&schema, &json!({"reason": "a b", "score": 10})));
        assert!(!jsonschema::is_valid(&schema, &json!({"reason": "a", "score": 11})));
    }

    #[test]
    fn an_empty_range_is_refused() {
        assert!(judge(3, 3, 0).is_err());
        assert!(judge(4, 3, 0).is_err());
    }
}
