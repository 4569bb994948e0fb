//! Deriving the journeys of one workload anew, from everything that was said of it.

use std::cmp::Ordering;
use std::sync::Arc;

use super::bench::Bench;
use super::correlate::{Around, Draft, ImageKey, SeenAt, image_key};
use super::destination::{DestinationKey, describe, environment, promotion_rank};
use super::engine::Releases;
use super::journey::{Destination, Outcome};
use super::ledger::Ledger;
use super::leg::Leg;
use super::legs::{Desires, Inputs};
use super::release::Made;
use super::values::Valued;
use super::workload::WorkloadState;
use super::{Event, Place, Tracker, correlate, git, legs, revisions};
use crate::image::{Digest, ImageRef, Repository};
use crate::observation::{ClusterUid, Interval, ObjectKey, Time};

/// Rounds of deriving after one fact. Each round can only tell others that an image became live earlier, so two
/// or three are enough; the bound is against a mistake.
const ROUNDS_MAX: usize = 8;

impl Tracker {
    pub(super) fn derive_dirty(&mut self, events: &mut Vec<Event>) {
        for _ in 0..ROUNDS_MAX {
            let dirty = std::mem::take(&mut self.dirty);
            if dirty.is_empty() {
                break;
            }
            for place in dirty {
                self.derive(&place, events);
            }
        }
    }

    /// Derives the journeys of every container of one workload.
    fn derive(&mut self, place: &Place, events: &mut Vec<Event>) {
        let (cluster_uid, object) = place;
        let Some(cluster) = self.clusters.get_mut(cluster_uid) else { return };
        cluster.refresh(object, self.rules.live_when);
        let cluster_name = cluster.name.clone().unwrap_or_else(|| cluster_uid.clone());
        let Some(workload) = cluster.workloads.get_mut(object) else { return };
        if let Some(from) = workload.news.ran.take() {
            self.index.note_running(place, workload, from);
        }
        let Some(workload) = self.clusters.get(cluster_uid).and_then(|c| c.workloads.get(object)) else {
            return;
        };
        let mut containers: Vec<_> = workload.now.containers.iter().map(|c| c.name.clone()).collect();
        let first = containers.first().cloned();
        containers.extend(self.index.booked.get(place).into_iter().flatten().cloned());
        containers.sort_unstable();
        containers.dedup();
        let keys = containers.into_iter().map(|container| DestinationKey {
            cluster: cluster_uid.clone(),
            workload: object.clone(),
            container,
        });
        let keys: Vec<DestinationKey> = keys.collect();
        if workload.now.ignore {
            keys.iter().for_each(|key| self.let_go(key));
            return;
        }
        let derived: Vec<Derived> =
            keys.iter().map(|key| self.read(workload, key, first.as_ref(), &cluster_name)).collect();
        let oldest = workload.versions.first().map_or(i64::MIN, |version| version.generation);
        for (key, derived) in keys.into_iter().zip(derived) {
            self.take_derived(place, key, derived, oldest, events);
        }
    }

