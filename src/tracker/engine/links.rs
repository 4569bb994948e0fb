//! Who names whom among the objects of engines, so that no fact about one has to look through all of them.

use std::collections::BTreeSet;

use super::EngineState;
use crate::image::Repository;
use crate::observation::{EngineKey, EngineKind, EngineObject, Role};
use crate::tracker::maps::Map;

/// Follows from the objects. Each is in order of keys.
#[derive(Debug, Default)]
pub struct Links {
    /// Who applies from a source.
    appliers: Map<EngineKey, BTreeSet<EngineKey>>,
    /// What is made of a source: charts.
    made: Map<EngineKey, BTreeSet<EngineKey>>,
    /// Who pushes to a source.
    updaters: Map<EngineKey, BTreeSet<EngineKey>>,
    /// Policies that choose from what one object lists.
    policies: Map<EngineKey, BTreeSet<EngineKey>>,
    /// Objects that list a repository.
    scans: Map<Repository, BTreeSet<EngineKey>>,
}

impl Links {
    /// An object is there.
    pub fn add(&mut self, object: &EngineObject) {
        self.each(object, |set, key| set.insert(key.clone()));
    }

    /// It is not, or is another one from now on.
    pub fn remove(&mut self, object: &EngineObject) {
        self.each(object, BTreeSet::remove);
    }

    fn each(&mut self, object: &EngineObject, change: fn(&mut BTreeSet<EngineKey>, &EngineKey) -> bool) {
        let key = &object.key;
        match &object.role {
            Role::Applier(role) => {
                if let Some(source) = &role.source {
                    at(&mut self.appliers, source, key, change);
                }
            }
            Role::Source(role) => {
                if let Some(made_of) = &role.made_of {
                    at(&mut self.made, made_of, key, change);
                }
            }
            Role::Updater(role) => {
                let (namespace, name) = role.source.clone();
                let source = EngineKey { kind: EngineKind::GitRepository, namespace, name };
                at(&mut self.updaters, &source, key, change);
            }
            Role::Policy(role) => {
                let (namespace, name) = role.repository.clone();
                let scan = EngineKey { kind: EngineKind::ImageRepository, namespace, name };
                at(&mut self.policies, &scan, key, change);
            }
            Role::Scan(role) => {
                if let Some(image) = &role.image {
                    at(&mut self.scans, image, key, change);
                }
            }
            Role::Other => {}
        }
    }

    /// Who may apply from a source, or from what is made of it.
    pub fn appliers<'a>(&'a self, source: &'a EngineKey) -> impl Iterator<Item = &'a EngineKey> {
        let made = self.made.get(source).into_iter().flatten();
        let sources = [source].into_iter().chain(made);
        sources.filter_map(|source| self.appliers.get(source)).flatten()
    }

    /// Who pushes to a source.
    pub fn updaters(&self, source: &EngineKey) -> impl Iterator<Item = &EngineKey> + use<'_> {
        self.updaters.get(source).into_iter().flatten()
    }

    /// Policies that choose from what an object lists.
    pub fn policies(&self, scan: &EngineKey) -> impl Iterator<Item = &EngineKey> + use<'_> {
        self.policies.get(scan).into_iter().flatten()
    }

    /// The policy that chooses from a repository, if there is but one.
    pub fn only_policy(&self, repository: &Repository) -> Option<&EngineKey> {
        let scans = self.scans.get(repository).into_iter().flatten();
        let mut policies = scans.flat_map(|scan| self.policies(scan));
        policies.next().filter(|_| policies.next().is_none())
    }
}

fn at<K: Clone + Eq + std::hash::Hash>(
    map: &mut Map<K, BTreeSet<EngineKey>>,
    named: &K,
    key: &EngineKey,
    change: fn(&mut BTreeSet<EngineKey>, &EngineKey) -> bool,
) {
    let set = map.entry(named.clone()).or_default();
    change(set, key);
    if set.is_empty() {
        map.remove(named);
    }
}

impl super::Engines {
    /// Makes the links of an object that is there now.
    pub(super) fn link(&mut self, key: &EngineKey) {
        if let Some(EngineState { now, .. }) = self.objects.get(key) {
            self.links.add(now);
        }
    }

    /// Takes them away before it changes or goes.
    pub(super) fn unlink(&mut self, key: &EngineKey) {
        if let Some(EngineState { now, .. }) = self.objects.get(key) {
            self.links.remove(now);
        }
    }
}
