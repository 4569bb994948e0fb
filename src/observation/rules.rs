//! The part of the configuration that decides journeys. It travels as an observation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::Repository;

/// Everything the tracker must know of the configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// In promotion order.
    pub environments: Vec<EnvironmentRule>,
    pub expect: Vec<ExpectRule>,
    /// Which path of which branch sets an environment.
    pub paths: Vec<PathRule>,
    pub budgets: Budgets,
    pub live_when: LiveWhen,
    pub settle: SettleRule,
}

/// A name for a group of destinations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRule {
    pub name: Arc<str>,
    /// Cluster names; empty means every cluster.
    pub clusters: Vec<Arc<str>>,
    /// Namespaces; empty means every namespace.
    pub namespaces: Vec<Arc<str>>,
}

/// Which tag of a repository should be live in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectRule {
    pub image: Repository,
    pub filter: Option<FilterTags>,
    pub policy: Policy,
    pub environment: Arc<str>,
}

/// Which tags take part, and which part of them is compared (Flux `filterTags`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterTags {
    /// A regular expression; tags that do not match take no part.
    pub pattern: Arc<str>,
    /// What to compare, with `$name` groups of the pattern; the whole tag where absent.
    pub extract: Option<Arc<str>>,
}

/// Which of the tags is the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The highest version inside the range.
    Semver {
        range: Arc<str>,
    },
    Numerical {
        order: Order,
    },
    Alphabetical {
        order: Order,
    },
    /// One tag, whatever it points to now.
    Digest {
        tag: Arc<str>,
    },
}

/// Which end of the order is chosen: `asc` takes the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Asc,
    Desc,
}

/// A path of a branch that an applier without an engine of its own applies to an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    pub url: Arc<str>,
    pub branch: Arc<str>,
    pub path: Arc<str>,
    pub environment: Arc<str>,
}

/// How long a stage may take before its journey is stuck, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budgets {
    /// From pushed to committed.
    pub committed: f64,
    /// From committed to applied.
    pub applied: f64,
    /// From applied to live.
    pub live: f64,
    /// Nobody wrote the first one: where an engine tells its intervals, it follows from these. Likewise the second.
    pub committed_by_interval: bool,
    pub applied_by_interval: bool,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            committed: 300.0,
            applied: 300.0,
            live: 600.0,
            committed_by_interval: false,
            applied_by_interval: false,
        }
    }
}

/// How much of a workload must run the image before it is live.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveWhen {
    /// Rollout complete and every desired pod runs it (a DaemonSet: 0.95 of them, nodes come and go).
    #[default]
    All,
    /// The first ready pod.
    First,
    /// This share of the desired pods.
    Share(f64),
}

/// How long after its outcome a journey's numbers are given, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettleRule {
    pub min: f64,
    pub max: f64,
    /// Sources blind for longer than this end what depends on them as unknown.
    pub forget_after: f64,
}

impl Default for SettleRule {
    fn default() -> Self {
        Self { min: 120.0, max: 900.0, forget_after: 14.0 * 86400.0 }
    }
}
