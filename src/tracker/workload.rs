//! One workload as its cluster showed it: each time its template changed, what became of that template.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::by_name::ByName;
use super::evidence::{merge, on_our_clock};
use super::journey::Hold;
use super::maps::Map;
use super::pod_state::PodState;
use super::pods::{Complaint, template_of};
use super::reading;
use super::registry::Registries;
use super::renew::take_over;
use super::rollout;
use super::scale::{Scales, is_reached};
use super::stage::Evidence;
use super::tally::Tally;
use crate::image::{Digest, ImageRef, Repository, Tag};
use crate::observation::{
    Basis, ConfigMapUse, Interval, Job, Pod, Revision, TemplateHash, Time, Waiting, Workload, WorkloadKind,
};

/// Template changes of one workload that are remembered.
const VERSIONS_MAX: usize = 64;

/// Jobs of one CronJob: far more than its history limits leave. Those that went while nobody watched are never said
/// to be gone.
const JOBS_MAX: usize = 128;

/// One period during which the workload had this template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    pub template: TemplateHash,
    pub generation: i64,
    /// Generation when the workload was last seen with it.
    pub written: i64,
    /// Container name and image text, in the template's order.
    pub images: Vec<(Arc<str>, Arc<str>)>,
    /// The same texts read, in the same order. Follows from them.
    #[serde(skip)]
    pub references: Vec<Option<ImageRef>>,
    /// ConfigMaps that it names.
    pub config_maps: Vec<ConfigMapUse>,
    pub changed: Evidence,
    /// The same on our clock, to be compared with what other sources say.
    pub ours: Interval,
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
    /// From when on a pod of an older version with this template may have been first, by its clock and by ours: what
    /// it did is known to whole seconds, and this version came in that second.
    pub doubted: Option<(Time, Time)>,
    /// The rollout was complete, with these digests running per container.
    pub completes: Vec<Complete>,
    pub holds: Vec<HoldSpan>,
    /// The controller said that its progress deadline passed.
    pub deadline_exceeded: Option<Time>,
    /// When the status first said that the rollout was complete, whatever was seen of its pods.
    pub said_complete: Option<Interval>,
    /// Times at which the cluster's clock and our receipt contradicted each other.
    pub conflicts: u32,
    /// A Job of it gave up before any container ran.
    pub failed: Option<Interval>,
    /// Why a container of its pods did not run, as last seen: when they are gone nobody else tells.
    pub trouble: Option<Waiting>,
}

/// Per container.
pub type Firsts = ByName<Vec<First>>;

/// The first time something was seen with a running digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct First {
    pub digest: Option<Digest>,
    pub at: Evidence,
    /// The same on our clock.
    pub ours: Interval,
}

/// A moment at which a rollout was complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Complete {
    pub at: Evidence,
    /// The same on our clock.
    pub ours: Interval,
    /// When we learned of it, on our clock.
    pub learned: Time,
    pub digests: ByName<BTreeSet<Option<Digest>>>,
}

/// A time during which somebody chose to wait.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HoldSpan {
    pub hold: Hold,
    pub since: Time,
    pub until: Option<Time>,
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
    pub pods: Map<Arc<str>, PodState>,
    pub jobs: BTreeMap<Arc<str>, (Job, Interval)>,
    pub scales: Scales,
    pub removed: Option<Evidence>,
    /// What was not read yet, and whom it concerns. Follows from the rest: anew, everything is read again.
    #[serde(skip)]
    pub news: News,
}

/// What the last facts changed in a workload.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// Its journeys may be others now.
    pub derive: bool,
    /// Budgets, holds or their like changed: its open journeys are judged again.
    pub judge: bool,
    /// The first of the versions under which a digest ran that did not before.
    pub ran: Option<usize>,
    /// The first of the versions that pods did something first under, read and not told yet.
    pub(super) read: Option<usize>,
    /// The pods of the present template; absent where all must be read again.
    pub(super) tally: Option<Tally>,
}

impl Version {
    /// The reference of one container, if its text is one.
    #[must_use]
    pub fn image(&self, container: &str) -> Option<ImageRef> {
        self.read(container).cloned()
    }

