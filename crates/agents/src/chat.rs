//! Asking a model: prompt, decoding and answer format become a request, the reply a completion.

use lumos_core::spec::{DecodingSpec, PromptSpec};
use lumos_core::{
    AgentCall, AgentError, Arguments, ChatRequest, Completion, Decoding, FinishReason, OutputFormat, Prepared,
    SharedBackend,
};

use crate::build::{BuildContext, BuildError};
use crate::prompt::Prompt;

/// Most characters of a model's answer that go into an error message.
const SHOWN_CHARS: usize = 120;

/// What stays the same between an agent's requests.
pub(crate) struct Ask {
    prompt: Prompt,
    decoding: Decoding,
}

impl Ask {
    /// Reads the prompt and lays `decoding` over the role's `defaults`.
    pub(crate) fn new(
        prompt: &PromptSpec,
        decoding: &DecodingSpec,
        defaults: Decoding,
        context: &BuildContext,
    ) -> Result<Self, BuildError> {
        Ok(Self { prompt: Prompt::new(prompt, context)?, decoding: overlay(decoding, defaults)? })
    }

    /// Builds the request for `arguments`.
    pub(crate) fn prepare(
        &self,
        arguments: &Arguments,
        format: OutputFormat,
        backend: Option<&SharedBackend>,
    ) -> Result<Prepared, AgentError> {
        let backend = backend.ok_or_else(no_backend)?;
        let request = ChatRequest::new(self.prompt.messages(arguments)?, self.decoding.clone(), format);
        let input_tokens = backend.count_input_tokens(&request);
        Ok(Prepared { request: Some(request), input_tokens })
    }
}

/// Sends the request of `call`.
pub(crate) async fn complete(call: &mut AgentCall<'_>) -> Result<Completion, AgentError> {
    let backend = call.backend.clone().ok_or_else(no_backend)?;
    let request = call.request.take().ok_or_else(|| AgentError::fatal("the attempt came without its request"))?;
    Ok(backend.chat(request, call.deltas).await?)
}

/// An error about an answer that is not what was asked for; a retry may give another one.
pub(crate) fn unusable(completion: &Completion, why: impl std::fmt::Display) -> AgentError {
    let mut shown: String = completion.text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < completion.text.len() {
        shown.push('…');
    }
    let error = match completion.report.finish_reason {
        Some(FinishReason::Length) => {
            AgentError::transient(format!("the answer was cut off by the token limit: {why}: {shown:?}"))
                .with_hint("raise `decoding.max_tokens`")
        }
        _ => AgentError::transient(format!("{why}: {shown:?}")),
    };
    error.with_report(Some(completion.report.clone()))
}

fn no_backend() -> AgentError {
    AgentError::fatal("the agent needs a model, but none is bound to it").with_hint("bind its alias in the deployment")
}

fn overlay(spec: &DecodingSpec, defaults: Decoding) -> Result<Decoding, BuildError> {
    let decoding = Decoding {
        temperature: spec.temperature.unwrap_or(defaults.temperature),
        top_p: spec.top_p.or(defaults.top_p),
        top_k: spec.top_k.or(defaults.top_k),
        repetition_penalty: spec.repetition_penalty.unwrap_or(defaults.repetition_penalty),
        max_tokens: spec.max_tokens.unwrap_or(defaults.max_tokens),
        stop: if spec.stop.is_empty() { defaults.stop } else { spec.stop.clone() },
        seed: defaults.seed,
    };
    let fail = |field: &str, message: String| Err(BuildError::new(format!("decoding.{field}"), message));
    if !(0.0..=100.0).contains(&decoding.temperature) {
        return fail("temperature", format!("{} is not a number from 0 to 100", decoding.temperature));
    }
    if let Some(top_p) = decoding.top_p.filter(|p| !(0.0..=1.0).contains(p)) {
        return fail("top_p", format!("{top_p} is not a number from 0 to 1"));
    }
    if decoding.top_k == Some(0) {
        return fail("top_k", "0 keeps no token; wanted at least 1".to_owned());
    }
    if !(1.0..=100.0).contains(&decoding.repetition_penalty) {
        return fail("repetition_penalty", format!("{} is not a number from 1 to 100", decoding.repetition_penalty));
    }
    if decoding.max_tokens == 0 {
        return fail("max_tokens", "0 gives no answer; wanted at least 1".to_owned());
    }
    if decoding.stop.iter().any(String::is_empty) {
        return fail("stop", "a stop text is empty".to_owned());
    }
    Ok(decoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_leaves_out_is_the_roles_default() {
        let spec = DecodingSpec { temperature: Some(0.5), ..DecodingSpec::default() };
        let defaults = Decoding { max_tokens: 7, top_k: Some(3), ..Decoding::default() };
        let decoding = overlay(&spec, defaults).unwrap();
        assert_eq!((decoding.temperature, decoding.max_tokens, decoding.top_k), (0.5, 7, Some(3)));
    }

    #[test]
    fn decoding_out_of_range_is_refused() {
        let cases = [
            ("temperature", DecodingSpec { temperature: Some(f64::NAN), ..DecodingSpec::default() }),
            ("temperature", DecodingSpec { temperature: Some(-1.0), ..DecodingSpec::default() }),
            ("top_p", DecodingSpec { top_p: Some(1.1), ..DecodingSpec::default() }),
            ("top_k", DecodingSpec { top_k: Some(0), ..DecodingSpec::default() }),
            ("repetition_penalty", DecodingSpec { repetition_penalty: Some(0.0), ..DecodingSpec::default() }),
            ("max_tokens", DecodingSpec { max_tokens: Some(0), ..DecodingSpec::default() }),
            ("stop", DecodingSpec { stop: vec![String::new()], ..DecodingSpec::default() }),
        ];
        for (field, spec) in cases {
            assert_eq!(overlay(&spec, Decoding::default()).unwrap_err().field, format!("decoding.{field}"));
        }
    }
}
