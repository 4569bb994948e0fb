//! Every fault: its name on the command line, where it applies, and what happens. In the order of [`Fault`].

use super::Fault;
use crate::demo::engine::Engine;

pub(super) struct Told {
    pub(super) fault: Fault,
    pub(super) name: &'static str,
    pub(super) engines: &'static [Engine],
    pub(super) sentence: &'static str,
}

const BOTH: &[Engine] = &Engine::ALL;
const FLUX: &[Engine] = &[Engine::Flux];

const fn told(fault: Fault, name: &'static str, engines: &'static [Engine], sentence: &'static str) -> Told {
    Told { fault, name, engines, sentence }
}

pub(super) const TABLE: [Told; 43] = [
    told(
        Fault::MissingTag,
        "missing-tag",
        BOTH,
        "the updater commits a tag that was never pushed: ErrImagePull",
    ),
    told(
        Fault::CrashLoop,
        "crash-loop",
        BOTH,
        "images pushed from now on exit with code 1: CrashLoopBackOff",
    ),
    told(Fault::NeverReady, "never-ready", BOTH, "images pushed from now on run and never become ready"),
    told(Fault::SlowPull, "slow-pull", BOTH, "the node takes 20 seconds longer to pull an image"),
    told(
        Fault::UpdaterDown,
        "updater-down",
        BOTH,
        "nobody looks for new tags, nothing is committed; with Flux, its automation is stopped",
    ),
    told(Fault::ApplierDown, "applier-down", BOTH, "nobody applies what git says"),
    told(Fault::RegistryDown, "registry-down", BOTH, "the registry answers 503 to everybody"),
    told(Fault::RegistrySlow, "registry-slow", BOTH, "the registry takes 3 seconds for every answer"),
    told(
        Fault::RegistryThrottled,
        "registry-throttled",
        BOTH,
        "the registry allows 6 requests a second and answers 429 with Retry-After to the rest",
    ),
    told(Fault::GitDown, "git-down", BOTH, "the git server answers 503 to everybody"),
    told(Fault::WatchDrop, "watch-drop", BOTH, "the Kubernetes API cuts every watch after 2 seconds"),
    told(
        Fault::WatchExpired,
        "watch-expired",
        BOTH,
        "watches are cut after 2 seconds, and resuming one is refused with 410",
    ),
    told(Fault::Unschedulable, "unschedulable", BOTH, "the scheduler finds no node for new pods"),
    told(Fault::Quota, "quota", BOTH, "a quota forbids new pods: FailedCreate"),
    told(Fault::ScanLate, "scan-late", FLUX, "the image reflector is stopped: nobody scans the registry"),
    told(
        Fault::ScanFailing,
        "scan-failing",
        BOTH,
        "the registry refuses the credentials of who looks for new tags",
    ),
    told(
        Fault::ListTruncated,
        "list-truncated",
        BOTH,
        "who looks for new tags gets a list that lacks the newest one",
    ),
    told(
        Fault::AutomationFailing,
        "automation-failing",
        BOTH,
        "the git server refuses the updater's pushes with 403",
    ),
    told(
        Fault::AutomationRace,
        "automation-race",
        BOTH,
        "whenever the updater pushes, somebody else was quicker, and the push is refused",
    ),
    told(
        Fault::GitAuth,
        "git-auth",
        BOTH,
        "the git server refuses the credentials of who fetches for the cluster",
    ),
    told(
        Fault::SourceFailing,
        "source-failing",
        BOTH,
        "the git server answers 500 to who fetches for the cluster",
    ),
    told(
        Fault::BuildFailed,
        "build-failed",
        FLUX,
        "somebody commits a kustomization.yaml for prod that names a missing file",
    ),
    told(
        Fault::InvalidManifest,
        "invalid-manifest",
        BOTH,
        "somebody commits -1 replicas for web in prod, and the API refuses it",
    ),
    told(
        Fault::ApplyConflict,
        "apply-conflict",
        BOTH,
        "somebody else owns the images in prod, and the applier does not force",
    ),
    told(Fault::AdmissionDenied, "admission-denied", BOTH, "an admission webhook denies Deployments in prod"),
    told(
        Fault::DependencyNotReady,
        "dependency-not-ready",
        FLUX,
        "the Kustomization that all others depend on cannot be built",
    ),
    told(
        Fault::ReadinessGate,
        "readiness-gate",
        BOTH,
        "somebody commits a readiness gate for prod that nobody opens, and a deadline of 10 minutes",
    ),
    told(
        Fault::ProgressDeadline,
        "progress-deadline",
        BOTH,
        "images pushed from now on take 15 seconds to become ready, which is longer than the deadline",
    ),
    told(Fault::PullDenied, "pull-denied", BOTH, "the registry refuses the node's credentials: ErrImagePull"),
    told(
        Fault::PullRegistryDown,
        "pull-registry-down",
        BOTH,
        "the node cannot reach the registry: ErrImagePull",
    ),
    told(
        Fault::ProbeFailing,
        "probe-failing",
        BOTH,
        "somebody commits a readiness probe for prod at a path that does not exist",
    ),
    told(
        Fault::ConfigNotRolled,
        "config-not-rolled",
        BOTH,
        "somebody commits another setting for web in prod, and nothing restarts its pods",
    ),
    told(
        Fault::SuspendedImageRepository,
        "suspended-image-repository",
        FLUX,
        "somebody suspends the ImageRepositories",
    ),
    told(
        Fault::SuspendedAutomation,
        "suspended-automation",
        FLUX,
        "somebody suspends the ImageUpdateAutomation",
    ),
    told(Fault::SuspendedSource, "suspended-source", FLUX, "somebody suspends the GitRepository"),
    told(
        Fault::SuspendedKustomization,
        "suspended-kustomization",
        FLUX,
        "somebody suspends the Kustomization of prod",
    ),
    told(Fault::Paused, "paused", BOTH, "somebody pauses the Deployments in prod"),
    told(
        Fault::PolicyExcludes,
        "policy-excludes",
        FLUX,
        "somebody makes the policies take nothing but the tag they have",
    ),
    told(
        Fault::ManualApproval,
        "manual-approval",
        FLUX,
        "somebody makes the ImageUpdateAutomation push to a branch of proposals, and nobody merges them",
    ),
    told(
        Fault::DiskFull,
        "disk-full",
        BOTH,
        "the node has no room to unpack an image: ErrImagePull without a word of the registry",
    ),
    told(
        Fault::CreateError,
        "create-error",
        BOTH,
        "somebody commits the name of a ConfigMap that does not exist for prod: CreateContainerConfigError",
    ),
    told(
        Fault::ControllersDown,
        "controllers-down",
        BOTH,
        "the cluster's controllers are stopped: nobody makes ReplicaSets and pods",
    ),
    told(
        Fault::SlowRollout,
        "slow-rollout",
        BOTH,
        "somebody commits minReadySeconds of 15 for prod, and a deadline of 10 minutes: every rollout takes long",
    ),
];
