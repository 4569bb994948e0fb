//! Which observations decide one journey: of its image's repository, of workloads that use that and what belongs to
//! them, of the branches that name it, and how fresh all of these were.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::image::{ImageRef, Repository};
use crate::observation::{ClusterUid, Fact, Observation, Rules, Scope, Subject, Time, TreeNames, Workload};
use crate::tracker::Journey;

/// Observations of one bundle.
const OBSERVATIONS_MAX: usize = 100_000;
/// Revisions and Jobs whose owner is noted: ten times those of a large cluster, within 50 MiB.
const OWNED_MAX: usize = 200_000;
/// Looks are taken from so long before the journey on. Before, only what changed counts.
const BEFORE_MILLIS: i64 = 3_600_000;
/// Everything is taken until so long after its end: the longest that it can take to settle, and a little.
const AFTER_MILLIS: i64 = 1_200_000;

/// An observation, and which of all it was.
type Numbered = (usize, Observation);

/// Collects the observations of one journey. All are handed over twice, oldest first: what is owned may be told before
/// its owner, and most of what is told of pods is of others.
#[derive(Debug)]
pub struct Slice {
    repository: Repository,
    environment: Arc<str>,
    cluster: Arc<str>,
    workload: crate::observation::ObjectKey,
    from: Time,
    until: Time,
    rules: Rules,
    /// UIDs of workloads, their revisions and Jobs.
    owners: HashSet<Arc<str>>,
    /// Who owns a revision or a Job, while its owner may still be told.
    owned: HashMap<Arc<str>, Arc<str>>,
    pods: HashSet<Arc<str>>,
    branches: BTreeSet<(Arc<str>, Arc<str>)>,
    /// With their numbers, oldest first.
    taken: Vec<Numbered>,
    /// The last look at each scope before the journey; of those before only the first says anything more.
    looks: HashMap<(Option<ClusterUid>, Scope), Option<Numbered>>,
    number: usize,
}

impl Slice {
    /// For this journey.
    #[must_use]
    pub fn new(journey: &Journey) -> Self {
        let opened = journey.opened;
        let began = if opened.not_before.is_known() { opened.not_before } else { opened.not_after };
        Self {
            repository: journey.image.repository.clone(),
            environment: journey.destination.environment.clone(),
            cluster: journey.destination.cluster_uid.clone(),
            workload: journey.destination.workload.clone(),
            from: began - BEFORE_MILLIS,
            until: journey.ended.map_or(Time::MAX, |ended| ended.not_after + AFTER_MILLIS),
            rules: Rules::default(),
            owners: HashSet::new(),
            owned: HashMap::new(),
            pods: HashSet::new(),
            branches: BTreeSet::new(),
            taken: Vec::new(),
            looks: HashMap::new(),
            number: 0,
        }
    }

    /// Looks at the next observation for the first time.
    ///
    /// # Errors
    /// The clusters have too many revisions.
    pub fn learn(&mut self, observation: &Observation) -> Result<(), String> {
        if observation.observed_at > self.until {
            return Ok(());
        }
        match &observation.fact {
            Fact::WorkloadIs(workload) if self.concerns_workload(observation, workload) => {
                self.owners.insert(workload.uid.clone());
            }
            Fact::RevisionIs(revision) => {
                self.owned.insert(revision.uid.clone(), revision.owner.clone());
            }
            Fact::JobIs(job) => {
                if let Some(owner) = &job.owner {
                    self.owned.insert(job.uid.clone(), owner.clone());
                }
            }
            _ => {}
        }
        if self.owned.len() > OWNED_MAX {
            return Err(format!("more than {OWNED_MAX} revisions and Jobs were observed"));
        }
        Ok(())
    }

    /// Everything was looked at once.
    pub fn learned(&mut self) {
        let owned = std::mem::take(&mut self.owned);
        let ours = owned.into_iter().filter(|(_, owner)| self.owners.contains(owner)).map(|(uid, _)| uid);
        let ours: Vec<_> = ours.collect();
        self.owners.extend(ours);
    }

    /// Looks at the next observation for the second time.
    ///
    /// # Errors
    /// They are too many for a bundle.
    pub fn take(&mut self, observation: Observation) -> Result<(), String> {
        self.number += 1;
        if observation.observed_at > self.until || !self.concerns(&observation) {
            return Ok(());
        }
        if let Fact::LookCompleted { scope, .. } = &observation.fact
            && observation.observed_at < self.from
        {
            let key = (observation.cluster.clone(), scope.clone());
            if let Some(last) = self.looks.get_mut(&key) {
                *last = Some((self.number, observation));
                return Ok(());
            }
            self.looks.insert(key, None);
        }
        self.taken.push((self.number, observation));
        if self.taken.len() + self.looks.len() > OBSERVATIONS_MAX {
            return Err(format!("more than {OBSERVATIONS_MAX} observations concern this journey"));
        }
        Ok(())
    }

