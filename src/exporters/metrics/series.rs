//! Families of counters, gauges and histograms under a cap.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::table::{Cap, Family, Kind};
use super::text::{Names, Number, Text, push_labels, values_of};

/// Label sets of one counter or gauge family: 50,000 lines are about 8 MB of text, as much as one scrape
/// should carry, and enough for 1,400 apps that start at 0 for every outcome and trigger.
pub const SERIES_PER_FAMILY_MAX: usize = 50_000;
/// Label sets of one histogram: each is two dozen lines.
pub const HISTOGRAMS_PER_FAMILY_MAX: usize = 2_000;
/// What `app` and `namespace` become beyond the cap.
pub const OVERFLOW: &str = "overflow";

/// Series written before others may add one: about a tenth of a millisecond.
const WRITTEN_IN_ONE_GO: usize = 256;
/// Most label sets fit.
const LABELS_BYTES: usize = 192;

/// Families in the order in which they are written.
pub type Registry = Vec<Box<dyn Section>>;

/// A family that writes itself.
pub trait Section: Debug + Send + Sync {
    fn write(&self, to: &mut Text);
}

/// A metric that writes its lines.
pub trait Sample {
    fn write(&self, names: &Names, labels: &str, to: &mut Text);
}

/// A registered family that takes new label sets up to its cap. Clones share it.
#[derive(Debug, Clone)]
pub struct Series<M> {
    family: &'static Family,
    members: Arc<RwLock<Members<M>>>,
    make: fn() -> M,
    /// Counts what the cap kept out.
    refused: Counter,
}

/// Label sets with their metrics. They are only ever added, so a position stays what it is.
#[derive(Debug)]
struct Members<M> {
    index: HashMap<Arc<str>, usize>,
    /// In the order in which they came: a scrape reads them in the order in which they lie in memory.
    all: Vec<(Arc<str>, M)>,
}

impl<M> Series<M>
where
    M: Clone + Sample + Debug + Send + Sync + 'static,
{
    /// Registers a family.
    pub fn register(to: &mut Registry, family: &'static Family, make: fn() -> M, refused: &Counter) -> Self {
        let members = Arc::new(RwLock::new(Members { index: HashMap::new(), all: Vec::new() }));
        let series = Self { family, members, make, refused: refused.clone() };
        to.push(Box::new(series.clone()));
        series
    }

    /// The metric of these label values. Beyond the cap that of the overflow, or one that nobody reads.
    pub fn with(&self, values: &[&str]) -> M {
        debug_assert_eq!(self.family.labels.len(), values.len(), "labels of {}", self.family.name);
        let most = if self.family.cap == Cap::Never { usize::MAX } else { self.max() };
        self.find_or_add(values, most).unwrap_or_else(|| {
            self.refused.inc();
            // Folded label sets still differ in cluster and environment, so they need a bound of their own.
            let folded =
                folded(self.family, values).and_then(|values| self.find_or_add(&values, 2 * self.max()));
            folded.unwrap_or_else(self.make)
        })
    }

    /// Its entry in the table.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The values of every label set with its metric.
    pub fn each(&self) -> Vec<(Vec<String>, M)> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.all.iter().map(|(labels, metric)| (values_of(labels), metric.clone())).collect()
    }

    fn find_or_add(&self, values: &[&str], most: usize) -> Option<M> {
        let mut labels = String::with_capacity(LABELS_BYTES);
        push_labels(&mut labels, self.family.labels, values);
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = members.index.get(labels.as_str()) {
            return Some(members.all[*at].1.clone());
        }
        drop(members);
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first.
        if let Some(at) = members.index.get(labels.as_str()) {
            return Some(members.all[*at].1.clone());
        }
        if members.all.len() >= most {
            return None;
        }
        let labels: Arc<str> = labels.into();
        let at = members.all.len();
        let metric = (self.make)();
        members.index.insert(labels.clone(), at);
        members.all.push((labels, metric.clone()));
        Some(metric)
    }

    fn max(&self) -> usize {
        match self.family.kind {
            Kind::Histogram(_) => HISTOGRAMS_PER_FAMILY_MAX,
            Kind::Counter | Kind::Gauge | Kind::Info => SERIES_PER_FAMILY_MAX,
        }
    }
}

impl<M> Section for Series<M>
where
    M: Sample + Debug + Send + Sync,
{
    fn write(&self, to: &mut Text) {
        let names = Names::of(self.family);
        let mut written = 0;
        loop {
            let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
            let next = &members.all[written..members.all.len().min(written + WRITTEN_IN_ONE_GO)];
            if next.is_empty() {
                return;
            }
            if written == 0 {
                to.family(self.family);
            }
            next.iter().for_each(|(labels, metric)| metric.write(&names, labels, to));
            written += next.len();
            drop(members);
            to.pack();
        }
    }
}

/// The same values with `app` and `namespace` replaced; `None` where the family has neither.
pub fn folded<'a>(family: &Family, values: &[&'a str]) -> Option<Vec<&'a str>> {
    let folds = |name: &&str| matches!(*name, "app" | "namespace");
    family.labels.iter().any(folds).then(|| {
        let named = family.labels.iter().zip(values);
        named.map(|(name, value)| if folds(name) { OVERFLOW } else { *value }).collect()
    })
}

impl Sample for Counter {
    fn write(&self, names: &Names, labels: &str, to: &mut Text) {
        to.sample(&names.sample, labels, Number::Count(self.get()));
    }
}

impl Sample for Counter<f64, AtomicU64> {
    fn write(&self, names: &Names, labels: &str, to: &mut Text) {
        to.sample(&names.sample, labels, Number::Real(self.get()));
    }
}

impl Sample for Gauge {
    fn write(&self, names: &Names, labels: &str, to: &mut Text) {
        to.sample(&names.sample, labels, Number::Whole(self.get()));
    }
}

impl Sample for Gauge<f64, AtomicU64> {
    fn write(&self, names: &Names, labels: &str, to: &mut Text) {
        to.sample(&names.sample, labels, Number::Real(self.get()));
    }
}
