//! What a fact is the latest word about: of two facts with the same key the later one is enough.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::observation::{Fact, Observation, Subject};

/// A hash of kind and subject. At 128 bits two subjects never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectKey(u64, u64);

/// The key of an observation; `None` where each one counts.
#[must_use]
pub fn key(observation: &Observation) -> Option<SubjectKey> {
    let hash = |salt: u8| {
        let mut to = DefaultHasher::new();
        salt.hash(&mut to);
        write(observation, &mut to).then(|| to.finish())
    };
    Some(SubjectKey(hash(1)?, hash(2)?))
}

/// Its subject is gone for good and nothing refers to it any more: no need to remember even that. A tag is still
/// in the list of the first look, so its end must be remembered as long.
#[must_use]
pub fn is_over(observation: &Observation) -> bool {
    match &observation.fact {
        Fact::Absent { subject } => match subject {
            Subject::Tag { .. } | Subject::Branch { .. } => false,
            Subject::Workload { .. }
            | Subject::Revision { .. }
            | Subject::Pod { .. }
            | Subject::Job { .. }
            | Subject::ConfigMap { .. }
            | Subject::Engine { .. }
            | Subject::Namespace { .. } => true,
        },
        _ => false,
    }
}

fn write(observation: &Observation, to: &mut DefaultHasher) -> bool {
    let cluster = &observation.cluster;
    match &observation.fact {
        Fact::ConfigInForce(_) => "config".hash(to),
        Fact::ClusterNamed { .. } => ("cluster", cluster).hash(to),
        Fact::TagPointsTo { repository, tag, .. } => ("tag", repository, tag).hash(to),
        Fact::TagsListed { repository, .. } => ("tags", repository).hash(to),
        Fact::Expected { repository, tag, environment } => {
            ("expected", repository, tag, environment).hash(to);
        }
        Fact::ImageDescribed(image) => ("image", &image.repository, &image.digest).hash(to),
        Fact::TreeNames(tree) => ("tree", &tree.url, &tree.branch, &tree.path).hash(to),
        Fact::WorkloadIs(workload) => ("workload", cluster, &workload.key, &workload.uid).hash(to),
        Fact::RevisionIs(revision) => ("revision", cluster, &revision.uid).hash(to),
        Fact::PodIs(pod) => ("pod", cluster, &pod.uid).hash(to),
        // A hint that the next process hears again, and nothing goes while a journey is open: one is enough.
        Fact::ProbeFailed(_) => ("probe", cluster).hash(to),
        Fact::JobIs(job) => ("job", cluster, &job.uid).hash(to),
        Fact::ConfigMapIs(map) => ("configmap", cluster, &map.uid).hash(to),
        Fact::EngineIs(object) => ("engine", cluster, &object.uid).hash(to),
        Fact::NamespaceIs(namespace) => ("namespace", cluster, &namespace.uid).hash(to),
        Fact::Absent { subject } => match subject {
            Subject::Tag { repository, tag } => ("tag", repository, tag).hash(to),
            Subject::Branch { url, branch } => ("branch", url, branch).hash(to),
            Subject::Workload { key, uid } => ("workload", cluster, key, uid).hash(to),
            Subject::Revision { uid } => ("revision", cluster, uid).hash(to),
            Subject::Pod { uid } => ("pod", cluster, uid).hash(to),
            Subject::Job { uid } => ("job", cluster, uid).hash(to),
            Subject::ConfigMap { uid } => ("configmap", cluster, uid).hash(to),
            Subject::Engine { uid } => ("engine", cluster, uid).hash(to),
            Subject::Namespace { uid } => ("namespace", cluster, uid).hash(to),
        },
        Fact::LookCompleted { scope, .. } => ("look", cluster, scope).hash(to),
        Fact::LookFailed { scope, .. } => ("failed", cluster, scope).hash(to),
        Fact::Unknown => return false,
    }
    true
}
