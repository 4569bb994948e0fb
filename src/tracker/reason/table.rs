//! Every reason: what it means, where the fact is read, who can move it, and what looks closer. In the order of
//! [`Reason`].

use super::Reason;
use crate::tracker::stage::Stage;

/// What is to be known of a reason.
#[derive(Debug)]
pub struct Row {
    pub reason: Reason,
    /// The word used in labels, the page and the API.
    pub word: &'static str,
    /// Which stages it can keep a journey from.
    pub stages: &'static [Stage],
    /// What it means, and where to look.
    pub sentence: &'static str,
    /// Where the fact is read.
    pub evidence: &'static str,
    /// Who can move it.
    pub mover: &'static str,
    /// The command that looks closer. `{object}` is who keeps it, as kubectl takes it, or else `{workload}`.
    pub command: Option<&'static str>,
}

const COMMIT: &[Stage] = &[Stage::Committed];
const APPLY: &[Stage] = &[Stage::Fetched, Stage::Applied];
const FROM_FETCH: &[Stage] = &[Stage::Fetched, Stage::Applied, Stage::Started, Stage::Ready, Stage::Live];
const ROLL: &[Stage] = &[Stage::Started, Stage::Ready, Stage::Live];
const DESCRIBE: Option<&str> = Some("kubectl describe {object}");
const OPERATOR: &str = "whoever runs the cluster";
const AUTHOR: &str = "the author of the last commit under its path";
const TEAM: &str = "the app's team";
const WAITING: &str = "`Pod.status.containerStatuses[].state.waiting`: its reason and message";

