//! The clusters: their workloads, and who owns which revision, job and pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config_map::ConfigMaps;
use super::engine::Engines;
use super::maps::Map;
use super::namespaces::Namespaces;
use super::probes::Probes;
use super::stage::Evidence;
use super::workload::WorkloadState;
use crate::observation::{
    ConfigMap, Interval, Job, LiveWhen, ObjectKey, Pod, ProbeFailed, Revision, Time, Workload,
};

/// Objects whose owner has not been seen yet. Watches of several kinds race; an owner nobody watches never
/// comes, so what waits for it is bounded.
const ORPHANS_MAX: usize = 50_000;

/// Something that waits for its owner.
#[derive(Debug, Serialize, Deserialize)]
pub enum Orphan {
    Revision(Revision),
    Pod(Pod, Interval),
    Job(Job, Interval),
}

/// Whom a fact about a workload concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns {
    Nobody,
    /// Its journeys may be others now.
    Journeys,
    /// Budgets and holds of its open journeys.
    Budgets,
    /// Nothing but the reason why something is stuck.
    Reasons,
}

/// What waits for one owner, by its own UID, with the epoch that told of it.
pub type Waiting = BTreeMap<Arc<str>, (Orphan, u64)>;

/// One cluster.
#[derive(Debug, Default)]
pub struct ClusterState {
    pub name: Option<Arc<str>>,
    /// Looked up for every fact; nothing may depend on their order.
    pub workloads: Map<ObjectKey, WorkloadState>,
    /// From the UID of a workload, revision or Job to its workload.
    pub(super) owners: Map<Arc<str>, ObjectKey>,
    /// By owner, then by their own UID.
    pub(super) orphans: BTreeMap<Arc<str>, Waiting>,
    /// From an orphan's UID to its owner's.
    pub(super) awaited: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) pods: Map<Arc<str>, ObjectKey>,
    pub config_maps: ConfigMaps,
    pub engines: Engines,
    pub probes: Probes,
    pub namespaces: Namespaces,
}

impl ClusterState {
    /// A workload is so; answers its key.
    pub fn workload(
        &mut self,
        workload: &Workload,
        at: Evidence,
        backfill: bool,
        epoch: u64,
        learned: Time,
    ) -> ObjectKey {
        let Workload { key, uid, .. } = workload;
        match self.workloads.get_mut(key) {
            // Who it is was noted when it came.
            Some(state) if state.now.uid == *uid => state.update(workload, at, epoch, learned),
            _ => {
                // A namesake made anew has its own history.
                let state = WorkloadState::new(workload.clone(), at, backfill, epoch, learned);
                self.workloads.insert(key.clone(), state);
                self.owners.insert(uid.clone(), key.clone());
                self.adopt(uid);
            }
        }
        key.clone()
    }

    /// A revision is so; answers its workload, if that is known.
    pub fn revision(&mut self, revision: Revision, epoch: u64) -> Option<ObjectKey> {
        let Some(key) = self.owners.get(&revision.owner).cloned() else {
            let (owner, uid) = (revision.owner.clone(), revision.uid.clone());
            self.wait(owner, uid, Orphan::Revision(revision), epoch);
            return None;
        };
        let uid = revision.uid.clone();
        belongs(&mut self.owners, &uid, &key);
        if let Some(state) = self.workloads.get_mut(&key) {
            state.revision(revision, epoch);
        }
        self.adopt(&uid);
        Some(key)
    }

    /// A Job is so; answers its CronJob, if that is known.
    pub fn job(&mut self, job: &Job, learned: Interval, epoch: u64) -> Option<ObjectKey> {
        let owner = job.owner.clone()?;
        let Some(key) = self.owners.get(&owner).cloned() else {
            self.wait(owner, job.uid.clone(), Orphan::Job(job.clone(), learned), epoch);
            return None;
        };
        self.owners.insert(job.uid.clone(), key.clone());
        if let Some(state) = self.workloads.get_mut(&key) {
            state.job(job.clone(), learned);
        }
        self.adopt(&job.uid);
        Some(key)
    }

