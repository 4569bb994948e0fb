//! The tracker: a pure, deterministic function of observations. No I/O, no clock, no metrics.
//!
//! `observe` takes facts in, `advance` lets time pass, both answer with events. Facts of a cluster fold into
//! workloads and their template versions (`workload.rs`), facts of registries and git into what a tag meant
//! and what a branch names; `legs.rs` folds all of them into each destination's order of desires,
//! `correlate.rs` makes journeys of it and `ledger.rs` settles them. Journeys are derived anew whenever a fact
//! touches their destination, so the order between sources does not matter. A new rule is a case in
//! `tests/journeys/` first. `checkpoint/` keeps the whole state over a restart: a new field is part of it, and
//! raises its format number.

mod asks;
mod bench;
mod by_name;
mod cause;
pub mod checkpoint;
mod cluster;
mod config_map;
mod correlate;
mod derive;
mod destination;
mod engine;
mod entry;
mod event;
mod evidence;
mod expect;
mod forget;
mod git;
mod history;
mod idle;
mod index;
mod interests;
mod journey;
mod judge;
mod kept;
mod ledger;
mod leg;
mod legs;
mod level;
mod lookup;
mod maps;
mod namespaces;
mod next;
mod observe;
mod overtaken;
mod pod_state;
mod pods;
mod probes;
mod query;
mod reached;
mod reading;
mod reason;
mod registry;
mod release;
mod renew;
mod resume;
mod revisions;
mod rollout;
mod sample;
mod scale;
mod settings;
mod source;
mod stage;
mod taken;
mod taken_back;
mod tally;
mod target;
mod told;
mod touch;
mod updater;
mod values;
mod view;
mod workload;

pub use checkpoint::RestoreError;
pub use event::{Deadline, Event, Wait};
pub use forget::Sizes;
pub use idle::Idle;
pub use journey::{
    CommitRef, Destination, Held, Hold, Journey, JourneyId, Outcome, Reason, Stuck, Subject, Trigger, Who,
};
pub use judge::next_run;
pub use lookup::{
    CommitFound, ConcernedBy, Findings, ImageFound, Lookup, PolicyFound, RepositoryFound, ScanFound,
};
pub use next::{Does, Next, Turn};
pub use query::DestinationStatus;
pub use reason::{HOLDS, HoldRow, Row, TABLE as REASONS};
pub use sample::Sample;
pub use source::SourceStatus;
pub use stage::{Evidence, Stage, StageState, Stages};
pub use updater::{Detected, Pushed, PusherStatus, ScannerStatus, Updater, Updaters};
pub use view::{HeldView, JourneyView, StageView, StuckView};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use bench::{Bench, Needs};
use cluster::{ClusterState, plural};
use correlate::Seen;
use destination::DestinationKey;
use git::Trees;
use index::Index;
use ledger::Ledger;
use maps::Map;
use registry::Registries;
use source::{ScopeId, ScopeKey, Sources};
use updater::{Commits, Lags};

use crate::image::Repository;
use crate::observation::{
    ClusterUid, EngineKind, Interests, ObjectKey, Observation, RepositoryInterest, Rules, Scope, SourceId,
    Time, WorkloadKind,
};

/// A workload in a cluster.
type Place = (ClusterUid, ObjectKey);

/// Sources race by seconds; a step back of more is our own clock being set right.
const CLOCK_STEP_MILLIS: i64 = 60_000;

/// See the folder's front page.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tracker {
    now: Time,
    rules: Rules,
    sources: Sources,
    /// Last epoch and number of each source: what is not newer was said before.
    #[serde(serialize_with = "maps::sorted")]
    said: Map<SourceId, (u64, u64)>,
    registries: Registries,
    trees: Trees,
    clusters: BTreeMap<ClusterUid, ClusterState>,
    #[serde(serialize_with = "maps::sorted")]
    ledgers: Map<DestinationKey, Ledger>,
    /// Workloads that used a repository at any time.
    #[serde(serialize_with = "maps::sorted")]
    users: Map<Repository, BTreeSet<Place>>,
    #[serde(serialize_with = "maps::sorted")]
    seen: Seen,
    dirty: BTreeSet<Place>,
    /// New tags that scans of the shop's updater have yet to have.
    lags: Lags,
    /// New commits that are nobody's yet.
    commits: Commits,
    /// Destinations with something that still depends on time.
    active: BTreeSet<DestinationKey>,
    /// When something was forgotten last.
    forgot: Option<Time>,
    /// What follows from all the rest.
    #[serde(skip)]
    index: Index,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            now: Time::MIN,
            rules: Rules::default(),
            sources: Sources::default(),
            said: Map::default(),
            registries: Registries::default(),
            trees: Trees::default(),
            clusters: BTreeMap::new(),
            ledgers: Map::default(),
            users: Map::default(),
            seen: Seen::default(),
            dirty: BTreeSet::new(),
            lags: Lags::default(),
            commits: Commits::default(),
            active: BTreeSet::new(),
            forgot: None,
            index: Index::default(),
        }
    }
}

impl Tracker {
    /// Takes one observation in. What a source said before is skipped. What was due before it happens first, so
    /// that a replay without anybody asking for deadlines gives the same journeys.
    pub fn observe(&mut self, observation: &Observation) -> Vec<Event> {
        let mut events = self.catch_up(observation.observed_at);
        self.observe_now(observation, &mut events);
        events
    }

