//! A receiver of OTLP over gRPC or HTTP; keeps all that it is sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use lumos_telemetry::Protocol;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// What was received.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    keys: Vec<String>,
}

/// A running receiver.
pub struct Receiver {
    /// What it has received.
    pub received: Received,
    /// Where it is.
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub async fn start(protocol: Protocol) -> Self {
        let received = Received::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let task = match protocol {
            Protocol::Grpc => {
                let server = tonic::transport::Server::builder()
                    .add_service(TraceServiceServer::new(received.clone()))
                    .add_service(MetricsServiceServer::new(received.clone()))
                    .add_service(LogsServiceServer::new(received.clone()));
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                tokio::spawn(async move { server.serve_with_incoming(incoming).await.expect("a server") })
            }
            Protocol::Http => {
                let router = Router::new()
                    .route("/v1/traces", post(traces))
                    .route("/v1/metrics", post(metrics))
                    .route("/v1/logs", post(logs))
                    .with_state(received.clone());
                tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") })
            }
        };
        Self { received, url, task }
    }
}

impl Received {
    fn keep(&self, key: Option<&str>, change: impl FnOnce(&mut Kept)) {
        let mut kept = self.0.lock().expect("no panic");
        kept.keys.extend(key.map(str::to_owned));
        change(&mut kept);
    }

    /// The header `x-key` of each request that had one.
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().expect("no panic").keys.clone()
    }

    /// All spans, in the order in which they came.
    pub fn spans(&self) -> Vec<Span> {
        let kept = self.0.lock().expect("no panic");
        let resources = kept.traces.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Attributes of the resources that spans came from.
    pub fn resources(&self) -> Vec<KeyValue> {
        let kept = self.0.lock().expect("no panic");
        let resources = kept.traces.iter().flat_map(|request| &request.resource_spans);
        resources.filter_map(|resource| resource.resource.clone()).flat_map(|resource| resource.attributes).collect()
    }

    /// All metrics.
    pub fn metrics(&self) -> Vec<Metric> {
        let kept = self.0.lock().expect("no panic");
        let resources = kept.metrics.iter().flat_map(|request| &request.resource_metrics);
        resources.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| scope.metrics.clone()).collect()
    }

    /// All log records.
    pub fn logs(&self) -> Vec<LogRecord> {
        let kept = self.0.lock().expect("no panic");
        let resources = kept.logs.iter().flat_map(|request| &request.resource_logs);
        resources.flat_map(|resource| &resource.scope_logs).flat_map(|scope| scope.log_records.clone()).collect()
    }
}

/// The value of an attribute.
pub fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

/// The text under an attribute; empty when there is none.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

/// The whole number under an attribute.
pub fn int(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key) {
        Some(Value::IntValue(number)) => Some(*number),
        _ => None,
    }
}

fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-key").and_then(|value| value.to_str().ok())
}

async fn traces(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("traces");
    received.keep(key(&headers), |kept| kept.traces.push(request));
}

async fn metrics(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(body).expect("metrics");
    received.keep(key(&headers), |kept| kept.metrics.push(request));
}

async fn logs(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    let request = ExportLogsServiceRequest::decode(body).expect("logs");
    received.keep(key(&headers), |kept| kept.logs.push(request));
}

fn grpc_key<T>(request: &Request<T>) -> Option<String> {
    Some(request.metadata().get("x-key")?.to_str().ok()?.to_owned())
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let key = grpc_key(&request);
        self.keep(key.as_deref(), |kept| kept.traces.push(request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let key = grpc_key(&request);
        self.keep(key.as_deref(), |kept| kept.metrics.push(request.into_inner()));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Received {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let key = grpc_key(&request);
        self.keep(key.as_deref(), |kept| kept.logs.push(request.into_inner()));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
