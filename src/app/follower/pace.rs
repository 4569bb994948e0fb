//! When the state may be published again. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// News are published at once. In a storm of them publishing, which copies the state, takes one part in so many of the
/// time.
const SHARE: u32 = 50;
/// Time for publishing that is saved up while nothing happens: what belongs together comes in a few batches, and the last
/// of them, which most wait for, must not wait for the share of the first.
const SAVED_MAX: Duration = Duration::from_millis(20);
/// The page and the gauges are at most this old, unless the state is so large that publishing it as often would take more
/// than a tenth of the time.
pub const PUBLISH_EVERY: Duration = Duration::from_millis(100);
const SHARE_MAX: u32 = 10;

/// See the file's front line.
#[derive(Debug)]
pub struct Pace {
    saved: Duration,
    /// End of the last publication.
    last: Instant,
}

impl Pace {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { saved: SAVED_MAX, last: now }
    }

    /// One ended now and took so long: when the next may begin.
    pub fn published(&mut self, took: Duration, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.last);
        let saved = (self.saved + since / SHARE).min(SAVED_MAX);
        self.last = now;
        self.saved = saved.saturating_sub(took);
        let wait = took.saturating_sub(saved) * SHARE;
        now + wait.min(PUBLISH_EVERY.max(took * SHARE_MAX))
    }
}
