//! The resources that are watched: one table of what each is called and where it lives.

use std::fmt;

use crate::observation::{EngineKind, WorkloadKind};

/// One watched resource of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    Deployments,
    StatefulSets,
    DaemonSets,
    CronJobs,
    ReplicaSets,
    ControllerRevisions,
    Jobs,
    Pods,
    /// Only their metadata: what they hold is nobody's business here.
    ConfigMaps,
    /// Only their metadata: their labels say to whom what is in them belongs.
    Namespaces,
    /// Core v1 events, of which only the kubelet's words about images and probes are read.
    Events,
    /// A kind of an engine that delivers, where it is installed.
    Engine(EngineKind),
}

impl Resource {
    /// Every resource that each cluster has, owners before what they own.
    pub const ALL: [Self; 11] = [
        Self::Namespaces,
        Self::Deployments,
        Self::StatefulSets,
        Self::DaemonSets,
        Self::CronJobs,
        Self::ReplicaSets,
        Self::ControllerRevisions,
        Self::Jobs,
        Self::Pods,
        Self::ConfigMaps,
        Self::Events,
    ];

    /// All of them, with those that only some clusters have.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(EngineKind::ALL.into_iter().map(Self::Engine))
    }

    /// As the API's paths and roles name it.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::DaemonSets => "daemonsets",
            Self::CronJobs => "cronjobs",
            Self::ReplicaSets => "replicasets",
            Self::ControllerRevisions => "controllerrevisions",
            Self::Jobs => "jobs",
            Self::Pods => "pods",
            Self::ConfigMaps => "configmaps",
            Self::Namespaces => "namespaces",
            Self::Events => "events",
            Self::Engine(kind) => kind.plural(),
        }
    }

    /// The resource with this plural name; `None` for one that is not watched.
    #[must_use]
    pub fn from_plural(plural: &str) -> Option<Self> {
        Self::all().find(|resource| resource.plural() == plural)
    }

    /// One object of it, as metrics name it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        let plural = self.plural();
        match self {
            Self::Engine(EngineKind::ImagePolicy) => "imagepolicy",
            Self::Engine(EngineKind::ImageRepository) => "imagerepository",
            Self::Engine(EngineKind::GitRepository) => "gitrepository",
            Self::Engine(EngineKind::OCIRepository) => "ocirepository",
            Self::Engine(EngineKind::HelmRepository) => "helmrepository",
            _ => plural.strip_suffix('s').unwrap_or(plural),
        }
    }

    /// The kind of workload that its objects are, if they are workloads.
    #[must_use]
    pub fn workload_kind(self) -> Option<WorkloadKind> {
        match self {
            Self::Deployments => Some(WorkloadKind::Deployment),
            Self::StatefulSets => Some(WorkloadKind::StatefulSet),
            Self::DaemonSets => Some(WorkloadKind::DaemonSet),
            Self::CronJobs => Some(WorkloadKind::CronJob),
            Self::ReplicaSets
            | Self::ControllerRevisions
            | Self::Jobs
            | Self::Pods
            | Self::ConfigMaps
            | Self::Namespaces
            | Self::Events
            | Self::Engine(_) => None,
        }
    }

    /// The API group, empty for the core.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Pods | Self::ConfigMaps | Self::Namespaces | Self::Events => "",
            Self::Jobs | Self::CronJobs => "batch",
            Self::Deployments
            | Self::StatefulSets
            | Self::DaemonSets
            | Self::ReplicaSets
            | Self::ControllerRevisions => "apps",
            Self::Engine(kind) => match kind {
                EngineKind::ImageRepository | EngineKind::ImagePolicy | EngineKind::ImageUpdateAutomation => {
                    "image.toolkit.fluxcd.io"
                }
                EngineKind::GitRepository
                | EngineKind::OCIRepository
                | EngineKind::Bucket
                | EngineKind::HelmRepository
                | EngineKind::HelmChart
                | EngineKind::ExternalArtifact => "source.toolkit.fluxcd.io",
                EngineKind::Kustomization => "kustomize.toolkit.fluxcd.io",
                EngineKind::HelmRelease => "helm.toolkit.fluxcd.io",
                EngineKind::Receiver => "notification.toolkit.fluxcd.io",
            },
        }
    }

    /// The versions whose objects are understood, the best first. All have the fields that are read in one place, or
    /// do not have them.
    #[must_use]
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Engine(EngineKind::HelmRelease) => &["v2", "v2beta2", "v2beta1"],
            Self::Engine(_) => &["v1", "v1beta2", "v1beta1"],
            _ => &["v1"],
        }
    }

    /// Where all of it is listed, over all namespaces, in its best version.
    #[must_use]
    pub fn path(self) -> String {
        match self.group() {
            "" => format!("/api/v1/{}", self.plural()),
            group => format!("/apis/{group}/{}/{}", self.versions()[0], self.plural()),
        }
    }

    /// What the server should leave out, where it can. Events are the most numerous objects of a cluster.
    pub(super) fn field_selector(self) -> Option<&'static str> {
        match self {
            Self::Events => Some(
                "involvedObject.kind=Pod,reason!=Scheduled,reason!=Created,reason!=Started,reason!=Killing,\
                 reason!=BackOff,reason!=Pulling,reason!=FailedScheduling",
            ),
            // Every namespace has these, and no manifest writes them.
            Self::ConfigMaps => Some(
                "metadata.name!=kube-root-ca.crt,metadata.name!=openshift-service-ca.crt,\
                 metadata.name!=istio-ca-root-cert",
            ),
            _ => None,
        }
    }

    /// The media types that a list, and a watch, ask for.
    pub(super) fn accept(self) -> Accept {
        match self {
            Self::ConfigMaps | Self::Namespaces => METADATA_ONLY,
            _ => WHOLE,
        }
    }

    /// How long silence is normal. Bookmarks come each minute, but never for events.
    pub(super) fn look_interval_seconds(self) -> f64 {
        match self {
            Self::Events => EVENTS_LOOK_INTERVAL_SECONDS,
            _ => LOOK_INTERVAL_SECONDS,
        }
    }

    /// The server sends periodic bookmarks for it, so that silence means a dead connection.
    pub(super) fn has_bookmarks(self) -> bool {
        self != Self::Events
    }
}

/// What is asked for, in a list and in a watch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accept {
    pub list: &'static str,
    pub watch: &'static str,
}

/// Whole objects.
pub(super) const WHOLE: Accept = Accept { list: "application/json", watch: "application/json" };
/// Objects without spec, data and status. Every API server since 1.15 makes them of every kind; what stands in
/// front of one and does not know them may answer with whole objects.
const METADATA_ONLY: Accept = Accept {
    list: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    watch: "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
};
/// The API server's own period of bookmarks.
pub const LOOK_INTERVAL_SECONDS: f64 = 60.0;
/// A watch of events may be silent until it is opened again: the longest `timeoutSeconds` we ask for.
const EVENTS_LOOK_INTERVAL_SECONDS: f64 = 300.0;

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}
