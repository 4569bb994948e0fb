//! What is forgotten, and when. Nothing goes that an open journey, a remembered template or a commit needs; what goes
//! could only have told more about a past that nobody asks for any more.
//!
//! What has a bound where it grows (versions, changes, moves of a tag, settled journeys) is bounded there. Here is
//! what must be looked for, once in an hour of observed time.

use std::collections::{BTreeSet, HashSet};

use super::correlate::{ImageKey, SeenAt};
use super::destination::DestinationKey;
use super::index::Index;
use super::{Place, Tracker};
use crate::image::{Digest, Repository};
use crate::observation::{ObjectKey, SourceKind};

/// Often enough that a day's leftovers never add up, seldom enough that it costs nothing.
const FORGET_EVERY_MILLIS: i64 = 3_600_000;
/// A removed workload is shown for this long, and its namesake made within it does not count its commits again. Preview
/// environments come and go by the hundred a day.
const REMOVED_KEPT_MILLIS: i64 = 7 * 86_400_000;
/// A repository that nobody looked at for this long, or uses, is as good as unknown: a look would begin anew.
const UNSEEN_KEPT_MILLIS: i64 = 30 * 86_400_000;
/// Images of one destination whose first desire and first success are remembered for others' promotions: twice as
/// many as its templates.
const SEEN_MAX: usize = 128;

impl Tracker {
    /// Forgets, if it is time.
    pub(super) fn forget_sometimes(&mut self) {
        let last = *self.forgot.get_or_insert(self.now);
        if self.now < last || self.now >= last + FORGET_EVERY_MILLIS {
            self.forgot = Some(self.now);
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.forget_workloads();
        self.forget_users();
        let loose = self.forget_repositories();
        self.forget_images(loose);
        self.clusters.values_mut().for_each(super::cluster::ClusterState::forget_uids);
    }

    fn forget_workloads(&mut self) {
        let limit = self.now - REMOVED_KEPT_MILLIS;
        let long_gone = |(uid, key): &Place| {
            let state = self.clusters.get(uid).and_then(|cluster| cluster.workloads.get(key));
            let open = || of_place(uid, key, self.active.range(first_of(uid, key)..)).next().is_some();
            state.and_then(|state| state.removed).is_some_and(|at| at.interval.not_after <= limit) && !open()
        };
        let places = self
            .clusters
            .iter()
            .flat_map(|(uid, cluster)| cluster.workloads.keys().map(|key| (uid.clone(), key.clone())));
        let gone: BTreeSet<Place> = places.filter(long_gone).collect();
        if gone.is_empty() {
            return;
        }
        let is_gone = |key: &DestinationKey| gone.contains(&(key.cluster.clone(), key.workload.clone()));
        self.ledgers.retain(|key, _| !is_gone(key));
        for by in self.seen.values_mut() {
            by.retain(|key, _| !is_gone(key));
        }
        self.seen.retain(|_, by| !by.is_empty());
        for place in &gone {
            self.index.booked.remove(place);
            if let Some(cluster) = self.clusters.get_mut(&place.0) {
                cluster.workloads.remove(&place.1);
            }
            if let Some(names) = self.index.names.get_mut(&place.1.name) {
                names.remove(place);
            }
        }
        self.index.names.retain(|_, places| !places.is_empty());
    }

    /// Who names a repository in no remembered template, and desires nothing from it, uses it no more.
    fn forget_users(&mut self) {
        let (clusters, ledgers, booked) = (&self.clusters, &self.ledgers, &self.index.booked);
        let uses = |repository: &Repository, (uid, key): &Place| {
            let Some(state) = clusters.get(uid).and_then(|cluster| cluster.workloads.get(key)) else {
                return false;
            };
            let mut images = state.versions.iter().rev().flat_map(|version| &version.references).flatten();
            let books = || {
                let containers = booked.get(&(uid.clone(), key.clone())).into_iter().flatten();
                containers.filter_map(|container| {
                    let (cluster, workload) = (uid.clone(), key.clone());
                    ledgers.get(&DestinationKey { cluster, workload, container: container.clone() })
                })
            };
            images.any(|image| image.repository == *repository)
                || books()
                    .flat_map(|ledger| &ledger.entries)
                    .any(|entry| !entry.journey.settled && entry.journey.image.repository == *repository)
        };
        for (repository, places) in &mut self.users {
            places.retain(|place| uses(repository, place));
        }
        self.users.retain(|_, places| !places.is_empty());
    }

    fn forget_repositories(&mut self) -> BTreeSet<Digest> {
        let limit = self.now - UNSEEN_KEPT_MILLIS;
        let used = self.users.keys().chain(self.registries.rules.iter().map(|rule| &rule.rule.image));
        let used: HashSet<&str> = used.map(Repository::as_str).collect();
        let mut unseen = HashSet::new();
        self.sources.retain(|key, status| {
            let looked = status.last_finished.or(status.failing.as_ref().map(|(since, ..)| *since));
            let keep = status.source.kind != SourceKind::Registry
                || looked.is_none_or(|at| at > limit)
                || used.contains(&*key.0);
            if !keep {
                unseen.insert(key.0.clone());
            }
            keep
        });
        // Registries are found by the images of workloads, so new ones come for ever; the others are configured.
        let heard: HashSet<_> = self.sources.iter().map(|(_, status)| &status.source).collect();
        self.said.retain(|source, _| source.kind != SourceKind::Registry || heard.contains(source));
        let users = &self.users;
        self.registries.forget_hints(|repository| users.contains_key(repository));
        self.registries.forget_repositories(&unseen)
    }

    /// Tags that are gone and named nowhere, and images that had no other name.
    fn forget_images(&mut self, loose: BTreeSet<Digest>) {
        let mut running = Index::default();
        for (uid, cluster) in &self.clusters {
            for (key, state) in &cluster.workloads {
                running.note_running(&(uid.clone(), key.clone()), state, 0);
            }
        }
        self.index.running = running.running;
        let (index, seen, trees, users, clusters) =
            (&self.index, &self.seen, &self.trees, &self.users, &self.clusters);
        let needed = |digest: &Digest| {
            index.running.contains_key(digest) || seen.contains_key(&ImageKey::Digest(digest.clone()))
        };
        let named = |repository: &Repository, tag: &crate::image::Tag, digest: Option<&Digest>| {
            let none = Digest::Sha256([0; 32]);
            let digest = digest.unwrap_or(&none);
            let states = users.get(repository).into_iter().flatten();
            let mut states = states.filter_map(|(uid, key)| clusters.get(uid)?.workloads.get(key));
            trees.name(repository, tag, digest)
                || states
                    .any(|state| state.versions.iter().any(|version| version.names(repository, tag, digest)))
        };
        self.registries.forget(&named, &needed, loose);
    }

    /// Remembers when a destination desired and ran what; the oldest of too many goes, unless it is desired now.
    pub(super) fn remember_seen(
        &mut self,
        key: &DestinationKey,
        image: &ImageKey,
        at: SeenAt,
        now: &[(ImageKey, SeenAt)],
    ) {
        self.seen.entry(image.clone()).or_default().insert(key.clone(), at);
        let Some(ledger) = self.ledgers.get_mut(key) else { return };
        ledger.seen.push_back(image.clone());
        for _ in SEEN_MAX..ledger.seen.len() {
            let Some(oldest) = ledger.seen.pop_front() else { return };
            if now.iter().any(|(image, _)| *image == oldest) {
                ledger.seen.push_back(oldest);
                continue;
            }
            if let Some(by) = self.seen.get_mut(&oldest) {
                by.remove(key);
                if by.is_empty() {
                    self.seen.remove(&oldest);
                }
            }
        }
    }
}

fn first_of(uid: &crate::observation::ClusterUid, key: &ObjectKey) -> DestinationKey {
    DestinationKey { cluster: uid.clone(), workload: key.clone(), container: "".into() }
}

fn is_of(uid: &crate::observation::ClusterUid, key: &ObjectKey, found: &DestinationKey) -> bool {
    found.cluster == *uid && found.workload == *key
}

fn of_place<'a>(
    uid: &crate::observation::ClusterUid,
    key: &ObjectKey,
    keys: impl Iterator<Item = &'a DestinationKey>,
) -> impl Iterator<Item = &'a DestinationKey> {
    keys.take_while(move |found| is_of(uid, key, found))
}

