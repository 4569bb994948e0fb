//! Deployments, StatefulSets, DaemonSets and CronJobs: one lean shape for the four, since their fields share names.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::cursor::Text;
use super::object::{Metadata, Object, or_default, part, time};
use super::refusals::{refusal, refuser, words_of};
use super::template::Template;
use super::{owner, template_hash};
use crate::config::{Ownership, Seconds};
use crate::observation::{
    Interval, ObjectKey, Progress, Schedule, Strategy, TemplateHash, Time, Workload, WorkloadKind,
};

/// The subresource through which autoscalers and `kubectl scale` set a number of replicas.
const SCALE: &str = "scale";
/// How the field manager of kubectl begins, whichever version and command.
const KUBECTL: &str = "kubectl";

/// Reads a workload of this kind.
pub(super) fn decode(
    kind: WorkloadKind,
    object: &Object<'_>,
    ownership: &Ownership,
) -> Result<Workload, serde_json::Error> {
    let metadata = &object.metadata;
    let spec: Spec<'_> = part(object.spec)?;
    let status: Status<'_> = part(object.status)?;
    let labels: Labels = part(metadata.labels.map(RawValue::get))?;
    let annotations: Annotations = part(metadata.annotations.map(RawValue::get))?;
    let template = spec.template.or(spec.job_template.spec.template);
    let (hash, readable) = match template {
        Some(raw) => (template_hash::hash(raw)?, Template::read(raw)?),
        None => (TemplateHash(0), Template::default()),
    };
    let daemon = kind == WorkloadKind::DaemonSet;
    let failure = status.conditions.iter().find(|c| &*c.kind == "ReplicaFailure" && &*c.status == "True");
    let progress = status.conditions.iter().find(|condition| &*condition.kind == "Progressing");
    let written = written(metadata)?;
    let mut workload = Workload {
        key: ObjectKey { kind, namespace: metadata.namespace.to_arc(), name: metadata.name.to_arc() },
        uid: metadata.uid.to_arc(),
        created: metadata.created(),
        generation: metadata.generation,
        observed_generation: status.observed_generation,
        template: hash,
        containers: readable.containers(),
        template_written: written.template,
        // The API's own default. It is always written out, unless somebody else wrote the object.
        replicas: if daemon { status.desired_number_scheduled } else { spec.replicas.unwrap_or(1) },
        replicas_written: written.replicas,
        autoscaled: written.autoscaled,
        status_replicas: if daemon { status.current_number_scheduled } else { status.replicas },
        updated: if daemon { status.updated_number_scheduled } else { status.updated_replicas },
        ready: if daemon { status.number_ready } else { status.ready_replicas },
        available: if daemon { status.number_available } else { status.available_replicas },
        progress: progress.map(|condition| Progress {
            reason: condition.reason.to_arc(),
            last_update: time(&condition.last_update_time),
        }),
        replica_failure: failure.is_some(),
        refused_by: failure.and_then(|failure| refuser(&failure.message)),
        refusal: failure
            .map(|failure| refusal(&failure.message))
            .filter(|words| !words.is_empty())
            .map(|words| words_of(words).into()),
        paused: spec.paused,
        strategy: match &*spec.update_strategy.kind {
            "OnDelete" => Strategy::OnDelete,
            _ => Strategy::Rolling { partition: spec.update_strategy.rolling_update.partition },
        },
        current_revision: status.current_revision,
        update_revision: status.update_revision,
        schedule: None,
        app: annotations.app.or(labels.name),
        environment: annotations.environment,
        ignore: annotations.ignore.as_deref() == Some("true"),
        budget_committed_seconds: budget(annotations.budget_committed),
        budget_applied_seconds: budget(annotations.budget_applied),
        budget_live_seconds: budget(annotations.budget_live),
        owner: owner::read(metadata.labels, ownership),
        config_maps: readable.config_maps(),
        applier: labels.flux.or(annotations.argo),
    };
    if kind == WorkloadKind::CronJob {
        // A CronJob has neither replicas nor an observed generation: its controller reads it when it is due.
        workload.replicas = 0;
        workload.observed_generation = workload.generation;
        workload.schedule =
            Some(Schedule { cron: spec.schedule, time_zone: spec.time_zone, suspended: spec.suspend });
    }
    Ok(workload)
}

