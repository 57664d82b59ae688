//! Which backends share limits: those that a server counts together.

use std::fmt::Write;

use lumos_core::spec::{BackendSpec, SecretSource};
use sha2::{Digest, Sha256};

/// The name under which a backend's limits are kept: of the model at an address, asked with a key from one place. The
/// key itself is not part of it, and neither is the address in plain text, which may contain one.
pub fn account(backend: &BackendSpec) -> String {
    let (who, model, rest) = match backend {
        BackendSpec::Local(local) => ("local", local.model.as_str(), [None, None, None]),
        BackendSpec::Simulated(simulated) => ("simulated", simulated.model.as_str(), [None, None, None]),
        BackendSpec::Custom { name, .. } => ("custom", name.as_str(), [None, None, None]),
        BackendSpec::Remote(remote) => {
            let secret = remote.api_key.as_ref().map(|source| match source {
                SecretSource::Env(name) => ("env", name.as_str()),
                SecretSource::File(path) => ("file", path.as_str()),
            });
            let rest = [remote.base_url.as_deref(), secret.map(|secret| secret.0), secret.map(|secret| secret.1)];
            (remote.provider.as_str(), remote.model.as_str(), rest)
        }
    };
    let mut hasher = Sha256::new();
    for part in [Some(who), Some(model)].into_iter().chain(rest) {
        // The length keeps parts apart; what is absent has none.
        hasher.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        hasher.update(part.unwrap_or_default());
    }
    let mut name = format!("{who}/{model}/");
    for byte in &hasher.finalize()[..8] {
        // Writing to a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lumos_core::spec::{Provider, RemoteSpec};

    use super::*;

    fn remote(base_url: Option<&str>, api_key: Option<SecretSource>) -> String {
        account(&BackendSpec::Remote(Box::new(RemoteSpec {
            provider: Provider::OpenAiCompatible,
            model: "small".to_owned(),
            base_url: base_url.map(str::to_owned),
            api_key,
            cost: None,
            limits: lumos_core::spec::LimitSpec::default(),
            timeouts: lumos_core::spec::TimeoutSpec::default(),
            breaker: None,
            context: None,
            embedder: false,
            structured: lumos_core::spec::Structured::default(),
            prompt_cache: None,
            omit: Vec::new(),
            region: None,
            retention: None,
            extra: indexmap::IndexMap::new(),
            proxy: None,
            ca_file: None,
        })))
    }

    #[test]
    fn addresses_and_places_of_keys_tell_accounts_apart_and_are_not_shown() {
        let key = |name: &str| Some(SecretSource::Env(name.to_owned()));
        let names = [
            remote(None, None),
            remote(Some("http://user:pass@host"), None),
            remote(Some("http://user:pass@host"), key("A")),
            remote(Some("http://user:pass@host"), key("B")),
            remote(Some("http://user:pass@host"), Some(SecretSource::File("A".to_owned()))),
        ];
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| name.starts_with("openai-compatible/small/") && !name.contains("pass")));
        assert_eq!(remote(None, key("A")), remote(None, key("A")));
    }
}