    /// Reads one destination off everything that was said.
    fn read(
        &self,
        workload: &WorkloadState,
        key: &DestinationKey,
        first: Option<&Arc<str>>,
        cluster_name: &Arc<str>,
    ) -> Derived {
        let engines = self.clusters.get(&key.cluster).map(|cluster| &cluster.engines);
        let applier = engines.and_then(|engines| engines.chain(workload, None, None).applier);
        let mut destination = describe(key, cluster_name, &workload.now, &self.rules);
        if let Some(applier) = applier {
            destination.engine = applier.now.key.kind.engine();
        }
        let ledger = self.ledgers.get(key);
        let made = self.made(workload, key);
        let valued = made.map(|made| self.trees.valued(made, key, &destination.environment));
        let valued = valued.unwrap_or_default();
        let inputs = self.inputs(workload, key, &destination, made, &valued);
        let desires = legs::fold(&inputs);
        let around = Around {
            key,
            destination: &destination,
            rules: &self.rules,
            seen: &self.seen,
            hasher: &self.index.hasher,
            ledger,
        };
        let mut drafts = correlate::derive(around, &desires, &inputs);
        let revisions = revisions::fold(&inputs);
        correlate::add_revisions(&mut drafts, around, &revisions, &inputs);
        let seen = seen_of(&desires, &inputs, promotion_rank(&destination.environment, &self.rules));
        let mut standing = Standing::of(&desires, &inputs);
        let at_start = revisions.iter().rev().filter(|leg| leg.at_start);
        standing.config_written = at_start.filter_map(|leg| Some(leg.written?.interval)).next();
        let restarts = if Some(&key.container) == first {
            // A template that a revision's commit changed is no mere restart.
            let revised = |at: &&usize| revisions.iter().any(|leg| leg.version == Some(**at));
            let restarts = desires.restarts.iter().filter(|at| !revised(at));
            restarts.map(|at| workload.versions[*at].generation).collect()
        } else {
            Vec::new()
        };
        // What is desired and not applied yet: text in git may name it.
        let pending = desires.legs.iter().filter(|leg| leg.version.is_none());
        let pending = pending.map(|leg| leg.image.repository.clone()).collect();
        let told = ledger.is_some_and(|ledger| is_told(&seen, &ledger.told));
        let seen = (!told).then(|| seen.iter().map(|(leg, at)| (image_key(leg), *at)).collect());
        drop(inputs);
        Derived { destination, drafts, seen, standing, restarts, pending }
    }

    fn take_derived(
        &mut self,
        place: &Place,
        key: DestinationKey,
        derived: Derived,
        oldest: i64,
        events: &mut Vec<Event>,
    ) {
        let Derived { destination, drafts, seen, standing, restarts, pending } = derived;
        for repository in pending {
            self.users.entry(repository).or_default().insert(place.clone());
        }
        if !self.ledgers.contains_key(&key) {
            self.ledgers.insert(key.clone(), Ledger::new(destination.clone()));
            self.index.book(&key);
        }
        if let Some(seen) = seen {
            self.note_seen(&key, seen);
        }
        let needs = self.needs(&key, &destination.environment);
        let Some(ledger) = self.ledgers.get_mut(&key) else { return };
        if *ledger.needs != needs {
            ledger.needs = Arc::new(needs);
        }
        ledger.destination = destination;
        (ledger.behind_since, ledger.live) = (standing.behind_since, standing.live);
        ledger.failed = standing.failed;
        (ledger.config_written, ledger.overridden_since) =
            (standing.config_written, standing.overridden_since);
        let settle = (self.rules.settle.min * 1000.0) as i64;
        // What was told is remembered as long as it could be told again.
        ledger.restarts.retain(|generation, due| {
            restarts.contains(generation) || (due.is_none() && *generation >= oldest)
        });
        for generation in restarts {
            ledger.restarts.entry(generation).or_insert(Some(self.now + settle));
        }
        let needs = ledger.needs.clone();
        let cluster = self.clusters.get(&key.cluster);
        let bench =
            Bench::new(self.now, &self.rules, (&self.sources, &self.trees.taken), cluster, &key, &needs);
        ledger.take(drafts, &bench);
        self.judge(&key, events);
    }

    /// Nobody wants to hear of this destination any more: what is under way there is dropped, uncounted.
    fn let_go(&mut self, key: &DestinationKey) {
        self.active.remove(key);
        if let Some(ledger) = self.ledgers.get_mut(key) {
            self.index.let_go(key, ledger);
            ledger.entries.retain(|entry| entry.journey.settled);
            ledger.behind_since = None;
            ledger.failed = false;
        }
    }

