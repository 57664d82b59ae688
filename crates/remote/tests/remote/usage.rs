//! Tokens as servers report them, class by class.

use lumos_core::Usage;
use lumos_faults::{Answer, Tokens, UsageShown};
use lumos_remote::Provider;

use crate::support::{PROVIDERS, answered};

async fn usage(provider: Provider, tokens: Tokens, usage: UsageShown) -> Usage {
    answered(provider, Answer { tokens, usage, ..Answer::new("a b c") }).await.report.usage
}

fn all() -> Tokens {
    Tokens {
        cached: Some(600),
        cache_write: Some(300),
        cache_write_1h: Some(100),
        reasoning: Some(40),
        ..Tokens::new(1000, 70)
    }
}

#[tokio::test]
async fn every_class_that_a_provider_states_is_kept() {
    let common = Usage {
        input_tokens: Some(1000),
        cached_input_tokens: Some(600),
        output_tokens: Some(70),
        reasoning_tokens: Some(40),
        ..Usage::default()
    };
    for provider in [Provider::OpenAi, Provider::OpenAiCompatible, Provider::Gemini] {
        assert_eq!(usage(provider, all(), UsageShown::Once).await, common, "{provider:?}");
    }
    // 100 that no cache had a part in, 600 read, 300 written.
    let anthropic =
        Usage { cache_write_tokens: Some(300), cache_write_1h_tokens: Some(100), reasoning_tokens: None, ..common };
    assert_eq!(usage(Provider::Anthropic, all(), UsageShown::Once).await, anthropic);
}

#[tokio::test]
async fn tokens_that_nobody_states_are_unknown() {
    for provider in PROVIDERS {
        assert_eq!(usage(provider, all(), UsageShown::Never).await, Usage::default(), "{provider:?}");
    }
    let plain = usage(Provider::OpenAi, Tokens::new(9, 3), UsageShown::Once).await;
    assert_eq!((plain.cached_input_tokens, plain.reasoning_tokens), (None, None));
}

#[tokio::test]
async fn of_two_statements_the_last_one_counts() {
    for provider in PROVIDERS {
        let usage = usage(provider, all(), UsageShown::Twice).await;
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(1000), Some(70)), "{provider:?}");
    }
}

#[tokio::test]
async fn gemini_leaves_zeros_out() {
    let usage = usage(Provider::Gemini, Tokens::new(9, 3), UsageShown::Once).await;
    assert_eq!((usage.cached_input_tokens, usage.reasoning_tokens), (Some(0), Some(0)));
}
