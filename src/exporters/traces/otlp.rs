//! OTLP over http/protobuf with the program's own HTTP client.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::runtime::Handle;

/// One request to the collector, from connecting to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A collector answers with a few bytes; nobody reads more than this.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there is no way to the collector.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The TLS roots or the resolver could not be set up.
    #[error("the client for traces cannot be built: {0}")]
    Client(#[from] reqwest::Error),
    /// The configured address is not one, or an `OTEL_*` variable is malformed.
    #[error(
        "traces cannot be sent to {endpoint:?}: {source}; set traces.endpoint to a full address such as http://127.0.0.1:4318/v1/traces"
    )]
    Endpoint { endpoint: String, source: opentelemetry_otlp::ExporterBuildError },
}

/// An exporter for a full address, with path. Usable from any thread: requests run on the given runtime.
pub fn exporter(endpoint: &str, runtime: Handle) -> Result<SpanExporter, OtlpError> {
    let client = reqwest::Client::builder()
        .timeout(REQUEST_TIMEOUT)
        // A redirected POST would carry the spans to a host that nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client { runtime, client })
        .with_endpoint(endpoint)
        .with_timeout(REQUEST_TIMEOUT)
        // Its waits would block the thread; we try again ourselves.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|source| OtlpError::Endpoint { endpoint: endpoint.to_owned(), source })?;
    exporter.set_resource(&resource());
    Ok(exporter)
}

/// Who sends.
#[must_use]
pub fn resource() -> Resource {
    Resource::builder()
        .with_service_name("knotmeter")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The exporter's idea of an HTTP client. Its batches may come from a thread without a runtime, so every
/// request is a task of the runtime that it holds.
#[derive(Debug)]
struct Client {
    runtime: Handle,
    client: reqwest::Client,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = send(self.client.clone(), request);
        self.runtime.spawn(sending).await?
    }
}

async fn send(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string();
    let mut answer = client.request(parts.method, url).headers(parts.headers).body(body).send().await?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        let room = ANSWER_BYTES_MAX - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = answer.headers().clone();
    }
    Ok(response.body(bytes.freeze())?)
}
