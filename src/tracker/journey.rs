//! A journey: one image, or a revision, on its way to one destination.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::next::Next;
pub use super::reason::{Hold, Reason};
use super::sample::Sample;
use super::stage::{Stage, Stages};
use crate::image::{Digest, ImageRef};
use crate::observation::{ClusterUid, Interval, ObjectKey, Time};

/// Identity of a journey: a hash of destination and anchor, sixteen hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JourneyId(pub u64);

impl fmt::Display for JourneyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for JourneyId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for JourneyId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return u64::deserialize(from).map(Self);
        }
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// One of a closed set of words.
pub type Engine = &'static str;

/// One container of one workload template in one cluster, and the names that people call it by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Destination {
    pub cluster_uid: ClusterUid,
    /// Configured name of the cluster.
    pub cluster: Arc<str>,
    pub workload: ObjectKey,
    pub container: Arc<str>,
    pub app: Arc<str>,
    pub environment: Arc<str>,
    /// `plain`, later `flux` and `argocd`.
    #[serde(with = "super::checkpoint::engine")]
    pub engine: Engine,
}

impl fmt::Display for Destination {
    /// `lab/prod/deployment/web/web`: cluster, namespace, kind, workload, container.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectKey { kind, namespace, name } = &self.workload;
        write!(f, "{}/{namespace}/{}/{name}/{}", self.cluster, kind.as_str(), self.container)
    }
}

/// What travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Image,
    Revision,
}

impl Subject {
    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Revision => "revision",
        }
    }
}

/// What caused a journey, in this precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Rollback,
    Promotion,
    Push,
    Commit,
    OutOfBand,
}

impl Trigger {
    /// Every trigger.
    pub const ALL: [Self; 5] = [Self::Rollback, Self::Promotion, Self::Push, Self::Commit, Self::OutOfBand];

    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Promotion => "promotion",
            Self::Push => "push",
            Self::Commit => "commit",
            Self::OutOfBand => "out_of_band",
        }
    }
}

/// How a journey ended. Final, counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Live,
    Superseded,
    RolledBack,
    Withdrawn,
    Failed,
    Removed,
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Live,
        Self::Superseded,
        Self::RolledBack,
        Self::Withdrawn,
        Self::Failed,
        Self::Removed,
        Self::Unknown,
    ];

    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Superseded => "superseded",
            Self::RolledBack => "rolled_back",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
        }
    }
}

/// A journey over its budget with every needed source fresh and nothing held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// When the budget ran out, of this one or of what came before it at the same stage.
    pub since: Time,
    /// The stage that it waits for, or waited for when its reason was last told.
    pub stage: Stage,
    pub reason: Reason,
    /// When the reason was last told, where nobody says it any more: what may mend it is under way, so it is kept for a
    /// moment.
    pub kept: Option<Time>,
}

/// The object that a journey waits for, and what that says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// As kubectl takes it: `kustomization/web -n flux-system`.
    pub object: Arc<str>,
    /// Its own words, or what is seen of it.
    pub says: Arc<str>,
    /// The commits with which it began to say so, newest first: what it tried before was none of them. Empty where nobody
    /// knows, or there are too many to be named.
    pub commits: Vec<CommitRef>,
}

/// A time of waiting that somebody chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub hold: Hold,
    pub since: Time,
    /// When it ends by itself, where that is known: the next run of a schedule.
    pub until: Option<Time>,
}

/// The commit that brought a journey, as its author claims it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRef {
    pub repository: Arc<str>,
    pub branch: Arc<str>,
    pub id: Arc<str>,
    pub author: Arc<str>,
    pub subject: Arc<str>,
}

/// One subject on its way to one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journey {
    pub id: JourneyId,
    /// Ids it had before an earlier cause was found.
    pub aliases: Vec<JourneyId>,
    pub subject: Subject,
    pub destination: Destination,
    /// As the desire names it.
    pub image: ImageRef,
    /// The root digest, where the registry or the reference told it.
    pub digest: Option<Digest>,
    /// Of a revision that changes nothing but the number of pods: to how many.
    pub replicas: Option<i64>,
    pub trigger: Trigger,
    pub synthetic: bool,
    pub stages: Stages,
    /// When the intent was there: the commit landing, or the template change. `change_to_live` starts here.
    pub intent: Option<Interval>,
    /// Where `image_to_live` starts, if this journey counts for it.
    pub clock_start: Option<Interval>,
    pub commit: Option<CommitRef>,
    /// Why it came without a commit that is known, where one may be out of sight.
    pub commit_unseen: Option<Who>,
    /// Claimed by the image: the source commit it was built from.
    pub built_from: Option<Arc<str>>,
    pub outcome: Option<Outcome>,
    /// When the outcome was reached.
    pub ended: Option<Interval>,
    pub settled: bool,
    pub held: Option<Held>,
    /// Held time so far, in seconds. It is no part of the durations.
    pub held_seconds: f64,
    /// Held time before the intent: by who was to choose or commit it. It is no part of `image_to_live` alone.
    pub held_before_seconds: f64,
    pub stuck: Option<Stuck>,
    /// Who holds it, or keeps it stuck, where an object says so.
    pub who: Option<Who>,
    /// The source that must be fresh before anything can be said.
    pub blind: Option<Arc<str>>,
    /// What comes next, and until when nothing of it is late.
    pub next: Next,
    pub opened: Interval,
    /// Pieces of its evidence that contradicted each other.
    pub conflicts: u32,
}

impl Journey {
    /// Not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    /// From the push to live, without held time; only where the rules for the clock's start allow it.
    #[must_use]
    pub fn image_to_live(&self) -> Option<Sample> {
        self.to_live(self.clock_start?, self.held_seconds + self.held_before_seconds)
    }

    /// From the intent to live, without held time.
    #[must_use]
    pub fn change_to_live(&self) -> Option<Sample> {
        self.to_live(self.intent?, self.held_seconds)
    }

    fn to_live(&self, from: Interval, held_seconds: f64) -> Option<Sample> {
        if self.outcome != Some(Outcome::Live) {
            return None;
        }
        let live = self.stages.evidence(Stage::Live)?;
        Some(Sample::between(from, live.interval)?.without(held_seconds))
    }

    /// From the stage directly before to this one; `None` unless both are known and bounded. The wait since the
    /// push counts only where this journey counts for it: an old image deployed today was not waiting.
    #[must_use]
    pub fn stage_duration(&self, stage: Stage) -> Option<Sample> {
        let before = self.stages.before(stage)?;
        if before == Stage::Pushed && self.clock_start.is_none() {
            return None;
        }
        let from = self.stages.evidence(before)?;
        let to = self.stages.evidence(stage)?;
        Sample::between(from.interval, to.interval)
    }
}
