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
    let pods = present(workload);
    if let Some((reason, who)) = of_pods(&pods, container) {
        return (reason, Some(who));
    }
    if pods.is_empty() && workload.now.key.kind != WorkloadKind::CronJob {
        return refused(workload);
    }
    let restarting = |container: &PodContainer| container.restarts > 0 && !container.ready;
    if let Some(pod) = pods.iter().find(|pod| pod.containers.iter().any(restarting)) {
        return (Reason::CrashLoop, Some(who(pod, "")));
    }
    if workload.now.replica_failure {
        return refused(workload);
    }
    let began = |pod: &&Pod| pod.containers.iter().any(|container| container.started.is_some());
    let unready = || pods.iter().copied().filter(|pod| pod.ready.is_none());
    if let Some(pod) = unready().find(|pod| !began(pod)) {
        return (Reason::NotStarted, Some(who(pod, "")));
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

/// What pods of the present template, or who is to make them, say already of why it would not become live, whether that
/// is late or not.
#[must_use]
pub fn trouble(workload: &WorkloadState, container: &str) -> Option<(Reason, Who)> {
    let told = || of_pods(&present(workload), container);
    if let Some(told) = workload.may_complain().then(told).flatten() {
        return Some(told);
    }
    match refused(workload) {
        (reason @ (Reason::Quota | Reason::AdmissionDenied), who) => Some((reason, who?)),
        _ => None,
    }
}

/// What a pod waits for that it would not do for ever by itself: it cannot be placed, pulled or created, or ends again
/// and again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Complaint {
    unschedulable: bool,
    waits: Vec<(Waiting, Option<Arc<str>>)>,
}

impl Complaint {
    /// What a pod says.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let waits = pod.containers.iter().filter_map(|container| {
            let waiting = container.waiting.filter(|waiting| why(*waiting).is_some())?;
            Some((waiting, container.says.clone()))
        });
        Self { unschedulable: pod.unschedulable, waits: waits.collect() }
    }

    /// It says nothing of the kind.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.unschedulable && self.waits.is_empty()
    }
}

/// Pods of the present template that are to stay.
fn present(workload: &WorkloadState) -> Vec<&Pod> {
    in_order(&workload.pods)
        .into_iter()
        .map(|state| &state.pod)
        .filter(|pod| !pod.deleting && !pod.finished)
        .filter(|pod| workload.template_of(pod) == Some(workload.now.template))
        .collect()
}

/// What pods say themselves.
fn of_pods(pods: &[&Pod], container: &str) -> Option<(Reason, Who)> {
    let unschedulable = || Some((Reason::Unschedulable, who(pods.iter().find(|pod| pod.unschedulable)?, "")));
    waits(pods, container).or_else(unschedulable)
}

/// What a container waits for. A sibling container that fails keeps this one from being live too: the own one is asked
/// first.
fn waits(pods: &[&Pod], container: &str) -> Option<(Reason, Who)> {
    let containers =
        pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (*pod, container)));
    let mut waiting: Vec<(&Pod, &PodContainer, Reason)> =
        containers.filter_map(|(pod, container)| Some((pod, container, why(container.waiting?)?))).collect();
    waiting.sort_by_key(|(_, of, _)| &*of.name != container);
    let (pod, of, reason) = waiting.first()?;
    Some((*reason, who(pod, of.says.as_deref().unwrap_or_default())))
}

/// Why no pods are made, and who says so: a quota is named by its own message.
fn refused(workload: &WorkloadState) -> (Reason, Option<Who>) {
    let now = &workload.now;
    let reason = match now.refused_by {
        Some(Refuser::Quota) => Reason::Quota,
        Some(Refuser::Admission) => Reason::AdmissionDenied,
        None => Reason::NoPods,
    };
    let Some(words) = now.refusal.as_deref().filter(|_| now.replica_failure) else { return (reason, None) };
    let quota = quota_in(words).filter(|_| reason == Reason::Quota);
    let object = match quota {
        Some(quota) => format!("resourcequota/{quota} -n {}", now.key.namespace),
        None => now.key.to_string(),
    };
    (reason, Some(says(&object, words)))
}

/// The quota that a refusal names: `exceeded quota: NAME, requested: ..`, `failed quota: NAME: must specify ..`.
fn quota_in(words: &str) -> Option<&str> {
    let named = ["exceeded quota: ", "failed quota: "].into_iter().find_map(|begin| words.split_once(begin));
    let name = named?.1.split([',', ':']).next()?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    Some(name).filter(|name| !name.is_empty() && name.chars().all(is_name))
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
    self::says(&format!("pod/{} -n {}", pod.name, pod.namespace), says)
}

fn says(object: &str, says: &str) -> Who {
    Who {
        object: one_line(object).as_str().into(),
        says: one_line(says).as_str().into(),
        commits: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_named_by_the_message_that_it_is_exceeded() {
        assert_eq!(quota_in("exceeded quota: compute, requested: pods=1"), Some("compute"));
        assert_eq!(quota_in("failed quota: team-a: must specify limits.cpu"), Some("team-a"));
        assert_eq!(quota_in("exceeded quota: $(reboot), requested: pods=1"), None);
        assert_eq!(quota_in("admission webhook \"a.b\" denied the request"), None);
    }
}
