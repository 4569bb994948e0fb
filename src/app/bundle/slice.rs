//! Which observations decide one journey: of its image's repository, of workloads that use that and what belongs to
//! them, of the branches that name it, and how fresh all of these were.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::image::{ImageRef, Repository};
use crate::observation::{Fact, Observation, Rules, Scope, Subject, Time, TreeNames, Workload};
use crate::tracker::Journey;

/// Observations of one bundle.
const OBSERVATIONS_MAX: usize = 100_000;
/// Looks are taken from so long before the journey on. Before, only what changed counts.
const BEFORE_MILLIS: i64 = 3_600_000;
/// Everything is taken until so long after its end: the longest that it can take to settle, and a little.
const AFTER_MILLIS: i64 = 1_200_000;

/// Collects the observations of one journey, handed over oldest first.
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
    owners: BTreeSet<Arc<str>>,
    branches: BTreeSet<(Arc<str>, Arc<str>)>,
    taken: Vec<Observation>,
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
            owners: BTreeSet::new(),
            branches: BTreeSet::new(),
            taken: Vec::new(),
        }
    }

    /// Looks at the next observation.
    ///
    /// # Errors
    /// They are too many for a bundle.
    pub fn take(&mut self, observation: Observation) -> Result<(), String> {
        if observation.observed_at > self.until || !self.concerns(&observation) {
            return Ok(());
        }
        if self.taken.len() >= OBSERVATIONS_MAX {
            return Err(format!("more than {OBSERVATIONS_MAX} observations concern this journey"));
        }
        self.taken.push(observation);
        Ok(())
    }

    /// What decides the journey.
    ///
    /// What is owned may be told before its owner, so it is sorted out at the end; and of the looks before the
    /// journey the first and the last of each scope say enough.
    #[must_use]
    pub fn end(self) -> Vec<Observation> {
        let Self { mut owners, taken, from, .. } = self;
        // Revisions and Jobs may be told before their workload too.
        for observation in &taken {
            let (owner, uid) = match &observation.fact {
                Fact::RevisionIs(revision) => (Some(&revision.owner), &revision.uid),
                Fact::JobIs(job) => (job.owner.as_ref(), &job.uid),
                _ => continue,
            };
            if owner.is_some_and(|owner| owners.contains(owner)) {
                owners.insert(uid.clone());
            }
        }
        let mut first = BTreeSet::new();
        let mut last = BTreeSet::new();
        let mut keep: Vec<bool> = taken
            .iter()
            .rev()
            .map(|observation| match &observation.fact {
                Fact::LookCompleted { scope, .. } if observation.observed_at < from => {
                    last.insert((observation.cluster.clone(), scope.clone()))
                }
                _ => true,
            })
            .collect();
        keep.reverse();
        let known = |owner: Option<&Arc<str>>| owner.is_some_and(|owner| owners.contains(owner));
        let mut pods = BTreeSet::new();
        let kept = taken.into_iter().zip(keep).filter(|(observation, keep)| match &observation.fact {
            Fact::LookCompleted { scope, .. } => {
                let is_first = first.insert((observation.cluster.clone(), scope.clone()));
                *keep || is_first
            }
            Fact::PodIs(pod) => {
                let ours = known(pod.owner.as_ref());
                if ours {
                    pods.insert(pod.uid.clone());
                }
                ours
            }
            Fact::RevisionIs(revision) => known(Some(&revision.owner)),
            Fact::JobIs(job) => known(job.owner.as_ref()),
            Fact::Absent { subject: Subject::Pod { uid } } => pods.contains(uid),
            Fact::Absent { subject: Subject::Revision { uid } | Subject::Job { uid } } => known(Some(uid)),
            _ => true,
        });
        kept.map(|(observation, _)| observation).collect()
    }

    fn concerns(&mut self, observation: &Observation) -> bool {
        match &observation.fact {
            Fact::ConfigInForce(rules) => {
                self.rules = (**rules).clone();
                true
            }
            Fact::ClusterNamed { .. } => true,
            Fact::TagPointsTo { repository, .. } | Fact::TagsListed { repository, .. } => {
                *repository == self.repository
            }
            Fact::ImageDescribed(image) => image.repository == self.repository,
            Fact::TreeNames(tree) => self.concerns_tree(tree),
            Fact::WorkloadIs(workload) => {
                let ours = self.concerns_workload(observation, workload);
                if ours {
                    self.owners.insert(workload.uid.clone());
                }
                ours
            }
            Fact::RevisionIs(_) | Fact::JobIs(_) | Fact::PodIs(_) => true,
            Fact::ConfigMapIs(map) => map.namespace == self.workload.namespace,
            Fact::Absent { subject } => match subject {
                Subject::Tag { repository, .. } => *repository == self.repository,
                Subject::Workload { uid, .. } => self.owners.contains(uid),
                Subject::Branch { url, branch } => self.branches.contains(&(url.clone(), branch.clone())),
                Subject::Revision { .. }
                | Subject::Pod { .. }
                | Subject::Job { .. }
                | Subject::ConfigMap { .. } => true,
            },
            Fact::LookCompleted { scope, .. } | Fact::LookFailed { scope, .. } => match scope {
                Scope::Repository(repository) => *repository == self.repository,
                Scope::Branch { .. } | Scope::Resource { .. } => true,
            },
            Fact::Unknown => false,
        }
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
