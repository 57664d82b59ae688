//! The router: one of the node's labels, chosen by a model or by the node's own expression. Its value is
//! `{choice, labels}`.

use std::sync::Arc;

use async_trait::async_trait;
use lumos_core::spec::RouterSpec;
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Decoding, OutputFormat, Prepared, SharedAgent, SharedBackend,
};
use serde_json::{Value, json};

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

/// The router of nodes without an agent: the argument `choose` is the label, `default` stands in for anything that is
/// no label. It asks no model.
pub fn expression_router() -> SharedAgent {
    Arc::new(Expression)
}

struct Expression;

/// The label that the arguments choose.
fn chosen(arguments: &Arguments, labels: &[String]) -> Result<String, AgentError> {
    let word = match arguments.get("choose") {
        None => return Err(arguments::missing(arguments, "choose")),
        Some(Value::String(word)) => word.trim().to_owned(),
        Some(value) => value.to_string(),
    };
    if labels.contains(&word) {
        return Ok(word);
    }
    match arguments.get("default") {
        Some(Value::String(default)) if labels.contains(default) => Ok(default.clone()),
        _ => Err(AgentError::fatal(format!("`choose` gives {word:?}, which is none of the routes"))
            .with_hint(format!("the routes are {}; name one of them as `default`", labels.join(", ")))),
    }
}

#[async_trait]
impl Agent for Expression {
    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let labels = labels(call.arguments)?;
        let choice = chosen(call.arguments, &labels)?;
        Ok(json!({"choice": choice, "labels": labels}).into())
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
    async fn an_expression_chooses_a_label_or_the_default() {
        let router = expression_router();
        let choose = async |value: Value, default: Value| {
            let arguments = [("choose", value), ("labels", json!(["a", "true", "3"])), ("default", default)];
            attempt(&*router, None, &arguments).await.map(|output| output.value["choice"].clone())
        };
        for (value, choice) in [(json!(" a "), "a"), (json!(true), "true"), (json!(3), "3"), (json!("z"), "a")] {
            assert_eq!(choose(value, json!("a")).await.unwrap(), choice);
        }
        let error = choose(json!("z"), Value::Null).await.unwrap_err();
        assert_eq!(error.message, "`choose` gives \"z\", which is none of the routes");
        assert!(attempt(&*router, None, &[("labels", json!(["a"]))]).await.is_err());
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
