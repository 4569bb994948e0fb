//! What a snapshot says in gauges: rows per family, folded under the cap, encoded by one collector.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::series::{Labels, SERIES_PER_FAMILY_MAX};
use super::table::{
    APP, BEHIND, BUILD, Cap, Family, IMAGE_MISMATCH, JOURNEYS_OPEN, Kind, LIVE, LIVE_TIMESTAMP,
    SOURCE_COVERAGE, SOURCE_LAST_LOOK, SOURCE_UP, STAGE_ENTERED,
};
use super::{flag, place};
use crate::exporters::Snapshot;
use crate::observation::{Interval, Time};
use crate::tracker::{Destination, Journey, Outcome};

/// How much of a commit id names a revision.
const REVISION_LENGTH: usize = 12;

/// The commit that brought what is live, by destination: kept after the tracker has forgotten the journey.
pub type Revisions = HashMap<Destination, Box<str>>;

/// Gauges of one scrape, ready to be written.
#[derive(Debug)]
pub struct Gauges(Vec<(&'static Family, BTreeMap<Labels, f64>)>);

impl Gauges {
    /// Everything that the snapshot says, and the 0/1 rows of the latches.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        revisions: &Revisions,
        latched: Vec<(&'static Family, Vec<(Labels, f64)>)>,
    ) -> Self {
        let mut rows = Rows::default();
        rows.add(&BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
        for journey in snapshot.journeys.iter().filter(|journey| journey.is_open()) {
            rows.open(journey);
        }
        for status in &snapshot.destinations {
            let [cluster, environment, namespace, app] = place(&status.destination);
            rows.add(&APP, &[cluster, environment, namespace, app, status.destination.engine], 1.0);
            rows.add(&BEHIND, &[cluster, environment, namespace, app], status.behind_seconds);
            let mixed = f64::from(u8::from(status.mixed_digests));
            rows.add(&IMAGE_MISMATCH, &[cluster, environment, namespace, app, "mixed_digests"], mixed);
            let not_rolled = f64::from(u8::from(status.config_not_rolled.is_some()));
            rows.add(
                &IMAGE_MISMATCH,
                &[cluster, environment, namespace, app, "config_not_rolled"],
                not_rolled,
            );
            let Some((image, _, since)) = &status.live else { continue };
            let tag = image.tag.as_ref().map_or("", |tag| tag.as_str());
            let revision = revisions.get(&status.destination).map_or("", |revision| &**revision);
            rows.add(&LIVE, &[cluster, environment, namespace, app, tag, revision], 1.0);
            if since.is_known() {
                rows.add(&LIVE_TIMESTAMP, &[cluster, environment, namespace, app], seconds(*since));
            }
        }
        for source in &snapshot.sources {
            rows.add(&SOURCE_UP, &[&source.source], f64::from(u8::from(source.up)));
            if let Some(at) = source.last_look {
                rows.add(&SOURCE_LAST_LOOK, &[&source.source], seconds(at));
            }
            let coverage = if source.scopes == 0 { 0.0 } else { source.fresh as f64 / source.scopes as f64 };
            rows.add(&SOURCE_COVERAGE, &[&source.source], coverage);
        }
        for (family, latched) in latched {
            latched.into_iter().for_each(|(labels, value)| rows.put(family, labels, value));
        }
        // In the order of the table, so that two scrapes of one state are the same text.
        let mut families: Vec<_> = super::table::ALL
            .iter()
            .filter_map(|family| rows.0.remove(family.name).map(|rows| (*family, rows)))
            .collect();
        families.retain(|(_, rows)| !rows.is_empty());
        Self(families)
    }
}

/// Remembers the commit of each live destination, and forgets destinations that are gone.
pub fn remember_revisions(revisions: &mut Revisions, snapshot: &Snapshot) {
    let destinations = snapshot.destinations.iter().filter(|status| status.live.is_some());
    let live: HashSet<&Destination> = destinations.map(|status| &status.destination).collect();
    revisions.retain(|destination, _| live.contains(destination));
    for journey in &snapshot.journeys {
        if journey.outcome != Some(Outcome::Live) || !live.contains(&journey.destination) {
            continue;
        }
        match &journey.commit {
            Some(commit) => {
                let short: String = commit.id.chars().take(REVISION_LENGTH).collect();
                revisions.insert(journey.destination.clone(), short.into());
            }
            // Something else is live now, and nobody saw its commit.
            None => drop(revisions.remove(&journey.destination)),
        }
    }
}

/// How two rows of one label set become one.
#[derive(Debug, Clone, Copy)]
enum Fold {
    Sum,
    Least,
    Most,
}

#[derive(Debug, Default)]
struct Rows(HashMap<&'static str, BTreeMap<Labels, f64>>);

impl Rows {
    fn open(&mut self, journey: &Journey) {
        let [cluster, environment, namespace, app] = place(&journey.destination);
        let reached = journey.stages.reached();
        let stage = reached.map_or("none", |stage| stage.as_str());
        let entered = reached.and_then(|stage| journey.stages.evidence(stage)).map(|known| known.interval);
        let labels = [cluster, environment, namespace, app, stage, flag(journey.synthetic)];
        self.add(&JOURNEYS_OPEN, &labels, 1.0);
        self.add(&STAGE_ENTERED, &labels, middle_seconds(entered.unwrap_or(journey.opened)));
    }

    fn add(&mut self, family: &'static Family, values: &[&str], value: f64) {
        self.put(family, Labels::new(family, values), value);
    }

    fn put(&mut self, family: &'static Family, labels: Labels, value: f64) {
        let rows = self.0.entry(family.name).or_default();
        let full = rows.len() >= SERIES_PER_FAMILY_MAX && !rows.contains_key(&labels);
        let labels = match family.cap {
            Cap::Folds if full => match labels.folded() {
                Some(folded) => folded,
                None => return,
            },
            Cap::Folds | Cap::Never => labels,
        };
        rows.entry(labels).and_modify(|known| *known = fold(family).join(*known, value)).or_insert(value);
    }
}

/// What the rows of a folded label set, or of an app with several containers, mean together.
fn fold(family: &'static Family) -> Fold {
    match family.name {
        name if name == JOURNEYS_OPEN.name => Fold::Sum,
        name if name == STAGE_ENTERED.name => Fold::Least,
        _ => Fold::Most,
    }
}

impl Fold {
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => a + b,
            Self::Least => a.min(b),
            Self::Most => a.max(b),
        }
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (family, rows) in &self.0 {
            let unit = family.unit();
            let mut metric =
                encoder.encode_descriptor(family.stem(), family.help, unit.as_ref(), family.metric_type())?;
            for (labels, value) in rows {
                if family.kind == Kind::Info {
                    metric.encode_info(labels)?;
                } else {
                    ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn seconds(at: Time) -> f64 {
    at.0 as f64 / 1000.0
}

/// The middle of an interval, or its end where nobody knows when it began.
fn middle_seconds(interval: Interval) -> f64 {
    if interval.is_bounded() { interval.midpoint_millis() / 1000.0 } else { seconds(interval.not_after) }
}
