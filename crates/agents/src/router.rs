//! The router: one of the node's labels, chosen by a model. Its value is `{choice, labels}`.

use async_trait::async_trait;
use lumos_core::spec::RouterSpec;
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Decoding, OutputFormat, Prepared, SharedBackend,
};
use serde_json::json;

use crate::arguments;
use crate::build::{BuildContext, BuildError};
use crate::chat::{self, Ask};

/// Asks a model for a label.
pub struct Router {
    ask: Ask,
}

impl Router {
    pub(crate) fn new(spec: &RouterSpec, context: &BuildContext) -> Result<Self, BuildError> {
        let defaults = Decoding { max_tokens: 64, ..Decoding::default() };
        Ok(Self { ask: Ask::new(&spec.prompt, &spec.decoding, defaults, context)? })
    }
}

/// The node's labels: at least one, none empty, none twice.
fn labels(arguments: &Arguments) -> Result<Vec<String>, AgentError> {
    let labels = arguments::texts(arguments, "labels")?;
    let problem = if labels.is_empty() {
        "is an empty list"
    } else if labels.iter().any(|label| label.trim().is_empty()) {
        "holds an empty label"
    } else if labels.iter().enumerate().any(|(at, label)| labels[..at].contains(label)) {
        "holds a label twice"
    } else {
        return Ok(labels);
    };
    Err(AgentError::fatal(format!("argument `labels` {problem}")).with_hint("wanted distinct texts to choose from"))
}

#[async_trait]
impl Agent for Router {
    fn prepare(&self, arguments: &Arguments, backend: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        let labels = labels(arguments)?;
        let longest = labels.iter().map(String::len).max().unwrap_or(0) as u32;
        let mut prepared = self.ask.prepare(arguments, OutputFormat::Choice(labels), backend)?;
        if let Some(request) = &mut prepared.request {
            request.decoding.max_tokens = request.decoding.max_tokens.max(longest + 4);
        }
        Ok(prepared)
    }

    async fn run(&self, mut call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let labels = labels(call.arguments)?;
        let completion = chat::complete(&mut call).await?;
        let text = completion.text.trim();
        let exact = labels.iter().find(|label| *label == text);
        let folded = || labels.iter().find(|label| label.to_lowercase() == text.to_lowercase());
        let Some(choice) = exact.or_else(folded) else {
            return Err(chat::unusable(&completion, "the model chose none of the labels"));
        };
        Ok(AgentOutput { value: json!({"choice": choice, "labels": labels}), report: Some(completion.report) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lumos_core::spec::{DecodingSpec, PromptSpec};

    use super::*;
    use crate::script::{Script, attempt};

    fn router() -> Router {
        let spec = RouterSpec {
            model: "small".into(),
            prompt: PromptSpec { user: "{{ input }}: {{ labels | join(' or ') }}?".into(), ..PromptSpec::default() },
            decoding: DecodingSpec::default(),
        };
        let context = BuildContext { base: ".".into(), asset: Arc::new(|_| Err(String::new())), index_dir: ".".into() };
        Router::new(&spec, &context).unwrap()
    }

    #[tokio::test]
    async fn the_choice_is_one_of_the_labels_as_the_node_spells_it() {
        let backend = Script::answering(&["Refund", " other\n", "weather"]);
        let shared: SharedBackend = backend.clone();
        let arguments = [("input", json!("hi")), ("labels", json!(["refund", "other"]))];
        let choice = attempt(&router(), Some(shared.clone()), &arguments).await.unwrap().value;
        assert_eq!(choice, json!({"choice": "refund", "labels": ["refund", "other"]}));
        assert_eq!(attempt(&router(), Some(shared.clone()), &arguments).await.unwrap().value["choice"], "other");
        assert!(attempt(&router(), Some(shared), &arguments).await.unwrap_err().retryable);
        let request = backend.requests.lock().unwrap().remove(0);
        assert_eq!(request.format, OutputFormat::Choice(vec!["refund".into(), "other".into()]));
        assert_eq!(request.messages[0].content, "hi: refund or other?");
    }

    #[tokio::test]
    async fn labels_must_be_distinct_texts() {
        for labels in [json!([]), json!(["a", "a"]), json!([" "]), json!("a"), json!([1])] {
            let arguments = [("input", json!("hi")), ("labels", labels.clone())];
            let error = attempt(&router(), Some(Script::answering(&["a"])), &arguments).await.unwrap_err();
            assert!(error.message.contains("labels"), "{labels}: {error:?}");
        }
    }
}
