//! Remote backends through the facade and over real sockets: limits, budgets, hedging, breakers, faults, secrets and
//! the trust boundary, each against a server that does as its script says.

mod breaker;
mod budget;
mod faults;
mod hedging;
#[cfg(unix)]
mod labels;
mod limits;
#[cfg(unix)]
mod model;
mod secrets;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lumos::core::RunRecord;
use lumos::engine::{BoundProgram, CancellationToken, RunRequest, UnixClock};
use lumos::{Home, Lumos, LumosBuilder};
use lumos_faults::{FaultServer, Script};
use serde_json::json;

/// The files of a workflow that asks one question, and a home for it.
struct Files(tempfile::TempDir);

impl Files {
    /// `options` are the node's, after its input; `backends` the entries of the deployment.
    fn new(options: &str, max_tokens: u32, backends: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let workflow = format!(
            r#"Workflow(
    name: "ask",
    inputs: {{ "question": Text(required: true) }},
    nodes: {{ "answer": Generator(agent: "answerer", input: "{{{{ inputs.question }}}}"{options}) }},
    output: "{{{{ answer.text }}}}",
)"#
        );
        let agent = format!(
            r#"Generator(model: "m", prompt: (user: "{{{{ input }}}}"), decoding: (max_tokens: {max_tokens}))"#
        );
        let deployment = format!(r#"Deployment(name: "scripted", backends: {{ {backends} }}, bind: {{ "*": "api" }})"#);
        fs::create_dir(folder.path().join("agents")).expect("a folder");
        fs::create_dir(folder.path().join("home")).expect("a folder");
        for (name, text) in [("ask.ron", workflow), ("agents/answerer.ron", agent), ("scripted.ron", deployment)] {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        Self(folder)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn home(&self) -> PathBuf {
        home_of(self.folder())
    }

    fn lumos(&self) -> Lumos {
        builder(self.folder()).build().expect("a facade")
    }
}

fn home_of(folder: &Path) -> PathBuf {
    folder.join("home")
}

/// A facade with the home in `folder`.
fn builder(folder: &Path) -> LumosBuilder {
    Lumos::builder(Home::new(home_of(folder)))
}

/// The workflow in `folder`, bound.
fn bind(lumos: &Lumos, folder: &Path) -> Arc<BoundProgram> {
    let opened = lumos.open(&folder.join("ask.ron"), Some(&folder.join("scripted.ron")));
    let (bundle, _) = opened.unwrap_or_else(|error| panic!("{error}"));
    lumos.bind(&bundle).unwrap_or_else(|error| panic!("{error}"))
}

/// A run with one question.
async fn ask(lumos: &Lumos, program: &Arc<BoundProgram>, question: &str) -> RunRecord {
    ask_until(lumos, program, question, &CancellationToken::new()).await
}

/// The same, ended by `cancel`.
async fn ask_until(
    lumos: &Lumos,
    program: &Arc<BoundProgram>,
    question: &str,
    cancel: &CancellationToken,
) -> RunRecord {
    let inputs = [("question".to_owned(), json!(question))].into_iter().collect();
    let run = lumos.run(program, RunRequest { inputs, ..RunRequest::default() }, cancel).await;
    run.expect("the record is kept").record()
}

/// A server by the clock of all processes.
async fn serve(script: Script) -> FaultServer {
    FaultServer::start(script, Arc::new(UnixClock)).await.expect("a free port")
}

/// An entry of a deployment: OpenAI's protocol at `url`, with further fields.
fn openai(name: &str, url: &str, rest: &str) -> String {
    format!(r#""{name}": Remote(provider: OpenAiCompatible, model: "m", base_url: "{url}/v1", {rest}), "#)
}

/// The share of `values` that is at most the result is `share`.
fn percentile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1]
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}
