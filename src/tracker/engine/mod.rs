//! What the engines of a cluster said: who scans, chooses, commits, fetches and applies, and when each did.
//!
//! `state.rs` is one object with a short history of what it did, because one look shows only the last. `chain.rs` finds
//! the hands through which an image comes to a workload, `passed.rs` reads off them when it passed each, `release.rs`
//! what a release took back, `origin.rs` whether a source fetches from where a commit is, `scan.rs` which scan first had a
//! tag, `turn.rs` and `awaited.rs` whose turn it is, `verdict.rs` says why it does not pass, `about.rs` of which revision
//! that is said, and `depends.rs` whom one waits for. `links.rs` is the index of who names whom.
//! The next engine adds kinds to `observation/engine.rs` and, where it has other words, a verdict.

mod about;
mod awaited;
mod chain;
mod depends;
mod links;
mod origin;
mod passed;
mod release;
mod scan;
mod state;
mod turn;
mod verdict;

pub use chain::Chain;
pub use release::Releases;
pub use scan::{first_scan, is_ahead};
pub use state::{Deed, EngineState, What};
pub use verdict::{Traveller, one_line};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::maps::Map;
use super::stage::Evidence;
use crate::image::Repository;
use crate::observation::{EngineKey, EngineKind, EngineObject, ExpectRule, ObjectKey, Role, Time};

/// Far more than a large cluster has; beyond it newcomers are not followed.
const OBJECTS_MAX: usize = 20_000;

/// The objects of a cluster's engines.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Engines {
    objects: BTreeMap<EngineKey, EngineState>,
    by_uid: BTreeMap<Arc<str>, EngineKey>,
    /// Whose inventory lists a workload. Follows from the objects.
    #[serde(skip)]
    applied_by: Map<ObjectKey, BTreeSet<EngineKey>>,
    /// The same of a HelmRelease.
    #[serde(skip)]
    made_by: BTreeMap<EngineKey, BTreeSet<EngineKey>>,
    /// Those that wait for another to be ready: few at any time, of what may be thousands.
    #[serde(skip)]
    waiting: BTreeSet<EngineKey>,
    /// Who names whom. Follows from the objects.
    #[serde(skip)]
    links: links::Links,
}

/// Whom a fact about an object concerns.
#[derive(Debug, Default)]
pub struct Touched {
    pub workloads: BTreeSet<ObjectKey>,
    /// Those for whom only budgets and reasons may be others.
    pub waiting: BTreeSet<ObjectKey>,
    /// Users of this repository in the same cluster.
    pub repository: Option<Repository>,
    /// Something was done, so journeys may be others; else only budgets and reasons.
    pub done: bool,
    /// A policy or a scanner that is gone.
    pub gone: Option<EngineKey>,
    /// It lost a race to push just now.
    pub raced: bool,
}

impl Engines {
    /// An object is so.
    pub fn take(
        &mut self,
        object: &EngineObject,
        at: Evidence,
        backfill: bool,
        epoch: u64,
        learned: Time,
    ) -> Touched {
        let key = object.key.clone();
        if self.objects.len() >= OBJECTS_MAX && !self.objects.contains_key(&key) {
            return Touched::default();
        }
        let mut touched = self.concerned(&key);
        if let Some(before) = self.objects.get(&key).filter(|state| state.now.uid != object.uid) {
            self.by_uid.remove(&before.now.uid);
        }
        self.by_uid.insert(object.uid.clone(), key.clone());
        self.unlist(&key);
        let mut raced = false;
        let done = match self.objects.get_mut(&key) {
            // A namesake made anew has its own history; what is the same object goes on.
            Some(state) if state.now.uid == object.uid => {
                let done = state.update(object, at, epoch, learned);
                raced = state.note_race();
                done
            }
            _ => {
                let state = EngineState::new(object.clone(), at, backfill, epoch, learned);
                if let Some(namesake) = self.objects.insert(key.clone(), state) {
                    // Nobody may ever say that it is gone.
                    self.by_uid.remove(&namesake.now.uid);
                }
                true
            }
        };
        self.list(&key);
        let after = self.concerned(&key);
        touched.workloads.extend(after.workloads);
        touched.waiting.extend(after.waiting);
        touched.repository = after.repository.or(touched.repository);
        touched.done = done;
        touched.raced = raced;
        touched
    }

