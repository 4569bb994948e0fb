//! What follows from the rest of the state, kept so that no fact has to look through all of it. It is never stored:
//! [`Tracker::reindex`] makes it anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bench::Bench;
use super::cause::CauseHasher;
use super::destination::DestinationKey;
use super::event::{Deadline, Wait};
use super::ledger::{Ledger, Marks};
use super::maps::Map;
use super::source::ScopeId;
use super::workload::WorkloadState;
use super::{Place, Tracker};
use crate::image::Digest;
use crate::observation::{ClusterUid, EngineKind, Time};

/// See the file's front line.
#[derive(Debug, Default)]
pub struct Index {
    pub deadlines: Deadlines,
    /// Destinations that are judged again before the fact under way is done.
    pub waiting: BTreeSet<DestinationKey>,
    /// With an open journey for which held time runs.
    pub held: BTreeSet<DestinationKey>,
    /// With a journey that is stuck.
    pub stuck: BTreeSet<DestinationKey>,
    /// With one that has ended, or is late, and waits for a look.
    pub unheard: BTreeSet<DestinationKey>,
    /// Workloads by their name alone.
    pub names: Map<Arc<str>, BTreeSet<Place>>,
    /// Workloads one of whose pods ran a digest under a template that is remembered.
    pub running: Map<Digest, BTreeSet<Place>>,
    /// Containers of each workload that have a book, in order.
    pub booked: Map<Place, Vec<Arc<str>>>,
    pub hasher: CauseHasher,
    /// The numbers of a cluster's resources, which it keeps as long as the process lives.
    pub scopes: Map<ClusterUid, Vec<(&'static str, ScopeId)>>,
    /// The same of the kinds of engines that it has objects of.
    pub engine_scopes: Map<ClusterUid, Arc<[(EngineKind, ScopeId)]>>,
    /// Branches that set an environment.
    pub branches: Map<Arc<str>, Arc<[ScopeId]>>,
}

/// When each destination must be judged again.
#[derive(Debug, Default)]
pub struct Deadlines {
    at: BTreeSet<(Time, Wait, DestinationKey)>,
    /// The first of them: every fact asks for it.
    first: Option<Deadline>,
}

impl Deadlines {
    /// The first of all.
    #[must_use]
    pub fn first(&self) -> Option<Deadline> {
        self.first
    }

    /// Whose time has come.
    #[must_use]
    pub fn due(&self, now: Time) -> BTreeSet<DestinationKey> {
        self.at.iter().take_while(|(at, ..)| *at <= now).map(|(.., key)| key.clone()).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    fn set(&mut self, key: &DestinationKey, before: Option<(Time, Wait)>, next: Option<(Time, Wait)>) {
        if before == next {
            return;
        }
        if let Some((at, why)) = before {
            self.at.remove(&(at, why, key.clone()));
        }
        if let Some((at, why)) = next {
            self.at.insert((at, why, key.clone()));
        }
        self.first = self.at.first().map(|(at, why, _)| Deadline { at: *at, why: *why });
    }
}

impl Index {
    /// A destination got its book.
    pub fn book(&mut self, key: &DestinationKey) {
        let containers = self.booked.entry((key.cluster.clone(), key.workload.clone())).or_default();
        if let Err(at) = containers.binary_search(&key.container) {
            containers.insert(at, key.container.clone());
        }
    }

    /// A destination was judged.
    pub fn plan(&mut self, key: &DestinationKey, ledger: &mut Ledger, bench: &Bench<'_>) {
        let marks = Marks {
            deadline: ledger.next(bench),
            held: ledger.is_held(bench),
            stuck: ledger.is_stuck(),
            unheard: ledger.is_unheard(bench),
        };
        self.note(key, ledger, marks);
    }

    /// A destination is not judged any more.
    pub fn let_go(&mut self, key: &DestinationKey, ledger: &mut Ledger) {
        self.note(key, ledger, Marks::default());
    }

    fn note(&mut self, key: &DestinationKey, ledger: &mut Ledger, marks: Marks) {
        let before = std::mem::replace(&mut ledger.marks, marks);
        self.deadlines.set(key, before.deadline, marks.deadline);
        mark(&mut self.held, key, before.held, marks.held);
        mark(&mut self.stuck, key, before.stuck, marks.stuck);
        mark(&mut self.unheard, key, before.unheard, marks.unheard);
    }

    /// What ran under the versions of a workload, from one on.
    pub fn note_running(&mut self, place: &Place, workload: &WorkloadState, from: usize) {
        for version in workload.versions.iter().skip(from) {
            let firsts = version.started.values().chain(version.ready.values()).flatten();
            let ran = firsts.filter_map(|first| first.digest.as_ref());
            let complete = version.completes.iter().flat_map(|complete| complete.digests.values().flatten());
            for digest in ran.chain(complete.flatten()) {
                match self.running.get_mut(digest) {
                    Some(places) if places.contains(place) => {}
                    Some(places) => drop(places.insert(place.clone())),
                    None => drop(self.running.insert(digest.clone(), BTreeSet::from([place.clone()]))),
                }
            }
        }
    }
}

fn mark(set: &mut BTreeSet<DestinationKey>, key: &DestinationKey, was_in: bool, is_in: bool) {
    match (is_in, was_in) {
        (true, false) => drop(set.insert(key.clone())),
        (false, true) => drop(set.remove(key)),
        (true, true) | (false, false) => {}
    }
}

impl Tracker {
    /// Makes everything anew that follows from the rest, for a state that was stored without it.
    pub fn reindex(&mut self) {
        self.index = Index::default();
        self.registries.ready();
        self.trees.index(&self.rules.paths);
        for (uid, cluster) in &mut self.clusters {
            cluster.engines.index();
            for (key, state) in &mut cluster.workloads {
                state.versions.iter_mut().for_each(super::workload::Version::read_images);
                let place = (uid.clone(), key.clone());
                self.index.note_running(&place, state, 0);
                self.index.names.entry(key.name.clone()).or_default().insert(place);
            }
        }
        let booked =
            self.ledgers.iter().map(|(key, ledger)| (key.clone(), ledger.destination.environment.clone()));
        for (key, environment) in booked.collect::<Vec<_>>() {
            self.index.book(&key);
            let needs = Arc::new(self.needs(&key, &environment));
            let Some(ledger) = self.ledgers.get_mut(&key) else { continue };
            ledger.needs = needs.clone();
            ledger.marks = Marks::default();
            let cluster = self.clusters.get(&key.cluster);
            let bench =
                Bench::new(self.now, &self.rules, (&self.sources, &self.trees.taken), cluster, &key, &needs);
            if self.active.contains(&key) {
                self.index.plan(&key, ledger, &bench);
            }
        }
    }
}
