//! What is asked of the pods of one workload: in which order, of which template, and why they are not ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::one_line;
use super::journey::{Reason, Who};
use super::maps::Map;
use super::pod_state::PodState;
use super::probes::Probes;
use super::workload::WorkloadState;
use crate::observation::{Pod, PodContainer, Refuser, Revision, TemplateHash, Waiting, WorkloadKind};

/// Pods in the order of their UIDs, for whom an order decides.
#[must_use]
pub fn in_order(pods: &Map<Arc<str>, PodState>) -> Vec<&PodState> {
    let mut pods: Vec<&PodState> = pods.values().collect();
    pods.sort_unstable_by(|left, right| left.pod.uid.cmp(&right.pod.uid));
    pods
}

/// The template of a pod of a workload with these revisions.
pub fn template_of(
    revisions: &BTreeMap<Arc<str>, (Revision, u64)>,
    workload: &Arc<str>,
    pod: &Pod,
) -> Option<TemplateHash> {
    let hash = pod.pod_hash.as_ref()?;
    let owner = pod.owner.as_ref()?;
    let of_hash = |revision: &&Revision| revision.pod_hash == *hash;
    let found = if owner == workload {
        revisions.values().map(|(revision, _)| revision).find(of_hash)
    } else {
        revisions.get(owner).map(|(revision, _)| revision).filter(of_hash)
    };
    found.map(|revision| revision.template)
}

/// Why the pods of the present template are not all live with it, and who shows it. `unhealthy` is the applier whose
/// health check ended in vain.
#[must_use]
pub fn reason(
    workload: &WorkloadState,
    container: &str,
    probes: Option<&Probes>,
    unhealthy: Option<Who>,
) -> (Reason, Option<Who>) {
    let pods: Vec<&Pod> = in_order(&workload.pods)
        .into_iter()
        .map(|state| &state.pod)
        .filter(|pod| !pod.deleting && !pod.finished)
        .filter(|pod| workload.template_of(pod) == Some(workload.now.template))
        .collect();
    let refused = match workload.now.refused_by {
        Some(Refuser::Quota) => Reason::Quota,
        Some(Refuser::Admission) => Reason::AdmissionDenied,
        None => Reason::NoPods,
    };
    let of_pod = |reason: Reason, pod: &Pod| (reason, Some(who(pod, "")));
    if let Some((reason, pod)) = waits(&pods, container) {
        return of_pod(reason, pod);
    }
    if let Some(pod) = pods.iter().find(|pod| pod.unschedulable) {
        return of_pod(Reason::Unschedulable, pod);
    }
    if pods.is_empty() && workload.now.key.kind != WorkloadKind::CronJob {
        return (refused, None);
    }
    let restarting = |container: &PodContainer| container.restarts > 0 && !container.ready;
    if let Some(pod) = pods.iter().find(|pod| pod.containers.iter().any(restarting)) {
        return of_pod(Reason::CrashLoop, pod);
    }
    if workload.now.replica_failure {
        return (refused, None);
    }
    let began = |pod: &&Pod| pod.containers.iter().any(|container| container.started.is_some());
    let unready = || pods.iter().copied().filter(|pod| pod.ready.is_none());
    if let Some(pod) = unready().find(|pod| !began(pod)) {
        return of_pod(Reason::NotStarted, pod);
    }
    if let Some((pod, says)) = unready().find_map(|pod| Some((pod, probes?.of(&pod.uid)?))) {
        return (Reason::ProbeFailing, Some(who(pod, says)));
    }
    let first = unready().next().map(|pod| who(pod, ""));
    let exceeded = workload.versions.last().and_then(|version| version.deadline_exceeded);
    match (exceeded, unhealthy, first) {
        (Some(_), _, first) => (Reason::ProgressDeadline, first),
        (None, Some(applier), _) => (Reason::HealthCheckFailing, Some(applier)),
        (None, None, Some(first)) => (Reason::NotReady, Some(first)),
        (None, None, None) => (Reason::Incomplete, None),
    }
}

/// What a container waits for. A sibling container that fails keeps this one from being live too: the own one is asked
/// first.
fn waits<'a>(pods: &[&'a Pod], container: &str) -> Option<(Reason, &'a Pod)> {
    let of_pod = |pod: &&'a Pod| {
        let pod: &'a Pod = pod;
        pod.containers.iter().filter_map(move |c| Some((&*c.name != container, c.waiting?, pod)))
    };
    let mut waiting: Vec<(bool, Waiting, &Pod)> = pods.iter().flat_map(of_pod).collect();
    waiting.sort_by_key(|(other, ..)| *other);
    waiting.into_iter().find_map(|(_, waiting, pod)| Some((why(waiting)?, pod)))
}

/// The reason that a waiting container tells, if it fails.
#[must_use]
pub fn why(waiting: Waiting) -> Option<Reason> {
    match waiting {
        Waiting::ImagePull => Some(Reason::ImagePull),
        Waiting::PullNotFound => Some(Reason::PullNotFound),
        Waiting::PullDenied => Some(Reason::PullDenied),
        Waiting::PullRegistryDown => Some(Reason::PullRegistryDown),
        Waiting::CrashLoop => Some(Reason::CrashLoop),
        Waiting::CreateError => Some(Reason::CreateError),
        Waiting::Creating | Waiting::Other => None,
    }
}

fn who(pod: &Pod, says: &str) -> Who {
    let object = format!("pod/{} -n {}", pod.name, pod.namespace);
    Who { object: one_line(&object).as_str().into(), says: one_line(says).as_str().into() }
}
