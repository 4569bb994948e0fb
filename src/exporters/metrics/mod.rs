//! Prometheus metrics: one table of families, counters fed by events and measures, gauges read from a snapshot.
//!
//! A family is an entry of `table.rs`, a field of [`Metrics`] or a row of `gauges.rs`, and nothing else. Only
//! settled journeys feed histograms and counters, so that no number given is ever taken back. Nothing here
//! waits for the tracker; an encode takes one short lock of its own.

mod checkpoint;
mod document;
mod format;
mod gauges;
mod histogram;
mod journal;
mod latch;
mod seen;
mod series;
mod settled;
pub mod table;
mod work;

pub use document::document;
pub use format::{Format, from_openmetrics};
pub use journal::JournalNumbers;
pub use series::{HISTOGRAMS_PER_FAMILY_MAX, SERIES_PER_FAMILY_MAX};

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use self::seen::{Place, Pull, Seen};
use self::series::Series;
use self::settled::Settled;
use self::work::Work;
use crate::exporters::Snapshot;
use crate::observation::{Measure, Observation};
use crate::tracker::{Destination, Event, Outcome, Subject, Trigger};

/// Every number that Knotmeter gives.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    settled: Settled,
    restarts: Series<Counter>,
    work: Work,
    observations: Series<Counter>,
    dropped: Series<Counter>,
    journal: journal::Journal,
    seen: Mutex<Seen>,
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
        let mut registry = Registry::with_prefix(table::PREFIX);
        let to = &mut registry;
        let refused = Counter::default();
        let dropped = Series::register(to, &table::DROPPED, Counter::default, &refused);
        // The cap's own count is a series of the family that it belongs to.
        let refused = dropped.with(&["metrics", "series_cap"]);
        Self {
            settled: Settled::register(to, &refused),
            restarts: Series::register(to, &table::RESTARTS, Counter::default, &refused),
            work: Work::register(to, &refused),
            observations: Series::register(to, &table::OBSERVATIONS, Counter::default, &refused),
            journal: journal::Journal::register(to, &refused),
            dropped,
            seen: Mutex::new(Seen::new()),
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
                // Counted at the next scrape: its snapshot knows the app of a pod that is new now.
                let pull = Pull {
                    place: [cluster, namespace, pod].map(|part| Box::from(&**part)),
                    seconds: *seconds,
                    bytes: *bytes,
                };
                let mut seen = self.seen();
                if let Some(surplus) = seen.remember(pull) {
                    self.count_pull(&seen, &surplus);
                }
            }
            Measure::RegistryRequest { .. }
            | Measure::RegistryScan { .. }
            | Measure::GitOperation { .. }
            | Measure::GitCommits { .. }
            | Measure::CacheLookup { .. }
            | Measure::ObjectUpdate { .. }
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
            Event::Moved { .. }
            | Event::Held { .. }
            | Event::Stuck { .. }
            | Event::Blind { .. }
            | Event::Cleared { .. } => {}
        }
    }

    /// Counts an observation that was taken in.
    pub fn observation(&self, observation: &Observation) {
        self.observations.with(&[&observation.source.to_string()]).inc();
    }

    /// Takes the present state of the journal.
    pub fn journal(&self, numbers: &JournalNumbers) {
        self.journal.take(numbers);
    }

    /// The whole exposition: what was counted so far, and the snapshot's gauges.
    #[must_use]
    pub fn encode(&self, snapshot: &Snapshot, format: Format) -> String {
        let (gauges, last_size) = {
            let mut seen = self.seen();
            seen.take_in(snapshot).iter().for_each(|place| self.start_at_zero(place));
            let pulls = seen.take_pulls();
            pulls.iter().for_each(|pull| self.count_pull(&seen, pull));
            (seen.gauges(snapshot), seen.last_size)
        };
        let mut of_snapshot = Registry::with_prefix(table::PREFIX);
        of_snapshot.register_collector(Box::new(gauges));
        let mut text = String::with_capacity(last_size + last_size / 8);
        encode_registry(&mut text, &self.registry)
            .map(|()| self.settled.write(&mut text))
            .and_then(|()| encode_registry(&mut text, &of_snapshot))
            .and_then(|()| encode_eof(&mut text))
            .expect("a String takes every text, and no family has native buckets only");
        self.seen().last_size = text.len();
        match format {
            Format::OpenMetrics => text,
            Format::Classic => from_openmetrics(&text),
        }
    }

    fn count_pull(&self, seen: &Seen, pull: &Pull) {
        let [cluster, namespace, pod] = pull.place.each_ref().map(|part| &**part);
        let app = seen.app_of_pod(cluster, namespace, pod);
        self.work.pull([cluster, namespace, &app], pull.seconds, pull.bytes);
    }

    /// An increment from nothing to one is invisible to `increase()`; one from zero to one is not.
    fn start_at_zero(&self, place: &Place) {
        let [cluster, environment, namespace, app] = place.each_ref().map(|value| &**value);
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