    /// It was deleted.
    pub fn gone(&mut self, uid: &str) -> Touched {
        let Some(key) = self.by_uid.remove(uid) else { return Touched::default() };
        if self.objects.get(&key).is_none_or(|state| *state.now.uid != *uid) {
            return Touched::default();
        }
        let known = [EngineKind::ImagePolicy, EngineKind::ImageRepository];
        let gone = Some(key.clone()).filter(|key| known.contains(&key.kind));
        let touched = Touched { done: true, gone, ..self.concerned(&key) };
        self.unlist(&key);
        self.objects.remove(&key);
        touched
    }

    /// A complete look of a new epoch is over: what it did not name is gone.
    pub fn sweep(&mut self, resource: &str, epoch: u64) -> Vec<Touched> {
        let unseen = self.objects.values().filter(|state| state.epoch < epoch);
        let unseen = unseen.filter(|state| state.now.key.kind.plural() == resource);
        let unseen: Vec<Arc<str>> = unseen.map(|state| state.now.uid.clone()).collect();
        unseen.iter().map(|uid| self.gone(uid)).collect()
    }

    /// Makes anew what follows from the rest.
    pub fn index(&mut self) {
        self.applied_by.clear();
        self.made_by.clear();
        self.waiting.clear();
        self.links = links::Links::default();
        let appliers: Vec<EngineKey> = self.objects.keys().cloned().collect();
        appliers.iter().for_each(|key| self.list(key));
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &EngineKey) -> Option<&EngineState> {
        self.objects.get(key)
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: EngineKind) -> impl Iterator<Item = &EngineState> {
        let first = EngineKey { kind, namespace: "".into(), name: "".into() };
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind).map(|(_, state)| state)
    }

    /// The kinds that there are objects of, in order.
    pub fn kinds(&self) -> impl Iterator<Item = EngineKind> {
        EngineKind::ALL.into_iter().filter(|kind| self.of_kind(*kind).next().is_some())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// A policy, or those that choose from a repository: what each chooses by, if that is known, and whether a tag that
    /// moves is a new choice.
    pub fn policies_of(&self, key: &EngineKey) -> Vec<(EngineKey, Option<(ExpectRule, bool)>)> {
        let own = Some(key).filter(|key| key.kind == EngineKind::ImagePolicy);
        let policies = self.links.policies(key).chain(own).filter_map(|key| self.get(key));
        policies.map(|state| (state.now.key.clone(), self.rule(state))).collect()
    }

    fn rule(&self, policy: &EngineState) -> Option<(ExpectRule, bool)> {
        let (Role::Policy(role), Role::Scan(scan)) = (&policy.now.role, &self.scan_of(policy)?.now.role)
        else {
            return None;
        };
        let rule = ExpectRule {
            image: scan.image.clone()?,
            filter: role.filter.clone(),
            policy: role.policy.clone()?,
            environment: "".into(),
        };
        Some((rule, role.follows_digest))
    }

    fn list(&mut self, key: &EngineKey) {
        self.link(key);
        for workload in self.applies(key).collect::<Vec<_>>() {
            self.applied_by.entry(workload).or_default().insert(key.clone());
        }
        for release in self.releases(key).collect::<Vec<_>>() {
            self.made_by.entry(release).or_default().insert(key.clone());
        }
        if self.get(key).is_some_and(depends::says_waiting) {
            self.waiting.insert(key.clone());
        }
    }

    fn unlist(&mut self, key: &EngineKey) {
        self.waiting.remove(key);
        self.unlink(key);
        for workload in self.applies(key).collect::<Vec<_>>() {
            if let Some(appliers) = self.applied_by.get_mut(&workload) {
                appliers.remove(key);
                if appliers.is_empty() {
                    self.applied_by.remove(&workload);
                }
            }
        }
        for release in self.releases(key).collect::<Vec<_>>() {
            if let Some(appliers) = self.made_by.get_mut(&release) {
                appliers.remove(key);
                if appliers.is_empty() {
                    self.made_by.remove(&release);
                }
            }
        }
    }

    /// Whose way leads through an object.
    fn concerned(&self, key: &EngineKey) -> Touched {
        let mut touched = Touched::default();
        let Some(state) = self.objects.get(key) else { return touched };
        match &state.now.role {
            Role::Applier(_) => {
                touched.workloads.extend(self.brings(key));
                touched.waiting.extend(self.waiting_for(key));
            }
            Role::Source(_) => touched.workloads.extend(self.applied_from(key)),
            Role::Updater(role) => {
                let (namespace, name) = role.source.clone();
                let source = EngineKey { kind: EngineKind::GitRepository, namespace, name };
                touched.workloads.extend(self.applied_from(&source));
            }
            Role::Scan(role) => touched.repository = role.image.clone(),
            Role::Policy(_) => {
                let scan = self.scan_of(state).and_then(|scan| match &scan.now.role {
                    Role::Scan(role) => role.image.clone(),
                    _ => None,
                });
                touched.repository = scan;
            }
            Role::Other => {}
        }
        touched
    }

    /// What the inventory of an applier lists.
    fn applies(&self, key: &EngineKey) -> impl Iterator<Item = ObjectKey> {
        let role = self.objects.get(key).and_then(EngineState::applier);
        role.into_iter().flat_map(|role| &role.inventory).map(|(kind, namespace, name)| ObjectKey {
            kind: *kind,
            namespace: namespace.clone(),
            name: name.clone(),
        })
    }

    /// The HelmReleases that it lists.
    fn releases(&self, key: &EngineKey) -> impl Iterator<Item = EngineKey> {
        let role = self.objects.get(key).and_then(EngineState::applier);
        role.into_iter().flat_map(|role| &role.releases).map(|(namespace, name)| EngineKey {
            kind: EngineKind::HelmRelease,
            namespace: namespace.clone(),
            name: name.clone(),
        })
    }

    /// What it applies, and what is made of the releases among that.
    fn brings(&self, key: &EngineKey) -> impl Iterator<Item = ObjectKey> {
        let made = self.releases(key).flat_map(|release| self.applies(&release).collect::<Vec<_>>());
        self.applies(key).chain(made)
    }

    /// Everything that is applied from a source, or from what is made of it.
    fn applied_from(&self, source: &EngineKey) -> BTreeSet<ObjectKey> {
        let named = self.links.appliers(source).filter_map(|key| self.get(key));
        let from_it = named.filter(|state| {
            let named = state.applier().is_some_and(|role| role.source.as_ref() == Some(source));
            named || self.source_of(state).is_some_and(|of| of.now.key == *source)
        });
        from_it.flat_map(|state| self.brings(&state.now.key)).collect()
    }

    /// Everything that is applied from a source whose artifact was made of one of these commits.
    #[must_use]
    pub fn made_of(&self, commits: &[Arc<str>]) -> BTreeSet<ObjectKey> {
        let sources = self.of_kind(EngineKind::GitRepository).chain(self.of_kind(EngineKind::OCIRepository));
        let its = sources.filter(|source| commits.iter().any(|commit| source.has_stored(commit)));
        its.flat_map(|source| self.applied_from(&source.now.key)).collect()
    }

    /// What an applier names as its source: of a HelmRelease, where its chart comes from.
    fn named_source(&self, applier: &EngineState) -> Option<&EngineState> {
        self.objects.get(applier.applier()?.source.as_ref()?)
    }

    /// What an applier applies from; behind a HelmChart stands what that is made of.
    fn source_of(&self, applier: &EngineState) -> Option<&EngineState> {
        let source = self.named_source(applier)?;
        match &source.now.role {
            Role::Source(role) => match &role.made_of {
                Some(made_of) => self.objects.get(made_of).or(Some(source)),
                None => Some(source),
            },
            _ => None,
        }
    }

    /// The ImageRepository that a policy chooses from.
    #[must_use]
    pub fn scan_of(&self, policy: &EngineState) -> Option<&EngineState> {
        let Role::Policy(role) = &policy.now.role else { return None };
        let (namespace, name) = role.repository.clone();
        self.objects.get(&EngineKey { kind: EngineKind::ImageRepository, namespace, name })
    }
}
