//! A journey as spans: a root, and one span per known stage from the known stage before it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest as _, Sha256};

use crate::observation::{Interval, WorkloadKind};
use crate::tracker::{Evidence, Journey, Outcome, Stage};

/// Links of one trace: environments are few, a hostile number of them is cut.
const LINKS_MAX: usize = 32;

/// Why a trace is sent now. Each has ids of its own, so a stuck journey's trace and its last one are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceCause {
    Settled,
    Stuck,
}

/// The id of the trace that a journey sends when it settles, in hex.
#[must_use]
pub fn trace_id(journey: &Journey) -> String {
    context(journey, TraceCause::Settled, "journey").trace_id().to_string()
}

/// The spans of a journey, root first.
#[must_use]
pub fn of_journey<'a>(
    journey: &Journey,
    cause: TraceCause,
    elsewhere: impl Iterator<Item = &'a Journey>,
) -> Vec<SpanData> {
    let root = root(journey, cause, elsewhere);
    let mut previous = root.start_time;
    let mut spans = vec![];
    for stage in Stage::ALL {
        let Some(evidence) = journey.stages.evidence(stage) else { continue };
        let end = middle(evidence.interval);
        spans.push(SpanData {
            span_context: context(journey, cause, stage.as_str()),
            parent_span_id: root.span_context.span_id(),
            name: stage.as_str().into(),
            // What happened before the journey began (it was built last week) has no length in it.
            start_time: previous.min(end),
            end_time: end,
            attributes: stage_attributes(stage, evidence),
            links: SpanLinks::default(),
            status: Status::Unset,
            ..root.clone()
        });
        previous = previous.max(end);
    }
    spans.insert(0, root);
    spans
}

fn root<'a>(journey: &Journey, cause: TraceCause, elsewhere: impl Iterator<Item = &'a Journey>) -> SpanData {
    let start = middle(journey.clock_start.or(journey.intent).unwrap_or(journey.opened));
    let last_known = Stage::ALL.iter().rev().find_map(|stage| journey.stages.evidence(*stage));
    let end = match (cause, journey.stuck, journey.ended) {
        (TraceCause::Stuck, Some(stuck), _) => time(stuck.since.0 as f64),
        (_, _, Some(ended)) => middle(ended),
        _ => last_known.map_or(start, |evidence| middle(evidence.interval)),
    };
    let mut links = SpanLinks::default();
    // A link leads from the alert's trace to the one that will tell the whole story.
    if cause == TraceCause::Stuck {
        links.links.push(Link::with_context(context(journey, TraceCause::Settled, "journey")));
    }
    let others = elsewhere.map(|other| context(other, TraceCause::Settled, "journey"));
    links.links.extend(others.take(LINKS_MAX).map(Link::with_context));
    SpanData {
        span_context: context(journey, cause, "journey"),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "journey".into(),
        start_time: start,
        end_time: end.max(start),
        attributes: journey_attributes(journey),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: status(journey, cause),
        instrumentation_scope: InstrumentationScope::builder("knotmeter")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn status(journey: &Journey, cause: TraceCause) -> Status {
    match (cause, journey.stuck, journey.outcome) {
        (TraceCause::Stuck, Some(stuck), _) => Status::error(journey.stuck_sentence(stuck.reason)),
        (_, _, Some(Outcome::Live)) => Status::Ok,
        (_, _, Some(Outcome::Failed)) => Status::error("its actor gave up"),
        _ => Status::Unset,
    }
}

/// Names follow OpenTelemetry's conventions; what they have no name for is under `knotmeter.`.
fn journey_attributes(journey: &Journey) -> Vec<KeyValue> {
    let to = &journey.destination;
    let workload = match to.workload.kind {
        WorkloadKind::Deployment => "k8s.deployment.name",
        WorkloadKind::StatefulSet => "k8s.statefulset.name",
        WorkloadKind::DaemonSet => "k8s.daemonset.name",
        WorkloadKind::CronJob => "k8s.cronjob.name",
    };
    let mut attributes = vec![
        KeyValue::new("cicd.pipeline.name", to.app.to_string()),
        KeyValue::new("cicd.pipeline.run.id", journey.id.to_string()),
        KeyValue::new("deployment.environment.name", to.environment.to_string()),
        KeyValue::new("container.image.name", journey.image.repository.to_string()),
        KeyValue::new("k8s.cluster.name", to.cluster.to_string()),
        KeyValue::new("k8s.cluster.uid", to.cluster_uid.to_string()),
        KeyValue::new("k8s.namespace.name", to.workload.namespace.to_string()),
        KeyValue::new(workload, to.workload.name.to_string()),
        KeyValue::new("k8s.container.name", to.container.to_string()),
        KeyValue::new("knotmeter.engine", to.engine),
        KeyValue::new("knotmeter.subject", journey.subject.as_str()),
        KeyValue::new("knotmeter.trigger", journey.trigger.as_str()),
        KeyValue::new("knotmeter.synthetic", journey.synthetic),
        KeyValue::new("knotmeter.held_seconds", journey.held_seconds),
    ];
    let mut add = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
    if let Some(tag) = &journey.image.tag {
        let tags = vec![StringValue::from(tag.to_string())];
        add("container.image.tags", Value::Array(Array::String(tags)));
    }
    if let Some(digest) = &journey.digest {
        add("oci.manifest.digest", digest.to_string().into());
    }
    if let Some(commit) = &journey.commit {
        add("vcs.ref.head.revision", commit.id.to_string().into());
        add("vcs.ref.head.name", commit.branch.to_string().into());
        add("vcs.repository.url.full", commit.repository.to_string().into());
    }
    if let Some(revision) = &journey.built_from {
        add("knotmeter.built_from", revision.to_string().into());
    }
    if let Some(outcome) = journey.outcome {
        add("knotmeter.outcome", outcome.as_str().into());
        add("cicd.pipeline.result", pipeline_result(outcome).into());
    }
    if let Some(sample) = journey.image_to_live() {
        add("knotmeter.image_to_live_seconds", sample.seconds.into());
        add("knotmeter.uncertainty_seconds", sample.uncertainty_seconds.into());
    }
    attributes
}

/// The closed set of the conventions for `cicd.pipeline.result`.
fn pipeline_result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Live => "success",
        Outcome::Failed => "failure",
        Outcome::Superseded | Outcome::RolledBack | Outcome::Withdrawn | Outcome::Removed => "cancellation",
        Outcome::Unknown => "error",
    }
}

