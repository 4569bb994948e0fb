//! Numbers about work: what observers measure, ours and the cluster's.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::histogram::Histogram;
use super::series::{Registry, Series};
use super::table::{self, Buckets};
use crate::observation::{CacheResult, Measure, UpdateClass};

/// The families of measures.
#[derive(Debug)]
pub struct Work {
    scan_duration: Series<Histogram>,
    scan_last_duration: Series<Gauge<f64, AtomicU64>>,
    tags: Series<Gauge>,
    scan_last_success: Series<Gauge<f64, AtomicU64>>,
    registry_requests: Series<Counter>,
    registry_throttled: Series<Counter>,
    git_operation: Series<Histogram>,
    git_commits: Series<Counter>,
    scan_lag: Series<Gauge<f64, AtomicU64>>,
    sweep_projected: Series<Gauge<f64, AtomicU64>>,
    rate_limit_remaining: Series<Gauge<f64, AtomicU64>>,
    looks_due: Series<Gauge>,
    looks_late: Series<Gauge>,
    looks_throttled: Series<Counter>,
    looks_asked: Series<Counter>,
    hook_requests: Series<Counter>,
    object_updates: Series<Counter>,
    cache_lookups: Series<Counter>,
    pull_duration: Series<Histogram>,
    pull_bytes: Series<Histogram>,
    clock_offset: Series<Gauge<f64, AtomicU64>>,
}

impl Work {
    pub fn register(to: &mut Registry, refused: &Counter) -> Self {
        let operations = || Histogram::new(Buckets::Operations);
        let bytes = || Histogram::new(Buckets::Bytes);
        Self {
            scan_duration: Series::register(to, &table::SCAN_DURATION, operations, refused),
            scan_last_duration: Series::register(to, &table::SCAN_LAST_DURATION, Gauge::default, refused),
            tags: Series::register(to, &table::TAGS, Gauge::default, refused),
            scan_last_success: Series::register(to, &table::SCAN_LAST_SUCCESS, Gauge::default, refused),
            registry_requests: Series::register(to, &table::REGISTRY_REQUESTS, Counter::default, refused),
            registry_throttled: Series::register(to, &table::REGISTRY_THROTTLED, Counter::default, refused),
            git_operation: Series::register(to, &table::GIT_OPERATION, operations, refused),
            git_commits: Series::register(to, &table::GIT_COMMITS, Counter::default, refused),
            scan_lag: Series::register(to, &table::SCAN_LAG, Gauge::default, refused),
            sweep_projected: Series::register(to, &table::SWEEP_PROJECTED, Gauge::default, refused),
            rate_limit_remaining: Series::register(to, &table::RATE_LIMIT_REMAINING, Gauge::default, refused),
            looks_due: Series::register(to, &table::LOOKS_DUE, Gauge::default, refused),
            looks_late: Series::register(to, &table::LOOKS_LATE, Gauge::default, refused),
            looks_throttled: Series::register(to, &table::LOOKS_THROTTLED, Counter::default, refused),
            looks_asked: Series::register(to, &table::LOOKS_ASKED, Counter::default, refused),
            hook_requests: Series::register(to, &table::HOOK_REQUESTS, Counter::default, refused),
            object_updates: Series::register(to, &table::OBJECT_UPDATES, Counter::default, refused),
            cache_lookups: Series::register(to, &table::CACHE_LOOKUPS, Counter::default, refused),
            pull_duration: Series::register(to, &table::PULL_DURATION, operations, refused),
            pull_bytes: Series::register(to, &table::PULL_BYTES, bytes, refused),
            clock_offset: Series::register(to, &table::CLOCK_OFFSET, Gauge::default, refused),
        }
    }

    /// Adds a measure that says everything itself.
    pub fn take(&self, measure: &Measure) {
        match measure {
            Measure::RegistryRequest { registry, operation, code } => {
                let status = if *code == 0 { "none".to_owned() } else { code.to_string() };
                self.registry_requests.with(&[registry, operation, &status]).inc();
                if *code == 429 {
                    self.registry_throttled.with(&[registry, operation]).inc();
                }
            }
            Measure::RegistryScan { repository, seconds, lag_seconds, tags, unchanged: _ } => {
                let labels = [repository.host(), repository.path()];
                self.scan_duration.with(&[repository.host()]).observe(*seconds);
                self.scan_last_duration.with(&labels).set(*seconds);
                self.scan_lag.with(&labels).set(*lag_seconds);
                self.tags.with(&labels).set(i64::try_from(*tags).unwrap_or(i64::MAX));
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.scan_last_success.with(&labels).set(now.as_secs_f64());
            }
            Measure::RegistryPace { registry, requests_left, pulls_left, sweep_seconds } => {
                for (budget, left) in [("requests", requests_left), ("pulls", pulls_left)] {
                    if let Some(left) = left {
                        self.rate_limit_remaining.with(&[registry, budget]).set(*left);
                    }
                }
                if let Some(seconds) = sweep_seconds {
                    self.sweep_projected.with(&[registry]).set(*seconds);
                }
            }
            Measure::Looks { source, due, late, throttled } => {
                let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
                self.looks_due.with(&[source]).set(whole(*due));
                self.looks_late.with(&[source]).set(whole(*late));
                self.looks_throttled.with(&[source]).inc_by(*throttled);
            }
            Measure::GitOperation { repository, operation, seconds } => {
                self.git_operation.with(&[repository, operation, "knotmeter"]).observe(*seconds);
            }
            Measure::GitCommits { repository, count } => {
                self.git_commits.with(&[repository]).inc_by(*count);
            }
            Measure::HookRequest { hook, result } => {
                self.hook_requests.with(&[hook, result]).inc();
            }
            Measure::LookAsked { kind, result } => {
                self.looks_asked.with(&[kind, result]).inc();
            }
            Measure::CacheLookup { cluster, cache, result, caller } => {
                self.cache_lookups.with(&[cluster, cache, cache_result(*result), caller]).inc();
            }
            Measure::ObjectUpdate { cluster, kind, class } => {
                self.object_updates.with(&[cluster, kind, update_class(*class)]).inc();
            }
            Measure::ClockOffset { source, seconds } => {
                self.clock_offset.with(&[source]).set(*seconds);
            }
            // `Metrics` takes these itself: one needs the snapshot, one is shared with journeys.
            Measure::ImagePull { .. } | Measure::UpdaterScan { .. } | Measure::Dropped { .. } => {}
        }
    }

    /// Adds an image pull of cluster, namespace and app.
    pub fn pull(&self, labels: [&str; 3], seconds: f64, bytes: Option<u64>) {
        self.pull_duration.with(&labels).observe(seconds);
        if let Some(bytes) = bytes {
            self.pull_bytes.with(&labels).observe(bytes as f64);
        }
    }
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