/// A duration as the configuration writes it; a text that is none counts for nothing.
fn budget(text: Option<String>) -> Option<f64> {
    text.and_then(|text| Seconds::parse(&text)).map(|seconds| seconds.0)
}

/// Who last wrote fields of the template, and in which second; when the number of replicas was written, and whether an
/// autoscaler holds it.
#[derive(Default)]
struct Written {
    template: Option<(Interval, Arc<str>)>,
    replicas: Option<Interval>,
    autoscaled: bool,
}

/// A time also moves when the same manager writes other fields, so it counts only where the template, or the number,
/// changed: the caller drops it elsewhere. Entries with a subresource cannot write a template; those of `scale` have
/// no time.
fn written(metadata: &Metadata<'_>) -> Result<Written, serde_json::Error> {
    let entries: Vec<ManagedFields<'_>> = part(metadata.managed_fields.map(RawValue::get))?;
    let mut written = Written::default();
    let (mut last, mut replicas) = (None, None);
    for entry in entries {
        let scales = entry.fields_v1.spec.replicas.is_some();
        match entry.subresource.as_deref() {
            None => {
                let Some(at) = time(&entry.time) else { continue };
                replicas = replicas.max(Some(at).filter(|_| scales));
                if entry.wrote_template() && last.as_ref().is_none_or(|(known, _)| *known <= at) {
                    last = Some((at, entry.manager));
                }
            }
            Some(SCALE) => written.autoscaled |= scales && !entry.manager.starts_with(KUBECTL),
            Some(_) => {}
        }
    }
    written.template = last.map(|(at, manager): (Time, Text<'_>)| (Interval::second(at), manager.to_arc()));
    written.replicas = replicas.map(Interval::second);
    Ok(written)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields<'a> {
    #[serde(borrow, default)]
    manager: Text<'a>,
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(default, deserialize_with = "or_default")]
    fields_v1: FieldsV1,
    #[serde(borrow, default)]
    subresource: Option<Text<'a>>,
}

impl ManagedFields<'_> {
    fn wrote_template(&self) -> bool {
        self.fields_v1.spec.template.is_some() || self.fields_v1.spec.job_template.is_some()
    }
}

#[derive(Default, Deserialize)]
struct FieldsV1 {
    #[serde(rename = "f:spec", default, deserialize_with = "or_default")]
    spec: FieldsSpec,
}

#[derive(Default, Deserialize)]
struct FieldsSpec {
    #[serde(rename = "f:template", default)]
    template: Option<IgnoredAny>,
    #[serde(rename = "f:jobTemplate", default)]
    job_template: Option<IgnoredAny>,
    #[serde(rename = "f:replicas", default)]
    replicas: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    replicas: Option<i64>,
    #[serde(borrow)]
    template: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    job_template: JobTemplate<'a>,
    #[serde(default, deserialize_with = "or_default")]
    paused: bool,
    #[serde(borrow, default, deserialize_with = "or_default")]
    update_strategy: UpdateStrategy<'a>,
    #[serde(default, deserialize_with = "or_default")]
    schedule: Arc<str>,
    time_zone: Option<Arc<str>>,
    #[serde(default, deserialize_with = "or_default")]
    suspend: bool,
}

#[derive(Default, Deserialize)]
struct JobTemplate<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    spec: JobSpec<'a>,
}

#[derive(Default, Deserialize)]
struct JobSpec<'a> {
    #[serde(borrow)]
    template: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateStrategy<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Text<'a>,
    #[serde(default, deserialize_with = "or_default")]
    rolling_update: RollingUpdate,
}

