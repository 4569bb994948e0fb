//! The tracker: a pure, deterministic function of observations. No I/O, no clock, no metrics.
//!
//! `observe` takes facts in, `advance` lets time pass, both answer with events. Facts of a cluster fold into
//! workloads and their template versions (`workload.rs`), facts of registries and git into what a tag meant
//! and what a branch names; `legs.rs` folds all of them into each destination's order of desires,
//! `correlate.rs` makes journeys of it and `ledger.rs` settles them. Journeys are derived anew whenever a fact
//! touches their destination, so the order between sources does not matter. A new rule is a case in
//! `tests/journeys/` first. `checkpoint/` keeps the whole state over a restart: a new field is part of it, and
//! raises its format number.

pub mod checkpoint;
mod cluster;
mod config_map;
mod correlate;
mod destination;
mod event;
mod evidence;
mod git;
mod history;
mod journey;
mod judge;
mod ledger;
mod leg;
mod legs;
mod observe;
mod query;
mod registry;
mod resume;
mod revisions;
mod rollout;
mod sample;
mod source;
mod stage;
mod view;
mod workload;

pub use checkpoint::RestoreError;
pub use event::{Deadline, Event, Wait};
pub use journey::{
    CommitRef, Destination, Held, Hold, Journey, JourneyId, Outcome, Reason, Stuck, Subject, Trigger,
};
pub use query::DestinationStatus;
pub use sample::Sample;
pub use source::SourceStatus;
pub use stage::{Evidence, Stage, StageState, Stages};
pub use view::{HeldView, JourneyView, StageView, StuckView};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use cluster::{ClusterState, plural};
use correlate::{Seen, SeenAt, image_key};
use destination::{DestinationKey, describe, promotion_rank};
use git::Trees;
use ledger::{Bench, Ledger};
use legs::{Desires, Inputs};
use registry::Registries;
use source::{ScopeKey, Sources};

use crate::image::Repository;
use crate::observation::{
    ClusterUid, Fact, Interests, Interval, ObjectKey, Observation, RepositoryInterest, Rules, Scope,
    SourceId, Time, WorkloadKind,
};

/// A workload in a cluster.
type Place = (ClusterUid, ObjectKey);

/// Rounds of deriving after one fact. Each round can only tell others that an image became live earlier, so two
/// or three are enough; the bound is against a mistake.
const ROUNDS_MAX: usize = 8;

/// Sources race by seconds; a step back of more is our own clock being set right.
const CLOCK_STEP_MILLIS: i64 = 60_000;

/// See the folder's front page.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tracker {
    now: Time,
    rules: Rules,
    sources: Sources,
    /// Last epoch and number of each source: what is not newer was said before.
    said: BTreeMap<SourceId, (u64, u64)>,
    registries: Registries,
    trees: Trees,
    clusters: BTreeMap<ClusterUid, ClusterState>,
    ledgers: BTreeMap<DestinationKey, Ledger>,
    /// Workloads that used a repository at any time.
    users: BTreeMap<Repository, BTreeSet<Place>>,
    seen: Seen,
    dirty: BTreeSet<Place>,
    /// Destinations with something that still depends on time.
    active: BTreeSet<DestinationKey>,
    /// The next deadline, so that an observation need not look for it.
    due: Option<Time>,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            now: Time::MIN,
            rules: Rules::default(),
            sources: Sources::default(),
            said: BTreeMap::new(),
            registries: Registries::default(),
            trees: Trees::default(),
            clusters: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            users: BTreeMap::new(),
            seen: Seen::new(),
            dirty: BTreeSet::new(),
            active: BTreeSet::new(),
            due: None,
        }
    }
}

impl Tracker {
    /// Takes one observation in. What a source said before is skipped. What was due before it happens first, so
    /// that a replay without anybody asking for deadlines gives the same journeys.
    pub fn observe(&mut self, observation: &Observation) -> Vec<Event> {
        let mut events = self.catch_up(observation.observed_at);
        events.extend(self.observe_now(observation));
        self.due = self.next_deadline().map(|deadline| deadline.at);
        events
    }

