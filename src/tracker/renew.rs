//! Taking over what another fact says of the same object. What is the same stays where it is: nearly all of it.

use crate::observation::{Pod, PodContainer, Waiting, Workload};

/// A workload is as another fact of it says. What is the same stays where it is.
pub fn take_over(now: &mut Workload, workload: &Workload) {
    let Workload { key, uid, created, generation, observed_generation, template, containers, .. } = workload;
    let Workload { template_written, replicas, status_replicas, updated, ready, available, .. } = workload;
    let Workload { progress, replica_failure, paused, strategy, current_revision, update_revision, .. } =
        workload;
    let Workload { schedule, app, environment, ignore, owner, config_maps, applier, refused_by, .. } =
        workload;
    renew(&mut now.refusal, &workload.refusal);
    (now.replicas_written, now.autoscaled) = (workload.replicas_written, workload.autoscaled);
    let Workload { budget_committed_seconds, budget_applied_seconds, budget_live_seconds, .. } = workload;
    renew(&mut now.key, key);
    renew(&mut now.uid, uid);
    renew(&mut now.containers, containers);
    renew(&mut now.template_written, template_written);
    renew(&mut now.progress, progress);
    renew(&mut now.current_revision, current_revision);
    renew(&mut now.update_revision, update_revision);
    renew(&mut now.schedule, schedule);
    renew(&mut now.app, app);
    renew(&mut now.environment, environment);
    renew(&mut now.owner, owner);
    renew(&mut now.config_maps, config_maps);
    renew(&mut now.applier, applier);
    (now.created, now.generation, now.observed_generation) = (*created, *generation, *observed_generation);
    (now.template, now.strategy, now.paused) = (*template, *strategy, *paused);
    (now.replicas, now.status_replicas, now.updated) = (*replicas, *status_replicas, *updated);
    (now.ready, now.available, now.replica_failure) = (*ready, *available, *replica_failure);
    now.refused_by = *refused_by;
    now.ignore = *ignore;
    now.budget_committed_seconds = *budget_committed_seconds;
    now.budget_applied_seconds = *budget_applied_seconds;
    now.budget_live_seconds = *budget_live_seconds;
}

/// A pod is as another fact of it says.
pub fn take_pod_over(now: &mut Pod, pod: &Pod) {
    let Pod { uid, namespace, name, owner, pod_hash, created, deleting, finished, .. } = pod;
    let Pod { unschedulable, ready, containers, .. } = pod;
    renew(&mut now.uid, uid);
    renew(&mut now.namespace, namespace);
    renew(&mut now.name, name);
    renew(&mut now.owner, owner);
    renew(&mut now.pod_hash, pod_hash);
    renew_containers(&mut now.containers, containers);
    (now.created, now.deleting, now.finished) = (*created, *deleting, *finished);
    (now.unschedulable, now.ready) = (*unschedulable, *ready);
}

/// While it waits for the next try the kubelet of some versions does not say any more why the last one failed.
fn renew_containers(now: &mut Vec<PodContainer>, then: &[PodContainer]) {
    if *now == *then {
        return;
    }
    let mut then = then.to_vec();
    for container in then.iter_mut().filter(|container| container.waiting == Some(Waiting::ImagePull)) {
        let before = now.iter().find(|before| before.name == container.name);
        if let Some(before) = before.filter(|before| before.waiting.is_some_and(Waiting::is_pull))
            && container.says.is_none()
        {
            (container.waiting, container.says) = (before.waiting, before.says.clone());
        }
    }
    *now = then;
}

fn renew<T: Clone + PartialEq>(now: &mut T, then: &T) {
    if now != then {
        now.clone_from(then);
    }
}
