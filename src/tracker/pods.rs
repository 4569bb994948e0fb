//! What is asked of the pods of one workload: in which order, and of which template.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::maps::Map;
use super::workload::PodState;
use crate::observation::{Pod, Revision, TemplateHash};

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
