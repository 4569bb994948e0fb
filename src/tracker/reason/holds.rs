//! Every hold: who chose to wait, where that is read, and how it goes on. In the order of [`Hold`].

use super::Hold;

/// What is to be known of a hold.
#[derive(Debug)]
pub struct HoldRow {
    pub hold: Hold,
    /// The word used in labels, the page and the API.
    pub word: &'static str,
    /// Who chose to wait, and how it goes on.
    pub sentence: &'static str,
    /// The same where an object of the engine holds it: what stands in git must be changed there.
    pub of_engine: Option<&'static str>,
    /// Where the fact is read.
    pub evidence: &'static str,
    /// Who can move it.
    pub mover: &'static str,
    /// The command that looks closer; see [`super::Row::command`].
    pub command: Option<&'static str>,
}

const DESCRIBE: Option<&str> = Some("kubectl describe {object}");

/// See the file's front line.
pub static HOLDS: [HoldRow; 9] = [
    HoldRow {
        hold: Hold::Paused,
        word: "paused",
        sentence: "the Deployment is paused: kubectl rollout resume lets it go on",
        of_engine: None,
        evidence: "`Deployment.spec.paused`",
        mover: "whoever paused it",
        command: DESCRIBE,
    },
    HoldRow {
        hold: Hold::Partition,
        word: "partition",
        sentence: "the StatefulSet's partition keeps old pods: lower spec.updateStrategy.rollingUpdate.partition",
        of_engine: None,
        evidence: "`StatefulSet.spec.updateStrategy.rollingUpdate.partition`",
        mover: "whoever rolls it out in steps",
        command: Some("kubectl rollout status {workload} --watch=false"),
    },
    HoldRow {
        hold: Hold::OnDelete,
        word: "on_delete",
        sentence: "its pods change only when somebody deletes them: update strategy OnDelete",
        of_engine: None,
        evidence: "`StatefulSet.spec.updateStrategy.type`, `DaemonSet.spec.updateStrategy.type`",
        mover: "whoever deletes its pods",
        command: DESCRIBE,
    },
    HoldRow {
        hold: Hold::Schedule,
        word: "schedule",
        sentence: "it waits for its schedule",
        of_engine: None,
        evidence: "`CronJob.spec.schedule`; until when is told",
        mover: "time",
        command: DESCRIBE,
    },
    HoldRow {
        hold: Hold::Suspended,
        word: "suspended",
        sentence: "it is suspended: set spec.suspend to false",
        of_engine: Some("it is suspended: set spec.suspend to false in its manifest in git"),
        evidence: "`spec.suspend` of the CronJob, or of an ImageRepository, ImagePolicy, ImageUpdateAutomation, source, \
                   Kustomization or HelmRelease that it has yet to pass",
        mover: "whoever suspended it",
        command: DESCRIBE,
    },
    HoldRow {
        hold: Hold::ScaledToZero,
        word: "scaled_to_zero",
        sentence: "it is scaled to zero: nothing is to run",
        of_engine: None,
        evidence: "`spec.replicas`",
        mover: "whoever scaled it",
        command: DESCRIBE,
    },
    HoldRow {
        hold: Hold::PolicyOverridden,
        word: "policy_overridden",
        sentence: "a later commit disagrees with the policy: change one of the two",
        of_engine: None,
        evidence: "the deploy branch's tree, against `ImagePolicy.status.latestRef` or an `expect` rule",
        mover: "the author of that commit",
        command: None,
    },
    HoldRow {
        hold: Hold::ManualApproval,
        word: "manual_approval",
        sentence: "it is proposed on another branch: somebody is to merge it",
        of_engine: None,
        evidence: "`ImageUpdateAutomation.spec.git.push.branch` and `.status.lastPushTime`",
        mover: "whoever reviews the proposal",
        command: DESCRIBE,
    },
    HoldRow {
        hold: Hold::Replaced,
        word: "replaced",
        sentence: "its applier puts another image in its place: take that entry of spec.images away",
        of_engine: None,
        evidence: "`Kustomization.spec.images`",
        mover: "whoever wrote that entry",
        command: DESCRIBE,
    },
];
