//! The shop's own updater, seen from outside: how old its scans are, how much later than we it sees a tag, what its
//! commits hold, and how often it loses a race to push.
//!
//! No journey depends on anything here: it is told as events for counters, and as a status for gauges. `lags.rs` follows
//! new tags until a scan has them, `commits.rs` follows new commits until it is clear whose they are. What is not known
//! is not told: an updater without objects of its own (engine `plain`) has no status.

mod commits;
mod lags;
mod status;

pub use commits::{Commits, Pushed};
pub use lags::Lags;
pub use status::{PusherStatus, ScannerStatus, Updaters};

use std::sync::Arc;

use super::engine::EngineState;
use super::{Event, Tracker};
use crate::image::{Repository, Tag};
use crate::observation::{
    ClusterUid, EngineKey, EngineKind, EngineObject, Observation, Role, SourceKind, Time, TreeNames,
};
use crate::tracker::sample::Sample;
use crate::tracker::stage::Evidence;

/// An updater, as labels name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updater {
    pub engine: &'static str,
    pub cluster: Arc<str>,
    /// The git repository that it pushes to, as its own source writes the address.
    pub repository: Arc<str>,
}

/// A scan of the shop's updater first contained a tag that we saw come.
#[derive(Debug, Clone, PartialEq)]
pub struct Detected {
    pub engine: &'static str,
    pub cluster: Arc<str>,
    pub repository: Repository,
    pub tag: Tag,
    /// The scan's time minus that of the push.
    pub lag: Sample,
}

impl Tracker {
    /// A tag points somewhere. One that was never there before is followed until a scan has it.
    pub(super) fn follow_tag(
        &mut self,
        repository: &Repository,
        tag: &Tag,
        at: Evidence,
        events: &mut Vec<Event>,
    ) {
        // Most tags were there before anybody looked.
        if at.interval.is_bounded() && !self.scanners(repository).is_empty() {
            self.lags.follow(repository, tag, at.interval);
            self.detect(repository, events);
        }
    }

    /// An object of an engine said something: a scan or a choice may be the first with a tag, a push may have lost.
    pub(super) fn follow_updater(
        &mut self,
        uid: &ClusterUid,
        object: &EngineObject,
        raced: bool,
        events: &mut Vec<Event>,
    ) {
        if let Some(cluster) = self.clusters.get(uid).filter(|_| raced)
            && let Some(state) = cluster.engines.get(&object.key)
        {
            let name = cluster.name.as_ref().unwrap_or(uid);
            events.push(Event::Raced(Box::new(updater(name, &cluster.engines, state))));
        }
        match &object.role {
            Role::Scan(role) => {
                if let Some(repository) = &role.image {
                    self.detect(repository, events);
                }
            }
            Role::Policy(role) => {
                if let Some(selected) = &role.selected {
                    self.detect(&selected.repository, events);
                }
            }
            _ => {}
        }
    }

    /// What a branch brought.
    pub(super) fn follow_commits(&mut self, names: &TreeNames, at: Time) {
        self.commits.take(names, at);
    }

    /// Commits that have waited long enough are told.
    pub(super) fn tell_commits(&mut self, observation: &Observation, events: &mut Vec<Event>) {
        // Looks at git are the clock: a replay of the same facts tells at the same ones.
        if observation.source.kind != SourceKind::Git || self.commits.is_empty() {
            return;
        }
        let settle = (self.rules.settle.min * 1000.0) as i64;
        let clusters = &self.clusters;
        let whose = |id: &str| {
            let pushers = clusters.iter().flat_map(|(uid, cluster)| {
                cluster
                    .engines
                    .of_kind(EngineKind::ImageUpdateAutomation)
                    .map(move |state| (uid, cluster, state))
            });
            let mut its = pushers.filter(|(.., state)| state.has_pushed(id));
            let (uid, cluster, state) = its.next()?;
            Some(updater(cluster.name.as_ref().unwrap_or(uid), &cluster.engines, state))
        };
        let told = self.commits.tell(observation.observed_at - settle, whose);
        events.extend(told.into_iter().map(|pushed| Event::Pushed(Box::new(pushed))));
    }

    fn detect(&mut self, repository: &Repository, events: &mut Vec<Event>) {
        if self.lags.of(repository).is_empty() {
            return;
        }
        let scanners = self.scanners(repository);
        for (uid, key) in &scanners {
            let Some(cluster) = self.clusters.get(uid) else { continue };
            let name = cluster.name.as_ref().unwrap_or(uid);
            for detected in self.lags.detect((uid, name), key, repository, &cluster.engines) {
                events.push(Event::Detected(Box::new(detected)));
            }
        }
        self.lags.forget_seen(repository, &scanners);
    }

    /// Who scans a repository, in whatever cluster.
    fn scanners(&self, repository: &Repository) -> Vec<(ClusterUid, EngineKey)> {
        let of = |state: &&EngineState| matches!(&state.now.role, Role::Scan(role) if role.image.as_ref() == Some(repository));
        let all = self.clusters.iter().flat_map(|(uid, cluster)| {
            let scanners = cluster.engines.of_kind(EngineKind::ImageRepository).filter(of);
            scanners.map(|state| (uid.clone(), state.now.key.clone()))
        });
        all.collect()
    }
}

/// An automation as labels name it.
fn updater(cluster: &Arc<str>, engines: &super::engine::Engines, state: &EngineState) -> Updater {
    let address = match &state.now.role {
        Role::Updater(role) => {
            let (namespace, name) = role.source.clone();
            let source = EngineKey { kind: EngineKind::GitRepository, namespace, name };
            engines.get(&source).and_then(|source| match &source.now.role {
                Role::Source(role) => role.url.clone(),
                _ => None,
            })
        }
        _ => None,
    };
    let EngineKey { kind, namespace, name } = &state.now.key;
    // Its source is not there yet, or not allowed to be seen.
    let repository = address.unwrap_or_else(|| format!("{namespace}/{name}").into());
    Updater { engine: kind.engine(), cluster: cluster.clone(), repository }
}
