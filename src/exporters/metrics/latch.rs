//! Memory of what was stuck, held or blind, so that an alert ends with a 0 and keeps its labels meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::table::{BLIND, Family, HELD, STUCK};
use crate::observation::Time;
use crate::tracker::{DestinationStatus, Hold, Journey, JourneyId, Stage, Subject};

/// How long a series stays 0 after clearing: longer than any sensible scrape interval and alert delay.
const CLEARED_KEPT_MILLIS: i64 = 15 * 60 * 1000;
/// Cleared series remembered per family. Beyond it the oldest simply end, which an alert survives too.
const CLEARED_MAX: usize = 10_000;

/// The values of a family's labels.
type Labels = Box<[Box<str>]>;

/// The stage a journey waits at and the word for why, if it is in that state.
type Why = fn(&Journey) -> Option<(Stage, &str)>;

/// One 0/1 family.
#[derive(Debug)]
pub struct Latch {
    pub family: &'static Family,
    why: Why,
    /// The labels that a journey had when it began, by its id. The reason may change; the alert stays the same.
    active: HashMap<JourneyId, Labels>,
    /// Destinations that wait without a journey under way.
    waiting: BTreeSet<Labels>,
    cleared: BTreeMap<Labels, Time>,
}

impl Latch {
    /// The three states that wait.
    #[must_use]
    pub fn all() -> [Self; 3] {
        let new = |family, why| Self {
            family,
            why,
            active: HashMap::new(),
            waiting: BTreeSet::new(),
            cleared: BTreeMap::new(),
        };
        [new(&STUCK, stuck), new(&HELD, held), new(&BLIND, blind)]
    }

    /// Takes in what is so now.
    pub fn update(&mut self, now: Time, journeys: &[Arc<Journey>], destinations: &[DestinationStatus]) {
        let mut before = std::mem::take(&mut self.active);
        for journey in journeys.iter().filter(|journey| journey.is_open()) {
            let Some((stage, why)) = (self.why)(journey) else { continue };
            let known = std::iter::once(&journey.id).chain(&journey.aliases).find_map(|id| before.remove(id));
            let labels = known.unwrap_or_else(|| labels(journey, stage, why));
            self.active.insert(journey.id, labels);
        }
        let waiting = match self.family.name == HELD.name {
            true => destinations.iter().filter_map(overridden).collect(),
            false => BTreeSet::new(),
        };
        let waited = std::mem::replace(&mut self.waiting, waiting);
        let gone = waited.into_iter().filter(|labels| !self.waiting.contains(labels));
        self.cleared.extend(before.into_values().chain(gone).map(|labels| (labels, now)));
        for labels in self.active.values().chain(&self.waiting) {
            self.cleared.remove(labels);
        }
        self.cleared.retain(|_, at| now.0 - at.0 < CLEARED_KEPT_MILLIS);
        if let Some(excess) = self.cleared.len().checked_sub(CLEARED_MAX + 1) {
            let mut ages: Vec<Time> = self.cleared.values().copied().collect();
            ages.sort_unstable();
            self.cleared.retain(|_, at| *at > ages[excess]);
        }
    }

    /// Every series with its 0 or 1.
    pub fn rows(&self) -> impl Iterator<Item = (Vec<&str>, f64)> {
        let active = self.active.values().chain(&self.waiting).map(|labels| (values(labels), 1.0));
        active.chain(self.cleared.keys().map(|labels| (values(labels), 0.0)))
    }
}

fn values(labels: &Labels) -> Vec<&str> {
    labels.iter().map(|value| &**value).collect()
}

fn stuck(journey: &Journey) -> Option<(Stage, &str)> {
    journey.stuck.map(|stuck| (stuck.stage, stuck.reason.as_str()))
}

fn held(journey: &Journey) -> Option<(Stage, &str)> {
    journey.held.map(|held| (waiting(journey), held.hold.as_str()))
}

/// The policy's image waits to be committed, since a later commit wants another one.
fn overridden(status: &DestinationStatus) -> Option<Labels> {
    status.overridden_since?;
    let [cluster, environment, namespace, app] = super::place(&status.destination);
    let (subject, stage, hold) = (Subject::Image, Stage::Committed, Hold::PolicyOverridden);
    let why = [subject.as_str(), stage.as_str(), hold.as_str(), super::flag(false)];
    let [subject, stage, hold, synthetic] = why;
    Some([cluster, environment, namespace, app, subject, stage, hold, synthetic].map(Box::from).into())
}

fn blind(journey: &Journey) -> Option<(Stage, &str)> {
    journey.blind.as_deref().map(|source| (waiting(journey), source))
}

fn waiting(journey: &Journey) -> Stage {
    journey.stages.waiting_for().unwrap_or(Stage::Live)
}

fn labels(journey: &Journey, stage: Stage, why: &str) -> Labels {
    let [cluster, environment, namespace, app] = super::place(&journey.destination);
    let (subject, synthetic) = (journey.subject.as_str(), super::flag(journey.synthetic));
    let values = [cluster, environment, namespace, app, subject, stage.as_str(), why, synthetic];
    values.map(Box::from).into()
}