    /// Reads the images anew.
    pub fn read_images(&mut self) {
        self.references = self.images.iter().map(|(_, image)| image.parse().ok()).collect();
    }

    /// The same without a copy.
    #[must_use]
    pub fn read(&self, container: &str) -> Option<&ImageRef> {
        let at = self.images.iter().position(|(name, _)| &**name == container)?;
        self.references.get(at)?.as_ref()
    }

    /// Whether it names a tag of a repository, or one of its digests, in any container.
    #[must_use]
    pub fn names(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> bool {
        self.references.iter().flatten().any(|image| {
            image.repository == *repository
                && image.digest.as_ref().map_or(image.tag.as_ref() == Some(tag), |named| named == digest)
        })
    }
}

/// The budgets that its annotations set: committed, applied, live.
#[must_use]
pub fn budgets(workload: &Workload) -> [Option<f64>; 3] {
    [workload.budget_committed_seconds, workload.budget_applied_seconds, workload.budget_live_seconds]
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
            pods: Map::default(),
            jobs: BTreeMap::new(),
            scales: Scales::default(),
            removed: None,
            now: workload,
            news: News { derive: true, ..News::default() },
        };
        state.begin_version(at, backfill, learned);
        state.scales.take(&state.now, at, false, backfill);
        state.note_holds();
        state
    }

    /// The workload as it is now.
    pub fn update(&mut self, workload: &Workload, at: Evidence, epoch: u64, learned: Time) {
        let template_changed = workload.template != self.now.template;
        let now = &self.now;
        self.news.derive |= template_changed
            || self.removed.is_some()
            || (workload.ignore, workload.autoscaled) != (now.ignore, now.autoscaled)
            || (&workload.app, &workload.environment) != (&now.app, &now.environment)
            || workload.containers != now.containers;
        self.news.judge |= workload.replica_failure != now.replica_failure
            || workload.refused_by != now.refused_by
            || workload.refusal != now.refusal
            || budgets(workload) != budgets(now)
            || workload.schedule != now.schedule;
        let rested = is_reached(now, rollout::says_complete(now));
        take_over(&mut self.now, workload);
        self.learned = at.interval;
        self.epoch = epoch;
        self.removed = None;
        if template_changed {
            self.begin_version(at, false, learned);
        }
        if self.scales.take(&self.now, at, rested, false) {
            (self.news.derive, self.news.tally) = (true, None);
        }
        self.note_holds();
    }

    fn begin_version(&mut self, at: Evidence, backfill: bool, learned: Time) {
        let (mut changed, mut ours) = (at, at.interval);
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
                // Written more than once while nobody watched: only the last time is told.
                let told = self.versions.last().map_or(self.now.generation, |last| last.written + 1);
                if at.basis == Basis::Relist && !conflict && self.now.generation > told {
                    changed.interval.not_before = at.interval.not_before;
                }
                ours = on_our_clock(changed.interval, at.interval);
                conflicts = u32::from(conflict);
            }
        }
        if let Some(last) = self.versions.last_mut() {
            close_holds(&mut last.holds, ours.not_after);
        }
        (self.news.derive, self.news.tally) = (true, None);
        self.versions.push(Version {
            references: self.now.containers.iter().map(|c| self.read(&c.image)).collect(),
            template: self.now.template,
            generation: self.now.generation,
            written: self.now.generation,
            images: self.now.containers.iter().map(|c| (c.name.clone(), c.image.clone())).collect(),
            config_maps: self.now.config_maps.clone(),
            changed,
            ours,
            learned,
            backfill,
            unwatched_since: (at.basis == Basis::Relist).then_some(at.interval.not_before),
            horizon: false,
            started: Firsts::default(),
            ready: Firsts::default(),
            doubted: None,
            completes: Vec::new(),
            holds: Vec::new(),
            deadline_exceeded: None,
            said_complete: None,
            failed: None,
            trouble: None,
            conflicts,
        });
        if self.versions.len() > VERSIONS_MAX {
            self.versions.remove(0);
            self.versions[0].horizon = true;
            // Their places are others now.
            self.news.read = self.news.read.map(|_| 0);
            self.news.ran = self.news.ran.map(|_| 0);
        }
    }

    /// An image's text, in the words of the version before where they are the same.
    fn read(&self, text: &str) -> Option<ImageRef> {
        let mut image: ImageRef = text.parse().ok()?;
        let before = self.versions.last().into_iter().flat_map(|version| &version.references).flatten();
        if let Some(known) = before.map(|known| &known.repository).find(|known| **known == image.repository) {
            image.repository = known.clone();
        }
        Some(image)
    }

    fn note_holds(&mut self) {
        let at = self.learned.not_after;
        let hold = rollout::hold(&self.now);
        let exceeded = rollout::deadline_exceeded(&self.now);
        let complete = rollout::says_complete(&self.now);
        let Some(version) = self.versions.last_mut() else { return };
        self.news.derive |= complete && version.said_complete.is_none();
        self.news.judge |= exceeded != version.deadline_exceeded.is_some();
        version.said_complete = version.said_complete.or(complete.then_some(self.learned));
        version.written = self.now.generation;
        version.deadline_exceeded = match (exceeded, version.deadline_exceeded) {
            (true, None) => Some(at),
            (true, known) => known,
            (false, _) => None,
        };
        let open = version.holds.last().filter(|span| span.until.is_none()).map(|span| span.hold);
        if open == hold {
            return;
        }
        self.news.judge = true;
        close_holds(&mut version.holds, at);
        if let Some(hold) = hold {
            version.holds.push(HoldSpan { hold, since: at, until: None });
        }
    }

    /// Whether its own cluster said what happened then: a template was written, or it was deleted.
    #[must_use]
    pub fn told(&self, at: Interval) -> bool {
        self.removed.is_some_and(|removed| removed.interval == at)
            || self.versions.iter().any(|version| version.ours == at)
            || self.scales.0.iter().any(|scale| scale.ours == at)
    }

    /// A moment at which a rollout was complete, on our clock; any other moment as it is.
    #[must_use]
    pub fn on_our_clock(&self, at: Interval) -> Interval {
        let mut completes = self.versions.iter().rev().flat_map(|version| &version.completes);
        let same = completes.find(|complete| complete.at.interval.not_after == at.not_after);
        let reached = || self.scales.0.iter().rev().filter_map(|scale| scale.reached);
        let same = same.map(|complete| complete.ours).or_else(|| {
            let same = reached().find(|reached| reached.at.interval.not_after == at.not_after)?;
            Some(same.ours)
        });
        same.unwrap_or(at)
    }

    /// A ReplicaSet or ControllerRevision of this workload.
    pub fn revision(&mut self, revision: Revision, epoch: u64) {
        let before = self.revisions.insert(revision.uid.clone(), (revision.clone(), epoch));
        let reads = |revision: &Revision| {
            let Revision { template, pod_hash, owner, created, .. } = revision;
            (*template, pod_hash.clone(), owner.clone(), *created)
        };
        if before.as_ref().is_none_or(|(before, _)| reads(before) != reads(&revision)) {
            before.iter().for_each(|(before, _)| self.note_revision(before));
            self.note_revision(&revision);
        }
    }

    /// A revision is gone.
    pub fn revision_gone(&mut self, uid: &str) {
        if let Some((revision, _)) = self.revisions.remove(uid) {
            self.note_revision(&revision);
        }
    }

    /// Whom a revision concerns that came, changed or went: pods of its hash, and versions that it was there before.
    fn note_revision(&mut self, revision: &Revision) {
        if self.pods.values().any(|state| state.pod.pod_hash.as_ref() == Some(&revision.pod_hash)) {
            self.news.tally = None;
            self.news.judge = true;
        }
        self.news.derive |= self.versions.iter().any(|version| was_there_before(version, revision));
    }

    /// A pod of this workload.
    pub fn pod(&mut self, pod: &Pod, learned: Interval, epoch: u64) {
        let template = self.template_of(pod);
        let before = self.pods.get(&pod.uid).map(|state| Complaint::of(&state.pod)).unwrap_or_default();
        let state = match self.pods.get_mut(&pod.uid) {
            Some(state) => {
                if let Some(tally) = &mut self.news.tally {
                    let before = if (&state.pod.owner, &state.pod.pod_hash) == (&pod.owner, &pod.pod_hash) {
                        template
                    } else {
                        template_of(&self.revisions, &self.now.uid, &state.pod)
                    };
                    tally.take(state, before);
                }
                state.update(pod, learned, epoch);
                state
            }
            None => self.pods.entry(pod.uid.clone()).or_insert(PodState::new(pod, learned, epoch)),
        };
        self.news.judge |= Complaint::of(&state.pod) != before;
        // Where all pods are to be read again, this one is, too.
        if let Some(tally) = &mut self.news.tally {
            tally.add(state, template);
            if template == Some(self.now.template) {
                self.news.derive |= reading::read_scale(&mut self.scales, &self.now, state);
            }
            if let Some(template) = template {
                let read = reading::read_pod(&mut self.versions, template, state);
                self.news.read = reading::earliest(self.news.read, read);
            }
        }
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, uid: &str) {
        let Some(state) = self.pods.remove(uid) else { return };
        self.news.judge |= !Complaint::of(&state.pod).is_none();
        if let Some(mut tally) = self.news.tally.take() {
            tally.take(&state, self.template_of(&state.pod));
            self.news.tally = Some(tally);
        }
    }

    /// Whether a pod of the present template may say that it cannot go on.
    #[must_use]
    pub fn may_complain(&self) -> bool {
        self.news.tally.as_ref().is_none_or(|tally| tally.complaining > 0)
    }

    /// Pods and revisions that a new epoch did not name are gone; true if any was.
    pub fn retain(&mut self, pods: impl Fn(&PodState) -> bool, revisions: impl Fn(u64) -> bool) -> bool {
        let before = (self.pods.len(), self.revisions.len());
        self.pods.retain(|_, pod| pods(pod));
        self.revisions.retain(|_, (_, seen)| revisions(*seen));
        let changed = before != (self.pods.len(), self.revisions.len());
        if changed {
            self.news.tally = None;
        }
        changed
    }

    /// The template of a pod, by its label and the revisions.
    #[must_use]
    pub fn template_of(&self, pod: &Pod) -> Option<TemplateHash> {
        template_of(&self.revisions, &self.now.uid, pod)
    }

    /// Whether a revision with that template was there before this version began: a rollback.
    #[must_use]
    pub fn is_reused(&self, index: usize) -> bool {
        let version = &self.versions[index];
        self.versions[..index].iter().any(|earlier| earlier.template == version.template)
            || self.revisions.values().any(|(revision, _)| was_there_before(version, revision))
    }

    /// A Job of this CronJob.
    pub fn job(&mut self, job: Job, learned: Interval) {
        self.jobs.insert(job.uid.clone(), (job, learned));
        if self.jobs.len() > JOBS_MAX {
            let oldest = self.jobs.iter().min_by_key(|(_, (job, _))| job.created).map(|(uid, _)| uid.clone());
            oldest.map(|uid| self.jobs.remove(&uid));
        }
    }

    /// A container of a pod that stays started before a moment of whole seconds. A CronJob's next pod is new anyway.
    #[must_use]
    pub fn runs_from_before(&self, at: Interval) -> bool {
        let mut pods =
            self.pods.values().map(|state| &state.pod).filter(|pod| !pod.deleting && !pod.finished);
        self.now.key.kind != WorkloadKind::CronJob
            && pods.any(|pod| {
                let before = |since| Interval::second(since).not_after < at.not_before;
                pod.containers.iter().any(|container| container.started.is_some_and(before))
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

fn was_there_before(version: &Version, revision: &Revision) -> bool {
    let before = version.changed.interval.not_before;
    revision.template == version.template && revision.created.is_some_and(|created| created + 999 < before)
}

fn close_holds(holds: &mut [HoldSpan], at: Time) {
    if let Some(span) = holds.last_mut()
        && span.until.is_none()
    {
        span.until = Some(at);
    }
}