/// How much is remembered, by kind: what must stay flat over months.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    pub workloads: usize,
    pub versions: usize,
    pub pods: usize,
    pub revisions: usize,
    pub jobs: usize,
    /// Objects without their owner, and UIDs whose workload is known.
    pub orphans: usize,
    pub uids: usize,
    pub destinations: usize,
    pub journeys: usize,
    pub restarts: usize,
    /// Images by destination that desired them.
    pub seen: usize,
    pub users: usize,
    pub sources: usize,
    pub scopes: usize,
    pub repositories: usize,
    pub tags: usize,
    pub presences: usize,
    /// Images described, and the nodes below them.
    pub images: usize,
    pub nodes: usize,
    /// Changes in git.
    pub changes: usize,
    pub running: usize,
    pub deadlines: usize,
}

impl Tracker {
    /// See [`Sizes`].
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let states = || self.clusters.values().flat_map(|cluster| cluster.workloads.values());
        let (orphans, uids) = self
            .clusters
            .values()
            .map(super::cluster::ClusterState::sizes)
            .fold((0, 0), |(orphans, uids), (more_orphans, more_uids)| {
                (orphans + more_orphans, uids + more_uids)
            });
        let (repositories, tags, presences, images, nodes) = self.registries.sizes();
        Sizes {
            workloads: states().count(),
            versions: states().map(|state| state.versions.len()).sum(),
            pods: states().map(|state| state.pods.len()).sum(),
            revisions: states().map(|state| state.revisions.len()).sum(),
            jobs: states().map(|state| state.jobs.len()).sum(),
            orphans,
            uids,
            destinations: self.ledgers.len(),
            journeys: self.ledgers.values().map(|ledger| ledger.entries.len()).sum(),
            restarts: self.ledgers.values().map(|ledger| ledger.restarts.len()).sum(),
            seen: self.seen.values().map(std::collections::BTreeMap::len).sum(),
            users: self.users.values().map(BTreeSet::len).sum(),
            sources: self.said.len(),
            scopes: self.sources.iter().count(),
            repositories,
            tags,
            presences,
            images,
            nodes,
            changes: self.trees.trees.values().map(|tree| tree.changes.len()).sum(),
            running: self.index.running.values().map(BTreeSet::len).sum(),
            deadlines: self.index.deadlines.len(),
        }
    }
}
