//! One workload as its cluster showed it: each time its template changed, what became of that template.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evidence::{merge, own_time};
use super::journey::Hold;
use super::registry::Registries;
use super::rollout;
use super::stage::Evidence;
use crate::image::{Digest, ImageRef};
use crate::observation::{
    Basis, ConfigMapUse, Interval, Job, LiveWhen, Pod, Revision, TemplateHash, Time, Workload, WorkloadKind,
};

/// Template changes of one workload that are remembered.
const VERSIONS_MAX: usize = 64;
/// Times that one template became complete with other digests.
const COMPLETES_MAX: usize = 8;

/// One period during which the workload had this template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    pub template: TemplateHash,
    pub generation: i64,
    /// Container name and image text, in the template's order.
    pub images: Vec<(Arc<str>, Arc<str>)>,
    /// ConfigMaps that it names.
    pub config_maps: Vec<ConfigMapUse>,
    pub changed: Evidence,
    /// When we learned of it, on our clock.
    pub learned: Time,
    /// It was so at the first look.
    pub backfill: bool,
    /// A look found it after nobody had watched since then: how far the one before it came was not seen.
    pub unwatched_since: Option<Time>,
    /// Older versions fell out of memory: what it carries is where history begins, not a change.
    pub horizon: bool,
    /// First start and first readiness per container, by running digest.
    pub started: Firsts,
    pub ready: Firsts,
    /// The rollout was complete, with these digests running per container.
    pub completes: Vec<Complete>,
    pub holds: Vec<HoldSpan>,
    /// The controller said that its progress deadline passed.
    pub deadline_exceeded: Option<Time>,
    /// The status said that the rollout was complete, whatever was seen of its pods.
    pub said_complete: bool,
    /// Times at which the cluster's clock and our receipt contradicted each other.
    pub conflicts: u32,
    /// A Job of it gave up before any container ran.
    pub failed: Option<Interval>,
}

/// Per container.
pub type Firsts = BTreeMap<Arc<str>, Vec<First>>;

/// The first time something was seen with a running digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct First {
    pub digest: Option<Digest>,
    pub at: Evidence,
}

/// A moment at which a rollout was complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Complete {
    pub at: Evidence,
    /// When we learned of it, on our clock.
    pub learned: Time,
    pub digests: BTreeMap<Arc<str>, BTreeSet<Option<Digest>>>,
}

/// A time during which somebody chose to wait.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HoldSpan {
    pub hold: Hold,
    pub since: Time,
    pub until: Option<Time>,
}

/// What is remembered of a pod beyond its last status.
#[derive(Debug, Clone)]
pub struct PodState {
    pub pod: Pod,
    pub learned: Interval,
    /// When we first learned of it.
    pub since: Time,
    pub epoch: u64,
    /// Digest per container as first reported for the running container; later texts rewrite no history.
    pub digests: BTreeMap<Arc<str>, (Option<Time>, Option<Digest>)>,
}

/// See the file's front line.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkloadState {
    pub now: Workload,
    pub learned: Interval,
    pub epoch: u64,
    pub versions: Vec<Version>,
    pub revisions: BTreeMap<Arc<str>, (Revision, u64)>,
    #[serde(with = "super::checkpoint::pods")]
    pub pods: BTreeMap<Arc<str>, PodState>,
    pub jobs: BTreeMap<Arc<str>, (Job, Interval)>,
    pub removed: Option<Evidence>,
}

impl Version {
    /// The reference of one container, if its text is one.
    #[must_use]
    pub fn image(&self, container: &str) -> Option<ImageRef> {
        self.images.iter().find(|(name, _)| &**name == container)?.1.parse().ok()
    }
}

impl WorkloadState {
    /// A workload seen for the first time.
    #[must_use]
    pub fn new(workload: Workload, at: Evidence, backfill: bool, epoch: u64, learned: Time) -> Self {
        let mut state = Self {
            learned: at.interval,
            epoch,
            versions: Vec::new(),
            revisions: BTreeMap::new(),
            pods: BTreeMap::new(),
            jobs: BTreeMap::new(),
            removed: None,
            now: workload,
        };
        state.begin_version(at, backfill, learned);
        state.note_holds();
        state
    }

