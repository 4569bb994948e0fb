//! ReplicaSets and ControllerRevisions: the templates that a workload has had.

use std::hash::Hash;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::cursor::Text;
use super::object::{Object, Owner, or_default, part};
use super::template_hash;
use crate::observation::{Revision, TemplateHash};

/// Reads a ReplicaSet; `None` where no Deployment owns it.
pub(super) fn replica_set(object: &Object<'_>) -> Result<Option<Revision>, serde_json::Error> {
    let Some(owner) = object.metadata.controller()? else { return Ok(None) };
    let spec: Spec<'_> = part(object.spec)?;
    let labels: Labels<'_> = part(object.metadata.labels.map(RawValue::get))?;
    let annotations: Annotations<'_> = part(object.metadata.annotations.map(RawValue::get))?;
    let number = annotations.revision.and_then(|number| number.parse().ok()).unwrap_or_default();
    let Some(pod_hash) = labels.pod_template_hash else { return Ok(None) };
    revision(object, &owner, spec.template, &pod_hash, number).map(Some)
}

/// Reads a ControllerRevision; `None` where no workload owns it.
///
/// A DaemonSet's pods carry its hash, a StatefulSet's pods its whole name.
pub(super) fn controller_revision(object: &Object<'_>) -> Result<Option<Revision>, serde_json::Error> {
    let Some(owner) = object.metadata.controller()? else { return Ok(None) };
    let data: Data<'_> = part(object.data)?;
    let labels: Labels<'_> = part(object.metadata.labels.map(RawValue::get))?;
    let pod_hash = match labels.controller_revision_hash {
        Some(hash) if &*owner.kind == "DaemonSet" => hash,
        _ => object.metadata.name.clone(),
    };
    revision(object, &owner, data.spec.template, &pod_hash, object.revision).map(Some)
}

/// What a revision says, to be hashed. There are many of them, and writing each as JSON takes longer than reading it.
pub(super) fn level(revision: &Revision) -> impl Hash {
    // Taken apart, so that a new field cannot be forgotten. The UID is what the hash belongs to.
    let Revision { uid: _, namespace, name, owner, template, pod_hash, created, number } = revision;
    (namespace, name, owner, template, pod_hash, created, number)
}

fn revision(
    object: &Object<'_>,
    owner: &Owner<'_>,
    template: Option<&RawValue>,
    pod_hash: &Text<'_>,
    number: i64,
) -> Result<Revision, serde_json::Error> {
    let metadata = &object.metadata;
    Ok(Revision {
        uid: metadata.uid.to_arc(),
        namespace: metadata.namespace.to_arc(),
        name: metadata.name.to_arc(),
        owner: owner.uid.to_arc(),
        template: template.map(template_hash::hash).transpose()?.unwrap_or(TemplateHash(0)),
        pod_hash: pod_hash.to_arc(),
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
struct Labels<'a> {
    #[serde(borrow, rename = "pod-template-hash")]
    pod_template_hash: Option<Text<'a>>,
    #[serde(borrow, rename = "controller-revision-hash")]
    controller_revision_hash: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, rename = "deployment.kubernetes.io/revision")]
    revision: Option<Text<'a>>,
}