    /// What decides the journey.
    #[must_use]
    pub fn end(self) -> Vec<Observation> {
        let mut taken = self.taken;
        taken.extend(self.looks.into_values().flatten());
        taken.sort_by_key(|(number, _)| *number);
        taken.into_iter().map(|(_, observation)| observation).collect()
    }

    fn concerns(&mut self, observation: &Observation) -> bool {
        match &observation.fact {
            Fact::ConfigInForce(rules) => {
                self.rules = (**rules).clone();
                true
            }
            Fact::ClusterNamed { .. } => true,
            Fact::TagPointsTo { repository, .. }
            | Fact::TagsListed { repository, .. }
            | Fact::Expected { repository, .. } => *repository == self.repository,
            Fact::ImageDescribed(image) => image.repository == self.repository,
            Fact::TreeNames(tree) => self.concerns_tree(tree),
            Fact::WorkloadIs(workload) => {
                let ours = self.concerns_workload(observation, workload);
                if ours {
                    self.owners.insert(workload.uid.clone());
                }
                ours
            }
            Fact::RevisionIs(revision) => self.owns(Some(&revision.owner), &revision.uid),
            Fact::JobIs(job) => self.owns(job.owner.as_ref(), &job.uid),
            Fact::PodIs(pod) => {
                let ours = pod.owner.as_ref().is_some_and(|owner| self.owners.contains(owner));
                if ours {
                    self.pods.insert(pod.uid.clone());
                }
                ours
            }
            Fact::ProbeFailed(failed) => self.pods.contains(&failed.pod),
            Fact::ConfigMapIs(map) => map.namespace == self.workload.namespace,
            // Who selects, fetches and applies for it is known only to who reads them all; they are few.
            Fact::EngineIs(_) => true,
            Fact::NamespaceIs(namespace) => namespace.name == self.workload.namespace,
            Fact::Absent { subject } => match subject {
                Subject::Tag { repository, .. } => *repository == self.repository,
                Subject::Workload { uid, .. } => self.owners.contains(uid),
                Subject::Branch { url, branch } => self.branches.contains(&(url.clone(), branch.clone())),
                Subject::Revision { uid } | Subject::Job { uid } => self.owners.contains(uid),
                Subject::Pod { uid } => self.pods.contains(uid),
                Subject::ConfigMap { .. } | Subject::Engine { .. } | Subject::Namespace { .. } => true,
            },
            Fact::LookCompleted { scope, .. } | Fact::LookFailed { scope, .. } => match scope {
                Scope::Repository(repository) => *repository == self.repository,
                Scope::Branch { .. } | Scope::Resource { .. } => true,
                Scope::Endpoint(_) => false,
            },
            Fact::Unknown => false,
        }
    }

    /// A revision or a Job is ours where its owner is. One that was made since the first time is noted here.
    fn owns(&mut self, owner: Option<&Arc<str>>, uid: &Arc<str>) -> bool {
        let ours = owner.is_some_and(|owner| self.owners.contains(owner));
        if ours && !self.owners.contains(uid) {
            self.owners.insert(uid.clone());
        }
        ours
    }

    /// The journey's own workload, and others that use the image: whether it was live elsewhere before makes a
    /// promotion of it.
    fn concerns_workload(&self, observation: &Observation, workload: &Workload) -> bool {
        if workload.key == self.workload && observation.cluster.as_ref() == Some(&self.cluster) {
            return true;
        }
        let images = workload.containers.iter().filter_map(|c| c.image.parse::<ImageRef>().ok());
        images.into_iter().any(|image| image.repository == self.repository)
    }

    fn concerns_tree(&mut self, tree: &TreeNames) -> bool {
        let sets = self.rules.paths.iter().any(|rule| {
            rule.url == tree.url
                && rule.branch == tree.branch
                && rule.path == tree.path
                && rule.environment == self.environment
        });
        let names = tree.references.iter().any(|reference| reference.image.repository == self.repository);
        if sets || names {
            self.branches.insert((tree.url.clone(), tree.branch.clone()));
        }
        sets || names
    }
}
