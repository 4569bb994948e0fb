//! What a snapshot says in gauges: rows per family, those of one label set joined, folded under the cap.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::latch::Latch;
use super::series::{SERIES_PER_FAMILY_MAX, folded};
use super::table::{
    ALL, APP, BEHIND, BUILD, Cap, FAILED, Family, IMAGE_MISMATCH, JOURNEYS_OPEN, Kind, LIVE, LIVE_TIMESTAMP,
    SOURCE_COVERAGE, SOURCE_LAST_LOOK, SOURCE_UP, STAGE_ENTERED, UPDATER_DETECTION_LAG,
    UPDATER_DETECTION_LAG_UNCERTAINTY, UPDATER_DETECTION_PENDING, UPDATER_SCAN_AGE, UPDATER_SCAN_DURATION,
    UPDATER_SCAN_INTERVAL, UPDATER_TAGS,
};
use super::text::{Names, Number, Text, push_labels};
use super::updater::Durations;
use super::{flag, place};
use crate::exporters::Snapshot;
use crate::observation::{Interval, Time};
use crate::tracker::{Destination, Journey, Outcome, ScannerStatus};

/// How much of a commit id names a revision.
const REVISION_LENGTH: usize = 12;
/// No gauge has more labels.
const LABELS_MAX: usize = 8;
/// Rows between two looks at how much text there is.
const WRITTEN_IN_ONE_GO: usize = 256;

/// The commit that brought what is live, by destination: kept after the tracker has forgotten the journey.
pub type Revisions = HashMap<Destination, Box<str>>;