    /// The workload as it is now.
    pub fn update(&mut self, workload: Workload, at: Evidence, epoch: u64, learned: Time) {
        let template_changed = workload.template != self.now.template;
        self.now = workload;
        self.learned = at.interval;
        self.epoch = epoch;
        self.removed = None;
        if template_changed {
            self.begin_version(at, false, learned);
        }
        self.note_holds();
    }

    fn begin_version(&mut self, at: Evidence, backfill: bool, learned: Time) {
        let mut changed = at;
        let mut conflicts = 0;
        if let Some((written, _)) = self.now.template_written
            && !backfill
        {
            let written = Evidence { interval: written, basis: Basis::ManagedFields };
            // A write before the last version began is an older write of the same manager: no evidence.
            let previous = self.versions.last().map_or(Time::MIN, |v| v.changed.interval.not_before);
            if written.interval.not_after >= previous {
                let (merged, conflict) = merge(written, at);
                changed = merged;
                conflicts = u32::from(conflict);
            }
        }
        let end = changed.interval.not_after;
        if let Some(last) = self.versions.last_mut() {
            close_holds(&mut last.holds, end);
        }
        self.versions.push(Version {
            template: self.now.template,
            generation: self.now.generation,
            images: self.now.containers.iter().map(|c| (c.name.clone(), c.image.clone())).collect(),
            config_maps: self.now.config_maps.clone(),
            changed,
            learned,
            backfill,
            unwatched_since: (at.basis == Basis::Relist).then_some(at.interval.not_before),
            horizon: false,
            started: BTreeMap::new(),
            ready: BTreeMap::new(),
            completes: Vec::new(),
            holds: Vec::new(),
            deadline_exceeded: None,
            said_complete: false,
            failed: None,
            conflicts,
        });
        if self.versions.len() > VERSIONS_MAX {
            self.versions.remove(0);
            self.versions[0].horizon = true;
        }
    }

    fn note_holds(&mut self) {
        let at = self.learned.not_after;
        let hold = rollout::hold(&self.now);
        let exceeded = rollout::deadline_exceeded(&self.now);
        let complete = rollout::says_complete(&self.now);
        let Some(version) = self.versions.last_mut() else { return };
        version.said_complete |= complete;
        version.deadline_exceeded = match (exceeded, version.deadline_exceeded) {
            (true, None) => Some(at),
            (true, known) => known,
            (false, _) => None,
        };
        let open = version.holds.last().filter(|span| span.until.is_none()).map(|span| span.hold);
        if open == hold {
            return;
        }
        close_holds(&mut version.holds, at);
        if let Some(hold) = hold {
            version.holds.push(HoldSpan { hold, since: at, until: None });
        }
    }

    /// A ReplicaSet or ControllerRevision of this workload.
    pub fn revision(&mut self, revision: Revision, epoch: u64) {
        self.revisions.insert(revision.uid.clone(), (revision, epoch));
    }

    /// A pod of this workload.
    pub fn pod(&mut self, pod: Pod, learned: Interval, epoch: u64) {
        let known = self.pods.remove(&pod.uid);
        let since = known.as_ref().map_or(learned.not_after, |known| known.since.min(learned.not_after));
        let mut digests = known.map(|known| known.digests).unwrap_or_default();
        for container in &pod.containers {
            let first = digests.entry(container.name.clone()).or_insert((container.started, None));
            // A container started anew may run another digest; one that runs on cannot.
            let restarted = container.started.is_some() && first.0 != container.started;
            if restarted || first.1.is_none() {
                *first = (container.started.or(first.0), container.running.clone().or(first.1.take()));
            }
        }
        self.pods.insert(pod.uid.clone(), PodState { pod, learned, since, epoch, digests });
    }

    /// The template of a pod, by its label and the revisions.
    #[must_use]
    pub fn template_of(&self, pod: &Pod) -> Option<TemplateHash> {
        let hash = pod.pod_hash.as_ref()?;
        let owned = |revision: &&Revision| {
            revision.pod_hash == *hash
                && (pod.owner.as_ref() == Some(&revision.uid) || pod.owner.as_ref() == Some(&self.now.uid))
        };
        self.revisions.values().map(|(revision, _)| revision).find(owned).map(|revision| revision.template)
    }

