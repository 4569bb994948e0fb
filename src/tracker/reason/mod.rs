//! Why a journey does not move: the closed words for stuck and for held, and what is to be known of each.
//!
//! `table.rs` and `holds.rs` are the tables: the sentence of `why`, the field that the fact is read from, who can move
//! it, and the command that looks closer; `told.rs` fits them to one journey. `docs/reasons.md` is written from them. A new reason is a variant here, its
//! row, a fault of the demo that brings it (`cli/faults.rs`), and a timeline in `tests/journeys/` first.

mod holds;
mod table;
mod told;

pub use holds::{HOLDS, HoldRow};
pub use table::{Row, TABLE};

use serde::{Deserialize, Serialize};

/// Why a journey is stuck, as a coarse closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Pushed and selected, but no commit names it.
    NotCommitted,
    /// Committed, but the template does not carry it.
    NotApplied,
    /// The updater's scan of the registry does not come.
    ScanLate,
    /// The updater cannot list the tags, or read the digest of one.
    ScanFailing,
    /// The updater scanned after the push and did not see the tag.
    ListTruncated,
    /// The updater cannot write to git, or does not run.
    AutomationFailing,
    /// The updater's pushes are refused, because others push in between.
    AutomationRace,
    /// The git host does not let the engine in.
    GitAuth,
    /// The engine cannot fetch what it is to apply.
    SourceFailing,
    /// What was fetched cannot be built into manifests.
    BuildFailed,
    /// The API server refuses a manifest.
    InvalidManifest,
    /// Another manager owns a field that the engine would write.
    ApplyConflict,
    /// An admission policy or webhook refuses a manifest, or the pods of one.
    AdmissionDenied,
    /// A quota forbids it.
    Quota,
    /// What must be ready first is not.
    DependencyNotReady,
    /// The template carries it, but no pod of it was made, and nobody says why.
    NoPods,
    /// The registry has no such image.
    PullNotFound,
    /// The registry does not let the node have it.
    PullDenied,
    /// The registry does not answer the node, or answers with an error of its own.
    PullRegistryDown,
    /// The image cannot be pulled for another reason, or the node does not say why.
    ImagePull,
    /// A container ends again and again.
    CrashLoop,
    /// A container cannot be made: a missing ConfigMap or key, a bad command.
    CreateError,
    /// No node has room or fits.
    Unschedulable,
    /// Containers have not started: volumes, network, a slow pull.
    NotStarted,
    /// The kubelet says that a probe of a pod that is not ready fails.
    ProbeFailing,
    /// Containers run and are not ready, no probe was said to fail, and the controller's deadline has passed.
    ProgressDeadline,
    /// The same, and the applier's health check ended without success.
    HealthCheckFailing,
    /// Containers run but are not ready.
    NotReady,
    /// Some pods run something else.
    Incomplete,
}

/// Somebody or something chose to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The Deployment is paused.
    Paused,
    /// A StatefulSet's partition keeps old pods.
    Partition,
    /// Pods change only when somebody deletes them.
    OnDelete,
    /// A CronJob waits for its schedule.
    Schedule,
    /// A CronJob, or an object of the engine on the way, is suspended.
    Suspended,
    /// `spec.replicas` is 0: nothing is to run.
    ScaledToZero,
    /// A later commit disagrees with the policy.
    PolicyOverridden,
    /// The updater has proposed it, and somebody is to merge that.
    ManualApproval,
    /// The applier puts another image in the place of what its source names.
    Replaced,
}

impl Reason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::NotCommitted; TABLE.len()];
        let mut at = 0;
        while at < TABLE.len() {
            all[at] = TABLE[at].reason;
            at += 1;
        }
        all
    };

    /// What is to be known of it.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().word
    }

    /// What it means and where to look, as one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        self.row().sentence
    }

    /// What it means, without where to look.
    #[must_use]
    pub fn fact(self) -> &'static str {
        self.sentence().split_once(": ").map_or(self.sentence(), |(fact, _)| fact)
    }
}

impl Hold {
    /// Every hold, in the order of the table.
    pub const ALL: [Self; HOLDS.len()] = {
        let mut all = [Self::Paused; HOLDS.len()];
        let mut at = 0;
        while at < HOLDS.len() {
            all[at] = HOLDS[at].hold;
            at += 1;
        }
        all
    };

    /// What is to be known of it.
    #[must_use]
    pub fn row(self) -> &'static HoldRow {
        &HOLDS[self as usize]
    }

    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().word
    }

    /// Who chose to wait, and how it goes on, as one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        self.row().sentence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_place_and_is_one_plain_line() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.reason as usize, at, "{}", row.word);
            assert_eq!(serde_json::to_value(row.reason).unwrap(), row.word);
            assert_eq!(row.sentence.matches(": ").count(), 1, "{}: a fact, and where to look", row.word);
            for text in [row.sentence, row.evidence, row.mover] {
                assert!(!text.is_empty() && !text.contains(['\n', '|']), "{}: {text}", row.word);
            }
        }
        for (at, row) in HOLDS.iter().enumerate() {
            assert_eq!(row.hold as usize, at, "{}", row.word);
            assert_eq!(serde_json::to_value(row.hold).unwrap(), row.word);
            for text in [row.sentence, row.evidence, row.mover] {
                assert!(!text.is_empty() && !text.contains(['\n', '|']), "{}: {text}", row.word);
            }
        }
    }
}
