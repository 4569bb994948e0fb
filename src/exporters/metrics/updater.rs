//! What the shop's own updater did: counters fed by the tracker's events. Its gauges are read from the snapshot.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;

use super::histogram::Histogram;
use super::series::{Registry, Series};
use super::table::{self, Buckets};
use crate::exporters::Snapshot;
use crate::tracker::{Detected, Pushed, ScannerStatus, Stage, Updater};

/// The families.
#[derive(Debug)]
pub struct UpdaterWork {
    races: Series<Counter>,
    commits: Series<Counter>,
    images: Series<Counter>,
    batch_size: Series<Histogram>,
    scans: Mutex<Durations>,
}

/// Scanners whose time is remembered: as many as a tracker follows.
const SCANNERS_MAX: usize = 20_000;

/// How long scans took last, by cluster, namespace and name of their object. Its repository is known to the snapshot.
#[derive(Debug, Clone, Default)]
pub struct Durations(HashMap<[Box<str>; 3], f64>);

impl Durations {
    /// How long the last scans of a scanner took.
    pub fn of(&self, scanner: &ScannerStatus) -> Option<f64> {
        let (namespace, name) = &scanner.object;
        self.0.get(&[&*scanner.cluster, &**namespace, &**name].map(Box::from)).copied()
    }
}

impl UpdaterWork {
    pub fn register(to: &mut Registry, refused: &Counter) -> Self {
        let counts = || Histogram::new(Buckets::Counts);
        Self {
            races: Series::register(to, &table::UPDATER_PUSH_RACES, Counter::default, refused),
            commits: Series::register(to, &table::UPDATER_COMMITS, Counter::default, refused),
            images: Series::register(to, &table::UPDATER_IMAGES, Counter::default, refused),
            batch_size: Series::register(to, &table::UPDATE_BATCH_SIZE, counts, refused),
            scans: Mutex::default(),
        }
    }

    pub fn counters(&self) -> [&Series<Counter>; 3] {
        [&self.races, &self.commits, &self.images]
    }

    pub fn batch_size(&self) -> &Series<Histogram> {
        &self.batch_size
    }

    /// Known updaters start at 0, so that the first increment is not lost.
    pub fn start_at_zero(&self, snapshot: &Snapshot) {
        for pusher in &snapshot.updaters.pushers {
            for series in self.counters() {
                series.with(&labels(pusher));
            }
        }
    }

    /// A scanner's reconciliations took so long.
    pub fn scanned(&self, object: [&str; 3], seconds: f64) {
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        let object = object.map(Box::from);
        if scans.0.len() < SCANNERS_MAX || scans.0.contains_key(&object) {
            scans.0.insert(object, seconds);
        }
    }

    pub fn durations(&self) -> Durations {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn raced(&self, updater: &Updater) {
        self.races.with(&labels(updater)).inc();
    }

    pub fn pushed(&self, pushed: &Pushed) {
        let labels = labels(&pushed.updater);
        self.commits.with(&labels).inc();
        self.images.with(&labels).inc_by(pushed.images as u64);
        // Where nobody could read what it changed, its size is not known.
        if pushed.references > 0 {
            self.batch_size.with(&labels).observe(pushed.references as f64);
        }
    }

    /// Of a lag only a clock that went backwards is counted: the lag itself is a gauge.
    pub fn detected(&self, detected: &Detected, negative: &Series<Counter>) {
        if detected.lag.negative {
            negative.with(&[Stage::Detected.as_str()]).inc();
        }
    }
}

fn labels(updater: &Updater) -> [&str; 3] {
    [updater.engine, &updater.cluster, &updater.repository]
}