    /// Whether a revision with that template was there before this version began: a rollback.
    #[must_use]
    pub fn is_reused(&self, index: usize) -> bool {
        let version = &self.versions[index];
        let before = version.changed.interval.not_before;
        self.versions[..index].iter().any(|earlier| earlier.template == version.template)
            || self.revisions.values().any(|(revision, _)| {
                revision.template == version.template
                    && revision.created.is_some_and(|created| created + 999 < before)
            })
    }

    /// Reads starts, readiness and completion off the present pods and status.
    pub fn refresh(&mut self, live_when: LiveWhen) {
        if self.now.key.kind == WorkloadKind::CronJob {
            self.refresh_jobs();
            return;
        }
        let pods: Vec<(TemplateHash, &PodState)> =
            self.pods.values().filter_map(|pod| Some((self.template_of(&pod.pod)?, pod))).collect();
        for (template, state) in &pods {
            let mut carrying = self.versions.iter_mut().rev().filter(|v| v.template == *template);
            let Some(version) = carrying.next() else { continue };
            // A pod from when the template was there before: only what it does from now on counts.
            let returns = state.since < version.learned && carrying.next().is_some();
            let from = if returns { version.changed.interval.not_after } else { Time::MIN };
            for container in &state.pod.containers {
                let digest = state.digests.get(&container.name).and_then(|(_, digest)| digest.clone());
                if let Some(started) = container.started {
                    let (at, conflict) = own_time(started, Basis::StatusField, state.learned);
                    let fresh = at.interval.not_before >= from
                        && note_first(&mut version.started, &container.name, &digest, at);
                    version.conflicts += u32::from(conflict && fresh);
                }
                if let Some(ready) = state.pod.ready.filter(|_| !state.pod.deleting) {
                    let (at, conflict) = own_time(ready, Basis::Condition, state.learned);
                    let fresh = at.interval.not_before >= from
                        && note_first(&mut version.ready, &container.name, &digest, at);
                    version.conflicts += u32::from(conflict && fresh);
                }
            }
        }
        let current: Vec<&PodState> = pods
            .iter()
            .filter(|(template, state)| {
                *template == self.now.template && !state.pod.deleting && !state.pod.finished
            })
            .map(|(_, state)| *state)
            .collect();
        if let Some(at) = rollout::complete(&self.now, &current, live_when, self.learned) {
            let mut digests: BTreeMap<Arc<str>, BTreeSet<Option<Digest>>> = BTreeMap::new();
            for state in &current {
                for (name, (_, digest)) in &state.digests {
                    digests.entry(name.clone()).or_default().insert(digest.clone());
                }
            }
            let learned = current
                .iter()
                .filter(|state| state.pod.ready.is_some())
                .map(|state| state.learned)
                .fold(self.learned, |last, next| if next.not_after > last.not_after { next } else { last });
            let receipt = Evidence { interval: learned, basis: Basis::Watch };
            if let Some(version) = self.versions.last_mut()
                && version.completes.last().is_none_or(|last| last.digests != digests)
                && version.completes.len() < COMPLETES_MAX
            {
                // The condition's own time is of the first completion; later ones have only our receipt.
                let own = at.basis == Basis::Condition
                    && version.completes.is_empty()
                    && at.interval.not_after >= version.changed.interval.not_before;
                let until = Evidence { interval: Interval::until(learned.not_after), basis: Basis::Watch };
                let (at, conflict) = if own { merge(at, until) } else { (receipt, false) };
                version.conflicts += u32::from(conflict);
                version.completes.push(Complete { at, learned: learned.not_after, digests });
            }
        }
    }

    /// A Job of this CronJob.
    pub fn job(&mut self, job: Job, learned: Interval) {
        self.jobs.insert(job.uid.clone(), (job, learned));
    }

