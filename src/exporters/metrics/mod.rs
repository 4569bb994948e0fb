//! Prometheus metrics: one table of families, counters fed by events and measures, gauges read from a snapshot.
//!
//! A family is an entry of `table.rs`, a field of [`Metrics`] or a row of `gauges.rs`, and nothing else. Only
//! settled journeys feed histograms and counters, so that no number given is ever taken back; `checkpoint.rs` says
//! which of them go on over a restart. Nothing here
//! waits for the tracker, and who feeds the numbers waits at most for a few hundred lines of a scrape.

mod checkpoint;
mod config;
mod document;
mod estimate;
mod format;
mod gauges;
mod histogram;
mod journal;
mod latch;
mod pulls;
mod seen;
mod series;
mod settled;
pub mod table;
mod text;
mod updater;
mod work;

pub use document::document;
pub use estimate::Size;
pub use format::Format;
pub use journal::JournalNumbers;
pub use series::{HISTOGRAMS_PER_FAMILY_MAX, SERIES_PER_FAMILY_MAX};

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;

use self::pulls::{Pull, Pulls, Workloads};
use self::seen::{Place, Seen};
use self::series::{Registry, Series};
use self::settled::Settled;
use self::text::Text;
use self::updater::UpdaterWork;
use self::work::Work;
use crate::exporters::Snapshot;
use crate::observation::{Measure, Observation, Time};
use crate::tracker::{Destination, Event, Outcome, Subject, Trigger};