/// See the file's front line.
pub static TABLE: [Row; 29] = [
    Row {
        reason: Reason::NotCommitted,
        word: "not_committed",
        stages: COMMIT,
        sentence: "no commit on the deploy branch names it: look at the updater and its access to registry and git",
        evidence: "the deploy branch's tree",
        mover: "whoever runs the updater",
        command: None,
    },
    Row {
        reason: Reason::NotApplied,
        word: "not_applied",
        stages: APPLY,
        sentence: "it is committed, but the workload's template does not carry it: look at the applier",
        evidence: "`spec.template.spec.containers[].image` of the workload",
        mover: "whoever runs the applier",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::ScanLate,
        word: "scan_late",
        stages: COMMIT,
        sentence: "the updater's scan of the registry is late: look at its controller",
        evidence: "`ImageRepository.status.lastScanResult.scanTime`",
        mover: "whoever runs the image reflector",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::ScanFailing,
        word: "scan_failing",
        stages: COMMIT,
        sentence: "the updater cannot list the registry's tags: look at its credentials and its network",
        evidence: "`.status.conditions[Ready]` of the ImageRepository and the ImagePolicy",
        mover: "the owner of its secret, or of the registry",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::ListTruncated,
        word: "list_truncated",
        stages: COMMIT,
        sentence: "the updater scanned after the push and did not see the tag: look at its exclusions, and at the registry's list",
        evidence: "`ImageRepository.status.lastScanResult.latestTags` and `.tagCount`",
        mover: "the owner of the ImageRepository, or of the registry",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::AutomationFailing,
        word: "automation_failing",
        stages: COMMIT,
        sentence: "the updater cannot write the tag to git: look at its last run and its marker",
        evidence: "`ImageUpdateAutomation.status.conditions[Ready]` and `.lastAutomationRunTime`",
        mover: "whoever runs the image automation",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::AutomationRace,
        word: "automation_race",
        stages: COMMIT,
        sentence: "the updater's pushes lose against others: look at who else pushes to its branch",
        evidence: "`ImageUpdateAutomation.status.conditions[Ready].message`",
        mover: "whoever else pushes to its branch",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::GitAuth,
        word: "git_auth",
        stages: &[Stage::Committed, Stage::Fetched],
        sentence: "the git host refuses the engine's credentials: look at its secret",
        evidence: "`.status.conditions[Ready].message` of the ImageUpdateAutomation or the GitRepository",
        mover: "the owner of its secret",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::SourceFailing,
        word: "source_failing",
        stages: &[Stage::Fetched],
        sentence: "the engine cannot fetch the commit: look at its source and its network",
        evidence: "`.status.conditions[Ready]` of the source",
        mover: "whoever runs the git host, or the network to it",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::BuildFailed,
        word: "build_failed",
        stages: APPLY,
        sentence: "the manifests cannot be built: look at the last commit under its path",
        evidence: "`.status.conditions[Ready].reason` of the applier",
        mover: AUTHOR,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::InvalidManifest,
        word: "invalid_manifest",
        stages: APPLY,
        sentence: "the API server refuses a manifest: look at the last commit under its path",
        evidence: "`.status.conditions[Ready].message` of the applier",
        mover: AUTHOR,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::ApplyConflict,
        word: "apply_conflict",
        stages: APPLY,
        sentence: "another manager owns a field that is to be applied: look at who else writes the object",
        evidence: "`.status.conditions[Ready].message` of the applier",
        mover: "the manager that the message names",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::AdmissionDenied,
        word: "admission_denied",
        stages: FROM_FETCH,
        sentence: "an admission policy refuses it: look at the policy that it names",
        evidence: "`.status.conditions[Ready].message` of the applier, `.status.conditions[ReplicaFailure].message` of the workload",
        mover: "the owner of that policy",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::Quota,
        word: "quota",
        stages: FROM_FETCH,
        sentence: "a quota forbids it: look at the quota of its namespace",
        evidence: "`.status.conditions[Ready].message` of the applier, `.status.conditions[ReplicaFailure].message` of the workload",
        mover: OPERATOR,
        command: Some("kubectl describe resourcequota -n {namespace}"),
    },
    Row {
        reason: Reason::DependencyNotReady,
        word: "dependency_not_ready",
        stages: APPLY,
        sentence: "what it depends on is not ready: look there first",
        evidence: "`.status.conditions[Ready]` of the applier",
        mover: "the owner of what it depends on",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::NoPods,
        word: "no_pods",
        stages: ROLL,
        sentence: "the template carries it, but no pod was made: look at its controller and the events of its ReplicaSet",
        evidence: "no Pod of its template; `.status.conditions[ReplicaFailure]` of the workload",
        mover: OPERATOR,
        command: Some("kubectl describe {workload}"),
    },
    Row {
        reason: Reason::PullNotFound,
        word: "pull_not_found",
        stages: ROLL,
        sentence: "the registry has no such image: look at the tag that was committed, and whether it was pushed",
        evidence: WAITING,
        mover: "whoever pushes the image, or committed the tag",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::PullDenied,
        word: "pull_denied",
        stages: ROLL,
        sentence: "the registry refuses the node: look at the pull secret, and at the repository's name",
        evidence: WAITING,
        mover: "the owner of the pull secret, or of the registry",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::PullRegistryDown,
        word: "pull_registry_down",
        stages: ROLL,
        sentence: "the registry does not answer the node: look at the registry, and at the network between them",
        evidence: WAITING,
        mover: "whoever runs the registry, or the network to it",
        command: DESCRIBE,
    },
    Row {
        reason: Reason::ImagePull,
        word: "image_pull",
        stages: ROLL,
        sentence: "the node cannot pull it: look at the events of its pod",
        evidence: WAITING,
        mover: OPERATOR,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::CrashLoop,
        word: "crash_loop",
        stages: ROLL,
        sentence: "its container ends again and again: look at its log",
        evidence: "`Pod.status.containerStatuses[].state.waiting.reason` and `.restartCount`",
        mover: TEAM,
        command: Some("kubectl logs {object} --all-containers --previous"),
    },
    Row {
        reason: Reason::CreateError,
        word: "create_error",
        stages: ROLL,
        sentence: "its container cannot be created: look for a missing ConfigMap, Secret or command",
        evidence: "`Pod.status.containerStatuses[].state.waiting.reason`",
        mover: AUTHOR,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::Unschedulable,
        word: "unschedulable",
        stages: ROLL,
        sentence: "no node has room for its pod: look at requests, selectors and the autoscaler",
        evidence: "`Pod.status.conditions[PodScheduled]`",
        mover: OPERATOR,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::NotStarted,
        word: "not_started",
        stages: ROLL,
        sentence: "its container has not started: look at the events of its pod for volumes, network or a slow pull",
        evidence: "no `Pod.status.containerStatuses[].state.running`",
        mover: OPERATOR,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::ProbeFailing,
        word: "probe_failing",
        stages: ROLL,
        sentence: "a probe of its container fails: look at what it asks for, and at the container's log",
        evidence: "Event `Unhealthy` of a Pod whose `.status.containerStatuses[].ready` is false",
        mover: TEAM,
        command: Some("kubectl logs {object} --all-containers"),
    },
    Row {
        reason: Reason::ProgressDeadline,
        word: "progress_deadline",
        stages: ROLL,
        sentence: "its rollout takes longer than its deadline: look at what its pods wait for, or give it more time",
        evidence: "`Deployment.status.conditions[Progressing].reason` = ProgressDeadlineExceeded",
        mover: TEAM,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::HealthCheckFailing,
        word: "health_check_failing",
        stages: ROLL,
        sentence: "the applier waited for it to be healthy in vain: look at what its pods wait for",
        evidence: "`.status.conditions[Ready].reason` = HealthCheckFailed of the applier, whose message names the workload",
        mover: TEAM,
        command: Some("kubectl describe {workload}"),
    },
    Row {
        reason: Reason::NotReady,
        word: "not_ready",
        stages: ROLL,
        sentence: "its container runs but its pod does not become ready: look at its probes, readiness gates and log",
        evidence: "`Pod.status.conditions[Ready]`",
        mover: TEAM,
        command: DESCRIBE,
    },
    Row {
        reason: Reason::Incomplete,
        word: "incomplete",
        stages: ROLL,
        sentence: "some pods still run something else: look at the rollout",
        evidence: "`.status.updatedReplicas` and `.availableReplicas` of the workload",
        mover: OPERATOR,
        command: Some("kubectl rollout status {workload} --watch=false"),
    },
];