    /// A version of a CronJob starts, and is live, with the first container that one of its Jobs runs. A Job that
    /// succeeded ran one, even if we never saw its pod.
    fn refresh_jobs(&mut self) {
        for (job, learned) in self.jobs.values() {
            let Some(version) = self.versions.iter_mut().rev().find(|version| runs(version, job)) else {
                continue;
            };
            let pods = self.pods.values().filter(|state| state.pod.owner.as_ref() == Some(&job.uid));
            let mut started = false;
            for state in pods {
                for container in state.pod.containers.iter().filter(|c| c.started.is_some()) {
                    let Some(at) = container.started else { continue };
                    let (at, conflict) = own_time(at, Basis::StatusField, state.learned);
                    let digest = state.digests.get(&container.name).and_then(|(_, digest)| digest.clone());
                    let fresh = note_first(&mut version.started, &container.name, &digest, at);
                    version.conflicts += u32::from(conflict && fresh);
                    started = true;
                }
            }
            if let Some(at) = job.started.filter(|_| job.succeeded && !started && version.started.is_empty())
            {
                let (at, _) = own_time(at, Basis::StatusField, *learned);
                for (name, _) in &version.images {
                    note_first(&mut version.started, name, &None, at);
                }
                started = true;
            }
            if job.failed && !started && version.started.is_empty() {
                version.failed.get_or_insert(*learned);
            }
            let first = version.started.values().flatten().min_by_key(|first| first.at.interval.not_after);
            if let Some(at) = first.map(|first| first.at).filter(|_| version.completes.is_empty()) {
                let digests = version
                    .started
                    .iter()
                    .map(|(name, firsts)| (name.clone(), firsts.iter().map(|f| f.digest.clone()).collect()))
                    .collect();
                version.completes.push(Complete { at, learned: learned.not_after, digests });
            }
        }
    }

    /// A container of a pod that stays started before a moment of whole seconds. A CronJob's next pod is new anyway.
    #[must_use]
    pub fn runs_from_before(&self, at: Interval) -> bool {
        let mut pods =
            self.pods.values().map(|state| &state.pod).filter(|pod| !pod.deleting && !pod.finished);
        self.now.key.kind != WorkloadKind::CronJob
            && pods.any(|pod| {
                pod.containers.iter().any(|c| c.started.is_some_and(|since| since < at.not_before))
            })
    }

    /// Pods of one template, not being deleted, run different images in a container. One image has several digests:
    /// its index, its manifest, and whatever other repository has the same on the node.
    #[must_use]
    pub fn mixed_digests(&self, container: &str, registries: &Registries) -> bool {
        let running: BTreeSet<&Digest> = self
            .pods
            .values()
            .filter(|state| !state.pod.deleting && !state.pod.finished)
            .filter(|state| self.template_of(&state.pod) == Some(self.now.template))
            .filter_map(|state| state.digests.get(container)?.1.as_ref())
            .collect();
        let differs = |left: &&Digest| running.iter().any(|right| !registries.can_be_one(left, right));
        running.iter().any(differs)
    }
}

/// A Job carries a version: same containers, same images, and not made before it, as far as the clocks tell.
fn runs(version: &Version, job: &Job) -> bool {
    let same = |(name, image): &(Arc<str>, Arc<str>)| {
        job.containers.iter().any(|c| c.name == *name && c.image == *image)
    };
    let after = job.created.is_none_or(|at| at + 999 >= version.changed.interval.not_before);
    version.images.iter().all(same) && (after || version.backfill)
}

fn close_holds(holds: &mut [HoldSpan], at: Time) {
    if let Some(span) = holds.last_mut()
        && span.until.is_none()
    {
        span.until = Some(at);
    }
}

/// Keeps the earliest start per digest; true if it was new or earlier.
fn note_first(firsts: &mut Firsts, container: &Arc<str>, digest: &Option<Digest>, at: Evidence) -> bool {
    let list = firsts.entry(container.clone()).or_default();
    if digest.is_some() {
        // The same container before its digest was known.
        list.retain(|first| first.digest.is_some() || first.at.interval.not_before != at.interval.not_before);
    }
    match list.iter_mut().find(|first| first.digest == *digest) {
        None => {
            list.push(First { digest: digest.clone(), at });
            true
        }
        Some(first) if at.interval.not_before < first.at.interval.not_before => {
            first.at = at;
            true
        }
        Some(_) => false,
    }
}
