//! Histograms, with the trace behind the last observation of each bucket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::series::Sample;
use super::table::Buckets;
use super::text::{Exemplar, Names, Number, Text};

/// A histogram. Clones share it.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    sum: f64,
    /// Observations in each bucket alone; the last is above every bound.
    counts: Box<[u64]>,
    /// Made when there is a first one: they are there only where traces are sent.
    exemplars: Option<Box<[Option<Exemplar>]>>,
}

impl Histogram {
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        let bounds = buckets.bounds();
        let state = State { sum: 0.0, counts: vec![0; bounds.len() + 1].into(), exemplars: None };
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
        state.sum += value;
        state.counts[bucket] += 1;
        if exemplar.is_some() {
            let buckets = state.counts.len();
            state.exemplars.get_or_insert_with(|| vec![None; buckets].into())[bucket] = exemplar;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample for Histogram {
    fn write(&self, names: &Names, labels: &str, to: &mut Text) {
        let state = self.state();
        let all: u64 = state.counts.iter().sum();
        to.sample(&names.sum, labels, Number::Real(state.sum));
        to.sample(&names.count, labels, Number::Count(all));
        let mut below = 0;
        for (at, (name, count)) in names.buckets.iter().zip(&state.counts).enumerate() {
            below += count;
            let exemplar = state.exemplars.as_ref().and_then(|exemplars| exemplars[at].as_ref());
            to.sample_with(name, labels, Number::Count(below), exemplar);
        }
    }
}
