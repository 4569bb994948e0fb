//! The kinds this API serves: one table, from which discovery, paths and columns follow. Those of Flux are
//! served only where Flux is the engine.

use crate::demo::engine::Engine;

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
    ImageRepository,
    ImagePolicy,
    ImageUpdateAutomation,
    GitRepository,
    OciRepository,
    HelmRepository,
    HelmChart,
    Bucket,
    ExternalArtifact,
    Kustomization,
    HelmRelease,
    Receiver,
}

/// How a kind is called and where it is found.
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    /// The version in which objects are kept.
    pub(super) version: &'static str,
    /// Older versions in which they can be asked for; the objects look the same in all of them.
    pub(super) older: &'static [&'static str],
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
    Named { kind, name, group, version: "v1", older: &[], plural, short, namespaced, subresources }
}

/// A kind of Flux: namespaced, with a status of its own.
const fn custom(
    kind: Kind,
    name: &'static str,
    (group, version): (&'static str, &'static str),
    older: &'static [&'static str],
    plural: &'static str,
    short: &'static [&'static str],
) -> Named {
    Named { kind, name, group, version, older, plural, short, namespaced: true, subresources: STATUS }
}

const IMAGE: (&str, &str) = ("image.toolkit.fluxcd.io", "v1");
const SOURCE: (&str, &str) = ("source.toolkit.fluxcd.io", "v1");
const KUSTOMIZE: (&str, &str) = ("kustomize.toolkit.fluxcd.io", "v1");
const HELM: (&str, &str) = ("helm.toolkit.fluxcd.io", "v2");
const NOTIFICATION: (&str, &str) = ("notification.toolkit.fluxcd.io", "v1");
const BETA: &[&str] = &["v1beta2"];

const STATUS: &[&str] = &["status"];
const STATUS_AND_SCALE: &[&str] = &["status", "scale"];

/// In the order of [`Kind`], so that a kind finds its own line.
pub(super) static KINDS: [Named; 25] = [
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
    custom(Kind::ImageRepository, "ImageRepository", IMAGE, BETA, "imagerepositories", &["imgrepo"]),
    custom(Kind::ImagePolicy, "ImagePolicy", IMAGE, BETA, "imagepolicies", &["imgpol"]),
    custom(
        Kind::ImageUpdateAutomation,
        "ImageUpdateAutomation",
        IMAGE,
        BETA,
        "imageupdateautomations",
        &["iua", "imgupd", "imgauto"],
    ),
    custom(Kind::GitRepository, "GitRepository", SOURCE, &[], "gitrepositories", &["gitrepo"]),
    custom(Kind::OciRepository, "OCIRepository", SOURCE, &[], "ocirepositories", &["ocirepo"]),
    custom(Kind::HelmRepository, "HelmRepository", SOURCE, &[], "helmrepositories", &["helmrepo"]),
    custom(Kind::HelmChart, "HelmChart", SOURCE, &[], "helmcharts", &["hc"]),
    custom(Kind::Bucket, "Bucket", SOURCE, &[], "buckets", &[]),
    custom(Kind::ExternalArtifact, "ExternalArtifact", SOURCE, &[], "externalartifacts", &["ea"]),
    custom(Kind::Kustomization, "Kustomization", KUSTOMIZE, BETA, "kustomizations", &["ks"]),
    custom(Kind::HelmRelease, "HelmRelease", HELM, &[], "helmreleases", &["hr"]),
    custom(Kind::Receiver, "Receiver", NOTIFICATION, &[], "receivers", &[]),
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

    pub(super) fn find(engine: Engine, group: &str, version: &str, plural: &str) -> Option<&'static Named> {
        served(engine)
            .find(|named| named.group == group && named.plural == plural && named.is_served_as(version))
    }

    pub(super) fn is_served_as(&self, version: &str) -> bool {
        self.versions().any(|one| one == version)
    }

    /// Every version, the best first.
    pub(super) fn versions(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.version).chain(self.older.iter().copied())
    }

    /// Whether it comes from a CustomResourceDefinition.
    pub(super) fn is_custom(&self) -> bool {
        self.group.ends_with(".fluxcd.io")
    }
}

/// The kinds that a cluster with this engine serves.
pub(super) fn served(engine: Engine) -> impl Iterator<Item = &'static Named> {
    KINDS.iter().filter(move |named| engine == Engine::Flux || !named.is_custom())
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
