//! A collector that is not there: nothing is made of runs that would be lost, and each of them is counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lumos_core::program::Program;
use lumos_core::record::Status;
use lumos_core::spec::{LimitsSpec, NodeKind, NodeOptions, NodeSpec, WorkflowSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, SharedAgent};
use lumos_engine::{BoundProgram, CancellationToken, Engine, NodeBinding, RunRequest};
use lumos_telemetry::{Settings, Telemetry};
use serde_json::Value;

struct Nothing;

#[async_trait]
impl Agent for Nothing {
    async fn run(&self, _: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        Ok(Value::Null.into())
    }
}

fn program() -> Arc<BoundProgram> {
    let kind = NodeKind::Custom { agent: "nothing".to_owned() };
    let spec = WorkflowSpec {
        name: "one".to_owned(),
        description: String::new(),
        inputs: std::iter::empty().collect(),
        nodes: [("done".to_owned(), NodeSpec { kind, options: NodeOptions::default() })].into_iter().collect(),
        output: "done".to_owned(),
        limits: LimitsSpec::default(),
    };
    let program = Program::compile(&Arc::new(spec).into()).expect("a workflow");
    let bound = BoundProgram::new(program, "here", |_| {
        let agent: SharedAgent = Arc::new(Nothing);
        Ok::<_, std::convert::Infallible>(NodeBinding { agent: Some(agent), backends: Vec::new() })
    });
    Arc::new(bound.unwrap_or_else(|never| match never {}))
}

#[tokio::test]
async fn after_the_first_run_none_is_told_of() {
    // A port that nobody listens on: it was free a moment ago.
    let address =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let variable = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(format!("http://{address}")),
        // It is not asked again while this lasts.
        "OTEL_BSP_SCHEDULE_DELAY" => Some("600000".to_owned()),
        _ => None,
    };
    let settings = Settings::read(&variable).expect("valid").expect("an endpoint");
    let telemetry = Arc::new(Telemetry::start(settings).expect("a thread"));
    let engine = Engine::builder().sink(telemetry.clone()).build();
    let program = program();
    let cancel = CancellationToken::new();
    let run = async || {
        let run = engine.run(&program, RunRequest::default(), &cancel).await.expect("nothing to store");
        assert_eq!(run.status(), Status::Succeeded);
    };
    run().await;
    let mut patience = 6000;
    while !telemetry.is_down() {
        patience -= 1;
        assert!(patience > 0, "nobody has asked the collector");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..1000 {
        run().await;
    }
    let loss = tokio::task::spawn_blocking(move || telemetry.finish(Duration::from_secs(30))).await.expect("it ends");
    assert_eq!(loss.runs, 1000);
    // Of the first run: its spans, its logs, and its measures at the end.
    assert_eq!(loss.requests, 3);
    assert_eq!(Vec::from_iter(loss.signals), ["logs", "metrics", "traces"]);
}
