//! Remote backends: from a deployment's description to a client with its key, certificates and price.

use lumos_core::SharedBackend;
use lumos_core::load::Bundle;
use lumos_core::price::{Catalog, Price, Rates, TokenPrice};
use lumos_core::spec::{BackendSpec, Cost, RemoteSpec};

use crate::error::Error;
use crate::lumos::Lumos;

/// What a backend costs: what the deployment says, else the list price of today.
///
/// # Errors
/// When neither is known and the deployment does not say so.
pub fn price_of(name: &str, spec: &BackendSpec, prices: &Catalog) -> Result<Price, Error> {
    match (spec.cost(), spec) {
        (Some(Cost::PerHour { usd }), _) => Ok(Price::PerHour(*usd)),
        (Some(Cost::PerMillionTokens { input, output, cached_input, cache_write }), _) => {
            let rates = Rates {
                input: *input,
                cached_input: *cached_input,
                cache_write: *cache_write,
                cache_write_1h: None,
                output: Some(*output),
            };
            Ok(Price::Tokens(Box::new(TokenPrice::flat(rates))))
        }
        (Some(Cost::Unknown), _)
        | (None, BackendSpec::Local(_) | BackendSpec::Simulated(_) | BackendSpec::Custom { .. }) => Ok(Price::Unknown),
        (None, BackendSpec::Remote(remote)) => list_price(name, remote, prices),
    }
}

fn list_price(name: &str, remote: &RemoteSpec, prices: &Catalog) -> Result<Price, Error> {
    use lumos_core::spec::Provider;

    let say =
        "say what it costs: `cost: PerMillionTokens(input: \"…\", output: \"…\")`, `PerHour(usd: \"…\")` or `Unknown`";
    let fail = |message: String, hint: String| Error::Backend { backend: name.to_owned(), message, hint: Some(hint) };
    if remote.provider == Provider::OpenAiCompatible {
        let message = format!(
            "the price of `{}` at {} is not known",
            remote.model,
            remote.base_url.as_deref().unwrap_or("its server")
        );
        return Err(fail(message, say.to_owned()));
    }
    match prices.lookup(remote.provider.as_str(), &remote.model, lumos_engine::today()) {
        Ok(entry) => Ok(Price::Tokens(Box::new(entry.price.clone()))),
        Err(error) => {
            let near = error.hint().map(|hint| format!("{hint}; or ")).unwrap_or_default();
            Err(fail(format!("no list price: {error}"), format!("{near}{say}")))
        }
    }
}

#[cfg(feature = "remote")]
impl Lumos {
    pub(crate) fn open_remote(&self, name: &str, spec: &RemoteSpec, bundle: &Bundle) -> Result<SharedBackend, Error> {
        use std::sync::Arc;
        use std::time::Duration;

        use lumos_remote::{RemoteBackend, RemoteOptions, Secret, Timeouts};

        let fail = |message: String, hint: &str| Error::Backend {
            backend: name.to_owned(),
            message,
            hint: Some(hint.to_owned()),
        };
        let folder = bundle.deployment.as_ref().map(|source| source.folder.clone()).unwrap_or_default();
        let seconds = |field: &str, value: f64| {
            Duration::try_from_secs_f64(value)
                .map_err(|_| fail(format!("`timeouts.{field}` is {value}"), "seconds, above 0"))
        };
        let ca_pem = match &spec.ca_file {
            None => None,
            Some(file) => Some(std::fs::read(folder.join(file)).map_err(|error| {
                fail(
                    format!("the certificates in `{file}` cannot be read: {error}"),
                    "a file in PEM, relative to the deployment's",
                )
            })?),
        };
        let options = RemoteOptions {
            base_url: spec.base_url.clone(),
            api_key: self.secret(name, spec, &folder)?.map(Secret::new),
            timeouts: Timeouts {
                connect: seconds("connect_s", spec.timeouts.connect_s)?,
                first_token: seconds("first_token_s", spec.timeouts.first_token_s)?,
                idle: seconds("idle_s", spec.timeouts.idle_s)?,
            },
            ca_pem,
            proxy: spec.proxy.clone(),
            embed: spec.embedder,
            context: spec.context,
            structured: spec.structured,
            prompt_cache: spec.prompt_cache,
            omit: spec.omit.clone(),
            extra: spec.extra.clone().into_iter().collect(),
            ..RemoteOptions::new(name, spec.provider, &spec.model, Arc::new(self.clock))
        };
        RemoteBackend::new(options)
            .map_err(|error| fail(error.message, "see the backend's `base_url`, `proxy` and `ca_file`"))
    }

    /// The key of a backend.
    fn secret(&self, name: &str, spec: &RemoteSpec, folder: &std::path::Path) -> Result<Option<String>, Error> {
        use lumos_core::spec::SecretSource;

        let fail =
            |message: String, hint: String| Error::Backend { backend: name.to_owned(), message, hint: Some(hint) };
        let (text, place) = match &spec.api_key {
            None => return Ok(None),
            Some(SecretSource::Env(variable)) => {
                let text = (self.secrets)(variable).ok_or_else(|| {
                    fail(format!("the environment variable `{variable}` is not set"), format!("export {variable}=…"))
                })?;
                (text, format!("the environment variable `{variable}`"))
            }
            Some(SecretSource::File(file)) => {
                let path = folder.join(file);
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    fail(
                        format!("the key's file `{}` cannot be read: {error}", path.display()),
                        "put the key, and nothing else, into it".to_owned(),
                    )
                })?;
                (text, format!("the file `{}`", path.display()))
            }
        };
        let text = text.trim();
        if text.is_empty() || text.chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(fail(format!("{place} holds no key"), "a key is one line of plain characters".to_owned()));
        }
        Ok(Some(text.to_owned()))
    }
}

#[cfg(not(feature = "remote"))]
#[allow(clippy::unused_self, reason = "with the feature `remote` it opens the backend")]
impl Lumos {
    pub(crate) fn open_remote(&self, name: &str, _: &RemoteSpec, _: &Bundle) -> Result<SharedBackend, Error> {
        Err(Error::Backend {
            backend: name.to_owned(),
            message: "this build has no remote backends".to_owned(),
            hint: Some("build with the feature `remote`".to_owned()),
        })
    }
}
