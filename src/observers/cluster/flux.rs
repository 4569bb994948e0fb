//! The kinds of Flux, read for the few fields that tell when an image passed them and why it does not.
//!
//! Fields as of Flux 2.7, of every version that is still served (`resource.rs` has the groups). A field that is missing
//! or of another shape is as if it were not written: an object of an older version says less, and what it says is read.
//! `shape.rs` says which one is of another shape.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::cursor::Text;
use super::events::go_duration_seconds;
use super::object::{Object, or_default, part, time};
use super::shape;
use crate::config::public_url;
use crate::image::{Digest, ImageRef, Repository, Tag};
use crate::observation::{
    ApplierRole, Artifact, Condition, EngineKey, EngineKind, EngineObject, FilterTags, ImageOverride,
    Interval, Order, Policy, PolicyRole, Role, Scan, ScanRole, SourceRole, Time, UpdaterRole, ValuesFrom,
    WorkloadKind,
};

/// A message is shown and logged: a hostile one must not flood either. Real ones quote a few lines.
const MESSAGE_LENGTH_MAX: usize = 500;
/// Workloads of one applier that are read. Real ones have some tens.
const INVENTORY_MAX: usize = 2_000;
/// Dependencies, overridden images and sources of values of one applier.
const NAMES_MAX: usize = 100;

/// Spec, status and managed fields of one object. etcd refuses objects above 1.5 MiB; as values they take sixteen times
/// as much memory.
const OBJECT_BYTES_MAX: usize = 2 << 20;

/// An object, and what of it could not be read.
#[derive(Debug)]
pub(super) struct Read {
    pub object: EngineObject,
    pub odd: Option<String>,
}

/// Reads an object of this kind.
pub(super) fn decode(kind: EngineKind, object: &Object<'_>) -> Result<Read, serde_json::Error> {
    let metadata = &object.metadata;
    let managed = metadata.managed_fields.map(RawValue::get);
    let bytes: usize = [object.spec, object.status, managed].into_iter().flatten().map(str::len).sum();
    if bytes > OBJECT_BYTES_MAX {
        return Err(serde::de::Error::custom(format_args!("it has more than {OBJECT_BYTES_MAX} bytes")));
    }
    let spec: Value = part(object.spec)?;
    let status: Value = part(object.status)?;
    let key = EngineKey { kind, namespace: metadata.namespace.to_arc(), name: metadata.name.to_arc() };
    let condition = |name| condition(&status, name);
    let role = match kind {
        EngineKind::ImageRepository => Role::Scan(scan(&spec, &status)),
        EngineKind::ImagePolicy => {
            let written = selected_at(part(managed)?);
            Role::Policy(policy(&key, &spec, &status, written))
        }
        EngineKind::ImageUpdateAutomation => Role::Updater(updater(&key, &spec, &status)),
        EngineKind::GitRepository
        | EngineKind::OCIRepository
        | EngineKind::Bucket
        | EngineKind::HelmRepository
        | EngineKind::HelmChart
        | EngineKind::ExternalArtifact => Role::Source(source(&key, &spec, &status)),
        EngineKind::Kustomization | EngineKind::HelmRelease => {
            Role::Applier(Box::new(applier(&key, &spec, &status)))
        }
        EngineKind::Receiver => Role::Other,
    };
    let odd = shape::odd(kind, &spec, &status);
    let object = EngineObject {
        uid: metadata.uid.to_arc(),
        created: metadata.created(),
        generation: metadata.generation,
        observed_generation: status["observedGeneration"].as_i64().unwrap_or_default(),
        suspended: spec["suspend"].as_bool().unwrap_or_default(),
        interval_seconds: seconds(&spec["interval"]),
        ready: condition("Ready"),
        reconciling: condition("Reconciling").filter(|condition| condition.is_true),
        stalled: condition("Stalled").filter(|condition| condition.is_true),
        key,
        role,
    };
    Ok(Read { object, odd })
}

fn scan(spec: &Value, status: &Value) -> ScanRole {
    let result = &status["lastScanResult"];
    let last = moment(&result["scanTime"]).map(|at| Scan {
        at,
        revision: text(&result["revision"]).unwrap_or_default(),
        tags: result["tagCount"].as_i64().unwrap_or_default(),
        latest: list(&result["latestTags"]).filter_map(|tag| tag.as_str()?.parse::<Tag>().ok()).collect(),
    });
    ScanRole { image: parsed::<Repository>(&spec["image"]), last }
}

