//! The shipped workflows on every deployment that has something outside: what people write of themselves stays inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lumos::core::{RunRecord, Status};
use lumos::engine::{CancellationToken, RunRequest};
use lumos::{Home, Lumos};
use lumos_faults::{FaultServer, Received, Script};
use serde_json::json;

use super::{copy, model, serve};
use crate::home;

const WORKFLOWS: [&str; 4] = ["supply_chain", "rag", "research", "triage"];
const DEPLOYMENTS: [&str; 4] = ["api_openai", "api_anthropic", "api_gemini", "hybrid"];

/// A question with something of every kind, and the parts of it that must stay inside.
const QUESTION: &str = "Which supplier delivers frozen goods before the holidays? Tell jane.doe@example.com or call \
    +1 415-555-0132; card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, SSN 536-22-8726.";
const PARTS: [&str; 12] = [
    "jane.doe@example.com",
    "jane.doe",
    "jane.doe%40example",
    "415-555-0132",
    "4155550132",
    "4111 1111 1111 1111",
    "4111111111111111",
    "DE89 3704",
    "DE89370400440532013000",
    "0532 0130",
    "536-22-8726",
    "536228726",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn parts_in(requests: &[Received]) -> Vec<&'static str> {
    let bytes: Vec<u8> = requests.iter().flat_map(|it| it.head.bytes().chain(it.body.iter().copied())).collect();
    PARTS.into_iter().filter(|part| bytes.windows(part.len()).any(|window| window == part.as_bytes())).collect()
}

/// Copies of the shipped files, their outside backends moved to the server at `url`. Plans of the hybrid always go
/// outside, or next to nothing would.
fn copies(url: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["workflows", "agents", "deployments"] {
        copy(&root().join(name), &folder.path().join(name));
    }
    for name in DEPLOYMENTS {
        let path = folder.path().join(format!("deployments/{name}.ron"));
        let text = fs::read_to_string(&path).expect("a file");
        let mut moved = text.clone();
        for (provider, path) in [("OpenAi", "/v1"), ("Anthropic", "/v1"), ("Gemini", "/v1beta")] {
            let from = format!("provider: {provider},");
            moved = moved.replace(&from, &format!("{from} base_url: \"{url}{path}\","));
        }
        assert_ne!(moved, text);
        for test in ["{{ output.series | length >= 3 }}", "{{ output.queries | length >= 2 }}"] {
            assert!(name != "hybrid" || moved.contains(test));
            moved = moved.replace(test, "{{ false }}");
        }
        fs::write(path, moved).expect("a file");
    }
    folder
}

/// Takes the guards out of a workflow, so that everything reads what the person wrote.
fn unguard(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("workflows/{name}.ron"));
    let text = fs::read_to_string(&path).expect("a file");
    let input = if name == "triage" { "inputs.message" } else { "inputs.question" };
    let kept = text.lines().filter(|line| !["\"screen\":", "\"clean\":"].iter().any(|node| line.contains(node)));
    let bare = kept.collect::<Vec<_>>().join("\n").replace("screen.text", input).replace("clean.text", input);
    assert_ne!(bare, text);
    let path = folder.join(format!("workflows/{name}_unguarded.ron"));
    fs::write(&path, bare).expect("a file");
    path
}

/// A facade with the shared home's models and data, but with indexes of its own, which end with `folder`.
fn facade(folder: &Path) -> Lumos {
    let place = folder.join("home");
    fs::create_dir_all(&place).expect("a folder");
    for name in ["assets", "converted"] {
        // A place where nothing is yet is made by whoever needs it.
        fs::create_dir_all(home::home().join(name)).expect("a folder");
        std::os::unix::fs::symlink(home::home().join(name), place.join(name)).expect("a link");
    }
    let key = |_: &str| Some("sk-none".to_owned());
    let builder = Lumos::builder(Home::new(place)).without_store().secrets(std::sync::Arc::new(key));
    builder.build().expect("a facade")
}

