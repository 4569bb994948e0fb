//! How fresh each source is.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::maps::Map;
use crate::image::Repository;
use crate::observation::{ClusterUid, Interests, LookFailure, Scope, SourceId, SourceKind, Time};

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

/// What a complete look means for others.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// It was the first ever.
    pub first: bool,
    /// Whoever needs this scope may be judged otherwise now: it was not fresh, or is looked at at another pace.
    pub news: bool,
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

    /// A look completed.
    pub fn look(&mut self, started: Time, finished: Time, interval_seconds: f64, epoch: u64) -> Look {
        let first = self.first_look.is_none();
        let late = self.stale_at().is_none_or(|stale| finished >= stale);
        let news = first || late || self.failing.is_some() || self.interval_seconds != interval_seconds;
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
        Look { first, news }
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

/// All scopes of all sources. Each has a number, so that whoever needs one often finds it at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<ScopeKey, ScopeStatus>", into = "BTreeMap<ScopeKey, ScopeStatus>")]
pub struct Sources {
    numbers: Map<ScopeKey, ScopeId>,
    /// The same for repositories and branches, which are looked at most often.
    scopes: Map<Scope, ScopeId>,
    /// By number. Nothing where nobody has looked yet.
    statuses: Vec<Option<ScopeStatus>>,
    /// Numbers that nothing has any more.
    free: Vec<ScopeId>,
}

/// The number of a scope, as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeId(u32);

impl From<BTreeMap<ScopeKey, ScopeStatus>> for Sources {
    fn from(scopes: BTreeMap<ScopeKey, ScopeStatus>) -> Self {
        let mut sources = Self::default();
        for (key, status) in scopes {
            let ScopeId(at) = sources.number(&key);
            sources.statuses[at as usize] = Some(status);
        }
        sources
    }
}

impl From<Sources> for BTreeMap<ScopeKey, ScopeStatus> {
    fn from(sources: Sources) -> Self {
        sources.iter().map(|(key, status)| (key.clone(), status.clone())).collect()
    }
}

/// A scope as an ordered key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScopeKey(pub Arc<str>);

impl ScopeKey {
    /// The key of a scope.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        Self(match scope {
            Scope::Repository(repository) => repository.as_str().into(),
            Scope::Branch { url, branch } => format!("{url}#{branch}").into(),
            Scope::Resource { cluster, resource } => format!("{cluster}/{resource}").into(),
            Scope::Endpoint(name) => format!("scrape/{name}").into(),
        })
    }
}

impl Sources {
    /// The number of a scope, looked at or not.
    pub fn number(&mut self, key: &ScopeKey) -> ScopeId {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.statuses.push(None);
            ScopeId(u32::try_from(self.statuses.len() - 1).unwrap_or(u32::MAX))
        });
        self.numbers.insert(key.clone(), number);
        number
    }

    /// What is known of a scope by its number.
    #[must_use]
    pub fn get(&self, number: ScopeId) -> Option<&ScopeStatus> {
        self.statuses.get(number.0 as usize)?.as_ref()
    }

    /// What is known of a scope by its key.
    #[must_use]
    pub fn find(&self, key: &ScopeKey) -> Option<&ScopeStatus> {
        self.get(*self.numbers.get(key)?)
    }

    /// The number of a scope as a source calls it. Resources are told apart by their cluster's UID; its name may be
    /// shared.
    pub fn number_of(&mut self, scope: &Scope, cluster: Option<&ClusterUid>) -> ScopeId {
        match (scope, cluster) {
            (Scope::Resource { resource, .. }, Some(uid)) => self.number(&ScopeKey::new(&Scope::Resource {
                cluster: uid.clone(),
                resource: resource.clone(),
            })),
            (Scope::Resource { .. }, None) => self.number(&ScopeKey::new(scope)),
            (Scope::Repository(_) | Scope::Branch { .. } | Scope::Endpoint(_), _) => {
                match self.scopes.get(scope) {
                    Some(number) => *number,
                    None => {
                        let number = self.number(&ScopeKey::new(scope));
                        self.scopes.insert(scope.clone(), number);
                        number
                    }
                }
            }
        }
    }

    /// The scope of a source, made where it is new.
    pub fn entry(&mut self, number: ScopeId, source: &SourceId) -> &mut ScopeStatus {
        let status = &mut self.statuses[number.0 as usize];
        status.get_or_insert_with(|| ScopeStatus::new(source.clone()))
    }

    /// Every scope that was looked at or asked for, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ScopeKey, &ScopeStatus)> {
        self.numbers.iter().filter_map(|(key, number)| Some((key, self.get(*number)?)))
    }

    /// Forgets scopes that nobody needs; their numbers are given to others.
    pub fn retain(&mut self, mut keep: impl FnMut(&ScopeKey, &ScopeStatus) -> bool) {
        let (statuses, free) = (&mut self.statuses, &mut self.free);
        self.numbers.retain(|key, number| {
            let status = &mut statuses[number.0 as usize];
            let stays = status.as_ref().is_none_or(|status| keep(key, status));
            if !stays {
                *status = None;
                free.push(*number);
            }
            stays
        });
        self.scopes.retain(|_, number| !free.contains(number));
    }

    /// A summary per source, in order of name.
    #[must_use]
    pub fn summary(&self, now: Time, interests: &Interests) -> Vec<SourceStatus> {
        let mut by_source: BTreeMap<&SourceId, Vec<(&ScopeKey, &ScopeStatus)>> = BTreeMap::new();
        let wanted: HashSet<&str> = interests.repositories.keys().map(Repository::as_str).collect();
        // A repository that nobody uses any more is not looked at, without failing: that is no outage.
        let let_go = |key: &ScopeKey, status: &ScopeStatus| {
            status.source.kind == SourceKind::Registry
                && !status.is_fresh(now)
                && status.failing.is_none()
                && !wanted.contains(&*key.0)
        };
        for (key, status) in self.iter().filter(|(key, status)| !let_go(key, status)) {
            by_source.entry(&status.source).or_default().push((key, status));
        }
        by_source
            .into_iter()
            .map(|(source, mut scopes)| {
                scopes.sort_by_key(|(key, _)| *key);
                summarize(source, &scopes, now)
            })
            .collect()
    }
}

fn summarize(source: &SourceId, scopes: &[(&ScopeKey, &ScopeStatus)], now: Time) -> SourceStatus {
    let fresh = scopes.iter().filter(|(_, status)| status.is_fresh(now)).count();
    let stale = scopes.iter().any(|(_, status)| status.last_finished.is_some() && !status.is_fresh(now));
    let failing = scopes
        .iter()
        .filter_map(|(key, status)| {
            let (_, failure, message) = status.failing.as_ref()?;
            Some((key.0.to_string(), failure.as_str(), message.to_string()))
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