    /// A pod is so; answers its workload, if that is known.
    pub fn pod(&mut self, pod: &Pod, learned: Interval, epoch: u64) -> Option<ObjectKey> {
        if pod.ready.is_some() {
            self.probes.over(&pod.uid);
        }
        let owner = pod.owner.as_ref()?;
        let Some(key) = self.owners.get(owner) else {
            self.wait(owner.clone(), pod.uid.clone(), Orphan::Pod(pod.clone(), learned), epoch);
            return None;
        };
        belongs(&mut self.pods, &pod.uid, key);
        if let Some(state) = self.workloads.get_mut(key) {
            state.pod(pod, learned, epoch);
        }
        Some(key.clone())
    }

    /// A probe of a pod failed; answers its workload, if that is known.
    pub fn probe_failed(&mut self, failed: &ProbeFailed) -> Option<ObjectKey> {
        let key = self.pods.get(&failed.pod).cloned();
        let state = key.as_ref().and_then(|key| self.workloads.get(key)?.pods.get(&failed.pod));
        // A watch may tell of it after another one told that the pod is ready.
        if state.is_some_and(|state| state.pod.ready.is_some()) {
            return None;
        }
        self.probes.failed(&failed.pod, &failed.says);
        key
    }

    /// A ConfigMap is so; answers the workloads that name it where its data was written.
    pub fn config_map(
        &mut self,
        now: &ConfigMap,
        at: Evidence,
        backfill: bool,
        epoch: u64,
    ) -> Vec<ObjectKey> {
        if !self.config_maps.take(now, at, backfill, epoch) {
            return Vec::new();
        }
        let names = |state: &WorkloadState| state.now.config_maps.iter().any(|used| used.name == now.name);
        let readers = self.workloads.iter().filter(|(key, _)| key.namespace == now.namespace);
        readers.filter(|(_, state)| names(state)).map(|(key, _)| key.clone()).collect()
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, uid: &Arc<str>) -> Option<ObjectKey> {
        self.forget_orphan(uid);
        self.probes.over(uid);
        let key = self.pods.remove(uid)?;
        self.workloads.get_mut(&key)?.pod_gone(uid);
        Some(key)
    }

    /// A revision is gone.
    pub fn revision_gone(&mut self, uid: &Arc<str>) -> Option<ObjectKey> {
        self.forget_orphan(uid);
        let key = self.owners.remove(uid)?;
        self.workloads.get_mut(&key)?.revision_gone(uid);
        Some(key)
    }

    /// A Job is gone. What it ran stays known.
    pub fn job_gone(&mut self, uid: &Arc<str>) -> Option<ObjectKey> {
        self.forget_orphan(uid);
        let key = self.owners.remove(uid)?;
        self.workloads.get_mut(&key)?.jobs.remove(uid);
        Some(key)
    }

    /// A workload is gone.
    pub fn workload_gone(&mut self, key: &ObjectKey, uid: &str, at: Evidence) -> bool {
        match self.workloads.get_mut(key) {
            Some(state) if *state.now.uid == *uid && state.removed.is_none() => {
                state.removed = Some(at);
                state.news.derive = true;
                true
            }
            _ => false,
        }
    }