    fn catch_up(&mut self, to: Time) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(at) = self.due.filter(|due| *due <= to) {
            events.extend(self.advance(at));
            if self.due == Some(at) {
                break;
            }
        }
        events
    }

    fn observe_now(&mut self, observation: &Observation) -> Vec<Event> {
        self.now = if observation.observed_at + CLOCK_STEP_MILLIS < self.now {
            observation.observed_at
        } else {
            self.now.max(observation.observed_at)
        };
        let number = (observation.source_epoch, observation.seq);
        if self.said.get(&observation.source).is_some_and(|last| number <= *last) {
            return Vec::new();
        }
        self.said.insert(observation.source.clone(), number);
        self.take(observation);
        let mut events = self.derive_dirty();
        if matches!(observation.fact, Fact::LookCompleted { .. }) {
            // A look makes a source fresh again; who waited for it is judged at once.
            let active: Vec<DestinationKey> = self.active.iter().cloned().collect();
            active.iter().for_each(|key| events.extend(self.judge(key)));
        }
        events
    }

    /// Lets time pass up to `now`: budgets run out, sources grow stale, journeys settle.
    pub fn advance(&mut self, now: Time) -> Vec<Event> {
        self.now = self.now.max(now);
        let active: Vec<DestinationKey> = self.active.iter().cloned().collect();
        let mut events = Vec::new();
        for key in active {
            events.extend(self.judge(&key));
        }
        self.due = self.next_deadline().map(|deadline| deadline.at);
        events
    }

    /// When to call `advance` next, and why.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.active
            .iter()
            .filter_map(|key| {
                let ledger = self.ledgers.get(key)?;
                let (at, why) = ledger.next(&self.bench(key))?;
                Some(Deadline { at, why })
            })
            .min()
    }

    fn derive_dirty(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let dirty = std::mem::take(&mut self.dirty);
            if dirty.is_empty() {
                break;
            }
            for place in dirty {
                events.extend(self.derive(&place));
            }
        }
        events
    }

    /// Derives the journeys of every container of one workload.
    fn derive(&mut self, place: &Place) -> Vec<Event> {
        let (cluster_uid, object) = place;
        let Some(cluster) = self.clusters.get_mut(cluster_uid) else { return Vec::new() };
        cluster.refresh(object, self.rules.live_when);
        let cluster_name = cluster.name.clone().unwrap_or_else(|| cluster_uid.clone());
        let Some(workload) = self.clusters.get(cluster_uid).and_then(|c| c.workloads.get(object)) else {
            return Vec::new();
        };
        let mut containers: BTreeSet<_> = workload.now.containers.iter().map(|c| c.name.clone()).collect();
        let first = workload.now.containers.first().map(|c| c.name.clone());
        let start =
            DestinationKey { cluster: cluster_uid.clone(), workload: object.clone(), container: "".into() };
        let booked = self.ledgers.range(start..).map(|(key, _)| key);
        let booked = booked.take_while(|key| key.cluster == *cluster_uid && key.workload == *object);
        containers.extend(booked.map(|key| key.container.clone()));
        if workload.now.ignore {
            let keys: Vec<DestinationKey> = containers
                .into_iter()
                .map(|container| DestinationKey {
                    cluster: cluster_uid.clone(),
                    workload: object.clone(),
                    container,
                })
                .collect();
            keys.iter().for_each(|key| self.let_go(key));
            return Vec::new();
        }
        let mut derived = Vec::new();
        for container in containers {
            let key = DestinationKey { cluster: cluster_uid.clone(), workload: object.clone(), container };
            let destination = describe(&key, &cluster_name, &workload.now, &self.rules);
            let inputs = self.inputs(workload, &key, &destination);
            let desires = legs::fold(&inputs);
            let mut drafts =
                correlate::derive(&key, &destination, &desires, &inputs, &self.rules, &self.seen);
            let revisions = revisions::fold(&inputs);
            correlate::add_revisions(&mut drafts, &key, &destination, &revisions, &inputs);
            let seen = seen_of(&desires, &inputs, promotion_rank(&destination.environment, &self.rules));
            let mut status = Standing::of(&desires, &inputs);
            let at_start = revisions.iter().rev().filter(|leg| leg.at_start);
            status.config_written = at_start.filter_map(|leg| Some(leg.written?.interval)).next();
            let restarts = if Some(&key.container) == first.as_ref() {
                // A template that a revision's commit changed is no mere restart.
                let revised = |at: &&usize| revisions.iter().any(|leg| leg.version == Some(**at));
                let restarts = desires.restarts.iter().filter(|at| !revised(at));
                restarts.map(|at| workload.versions[*at].generation).collect()
            } else {
                Vec::new()
            };
            derived.push((key, destination, drafts, seen, status, restarts));
        }
        let mut events = Vec::new();
        for (key, destination, drafts, seen, status, restarts) in derived {
            self.note_seen(&key, seen);
            let mut ledger = self.ledgers.remove(&key).unwrap_or_else(|| Ledger::new(destination.clone()));
            ledger.destination = destination;
            (ledger.behind_since, ledger.live) = (status.behind_since, status.live);
            (ledger.config_written, ledger.overridden_since) =
                (status.config_written, status.overridden_since);
            let settle = (self.rules.settle.min * 1000.0) as i64;
            ledger.restarts.retain(|generation, due| due.is_none() || restarts.contains(generation));
            for generation in restarts {
                ledger.restarts.entry(generation).or_insert(Some(self.now + settle));
            }
            ledger.take(drafts, &self.bench(&key));
            self.ledgers.insert(key.clone(), ledger);
            events.extend(self.judge(&key));
        }
        events
    }

    /// Nobody wants to hear of this destination any more: what is under way there is dropped, uncounted.
    fn let_go(&mut self, key: &DestinationKey) {
        self.active.remove(key);
        if let Some(ledger) = self.ledgers.get_mut(key) {
            ledger.entries.retain(|entry| entry.journey.settled);
            ledger.behind_since = None;
        }
    }

    fn judge(&mut self, key: &DestinationKey) -> Vec<Event> {
        let Some(mut ledger) = self.ledgers.remove(key) else { return Vec::new() };
        let events = ledger.judge(&self.bench(key));
        if ledger.is_active() {
            self.active.insert(key.clone());
        } else {
            self.active.remove(key);
        }
        self.ledgers.insert(key.clone(), ledger);
        events
    }

    fn inputs<'a>(
        &'a self,
        workload: &'a workload::WorkloadState,
        key: &'a DestinationKey,
        destination: &Destination,
    ) -> Inputs<'a> {
        let image = workload.versions.last().and_then(|version| version.image(&key.container));
        let mut changes = Vec::new();
        let mut elsewhere = Vec::new();
        for ((url, branch, path), tree) in &self.trees.trees {
            let rule = self
                .rules
                .paths
                .iter()
                .find(|rule| *rule.url == **url && *rule.branch == **branch && *rule.path == **path);
            let list = match rule {
                Some(rule) if rule.environment == destination.environment => &mut changes,
                Some(_) => continue,
                None => &mut elsewhere,
            };
            list.extend(tree.changes.iter().filter(|change| match &change.slot {
                git::Slot::Container { .. } => change.slot.sets(&key.workload, &key.container),
                git::Slot::Kustomize { name } => image.as_ref().is_some_and(|image| {
                    image.repository.as_str() == &**name
                        || change.after.as_ref().is_some_and(|after| after.repository == image.repository)
                }),
                git::Slot::Text { .. } => change.after.is_some(),
                git::Slot::ConfigMap { .. } => change.slot.is_named_by(workload),
            }));
        }
        let selections = self
            .registries
            .rules
            .iter()
            .filter(|state| state.rule.environment == destination.environment)
            .filter(|state| {
                let versions = workload.versions.iter().filter_map(|version| version.image(&key.container));
                versions.rev().any(|image| image.repository == state.rule.image)
            })
            .flat_map(|state| &state.selections)
            .collect();
        let alone = image.as_ref().is_none_or(|image| {
            let users = self.users.get(&image.repository);
            let same = |(cluster, object): &&Place| {
                (cluster, object) != (&key.cluster, &key.workload)
                    && self.environment_of(cluster, object).as_deref() == Some(&*destination.environment)
            };
            users.is_none_or(|users| !users.iter().any(|user| same(&user)))
        });
        Inputs {
            workload,
            container: &key.container,
            registries: &self.registries,
            changes,
            elsewhere,
            selections,
            alone,
            config_maps: self.clusters.get(&key.cluster).map(|cluster| &cluster.config_maps),
        }
    }

    fn environment_of(&self, cluster: &ClusterUid, object: &ObjectKey) -> Option<std::sync::Arc<str>> {
        let state = self.clusters.get(cluster)?;
        let workload = state.workloads.get(object).filter(|workload| workload.removed.is_none())?;
        let name = state.name.clone().unwrap_or_else(|| cluster.clone());
        let key = DestinationKey { cluster: cluster.clone(), workload: object.clone(), container: "".into() };
        Some(describe(&key, &name, &workload.now, &self.rules).environment)
    }

    /// Remembers when this destination desired and ran what; others whose open journeys care are derived again.
    fn note_seen(&mut self, key: &DestinationKey, seen: BTreeMap<String, SeenAt>) {
        for (image, at) in seen {
            let by = self.seen.entry(image).or_default();
            if by.insert(key.clone(), at) != Some(at) {
                for other in by.keys().filter(|other| *other != key && self.active.contains(*other)) {
                    self.dirty.insert((other.cluster.clone(), other.workload.clone()));
                }
            }
        }
    }

    fn bench(&self, key: &DestinationKey) -> Bench<'_> {
        let workload = self.clusters.get(&key.cluster).and_then(|c| c.workloads.get(&key.workload));
        let resource = |name: &str| {
            ScopeKey::new(&Scope::Resource { cluster: key.cluster.clone(), resource: name.into() })
        };
        // Without its revisions or Jobs nobody knows whose a pod is.
        let between = match key.workload.kind {
            WorkloadKind::Deployment => "replicasets",
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => "controllerrevisions",
            WorkloadKind::CronJob => "jobs",
        };
        let cluster = vec![resource(plural(&key.workload)), resource(between), resource("pods")];
        let environment = workload.and_then(|_| self.environment_of(&key.cluster, &key.workload));
        let git = self
            .rules
            .paths
            .iter()
            .filter(|rule| Some(&rule.environment) == environment.as_ref())
            .map(|rule| ScopeKey::new(&Scope::Branch { url: rule.url.clone(), branch: rule.branch.clone() }))
            .collect();
        let registry = workload
            .and_then(|workload| workload.versions.last()?.image(&key.container))
            .map(|image| ScopeKey::new(&Scope::Repository(image.repository)))
            .into_iter()
            .collect();
        Bench {
            now: self.now,
            rules: &self.rules,
            sources: &self.sources,
            workload,
            cluster,
            git,
            registry,
            config_maps: resource("configmaps"),
        }
    }
}