fn policy(key: &EngineKey, spec: &Value, status: &Value, selected_at: Option<Interval>) -> PolicyRole {
    let reference = &spec["imageRepositoryRef"];
    let filter = text(&spec["filterTags"]["pattern"]).filter(|pattern| !pattern.is_empty());
    let order = |rule: &Value| match rule["order"].as_str() {
        Some("desc") => Order::Desc,
        _ => Order::Asc,
    };
    let written = &spec["policy"];
    let policy = if let Some(range) = text(&written["semver"]["range"]) {
        Some(Policy::Semver { range })
    } else if written["numerical"].is_object() {
        Some(Policy::Numerical { order: order(&written["numerical"]) })
    } else if written["alphabetical"].is_object() {
        Some(Policy::Alphabetical { order: order(&written["alphabetical"]) })
    } else {
        None
    };
    let selected = selected(status);
    PolicyRole {
        repository: (
            text(&reference["namespace"]).unwrap_or_else(|| key.namespace.clone()),
            text(&reference["name"]).unwrap_or_default(),
        ),
        filter: filter.map(|pattern| FilterTags { pattern, extract: text(&spec["filterTags"]["extract"]) }),
        policy,
        reflects_digest: spec["digestReflectionPolicy"].as_str().is_some_and(|when| when != "Never"),
        follows_digest: spec["digestReflectionPolicy"] == "Always",
        selected_at: selected_at.filter(|_| selected.is_some()),
        selected,
    }
}

/// `latestRef`, or the one text `latestImage` that versions before v1 wrote.
fn selected(status: &Value) -> Option<ImageRef> {
    let latest = &status["latestRef"];
    let Some(repository) = parsed::<Repository>(&latest["name"]) else {
        return status["latestImage"].as_str()?.parse().ok();
    };
    let digest = parsed::<Digest>(&latest["digest"]);
    Some(ImageRef { repository, tag: parsed::<Tag>(&latest["tag"]), digest })
}

fn updater(key: &EngineKey, spec: &Value, status: &Value) -> UpdaterRole {
    let source = &spec["sourceRef"];
    let git = &spec["git"];
    let pushed = text(&status["lastPushCommit"]).zip(moment(&status["lastPushTime"]));
    UpdaterRole {
        source: (
            text(&source["namespace"]).unwrap_or_else(|| key.namespace.clone()),
            text(&source["name"]).unwrap_or_default(),
        ),
        branch: text(&git["checkout"]["ref"]["branch"]),
        push_branch: text(&git["push"]["branch"]),
        path: text(&spec["update"]["path"]),
        last_run: moment(&status["lastAutomationRunTime"]),
        pushed: pushed.filter(|(commit, _)| !commit.is_empty()),
    }
}

fn source(key: &EngineKey, spec: &Value, status: &Value) -> SourceRole {
    let artifact = &status["artifact"];
    let made_of = (key.kind == EngineKind::HelmChart).then(|| reference(key, &spec["sourceRef"])).flatten();
    let is_git = key.kind == EngineKind::GitRepository;
    let reference = &spec["ref"];
    // In the order in which Flux takes them; a commit is one, whatever branch it is looked for on.
    let branch = || {
        if text(&reference["commit"]).is_some() {
            return None;
        }
        if let Some(name) = text(&reference["name"]) {
            return name.strip_prefix("refs/heads/").map(Into::into);
        }
        if text(&reference["semver"]).or_else(|| text(&reference["tag"])).is_some() {
            return None;
        }
        // What the API server would have written, had somebody asked it to.
        Some(text(&reference["branch"]).unwrap_or_else(|| "master".into()))
    };
    SourceRole {
        // Whoever writes it may put a password into it.
        url: text(&spec["url"]).map(|url| public_url(&url)),
        branch: if is_git { branch() } else { None },
        made_of,
        artifact: text(&artifact["revision"]).map(|revision| Artifact {
            revision,
            stored: moment(&artifact["lastUpdateTime"]),
            origin: text(&artifact["metadata"]["org.opencontainers.image.revision"]),
        }),
    }
}

