//! Traces as a collector gets them, and our own records and spans.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use knotmeter::exporters::metrics::{Format, Metrics};
use knotmeter::exporters::traces::{TraceCause, Traces, of_journey, trace_id};
use knotmeter::observation::{Basis, Fact, Interval, Observation, SCHEMA, SourceId, SourceKind};
use knotmeter::telemetry::{self, LogFormat};
use knotmeter::tracker::{Reason, Stage};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::sync::mpsc;

use crate::fleet::{self, Told, arrived, journey};

pub fn observation() -> Observation {
    Observation {
        schema: SCHEMA,
        source: SourceId::new(SourceKind::Cluster, "lab"),
        source_epoch: 1,
        seq: 1,
        cluster: None,
        observed_at: fleet::now(),
        happened: Interval::at(fleet::now()),
        basis: Basis::Watch,
        fact: Fact::ClusterNamed { name: "lab".into() },
    }
}

/// A collector on loopback that refuses the first `refused` requests.
async fn collector(refused: usize) -> (String, mpsc::Receiver<Vec<Span>>) {
    let (tell, told) = mpsc::channel(64);
    let left = Arc::new(Mutex::new(refused));
    let receive = move |body: Bytes| async move {
        {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        let request = ExportTraceServiceRequest::decode(body).expect("an OTLP request");
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        tell.send(scopes.flat_map(|scope| scope.spans).collect()).await.unwrap();
        StatusCode::OK
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(receive));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let _ = rustls::crypto::ring::default_provider().install_default();
    (url, told)
}

fn text(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_settled_journey_arrives_as_one_trace_even_if_the_collector_refuses_first() {
    let (endpoint, mut spans) = collector(1).await;
    let (traces, task) = Traces::start(&endpoint, Arc::new(Metrics::new())).unwrap();
    let journey = arrived("web", "v1.0.3", "prod");
    traces.settled(&journey, &fleet::shop());
    drop(traces);
    task.await.unwrap();
    let spans = spans.recv().await.unwrap();

    let by_name: HashMap<&str, &Span> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
    assert_eq!(spans.len(), 7, "a root, and a span for each of six known stages");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == trace_id(&journey)));
    let ids: HashSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), 7);

    let root = by_name["journey"];
    assert!(root.parent_span_id.is_empty());
    assert_eq!(text(root, "deployment.environment.name").as_deref(), Some("prod"));
    assert_eq!(text(root, "k8s.deployment.name").as_deref(), Some("web"));
    assert_eq!(text(root, "cicd.pipeline.result").as_deref(), Some("success"));
    assert_eq!(text(root, "oci.manifest.digest"), journey.digest.as_ref().map(ToString::to_string));
    let seconds = (root.end_time_unix_nano - root.start_time_unix_nano) as f64 / 1e9;
    assert!((seconds - 6.0).abs() < 0.001, "{seconds}");
    let elsewhere = arrived("web", "v1.0.3", "staging");
    assert!(elsewhere.digest == journey.digest, "the same image in two environments");
    assert_eq!(root.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(), [trace_id(&elsewhere)]);

    let (started, ready) = (by_name["started"], by_name["ready"]);
    assert_eq!(ready.parent_span_id, root.span_id);
    assert_eq!(
        ready.start_time_unix_nano, started.end_time_unix_nano,
        "a stage begins where the one before ended"
    );
    assert_eq!(text(ready, "knotmeter.basis").as_deref(), Some("condition"));
}

#[test]
fn ids_are_the_same_in_every_process_and_others_for_a_stuck_trace() {
    let stuck = journey("web", "v2", "prod", "12:00:00").pushed("12:00:00", "12:00:01").stuck(
        Stage::Committed,
        Reason::NotCommitted,
        "12:05:00",
    );
    let ids = |cause| {
        let spans = of_journey(&stuck, cause, std::iter::empty());
        spans.iter().map(|span| span.span_context.span_id()).collect::<Vec<_>>()
    };
    assert_eq!(ids(TraceCause::Settled), ids(TraceCause::Settled));
    assert_ne!(ids(TraceCause::Settled), ids(TraceCause::Stuck));
    let alert = &of_journey(&stuck, TraceCause::Stuck, std::iter::empty())[0];
    assert_eq!(alert.links.len(), 1, "it leads to the trace that will tell the whole story");
    assert_eq!(alert.links[0].span_context.trace_id().to_string(), trace_id(&stuck));
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let (endpoint, _spans) = collector(0).await;
    let metrics = Arc::new(Metrics::new());
    let (traces, task) = Traces::start(&endpoint, metrics.clone()).unwrap();
    let (journey, shop) = (arrived("web", "v1", "prod"), fleet::shop());
    // On this one thread the sender has no turn before the loop is over.
    (0..1030).for_each(|_| traces.settled(&journey, &shop));
    let text = metrics.encode(&shop, Format::Classic);
    let line = r#"knotmeter_dropped_total{source="traces",reason="queue_full"} 6"#;
    assert!(text.contains(line), "{text}");
    task.abort();
}

#[tokio::test]
async fn an_address_that_is_none_is_told_with_the_key_to_set() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = Traces::start("not an address", Arc::new(Metrics::new())).unwrap_err();
    assert!(error.to_string().contains("traces.endpoint"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_our_own_work_go_to_the_same_endpoint() {
    let (endpoint, mut spans) = collector(0).await;
    let provider = telemetry::provider(&endpoint, tokio::runtime::Handle::current()).unwrap();
    let subscriber = telemetry::subscriber("info", LogFormat::Text, Some(&provider), io::sink);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!(target: "knotmeter::observers", "sweep", registry = "r").in_scope(|| {});
        tracing::info_span!(target: "hyper", "not ours").in_scope(|| {});
    });
    // Blocks until the batch is sent.
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(10), spans.recv()).await.unwrap().unwrap();
    assert_eq!(sent.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["sweep"]);
}

/// A writer that a test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_record_is_one_line_whatever_a_source_says() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let shared = Shared::default();
        let writer = shared.clone();
        let subscriber = telemetry::subscriber("info", format, None, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let hostile = "a tag\n2026-11-20T12:00:00Z ERROR forged \u{1b}[31m\u{2028}";
            tracing::warn!(tag = hostile, "the registry said {hostile}");
        });
        let written = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.matches('\n').count(), 1, "{format:?}: {written}");
        assert!(!written.contains(['\u{1b}', '\u{2028}']), "{format:?}: {written:?}");
        assert!(written.contains("forged"), "nothing is lost: {written}");
        if format == LogFormat::Json {
            let record: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert!(record["tag"].as_str().unwrap().ends_with("[31m\u{2028}"), "{written}");
        }
    }
}
