//! When a rollout is complete, by kubectl's rules (`kubectl rollout status`), and what holds one back.

use super::journey::Hold;
use super::stage::Evidence;
use crate::observation::{Basis, Interval, LiveWhen, Strategy, Workload, WorkloadKind};

/// Nodes come and go: a DaemonSet counts as rolled out with this share of its pods.
const DAEMON_SET_SHARE: f64 = 0.95;
/// The Deployment controller's word for a finished rollout.
const COMPLETE_REASON: &str = "NewReplicaSetAvailable";
/// The Deployment controller's word for a rollout without progress.
const DEADLINE_REASON: &str = "ProgressDeadlineExceeded";

/// Why the workload waits by somebody's choice, if it does.
#[must_use]
pub fn hold(workload: &Workload) -> Option<Hold> {
    let scaled_to_zero = workload.replicas == 0 && workload.key.kind != WorkloadKind::DaemonSet;
    match (&workload.schedule, workload.strategy) {
        (Some(schedule), _) if schedule.suspended => Some(Hold::Suspended),
        (Some(_), _) => Some(Hold::Schedule),
        _ if workload.paused => Some(Hold::Paused),
        (_, Strategy::OnDelete) => Some(Hold::OnDelete),
        (_, Strategy::Rolling { partition }) if partition > 0 && !is_one_revision(workload) => {
            Some(Hold::Partition)
        }
        _ if scaled_to_zero => Some(Hold::ScaledToZero),
        _ => None,
    }
}

/// The controller gave up waiting, though not trying.
#[must_use]
pub fn deadline_exceeded(workload: &Workload) -> bool {
    workload.observed_generation >= workload.generation
        && workload.progress.as_ref().is_some_and(|progress| &*progress.reason == DEADLINE_REASON)
}

/// Whether the rollout of the present template is complete, and since when by its own words. `ready` pods of
/// this template are not being deleted.
#[must_use]
pub fn complete(
    workload: &Workload,
    ready: usize,
    live_when: LiveWhen,
    learned: Interval,
) -> Option<Evidence> {
    if workload.observed_generation < workload.generation || workload.replicas == 0 {
        return None;
    }
    let ready = ready as f64;
    let wanted = workload.replicas as f64;
    let receipt = Evidence { interval: learned, basis: Basis::Watch };
    match live_when {
        LiveWhen::First => return (ready >= 1.0).then_some(receipt),
        LiveWhen::Share(share) => return (ready >= share * wanted).then_some(receipt),
        LiveWhen::All => {}
    }
    match workload.key.kind {
        WorkloadKind::Deployment => {
            let done = says_complete(workload);
            let said = workload.progress.as_ref().filter(|p| &*p.reason == COMPLETE_REASON);
            let at = said
                .and_then(|progress| progress.last_update)
                .map_or(receipt, |at| Evidence { interval: Interval::second(at), basis: Basis::Condition });
            (done && ready >= wanted).then_some(at)
        }
        WorkloadKind::StatefulSet => {
            let rolled = match workload.strategy {
                Strategy::OnDelete => true,
                Strategy::Rolling { .. } => is_one_revision(workload),
            };
            let done = rolled && workload.ready >= workload.replicas && !has_surplus(workload);
            (done && ready >= wanted).then_some(receipt)
        }
        WorkloadKind::DaemonSet => {
            let enough = DAEMON_SET_SHARE * wanted;
            let rolled = match workload.strategy {
                Strategy::OnDelete => true,
                Strategy::Rolling { .. } => workload.updated as f64 >= enough,
            };
            (rolled && workload.available as f64 >= enough && ready >= enough).then_some(receipt)
        }
        WorkloadKind::CronJob => None,
    }
}

/// Whether the status by itself says that the rollout of the present template is complete. Without its pods that is
/// no evidence of which image runs, only that some pods of the template did.
#[must_use]
pub fn says_complete(workload: &Workload) -> bool {
    if workload.observed_generation < workload.generation || workload.replicas == 0 {
        return false;
    }
    match (workload.key.kind, workload.strategy) {
        (WorkloadKind::CronJob, _) | (_, Strategy::OnDelete) => false,
        (WorkloadKind::Deployment, _) => {
            workload.updated >= workload.replicas
                && workload.status_replicas <= workload.updated
                && workload.available >= workload.updated
        }
        (WorkloadKind::StatefulSet, _) => {
            is_one_revision(workload) && workload.ready >= workload.replicas && !has_surplus(workload)
        }
        (WorkloadKind::DaemonSet, _) => {
            workload.updated >= workload.replicas && workload.available >= workload.replicas
        }
    }
}

/// Pods that are ready may be those that it was scaled down by: they have numbers, and the ones that stay may not be made.
fn has_surplus(workload: &Workload) -> bool {
    workload.status_replicas > workload.replicas
}

/// No pod of an older revision is meant to stay: a partition alone holds nothing back.
fn is_one_revision(workload: &Workload) -> bool {
    workload.update_revision == workload.current_revision
}
