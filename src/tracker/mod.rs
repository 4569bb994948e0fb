//! The tracker: a pure, deterministic function of observations. No I/O, no clock, no metrics.
//!
//! `observe` takes facts in, `advance` lets time pass, both answer with events. Facts of a cluster fold into
//! workloads and their rollouts (`workload.rs`), facts of registries and git into what a tag pointed to and
//! what a branch names; `correlate.rs` derives each destination's journeys from all of them together, so the
//! order between sources does not matter. A new rule is a case in `tests/journeys/` first.

mod event;
mod journey;
mod sample;
mod source;
mod stage;
mod view;

pub use event::{Deadline, Event, Wait};
pub use journey::{
    CommitRef, Destination, Held, Hold, Journey, JourneyId, Outcome, Reason, Stuck, Subject, Trigger,
};
pub use sample::Sample;
pub use source::SourceStatus;
pub use stage::{Evidence, Stage, StageState, Stages};
pub use view::{HeldView, JourneyView, StageView, StuckView};

use crate::image::{Digest, ImageRef};
use crate::observation::{Interests, Observation, Time};

/// What a destination runs and should run, for gauges and the page.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationStatus {
    pub destination: Destination,
    /// What its template says.
    pub image: Option<ImageRef>,
    /// What was last live.
    pub live: Option<(ImageRef, Option<Digest>, Time)>,
    /// Un-held seconds since the oldest desire newer than what runs; 0 when what runs is the desire.
    pub behind_seconds: f64,
    /// Pods of one template run different digests.
    pub mixed_digests: bool,
}

/// See the folder's front page.
#[derive(Debug, Default)]
pub struct Tracker {}

impl Tracker {
    /// Takes one observation in.
    pub fn observe(&mut self, _observation: &Observation) -> Vec<Event> {
        Vec::new()
    }

    /// Lets time pass up to `now`: budgets run out, sources grow stale, journeys settle.
    pub fn advance(&mut self, _now: Time) -> Vec<Event> {
        Vec::new()
    }

    /// When to call `advance` next, and why.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        None
    }

    /// Open journeys and those that ended lately, oldest first.
    pub fn journeys(&self) -> impl Iterator<Item = &Journey> {
        std::iter::empty()
    }

    /// Every destination.
    #[must_use]
    pub fn destinations(&self, _now: Time) -> Vec<DestinationStatus> {
        Vec::new()
    }

    /// How fresh every source is.
    #[must_use]
    pub fn sources(&self, _now: Time) -> Vec<SourceStatus> {
        Vec::new()
    }

    /// What observers should look at now.
    #[must_use]
    pub fn interests(&self) -> Interests {
        Interests::default()
    }
}
