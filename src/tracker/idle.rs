//! Why a commit that changes a number of replicas asks nothing of anybody.

use super::Tracker;
use super::git::{Change, Tree};
use crate::observation::ObjectKey;

/// See the file's front line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idle {
    /// The workload had so many already.
    HadThem(ObjectKey),
    /// An autoscaler decides how many it has.
    Autoscaled(ObjectKey),
    /// An entry of a kustomization decides, and not the manifest.
    Entry,
}

impl Tracker {
    /// Of the first workload that the change is for.
    pub(super) fn idle(&self, tree: &Tree, change: &Change) -> Option<Idle> {
        let replicas = change.replicas?;
        if change.idle {
            return Some(Idle::Entry);
        }
        let own = tree.environment.as_deref();
        let all = self.clusters.iter().flat_map(|(uid, cluster)| {
            cluster.workloads.iter().map(move |(key, workload)| (uid, key, workload))
        });
        let aimed = all.filter(|(_, key, workload)| change.slot.scales(key) && workload.removed.is_none());
        let mut mine = aimed.filter(|(uid, key, _)| self.environment_of(uid, key).as_deref() == own);
        mine.find_map(|(_, key, workload)| {
            let stood = workload.scales.standing(change.at.interval);
            if stood.is_some_and(|stood| stood.replicas == replicas) {
                return Some(Idle::HadThem(key.clone()));
            }
            workload.now.autoscaled.then(|| Idle::Autoscaled(key.clone()))
        })
    }
}
