//! Whom a fact concerns: the workloads whose journeys are derived anew, and the open ones that are judged again.
//!
//! Leaving one out that is concerned gives a wrong journey, so each rule here names all that deriving reads.

use std::sync::Arc;

use super::cluster::Concerns;
use super::correlate::ImageKey;
use super::destination::DestinationKey;
use super::git::{Slot, is_generated};
use super::source::ScopeId;
use super::target::Touched;
use super::{Place, Tracker};
use crate::image::{Digest, Repository, Tag};
use crate::observation::{ClusterUid, EngineKind, ImageDescribed, Interval, ObjectKey};

impl Tracker {
    /// Something of a workload changed.
    pub(super) fn touch_workload(&mut self, uid: ClusterUid, key: ObjectKey) {
        let live_when = self.rules.live_when;
        let Some(cluster) = self.clusters.get_mut(&uid) else { return };
        match cluster.refresh(&key, live_when) {
            Concerns::Nobody => {}
            Concerns::Journeys => drop(self.dirty.insert((uid, key))),
            Concerns::Budgets => {
                let of_it = self.active.range(start_of(&uid, &key)..);
                let of_it = of_it.take_while(|open| open.cluster == uid && open.workload == key);
                self.index.waiting.extend(of_it.cloned());
            }
            Concerns::Reasons => {
                if !self.index.stuck.is_empty() {
                    let of_it = self.index.stuck.range(start_of(&uid, &key)..);
                    let of_it = of_it.take_while(|stuck| stuck.cluster == uid && stuck.workload == key);
                    self.index.waiting.extend(of_it.cloned());
                }
            }
        }
    }

    /// Everybody who uses a repository: what a rule selects from it changed.
    pub(super) fn touch_users(&mut self, repository: &Repository) {
        if let Some(users) = self.users.get(repository) {
            self.dirty.extend(users.iter().cloned());
        }
    }

    /// A tag points to another digest: whoever names the tag or the digest, in a template or a commit, or whom a rule
    /// may send there.
    pub(super) fn touch_tag(&mut self, repository: &Repository, tag: &Tag, digest: &Digest) {
        let Some(users) = self.users.get(repository) else { return };
        let named = self.registries.has_rule(repository) || self.trees.name(repository, tag, digest);
        let seen = self.seen.get(&ImageKey::Digest(digest.clone()));
        let concerned = users.iter().filter(|place| {
            let (uid, key) = place;
            let desired = || {
                let first = seen.and_then(|by| by.range(start_of(uid, key)..).next());
                first.is_some_and(|(found, _)| found.cluster == *uid && found.workload == *key)
            };
            let workload = || self.clusters.get(uid)?.workloads.get(key);
            let carried = || {
                workload().is_some_and(|workload| {
                    workload.versions.iter().any(|version| version.names(repository, tag, digest))
                })
            };
            named || desired() || carried()
        });
        self.dirty.extend(concerned.cloned());
    }

    /// An image was described: whoever desires or runs it or one of its nodes. A node shared with another
    /// repository's image decides there too, while something is open there.
    pub(super) fn touch_image(&mut self, image: &ImageDescribed) {
        let users = self.users.get(&image.repository);
        let uses = |place: &Place| users.is_some_and(|users| users.contains(place));
        let open = |(uid, key): &Place| {
            let first = self.active.range(start_of(uid, key)..).next();
            first.is_some_and(|found| found.cluster == *uid && found.workload == *key)
        };
        let mut concerned: Vec<Place> = Vec::new();
        for digest in image.nodes.iter().map(|node| &node.digest).chain([&image.digest]) {
            let running = self.index.running.get(digest).into_iter().flatten();
            concerned.extend(running.filter(|place| uses(place) || open(place)).cloned());
            let seen = self.seen.get(&ImageKey::Digest(digest.clone())).into_iter().flat_map(|by| by.keys());
            let desired = seen.map(|key| (key.cluster.clone(), key.workload.clone()));
            concerned.extend(desired.filter(|place| uses(place) || open(place)));
        }
        // Which of a tag's digests was meant may turn on the nodes of one that nobody desires yet.
        let moved = self.registries.has_moved(&image.repository);
        let users = users.into_iter().flatten().filter(|place| moved || open(place));
        concerned.extend(users.cloned());
        self.dirty.extend(concerned);
    }

