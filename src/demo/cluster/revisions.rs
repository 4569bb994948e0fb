//! ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, newest number last.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::deployments::{owner_reference, template_hash};
use super::fields::Writer;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::store::{Store, controller_of, text};
use crate::demo::truth::{Happened, Truth};
use crate::image::Digest;

/// The label by which a pod names its template.
pub(super) const REVISION_HASH: &str = "controller-revision-hash";

/// The revision of the owner's template as it is now, made or raised to the newest if need be.
pub(super) fn newest(store: &Store, owner: &Value) -> Result<Arc<Value>, Refusal> {
    let revisions = store.owned(Kind::ControllerRevision, owner);
    let highest = revisions.iter().filter_map(|one| one["revision"].as_u64()).max().unwrap_or(0);
    let hash = template_hash(&owner["spec"]["template"]);
    let metadata = &owner["metadata"];
    let (namespace, name) = (text(metadata, "namespace"), format!("{}-{hash}", text(metadata, "name")));
    let writer = Writer::main("kube-controller-manager");
    match revisions.iter().find(|one| one["metadata"]["name"] == name.as_str()) {
        Some(known) if known["revision"] == highest => Ok(known.clone()),
        Some(_) => store.update(Kind::ControllerRevision, &namespace, &name, writer, |revision| {
            revision["revision"] = json!(highest + 1);
            Ok(())
        }),
        None => {
            let mut labels = owner["spec"]["template"]["metadata"]["labels"].clone();
            labels[REVISION_HASH] = Value::from(hash);
            let object = json!({
                "metadata": {"name": name, "namespace": namespace, "labels": labels,
                    "ownerReferences": [owner_reference(owner)]},
                "data": {"spec": {"template": owner["spec"]["template"]}},
                "revision": highest + 1,
            });
            store.create(Kind::ControllerRevision, object, writer, None)
        }
    }
}

/// The template that a revision keeps, if it is still there.
pub(super) fn template(store: &Store, namespace: &str, revision: &str) -> Option<Value> {
    let revision = store.get(Kind::ControllerRevision, namespace, revision)?;
    revision["data"]["spec"].get("template").cloned()
}

/// Writes down that a workload's pods all run its newest template since `at`, taking one of them as the proof.
pub(super) fn tell_live(truth: &Truth, store: &Store, owner: &Value, at: DateTime<Utc>) {
    let (_, pods) = store.list(Kind::Pod, owner["metadata"]["namespace"].as_str());
    let uid = owner["metadata"]["uid"].as_str();
    let staying = |pod: &&Arc<Value>| {
        controller_of(pod).is_some()
            && controller_of(pod) == uid
            && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let pod = pods.iter().find(staying);
    for status in pod.and_then(|pod| pod["status"]["containerStatuses"].as_array()).into_iter().flatten() {
        let digest = status["imageID"].as_str().and_then(|id| id.split_once('@')?.1.parse::<Digest>().ok());
        if let Some(digest) = digest {
            let live = Happened::Live {
                namespace: text(&owner["metadata"], "namespace"),
                name: text(&owner["metadata"], "name"),
                image: text(status, "image"),
                digest,
            };
            truth.record(at, live);
        }
    }
}
