//! One suite for every backend: candle in this process, a llama.cpp server, and LiteLLM in front of it as OpenAI,
//! as Anthropic and as Gemini.
//!
//! The servers come from PyPI. `LUMOS_TEST_SERVERS=off` leaves them out, for machines without a way to it.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;

use lumos::assets::{AssetStore, Catalog};
use lumos::core::SharedBackend;
use lumos::engine::SystemClock;
use lumos_faults::conformance::{self, Expectations};
use lumos_remote::{Provider, RemoteBackend, RemoteOptions, Secret};
use serde::Deserialize;

use crate::home;

/// The servers while they run; they end with their standard input.
struct Servers {
    child: Child,
    at: Addresses,
}

#[derive(Deserialize)]
struct Addresses {
    llama: String,
    embedder: String,
    litellm: String,
    key: String,
}

impl Servers {
    fn start(model: &Path) -> Self {
        let (child, at) = crate::servers::start("serve.py", &["--model".as_ref(), model.as_ref()]);
        Self { child, at }
    }

    fn options(&self, provider: Provider, url: &str) -> RemoteOptions {
        RemoteOptions {
            base_url: Some(url.to_owned()),
            api_key: Some(Secret::new(self.at.key.as_str())),
            ..RemoteOptions::new("tested", provider, "smollm2", Arc::new(SystemClock::new()))
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It was ours to wait for; how it ended matters to nobody.
        let _ = self.child.wait();
    }
}

fn model() -> PathBuf {
    home::json(&["assets", "pull", "smollm2-135m-instruct", "--format", "json"]);
    let store = AssetStore::new(home::home(), Catalog::builtin());
    store.path("smollm2-135m-instruct").expect("the asset was pulled")
}

fn local(path: PathBuf) -> SharedBackend {
    let options = lumos_local::LocalOptions {
        name: "smollm2-135m-instruct".to_owned(),
        path,
        device: lumos::core::spec::Device::Cpu,
        context: Some(512),
        cache_dir: Some(home::home().join("converted")),
        digest: String::new(),
        clock: Arc::new(SystemClock::new()),
    };
    lumos_local::LocalModel::open(options).expect("the model opens")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn candle_conforms() {
    let backend = local(model());
    let expected = Expectations { remote: false, too_many_tokens: Some(1000), ..Expectations::default() };
    let done = runtime().block_on(conformance::suite(backend, expected));
    done.unwrap_or_else(|failures| panic!("{failures:#?}"));
}

#[test]
fn servers_conform_in_every_protocol() {
    if std::env::var("LUMOS_TEST_SERVERS").is_ok_and(|value| value == "off") {
        return;
    }
    let servers = Servers::start(&model());
    let (llama, litellm) = (format!("{}/v1", servers.at.llama), &servers.at.litellm);
    let all = Expectations { too_many_tokens: Some(2500), ..Expectations::default() };
    // Anthropic's shapes are arguments of a tool that must be called, which llama.cpp does not enforce for this model.
    let unshaped = Expectations { shapes: false, ..all.clone() };
    let cases = [
        ("llama.cpp", Provider::OpenAiCompatible, llama.clone(), all.clone()),
        ("LiteLLM as OpenAI", Provider::OpenAi, format!("{litellm}/v1"), all.clone()),
        ("LiteLLM as Anthropic", Provider::Anthropic, format!("{litellm}/v1"), unshaped),
        ("LiteLLM as Gemini", Provider::Gemini, format!("{litellm}/v1beta"), all),
    ];
    let runtime = runtime();
    let mut failures = Vec::new();
    for (name, provider, url, expected) in cases {
        let backend = RemoteBackend::new(servers.options(provider, &url)).expect("good options");
        let done = runtime.block_on(conformance::suite(backend, expected));
        failures.extend(done.err().into_iter().flatten().map(|failure| format!("{name}: {failure}")));
    }
    let mut options = servers.options(Provider::OpenAiCompatible, &format!("{}/v1", servers.at.embedder));
    options.embed = true;
    let embedder = RemoteBackend::new(options).expect("good options");
    let done = runtime.block_on(conformance::embedder(embedder, 576));
    failures.extend(done.err().into_iter().flatten().map(|failure| format!("llama.cpp: {failure}")));
    assert!(failures.is_empty(), "{failures:#?}");
}
