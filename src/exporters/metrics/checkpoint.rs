//! What is counted once in the life of a journey, or of a commit of the updater, goes on over a restart: the families, as bytes.
//!
//! Numbers of this process alone (requests, scans, drops) begin anew, as every counter may. Exemplars do not
//! survive: the next observation brings its own.

use std::fmt::Debug;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};

use super::Metrics;
use super::histogram::{Histogram, Tally};
use super::series::{Sample, Series};
use super::table::{Family, Kind};
use crate::tracker::checkpoint::{RestoreError, open, seal};

/// What the bytes begin with.
const MAGIC: [u8; 4] = *b"KNMT";
/// The form of the bytes. New families and labels are no other form: both are stored by name.
const FORMAT: u32 = 1;

impl Metrics {
    /// What settled journeys and restarts added so far, to go on from with [`Metrics::restore`].
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        let families: Vec<StoredFamily> = self.kept().iter().map(|series| series.stored()).collect();
        seal(MAGIC, FORMAT, &families)
    }

    /// Goes on from a checkpoint: its numbers are added to these. Families, labels and buckets that this program
    /// does not have are left out; caps hold.
    ///
    /// # Errors
    /// The bytes are damaged or of another version; nothing was added.
    pub fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        let families: Vec<StoredFamily> = open(MAGIC, FORMAT, bytes)?;
        for stored in &families {
            for series in self.kept() {
                if stored.is_of(series.family()) {
                    series.add(stored);
                }
            }
        }
        Ok(())
    }

    fn kept(&self) -> [&dyn Kept; 15] {
        let [a, b, c, d] = self.settled.histograms();
        let [e, f, g, h, i] = self.settled.counters();
        let [j, k, l] = self.updater.counters();
        let updater: [&dyn Kept; 4] = [j, k, l, self.updater.batch_size()];
        let [j, k, l, m] = updater;
        [a, b, c, d, e, f, g, h, i, self.settled.held(), &self.restarts, j, k, l, m]
    }
}

/// One family with its names, so that another program can tell whether it has the same.
#[derive(Debug, Serialize, Deserialize)]
struct StoredFamily {
    name: String,
    labels: Vec<String>,
    bounds: Vec<f64>,
    rows: Vec<(Vec<String>, Number)>,
}

/// The number of one label set.
#[derive(Debug, Serialize, Deserialize)]
enum Number {
    Count(u64),
    Sum(f64),
    Tally(Tally),
}

impl StoredFamily {
    fn is_of(&self, family: &Family) -> bool {
        self.name == family.name && self.labels == family.labels && self.bounds == bounds(family)
    }
}

fn bounds(family: &Family) -> &'static [f64] {
    match family.kind {
        Kind::Histogram(buckets) => buckets.bounds(),
        Kind::Counter | Kind::Gauge | Kind::Info => &[],
    }
}

/// A family that goes on over a restart.
trait Kept {
    fn family(&self) -> &'static Family;
    fn stored(&self) -> StoredFamily;
    fn add(&self, stored: &StoredFamily);
}

/// A metric that can be read and added to.
trait Adds: Clone {
    /// `None` where nothing was counted yet.
    fn number(&self) -> Option<Number>;
    fn add(&self, number: &Number);
}

impl<M: Adds + Sample + Debug + Send + Sync + 'static> Kept for Series<M> {
    fn family(&self) -> &'static Family {
        Series::family(self)
    }

    fn stored(&self) -> StoredFamily {
        let family = Series::family(self);
        let rows = self.each().into_iter().filter_map(|(values, metric)| Some((values, metric.number()?)));
        StoredFamily {
            name: family.name.to_owned(),
            labels: family.labels.iter().map(|label| (*label).to_owned()).collect(),
            bounds: bounds(family).to_vec(),
            rows: rows.collect(),
        }
    }

    fn add(&self, stored: &StoredFamily) {
        for (values, number) in stored.rows.iter().filter(|(values, _)| values.len() == stored.labels.len()) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            self.with(&values).add(number);
        }
    }
}

impl Adds for Counter {
    fn number(&self) -> Option<Number> {
        Some(self.get()).filter(|count| *count > 0).map(Number::Count)
    }

    fn add(&self, number: &Number) {
        if let Number::Count(count) = number {
            self.inc_by(*count);
        }
    }
}

impl Adds for Counter<f64, AtomicU64> {
    fn number(&self) -> Option<Number> {
        Some(self.get()).filter(|sum| *sum > 0.0).map(Number::Sum)
    }

    fn add(&self, number: &Number) {
        if let Number::Sum(sum) = number
            && sum.is_finite()
            && *sum > 0.0
        {
            self.inc_by(*sum);
        }
    }
}

impl Adds for Histogram {
    fn number(&self) -> Option<Number> {
        Some(self.tally()).filter(|tally| tally.counts.iter().any(|count| *count > 0)).map(Number::Tally)
    }

    fn add(&self, number: &Number) {
        if let Number::Tally(tally) = number {
            Histogram::add(self, tally);
        }
    }
}
