//! What a cluster says: workloads, their revisions and their pods, cut down to the fields that are read.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Interval, Owner, Time};
use crate::image::Digest;

/// Which kind of workload carries the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    CronJob,
}

impl WorkloadKind {
    /// As kubectl writes it in `kind/name`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::CronJob => "cronjob",
        }
    }
}

/// A workload's place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    pub kind: WorkloadKind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -n {}", self.kind.as_str(), self.name, self.namespace)
    }
}

/// Our hash of a pod template without the labels that controllers add: equal templates have equal hashes in
/// the workload, its ReplicaSets and its ControllerRevisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemplateHash(pub u64);

/// A workload at one moment. Counts that the API leaves out are zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    pub key: ObjectKey,
    pub uid: Arc<str>,
    pub created: Option<Time>,
    pub generation: i64,
    pub observed_generation: i64,
    pub template: TemplateHash,
    /// The template's ordinary containers, in its order.
    pub containers: Vec<ContainerSpec>,
    /// When the template's fields were last written, and by whom, from `managedFields` (whole seconds).
    pub template_written: Option<(Interval, Arc<str>)>,
    /// `spec.replicas`; for a DaemonSet `desiredNumberScheduled`.
    pub replicas: i64,
    /// When `spec.replicas` was last written, from `managedFields` (whole seconds); absent where that was through the
    /// subresource `scale`, of which they tell no time.
    #[serde(default)]
    pub replicas_written: Option<Interval>,
    /// Somebody else than a person at kubectl holds `spec.replicas` through the subresource `scale`: an autoscaler.
    #[serde(default)]
    pub autoscaled: bool,
    /// `status.replicas`; for a DaemonSet `currentNumberScheduled`.
    pub status_replicas: i64,
    pub updated: i64,
    pub ready: i64,
    pub available: i64,
    /// The Deployment's condition `Progressing`.
    pub progress: Option<Progress>,
    /// The condition `ReplicaFailure` is true: quota, admission.
    pub replica_failure: bool,
    /// Who refuses its pods, where the message of that condition says so.
    #[serde(default)]
    pub refused_by: Option<Refuser>,
    /// The words of that message, cut, without the name of the pod that was refused.
    #[serde(default)]
    pub refusal: Option<Arc<str>>,
    pub paused: bool,
    pub strategy: Strategy,
    /// StatefulSet: `status.currentRevision` and `status.updateRevision`.
    pub current_revision: Option<Arc<str>>,
    pub update_revision: Option<Arc<str>>,
    /// Set for a CronJob.
    pub schedule: Option<Schedule>,
    /// `app.kubernetes.io/name`, or the annotation `knotmeter.dev/app`, which wins.
    pub app: Option<Arc<str>>,
    /// Annotation `knotmeter.dev/environment`.
    pub environment: Option<Arc<str>>,
    /// Annotation `knotmeter.dev/ignore` is `true`.
    pub ignore: bool,
    /// Annotations `knotmeter.dev/budget-committed`, `/budget-applied` and `/budget-live`, in seconds.
    #[serde(default)]
    pub budget_committed_seconds: Option<f64>,
    #[serde(default)]
    pub budget_applied_seconds: Option<f64>,
    pub budget_live_seconds: Option<f64>,
    /// To whom its own labels say that it belongs.
    #[serde(default)]
    pub owner: Owner,
    /// ConfigMaps that the template names, each once.
    pub config_maps: Vec<ConfigMapUse>,
    /// Engine, namespace and name of the applier that the labels name: a hint, not proof.
    pub applier: Option<(Arc<str>, Arc<str>, Arc<str>)>,
}

/// A container of a template. The text is kept as written: it may not be a valid reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: Arc<str>,
    pub image: Arc<str>,
    /// `imagePullPolicy: Always`, written or defaulted.
    pub pull_always: bool,
}

/// How a template uses a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfigMapUse {
    pub name: Arc<str>,
    /// Read only when a container starts: an environment variable, or a mount with `subPath`. Other mounts follow
    /// within about a minute.
    pub at_start: bool,
}

