//! Histograms, with the trace behind the last observation of each bucket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::series::Sample;
use super::table::Buckets;
use super::text::{Exemplar, Names, Number, Text};

/// A histogram. Clones share it.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    state: Arc<Mutex<State>>,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Observations in each bucket alone; the last is above every bound.
    pub counts: Box<[u64]>,
    pub sum: f64,
}

#[derive(Debug)]
struct State {
    tally: Tally,
    /// Made when there is a first one: they are there only where traces are sent.
    exemplars: Option<Box<[Option<Exemplar>]>>,
}

impl Histogram {
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        let bounds = buckets.bounds();
        let tally = Tally { counts: vec![0; bounds.len() + 1].into(), sum: 0.0 };
        let state = State { tally, exemplars: None };
        Self { bounds, state: Arc::new(Mutex::new(state)) }
    }

    /// Adds one observation.
    pub fn observe(&self, value: f64) {
        self.observe_with(value, None);
    }

    /// Adds one observation with the trace behind it.
    pub fn observe_with(&self, value: f64, exemplar: Option<Exemplar>) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let mut state = self.state();
        state.tally.sum += value;
        state.tally.counts[bucket] += 1;
        if exemplar.is_some() {
            let buckets = state.tally.counts.len();
            state.exemplars.get_or_insert_with(|| vec![None; buckets].into())[bucket] = exemplar;
        }
    }

    /// What was observed so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// Adds what was observed elsewhere into the same buckets; other buckets are left out.
    pub fn add(&self, other: &Tally) {
        let tally = &mut self.state().tally;
        if other.counts.len() != tally.counts.len() || !(other.sum.is_finite() && other.sum >= 0.0) {
            return;
        }
        for (count, more) in tally.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        tally.sum += other.sum;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample for Histogram {
    fn write(&self, names: &Names, labels: &str, to: &mut Text) {
        let state = self.state();
        let all: u64 = state.tally.counts.iter().fold(0, |all, count| all.saturating_add(*count));
        to.sample(&names.sum, labels, Number::Real(state.tally.sum));
        to.sample(&names.count, labels, Number::Count(all));
        let mut below = 0;
        for (at, (name, count)) in names.buckets.iter().zip(&state.tally.counts).enumerate() {
            below = u64::saturating_add(below, *count);
            let exemplar = state.exemplars.as_ref().and_then(|exemplars| exemplars[at].as_ref());
            to.sample_with(name, labels, Number::Count(below), exemplar);
        }
    }
}
