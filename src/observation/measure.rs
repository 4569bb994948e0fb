//! Numbers about work, ours and the cluster's, that no journey needs: they feed metrics only.

use std::sync::Arc;

use crate::image::Repository;

/// One thing to count or time. Never journalled, never seen by the tracker.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// One request to a registry. `code` is the HTTP status, 0 where none came.
    RegistryRequest { registry: Arc<str>, operation: &'static str, code: u16 },
    /// One complete tag listing. `lag_seconds` is how much later than it was due its look began.
    RegistryScan { repository: Repository, seconds: f64, lag_seconds: f64, tags: usize, unchanged: bool },
    /// How long one reconciliation of a scanner of the shop's updater took: the mean of those since the last scrape.
    UpdaterScan { cluster: Arc<str>, namespace: Arc<str>, name: Arc<str>, seconds: f64 },
    /// How one registry's looks keep up: what its limits leave us now, where it told any or we learned one, and how
    /// long a look at every repository takes at present.
    RegistryPace {
        registry: Arc<str>,
        requests_left: Option<f64>,
        pulls_left: Option<f64>,
        sweep_seconds: Option<f64>,
    },
    /// How the looks of one host keep up. `throttled` are those that a refusal cut short since this was said last.
    Looks { source: Arc<str>, due: usize, late: usize, throttled: u64 },
    /// `operation` is `poll`, `fetch` or `read`.
    GitOperation { repository: Arc<str>, operation: &'static str, seconds: f64 },
    /// New commits on a followed branch.
    GitCommits { repository: Arc<str>, count: u64 },
    /// `cache` is `image_pull`, `tag_list` or `manifest`; `caller` who asked, `reason` why it missed.
    CacheLookup { cluster: Arc<str>, cache: &'static str, result: CacheResult, caller: &'static str },
    /// A watched object changed.
    ObjectUpdate { cluster: Arc<str>, kind: &'static str, class: UpdateClass },
    /// The kubelet pulled an image. Bytes where its message says so.
    ImagePull { cluster: Arc<str>, namespace: Arc<str>, pod: Arc<str>, seconds: f64, bytes: Option<u64> },
    /// A clock difference: the source's clock minus ours.
    ClockOffset { source: Arc<str>, seconds: f64 },
    /// Somebody asked for a look. `kind` is `registry` or `git`; `result` is `noted`, `coalesced` or `unknown`.
    LookAsked { kind: &'static str, result: &'static str },
    /// A delivery to a webhook. `hook` is empty for a name that is not configured; `result` is `taken`, `repeated`,
    /// `unproven`, `malformed`, `unread`, `unknown`, `no_secret` or `no_keys`.
    HookRequest { hook: Arc<str>, result: &'static str },
    /// Something was left out, and why.
    Dropped { source: Arc<str>, reason: &'static str },
}

/// What a cache answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheResult {
    Hit,
    Miss,
    Error,
}

/// What part of an object changed: the ground for counting reconciliations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpdateClass {
    Spec,
    Metadata,
    Status,
}
