//! What others may ask the tracker.

use std::sync::Arc;

use super::destination::{DestinationKey, promotion_rank};
use super::journey::{Destination, Hold, Journey, JourneyId};
use super::source::SourceStatus;
use super::{Tracker, judge};
use crate::image::{Digest, ImageRef};
use crate::observation::{Owner, Time};

/// What a destination runs and should run, for gauges and the page.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationStatus {
    pub destination: Destination,
    /// What its template says.
    pub image: Option<ImageRef>,
    /// What was last live, and since when; [`Time::MIN`] where it was so at start-up.
    pub live: Option<(ImageRef, Option<Digest>, Time)>,
    /// Un-held seconds since the oldest desire newer than what runs; 0 when what runs is the desire.
    pub behind_seconds: f64,
    /// What it should run was given up, and nothing newer is on its way.
    pub failed: bool,
    /// Pods of one template run different digests.
    pub mixed_digests: bool,
    /// When a ConfigMap was last written for a commit that changed it, where pods run from before and read it only
    /// at their start.
    pub config_not_rolled: Option<Time>,
    /// To whom it belongs: by the workload's labels, then by its namespace's.
    pub owner: Owner,
    /// It waits by somebody's choice, journey or not.
    pub hold: Option<Hold>,
    /// Since when a later commit disagrees with what the policy last selected: the policy waits.
    pub overridden_since: Option<Time>,
}

impl Tracker {
    /// Open journeys and those that ended lately, oldest first.
    pub fn journeys(&self) -> impl Iterator<Item = &Journey> {
        self.in_order().into_iter().map(|journey| &**journey)
    }

    /// The same, to be kept without a copy.
    #[must_use]
    pub fn shared_journeys(&self) -> Vec<Arc<Journey>> {
        self.in_order().into_iter().cloned().collect()
    }

    fn in_order(&self) -> Vec<&Arc<Journey>> {
        let entries = self.ledgers.values().flat_map(|ledger| &ledger.entries);
        let mut journeys: Vec<&Arc<Journey>> = entries.map(|entry| &entry.journey).collect();
        journeys.sort_by_key(|journey| (journey.opened.not_after, journey.id));
        journeys
    }

    /// Those to one destination.
    #[must_use]
    pub fn journeys_to(&self, destination: &Destination) -> Vec<Arc<Journey>> {
        let key = DestinationKey {
            cluster: destination.cluster_uid.clone(),
            workload: destination.workload.clone(),
            container: destination.container.clone(),
        };
        let entries = self.ledgers.get(&key).into_iter().flat_map(|ledger| &ledger.entries);
        entries.map(|entry| entry.journey.clone()).collect()
    }

    /// One journey by its id.
    #[must_use]
    pub fn journey(&self, id: JourneyId) -> Option<&Journey> {
        let mut entries = self.ledgers.values().flat_map(|ledger| &ledger.entries);
        entries.find(|entry| entry.journey.id == id).map(|entry| &*entry.journey)
    }

    /// Every destination that still exists, in promotion order of their environments.
    #[must_use]
    pub fn destinations(&self, now: Time) -> Vec<DestinationStatus> {
        let rank = |status: &DestinationStatus| {
            promotion_rank(&status.destination.environment, &self.rules).unwrap_or(usize::MAX)
        };
        let mut destinations = self.standing(now);
        destinations.sort_by_key(rank);
        destinations
    }

    fn standing(&self, now: Time) -> Vec<DestinationStatus> {
        let mut ledgers: Vec<_> = self.ledgers.iter().collect();
        ledgers.sort_unstable_by_key(|(key, _)| *key);
        ledgers
            .into_iter()
            .filter_map(|(key, ledger)| {
                let state = self.clusters.get(&key.cluster)?;
                let workload = state.workloads.get(&key.workload)?;
                let version = workload
                    .versions
                    .last()
                    .filter(|_| workload.removed.is_none() && !workload.now.ignore)?;
                version.images.iter().find(|(name, _)| *name == key.container)?;
                let cluster = &ledger.needs.cluster;
                // While its cluster is blind the clock stands still at the last fresh look.
                let now = match judge::stale(&self.sources, cluster, now) {
                    None => now,
                    Some(_) => {
                        let looks = cluster.iter().filter_map(|key| self.sources.get(*key));
                        looks.filter_map(|status| status.last_finished).min().unwrap_or(now)
                    }
                };
                let behind_seconds = ledger.behind_since.map_or(0.0, |since| {
                    let held = judge::covered(
                        &judge::hold_spans(workload.versions.iter().flat_map(|version| &version.holds), now),
                        since,
                        now,
                    );
                    (now.seconds_since(since) - held).max(0.0)
                });
                let hold = version.holds.last().filter(|span| span.until.is_none()).map(|span| span.hold);
                Some(DestinationStatus {
                    destination: ledger.destination.clone(),
                    image: version.image(&key.container),
                    live: ledger.live.clone(),
                    behind_seconds,
                    failed: ledger.failed,
                    mixed_digests: workload.mixed_digests(&key.container, &self.registries),
                    config_not_rolled: ledger
                        .config_written
                        .filter(|written| workload.runs_from_before(*written))
                        .map(|written| written.not_after),
                    owner: workload.now.owner.or(state.namespaces.owner(&key.workload.namespace)),
                    overridden_since: ledger.overridden_since,
                    hold: hold.or(ledger.overridden_since.map(|_| Hold::PolicyOverridden)),
                })
            })
            .collect()
    }

    /// How fresh every source is.
    #[must_use]
    pub fn sources(&self, now: Time) -> Vec<SourceStatus> {
        self.sources.summary(now, &self.interests())
    }
}
