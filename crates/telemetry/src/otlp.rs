//! Requests to a collector, over gRPC or as protobuf over HTTP.

use std::str::FromStr;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::settings::{Protocol, Target};

/// What can be sent.
pub(crate) enum Batch {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

/// The way to a collector.
pub(crate) enum Sender {
    Grpc { channel: Channel, metadata: MetadataMap },
    Http { client: reqwest::Client, target: Target, headers: HeaderMap },
}

impl Sender {
    /// Connects when something is sent for the first time. Must be called within a tokio runtime.
    pub(crate) fn new(target: &Target) -> Result<Self, String> {
        // Whoever comes first installs it for the process; a later attempt is told so and uses that one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let said = |error: &dyn std::error::Error| causes(error);
        match target.protocol {
            Protocol::Grpc => {
                let mut endpoint = Endpoint::from_str(target.endpoint.as_str()).map_err(|error| said(&error))?;
                endpoint = endpoint.timeout(target.timeout).connect_timeout(target.timeout);
                if target.endpoint.scheme() == "https" {
                    let tls = ClientTlsConfig::new().with_native_roots();
                    endpoint = endpoint.tls_config(tls).map_err(|error| said(&error))?;
                }
                let mut metadata = MetadataMap::new();
                for (key, value) in &target.headers {
                    let key: MetadataKey<Ascii> = key.to_ascii_lowercase().parse().map_err(|error| said(&error))?;
                    let value: MetadataValue<Ascii> = value.parse().map_err(|error| said(&error))?;
                    metadata.insert(key, value);
                }
                Ok(Self::Grpc { channel: endpoint.connect_lazy(), metadata })
            }
            Protocol::Http => {
                let client = reqwest::Client::builder().timeout(target.timeout);
                // No proxy and no certificates for what is on this machine.
                let local =
                    target.endpoint.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
                let client = if local { client.no_proxy() } else { client };
                let client =
                    if target.endpoint.scheme() == "http" && local { client.tls_certs_only([]) } else { client };
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                for (key, value) in &target.headers {
                    let key: HeaderName = key.parse().map_err(|error| said(&error))?;
                    headers.insert(key, value.parse().map_err(|error| said(&error))?);
                }
                let client = client.build().map_err(|error| said(&error))?;
                Ok(Self::Http { client, target: target.clone(), headers })
            }
        }
    }

    /// Sends a batch. `Err` says why it is lost.
    pub(crate) async fn send(&self, batch: Batch) -> Result<(), String> {
        match self {
            Self::Grpc { channel, metadata } => {
                let channel = channel.clone();
                let result = match batch {
                    Batch::Traces(batch) => {
                        TraceServiceClient::new(channel).export(request(batch, metadata)).await.map(drop)
                    }
                    Batch::Metrics(batch) => {
                        MetricsServiceClient::new(channel).export(request(batch, metadata)).await.map(drop)
                    }
                    Batch::Logs(batch) => {
                        LogsServiceClient::new(channel).export(request(batch, metadata)).await.map(drop)
                    }
                };
                result.map_err(|status| causes(&status))
            }
            Self::Http { client, target, headers } => {
                let body = match batch {
                    Batch::Traces(batch) => batch.encode_to_vec(),
                    Batch::Metrics(batch) => batch.encode_to_vec(),
                    Batch::Logs(batch) => batch.encode_to_vec(),
                };
                let request = client.post(target.endpoint.clone()).headers(headers.clone()).body(body);
                let response = request.send().await.map_err(|error| causes(&error.without_url()))?;
                let status = response.status();
                // The whole answer is read, so that the connection can be used again.
                let _ = response.bytes().await;
                if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
            }
        }
    }
}

fn request<T>(message: T, metadata: &MetadataMap) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = metadata.clone();
    request
}

/// The innermost cause is the one that helps.
fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
