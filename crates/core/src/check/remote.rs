//! Checks of remote backends, limits and breakers.

use super::sink::Sink;
use crate::money::Usd;
use crate::spec::{LimitSpec, Provider, RemoteSpec, SecretSource};

/// Checks what a remote backend says about itself.
pub(super) fn check(sink: &mut Sink<'_>, path: &str, remote: &RemoteSpec) {
    if remote.model.trim().is_empty() {
        let hint = "the model as the API names it, e.g. \"gpt-4o-mini\"".to_owned();
        sink.error(&format!("{path}.model"), "the model is empty", hint);
    }
    match &remote.base_url {
        None if remote.provider == Provider::OpenAiCompatible => {
            let hint = "base_url: \"http://127.0.0.1:8000/v1\"".to_owned();
            sink.error(path, "an OpenAI-compatible server needs its `base_url`", hint);
        }
        Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => {
            let hint = "an address such as \"http://127.0.0.1:8000/v1\"".to_owned();
            sink.error(&format!("{path}.base_url"), format!("`{url}` is no http address"), hint);
        }
        _ => {}
    }
    let key = format!("{path}.api_key");
    match &remote.api_key {
        None if remote.base_url.is_none() => {
            let hint = "api_key: Env(\"OPENAI_API_KEY\")".to_owned();
            sink.error(path, "the provider's own API needs an `api_key`", hint);
        }
        Some(SecretSource::Env(name)) if !is_variable(name) => {
            // It may be the key itself, so it is not repeated.
            let hint = "the name of an environment variable, e.g. Env(\"OPENAI_API_KEY\"); never the key".to_owned();
            sink.error(&key, "that is no name of an environment variable", hint);
        }
        Some(SecretSource::File(file)) if file.trim().is_empty() => {
            sink.error(&key, "the file's name is empty", "File(\"key.txt\")".to_owned());
        }
        _ => {}
    }
    sink.at_least_one(&format!("{path}.context"), remote.context);
    let timeouts = &remote.timeouts;
    let seconds =
        [("connect_s", timeouts.connect_s), ("first_token_s", timeouts.first_token_s), ("idle_s", timeouts.idle_s)];
    for (field, value) in seconds {
        sink.seconds(&format!("{path}.timeouts.{field}"), Some(value));
    }
    if let Some(breaker) = &remote.breaker {
        sink.at_least_one(&format!("{path}.breaker.failures"), Some(breaker.failures));
        sink.seconds(&format!("{path}.breaker.window_s"), Some(breaker.window_s));
        sink.seconds(&format!("{path}.breaker.cooldown_s"), Some(breaker.cooldown_s));
    }
}

/// Checks how much may be asked of a backend.
pub(super) fn limits(sink: &mut Sink<'_>, path: &str, limits: &LimitSpec) {
    let counts = [
        ("rpm", limits.rpm),
        ("tpm", limits.tpm),
        ("input_tpm", limits.input_tpm),
        ("output_tpm", limits.output_tpm),
        ("concurrency", limits.concurrency),
    ];
    for (field, value) in counts {
        sink.at_least_one(&format!("{path}.limits.{field}"), value);
    }
    if let Some(usd) = limits.usd_per_day.filter(|usd| *usd <= Usd::ZERO) {
        let hint = "an amount above 0, e.g. \"5.00\"".to_owned();
        sink.error(&format!("{path}.limits.usd_per_day"), format!("`usd_per_day` is {usd}"), hint);
    }
}

/// Upper-case words joined by `_`, as environment variables are written; keys hardly ever look like that.
fn is_variable(name: &str) -> bool {
    let part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') && name.chars().all(part) && name.len() <= 64
}