fn stage_attributes(stage: Stage, evidence: Evidence) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("cicd.pipeline.task.name", stage.as_str()),
        KeyValue::new("knotmeter.basis", evidence.basis.as_str()),
    ];
    if evidence.interval.is_bounded() {
        let uncertainty = evidence.interval.half_width_seconds();
        attributes.push(KeyValue::new("knotmeter.uncertainty_seconds", uncertainty));
    }
    attributes
}

/// Ids are hashes: the same journey, cause and span give the same ids in every process.
fn context(journey: &Journey, cause: TraceCause, span: &str) -> SpanContext {
    let hash = |text: String| <[u8; 32]>::from(Sha256::digest(text.as_bytes()));
    let cause = match (cause, journey.stuck) {
        (TraceCause::Stuck, Some(stuck)) => format!("stuck {}", stuck.since),
        (TraceCause::Stuck, None) => "stuck".to_owned(),
        (TraceCause::Settled, _) => "settled".to_owned(),
    };
    let trace = hash(format!("{} {cause}", journey.id));
    let span = hash(format!("{} {cause} {span}", journey.id));
    let trace = TraceId::from_bytes(trace[..16].try_into().expect("half of 32 bytes"));
    let span = SpanId::from_bytes(span[..8].try_into().expect("a quarter of 32 bytes"));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default())
}

/// The middle of an interval, or its end where nobody knows when it began.
fn middle(interval: Interval) -> SystemTime {
    if interval.is_bounded() { time(interval.midpoint_millis()) } else { time(interval.not_after.0 as f64) }
}

/// Times before 1970 are nobody's stage.
fn time(millis: f64) -> SystemTime {
    UNIX_EPOCH + Duration::try_from_secs_f64(millis / 1000.0).unwrap_or_default()
}
