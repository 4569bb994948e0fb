//! The tracker's state at one moment, shared without locks.

use std::sync::Arc;

use crate::observation::{Owner, Time};
use crate::tracker::{Destination, DestinationStatus, Journey, JourneyId, SourceStatus, Updaters};

/// Everything that the page, the API and the gauges show. Published whole, read by reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub at: Time,
    /// Open journeys and those that ended lately, oldest first.
    pub journeys: Vec<Arc<Journey>>,
    pub destinations: Vec<DestinationStatus>,
    pub sources: Vec<SourceStatus>,
    pub updaters: Updaters,
}

impl Snapshot {
    /// What is known before the first look.
    #[must_use]
    pub fn empty(at: Time) -> Arc<Self> {
        Arc::new(Self {
            at,
            journeys: Vec::new(),
            destinations: Vec::new(),
            sources: Vec::new(),
            updaters: Updaters::default(),
        })
    }

    /// The journeys, oldest first.
    pub fn journeys(&self) -> impl DoubleEndedIterator<Item = &Journey> {
        self.journeys.iter().map(|journey| &**journey)
    }

    /// The journey of this id, also under an id that it had before.
    #[must_use]
    pub fn journey(&self, id: JourneyId) -> Option<&Journey> {
        let named = |journey: &&Journey| journey.id == id || journey.aliases.contains(&id);
        self.journeys().find(|journey| journey.id == id).or_else(|| self.journeys().find(named))
    }

    /// To whom a destination belongs. Nobody knows where it is gone.
    #[must_use]
    pub fn owner(&self, destination: &Destination) -> Option<&Owner> {
        let of_it = |status: &&DestinationStatus| status.destination == *destination;
        self.destinations.iter().find(of_it).map(|status| &status.owner)
    }

    /// The same image on its way to other environments.
    pub fn elsewhere<'a>(&'a self, journey: &'a Journey) -> impl Iterator<Item = &'a Journey> {
        let same_image = move |other: &Journey| match (&journey.digest, &other.digest) {
            (Some(a), Some(b)) => a == b,
            _ => other.image == journey.image,
        };
        self.journeys().filter(move |other| {
            other.destination.environment != journey.destination.environment
                && other.destination.app == journey.destination.app
                && same_image(other)
        })
    }
}
