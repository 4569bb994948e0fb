//! One OpenTelemetry trace per settled journey, sent over OTLP (http/protobuf) to a configured endpoint.
//!
//! Ids are hashes of the journey's, so a trace that is sent twice is the same trace, and an exemplar can name
//! it before it is sent. `spans.rs` says what a journey looks like as spans and does no I/O; `otlp.rs` is the
//! way out, shared with the spans of our own work. What cannot be sent after a few tries is dropped and counted.

pub mod otlp;
mod spans;

pub use spans::{TraceCause, of_journey, trace_id};

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;

use crate::exporters::Snapshot;
use crate::exporters::metrics::Metrics;
use crate::observation::Measure;
use crate::tracker::Journey;

/// Traces waiting to be sent: an hour of a busy shop while the collector is away. About 10 KB each.
const QUEUE_SIZE: usize = 1024;
/// Spans of one request; ten per journey keep a request well below any collector's limit.
const SPANS_PER_REQUEST_MAX: usize = 512;
/// Waits between tries. A collector that restarts is back within the last of them.
const RETRY_AFTER: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// The way to the collector.
#[derive(Debug, Clone)]
pub struct Traces {
    queue: mpsc::Sender<Vec<SpanData>>,
    metrics: Arc<Metrics>,
}

impl Traces {
    /// Starts the sender. It ends, everything sent or given up, when the last `Traces` is dropped.
    pub fn start(endpoint: &str, metrics: Arc<Metrics>) -> Result<(Self, JoinHandle<()>), otlp::OtlpError> {
        let exporter = otlp::exporter(endpoint, Handle::current())?;
        let (queue, waiting) = mpsc::channel(QUEUE_SIZE);
        let task = tokio::spawn(send_all(exporter, waiting, metrics.clone()));
        Ok((Self { queue, metrics }, task))
    }

    /// Sends the trace of a journey that has settled, linked to the same image's journeys elsewhere.
    pub fn settled(&self, journey: &Journey, snapshot: &Snapshot) {
        self.send(of_journey(journey, TraceCause::Settled, snapshot.elsewhere(journey)));
    }

    /// Sends what is known of a journey that is stuck, at once, under an id of its own.
    pub fn stuck(&self, journey: &Journey, snapshot: &Snapshot) {
        self.send(of_journey(journey, TraceCause::Stuck, snapshot.elsewhere(journey)));
    }

    /// Never waits: the loop that follows journeys must not stand still for a collector.
    fn send(&self, spans: Vec<SpanData>) {
        let reason = match self.queue.try_send(spans) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => "queue_full",
            // The sender's task crashed: no trace is sent until a restart.
            Err(TrySendError::Closed(_)) => "sender_gone",
        };
        dropped(&self.metrics, reason);
    }
}

async fn send_all(
    exporter: opentelemetry_otlp::SpanExporter,
    mut waiting: mpsc::Receiver<Vec<SpanData>>,
    metrics: Arc<Metrics>,
) {
    while let Some(mut spans) = waiting.recv().await {
        let mut journeys = 1;
        while spans.len() < SPANS_PER_REQUEST_MAX {
            let Ok(more) = waiting.try_recv() else { break };
            spans.extend(more);
            journeys += 1;
        }
        if let Err(error) = send_one(&exporter, spans).await {
            tracing::warn!(%error, journeys, "traces were not sent; look at traces.endpoint and the collector");
            (0..journeys).for_each(|_| dropped(&metrics, "not_sent"));
        }
    }
}

async fn send_one(
    exporter: &opentelemetry_otlp::SpanExporter,
    spans: Vec<SpanData>,
) -> Result<(), opentelemetry_sdk::error::OTelSdkError> {
    for wait in RETRY_AFTER {
        if exporter.export(spans.clone()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
    }
    exporter.export(spans).await
}

fn dropped(metrics: &Metrics, reason: &'static str) {
    metrics.measure(&Measure::Dropped { source: "traces".into(), reason });
}