/// A ConfigMap at one moment. Its content is never read, only when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMap {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// When its data was last written, from `managedFields` (whole seconds).
    pub written: Option<Interval>,
}

/// Condition `Progressing` of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub reason: Arc<str>,
    /// `lastUpdateTime`, whole seconds.
    pub last_update: Option<Time>,
}

/// Who refuses to have pods made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuser {
    Quota,
    /// An admission policy or webhook.
    Admission,
}

/// How a workload replaces its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Rolling or recreating; a StatefulSet's partition, zero elsewhere.
    Rolling { partition: i64 },
    /// Pods change only when somebody deletes them.
    OnDelete,
}

/// When a CronJob runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub cron: Arc<str>,
    /// IANA name; the controller's own zone, nearly always UTC, where absent.
    pub time_zone: Option<Arc<str>>,
    pub suspended: bool,
}

/// A ReplicaSet or ControllerRevision: one template of a workload, and the label its pods carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// UID of the owning workload.
    pub owner: Arc<str>,
    pub template: TemplateHash,
    /// Value of `pod-template-hash` or `controller-revision-hash` on its pods.
    pub pod_hash: Arc<str>,
    pub created: Option<Time>,
    /// Grows when the revision is used again: a rollback.
    pub number: i64,
}

/// A Job of a CronJob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// UID of the owning CronJob, if one owns it.
    pub owner: Option<Arc<str>>,
    pub created: Option<Time>,
    /// `status.startTime`, whole seconds.
    pub started: Option<Time>,
    pub containers: Vec<ContainerSpec>,
    pub succeeded: bool,
    pub failed: bool,
}

/// A pod at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// UID of the controlling owner: ReplicaSet, StatefulSet, DaemonSet or Job.
    pub owner: Option<Arc<str>>,
    /// `pod-template-hash` or `controller-revision-hash`.
    pub pod_hash: Option<Arc<str>>,
    pub created: Option<Time>,
    /// A deletion timestamp is set.
    pub deleting: bool,
    /// Phase Succeeded or Failed.
    pub finished: bool,
    /// Condition `PodScheduled` is false with reason `Unschedulable`.
    pub unschedulable: bool,
    /// Condition `Ready` is true since then, whole seconds.
    pub ready: Option<Time>,
    pub containers: Vec<PodContainer>,
}

/// The status of one ordinary container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodContainer {
    pub name: Arc<str>,
    /// As the pod's spec names it.
    pub image: Arc<str>,
    /// The digest in `imageID`, whatever repository that names; absent until the image is known.
    pub running: Option<Digest>,
    /// `state.running.startedAt`, whole seconds.
    pub started: Option<Time>,
    pub ready: bool,
    pub waiting: Option<Waiting>,
    /// The kubelet's words of why it cannot be pulled or created, cut.
    #[serde(default)]
    pub says: Option<Arc<str>>,
    pub restarts: i64,
}

/// Why a container is not running, as a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// ErrImagePull, ImagePullBackOff, InvalidImageName, and their kin, where the message says no more.
    ImagePull,
    CrashLoop,
    /// CreateContainerConfigError, CreateContainerError, RunContainerError.
    CreateError,
    /// ContainerCreating, PodInitializing: normal for a while.
    Creating,
    Other,
    /// The pull fails: the registry has no such image.
    PullNotFound,
    /// The pull fails: the registry asks for a login, or forbids it.
    PullDenied,
    /// The pull fails: no connection to the registry, or an error of its own.
    PullRegistryDown,
}

impl Waiting {
    /// The image cannot be pulled, whyever.
    #[must_use]
    pub fn is_pull(self) -> bool {
        matches!(self, Self::ImagePull | Self::PullNotFound | Self::PullDenied | Self::PullRegistryDown)
    }
}

/// A probe of a pod failed, as the kubelet tells it in an Event. Events get lost, and good pods have them too while they
/// start: it may say why something is stuck, and never that it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeFailed {
    /// UID of the pod.
    pub pod: Arc<str>,
    /// The kubelet's words, cut.
    pub says: Arc<str>,
}