/// Every number that Knotmeter gives.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    settled: Settled,
    restarts: Series<Counter>,
    work: Work,
    updater: UpdaterWork,
    observations: Series<Counter>,
    dropped: Series<Counter>,
    journal: journal::Journal,
    config: config::Config,
    seen: Mutex<Seen>,
    pulls: Mutex<Pulls>,
    /// Bytes of the last exposition: the next is about as long.
    last_size: AtomicUsize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All families, empty.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::new();
        let to = &mut registry;
        let refused = Counter::default();
        let dropped = Series::register(to, &table::DROPPED, Counter::default, &refused);
        // The cap's own count is a series of the family that it belongs to.
        let refused = dropped.with(&["metrics", "series_cap"]);
        Self {
            settled: Settled::register(to, &refused),
            restarts: Series::register(to, &table::RESTARTS, Counter::default, &refused),
            work: Work::register(to, &refused),
            updater: UpdaterWork::register(to, &refused),
            observations: Series::register(to, &table::OBSERVATIONS, Counter::default, &refused),
            journal: journal::Journal::register(to, &refused),
            config: config::Config::register(to, &refused),
            dropped,
            seen: Mutex::new(Seen::new()),
            pulls: Mutex::default(),
            last_size: AtomicUsize::new(0),
            registry,
        }
    }

    /// The same with the trace's id as exemplar: only for a program that sends the traces.
    #[must_use]
    pub fn with_exemplars(mut self) -> Self {
        self.settled.exemplars = true;
        self
    }

    /// Takes one number about work in.
    pub fn measure(&self, measure: &Measure) {
        match measure {
            Measure::Dropped { source, reason } => {
                self.dropped.with(&[source, reason]).inc();
            }
            Measure::ImagePull { cluster, namespace, pod, seconds, bytes } => {
                let pull = Pull {
                    place: [cluster, namespace, pod].map(|part| Box::from(&**part)),
                    seconds: *seconds,
                    bytes: *bytes,
                };
                let mut pulls = self.pulls();
                if let Some(surplus) = pulls.remember(pull) {
                    self.count_pull(&pulls.workloads.clone(), &surplus);
                }
            }
            Measure::UpdaterScan { cluster, namespace, name, seconds } => {
                self.updater.scanned([cluster, namespace, name], *seconds);
            }
            Measure::RegistryRequest { .. }
            | Measure::RegistryScan { .. }
            | Measure::RegistryPace { .. }
            | Measure::Looks { .. }
            | Measure::GitOperation { .. }
            | Measure::GitCommits { .. }
            | Measure::CacheLookup { .. }
            | Measure::ObjectUpdate { .. }
            | Measure::LookAsked { .. }
            | Measure::HookRequest { .. }
            | Measure::ClockOffset { .. } => self.work.take(measure),
        }
    }

    /// Takes one word of the tracker in. What is provisional feeds the gauges through the snapshot instead.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Settled(journey) => self.settled.take(journey, &self.dropped),
            Event::Restarted { destination } => {
                self.restarts.with(&place(destination)).inc();
            }
            Event::Raced(updater) => self.updater.raced(updater),
            Event::Pushed(pushed) => self.updater.pushed(pushed),
            Event::Detected(detected) => self.updater.detected(detected, self.settled.negative()),
            Event::Moved { .. }
            | Event::Held { .. }
            | Event::Stuck { .. }
            | Event::Blind { .. }
            | Event::Cleared { .. } => {}
        }
    }

    /// Takes the present state of the journal.
    pub fn journal(&self, numbers: &JournalNumbers) {
        self.journal.take(numbers);
    }

    /// The configuration was read again at this time; `None`: it could not be used.
    pub fn config_read(&self, at: Option<Time>) {
        self.config.read(at);
    }

    /// Counts an observation that was taken in.
    pub fn observation(&self, observation: &Observation) {
        self.observations.with(&[&observation.source.to_string()]).inc();
    }

    /// The whole exposition: what was counted so far, and the snapshot's gauges.
    #[must_use]
    pub fn encode(&self, snapshot: &Snapshot, format: Format) -> String {
        let last_size = self.last_size.load(Ordering::Relaxed);
        let text = self.write(snapshot, Text::plain(format, last_size + last_size / 8));
        self.last_size.store(text.len(), Ordering::Relaxed);
        String::from_utf8(text).expect("it is made of text")
    }

    /// The same, packed as it is written: the text is never in memory as a whole.
    #[must_use]
    pub fn encode_gzip(&self, snapshot: &Snapshot, format: Format) -> Vec<u8> {
        self.write(snapshot, Text::gzip(format))
    }

    fn write(&self, snapshot: &Snapshot, mut to: Text) -> Vec<u8> {
        let waiting = self.pulls().take();
        if !waiting.is_empty() {
            let workloads = Arc::new(Workloads::of(snapshot));
            waiting.iter().for_each(|pull| self.count_pull(&workloads, pull));
            self.pulls().workloads = workloads;
        }
        // Gauges come first, so that another scrape need not wait for the rest of this one.
        let mut seen = self.seen();
        seen.take_in(snapshot).into_iter().for_each(|place| self.start_at_zero(place));
        self.updater.start_at_zero(snapshot);
        seen.write(snapshot, &self.updater.durations(), &mut to);
        drop(seen);
        self.registry.iter().for_each(|family| family.write(&mut to));
        to.end()
    }

    fn count_pull(&self, workloads: &Workloads, pull: &Pull) {
        let [cluster, namespace, _] = pull.place.each_ref().map(|part| &**part);
        self.work.pull([cluster, namespace, workloads.app_of(pull)], pull.seconds, pull.bytes);
    }

    /// An increment from nothing to one is invisible to `increase()`; one from zero to one is not.
    fn start_at_zero(&self, [cluster, environment, namespace, app]: Place<'_>) {
        let subject = Subject::Image.as_str();
        for (outcome, trigger) in Outcome::ALL.into_iter().flat_map(|o| Trigger::ALL.map(|t| (o, t))) {
            let (outcome, trigger) = (outcome.as_str(), trigger.as_str());
            let labels = [cluster, environment, namespace, app, outcome, trigger, subject, flag(false)];
            self.settled.journeys.with(&labels);
        }
        self.restarts.with(&[cluster, environment, namespace, app]);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pulls(&self) -> MutexGuard<'_, Pulls> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The four labels that every per-app family begins with.
fn place(destination: &Destination) -> [&str; 4] {
    let namespace = &destination.workload.namespace;
    [&destination.cluster, &destination.environment, namespace, &destination.app]
}

/// A yes or no as label value.
fn flag(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}
