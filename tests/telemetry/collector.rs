//! Collectors that are not there, or do not answer, and none at all: the run is the same.

use std::io::Read;
use std::net::TcpListener;
use std::process::Output;

use super::{run, study};

/// A run without telemetry, and one with these variables beside it: the same output and exit code.
async fn same(variables: &[(&str, &str)]) -> Output {
    let (sandbox, _server) = study().await;
    let plain = run(&sandbox, &[]).await;
    assert!(plain.status.success() && plain.stderr.is_empty(), "{}", String::from_utf8_lossy(&plain.stderr));
    let told = run(&sandbox, variables).await;
    let output = |output: &Output| -> serde_json::Value {
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
        [document["output"].clone(), document["status"].clone()].into_iter().collect()
    };
    assert_eq!((told.status.code(), output(&told)), (plain.status.code(), output(&plain)));
    told
}

fn warnings(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with("warning:")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_costs_a_warning() {
    // A port that nobody listens on: it was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    for protocol in ["grpc", "http/protobuf"] {
        let endpoint = format!("http://{address}");
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let output = same(&variables).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(warnings(&output), 1, "{said}");
        assert!(said.contains("the collector takes no logs, metrics, traces: "), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_is_not_waited_for() {
    // The kernel accepts connections, and nobody reads. Longer than its patience would be the exporter's ten minutes.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")];
    let output = same(&variables).await;
    assert_eq!(warnings(&output), 1, "{}", String::from_utf8_lossy(&output.stderr));
    let (mut connection, _) = listener.accept().expect("it was asked");
    let mut first = [0; 4];
    connection.read_exact(&mut first).expect("a request");
    assert_eq!(&first, b"POST");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_unless_somebody_says_where() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a setting");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let off = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_SDK_DISABLED", "true")];
    let none = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ];
    let named = [("OTEL_SERVICE_NAME", "me"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    for variables in [&off[..], &none[..], &named[..]] {
        let output = same(variables).await;
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(listener.accept().map(drop).map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_said_and_the_run_goes_on() {
    let output = same(&[("OTEL_TRACES_EXPORTER", "zipkin")]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`OTEL_TRACES_EXPORTER` is \"zipkin\"; wanted `otlp` or `none`"), "{said}");
}
