//! A histogram that can go on from the numbers of a former process, and its text.
//!
//! The encoder's own histogram can be observed into but neither read nor set, and nobody else can make its
//! exemplars; so these families keep their numbers and write their lines themselves, in the encoder's form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::series::{Labels, Series};
use super::table::{Family, PREFIX};

/// Clones are the same histogram.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    tally: Tally,
    /// The last one of each bucket.
    exemplars: BTreeMap<usize, Exemplar>,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Per bucket; the last is of what lies above every bound.
    pub counts: Vec<u64>,
    pub sum: f64,
}

#[derive(Debug)]
struct Exemplar {
    trace_id: String,
    value: f64,
    at: SystemTime,
}

impl Histogram {
    /// An empty one with these upper bounds, in order.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let tally = Tally { counts: vec![0; bounds.len() + 1], sum: 0.0 };
        Self { bounds, state: Arc::new(Mutex::new(State { tally, exemplars: BTreeMap::new() })) }
    }

    /// Adds a value, with the trace that tells its story.
    pub fn observe(&self, value: f64, trace_id: Option<String>) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        let mut state = self.state();
        state.tally.counts[bucket] += 1;
        state.tally.sum += value;
        if let Some(trace_id) = trace_id {
            state.exemplars.insert(bucket, Exemplar { trace_id, value, at: SystemTime::now() });
        }
    }

    /// What was observed so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// Adds what was observed elsewhere into the same buckets; other buckets are left out.
    pub fn add(&self, other: &Tally) {
        let mut state = self.state();
        if other.counts.len() != state.tally.counts.len() || !(other.sum.is_finite() && other.sum >= 0.0) {
            return;
        }
        for (count, more) in state.tally.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        state.tally.sum += other.sum;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a family as OpenMetrics.
pub fn write(series: &Series<Histogram>, to: &mut String) {
    let family = series.family();
    let name = format!("{PREFIX}_{}", family.name);
    let unit = family.unit().map(|unit| unit.as_str().to_owned());
    // Writing to a String never fails.
    let _ = writeln!(to, "# HELP {name} {}\n# TYPE {name} histogram", family.help);
    if let Some(unit) = unit {
        let _ = writeln!(to, "# UNIT {name} {unit}");
    }
    for (labels, histogram) in series.each() {
        write_one(&name, &label_text(family, &labels), &histogram, to);
    }
}

fn write_one(name: &str, labels: &str, histogram: &Histogram, to: &mut String) {
    let state = histogram.state();
    let Tally { counts, sum } = &state.tally;
    let total = counts.iter().fold(0u64, |total, count| total.saturating_add(*count));
    let _ = writeln!(to, "{name}_sum{{{labels}}} {sum:?}\n{name}_count{{{labels}}} {total}");
    let mut below = 0u64;
    for (bucket, count) in counts.iter().enumerate() {
        below = below.saturating_add(*count);
        let _ = match histogram.bounds.get(bucket) {
            Some(bound) => write!(to, "{name}_bucket{{le=\"{bound:?}\",{labels}}} {below}"),
            None => write!(to, "{name}_bucket{{le=\"+Inf\",{labels}}} {below}"),
        };
        if let Some(Exemplar { trace_id, value, at }) = state.exemplars.get(&bucket) {
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let _ = write!(to, " # {{trace_id=\"{trace_id}\"}} {value:?} {at:?}");
        }
        to.push('\n');
    }
}

/// `app="web",trigger="push"`, once for the two dozen lines that share it.
fn label_text(family: &Family, labels: &Labels) -> String {
    let mut text = String::new();
    for (name, value) in family.labels.iter().zip(labels.values()) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}
