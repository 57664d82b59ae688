//! What arrives: the tree of spans, tokens, models and costs, metrics and logs, over both protocols.

use std::collections::BTreeMap;

use lumos_telemetry::Protocol;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value as Json;

use super::receiver::{Receiver, int, text, value};
use super::{run, study};

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

async fn arrives(protocol: Protocol, word: &str) {
    let receiver = Receiver::start(protocol).await;
    let (sandbox, server) = study().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", word),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret%20word"),
        ("OTEL_SERVICE_NAME", "desk"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=supply"),
    ];
    let output = run(&sandbox, &variables).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let record: Json = serde_json::from_slice(&output.stdout).expect("a document");

    let spans = receiver.received.spans();
    let [root] = named(&spans, "invoke_workflow study")[..] else { panic!("one root: {spans:#?}") };
    assert!(root.parent_span_id.is_empty());
    assert_eq!(text(&root.attributes, "lumos.run.id"), record["run_id"].as_str().expect("an id"));
    assert_eq!(text(&root.attributes, "gen_ai.agent.name"), "study");
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id));
    // Five steps below the root, six attempts below the steps: one part was asked for twice.
    let below = |parent: &Span| spans.iter().filter(|span| span.parent_span_id == parent.span_id).collect::<Vec<_>>();
    let steps = below(root);
    assert_eq!((spans.len(), steps.len()), (1 + 5 + 6, 5));
    let attempts: BTreeMap<(&str, Option<i64>), usize> = steps
        .iter()
        .map(|step| ((text(&step.attributes, "lumos.node"), int(&step.attributes, "lumos.index")), below(step).len()))
        .collect();
    let expected = [
        (("part", Some(0)), 1),
        (("part", Some(1)), 2),
        (("part", Some(2)), 1),
        (("plan", None), 1),
        (("sum", None), 1),
    ];
    assert_eq!(attempts, expected.into());

    // Entries of the map are linked to the step that produced the list, those that waited for room too.
    let plan = steps.iter().find(|step| text(&step.attributes, "lumos.node") == "plan").expect("a plan");
    for step in &steps {
        let linked: Vec<&[u8]> = step.links.iter().map(|link| &link.span_id[..]).collect();
        let expected = if text(&step.attributes, "lumos.node") == "part" { vec![&plan.span_id[..]] } else { vec![] };
        assert_eq!(linked, expected, "{}", step.name);
        assert!(step.start_time_unix_nano >= root.start_time_unix_nano);
        assert!(step.end_time_unix_nano <= root.end_time_unix_nano);
    }
    let chats = named(&spans, "chat tiny-1");
    assert_eq!(chats.len(), 5);
    let [asked] = below(plan)[..] else { panic!("one attempt") };
    let attributes = &asked.attributes;
    assert_eq!(text(attributes, "gen_ai.request.model"), "tiny-1");
    assert_eq!(text(attributes, "gen_ai.operation.name"), "chat");
    assert_eq!(int(attributes, "gen_ai.usage.input_tokens"), Some(11));
    assert_eq!(int(attributes, "gen_ai.usage.output_tokens"), Some(3));
    assert!(value(attributes, "lumos.cost.usd").is_some());
    assert!(value(attributes, "gen_ai.input.messages").is_none(), "nobody asked for messages");
    let failed: Vec<&&Span> = chats.iter().filter(|span| span.status.is_some()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(text(&failed[0].attributes, "error.type"), "failed");

    // Each request carried the span of its attempt.
    let carried: Vec<String> =
        server.requests().iter().filter_map(|it| it.header("traceparent").map(str::to_owned)).collect();
    let number = |bytes: &[u8]| bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let mut expected: Vec<String> = chats
        .iter()
        .map(|span| format!("00-{:032x}-{:016x}-01", number(&span.trace_id), number(&span.span_id)))
        .collect();
    let mut sent = carried.clone();
    sent.sort();
    sent.dedup();
    expected.sort();
    assert_eq!(sent, expected);

    let metrics = receiver.received.metrics();
    let tokens = metrics.iter().find(|metric| metric.name == "gen_ai.client.inference.usage.output_tokens");
    let Some(Data::Sum(sum)) = tokens.and_then(|metric| metric.data.as_ref()) else { panic!("{metrics:#?}") };
    assert!(sum.is_monotonic && !sum.data_points.is_empty());
    for name in ["gen_ai.client.inference.duration", "gen_ai.invoke_agent.duration", "lumos.runs", "lumos.cost.usd"] {
        assert!(metrics.iter().any(|metric| metric.name == name), "{name}");
    }
    let logs = receiver.received.logs();
    assert_eq!(logs.len(), 2, "a failed attempt and the end: {logs:#?}");
    assert!(logs.iter().any(|log| log.span_id == failed[0].span_id));
    assert!(logs.iter().any(|log| log.span_id == root.span_id && log.severity_text == "INFO"));
    let resources = receiver.received.resources();
    assert_eq!(text(&resources, "service.name"), "desk");
    assert_eq!(text(&resources, "team"), "supply");
    let keys = receiver.received.keys();
    assert!(!keys.is_empty() && keys.iter().all(|key| key == "secret word"), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_metrics_and_logs_arrive_over_grpc() {
    arrives(Protocol::Grpc, "grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_metrics_and_logs_arrive_over_http() {
    arrives(Protocol::Http, "http/protobuf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_goes_on_and_messages_come_only_when_asked_for() {
    let receiver = Receiver::start(Protocol::Http).await;
    let (sandbox, server) = study().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url.as_str()),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_and_event"),
        ("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("TRACESTATE", "vendor=1"),
    ];
    assert!(run(&sandbox, &variables).await.status.success());
    let spans = receiver.received.spans();
    let [root] = named(&spans, "invoke_workflow study")[..] else { panic!("one root") };
    assert_eq!(root.parent_span_id, 0x00f0_67aa_0ba9_02b7u64.to_be_bytes());
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128.to_be_bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace_id && span.trace_state == "vendor=1"));
    assert!(server.requests().iter().all(|request| request.header("tracestate") == Some("vendor=1")));
    let asked = named(&spans, "chat tiny-1");
    let messages = |key: &str| asked.iter().map(|span| text(&span.attributes, key).to_owned()).collect::<Vec<_>>();
    assert!(messages("gen_ai.input.messages").iter().all(|text| text.contains("Say ")), "{asked:#?}");
    assert!(messages("gen_ai.output.messages").iter().any(|text| text.contains("one two three")));
    let logs = receiver.received.logs();
    let details = logs.iter().filter(|log| log.event_name == "gen_ai.client.inference.operation.details");
    assert_eq!(details.count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_is_passed_on_without_telemetry_and_none_is_made_up() {
    let (sandbox, server) = study().await;
    assert!(run(&sandbox, &[]).await.status.success());
    assert!(server.requests().iter().all(|request| request.header("traceparent").is_none()));
    let before = server.requests().len();
    let parent = ("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    assert!(run(&sandbox, &[parent]).await.status.success());
    let carried = server.requests();
    let prefix = "00-4bf92f3577b34da6a3ce929d0e0e4736-";
    assert!(carried.len() > before);
    for request in &carried[before..] {
        let header = request.header("traceparent").expect("a context");
        assert!(header.starts_with(prefix) && header.ends_with("-00"), "{header}");
    }
}