    fn catch_up(&mut self, to: Time) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(due) = self.index.deadlines.first().filter(|due| due.at <= to) {
            self.now = self.now.max(due.at);
            self.judge_all(self.index.deadlines.due(self.now), &mut events);
            if self.index.deadlines.first() == Some(due) {
                break;
            }
        }
        events
    }

    fn observe_now(&mut self, observation: &Observation, events: &mut Vec<Event>) {
        let set_back = observation.observed_at + CLOCK_STEP_MILLIS < self.now;
        self.now = if set_back { observation.observed_at } else { self.now.max(observation.observed_at) };
        if set_back {
            // What was over is to come again.
            self.judge_all(self.active.clone(), events);
        }
        let number = (observation.source_epoch, observation.seq);
        match self.said.get_mut(&observation.source) {
            Some(last) if number <= *last => return,
            Some(last) => *last = number,
            None => drop(self.said.insert(observation.source.clone(), number)),
        }
        self.take(observation, events);
        self.tell_commits(observation, events);
        self.derive_dirty(events);
        self.forget_sometimes();
        let waiting = std::mem::take(&mut self.index.waiting);
        self.judge_all(waiting, events);
    }

    /// Lets time pass up to `now`: budgets run out, sources grow stale, journeys settle. What was due on the way happens
    /// at its own time and in order, so that it does not matter how often this is called, or that it came late: a
    /// process that recalls only the last time comes to the same.
    pub fn advance(&mut self, now: Time) -> Vec<Event> {
        let mut events = self.catch_up(now);
        self.now = self.now.max(now);
        let mut due = self.index.deadlines.due(self.now);
        due.extend(self.index.held.iter().cloned());
        self.judge_all(due, &mut events);
        events
    }

    /// When to call `advance` next, and why.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.index.deadlines.first()
    }

    fn judge_all(&mut self, keys: BTreeSet<DestinationKey>, events: &mut Vec<Event>) {
        for key in keys {
            self.judge(&key, events);
        }
    }

    /// Judges the open journeys of one destination, and plans when to do so again.
    fn judge(&mut self, key: &DestinationKey, events: &mut Vec<Event>) {
        let Some(ledger) = self.ledgers.get_mut(key) else { return };
        let needs = ledger.needs.clone();
        let cluster = self.clusters.get(&key.cluster);
        let bench =
            Bench::new(self.now, &self.rules, (&self.sources, &self.trees.taken), cluster, key, &needs);
        ledger.judge(&bench, events);
        self.index.plan(key, ledger, &bench);
        if ledger.is_active() {
            if !self.active.contains(key) {
                self.active.insert(key.clone());
            }
        } else {
            self.active.remove(key);
        }
    }

    /// The scopes that decide about a destination.
    fn needs(&mut self, key: &DestinationKey, environment: &Arc<str>) -> Needs {
        // Without its revisions or Jobs nobody knows whose a pod is.
        let between = match key.workload.kind {
            WorkloadKind::Deployment => "replicasets",
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => "controllerrevisions",
            WorkloadKind::CronJob => "jobs",
        };
        let resources = [plural(&key.workload), between, "pods", "configmaps"];
        let scopes = &mut self.index.scopes;
        let [own, between, pods, config_maps] = resources.map(|name| {
            let known = scopes.get(&key.cluster).and_then(|of| of.iter().find(|(of, _)| *of == name));
            if let Some((_, scope)) = known {
                return *scope;
            }
            let scope = Scope::Resource { cluster: key.cluster.clone(), resource: name.into() };
            let scope = self.sources.number(&ScopeKey::new(&scope));
            scopes.entry(key.cluster.clone()).or_default().push((name, scope));
            scope
        });
        let engines = self.engine_scopes(&key.cluster);
        let workload = self.clusters.get(&key.cluster).and_then(|c| c.workloads.get(&key.workload));
        let image = workload.and_then(|workload| workload.versions.last()?.read(&key.container));
        // After its workload was removed no environment is asked any more.
        let lives = workload.is_some_and(|workload| workload.removed.is_none());
        let registry = image.map(|image| Scope::Repository(image.repository.clone()));
        Needs {
            cluster: [own, between, pods],
            git: if lives { self.branches(environment) } else { Arc::default() },
            registry: registry.map(|scope| self.sources.number_of(&scope, None)),
            config_maps,
            engines,
        }
    }

    /// The kinds of engines that a cluster has objects of, with their scopes.
    fn engine_scopes(&mut self, uid: &ClusterUid) -> Arc<[(EngineKind, ScopeId)]> {
        let Some(cluster) = self.clusters.get(uid).filter(|cluster| !cluster.engines.is_empty()) else {
            return Arc::default();
        };
        let kinds: Vec<EngineKind> = cluster.engines.kinds().collect();
        if let Some(known) = self.index.engine_scopes.get(uid)
            && known.iter().map(|(kind, _)| *kind).eq(kinds.iter().copied())
        {
            return known.clone();
        }
        let scope =
            |kind: &EngineKind| Scope::Resource { cluster: uid.clone(), resource: kind.plural().into() };
        let scopes: Arc<[(EngineKind, ScopeId)]> =
            kinds.iter().map(|kind| (*kind, self.sources.number(&ScopeKey::new(&scope(kind))))).collect();
        self.index.engine_scopes.insert(uid.clone(), scopes.clone());
        scopes
    }

    fn branches(&mut self, environment: &Arc<str>) -> Arc<[ScopeId]> {
        if let Some(branches) = self.index.branches.get(environment) {
            return branches.clone();
        }
        let paths = self.rules.paths.iter().filter(|rule| rule.environment == *environment);
        let scopes = paths.map(|rule| Scope::Branch { url: rule.url.clone(), branch: rule.branch.clone() });
        let branches: Arc<[ScopeId]> =
            scopes.map(|scope| self.sources.number(&ScopeKey::new(&scope))).collect();
        self.index.branches.insert(environment.clone(), branches.clone());
        branches
    }
}
