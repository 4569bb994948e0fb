//! ReplicaSets and ControllerRevisions: the templates that a workload has had.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::object::{Object, Owner, or_default, part};
use super::template;
use crate::observation::{Revision, TemplateHash};

/// Reads a ReplicaSet; `None` where no Deployment owns it.
pub(super) fn replica_set(object: &Object<'_>) -> Result<Option<Revision>, serde_json::Error> {
    let Some(owner) = object.metadata.controller()? else { return Ok(None) };
    let spec: Spec<'_> = part(object.spec)?;
    let labels: Labels = part(object.metadata.labels)?;
    let annotations: Annotations = part(object.metadata.annotations)?;
    let number = annotations.revision.and_then(|number| number.parse().ok()).unwrap_or_default();
    let Some(pod_hash) = labels.pod_template_hash else { return Ok(None) };
    revision(object, owner, spec.template, pod_hash, number).map(Some)
}

/// Reads a ControllerRevision; `None` where no workload owns it.
///
/// A DaemonSet's pods carry its hash, a StatefulSet's pods its whole name.
pub(super) fn controller_revision(object: &Object<'_>) -> Result<Option<Revision>, serde_json::Error> {
    let Some(owner) = object.metadata.controller()? else { return Ok(None) };
    let data: Data<'_> = part(object.data)?;
    let labels: Labels = part(object.metadata.labels)?;
    let pod_hash = match labels.controller_revision_hash {
        Some(hash) if &*owner.kind == "DaemonSet" => hash,
        _ => object.metadata.name.clone(),
    };
    revision(object, owner, data.spec.template, pod_hash, object.revision).map(Some)
}

fn revision(
    object: &Object<'_>,
    owner: Owner,
    template: Option<&RawValue>,
    pod_hash: Arc<str>,
    number: i64,
) -> Result<Revision, serde_json::Error> {
    let metadata = &object.metadata;
    Ok(Revision {
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        owner: owner.uid,
        template: template.map(template::hash).transpose()?.unwrap_or(TemplateHash(0)),
        pod_hash,
        created: metadata.created(),
        number,
    })
}

#[derive(Default, Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    template: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Data<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    spec: Spec<'a>,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "pod-template-hash")]
    pod_template_hash: Option<Arc<str>>,
    #[serde(rename = "controller-revision-hash")]
    controller_revision_hash: Option<Arc<str>>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "deployment.kubernetes.io/revision")]
    revision: Option<String>,
}
