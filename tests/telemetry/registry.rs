//! Every name that is sent is in the conventions' registry with its type, or in the namespace of lumos.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lumos_telemetry::{Protocol, prometheus_text};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use super::receiver::Receiver;
use super::{run, study};

/// Kind, type and unit by name, of the given sets.
fn registry(sets: &[&str]) -> BTreeMap<String, (String, String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/telemetry/conventions/registry.tsv");
    let text = fs::read_to_string(path).expect("the registry");
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
    let rows = rows.filter(|row| sets.contains(&row[4]));
    rows.map(|row| (row[1].to_owned(), (row[0].to_owned(), row[2].to_owned(), row[3].to_owned()))).collect()
}

fn check(registry: &BTreeMap<String, (String, String, String)>, attributes: &[KeyValue]) {
    for attribute in attributes.iter().filter(|attribute| !attribute.key.starts_with("lumos.")) {
        let found = registry.get(&attribute.key).unwrap_or_else(|| panic!("`{}` is in no registry", attribute.key));
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref()).expect("a value");
        let fits = match found.1.as_str() {
            // Structured values are JSON where a span cannot hold them, as the conventions allow.
            "string" | "enum" | "any" => matches!(value, Value::StringValue(_)),
            "int" => matches!(value, Value::IntValue(_)),
            "double" => matches!(value, Value::DoubleValue(_)),
            "boolean" => matches!(value, Value::BoolValue(_)),
            "string[]" => matches!(value, Value::ArrayValue(_)),
            other => panic!("{other}"),
        };
        assert!(found.0 == "attribute" && fits, "`{}` is {value:?}, wanted {}", attribute.key, found.1);
    }
}

async fn all_names(sets: &[&str], opt_in: &str, wanted: &[&str], unwanted: &[&str]) {
    let receiver = Receiver::start(Protocol::Http).await;
    let (sandbox, _server) = study().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url.as_str()),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true"),
        ("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in),
    ];
    assert!(run(&sandbox, &variables).await.status.success());
    let registry = registry(sets);
    let mut keys: Vec<String> = Vec::new();
    let mut all = vec![receiver.received.resources()];
    all.extend(receiver.received.spans().into_iter().map(|span| span.attributes));
    all.extend(receiver.received.logs().into_iter().map(|log| log.attributes));
    for metric in receiver.received.metrics() {
        let (kind, attributes): (&str, Vec<Vec<KeyValue>>) = match metric.data.expect("data") {
            Data::Sum(sum) => ("counter", sum.data_points.into_iter().map(|point| point.attributes).collect()),
            Data::Histogram(spread) => ("histogram", spread.data_points.into_iter().map(|it| it.attributes).collect()),
            other => panic!("{other:?}"),
        };
        if !metric.name.starts_with("lumos.") {
            let found = registry.get(&metric.name).unwrap_or_else(|| panic!("`{}` is in no registry", metric.name));
            assert_eq!((found.0.as_str(), found.1.as_str(), found.2.as_str()), ("metric", kind, metric.unit.as_str()));
        }
        keys.push(metric.name);
        all.extend(attributes);
    }
    for attributes in &all {
        check(&registry, attributes);
        keys.extend(attributes.iter().map(|attribute| attribute.key.clone()));
    }
    for name in wanted {
        assert!(keys.iter().any(|key| key == name), "{name}");
    }
    for name in unwanted {
        assert!(keys.iter().all(|key| key != name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_is_in_the_registry_with_its_type() {
    let wanted = ["gen_ai.provider.name", "gen_ai.input.messages", "gen_ai.client.inference.duration"];
    let unwanted = ["gen_ai.system", "gen_ai.client.token.usage", "gen_ai.usage.prompt_tokens"];
    all_names(&["v0.1.0", "core"], "", &wanted, &unwanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_names_come_when_asked_for() {
    let wanted = ["gen_ai.system", "gen_ai.client.token.usage", "gen_ai.usage.prompt_tokens", "gen_ai.token.type"];
    let unwanted = ["gen_ai.provider.name", "gen_ai.client.inference.duration"];
    all_names(&["v0.1.0", "core", "legacy"], "gen_ai_legacy", &wanted, &unwanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_prometheus_text_on_request() {
    let (sandbox, _server) = study().await;
    let mut command = super::command(&sandbox, &[]);
    command.args(["--metrics", "lumos.prom"]);
    let output = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("no panic");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(sandbox.folder().join("lumos.prom")).expect("a file");
    let record: lumos::core::RunRecord = serde_json::from_slice(&output.stdout).expect("a record");
    assert_eq!(text, prometheus_text([&record]));
    assert!(
        text.contains(
            "# TYPE lumos_runs_total counter\nlumos_runs_total{lumos_status=\"succeeded\",lumos_workflow=\"study\"} 1\n"
        ),
        "{text}"
    );
    assert!(text.contains(
        "lumos_run_duration_seconds_bucket{lumos_status=\"succeeded\",lumos_workflow=\"study\",le=\"+Inf\"} 1\n"
    ));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, number) = line.rsplit_once(' ').expect("a sample");
        assert!(number.parse::<f64>().is_ok() && series.ends_with('}'), "{line}");
    }
}
