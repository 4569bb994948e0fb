//! What is remembered between scrapes.

use std::collections::{HashMap, HashSet};

use super::gauges::{Gauges, Revisions, remember_revisions};
use super::latch::Latch;
use super::place;
use crate::exporters::Snapshot;

/// Pulls that wait for a scrape. Where nobody scrapes, the rest is counted by what was known last.
const PULLS_MAX: usize = 2000;

/// Cluster, environment, namespace and app.
pub type Place = [Box<str>; 4];

/// Kept under one lock; nothing in here waits.
#[derive(Debug)]
pub struct Seen {
    latches: [Latch; 3],
    revisions: Revisions,
    /// Apps of the last snapshot: their journey totals have been started at 0.
    apps: HashSet<Place>,
    /// Workloads by cluster and namespace, for what is told about pods only.
    workloads: HashMap<[Box<str>; 2], Vec<NamedWorkload>>,
    /// Pulls since the last scrape.
    pulls: Vec<Pull>,
    /// Bytes of the last exposition: the next is about as long.
    pub last_size: usize,
}

/// A pull whose app is not known yet.
#[derive(Debug)]
pub struct Pull {
    /// Cluster, namespace and pod.
    pub place: [Box<str>; 3],
    pub seconds: f64,
    pub bytes: Option<u64>,
}

#[derive(Debug)]
struct NamedWorkload {
    name: Box<str>,
    app: Box<str>,
}

impl Seen {
    pub fn new() -> Self {
        Self {
            latches: Latch::all(),
            revisions: HashMap::new(),
            apps: HashSet::new(),
            workloads: HashMap::new(),
            pulls: Vec::new(),
            last_size: 0,
        }
    }

    /// Remembers a snapshot; answers with the apps that were not in the one before.
    pub fn take_in(&mut self, snapshot: &Snapshot) -> Vec<Place> {
        for latch in &mut self.latches {
            latch.update(snapshot.at, &snapshot.journeys, &snapshot.destinations);
        }
        remember_revisions(&mut self.revisions, snapshot);
        self.workloads.clear();
        let mut apps = HashSet::new();
        for status in &snapshot.destinations {
            let place = place(&status.destination);
            let workload = &status.destination.workload;
            let named = NamedWorkload { name: Box::from(&*workload.name), app: Box::from(place[3]) };
            self.workloads.entry([Box::from(place[0]), Box::from(place[2])]).or_default().push(named);
            apps.insert(place.map(Box::from));
        }
        let before = std::mem::replace(&mut self.apps, apps);
        self.apps.difference(&before).cloned().collect()
    }

    /// The gauges of a snapshot that was taken in.
    pub fn gauges(&self, snapshot: &Snapshot) -> Gauges {
        let latched = self.latches.iter().map(|latch| (latch.family, latch.rows().collect())).collect();
        Gauges::new(snapshot, &self.revisions, latched)
    }

    /// Keeps a pull until the next scrape, or gives it back where too many wait.
    pub fn remember(&mut self, pull: Pull) -> Option<Pull> {
        if self.pulls.len() >= PULLS_MAX {
            return Some(pull);
        }
        self.pulls.push(pull);
        None
    }

    /// The pulls that waited.
    pub fn take_pulls(&mut self) -> Vec<Pull> {
        std::mem::take(&mut self.pulls)
    }

    /// A pod's app by its name: controllers put the workload's name in front. The longest name wins.
    pub fn app_of_pod(&self, cluster: &str, namespace: &str, pod: &str) -> Box<str> {
        let here = self.workloads.get(&[Box::from(cluster), Box::from(namespace)]).into_iter().flatten();
        let its = here
            .filter(|workload| pod.strip_prefix(&*workload.name).is_some_and(|rest| rest.starts_with('-')));
        let longest = its.max_by_key(|workload| workload.name.len());
        longest.map_or_else(|| "unknown".into(), |workload| workload.app.clone())
    }
}