/// Writes everything that the snapshot says, and the 0/1 rows of the latches. Families come in the order of the
/// table and rows in that of their labels, so that two scrapes of one state are the same text.
pub fn write(
    snapshot: &Snapshot,
    revisions: &Revisions,
    scans: &Durations,
    latches: &[Latch],
    to: &mut Text,
) {
    let mut gauges = Gauges::default();
    gauges.add(&BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    for journey in snapshot.journeys().filter(|journey| journey.is_open()) {
        gauges.open(journey);
    }
    for status in &snapshot.destinations {
        let [cluster, environment, namespace, app] = place(&status.destination);
        gauges.add(&BEHIND, &[cluster, environment, namespace, app], status.behind_seconds);
        gauges.add(&FAILED, &[cluster, environment, namespace, app], f64::from(u8::from(status.failed)));
        let mixed = f64::from(u8::from(status.mixed_digests));
        gauges.add(&IMAGE_MISMATCH, &[cluster, environment, namespace, app, "mixed_digests"], mixed);
        let not_rolled = f64::from(u8::from(status.config_not_rolled.is_some()));
        let labels = [cluster, environment, namespace, app, "config_not_rolled"];
        gauges.add(&IMAGE_MISMATCH, &labels, not_rolled);
        let Some((image, _, since)) = &status.live else { continue };
        let tag = image.tag.as_ref().map_or("", |tag| tag.as_str());
        let revision = revisions.get(&status.destination).map_or("", |revision| &**revision);
        gauges.add(&LIVE, &[cluster, environment, namespace, app, tag, revision], 1.0);
        if since.is_known() {
            gauges.add(&LIVE_TIMESTAMP, &[cluster, environment, namespace, app], seconds(*since));
        }
    }
    for source in &snapshot.sources {
        gauges.add(&SOURCE_UP, &[&source.source], f64::from(u8::from(source.up)));
        if let Some(at) = source.last_look {
            gauges.add(&SOURCE_LAST_LOOK, &[&source.source], seconds(at));
        }
        let coverage = if source.scopes == 0 { 0.0 } else { source.fresh as f64 / source.scopes as f64 };
        gauges.add(&SOURCE_COVERAGE, &[&source.source], coverage);
    }
    for (_, app) in apps(snapshot) {
        gauges.add(&APP, &app, 1.0);
    }
    for scanner in &snapshot.updaters.scanners {
        gauges.scanner(scanner, scans.of(scanner));
    }
    for latch in latches {
        latch.rows().for_each(|(labels, value)| gauges.add(latch.family, &labels, value));
    }
    gauges.write(to);
}

/// Each app of each namespace of each cluster once, so that what is known of its owner can be joined to any other series.
/// Its environment and engine are those of its first destination, in promotion order and then by name; team and tier are
/// those of the first that has any.
fn apps(snapshot: &Snapshot) -> BTreeMap<[&str; 3], [&str; 7]> {
    let mut apps = BTreeMap::new();
    for status in &snapshot.destinations {
        let [cluster, environment, namespace, app] = place(&status.destination);
        let first = [cluster, environment, namespace, app, "", "", status.destination.engine];
        let labels = apps.entry([cluster, namespace, app]).or_insert(first);
        for (at, said) in [(4, &status.owner.team), (5, &status.owner.tier)] {
            if labels[at].is_empty() {
                labels[at] = said.as_deref().unwrap_or_default();
            }
        }
    }
    apps
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
                let end = commit.id.char_indices().nth(REVISION_LENGTH).map_or(commit.id.len(), |(at, _)| at);
                let short = &commit.id[..end];
                match revisions.get_mut(&journey.destination) {
                    Some(known) if **known == *short => {}
                    Some(known) => *known = short.into(),
                    None => drop(revisions.insert(journey.destination.clone(), short.into())),
                }
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

/// One sample, with the values of its family's labels; what the family does not have is empty.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    values: [&'a str; LABELS_MAX],
    value: f64,
}

#[derive(Debug, Default)]
struct Gauges<'a>(HashMap<&'static str, Vec<Row<'a>>>);

impl<'a> Gauges<'a> {
    fn open(&mut self, journey: &'a Journey) {
        let [cluster, environment, namespace, app] = place(&journey.destination);
        let reached = journey.stages.reached();
        let stage = reached.map_or("none", |stage| stage.as_str());
        let entered = reached.and_then(|stage| journey.stages.evidence(stage)).map(|known| known.interval);
        let labels = [cluster, environment, namespace, app, stage, flag(journey.synthetic)];
        self.add(&JOURNEYS_OPEN, &labels, 1.0);
        self.add(&STAGE_ENTERED, &labels, middle_seconds(entered.unwrap_or(journey.opened)));
    }

    /// What is not known has no series.
    fn scanner(&mut self, scanner: &'a ScannerStatus, duration: Option<f64>) {
        let of = &scanner.repository;
        let labels = [scanner.engine, &*scanner.cluster, of.host(), of.path()];
        let (lag, uncertainty) = scanner.lag.unzip();
        for (family, value) in [
            (&UPDATER_SCAN_AGE, scanner.age_seconds),
            (&UPDATER_SCAN_INTERVAL, scanner.interval_seconds),
            (&UPDATER_SCAN_DURATION, duration),
            (&UPDATER_TAGS, scanner.tags.map(|tags| tags as f64)),
            (&UPDATER_DETECTION_LAG, lag),
            (&UPDATER_DETECTION_LAG_UNCERTAINTY, uncertainty),
            (&UPDATER_DETECTION_PENDING, scanner.pending_seconds),
        ] {
            if let Some(value) = value {
                self.add(family, &labels, value);
            }
        }
    }

    fn add(&mut self, family: &'static Family, given: &[&'a str], value: f64) {
        debug_assert_eq!(family.labels.len(), given.len(), "labels of {}", family.name);
        let mut values = [""; LABELS_MAX];
        values[..given.len()].copy_from_slice(given);
        self.0.entry(family.name).or_default().push(Row { values, value });
    }

    fn write(mut self, to: &mut Text) {
        let mut labels = String::new();
        for family in ALL {
            let Some(rows) = self.0.remove(family.name) else { continue };
            let rows = capped(family, joined(family, rows));
            let names = Names::of(family);
            if !rows.is_empty() {
                to.family(family);
            }
            for (at, row) in rows.iter().enumerate() {
                labels.clear();
                push_labels(&mut labels, family.labels, &row.values);
                let value =
                    if family.kind == Kind::Info { Number::Count(1) } else { Number::Real(row.value) };
                to.sample(&names.sample, &labels, value);
                if at % WRITTEN_IN_ONE_GO == 0 {
                    to.pack();
                }
            }
        }
    }
}

/// In order, one row per label set.
fn joined<'a>(family: &Family, mut rows: Vec<Row<'a>>) -> Vec<Row<'a>> {
    // Mostly in order already: a stable sort uses that.
    rows.sort_by(|a, b| a.values.cmp(&b.values));
    let fold = fold(family);
    rows.dedup_by(|later, first| {
        let same = later.values == first.values;
        if same {
            first.value = fold.join(first.value, later.value);
        }
        same
    });
    rows
}

/// What is beyond the cap folds.
fn capped<'a>(family: &Family, mut rows: Vec<Row<'a>>) -> Vec<Row<'a>> {
    if family.cap == Cap::Never || rows.len() <= SERIES_PER_FAMILY_MAX {
        return rows;
    }
    let beyond = rows.split_off(SERIES_PER_FAMILY_MAX);
    let count = family.labels.len();
    rows.extend(beyond.into_iter().filter_map(|mut row| {
        let values = folded(family, &row.values[..count])?;
        row.values[..count].copy_from_slice(&values);
        Some(row)
    }));
    joined(family, rows)
}

/// What the rows of a folded label set, or of an app with several containers, mean together.
fn fold(family: &Family) -> Fold {
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

fn seconds(at: Time) -> f64 {
    at.0 as f64 / 1000.0
}

/// The middle of an interval, or its end where nobody knows when it began.
fn middle_seconds(interval: Interval) -> f64 {
    if interval.is_bounded() { interval.midpoint_millis() / 1000.0 } else { seconds(interval.not_after) }
}
