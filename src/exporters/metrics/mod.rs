//! Prometheus metrics: one table of families, counters fed by events and measures, gauges read from a snapshot.
//!
//! A family is an entry of `table.rs`, a field of [`Metrics`] or a row of `gauges.rs`, and nothing else. Only
//! settled journeys feed histograms and counters, so that no number given is ever taken back. Nothing here
//! waits for the tracker; an encode takes one short lock of its own.

mod classic;
mod document;
mod gauges;
mod latch;
mod series;
mod settled;
pub mod table;

pub use classic::from_openmetrics;
pub use document::document;
pub use series::{HISTOGRAMS_PER_FAMILY_MAX, SERIES_PER_FAMILY_MAX, Total};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::gauges::{Gauges, Revisions, remember_revisions};
use self::latch::Latch;
use self::series::{Labels, Series};
use self::settled::Settled;
use self::table::Buckets;
use crate::exporters::Snapshot;
use crate::observation::{CacheResult, Measure, Observation, UpdateClass};
use crate::tracker::{Destination, Event, Outcome, Subject, Trigger};

/// In which of the two text formats a scrape is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// With exemplars.
    OpenMetrics,
    /// What Prometheus has always read.
    Classic,
}

impl Format {
    /// The format that a scraper's `Accept` header asks for.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let quality = |kind: &str| {
            let offers = header.split(',').map(str::trim).filter(|offer| offer.starts_with(kind));
            let weight = |offer: &str| {
                let quality = offer.split(';').find_map(|part| part.trim().strip_prefix("q="));
                quality.map_or(1.0, |text| text.parse::<f64>().unwrap_or(0.0))
            };
            offers.map(weight).fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Self::OpenMetrics } else { Self::Classic }
    }

    /// For the answer's `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Every number that Knotmeter gives.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    settled: Settled,
    restarts: Series<Counter>,
    scan_duration: Series<Histogram>,
    scan_last_duration: Series<Gauge<f64, std::sync::atomic::AtomicU64>>,
    tags: Series<Gauge>,
    scan_last_success: Series<Gauge<f64, std::sync::atomic::AtomicU64>>,
    registry_requests: Series<Counter>,
    registry_throttled: Series<Counter>,
    git_operation: Series<Histogram>,
    git_commits: Series<Counter>,
    object_updates: Series<Counter>,
    cache_lookups: Series<Counter>,
    pull_duration: Series<Histogram>,
    pull_bytes: Series<Histogram>,
    clock_offset: Series<Gauge<f64, std::sync::atomic::AtomicU64>>,
    observations: Series<Counter>,
    dropped: Series<Counter>,
    seen: Mutex<Seen>,
}