    /// The release that makes a workload.
    fn made<'a>(&'a self, workload: &'a WorkloadState, key: &'a DestinationKey) -> Option<Made<'a>> {
        let release = self.clusters.get(&key.cluster)?.engines.release_of(workload)?;
        Some(Made {
            by: &release.now.key,
            workload,
            values_from: release.applier().map_or(&[], |role| &role.values_from),
            registries: &self.registries,
            cluster: &key.cluster,
        })
    }

    fn inputs<'a>(
        &'a self,
        workload: &'a WorkloadState,
        key: &'a DestinationKey,
        destination: &Destination,
        made: Option<Made<'a>>,
        valued: &'a Valued,
    ) -> Inputs<'a> {
        let image = workload.versions.last().and_then(|version| version.read(&key.container));
        let mut repositories: Vec<&Repository> = Vec::new();
        let named = workload.versions.iter().filter_map(|version| version.read(&key.container));
        for ImageRef { repository, .. } in named {
            if !repositories.contains(&repository) {
                repositories.push(repository);
            }
        }
        let engines = self.clusters.get(&key.cluster).map(|cluster| &cluster.engines);
        let (mut changes, mut elsewhere) =
            self.trees.of(workload, key, image, &repositories, &destination.environment, made);
        for (list, values) in [(&mut changes, &valued.changes), (&mut elsewhere, &valued.elsewhere)] {
            if !values.is_empty() {
                list.splice(0..0, values);
                list.sort_by_key(|change| change.at.interval.not_after);
            }
        }
        let mut selections = self.registries.selections(&repositories, &destination.environment);
        // A policy is meant for this container where it stands on the very field that sets it.
        if repositories.iter().any(|repository| self.registries.has_policy(repository)) {
            let mut markers: Vec<&Arc<str>> = self
                .trees
                .markers(key, image, &destination.environment, made)
                .chain(&valued.markers)
                .collect();
            markers.sort_unstable();
            markers.dedup();
            for (marker, repository) in
                markers.iter().flat_map(|marker| repositories.iter().map(move |of| (marker, of)))
            {
                let policy = self.registries.policy(repository, &key.cluster, marker);
                selections.extend(policy.into_iter().flat_map(|policy| &policy.selections));
            }
        }
        // Only a text without an object asks for it.
        let asked = changes.iter().any(|change| matches!(change.slot, git::Slot::Text { .. }));
        let alone = asked && image.is_none_or(|image| self.is_alone(&image.repository, key, destination));
        Inputs {
            workload,
            container: &key.container,
            registries: &self.registries,
            changes,
            elsewhere,
            selections,
            alone,
            config_maps: self.clusters.get(&key.cluster).map(|cluster| &cluster.config_maps),
            engines,
            taken: &self.trees.taken,
            unseen: valued.unseen.as_ref(),
            releases: Releases::of(engines, workload),
        }
    }

    /// No other destination of the environment uses the repository.
    fn is_alone(&self, repository: &Repository, key: &DestinationKey, destination: &Destination) -> bool {
        let same = |(cluster, object): &Place| {
            (cluster, object) != (&key.cluster, &key.workload)
                && self.environment_of(cluster, object).as_deref() == Some(&*destination.environment)
        };
        !self.users.get(repository).is_some_and(|users| users.iter().any(same))
    }

    pub(super) fn environment_of(&self, cluster: &ClusterUid, object: &ObjectKey) -> Option<Arc<str>> {
        let state = self.clusters.get(cluster)?;
        let workload = state.workloads.get(object).filter(|workload| workload.removed.is_none())?;
        let name = state.name.as_ref().unwrap_or(cluster);
        Some(environment(name, &workload.now, &self.rules))
    }

    /// Remembers when this destination desired and ran what; others whose open journeys care are derived again.
    fn note_seen(&mut self, key: &DestinationKey, seen: Vec<(ImageKey, SeenAt)>) {
        for (image, at) in &seen {
            let known = self.seen.get_mut(image).and_then(|by| by.get_mut(key));
            match known {
                Some(known) if *known == *at => continue,
                Some(known) => *known = *at,
                None => self.remember_seen(key, image, *at, &seen),
            }
            let by = self.seen.get(image).into_iter().flat_map(|by| by.keys());
            for other in by.filter(|other| *other != key && self.active.contains(*other)) {
                self.dirty.insert((other.cluster.clone(), other.workload.clone()));
            }
        }
        if let Some(ledger) = self.ledgers.get_mut(key) {
            ledger.told = seen;
        }
    }
}