    /// A place in git names something else: the workloads that it may set.
    pub(super) fn touch_slot(&mut self, slot: &Touched) {
        match slot {
            Touched::Slot(slot @ Slot::Container { name, .. }) if slot.is_release() => {
                for (uid, cluster) in &self.clusters {
                    let made = cluster.workloads.iter().filter(|(_, state)| {
                        let release = cluster.engines.release_of(state);
                        release.is_some_and(|release| release.now.key.name == *name)
                    });
                    self.dirty.extend(made.map(|(key, _)| (uid.clone(), key.clone())));
                }
            }
            // What a ConfigMap holds as text is of the releases that name it.
            Touched::Slot(slot @ Slot::Container { name, .. }) if slot.is_values() => {
                for (uid, cluster) in &self.clusters {
                    let made = cluster.workloads.iter().filter(|(_, state)| {
                        let release = cluster.engines.release_of(state).and_then(|it| it.applier());
                        let mut from = release.into_iter().flat_map(|role| &role.values_from);
                        from.any(|from| from.name == *name || is_generated(&from.name, name))
                    });
                    self.dirty.extend(made.map(|(key, _)| (uid.clone(), key.clone())));
                }
            }
            Touched::Slot(Slot::Container { name, .. } | Slot::Scale { name, .. }) => {
                self.dirty.extend(self.index.names.get(name).into_iter().flatten().cloned());
            }
            Touched::Slot(slot @ Slot::ConfigMap { .. }) => {
                for (uid, cluster) in &self.clusters {
                    let named = cluster.workloads.iter().filter(|(_, state)| slot.is_named_by(state));
                    self.dirty.extend(named.map(|(key, _)| (uid.clone(), key.clone())));
                }
            }
            Touched::Slot(Slot::Kustomize { name }) => {
                let repository = name.parse::<Repository>().ok();
                if let Some(repository) = repository.filter(|repository| repository.as_str() == &**name) {
                    self.touch_users(&repository);
                }
            }
            Touched::Slot(Slot::Text { repository, .. }) | Touched::Repository(repository) => {
                self.touch_users(repository);
            }
        }
    }

    /// What was fetched is known to hold more, or less, than it was: git was slower to tell which commits these are.
    pub(super) fn touch_made_of(&mut self, commits: &[Arc<str>]) {
        for (uid, cluster) in self.clusters.iter().filter(|_| !commits.is_empty()) {
            let fetched = cluster.engines.made_of(commits);
            self.dirty.extend(fetched.into_iter().map(|key| (uid.clone(), key)));
        }
    }

    /// An object of an engine did something, or says something else.
    pub(super) fn touch_engine(&mut self, uid: &ClusterUid, touched: super::engine::Touched) {
        match &touched.gone {
            Some(gone) if gone.kind == EngineKind::ImagePolicy => {
                self.registries.forget_policy(uid, &gone.namespace, &gone.name, None);
            }
            Some(gone) => self.lags.forget_scanner(uid, gone),
            None => {}
        }
        let of_repository = touched.repository.and_then(|repository| self.users.get(&repository));
        let of_repository =
            of_repository.into_iter().flatten().filter(|(cluster, _)| cluster == uid).cloned();
        let of_repository: Vec<Place> = of_repository.collect();
        let places =
            of_repository.into_iter().chain(touched.workloads.into_iter().map(|key| (uid.clone(), key)));
        let mut waiting: Vec<Place> = touched.waiting.into_iter().map(|key| (uid.clone(), key)).collect();
        if touched.done {
            self.dirty.extend(places);
        } else {
            waiting.extend(places);
        }
        for (uid, key) in waiting {
            let of_it = self.active.range(start_of(&uid, &key)..);
            let of_it = of_it.take_while(|open| open.cluster == uid && open.workload == key);
            self.index.waiting.extend(of_it.cloned());
        }
    }

    /// A policy may be gone, and what it alone wanted is wanted by nobody since then.
    pub(super) fn leave_policy(&mut self, uid: &ClusterUid, touched: &super::engine::Touched, at: Interval) {
        let policy = touched.gone.as_ref().filter(|gone| gone.kind == EngineKind::ImagePolicy);
        let Some(marker) = policy.map(|policy| format!("{}:{}", policy.namespace, policy.name)) else {
            return;
        };
        for key in self.active.iter().filter(|key| key.cluster == *uid) {
            if self.ledgers.get_mut(key).is_some_and(|ledger| ledger.leave(&marker, at)) {
                self.dirty.insert((key.cluster.clone(), key.workload.clone()));
            }
        }
    }

    /// Open journeys that need a scope, or one of whose looks it is.
    pub(super) fn touch_waiting(&mut self, scope: ScopeId) {
        let needs =
            |key: &&DestinationKey| self.ledgers.get(*key).is_some_and(|ledger| ledger.needs.contain(scope));
        let waiting: Vec<DestinationKey> = self.active.iter().filter(needs).cloned().collect();
        self.index.waiting.extend(waiting);
    }

    /// What has ended, or is late, and waits for this scope to be heard.
    pub(super) fn touch_unheard(&mut self, scope: ScopeId) {
        let needs =
            |key: &&DestinationKey| self.ledgers.get(*key).is_some_and(|ledger| ledger.needs.contain(scope));
        self.index.waiting.extend(self.index.unheard.iter().filter(needs).cloned());
    }

    pub(super) fn touch_all(&mut self) {
        for (uid, cluster) in &self.clusters {
            self.dirty.extend(cluster.workloads.keys().map(|key| (uid.clone(), key.clone())));
        }
    }
}

/// The first destination that a workload can have, in order.
fn start_of(uid: &ClusterUid, key: &ObjectKey) -> DestinationKey {
    DestinationKey { cluster: uid.clone(), workload: key.clone(), container: "".into() }
}