#[derive(Default, Deserialize)]
struct RollingUpdate {
    #[serde(default, deserialize_with = "or_default")]
    partition: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    reason: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
    #[serde(borrow, default)]
    last_update_time: Text<'a>,
}

/// Zero counts are left out by the API, and some are null in bookmarks.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status<'a> {
    #[serde(deserialize_with = "or_default")]
    observed_generation: i64,
    #[serde(deserialize_with = "or_default")]
    replicas: i64,
    #[serde(deserialize_with = "or_default")]
    updated_replicas: i64,
    #[serde(deserialize_with = "or_default")]
    ready_replicas: i64,
    #[serde(deserialize_with = "or_default")]
    available_replicas: i64,
    #[serde(deserialize_with = "or_default")]
    desired_number_scheduled: i64,
    #[serde(deserialize_with = "or_default")]
    current_number_scheduled: i64,
    #[serde(deserialize_with = "or_default")]
    updated_number_scheduled: i64,
    #[serde(deserialize_with = "or_default")]
    number_ready: i64,
    #[serde(deserialize_with = "or_default")]
    number_available: i64,
    #[serde(borrow, deserialize_with = "or_default")]
    conditions: Vec<Condition<'a>>,
    current_revision: Option<Arc<str>>,
    update_revision: Option<Arc<str>>,
}

/// An applier as labels name it: engine, namespace, name.
type Applier = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Default, Deserialize)]
#[serde(from = "WrittenLabels")]
struct Labels {
    name: Option<Arc<str>>,
    flux: Option<Applier>,
}

#[derive(Deserialize)]
struct WrittenLabels {
    #[serde(rename = "app.kubernetes.io/name")]
    name: Option<Arc<str>>,
    #[serde(rename = "kustomize.toolkit.fluxcd.io/name")]
    kustomization: Option<Arc<str>>,
    #[serde(rename = "kustomize.toolkit.fluxcd.io/namespace")]
    kustomization_namespace: Option<Arc<str>>,
    #[serde(rename = "helm.toolkit.fluxcd.io/name")]
    release: Option<Arc<str>>,
    #[serde(rename = "helm.toolkit.fluxcd.io/namespace")]
    release_namespace: Option<Arc<str>>,
}

impl From<WrittenLabels> for Labels {
    fn from(written: WrittenLabels) -> Self {
        // A HelmRelease that a Kustomization made is the nearer applier of what the chart holds.
        let release = written.release_namespace.zip(written.release);
        let applier = release.or_else(|| written.kustomization_namespace.zip(written.kustomization));
        Self {
            name: written.name.filter(|name| !name.is_empty()),
            flux: applier.map(|(namespace, name)| ("flux".into(), namespace, name)),
        }
    }
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "knotmeter.dev/app")]
    app: Option<Arc<str>>,
    #[serde(rename = "knotmeter.dev/environment")]
    environment: Option<Arc<str>>,
    #[serde(rename = "knotmeter.dev/ignore")]
    ignore: Option<String>,
    #[serde(rename = "knotmeter.dev/budget-committed")]
    budget_committed: Option<String>,
    #[serde(rename = "knotmeter.dev/budget-applied")]
    budget_applied: Option<String>,
    #[serde(rename = "knotmeter.dev/budget-live")]
    budget_live: Option<String>,
    #[serde(rename = "argocd.argoproj.io/tracking-id", default, deserialize_with = "argo")]
    argo: Option<Applier>,
}

/// `app:group/Kind:namespace/name`, where an app outside Argo CD's own namespace is `namespace_app`.
/// Which namespace Argo CD lives in the annotation does not say: it is left empty then.
fn argo<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Applier>, D::Error> {
    let id = Option::<String>::deserialize(from)?;
    Ok(id.as_deref().and_then(|id| id.split_once(':')).map(|(app, _)| {
        let (namespace, name) = app.split_once('_').unwrap_or(("", app));
        ("argocd".into(), namespace.into(), name.into())
    }))
}