async fn run(lumos: &Lumos, workflow: &Path, deployment: &Path, question: &str) -> RunRecord {
    let (bundle, _) = lumos.open(workflow, Some(deployment)).unwrap_or_else(|error| panic!("{error}"));
    let program = lumos.bind(&bundle).unwrap_or_else(|error| panic!("{error}"));
    lumos.warm_up(&program).await.unwrap_or_else(|error| panic!("{error}"));
    let input = if workflow.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("triage")) {
        "message"
    } else {
        "question"
    };
    let inputs = [(input.to_owned(), json!(question))].into_iter().collect();
    let run =
        lumos.run(&program, RunRequest { inputs, seed: 7, ..RunRequest::default() }, &CancellationToken::new()).await;
    run.expect("nothing is kept").record()
}

async fn server() -> FaultServer {
    serve(Script::by(model::reply)).await
}

fn pull() {
    for asset in ["potion-base-8m", "smollm2-135m-instruct", "walmart-weekly"] {
        home::json(&["assets", "pull", asset, "--format", "json"]);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn what_people_write_of_themselves_reaches_no_outside_server() {
    pull();
    let _turn = home::turn();
    let place = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let lumos = facade(place.path());
        for deployment in DEPLOYMENTS {
            for workflow in WORKFLOWS {
                let server = server().await;
                let folder = copies(&server.url());
                let file = |kind: &str, name: &str| folder.path().join(format!("{kind}/{name}.ron"));
                let (flow, bound) = (file("workflows", workflow), file("deployments", deployment));
                let record = run(&lumos, &flow, &bound, QUESTION).await;
                let requests = server.requests();
                println!(
                    "{workflow} on {deployment}: {}, {} requests, {} bytes outside",
                    record.status.as_str(),
                    requests.len(),
                    record.totals.bytes_outside.expect("a number")
                );
                assert_eq!(parts_in(&requests), Vec::<&str>::new(), "{workflow} on {deployment}");
                let bytes: u64 = requests.iter().map(Received::bytes).sum();
                assert_eq!(record.totals.bytes_outside, Some(bytes), "{workflow} on {deployment}");
                if workflow == "supply_chain" {
                    // Its guard lets no such question in.
                    assert_eq!((record.status, requests.len()), (Status::Refused, 0), "{:?}", record.error);
                } else {
                    assert_eq!(record.status, Status::Succeeded, "{workflow} on {deployment}: {:?}", record.error);
                    let outside = deployment != "hybrid" || workflow == "research";
                    assert_eq!(!requests.is_empty(), outside, "{workflow} on {deployment}");
                }
            }
        }
    });
}

#[test]
fn without_a_guard_nothing_is_sent_and_the_way_is_named() {
    pull();
    let _turn = home::turn();
    runtime().block_on(async {
        let server = server().await;
        let folder = copies(&server.url());
        let lumos = facade(folder.path());
        for workflow in WORKFLOWS {
            let path = unguard(folder.path(), workflow);
            for deployment in DEPLOYMENTS {
                // On the hybrid these two have nothing outside.
                if deployment == "hybrid" && ["rag", "triage"].contains(&workflow) {
                    continue;
                }
                let bound = folder.path().join(format!("deployments/{deployment}.ron"));
                let record = run(&lumos, &path, &bound, QUESTION).await;
                let error = record.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
                println!("{workflow} on {deployment}: {}: {error}", record.status.as_str());
                assert_eq!((record.status, record.status.exit_code()), (Status::Refused, 3), "{error}");
                assert!(error.contains("would send data labelled `Pii` outside") && error.contains(" → "), "{error}");
                assert_eq!((server.requests().len(), record.totals.bytes_outside), (0, Some(0)), "{error}");
            }
        }
        let output = Command::new(env!("CARGO_BIN_EXE_lumos"))
            .args(["run", "workflows/rag_unguarded.ron", "-d", "deployments/api_anthropic.ron"])
            .args(["-i", &format!("question={QUESTION}")])
            .current_dir(folder.path())
            .env("LUMOS_HOME", folder.path().join("home"))
            .env("ANTHROPIC_API_KEY", "sk-none")
            .output()
            .expect("the command starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), server.requests().len()), (Some(3), 0), "{errors}");
        assert!(errors.contains("inputs.question → answer"), "{errors}");
    });
}
