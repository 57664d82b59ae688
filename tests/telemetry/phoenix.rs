//! Arize Phoenix, a receiver that people use: it gets the tree, and reads tokens and model names from it.
//!
//! It comes from PyPI, like the servers of `backends.rs`; `LUMOS_TEST_SERVERS=off` leaves it out.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use serde_json::Value;

use super::{run, study};

/// How often Phoenix is asked whether it has everything: it writes what it gets a little later.
const TRIES: usize = 300;

/// Phoenix while it runs; it ends with its standard input.
struct Phoenix {
    child: Child,
    http: String,
    grpc: String,
}

impl Phoenix {
    fn start() -> Self {
        let (child, at): (Child, Value) = crate::servers::start("phoenix.py", &[]);
        let url = |name: &str| at[name].as_str().expect("an address").to_owned();
        Self { http: url("http"), grpc: url("grpc"), child }
    }

    /// The spans of the default project, once it has so many.
    fn spans(&self, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        for _ in 0..TRIES {
            found = self.get("/v1/projects/default/spans?limit=1000")["data"].as_array().cloned().unwrap_or_default();
            if found.len() >= count {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        found
    }

    /// A document; `null` when there is none.
    fn get(&self, path: &str) -> Value {
        let address = self.http.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("Phoenix is there");
        // HTTP/1.0 ends a body by closing the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it writes UTF-8");
        let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }
}

impl Drop for Phoenix {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It was ours to wait for; how it ended matters to nobody.
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phoenix_shows_the_tree_with_tokens_and_models() {
    if std::env::var("LUMOS_TEST_SERVERS").is_ok_and(|value| value == "off") {
        return;
    }
    let phoenix = tokio::task::spawn_blocking(Phoenix::start).await.expect("no panic");
    // It takes traces only.
    let only_traces = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")];
    let addresses = [("grpc", phoenix.grpc.clone()), ("http/protobuf", phoenix.http.clone())];
    let mut runs = Vec::new();
    for (protocol, url) in &addresses {
        let (sandbox, _server) = study().await;
        let target = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let output = run(&sandbox, &[&target[..], &only_traces].concat()).await;
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let record: Value = serde_json::from_slice(&output.stdout).expect("a document");
        runs.push(record);
    }
    let spans = tokio::task::spawn_blocking(move || phoenix.spans(24)).await.expect("no panic");
    assert_eq!(spans.len(), 24, "twelve of each run");
    for record in &runs {
        let of = |id: &Value| spans.iter().find(|span| span["context"]["span_id"] == *id).cloned().unwrap_or_default();
        let is_root = |span: &&Value| span["attributes"]["lumos.run.id"] == record["run_id"];
        let root = spans.iter().find(is_root).expect("the run's span");
        assert!(root["parent_id"].is_null());
        let own: Vec<&Value> =
            spans.iter().filter(|span| span["context"]["trace_id"] == root["context"]["trace_id"]).collect();
        assert_eq!(own.len(), 12);
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut input, mut output) = (0, 0);
        for span in &own {
            *kinds.entry(span["span_kind"].as_str().expect("a kind")).or_default() += 1;
            if span["span_kind"] == "LLM" {
                let parent = of(&span["parent_id"]);
                assert_eq!(parent["span_kind"], "AGENT", "{span:#}");
                assert_eq!(parent["parent_id"], root["context"]["span_id"]);
                assert_eq!(span["attributes"]["llm.model_name"], "tiny-1");
                input += span["attributes"]["llm.token_count.prompt"].as_u64().unwrap_or_default();
                output += span["attributes"]["llm.token_count.completion"].as_u64().unwrap_or_default();
            }
        }
        // A plan, three parts, one of them asked for twice; the calculator.
        assert_eq!((kinds["LLM"], kinds["AGENT"], kinds["TOOL"]), (5, 4, 1));
        // The server refused one of them, and counted nothing.
        assert_eq!((input, output), (11 + 3 * 7, 3 + 3 * 2));
        assert_eq!(own.iter().filter(|span| span["status_code"] == "ERROR").count(), 1);
    }
}
