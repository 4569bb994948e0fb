//! When something that a watch delivers can have happened.

use crate::observation::{Interval, Time};

/// Messages that follow each other within this time are one burst: what piled up while a connection hung is
/// released at once, and only the silence before the burst bounds when it happened.
const BURST_GAP_MILLIS: i64 = 50;
/// A burst lasts at most as long as the silence that filled it, and never longer than this: on a busy stream
/// messages are always close, and their intervals must not grow without end.
const BURST_MILLIS_MAX: i64 = 2_000;
/// A message may be under way for this long on a connection that is well: behind an API server with much to say
/// or in a process with much to do. On a busy stream the one before it proves nothing about this time. Objects' own
/// times are whole seconds, so less would narrow them below what is proven: on a machine with ten times more to do
/// than processors, messages took up to 440 ms.
const LATE_MILLIS: i64 = 1_000;

/// The rhythm of the messages of one watch.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    last: Option<Time>,
    burst: Option<Burst>,
    /// How long a message may have waited to be read, because whoever reads was held up.
    behind_millis: i64,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    /// The message before it: all older changes had been delivered then.
    before: Time,
    started: Time,
}

impl Pulse {
    /// A message came: everything in it became so inside this interval.
    pub(super) fn message(&mut self, at: Time) -> Interval {
        let last = self.last.unwrap_or(Time::MIN);
        let joins = self.burst.filter(|burst| at.0 - last.0 <= BURST_GAP_MILLIS && at.0 <= burst.end_max().0);
        let burst = joins.unwrap_or(Burst { before: last, started: at });
        self.burst = Some(burst);
        self.last = Some(at);
        Interval::new(burst.before.min(at - LATE_MILLIS - self.behind_millis), at)
    }

    /// Whoever reads is so much later than the messages came.
    pub(super) fn behind(&mut self, millis: i64) {
        self.behind_millis = millis;
    }

    /// The watch ended. What it would have delivered next may be as old as its last burst.
    pub(super) fn cut(&mut self, at: Time) {
        if let (Some(last), Some(burst)) = (self.last, self.burst)
            && at.0 - last.0 <= BURST_GAP_MILLIS
        {
            self.last = Some(burst.before);
        }
        self.burst = None;
    }

    /// Nothing is missing up to this time: a look was complete, or an open watch had nothing to say.
    pub(super) fn caught_up(&mut self, at: Time) {
        self.last = Some(at);
        self.burst = None;
    }

    /// Up to here every change is known.
    pub(super) fn known_until(&self) -> Time {
        let Some(last) = self.last else { return Time::MIN };
        self.burst.map_or(last, |burst| burst.before.min(last - LATE_MILLIS - self.behind_millis))
    }
}

impl Burst {
    fn end_max(self) -> Time {
        let silence = self.started.0.saturating_sub(self.before.0);
        self.started + silence.clamp(BURST_GAP_MILLIS, BURST_MILLIS_MAX)
    }
}