fn applier(key: &EngineKey, spec: &Value, status: &Value) -> ApplierRole {
    let chart = || text(&status["helmChart"]);
    let source = match key.kind {
        EngineKind::HelmRelease if spec["chartRef"].is_object() => reference(key, &spec["chartRef"]),
        // The controller makes a HelmChart, and names it.
        EngineKind::HelmRelease => chart()
            .as_deref()
            .and_then(|chart| chart.split_once('/'))
            .map(|at| EngineKey { kind: EngineKind::HelmChart, namespace: at.0.into(), name: at.1.into() }),
        _ => reference(key, &spec["sourceRef"]),
    };
    let depends_on = list(&spec["dependsOn"]).take(NAMES_MAX).filter_map(|other| {
        Some((text(&other["namespace"]).unwrap_or_else(|| key.namespace.clone()), text(&other["name"])?))
    });
    let entries = || list(&status["inventory"]["entries"]).filter_map(|entry| entry["id"].as_str());
    let history = &status["history"][0];
    ApplierRole {
        source,
        path: text(&spec["path"]),
        retry_seconds: seconds(&spec["retryInterval"]),
        timeout_seconds: seconds(&spec["timeout"]),
        waits: match key.kind {
            EngineKind::HelmRelease => true,
            _ => spec["wait"].as_bool() == Some(true) || list(&spec["healthChecks"]).next().is_some(),
        },
        depends_on: depends_on.collect(),
        overrides: list(&spec["images"]).take(NAMES_MAX).filter_map(image_override).collect(),
        attempted: text(&status["lastAttemptedRevision"]),
        // Version 2 of HelmRelease has it in its history alone.
        applied: text(&status["lastAppliedRevision"]).or_else(|| {
            let deployed = key.kind == EngineKind::HelmRelease && history["status"] == "deployed";
            text(&history["chartVersion"]).filter(|_| deployed)
        }),
        inventory: entries().filter_map(workload).take(INVENTORY_MAX).collect(),
        releases: entries().filter_map(release).take(INVENTORY_MAX).collect(),
        healthy: condition(status, "Healthy"),
        values_from: list(&spec["valuesFrom"]).take(NAMES_MAX).filter_map(values_from).collect(),
    }
}

fn values_from(written: &Value) -> Option<ValuesFrom> {
    Some(ValuesFrom {
        kind: text(&written["kind"])?,
        name: text(&written["name"])?,
        key: text(&written["valuesKey"]).unwrap_or_else(|| "values.yaml".into()),
        target: text(&written["targetPath"]),
    })
}

/// `namespace_name_group_Kind`, of which none can hold a `_`.
fn workload(id: &str) -> Option<(WorkloadKind, Arc<str>, Arc<str>)> {
    let mut words = id.split('_');
    let (namespace, name, group, kind) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match (group, kind) {
        ("apps", "Deployment") => WorkloadKind::Deployment,
        ("apps", "StatefulSet") => WorkloadKind::StatefulSet,
        ("apps", "DaemonSet") => WorkloadKind::DaemonSet,
        ("batch", "CronJob") => WorkloadKind::CronJob,
        _ => return None,
    };
    Some((kind, namespace.into(), name.into()))
}

/// The same of a HelmRelease: namespace and name.
fn release(id: &str) -> Option<(Arc<str>, Arc<str>)> {
    let named = id.strip_suffix("_helm.toolkit.fluxcd.io_HelmRelease")?;
    let (namespace, name) = named.split_once('_')?;
    Some((namespace.into(), name.into()))
}

fn image_override(written: &Value) -> Option<ImageOverride> {
    Some(ImageOverride {
        name: text(&written["name"])?,
        new_name: text(&written["newName"]),
        new_tag: text(&written["newTag"]),
        digest: text(&written["digest"]),
    })
}

/// A reference to another object, in the same namespace unless it says otherwise.
fn reference(key: &EngineKey, written: &Value) -> Option<EngineKey> {
    Some(EngineKey {
        kind: EngineKind::parse(written["kind"].as_str()?)?,
        namespace: text(&written["namespace"]).unwrap_or_else(|| key.namespace.clone()),
        name: text(&written["name"])?,
    })
}

fn condition(status: &Value, name: &str) -> Option<Condition> {
    let found = list(&status["conditions"]).find(|condition| condition["type"] == name)?;
    let message: String = found["message"].as_str()?.chars().take(MESSAGE_LENGTH_MAX).collect();
    Some(Condition {
        is_true: found["status"] == "True",
        reason: text(&found["reason"]).unwrap_or_default(),
        message: message.into(),
        since: moment(&found["lastTransitionTime"]),
    })
}

/// When a manager last wrote `latestRef`, or another field of its own: an upper bound for what it wrote there.
fn selected_at(entries: Vec<ManagedFields<'_>>) -> Option<Interval> {
    let writers = entries.into_iter().filter(|entry| {
        entry.subresource.as_deref() == Some("status")
            && entry.fields_v1["f:status"].get("f:latestRef").is_some()
    });
    writers.filter_map(|entry| time(&entry.time)).max().map(Interval::second)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields<'a> {
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(default, deserialize_with = "or_default")]
    fields_v1: Value,
    #[serde(borrow, default)]
    subresource: Option<Text<'a>>,
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<Arc<str>> {
    value.as_str().filter(|text| !text.is_empty()).map(Into::into)
}

fn moment(value: &Value) -> Option<Time> {
    time(value.as_str()?)
}

fn seconds(value: &Value) -> Option<f64> {
    go_duration_seconds(value.as_str()?)
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}
