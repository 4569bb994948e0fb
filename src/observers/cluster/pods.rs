//! Pods: which digest each container runs, since when, and why not. The hot path: nothing else is read.

use std::sync::Arc;

use serde::Deserialize;

use super::object::{Condition, Object, or_default, part, time};
use crate::image::Digest;
use crate::observation::{Pod, PodContainer, Waiting};

/// Reads a pod.
pub(super) fn decode(object: &Object<'_>) -> Result<Pod, serde_json::Error> {
    let metadata = &object.metadata;
    let spec: Spec = part(object.spec)?;
    let mut status: Status = part(object.status)?;
    let labels: Labels = part(metadata.labels)?;
    let created = metadata.created();
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind);
    let ready = condition("Ready").filter(|condition| condition.is_true());
    let unschedulable = condition("PodScheduled")
        .is_some_and(|condition| condition.status == "False" && &*condition.reason == "Unschedulable");
    // A condition without time can only have become true after the pod was made.
    let ready = ready.and_then(|condition| time(condition.last_transition_time.as_deref()).or(created));
    let containers = spec.containers.into_iter().map(|container| {
        let at = status.container_statuses.iter().position(|status| status.name == container.name);
        let status = at.map(|at| status.container_statuses.swap_remove(at)).unwrap_or_default();
        PodContainer {
            name: container.name,
            image: container.image,
            running: running_digest(&status.image_id),
            started: status.state.running.and_then(|running| time(running.started_at.as_deref())),
            ready: status.ready,
            waiting: status.state.waiting.map(|waiting| reason_class(&waiting.reason)),
            restarts: status.restart_count,
        }
    });
    Ok(Pod {
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        owner: metadata.controller()?.map(|owner| owner.uid),
        pod_hash: labels.pod_template_hash.or(labels.controller_revision_hash),
        created,
        deleting: metadata.deletion_timestamp.is_some(),
        finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        unschedulable,
        ready,
        containers: containers.collect(),
    })
}

/// The digest in an `imageID`. Which repository that names means nothing (field guide, section 13).
///
/// containerd writes `repository@digest`, cri-dockerd puts `docker-pullable://` or `docker://` before it, CRI-O
/// and side-loaded images have a bare config id, with or without `sha256:`.
#[must_use]
pub fn running_digest(image_id: &str) -> Option<Digest> {
    let id = image_id.rsplit_once('@').map_or(image_id, |(_, digest)| digest);
    let id = id.rsplit_once("://").map_or(id, |(_, digest)| digest);
    id.parse().or_else(|_| format!("sha256:{id}").parse()).ok()
}

/// Waiting reasons as a closed set.
fn reason_class(reason: &str) -> Waiting {
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Waiting::ImagePull,
        "CrashLoopBackOff" => Waiting::CrashLoop,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Waiting::CreateError,
        "ContainerCreating" | "PodInitializing" => Waiting::Creating,
        _ => Waiting::Other,
    }
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default, deserialize_with = "or_default")]
    name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    image: Arc<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    phase: String,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(deserialize_with = "or_default")]
    name: Arc<str>,
    #[serde(rename = "imageID", deserialize_with = "or_default")]
    image_id: String,
    #[serde(deserialize_with = "or_default")]
    ready: bool,
    #[serde(deserialize_with = "or_default")]
    restart_count: i64,
    #[serde(deserialize_with = "or_default")]
    state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<Running>,
    waiting: Option<WaitingState>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    started_at: Option<String>,
}

#[derive(Deserialize)]
struct WaitingState {
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "pod-template-hash")]
    pod_template_hash: Option<Arc<str>>,
    #[serde(rename = "controller-revision-hash")]
    controller_revision_hash: Option<Arc<str>>,
}
