//! Where a destination belongs: its environment, its app, and what others of its kind do.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::journey::Destination;
use crate::observation::{ClusterUid, ObjectKey, Rules, Workload};

/// Identity of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DestinationKey {
    pub cluster: ClusterUid,
    pub workload: ObjectKey,
    pub container: Arc<str>,
}

/// Names one container of a workload as people know it.
#[must_use]
pub fn describe(
    key: &DestinationKey,
    cluster_name: &Arc<str>,
    workload: &Workload,
    rules: &Rules,
) -> Destination {
    Destination {
        cluster_uid: key.cluster.clone(),
        cluster: cluster_name.clone(),
        workload: key.workload.clone(),
        container: key.container.clone(),
        app: workload.app.clone().unwrap_or_else(|| key.workload.name.clone()),
        environment: environment(cluster_name, workload, rules),
        engine: "plain",
    }
}

/// Configuration, then the annotation, then the namespace.
#[must_use]
pub fn environment(cluster_name: &str, workload: &Workload, rules: &Rules) -> Arc<str> {
    let covers = |names: &[Arc<str>], name: &str| names.is_empty() || names.iter().any(|n| &**n == name);
    let configured = rules.environments.iter().find(|environment| {
        covers(&environment.clusters, cluster_name)
            && covers(&environment.namespaces, &workload.key.namespace)
    });
    match (configured, &workload.environment) {
        (Some(environment), _) => environment.name.clone(),
        (None, Some(annotated)) => annotated.clone(),
        (None, None) => workload.key.namespace.clone(),
    }
}

/// Position in promotion order; environments without a place come last and promote nothing.
#[must_use]
pub fn promotion_rank(environment: &str, rules: &Rules) -> Option<usize> {
    rules.environments.iter().position(|rule| &*rule.name == environment)
}
