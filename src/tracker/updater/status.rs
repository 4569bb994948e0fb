//! What gauges show of the shop's updater.

use std::sync::Arc;

use super::Updater;
use crate::image::Repository;
use crate::observation::{ClusterUid, EngineKind, Role, Scope, Time};
use crate::tracker::Tracker;
use crate::tracker::engine::{EngineState, is_ahead};
use crate::tracker::source::ScopeKey;

/// Every updater that has objects of its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Updaters {
    pub scanners: Vec<ScannerStatus>,
    pub pushers: Vec<PusherStatus>,
}

/// Who commits and pushes: an ImageUpdateAutomation.
pub type PusherStatus = Updater;

/// Who lists the tags of a repository: an ImageRepository.
#[derive(Debug, Clone, PartialEq)]
pub struct ScannerStatus {
    pub engine: &'static str,
    pub cluster: Arc<str>,
    /// Namespace and name of the object.
    pub object: (Arc<str>, Arc<str>),
    pub repository: Repository,
    /// How often it scans of itself.
    pub interval_seconds: Option<f64>,
    /// Since its last good scan; not known where that is said to be in the future. While its cluster is blind the clock
    /// stands still.
    pub age_seconds: Option<f64>,
    /// Tags in that scan.
    pub tags: Option<i64>,
    /// The last detection lag and its error bar.
    pub lag: Option<(f64, f64)>,
    /// For how long we have seen the oldest tag that a policy wants and no scan has; 0 where there is none. Not known
    /// while it is suspended, and before we looked at the repository.
    pub pending_seconds: Option<f64>,
}

impl Tracker {
    /// The shop's updaters.
    #[must_use]
    pub fn updaters(&self, now: Time) -> Updaters {
        let mut updaters = Updaters::default();
        for (uid, cluster) in &self.clusters {
            let name = cluster.name.as_ref().unwrap_or(uid);
            let resource = EngineKind::ImageRepository.plural().into();
            let scope = ScopeKey::new(&Scope::Resource { cluster: uid.clone(), resource });
            // What they did since it was seen last nobody knows.
            let now = match self.sources.find(&scope) {
                Some(scope) if !scope.is_fresh(now) => scope.last_finished.unwrap_or(now),
                _ => now,
            };
            let scanners = cluster.engines.of_kind(EngineKind::ImageRepository);
            updaters.scanners.extend(scanners.filter_map(|state| self.scanner(uid, name, state, now)));
            let pushers = cluster.engines.of_kind(EngineKind::ImageUpdateAutomation);
            updaters.pushers.extend(pushers.map(|state| super::updater(name, &cluster.engines, state)));
        }
        updaters
    }

    fn scanner(
        &self,
        uid: &ClusterUid,
        cluster: &Arc<str>,
        state: &EngineState,
        now: Time,
    ) -> Option<ScannerStatus> {
        let Role::Scan(role) = &state.now.role else { return None };
        let repository = role.image.clone()?;
        let key = &state.now.key;
        let looked = self.sources.find(&ScopeKey::new(&Scope::Repository(repository.clone())));
        let looked = looked.is_some_and(|scope| scope.last_finished.is_some());
        let pending = || {
            let missing = self.lags.of(&repository).iter().filter(|tag| {
                !tag.is_seen_by(uid, key)
                    && self.registries.is_wanted(&repository, uid, &tag.tag)
                    && role.last.as_ref().is_none_or(|last| {
                        last.at + 999 < tag.pushed.not_before || last.holds(&tag.tag) == Some(false)
                    })
            });
            missing.map(|tag| now.seconds_since(tag.pushed.not_after).max(0.0)).fold(0.0, f64::max)
        };
        let last = role.last.as_ref().filter(|last| !is_ahead(last.at, now));
        Some(ScannerStatus {
            engine: key.kind.engine(),
            cluster: cluster.clone(),
            object: (key.namespace.clone(), key.name.clone()),
            interval_seconds: state.now.interval_seconds,
            age_seconds: last.map(|last| now.seconds_since(last.at).max(0.0)),
            tags: role.last.as_ref().map(|last| last.tags),
            lag: self.lags.last(uid, key),
            pending_seconds: (looked && !state.now.suspended).then(pending),
            repository,
        })
    }
}