/// What one destination was derived to be.
struct Derived {
    destination: Destination,
    drafts: Vec<Draft>,
    /// Absent where others were told the same before.
    seen: Option<Vec<(ImageKey, SeenAt)>>,
    standing: Standing,
    restarts: Vec<i64>,
    pending: Vec<Repository>,
}

/// Each image that is or was desired, in order, with one of its legs.
fn seen_of<'a>(desires: &Desires<'a>, inputs: &Inputs<'_>, rank: Option<usize>) -> Vec<(Leg<'a>, SeenAt)> {
    let all = desires.legs.iter().map(|leg| {
        let live = leg.completion(inputs).map(|complete| complete.learned);
        let at = SeenAt {
            desired: if leg.baseline { Time::MIN } else { leg.opened.not_after },
            live: if leg.baseline { leg.ran_at_start(inputs).then_some(Time::MIN) } else { live },
            rank,
        };
        (*leg, at)
    });
    let mut all: Vec<(Leg<'a>, SeenAt)> = all.collect();
    all.sort_by(|(left, _), (right, _)| by_image(left, right));
    all.dedup_by(|(leg, at), (kept, known)| {
        let same = by_image(leg, kept).is_eq();
        if same {
            known.desired = known.desired.min(at.desired);
            known.live = match (known.live, at.live) {
                (Some(known), Some(now)) => Some(known.min(now)),
                (known, now) => known.or(now),
            };
        }
        same
    });
    all
}

/// The order of [`image_key`]s, without making them.
fn by_image(left: &Leg<'_>, right: &Leg<'_>) -> Ordering {
    match (left.digest, right.digest) {
        (Some(left), Some(right)) => left.cmp(right),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.image.cmp(right.image),
    }
}

fn is_told(seen: &[(Leg<'_>, SeenAt)], told: &[(ImageKey, SeenAt)]) -> bool {
    let same = |((leg, at), (image, known)): (&(Leg<'_>, SeenAt), &(ImageKey, SeenAt))| {
        at == known
            && match (leg.digest, image) {
                (Some(digest), ImageKey::Digest(known)) => digest == known,
                (None, ImageKey::Text(known)) => leg.image == known,
                (Some(_), ImageKey::Text(_)) | (None, ImageKey::Digest(_)) => false,
            }
    };
    seen.len() == told.len() && seen.iter().zip(told).all(same)
}

/// What runs, and since when something newer is wanted.
struct Standing {
    behind_since: Option<Time>,
    live: Option<(ImageRef, Option<Digest>, Time)>,
    config_written: Option<Interval>,
    overridden_since: Option<Time>,
    failed: bool,
}

impl Standing {
    fn of(desires: &Desires, inputs: &Inputs<'_>) -> Self {
        let live_at = |leg: &Leg<'_>| match (leg.live(inputs), leg.baseline) {
            (Some(live), false) => Some(live.interval.not_after),
            (_, true) => leg.ran_at_start(inputs).then_some(Time::MIN),
            (None, false) => None,
        };
        let runs = desires
            .legs
            .iter()
            .enumerate()
            .filter_map(|(at, leg)| Some((leg.version?, live_at(leg)?, at)))
            .max();
        let live = runs.map(|(_, at, index)| {
            let leg = &desires.legs[index];
            (leg.image.clone(), leg.digest.cloned(), at)
        });
        let mut behind_since = None;
        let mut next = desires.current;
        while let Some(at) = next {
            let leg = &desires.legs[at];
            let continues =
                at == desires.current.unwrap_or(at) || matches!(leg.ended, Some((Outcome::Superseded, _)));
            if live_at(leg).is_some() || !continues {
                break;
            }
            behind_since = Some(leg.opened.not_after);
            next = leg.previous;
        }
        let overridden_since = desires.overridden_since(inputs);
        let current = desires.current.map(|at| &desires.legs[at]);
        let failed = current.is_some_and(|leg| live_at(leg).is_none() && leg.failed(inputs).is_some());
        Self { behind_since, live, config_written: None, overridden_since, failed }
    }
}
