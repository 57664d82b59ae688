//! From which length on providers keep what prompts begin with: shorter beginnings are billed as any other input.

use serde::Deserialize;

use super::date::Date;
use super::matching;

/// What a provider keeps of a model's prompts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename = "Cache", deny_unknown_fields)]
pub struct CacheRule {
    /// Who bills, as in the catalog of prices.
    provider: String,
    /// Models in lower case, with `-` in place of dots; none means all others of the provider.
    models: Vec<String>,
    /// Tokens of the shortest beginning that is kept.
    pub min_tokens: u32,
    /// Beyond that, what is read grows in steps of so many tokens.
    #[serde(default = "one")]
    pub step_tokens: u32,
    /// The day on which the source was last known to say so.
    pub as_of: Date,
    /// The page that says so.
    pub source: String,
}

fn one() -> u32 {
    1
}

impl CacheRule {
    /// Whether it holds for all models of the provider that have no rule of their own.
    fn is_of_all(&self) -> bool {
        self.models.is_empty()
    }
}

/// Tokens that are read from a cache, of a beginning of `shared` tokens that was sent before.
pub fn cached_tokens(shared: u32, min_tokens: u32, step_tokens: u32) -> u32 {
    match shared.checked_sub(min_tokens) {
        Some(beyond) => shared - beyond % step_tokens.max(1),
        None => 0,
    }
}

/// The catalog of such rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptCaches {
    version: u32,
    caches: Vec<CacheRule>,
}

impl PromptCaches {
    /// The catalog that ships with lumos.
    pub fn builtin() -> Self {
        let text = include_str!("../../../../catalog/prompt_caches.ron");
        ron::from_str(text).expect("the shipped catalog is valid: a test reads it")
    }

    /// The rule of a model; a dated version of it has that of its name. `None` for a provider of which nothing is known.
    pub fn of(&self, provider: &str, model: &str) -> Option<&CacheRule> {
        let provider = matching::provider(provider);
        let written = model.to_lowercase().replace('.', "-");
        let of_provider = || self.caches.iter().filter(|rule| rule.provider == provider);
        let called = |name: &str| of_provider().find(|rule| rule.models.iter().any(|known| known == name));
        called(&written)
            .or_else(|| matching::without_version(&written).and_then(called))
            .or_else(|| of_provider().find(|rule| rule.is_of_all()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::Catalog;

    #[test]
    fn models_have_the_rule_of_their_name_and_others_that_of_their_provider() {
        let caches = PromptCaches::builtin();
        let of =
            |provider: &str, model: &str| caches.of(provider, model).map(|rule| (rule.min_tokens, rule.step_tokens));
        for (provider, model, expected) in [
            ("openai", "gpt-4o-mini", Some((1024, 128))),
            ("openai", "gpt-4o-2024-11-20", Some((1024, 128))),
            ("openai", "gpt-5.6-sol", Some((1024, 1))),
            ("anthropic", "claude-sonnet-4.5", Some((1024, 1))),
            ("anthropic", "claude-haiku-4-5-20251001", Some((4096, 1))),
            ("anthropic", "claude-3-5-haiku-latest", Some((2048, 1))),
            ("anthropic", "claude-opus-5.5", Some((512, 1))),
            ("anthropic", "claude-of-tomorrow", Some((4096, 1))),
            ("gemini", "gemini-2.5-flash", Some((2048, 1))),
            ("google", "gemini-3.5-flash", Some((4096, 1))),
            ("openai-compatible", "mistral-nemo", None),
        ] {
            assert_eq!(of(provider, model), expected, "{provider}/{model}");
        }
    }

    #[test]
    fn no_model_has_two_rules_and_every_provider_one_for_the_rest() {
        let PromptCaches { version, caches } = PromptCaches::builtin();
        assert_eq!(version, 1);
        for rule in &caches {
            let same = caches.iter().filter(|other| other.provider == rule.provider);
            assert_eq!(same.clone().filter(|other| other.is_of_all()).count(), 1, "{}", rule.provider);
            for model in &rule.models {
                assert_eq!(same.clone().filter(|other| other.models.contains(model)).count(), 1, "{model}");
                assert_eq!(*model, model.to_lowercase().replace('.', "-"));
            }
            assert!(rule.min_tokens > 0 && rule.step_tokens > 0 && rule.source.starts_with("https://"));
            assert!(Catalog::builtin().provider_called(&rule.provider).is_ok(), "{}", rule.provider);
        }
    }

    #[test]
    fn short_beginnings_are_not_kept_and_longer_ones_in_steps() {
        for (shared, expected) in [(0, 0), (128, 0), (1023, 0), (1024, 1024), (1151, 1024), (1152, 1152), (3000, 2944)]
        {
            assert_eq!(cached_tokens(shared, 1024, 128), expected, "{shared}");
        }
        assert_eq!((cached_tokens(100, 0, 1), cached_tokens(5000, 4096, 1)), (100, 5000));
    }
}
