//! What the engines of a cluster said: who scans, chooses, commits, fetches and applies, and when each did.
//!
//! `chain.rs` finds the hands through which an image comes to a workload, `passed.rs` reads off them when it passed
//! each, `verdict.rs` says why it does not pass, `awaited.rs` whose turn it is. An object keeps a short history of what it did, because one look shows
//! only the last. The next engine adds kinds to `observation/engine.rs` and, where it has other words, a verdict.

mod awaited;
mod chain;
mod passed;
mod verdict;

pub use chain::Chain;
pub use verdict::one_line;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evidence::merge;
use super::journey::Hold;
use super::maps::Map;
use super::stage::Evidence;
use super::workload::HoldSpan;
use crate::image::{ImageRef, Repository};
use crate::observation::{
    Basis, Condition, EngineKey, EngineKind, EngineObject, ExpectRule, Interval, ObjectKey, Role, Scan, Time,
};

/// What one object did that is remembered: a journey asks for what came right after its push or its commit.
const DEEDS_MAX: usize = 64;
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
}

/// One object, and what it did.
#[derive(Debug, Serialize, Deserialize)]
pub struct EngineState {
    pub now: EngineObject,
    epoch: u64,
    /// Oldest first.
    pub deeds: Vec<Deed>,
    /// When it was suspended, by when we learned of either end: of a watch that is close, its last word is not.
    pub suspended: Vec<HoldSpan>,
    /// What it says that it fails with, and since when, on our clock. It stands until the object is ready: a try
    /// that is under way takes nothing back.
    pub failing: Option<(Condition, Time)>,
}

/// Something that an object did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deed {
    pub what: What,
    pub at: Evidence,
    /// It was so at the first look.
    pub backfill: bool,
}

/// See [`Deed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// It listed other tags than before.
    Scanned(Scan),
    Selected(ImageRef),
    Pushed(Arc<str>),
    Stored(Arc<str>),
    Attempted(Arc<str>),
    Applied(Arc<str>),
}

