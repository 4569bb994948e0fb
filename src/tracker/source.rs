//! How fresh each source is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::observation::{Interests, LookFailure, Scope, SourceId, SourceKind, Time};

/// A look this many intervals late is no longer fresh.
const LATE_INTERVALS: f64 = 3.0;
/// A connection that is lost and made again within this time is no outage.
const FAILING_GRACE_SECONDS: f64 = 5.0;
/// Sources with an interval below this are given this much before they are late.
const LATE_FLOOR_SECONDS: f64 = 5.0;

/// What is known of one scope of one source: a repository, a branch, a resource of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScopeStatus {
    pub source: SourceId,
    /// Start of the first complete look ever: what was so then is `backfill`.
    pub first_look: Option<Time>,
    pub last_started: Option<Time>,
    pub last_finished: Option<Time>,
    pub interval_seconds: f64,
    /// Set while looks fail: since when, why, and a sentence.
    pub failing: Option<(Time, LookFailure, Arc<str>)>,
    /// Epoch of the last complete look: facts of a newer epoch come after a gap.
    pub epoch: u64,
    /// Times without a fresh look, each with one interval of grace after the look that ended it.
    pub gaps: Vec<(Time, Time)>,
}

/// Gaps that are remembered per scope.
const GAPS_MAX: usize = 32;

impl ScopeStatus {
    /// A scope of a source before its first look.
    #[must_use]
    pub fn new(source: SourceId) -> Self {
        Self {
            source,
            first_look: None,
            last_started: None,
            last_finished: None,
            interval_seconds: 0.0,
            failing: None,
            epoch: 0,
            gaps: Vec::new(),
        }
    }

    /// A look completed. True if it was the first ever.
    pub fn look(&mut self, started: Time, finished: Time, interval_seconds: f64, epoch: u64) -> bool {
        let first = self.first_look.is_none();
        if let (Some(last), Some(stale)) = (self.last_finished, self.stale_at())
            && finished >= stale
        {
            let grace = finished + (interval_seconds * 1000.0) as i64;
            match self.gaps.last_mut() {
                Some(gap) if last <= gap.1 => gap.1 = gap.1.max(grace),
                _ => self.gaps.push((last, grace)),
            }
            let surplus = self.gaps.len().saturating_sub(GAPS_MAX);
            self.gaps.drain(..surplus);
        }
        self.first_look.get_or_insert(started);
        self.last_started = Some(started);
        self.last_finished = Some(finished);
        self.interval_seconds = interval_seconds;
        self.failing = None;
        self.epoch = epoch;
        first
    }

    /// The moment from which it counts as not fresh, if no look completes before: looks are long overdue, or
    /// they fail. A watch that cannot be held fails at once; a poll has one more try.
    #[must_use]
    pub fn stale_at(&self) -> Option<Time> {
        let millis = |seconds: f64| (seconds * 1000.0) as i64;
        let allowed = (self.interval_seconds * LATE_INTERVALS).max(LATE_FLOOR_SECONDS);
        let overdue = self.last_finished? + millis(allowed);
        let again = match self.source.kind {
            SourceKind::Cluster => FAILING_GRACE_SECONDS,
            _ => self.interval_seconds.max(FAILING_GRACE_SECONDS),
        };
        let failing = self.failing.as_ref().map(|(since, ..)| *since + millis(again));
        Some(failing.map_or(overdue, |failing| failing.min(overdue)))
    }

    /// A complete look is not long past.
    #[must_use]
    pub fn is_fresh(&self, now: Time) -> bool {
        self.stale_at().is_some_and(|stale| now < stale)
    }
}

/// One source as the page, the API and the metrics show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceStatus {
    /// `registry/host`, `git/url`, `cluster/name`.
    pub source: String,
    /// At least one scope is fresh and none that was seen before is stale.
    pub up: bool,
    pub last_look: Option<Time>,
    pub interval_seconds: f64,
    /// Scopes that are fresh, of all.
    pub fresh: usize,
    pub scopes: usize,
    /// What is not covered: scope, class, sentence. At most a few.
    pub failing: Vec<(String, &'static str, String)>,
}

/// Scopes listed per source in `failing`: enough to act on, bounded for the page.
const FAILING_SHOWN_MAX: usize = 10;

/// All scopes of all sources.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sources {
    pub scopes: BTreeMap<ScopeKey, ScopeStatus>,
}

/// A scope as an ordered key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScopeKey(pub String);

impl ScopeKey {
    /// The key of a scope.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        Self(match scope {
            Scope::Repository(repository) => repository.to_string(),
            Scope::Branch { url, branch } => format!("{url}#{branch}"),
            Scope::Resource { cluster, resource } => format!("{cluster}/{resource}"),
        })
    }
}

impl Sources {
    /// A summary per source, in order of name.
    #[must_use]
    pub fn summary(&self, now: Time, interests: &Interests) -> Vec<SourceStatus> {
        let mut by_source: BTreeMap<&SourceId, Vec<(&ScopeKey, &ScopeStatus)>> = BTreeMap::new();
        // A repository that nobody uses any more is not looked at, without failing: that is no outage.
        let let_go = |key: &ScopeKey, status: &ScopeStatus| {
            status.source.kind == SourceKind::Registry
                && !status.is_fresh(now)
                && status.failing.is_none()
                && !interests.repositories.keys().any(|repository| repository.as_str() == key.0)
        };
        for (key, status) in self.scopes.iter().filter(|(key, status)| !let_go(key, status)) {
            by_source.entry(&status.source).or_default().push((key, status));
        }
        by_source.into_iter().map(|(source, scopes)| summarize(source, &scopes, now)).collect()
    }
}

fn summarize(source: &SourceId, scopes: &[(&ScopeKey, &ScopeStatus)], now: Time) -> SourceStatus {
    let fresh = scopes.iter().filter(|(_, status)| status.is_fresh(now)).count();
    let stale = scopes.iter().any(|(_, status)| status.last_finished.is_some() && !status.is_fresh(now));
    let failing = scopes
        .iter()
        .filter_map(|(key, status)| {
            let (_, failure, message) = status.failing.as_ref()?;
            Some((key.0.clone(), failure.as_str(), message.to_string()))
        })
        .take(FAILING_SHOWN_MAX)
        .collect();
    SourceStatus {
        source: source.to_string(),
        up: fresh > 0 && !stale,
        last_look: scopes.iter().filter_map(|(_, status)| status.last_finished).max(),
        interval_seconds: scopes.iter().map(|(_, status)| status.interval_seconds).fold(0.0, f64::max),
        fresh,
        scopes: scopes.len(),
        failing,
    }
}
