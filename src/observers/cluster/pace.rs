//! The times of the loop: how long to wait, and how long silence is borne.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Every wait and patience of a watcher. The defaults are what runs; a test shortens the one it is about.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first wait after a failure.
    pub backoff_min: Duration,
    /// The longest wait: an API server that is back should not be missed for long.
    pub backoff_max: Duration,
    /// Time between two tries where somebody has to grant something first.
    pub rest: Duration,
    /// A streaming list that says nothing for so long and has not ended is from a server that ignores the option.
    pub list_silence_max: Duration,
    /// A streaming list that is never silent has to end some time all the same.
    pub list_time_max: Duration,
    /// Bookmarks come each minute. A watch that misses one is asked again: a dead connection looks the same.
    pub watch_silence_max: Duration,
    /// A watch that opened and said nothing for so long had nothing to say.
    pub quiet_after: Duration,
    /// A watch that held so long was a good one: what follows is no repeated failure.
    pub good_after: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(800),
            backoff_max: Duration::from_secs(30),
            rest: Duration::from_secs(60),
            list_silence_max: Duration::from_secs(15),
            list_time_max: Duration::from_secs(300),
            watch_silence_max: Duration::from_secs(75),
            quiet_after: Duration::from_secs(10),
            good_after: Duration::from_secs(5),
        }
    }
}

/// Waits that double, each with its own chance.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(pace: Pace) -> Self {
        Self { min: pace.backoff_min, max: pace.backoff_max, failures: 0 }
    }

    /// The next wait, between half of its step and the whole, so that many watchers do not come back at once.
    pub(super) fn next(&mut self) -> Duration {
        // Six doublings pass the default maximum.
        let step = self.min.saturating_mul(1 << self.failures.min(6)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + chance() / 2.0).max(self.min)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number from 0 up to 1, different each time. Good enough to spread load, and nothing else.
pub(super) fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1u64 << 53) as f64
}