/// What is remembered between scrapes.
#[derive(Debug)]
struct Seen {
    latches: [Latch; 3],
    revisions: Revisions,
    /// Apps whose journey totals have been started at 0.
    apps: HashSet<[Box<str>; 4]>,
    /// App by cluster, namespace and workload, for what is told about pods only.
    workloads: BTreeMap<(Box<str>, Box<str>), Vec<(Box<str>, Box<str>)>>,
    last_size: usize,
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
        let operations = || Histogram::new(Buckets::Operations.bounds().iter().copied());
        let bytes = || Histogram::new(Buckets::Bytes.bounds().iter().copied());
        let dropped = Series::register(to, &table::DROPPED, Counter::default, &refused);
        // The cap's own count is a series of the family that it belongs to.
        let refused = dropped.with(&["metrics", "series_cap"]);
        Self {
            settled: Settled::register(to, &refused),
            restarts: Series::register(to, &table::RESTARTS, Counter::default, &refused),
            scan_duration: Series::register(to, &table::SCAN_DURATION, operations, &refused),
            scan_last_duration: Series::register(to, &table::SCAN_LAST_DURATION, Gauge::default, &refused),
            tags: Series::register(to, &table::TAGS, Gauge::default, &refused),
            scan_last_success: Series::register(to, &table::SCAN_LAST_SUCCESS, Gauge::default, &refused),
            registry_requests: Series::register(to, &table::REGISTRY_REQUESTS, Counter::default, &refused),
            registry_throttled: Series::register(to, &table::REGISTRY_THROTTLED, Counter::default, &refused),
            git_operation: Series::register(to, &table::GIT_OPERATION, operations, &refused),
            git_commits: Series::register(to, &table::GIT_COMMITS, Counter::default, &refused),
            object_updates: Series::register(to, &table::OBJECT_UPDATES, Counter::default, &refused),
            cache_lookups: Series::register(to, &table::CACHE_LOOKUPS, Counter::default, &refused),
            pull_duration: Series::register(to, &table::PULL_DURATION, operations, &refused),
            pull_bytes: Series::register(to, &table::PULL_BYTES, bytes, &refused),
            clock_offset: Series::register(to, &table::CLOCK_OFFSET, Gauge::default, &refused),
            observations: Series::register(to, &table::OBSERVATIONS, Counter::default, &refused),
            dropped,
            seen: Mutex::new(Seen {
                latches: Latch::all(),
                revisions: HashMap::new(),
                apps: HashSet::new(),
                workloads: BTreeMap::new(),
                last_size: 0,
            }),
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
            Measure::RegistryRequest { registry, operation, code } => {
                let status = if *code == 0 { "none".to_owned() } else { code.to_string() };
                self.registry_requests.with(&[registry, operation, &status]).inc();
                if *code == 429 {
                    self.registry_throttled.with(&[registry, operation]).inc();
                }
            }
            Measure::RegistryScan { repository, seconds, tags, unchanged: _ } => {
                let labels = [repository.host(), repository.path()];
                self.scan_duration.with(&[repository.host()]).observe(*seconds);
                self.scan_last_duration.with(&labels).set(*seconds);
                self.tags.with(&labels).set(i64::try_from(*tags).unwrap_or(i64::MAX));
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.scan_last_success.with(&labels).set(now.as_secs_f64());
            }
            Measure::GitOperation { repository, operation, seconds } => {
                self.git_operation.with(&[repository, operation, "knotmeter"]).observe(*seconds);
            }
            Measure::GitCommits { repository, count } => {
                self.git_commits.with(&[repository]).inc_by(*count);
            }
            Measure::CacheLookup { cluster, cache, result, caller } => {
                self.cache_lookups.with(&[cluster, cache, cache_result(*result), caller]).inc();
            }
            Measure::ObjectUpdate { cluster, kind, class } => {
                self.object_updates.with(&[cluster, kind, update_class(*class)]).inc();
            }
            Measure::ImagePull { cluster, namespace, pod, seconds, bytes } => {
                let app = self.app_of_pod(cluster, namespace, pod);
                self.pull_duration.with(&[cluster, namespace, &app]).observe(*seconds);
                if let Some(bytes) = bytes {
                    self.pull_bytes.with(&[cluster, namespace, &app]).observe(*bytes as f64);
                }
            }
            Measure::ClockOffset { source, seconds } => {
                self.clock_offset.with(&[source]).set(*seconds);
            }
            Measure::Dropped { source, reason } => {
                self.dropped.with(&[source, reason]).inc();
            }
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

    /// The whole exposition: what was counted so far, and the snapshot's gauges.
    #[must_use]
    pub fn encode(&self, snapshot: &Snapshot, format: Format) -> String {
        let (gauges, last_size) = self.take_in(snapshot);
        let mut of_snapshot = Registry::with_prefix(table::PREFIX);
        of_snapshot.register_collector(Box::new(gauges));
        let mut text = String::with_capacity(last_size + last_size / 8);
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &of_snapshot))
            .and_then(|()| encode_eof(&mut text))
            .expect("a String takes every text, and no family has native buckets only");
        self.seen().last_size = text.len();
        match format {
            Format::OpenMetrics => text,
            Format::Classic => from_openmetrics(&text),
        }
    }

    /// The journey totals for a checkpoint: counters must not fall back when the program restarts.
    #[must_use]
    pub fn totals(&self) -> Vec<Total> {
        let values = |labels: &Labels| labels.values().iter().map(|value| value.to_string()).collect();
        let all = self.settled.journeys.each().into_iter();
        let counted = all.map(|(labels, counter)| Total { values: values(&labels), count: counter.get() });
        counted.filter(|total| total.count > 0).collect()
    }

    /// Goes on from the totals of a checkpoint. Entries of another shape, from another version, are left out.
    pub fn restore(&self, totals: &[Total]) {
        for total in totals.iter().filter(|total| total.values.len() == table::JOURNEYS.labels.len()) {
            let values: Vec<&str> = total.values.iter().map(String::as_str).collect();
            self.settled.journeys.with(&values).inc_by(total.count);
        }
    }

    /// Updates what is remembered between scrapes, and reads the snapshot's gauges.
    fn take_in(&self, snapshot: &Snapshot) -> (Gauges, usize) {
        let mut seen = self.seen();
        for latch in &mut seen.latches {
            latch.update(snapshot.at, &snapshot.journeys);
        }
        remember_revisions(&mut seen.revisions, snapshot);
        let mut apps = HashSet::new();
        seen.workloads.clear();
        for status in &snapshot.destinations {
            let Destination { cluster, workload, app, .. } = &status.destination;
            let at = (Box::from(&**cluster), Box::from(&*workload.namespace));
            let names = (Box::from(&*workload.name), Box::from(&**app));
            seen.workloads.entry(at).or_default().push(names);
            let place = place(&status.destination).map(Box::from);
            if !seen.apps.contains(&place) && !apps.contains(&place) {
                self.start_at_zero(&status.destination);
            }
            apps.insert(place);
        }
        seen.apps = apps;
        let latched = seen.latches.iter().map(|latch| (latch.family, latch.rows().collect())).collect();
        (Gauges::new(snapshot, &seen.revisions, latched), seen.last_size)
    }

    /// An increment from nothing to one is invisible to `increase()`; one from zero to one is not.
    fn start_at_zero(&self, destination: &Destination) {
        let [cluster, environment, namespace, app] = place(destination);
        let subject = Subject::Image.as_str();
        for (outcome, trigger) in Outcome::ALL.into_iter().flat_map(|o| Trigger::ALL.map(|t| (o, t))) {
            let (outcome, trigger) = (outcome.as_str(), trigger.as_str());
            let labels = [cluster, environment, namespace, app, outcome, trigger, subject, flag(false)];
            self.settled.journeys.with(&labels);
        }
        self.restarts.with(&[cluster, environment, namespace, app]);
    }

    /// A pod's app by its name: controllers put the workload's name in front. The longest name wins.
    fn app_of_pod(&self, cluster: &Arc<str>, namespace: &Arc<str>, pod: &str) -> Box<str> {
        let seen = self.seen();
        let at = (Box::from(&**cluster), Box::from(&**namespace));
        let of_workload = |name: &str| pod.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        let workloads = seen.workloads.get(&at).into_iter().flatten();
        let longest = workloads.filter(|(name, _)| of_workload(name)).max_by_key(|(name, _)| name.len());
        longest.map_or_else(|| "unknown".into(), |(_, app)| app.clone())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
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

fn cache_result(result: CacheResult) -> &'static str {
    match result {
        CacheResult::Hit => "hit",
        CacheResult::Miss => "miss",
        CacheResult::Error => "error",
    }
}

fn update_class(class: UpdateClass) -> &'static str {
    match class {
        UpdateClass::Spec => "spec",
        UpdateClass::Metadata => "metadata",
        UpdateClass::Status => "status",
    }
}