fn seen_of(desires: &Desires, inputs: &Inputs<'_>, rank: Option<usize>) -> BTreeMap<String, SeenAt> {
    let mut seen = BTreeMap::new();
    for leg in &desires.legs {
        let live = leg.completion(inputs).map(|complete| complete.learned);
        let now = SeenAt {
            desired: if leg.baseline { Time::MIN } else { leg.opened.not_after },
            live: if leg.baseline { leg.ran_at_start(inputs).then_some(Time::MIN) } else { live },
            rank,
        };
        seen.entry(image_key(leg))
            .and_modify(|known: &mut SeenAt| {
                known.desired = known.desired.min(now.desired);
                known.live = match (known.live, now.live) {
                    (Some(known), Some(now)) => Some(known.min(now)),
                    (known, now) => known.or(now),
                };
            })
            .or_insert(now);
    }
    seen
}

/// What runs, and since when something newer is wanted.
struct Standing {
    behind_since: Option<Time>,
    live: Option<(crate::image::ImageRef, Option<crate::image::Digest>, Time)>,
    config_written: Option<Interval>,
    overridden_since: Option<Time>,
}

impl Standing {
    fn of(desires: &Desires, inputs: &Inputs<'_>) -> Self {
        let live_at = |leg: &leg::Leg| match (leg.live(inputs), leg.baseline) {
            (Some(live), false) => Some(live.interval.not_after),
            (_, true) => leg.ran_at_start(inputs).then_some(Time::MIN),
            (None, false) => None,
        };
        let runs = desires
            .legs
            .iter()
            .enumerate()
            .filter_map(|(at, leg)| Some((leg.version?, live_at(leg)?, at)))
            .max();
        let live = runs.map(|(_, at, index)| {
            let leg = &desires.legs[index];
            (leg.image.clone(), leg.digest.clone(), at)
        });
        let mut behind_since = None;
        let mut next = desires.current;
        while let Some(at) = next {
            let leg = &desires.legs[at];
            let continues =
                at == desires.current.unwrap_or(at) || matches!(leg.ended, Some((Outcome::Superseded, _)));
            if live_at(leg).is_some() || !continues {
                break;
            }
            behind_since = Some(leg.opened.not_after);
            next = leg.previous;
        }
        let overridden_since = desires.overridden_since(inputs);
        Self { behind_since, live, config_written: None, overridden_since }
    }
}
