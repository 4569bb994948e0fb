//! Durations with their error bars, by interval arithmetic.

use serde::Serialize;

use crate::observation::Interval;

/// A sample whose error bar is above this and above half of itself is counted as uncertain, not observed.
const UNCERTAIN_ABOVE_SECONDS: f64 = 60.0;

/// How long something took: midpoint minus midpoint, plus or minus the sum of the half-widths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Never negative.
    pub seconds: f64,
    pub uncertainty_seconds: f64,
    /// The two intervals were disjoint the wrong way round: two clocks disagree. Clamped to zero, and counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub negative: bool,
}

impl Sample {
    /// The time from one interval to another; `None` where a bound is unknown.
    #[must_use]
    pub fn between(from: Interval, to: Interval) -> Option<Self> {
        if !from.is_bounded() || !to.is_bounded() {
            return None;
        }
        let seconds = (to.midpoint_millis() - from.midpoint_millis()) / 1000.0;
        Some(Self {
            seconds: seconds.max(0.0),
            uncertainty_seconds: from.half_width_seconds() + to.half_width_seconds(),
            negative: to.not_after < from.not_before,
        })
    }

    /// Good enough for a histogram.
    #[must_use]
    pub fn is_certain(self) -> bool {
        let uncertainty = self.uncertainty_seconds;
        !(uncertainty > UNCERTAIN_ABOVE_SECONDS && uncertainty > self.seconds / 2.0)
    }

    /// The same span without held time.
    #[must_use]
    pub fn without(self, held_seconds: f64) -> Self {
        Self { seconds: (self.seconds - held_seconds).max(0.0), ..self }
    }
}