/// Whom a fact about an object concerns.
#[derive(Debug, Default)]
pub struct Touched {
    pub workloads: BTreeSet<ObjectKey>,
    /// Users of this repository in the same cluster.
    pub repository: Option<Repository>,
    /// Something was done, so journeys may be others; else only budgets and reasons.
    pub done: bool,
    /// A policy that is gone.
    pub gone: Option<EngineKey>,
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
        self.by_uid.insert(object.uid.clone(), key.clone());
        self.unlist(&key);
        let done = match self.objects.get_mut(&key) {
            // A namesake made anew has its own history; what is the same object goes on.
            Some(state) if state.now.uid == object.uid => state.update(object, at, epoch, learned),
            _ => {
                self.objects
                    .insert(key.clone(), EngineState::new(object.clone(), at, backfill, epoch, learned));
                true
            }
        };
        self.list(&key);
        let after = self.concerned(&key);
        touched.workloads.extend(after.workloads);
        touched.repository = after.repository.or(touched.repository);
        touched.done = done;
        touched
    }

    /// It was deleted.
    pub fn gone(&mut self, uid: &str) -> Touched {
        let Some(key) = self.by_uid.remove(uid) else { return Touched::default() };
        if self.objects.get(&key).is_none_or(|state| *state.now.uid != *uid) {
            return Touched::default();
        }
        let gone = Some(key.clone()).filter(|key| key.kind == EngineKind::ImagePolicy);
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

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// A policy, or those that choose from a repository: what each chooses by, if that is known.
    pub fn policies_of(&self, key: &EngineKey) -> Vec<(EngineKey, Option<ExpectRule>)> {
        let is_concerned = |state: &&EngineState| match &state.now.role {
            Role::Policy(role) => {
                state.now.key == *key
                    || key.kind == EngineKind::ImageRepository
                        && (&role.repository.0, &role.repository.1) == (&key.namespace, &key.name)
            }
            _ => false,
        };
        if !matches!(key.kind, EngineKind::ImagePolicy | EngineKind::ImageRepository) {
            return Vec::new();
        }
        let policies = self.of_kind(EngineKind::ImagePolicy).filter(is_concerned);
        policies.map(|state| (state.now.key.clone(), self.rule(state))).collect()
    }

    fn rule(&self, policy: &EngineState) -> Option<ExpectRule> {
        let (Role::Policy(role), Role::Scan(scan)) = (&policy.now.role, &self.scan_of(policy)?.now.role)
        else {
            return None;
        };
        Some(ExpectRule {
            image: scan.image.clone()?,
            filter: role.filter.clone(),
            policy: role.policy.clone()?,
            environment: "".into(),
        })
    }

    fn list(&mut self, key: &EngineKey) {
        for workload in self.applies(key).collect::<Vec<_>>() {
            self.applied_by.entry(workload).or_default().insert(key.clone());
        }
    }

    fn unlist(&mut self, key: &EngineKey) {
        for workload in self.applies(key).collect::<Vec<_>>() {
            if let Some(appliers) = self.applied_by.get_mut(&workload) {
                appliers.remove(key);
                if appliers.is_empty() {
                    self.applied_by.remove(&workload);
                }
            }
        }
    }

    /// Whose way leads through an object.
    fn concerned(&self, key: &EngineKey) -> Touched {
        let mut touched = Touched::default();
        let Some(state) = self.objects.get(key) else { return touched };
        match &state.now.role {
            Role::Applier(_) => touched.workloads.extend(self.applies(key)),
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
        let role = self.objects.get(key).and_then(|state| match &state.now.role {
            Role::Applier(role) => Some(role),
            _ => None,
        });
        role.into_iter().flat_map(|role| &role.inventory).map(|(kind, namespace, name)| ObjectKey {
            kind: *kind,
            namespace: namespace.clone(),
            name: name.clone(),
        })
    }

    /// Everything that is applied from a source, or from what is made of it.
    fn applied_from(&self, source: &EngineKey) -> BTreeSet<ObjectKey> {
        let appliers = self.of_kind(EngineKind::Kustomization).chain(self.of_kind(EngineKind::HelmRelease));
        let from_it = appliers.filter(|state| self.source_of(state).is_some_and(|of| of.now.key == *source));
        from_it.flat_map(|state| self.applies(&state.now.key)).collect()
    }

    /// What an applier applies from; behind a HelmChart stands what that is made of.
    fn source_of(&self, applier: &EngineState) -> Option<&EngineState> {
        let Role::Applier(role) = &applier.now.role else { return None };
        let source = self.objects.get(role.source.as_ref()?)?;
        match &source.now.role {
            Role::Source(role) => match &role.made_of {
                Some(made_of) => self.objects.get(made_of).or(Some(source)),
                None => Some(source),
            },
            _ => None,
        }
    }

    /// The ImageRepository that a policy chooses from.
    fn scan_of(&self, policy: &EngineState) -> Option<&EngineState> {
        let Role::Policy(role) = &policy.now.role else { return None };
        let (namespace, name) = role.repository.clone();
        self.objects.get(&EngineKey { kind: EngineKind::ImageRepository, namespace, name })
    }
}

impl EngineState {
    fn new(object: EngineObject, at: Evidence, backfill: bool, epoch: u64, learned: Time) -> Self {
        let deeds = deeds(None, &object, at, backfill);
        let suspended = object.suspended.then(|| HoldSpan {
            hold: Hold::Suspended,
            since: at.interval.not_after,
            until: None,
        });
        let mut state =
            Self { now: object, epoch, deeds, suspended: suspended.into_iter().collect(), failing: None };
        // It was so before we looked.
        let since = state.now.ready.as_ref().and_then(|ready| ready.since);
        state.note_failing(since.unwrap_or(learned));
        state
    }

    /// True if it did something.
    fn update(&mut self, object: &EngineObject, at: Evidence, epoch: u64, learned: Time) -> bool {
        self.epoch = epoch;
        let new = deeds(Some(&self.now), object, at, false);
        match (self.now.suspended, object.suspended) {
            (false, true) => self.suspended.push(HoldSpan {
                hold: Hold::Suspended,
                since: at.interval.not_after,
                until: None,
            }),
            (true, false) => {
                if let Some(last) = self.suspended.last_mut() {
                    last.until = Some(at.interval.not_after);
                }
            }
            _ => {}
        }
        let surplus = self.suspended.len().saturating_sub(DEEDS_MAX);
        self.suspended.drain(..surplus);
        let done = !new.is_empty();
        self.deeds.extend(new);
        let surplus = self.deeds.len().saturating_sub(DEEDS_MAX);
        self.deeds.drain(..surplus);
        // A path, a source or a policy that became another one leads elsewhere.
        let led = |object: &EngineObject| match &object.role {
            Role::Applier(role) => (role.source.clone(), role.path.clone(), role.inventory.clone()),
            _ => Default::default(),
        };
        let turned = led(&self.now) != led(object);
        self.now.clone_from(object);
        self.note_failing(learned);
        done || turned
    }

    fn note_failing(&mut self, now: Time) {
        match &self.now.ready {
            Some(says) if says.is_true => self.failing = None,
            Some(says) if verdict::is_trying(says) => {}
            // It waits for another before each try.
            Some(says) if verdict::is_waiting(says) && self.failing.is_some() => {}
            Some(says) => {
                let known = self.failing.take().filter(|(known, _)| known.reason == says.reason);
                self.failing = Some((says.clone(), known.map_or(now, |(_, since)| since)));
            }
            None => self.failing = None,
        }
    }
}

/// What an object did between two looks at it, with the best that is known of when. `learned` bounds its own times.
fn deeds(before: Option<&EngineObject>, now: &EngineObject, learned: Evidence, backfill: bool) -> Vec<Deed> {
    let deed = |what: What, own: Option<Evidence>| {
        // A clock of whole seconds, and of another host: where it contradicts what we saw, what we saw stays.
        let at = match own {
            Some(own) => match merge(own, learned) {
                (at, false) => at,
                (_, true) => learned,
            },
            None => learned,
        };
        Deed { what, at, backfill }
    };
    let field = |time: Option<Time>| {
        time.map(|time| Evidence { interval: Interval::second(time), basis: Basis::StatusField })
    };
    let mut deeds = Vec::new();
    match (&now.role, before.map(|before| &before.role)) {
        (Role::Scan(role), before) => {
            let known = match before {
                Some(Role::Scan(before)) => before.last.as_ref(),
                _ => None,
            };
            if let Some(last) =
                role.last.as_ref().filter(|last| known.is_none_or(|known| known.revision != last.revision))
            {
                deeds.push(deed(What::Scanned(last.clone()), field(Some(last.at))));
            }
        }
        (Role::Policy(role), before) => {
            let known = match before {
                Some(Role::Policy(before)) => before.selected.as_ref(),
                _ => None,
            };
            if let Some(selected) = role.selected.as_ref().filter(|selected| known != Some(*selected)) {
                let own = role.selected_at.map(|interval| Evidence { interval, basis: Basis::ManagedFields });
                deeds.push(deed(What::Selected(selected.clone()), own));
            }
        }
        (Role::Updater(role), before) => {
            let known = match before {
                Some(Role::Updater(before)) => before.pushed.as_ref().map(|(commit, _)| commit),
                _ => None,
            };
            if let Some((commit, at)) = role.pushed.as_ref().filter(|(commit, _)| known != Some(commit)) {
                deeds.push(deed(What::Pushed(commit.clone()), field(Some(*at))));
            }
        }
        (Role::Source(role), before) => {
            let known = match before {
                Some(Role::Source(before)) => before.artifact.as_ref().map(|artifact| &artifact.revision),
                _ => None,
            };
            if let Some(artifact) =
                role.artifact.as_ref().filter(|artifact| known != Some(&artifact.revision))
            {
                deeds.push(deed(What::Stored(artifact.revision.clone()), field(artifact.stored)));
            }
        }
        (Role::Applier(role), before) => {
            let known = match before {
                Some(Role::Applier(before)) => (before.attempted.as_ref(), before.applied.as_ref()),
                _ => (None, None),
            };
            // Neither has a time of its own.
            let attempted = role.attempted.as_ref().filter(|now| known.0 != Some(*now));
            deeds.extend(attempted.map(|revision| deed(What::Attempted(revision.clone()), None)));
            let applied = role.applied.as_ref().filter(|now| known.1 != Some(*now));
            deeds.extend(applied.map(|revision| deed(What::Applied(revision.clone()), None)));
        }
        (Role::Other, _) => {}
    }
    deeds
}
