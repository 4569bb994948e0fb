//! The kinds this API serves: one table, from which discovery, paths and columns follow.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Namespace,
    Node,
    Pod,
    Event,
    ConfigMap,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    ControllerRevision,
    Job,
    CronJob,
    Lease,
}

/// How a kind is called and where it is found.
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) namespaced: bool,
    /// `status` and `scale`, where the kind has them.
    pub(super) subresources: &'static [&'static str],
}

const fn named(
    kind: Kind,
    name: &'static str,
    group: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    subresources: &'static [&'static str],
) -> Named {
    let namespaced = !matches!(kind, Kind::Namespace | Kind::Node);
    Named { kind, name, group, version: "v1", plural, short, namespaced, subresources }
}

const STATUS: &[&str] = &["status"];
const STATUS_AND_SCALE: &[&str] = &["status", "scale"];

/// In the order of [`Kind`], so that a kind finds its own line.
pub(super) static KINDS: [Named; 13] = [
    named(Kind::Namespace, "Namespace", "", "namespaces", &["ns"], STATUS),
    named(Kind::Node, "Node", "", "nodes", &["no"], STATUS),
    named(Kind::Pod, "Pod", "", "pods", &["po"], STATUS),
    named(Kind::Event, "Event", "", "events", &["ev"], &[]),
    named(Kind::ConfigMap, "ConfigMap", "", "configmaps", &["cm"], &[]),
    named(Kind::Deployment, "Deployment", "apps", "deployments", &["deploy"], STATUS_AND_SCALE),
    named(Kind::ReplicaSet, "ReplicaSet", "apps", "replicasets", &["rs"], STATUS_AND_SCALE),
    named(Kind::StatefulSet, "StatefulSet", "apps", "statefulsets", &["sts"], STATUS_AND_SCALE),
    named(Kind::DaemonSet, "DaemonSet", "apps", "daemonsets", &["ds"], STATUS),
    named(Kind::ControllerRevision, "ControllerRevision", "apps", "controllerrevisions", &[], &[]),
    named(Kind::Job, "Job", "batch", "jobs", &[], STATUS),
    named(Kind::CronJob, "CronJob", "batch", "cronjobs", &["cj"], STATUS),
    named(Kind::Lease, "Lease", "coordination.k8s.io", "leases", &[], &[]),
];

impl Kind {
    pub(super) fn named(self) -> &'static Named {
        &KINDS[self as usize]
    }

    /// Whether a change of the spec raises `metadata.generation`.
    pub(super) fn has_generation(self) -> bool {
        !matches!(self, Kind::Namespace | Kind::Node | Kind::Event | Kind::ConfigMap | Kind::Lease)
    }

    pub(super) fn has_status(self) -> bool {
        self.named().subresources.contains(&"status")
    }
}

impl Named {
    /// `v1` or `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(super) fn find(group: &str, plural: &str) -> Option<&'static Named> {
        KINDS.iter().find(|named| named.group == group && named.plural == plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_finds_its_own_line() {
        for named in &KINDS {
            assert_eq!(named.kind.named().name, named.name);
        }
    }
}