    /// A complete look of a new epoch is over: what it did not name is gone.
    pub fn sweep(&mut self, resource: &str, epoch: u64, at: Evidence) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        if resource == "namespaces" {
            self.namespaces.sweep(epoch);
            return touched;
        }
        if resource == "configmaps" {
            self.config_maps.sweep(epoch);
            return touched;
        }
        self.sweep_orphans(resource, epoch);
        for (key, state) in &mut self.workloads {
            let changed = match resource {
                "pods" => state.retain(|pod| pod.epoch >= epoch, |_| true),
                "replicasets" | "controllerrevisions" => {
                    let other = (resource == "replicasets") != owns_replica_sets(key);
                    state.retain(|_| true, |seen| other || seen >= epoch)
                }
                _ if plural(key) == resource && state.epoch < epoch && state.removed.is_none() => {
                    state.removed = Some(at);
                    true
                }
                _ => false,
            };
            if changed {
                state.news.derive = true;
                touched.insert(key.clone());
            }
        }
        touched
    }

    /// Reads starts, readiness and completion of one workload, and answers whom the news concern.
    pub fn refresh(&mut self, key: &ObjectKey, live_when: LiveWhen) -> Concerns {
        let Some(state) = self.workloads.get_mut(key) else { return Concerns::Nobody };
        let changed = state.refresh(live_when);
        let (derive, judge) = (std::mem::take(&mut state.news.derive), std::mem::take(&mut state.news.judge));
        match (changed || derive, judge) {
            (true, _) => Concerns::Journeys,
            (false, true) => Concerns::Budgets,
            (false, false) => Concerns::Reasons,
        }
    }

    /// UIDs of what its workload has no more: it was not named by a relist, or its workload was made anew.
    pub fn forget_uids(&mut self) {
        let workloads = &self.workloads;
        self.pods.retain(|uid, key| workloads.get(key).is_some_and(|state| state.pods.contains_key(uid)));
        let (pods, awaited) = (&self.pods, &self.awaited);
        self.probes.retain(|pod| pods.contains_key(pod) || awaited.contains_key(pod));
        self.owners.retain(|uid, key| {
            workloads.get(key).is_some_and(|state| {
                state.now.uid == *uid || state.revisions.contains_key(uid) || state.jobs.contains_key(uid)
            })
        });
    }

    /// Objects that wait for their owner, and UIDs whose workload is known.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.awaited.len(), self.owners.len() + self.pods.len())
    }

    /// At the bound a newcomer is refused: it is told again when it changes, or with the next relist.
    fn wait(&mut self, owner: Arc<str>, uid: Arc<str>, orphan: Orphan, epoch: u64) {
        if self.awaited.len() >= ORPHANS_MAX && !self.awaited.contains_key(&uid) {
            return;
        }
        self.awaited.insert(uid.clone(), owner.clone());
        self.orphans.entry(owner).or_default().insert(uid, (orphan, epoch));
    }

    /// What waited for its owner and is not named any more. Revisions of two kinds wait alike; they are few.
    fn sweep_orphans(&mut self, resource: &str, epoch: u64) {
        let awaited = &mut self.awaited;
        self.orphans.retain(|_, waiting| {
            waiting.retain(|uid, (orphan, seen)| {
                let swept = match orphan {
                    Orphan::Pod(..) => resource == "pods",
                    Orphan::Job(..) => resource == "jobs",
                    Orphan::Revision(_) => false,
                };
                let keep = !swept || *seen >= epoch;
                if !keep {
                    awaited.remove(uid);
                }
                keep
            });
            !waiting.is_empty()
        });
    }

    fn forget_orphan(&mut self, uid: &Arc<str>) {
        let Some(owner) = self.awaited.remove(uid) else { return };
        if let Some(waiting) = self.orphans.get_mut(&owner) {
            waiting.remove(uid);
            if waiting.is_empty() {
                self.orphans.remove(&owner);
            }
        }
    }

    fn adopt(&mut self, owner: &Arc<str>) {
        let Some(waiting) = self.orphans.remove(owner) else { return };
        for (uid, (orphan, epoch)) in waiting {
            self.awaited.remove(&uid);
            match orphan {
                Orphan::Revision(revision) => drop(self.revision(revision, epoch)),
                Orphan::Pod(pod, learned) => drop(self.pod(&pod, learned, epoch)),
                Orphan::Job(job, learned) => drop(self.job(&job, learned, epoch)),
            }
        }
    }
}

/// Notes whose something is, where that is not known yet.
fn belongs(whose: &mut Map<Arc<str>, ObjectKey>, uid: &Arc<str>, key: &ObjectKey) {
    if whose.get(uid) != Some(key) {
        whose.insert(uid.clone(), key.clone());
    }
}

fn owns_replica_sets(key: &ObjectKey) -> bool {
    plural(key) == "deployments"
}

/// The resource name of a workload's kind.
#[must_use]
pub fn plural(key: &ObjectKey) -> &'static str {
    use crate::observation::WorkloadKind::{CronJob, DaemonSet, Deployment, StatefulSet};
    match key.kind {
        Deployment => "deployments",
        StatefulSet => "statefulsets",
        DaemonSet => "daemonsets",
        CronJob => "cronjobs",
    }
}
