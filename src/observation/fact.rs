//! The facts, and what they are about.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    ConfigMap, EngineObject, ImageDescribed, Job, Namespace, ObjectKey, Pod, ProbeFailed, Revision, Rules,
    Time, TreeNames, Workload,
};
use crate::image::{Digest, Repository, Tag};

/// What is true now, said by a source. A reader skips a variant it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// Configuration is an input too, so that a replay elsewhere gives the same journeys.
    ConfigInForce(Box<Rules>),
    /// The cluster of this observation goes by this configured name.
    ClusterNamed {
        name: Arc<str>,
    },
    /// The tag points to this root digest.
    TagPointsTo {
        repository: Repository,
        tag: Tag,
        digest: Digest,
    },
    /// The tags of a repository at the first look at it, unresolved.
    TagsListed {
        repository: Repository,
        tags: Vec<Tag>,
    },
    /// Somebody who may say so says that this tag is to go live in an environment: what it means when that is said.
    Expected {
        repository: Repository,
        tag: Tag,
        environment: Arc<str>,
    },
    ImageDescribed(Box<ImageDescribed>),
    TreeNames(Box<TreeNames>),
    WorkloadIs(Box<Workload>),
    RevisionIs(Box<Revision>),
    PodIs(Box<Pod>),
    ProbeFailed(Box<ProbeFailed>),
    JobIs(Box<Job>),
    ConfigMapIs(Box<ConfigMap>),
    EngineIs(Box<EngineObject>),
    NamespaceIs(Box<Namespace>),
    /// The subject is gone: deleted under a watch, or missed by two complete looks (a tag: and a 404).
    Absent {
        subject: Subject,
    },
    /// A look saw everything in its scope. It is due again after `interval_seconds`; for a watch that is how
    /// long silence is normal (bookmarks count as looks).
    LookCompleted {
        scope: Scope,
        started: Time,
        finished: Time,
        interval_seconds: f64,
    },
    /// A look failed or was cut short. It removes nothing.
    LookFailed {
        scope: Scope,
        failure: LookFailure,
        message: Arc<str>,
    },
    /// Written by a newer program: kept, and skipped.
    #[serde(other)]
    Unknown,
}

/// What a fact is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Tag {
        repository: Repository,
        tag: Tag,
    },
    Branch {
        url: Arc<str>,
        branch: Arc<str>,
    },
    /// `uid` keeps a namesake made later apart.
    Workload {
        key: ObjectKey,
        uid: Arc<str>,
    },
    Revision {
        uid: Arc<str>,
    },
    Pod {
        uid: Arc<str>,
    },
    Job {
        uid: Arc<str>,
    },
    ConfigMap {
        uid: Arc<str>,
    },
    Engine {
        uid: Arc<str>,
    },
    Namespace {
        uid: Arc<str>,
    },
}

/// What one look covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Repository(Repository),
    Branch {
        url: Arc<str>,
        branch: Arc<str>,
    },
    /// A Prometheus endpoint, by its configured name.
    Endpoint(Arc<str>),
    /// One resource of one cluster, by its plural name: `deployments`, `pods`.
    Resource {
        cluster: Arc<str>,
        resource: Arc<str>,
    },
}

/// Why a look failed, as a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LookFailure {
    Network,
    /// 5xx and the like.
    Server,
    Throttled,
    /// 401: credentials missing or wrong.
    Unauthorized,
    /// 403: known to us, not allowed to us.
    Forbidden,
    /// 404: no such repository, branch or kind.
    Missing,
    /// An answer that breaks its format or a limit.
    Malformed,
}

impl LookFailure {
    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Server => "server",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
        }
    }
}
