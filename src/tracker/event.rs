//! What the tracker says: provisional events for page and gauges, `Settled` once for the numbers.

use std::sync::Arc;

use super::journey::{Held, Journey, JourneyId, Stuck};
use super::stage::Stage;
use super::updater::{Detected, Pushed, Updater};

/// Something that happened to a journey or a destination.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It opened, or reached a stage. `stage` is the last one reached.
    Moved {
        id: JourneyId,
        stage: Option<Stage>,
    },
    Held {
        id: JourneyId,
        held: Held,
    },
    Stuck {
        id: JourneyId,
        stuck: Stuck,
    },
    /// A source that this journey needs is not fresh.
    Blind {
        id: JourneyId,
        source: Arc<str>,
    },
    /// No longer stuck, held or blind.
    Cleared {
        id: JourneyId,
    },
    /// Exactly once per journey, a window after its outcome: the only event that feeds histograms, counters
    /// and traces.
    Settled(Box<Journey>),
    /// A template changed without another image: one of the workload's destinations stands for all.
    Restarted {
        destination: Box<super::journey::Destination>,
    },
    /// The shop's updater lost a race to push. Said once, until it is well again.
    Raced(Box<Updater>),
    /// A scan of the shop's updater first contained a tag that we saw come.
    Detected(Box<Detected>),
    /// A commit on a followed branch is the updater's: said once, a while after it was seen.
    Pushed(Box<Pushed>),
}

/// When the tracker must be asked again, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    pub at: crate::observation::Time,
    pub why: Wait,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    Settle,
    Budget,
    Freshness,
    Schedule,
    Forget,
}
