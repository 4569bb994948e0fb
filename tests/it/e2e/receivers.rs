//! What a shop has at the other end: a collector of traces and a receiver of alerts, on loopback.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{MethodRouter, post};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::Value;

/// Takes OTLP over http/protobuf and remembers the ids of traces, as hex.
#[derive(Default, Clone)]
pub struct Collector(Arc<Mutex<BTreeSet<String>>>);

impl Collector {
    /// Starts one and tells its address.
    pub async fn start() -> (Self, String) {
        let collector = Self::default();
        let ids = collector.0.clone();
        let take = async move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).expect("an OTLP request");
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            let hex = |id: Vec<u8>| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let spans = scopes.flat_map(|scope| scope.spans);
            ids.lock().unwrap().extend(spans.map(|span| hex(span.trace_id)));
        };
        let address = serve("/v1/traces", post(take)).await;
        (collector, address)
    }

    pub fn has(&self, trace: &str) -> bool {
        self.0.lock().unwrap().contains(trace)
    }
}

/// Takes Alertmanager's notifications and keeps them in order.
#[derive(Default, Clone)]
pub struct Pager(Arc<Mutex<Vec<Value>>>);

impl Pager {
    /// Starts one and tells its address.
    pub async fn start() -> (Self, String) {
        let pager = Self::default();
        let kept = pager.0.clone();
        let take = async move |axum::Json(notification): axum::Json<Value>| {
            kept.lock().unwrap().push(notification);
        };
        let address = serve("/alert", post(take)).await;
        (pager, address)
    }

    pub fn notifications(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }
}

/// Serves one path until the test's runtime ends.
async fn serve(path: &str, handler: MethodRouter) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}{path}", listener.local_addr().unwrap());
    let router = Router::new().route(path, handler);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
