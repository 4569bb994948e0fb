//! What observers say: one [`Fact`] in an envelope, the only input of the tracker.
//!
//! Facts are levels ("the tag points there"), never commands. Observers append one when it changed and one
//! `LookCompleted` per look. Nothing here decides or does I/O. A new thing to watch is a new variant in
//! `fact.rs`; numbers about our own work that no journey needs are a [`Measure`].

mod engine;
mod fact;
mod git;
mod interests;
mod measure;
mod owner;
mod registry;
mod resume;
mod rules;
mod time;
mod workload;

pub use engine::{
    ApplierRole, Artifact, Condition, EngineKey, EngineKind, EngineObject, EngineRevision, ImageOverride,
    PolicyRole, Role, Scan, ScanRole, SourceRole, UpdaterRole, ValuesFrom,
};
pub use fact::{Fact, LookFailure, Scope, Subject};
pub use git::{Commit, GitConfigMap, GitReference, GitScale, GitValue, TreeNames, ValuePlace, ValueSays};
pub use interests::{Interests, RepositoryInterest};
pub use measure::{CacheResult, Measure, UpdateClass};
pub use owner::{Namespace, Owner};
pub use registry::{ImageDescribed, Node, NodeRole};
pub use resume::{KnownTag, LastLook, LastTree};
pub use rules::{
    Budgets, EnvironmentRule, ExpectRule, FilterTags, LiveWhen, Order, PathRule, Policy, Rules, SettleRule,
};
pub use time::{Basis, Interval, Time};
pub use workload::{
    ConfigMap, ConfigMapUse, ContainerSpec, Job, ObjectKey, Pod, PodContainer, ProbeFailed, Progress,
    Refuser, Revision, Schedule, Strategy, TemplateHash, Waiting, Workload, WorkloadKind,
};

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The version of the envelope and the facts that this program writes.
pub const SCHEMA: u16 = 1;

/// One fact, who said it, when, and how well that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub schema: u16,
    pub source: SourceId,
    /// Grows with every start of the observing process; a new epoch begins with looks, not with changes.
    pub source_epoch: u64,
    /// Grows by one inside an epoch. Together with source and epoch it is the observation's id.
    pub seq: u64,
    /// The cluster the fact is about: the UID of its `kube-system` namespace.
    pub cluster: Option<ClusterUid>,
    /// When we learned it, on our clock.
    pub observed_at: Time,
    /// When it became so. An unknown start is [`Time::MIN`].
    pub happened: Interval,
    pub basis: Basis,
    pub fact: Fact,
}

/// Identity of a cluster, stable over renames of its context: the UID of the namespace `kube-system`.
pub type ClusterUid = Arc<str>;

/// What kind of system a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Config,
    Registry,
    Git,
    Cluster,
    /// Senders of webhooks that may say what they expect.
    Hook,
    /// Prometheus endpoints of controllers.
    Scrape,
}

/// A source: its kind and its configured or discovered name (registry host, git url, cluster name).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceId {
    pub kind: SourceKind,
    pub name: Arc<str>,
}

impl SourceId {
    #[must_use]
    pub fn new(kind: SourceKind, name: &str) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SourceKind::Config => "config",
            SourceKind::Registry => "registry",
            SourceKind::Git => "git",
            SourceKind::Cluster => "cluster",
            SourceKind::Hook => "hook",
            SourceKind::Scrape => "scrape",
        };
        write!(f, "{kind}/{}", self.name)
    }
}
