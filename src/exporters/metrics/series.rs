//! Label sets, and families of counters, gauges and histograms under a cap.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, EncodeMetric, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::{TypedMetric, family};
use prometheus_client::registry::Registry;

use super::table::{Cap, Family, Kind};

/// Label sets of one counter or gauge family: 50,000 lines are about 8 MB of text, as much as one scrape
/// should carry, and enough for 1,400 apps that start at 0 for every outcome and trigger.
pub const SERIES_PER_FAMILY_MAX: usize = 50_000;
/// Label sets of one histogram: each is two dozen lines.
pub const HISTOGRAMS_PER_FAMILY_MAX: usize = 2_000;
/// What `app` and `namespace` become beyond the cap.
pub const OVERFLOW: &str = "overflow";

/// The values of a family's labels, in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    names: &'static [&'static str],
    values: Vec<Box<str>>,
}

impl Labels {
    /// One value per label of the family.
    #[must_use]
    pub fn new(family: &'static Family, values: &[&str]) -> Self {
        debug_assert_eq!(family.labels.len(), values.len(), "labels of {}", family.name);
        Self { names: family.labels, values: values.iter().map(|value| Box::from(*value)).collect() }
    }

    /// The same with `app` and `namespace` replaced; `None` where the family has neither.
    #[must_use]
    pub fn folded(&self) -> Option<Self> {
        let mut folded = self.clone();
        let mut any = false;
        for (name, value) in self.names.iter().zip(&mut folded.values) {
            if matches!(*name, "app" | "namespace") {
                *value = OVERFLOW.into();
                any = true;
            }
        }
        any.then_some(folded)
    }

    /// The values, to be stored.
    #[must_use]
    pub fn values(&self) -> &[Box<str>] {
        &self.values
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.names.iter().zip(&self.values) {
            (*name, &**value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// A family that takes new label sets up to its cap.
#[derive(Debug)]
pub struct Series<M> {
    family: &'static Family,
    metrics: family::Family<Labels, M>,
    /// Its label sets: the encoder's family can neither count nor list them.
    known: Mutex<HashSet<Labels>>,
    make: fn() -> M,
    /// Counts what the cap kept out.
    refused: Counter,
}

impl<M> Series<M>
where
    M: Clone + EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
{
    /// Registers a family under its name, unit and help.
    pub fn register(
        registry: &mut Registry,
        family: &'static Family,
        make: fn() -> M,
        refused: &Counter,
    ) -> Self {
        let series = Self::new(family, make, refused);
        let metrics = series.metrics.clone();
        match family.unit() {
            Some(unit) => registry.register_with_unit(family.stem(), family.help, unit, metrics),
            None => registry.register(family.stem(), family.help, metrics),
        }
        series
    }
}

impl<M: Clone> Series<M> {
    /// A family that somebody else writes down.
    pub fn new(family: &'static Family, make: fn() -> M, refused: &Counter) -> Self {
        let metrics = family::Family::new_with_constructor(make);
        Self { family, metrics, known: Mutex::default(), make, refused: refused.clone() }
    }

    /// Its entry in the table.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The metric of these label values. Beyond the cap that of the overflow, or one that nobody reads.
    pub fn with(&self, values: &[&str]) -> M {
        let labels = Labels::new(self.family, values);
        if self.admits(&labels, self.max()) || self.family.cap == Cap::Never {
            return self.metrics.get_or_create_owned(&labels);
        }
        self.refused.inc();
        // Folded label sets still differ in cluster and environment, so they need a bound of their own.
        match labels.folded() {
            Some(folded) if self.admits(&folded, 2 * self.max()) => self.metrics.get_or_create_owned(&folded),
            _ => (self.make)(),
        }
    }

    /// Every label set with its metric.
    pub fn each(&self) -> Vec<(Labels, M)> {
        let known = self.known();
        known.iter().map(|labels| (labels.clone(), self.metrics.get_or_create_owned(labels))).collect()
    }

    fn admits(&self, labels: &Labels, max: usize) -> bool {
        let mut known = self.known();
        known.contains(labels) || (known.len() < max && known.insert(labels.clone()))
    }

    fn known(&self) -> MutexGuard<'_, HashSet<Labels>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn max(&self) -> usize {
        match self.family.kind {
            Kind::Histogram(_) => HISTOGRAMS_PER_FAMILY_MAX,
            Kind::Counter | Kind::Gauge | Kind::Info => SERIES_PER_FAMILY_MAX,
        }
    }
}
