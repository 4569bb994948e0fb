//! Which fields of Flux's kinds are not of the shape that their definitions give them, of those that are read.
//!
//! An API server with its definitions in place lets none through; what was stored before they changed, or by a server
//! without them, comes as it is.

use serde_json::Value;

use super::events::go_duration_seconds;
use super::object::time;
use crate::observation::EngineKind;

/// What a field should be. One that is absent or `null` is what it should be.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Text,
    Flag,
    Whole,
    List,
    Fields,
    /// As Go writes one: `1m30s`.
    Duration,
    /// RFC 3339.
    Moment,
    /// A list of objects with a text for their type and status.
    Conditions,
}

use Shape::{Conditions, Duration, Fields, Flag, List, Moment, Text, Whole};

/// Of every kind. A field below one that is odd itself counts as absent.
const COMMON: [(&str, Shape); 6] = [
    ("spec", Fields),
    ("status", Fields),
    ("spec.suspend", Flag),
    ("spec.interval", Duration),
    ("status.observedGeneration", Whole),
    ("status.conditions", Conditions),
];
const SCAN: [(&str, Shape); 6] = [
    ("spec.image", Text),
    ("status.lastScanResult", Fields),
    ("status.lastScanResult.scanTime", Moment),
    ("status.lastScanResult.revision", Text),
    ("status.lastScanResult.tagCount", Whole),
    ("status.lastScanResult.latestTags", List),
];
const POLICY: [(&str, Shape); 14] = [
    ("spec.imageRepositoryRef", Fields),
    ("spec.imageRepositoryRef.name", Text),
    ("spec.filterTags", Fields),
    ("spec.filterTags.pattern", Text),
    ("spec.filterTags.extract", Text),
    ("spec.policy", Fields),
    ("spec.policy.semver.range", Text),
    ("spec.policy.numerical.order", Text),
    ("spec.policy.alphabetical.order", Text),
    ("spec.digestReflectionPolicy", Text),
    ("status.latestRef", Fields),
    ("status.latestRef.name", Text),
    ("status.latestRef.tag", Text),
    ("status.latestImage", Text),
];
const UPDATER: [(&str, Shape); 7] = [
    ("spec.sourceRef", Fields),
    ("spec.sourceRef.name", Text),
    ("spec.git.checkout.ref.branch", Text),
    ("spec.git.push.branch", Text),
    ("status.lastAutomationRunTime", Moment),
    ("status.lastPushCommit", Text),
    ("status.lastPushTime", Moment),
];
const SOURCE: [(&str, Shape); 6] = [
    ("spec.url", Text),
    ("spec.ref", Fields),
    ("spec.ref.branch", Text),
    ("status.artifact", Fields),
    ("status.artifact.revision", Text),
    ("status.artifact.lastUpdateTime", Moment),
];
const APPLIER: [(&str, Shape); 15] = [
    ("spec.sourceRef", Fields),
    ("spec.chartRef", Fields),
    ("spec.path", Text),
    ("spec.wait", Flag),
    ("spec.retryInterval", Duration),
    ("spec.timeout", Duration),
    ("spec.dependsOn", List),
    ("spec.healthChecks", List),
    ("spec.images", List),
    ("status.lastAttemptedRevision", Text),
    ("status.lastAppliedRevision", Text),
    ("status.inventory", Fields),
    ("status.inventory.entries", List),
    ("status.history", List),
    ("status.helmChart", Text),
];

fn of_kind(kind: EngineKind) -> &'static [(&'static str, Shape)] {
    match kind {
        EngineKind::ImageRepository => &SCAN,
        EngineKind::ImagePolicy => &POLICY,
        EngineKind::ImageUpdateAutomation => &UPDATER,
        EngineKind::GitRepository
        | EngineKind::OCIRepository
        | EngineKind::Bucket
        | EngineKind::HelmRepository
        | EngineKind::HelmChart
        | EngineKind::ExternalArtifact => &SOURCE,
        EngineKind::Kustomization | EngineKind::HelmRelease => &APPLIER,
        EngineKind::Receiver => &[],
    }
}

/// The first field that is not what it should be, as a sentence without anything that the object says.
pub(super) fn odd(kind: EngineKind, spec: &Value, status: &Value) -> Option<String> {
    let fields = COMMON.iter().chain(of_kind(kind));
    let mut odd = fields.filter(|(path, shape)| field(path, spec, status).is_some_and(|is| !shape.fits(is)));
    odd.next().map(|(path, shape)| format!("{path} is not {}", shape.as_str()))
}

fn field<'a>(path: &str, spec: &'a Value, status: &'a Value) -> Option<&'a Value> {
    let mut words = path.split('.');
    let part = if words.next() == Some("spec") { spec } else { status };
    words.try_fold(part, |value, word| value.get(word)).filter(|value| !value.is_null())
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Text => value.is_string(),
            Flag => value.is_boolean(),
            Whole => value.is_i64(),
            List => value.is_array(),
            Fields => value.is_object(),
            Duration => value.as_str().is_some_and(|text| go_duration_seconds(text).is_some()),
            Moment => value.as_str().is_some_and(|text| time(text).is_some()),
            Conditions => value.as_array().is_some_and(|all| {
                all.iter().all(|one| one["type"].is_string() && one["status"].is_string())
            }),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Text => "a text",
            Flag => "true or false",
            Whole => "a whole number",
            List => "a list",
            Fields => "an object",
            Duration => "a duration such as 1m30s",
            Moment => "a time such as 2026-11-21T12:00:00Z",
            Conditions => "a list of conditions",
        }
    }
}
