//! The guard: personal data by pattern and checksum, denied texts, and length.
//!
//! Its value is `{text, outcome, findings: [{kind, start, end}]}`: `outcome` is `allow`, `redact` or `refuse`,
//! offsets count characters of the input, and `text` never holds what was found, even when it is refused. Kinds are
//! `email, phone, card, iban, ssn, ip, denied, length`.

mod detect;
mod numbers;
mod phone;
mod screen;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use lumos_core::spec::{Detector, GuardSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, Arguments, Prepared, SharedBackend};
use serde_json::{Value, json};

use crate::arguments;
use crate::build::BuildError;
use screen::Screen;

/// Texts up to this many bytes are screened at once, longer ones on a thread for blocking work.
const INLINE_BYTES: usize = 16 << 10;

/// How often a text holds each kind of personal data that a guard can find, by the word in its findings.
///
/// # Errors
/// When the text keeps giving new findings.
pub fn personal_data(text: &str) -> Result<BTreeMap<&'static str, u64>, String> {
    static SCREEN: LazyLock<Option<Screen>> = LazyLock::new(|| Screen::new(&Detector::ALL, &[]).ok());
    let mut found = BTreeMap::new();
    if let Some(screen) = &*SCREEN {
        for finding in screen.apply(text)?.findings {
            *found.entry(finding.kind.word()).or_default() += 1;
        }
    }
    Ok(found)
}

/// Screens texts.
pub struct Guard {
    screen: Arc<Screen>,
    max_chars: Option<u32>,
}

impl Guard {
    pub(crate) fn new(spec: &GuardSpec) -> Result<Self, BuildError> {
        if spec.max_chars == Some(0) {
            return Err(BuildError::new("max_chars", "0 refuses every text").with_hint("leave it out for no limit"));
        }
        Ok(Self { screen: Arc::new(Screen::new(&spec.detect, &spec.deny)?), max_chars: spec.max_chars })
    }
}

/// Whether the node wants findings redacted; refusing is the default.
fn redacts(arguments: &Arguments) -> Result<bool, AgentError> {
    match arguments.get("on_block") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("refuse") => Ok(false),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("redact") => Ok(true),
        Some(value) => Err(arguments::wrong("on_block", value, "`Refuse` or `Redact`")),
    }
}

#[async_trait]
impl Agent for Guard {
    fn prepare(&self, arguments: &Arguments, _: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        redacts(arguments)?;
        arguments::check_text(arguments, "input")?;
        Ok(Prepared::default())
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let blocked = if redacts(call.arguments)? { "redact" } else { "refuse" };
        let text = arguments::text(call.arguments, "input")?;
        if let Some(most) = self.max_chars {
            let chars = text.chars().count();
            if chars > most as usize {
                let finding = json!({"kind": "length", "start": most, "end": chars});
                return Ok(json!({"text": "", "outcome": "refuse", "findings": [finding]}).into());
            }
        }
        let screen = Arc::clone(&self.screen);
        let screened = if text.len() <= INLINE_BYTES {
            screen.apply(&text)
        } else {
            tokio::task::spawn_blocking(move || screen.apply(&text))
                .await
                .map_err(|error| AgentError::fatal(format!("screening stopped: {error}")))?
        }
        .map_err(AgentError::fatal)?;
        let outcome = if screened.findings.is_empty() { "allow" } else { blocked };
        let findings: Vec<_> = screened
            .findings
            .iter()
            .map(|finding| json!({"kind": finding.kind.word(), "start": finding.start, "end": finding.end}))
            .collect();
        Ok(json!({"text": screened.text, "outcome": outcome, "findings": findings}).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::attempt;

    fn guard() -> Guard {
        let detect = vec![Detector::Email, Detector::Card];
        Guard::new(&GuardSpec { detect, deny: vec!["Project Blue".into()], max_chars: Some(60) }).unwrap()
    }

    async fn screen(input: &str, on_block: &str) -> Value {
        let arguments = [("input", json!(input)), ("on_block", json!(on_block))];
        attempt(&guard(), None, &arguments).await.unwrap().value
    }

    #[tokio::test]
    async fn findings_are_redacted_with_offsets_in_characters() {
        let value = screen("é write to bob@example.com", "Redact").await;
        let findings = json!([{"kind": "email", "start": 11, "end": 26}]);
        assert_eq!(value, json!({"text": "é write to [EMAIL]", "outcome": "redact", "findings": findings}));
        assert_eq!(screen("nothing here", "Refuse").await["outcome"], "allow");
    }

    #[tokio::test]
    async fn a_refused_text_does_not_show_what_was_found() {
        let value = screen("the PROJECT  blue of bob@example.com", "Refuse").await;
        assert_eq!(value["outcome"], "refuse");
        assert_eq!(value["text"], "the [DENIED] of [EMAIL]");
    }

    #[tokio::test]
    async fn too_long_is_refused_whatever_the_node_says() {
        let value = screen(&"x".repeat(61), "Redact").await;
        let findings = json!([{"kind": "length", "start": 60, "end": 61}]);
        assert_eq!(value, json!({"text": "", "outcome": "refuse", "findings": findings}));
        assert_eq!(screen(&"é".repeat(60), "Redact").await["outcome"], "allow");
    }

    #[test]
    fn personal_data_is_counted_by_kind() {
        let text = "bob@example.com, ann@example.com, 4111 1111 1111 1111, 123-45-6789, [EMAIL]";
        let found: Vec<_> = personal_data(text).unwrap().into_iter().collect();
        assert_eq!(found, [("card", 1), ("email", 2), ("ssn", 1)]);
        assert!(personal_data("order 66 of 2026-11-24, 10:45").unwrap().is_empty());
    }

    #[tokio::test]
    async fn other_arguments_are_refused() {
        let arguments = [("input", json!("x")), ("on_block", json!("Ignore"))];
        assert!(attempt(&guard(), None, &arguments).await.unwrap_err().message.contains("`Refuse` or `Redact`"));
        assert!(attempt(&guard(), None, &[("input", json!({"a": 1}))]).await.is_err());
        assert!(attempt(&guard(), None, &[]).await.unwrap_err().message.contains("`input` is missing"));
    }
}
