//! The book of one destination: its journeys as derived now, what was said of them, what is settled.
//!
//! Derivation may be repeated at will; the ledger makes sure that a settled journey never changes and is
//! never counted again, and that every change is told once.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::cause::Numbered;
use super::correlate::{Draft, ImageKey, SeenAt};
use super::entry::{Entry, Inherited};
use super::event::{Event, Wait};
use super::journey::{Destination, JourneyId, Outcome};
use super::kept::KEPT_MILLIS;
use super::maps::Set;
use super::workload::WorkloadState;
use crate::image::{Digest, ImageRef};
use crate::observation::{Interval, Time};

/// Settled journeys kept per destination for the page and the API.
const SETTLED_KEPT_MAX: usize = 50;

/// See the file's front line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ledger {
    pub destination: Destination,
    pub entries: Vec<Entry>,
    /// Oldest desire newer than what runs.
    pub behind_since: Option<Time>,
    /// What it desires was given up.
    pub failed: bool,
    /// What was last live.
    pub live: Option<(ImageRef, Option<Digest>, Time)>,
    /// When ConfigMaps that containers read only at their start were last written for a commit.
    pub config_written: Option<Interval>,
    /// Since when a commit disagrees with what the policy last selected.
    pub overridden_since: Option<Time>,
    /// Restarts by generation, until they are told.
    pub restarts: BTreeMap<i64, Option<Time>>,
    /// As last derived. Follows from the rest.
    #[serde(skip)]
    pub needs: Arc<super::bench::Needs>,
    /// Images that it desired, in the order they were first seen here.
    pub seen: VecDeque<ImageKey>,
    /// What it desires and runs, as last derived and told to others. Follows from the rest.
    #[serde(skip)]
    pub told: Vec<(ImageKey, SeenAt)>,
    /// Numbers of the causes of what is settled.
    #[serde(skip)]
    settled: Set<u64>,
    #[serde(skip)]
    pub marks: Marks,
}

/// Where a destination stands in the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    pub deadline: Option<(Time, Wait)>,
    pub held: bool,
    pub stuck: bool,
    pub unheard: bool,
}

impl Ledger {
    /// An empty book.
    #[must_use]
    pub fn new(destination: Destination) -> Self {
        Self {
            destination,
            entries: Vec::new(),
            behind_since: None,
            failed: false,
            live: None,
            config_written: None,
            overridden_since: None,
            restarts: BTreeMap::new(),
            needs: Arc::default(),
            seen: VecDeque::new(),
            told: Vec::new(),
            settled: Set::default(),
            marks: Marks::default(),
        }
    }

    /// Whether anything here still depends on time.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.entries.iter().any(|entry| !entry.journey.settled) || self.restarts.values().any(Option::is_some)
    }

    /// Whether a cause is of what is settled: that need not be derived again.
    #[must_use]
    pub fn is_settled(&self, number: u64) -> bool {
        self.settled.contains(&number)
    }

    /// The causes of what is settled, as far as they have no number: nobody derived them since they were stored.
    #[must_use]
    pub fn unnumbered(&self) -> HashSet<&str> {
        let settled = self.entries.iter().filter(|entry| entry.is_unnumbered() && entry.journey.settled);
        settled.flat_map(|entry| &entry.causes).map(String::as_str).collect()
    }

    /// The numbers and ids of an open journey with just these causes.
    #[must_use]
    pub fn open_numbers(&self, numbers: &[Numbered]) -> Option<&[(u64, JourneyId)]> {
        let same = |entry: &&Entry| {
            entry.numbers.iter().map(|(number, _)| *number).eq(numbers.iter().map(|number| number.of))
        };
        let mut open = self.entries.iter().rev().filter(|entry| !entry.journey.settled);
        open.find(same).map(|entry| &*entry.numbers)
    }

    /// Takes what was derived now.
    pub fn take(&mut self, drafts: Vec<Draft>, bench: &Bench<'_>) {
        let mut old: VecDeque<Entry> = std::mem::take(&mut self.entries).into();
        let mut fresh: Vec<Entry> = Vec::with_capacity(old.len() + 1);
        let mut ids: Vec<Option<JourneyId>> = Vec::new();
        let mut derived = Set::default();
        for draft in drafts {
            let previous = draft.previous.and_then(|at| ids[at]);
            let mut matching = Vec::new();
            while let Some(at) = old.iter().position(|entry| entry.is_of(&draft.causes)) {
                // Nearly always the first: both are in order.
                matching.extend(old.remove(at));
                if matching.last().is_some_and(|entry| entry.has_all(&draft.causes)) {
                    // No two have a cause in common.
                    break;
                }
            }
            // A settled one is final; of several that turn out to be one, it stays and the others were never counted.
            let settled = matching.iter().position(|entry| entry.journey.settled);
            let entry = match settled {
                Some(at) => {
                    let mut entry = matching.swap_remove(at);
                    entry.previous = previous;
                    if !draft.causes.settled {
                        entry.learn(draft.causes);
                        self.settled.extend(entry.numbers.iter().map(|(number, _)| *number));
                    }
                    entry
                }
                None => {
                    let outcome = draft.journey.as_ref().and_then(|journey| journey.outcome);
                    let removed = outcome == Some(Outcome::Removed);
                    let born = bench.workload.and_then(|workload| {
                        let generation = match (draft.versions, draft.scaled) {
                            (Some((first, _)), _) => workload.versions.get(first)?.generation,
                            (None, Some((_, generation))) => generation,
                            // Nothing carried it, and its workload is gone: a namesake must not take it along.
                            (None, None) if removed => workload.now.generation,
                            (None, None) => return None,
                        };
                        Some((workload.now.uid.clone(), generation))
                    });
                    let Some(entry) = Entry::renew(matching, draft, previous, bench) else {
                        ids.push(None);
                        continue;
                    };
                    Entry { born, ..entry }
                }
            };
            derived.insert(entry.journey.id);
            ids.push(Some(entry.journey.id));
            fresh.push(entry);
        }
        for mut entry in old {
            if entry.journey.settled || entry.outlives(&fresh, bench) {
                fresh.push(entry);
            }
        }
        fresh.sort_by_key(|entry| entry.journey.opened.not_after);
        self.entries = fresh;
        // One that is still derived must be kept, or it would be taken for new and counted again.
        let old = |entry: &Entry| entry.journey.settled && !derived.contains(&entry.journey.id);
        if self.entries.len() <= SETTLED_KEPT_MAX {
            return;
        }
        let mut surplus =
            self.entries.iter().filter(|entry| old(entry)).count().saturating_sub(SETTLED_KEPT_MAX);
        let settled = &mut self.settled;
        self.entries.retain(|entry| {
            let keep = surplus == 0 || !old(entry);
            if !keep {
                surplus -= 1;
                for (number, _) in &entry.numbers {
                    settled.remove(number);
                }
            }
            keep
        });
    }

    /// A policy is deleted. True if something on its way was wanted by it.
    pub fn leave(&mut self, policy: &str, at: Interval) -> bool {
        self.entries.iter_mut().map(|entry| entry.leave(policy, at)).filter(|wanted| *wanted).count() > 0
    }

    /// Judges every open journey at this moment, settles what is due, and tells what changed.
    pub fn judge(&mut self, bench: &Bench<'_>, events: &mut Vec<Event>) {
        let mut chain: BTreeMap<JourneyId, Inherited<'_>> = BTreeMap::new();
        for entry in &mut self.entries {
            if !entry.journey.settled {
                entry.judge(bench, &chain, &self.destination);
                entry.told.tell(&entry.journey, events);
                if entry.settle_at(bench).is_some_and(|at| at <= bench.now) {
                    Arc::make_mut(&mut entry.journey).settled = true;
                    self.settled.extend(entry.numbers.iter().map(|(number, _)| *number));
                    events.push(Event::Settled(Box::new((*entry.journey).clone())));
                }
            }
            if let (Some(waits), Some(Outcome::Superseded) | None) = (entry.waits, entry.journey.outcome) {
                let (journey, stuck) = (&*entry.journey, entry.last_stuck);
                chain.insert(journey.id, Inherited { journey, waits, stuck });
            }
        }
        for due in self.restarts.values_mut() {
            if due.is_some_and(|at| at <= bench.now) {
                *due = None;
                events.push(Event::Restarted { destination: Box::new(self.destination.clone()) });
            }
        }
    }

    /// Whether an open journey of it has a verdict that a pod can change.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.entries.iter().any(|entry| entry.journey.is_open() && entry.journey.stuck.is_some())
    }

    /// Whether one waits for looks: the next may settle what has ended, or decide that what is late is stuck.
    #[must_use]
    pub fn is_unheard(&self, bench: &Bench<'_>) -> bool {
        let ended = |entry: &Entry| entry.learned.is_some() && entry.settle_at(bench).is_none();
        let waits = |entry: &Entry| ended(entry) || entry.is_unheard(bench);
        self.entries.iter().any(|entry| !entry.journey.settled && waits(entry))
    }

    /// Whether held time runs for an open journey, so that its figure is another one at every moment.
    #[must_use]
    pub fn is_held(&self, bench: &Bench<'_>) -> bool {
        let held = |workload: &WorkloadState| {
            let last = workload.versions.last().and_then(|version| version.holds.last());
            last.is_some_and(|span| span.until.is_none())
        };
        let open = || self.entries.iter().filter(|entry| entry.journey.is_open());
        bench.workload.is_some_and(held) && open().next().is_some()
            || open().any(|entry| entry.journey.held.is_some())
    }

    /// The next moment at which judging can change something.
    #[must_use]
    pub fn next(&self, bench: &Bench<'_>) -> Option<(Time, Wait)> {
        let mut next: Option<(Time, Wait)> = None;
        let mut at_least = |at: Time, why: Wait| {
            if at > bench.now && next.is_none_or(|(known, _)| at < known) {
                next = Some((at, why));
            }
        };
        for entry in self.entries.iter().filter(|entry| !entry.journey.settled) {
            if let Some(at) = entry.settle_at(bench) {
                at_least(at, Wait::Settle);
            } else if let Some((_, learned)) = entry.learned {
                at_least(learned + (bench.rules.settle.forget_after * 1000.0) as i64, Wait::Forget);
            } else if let (Some(over), None, None) = (entry.over, &entry.journey.blind, entry.journey.held) {
                at_least(over, Wait::Budget);
            }
            if let (Some(late), Some(_)) = (entry.late, entry.journey.stuck) {
                at_least(late, Wait::Budget);
            }
            if let Some(kept) = entry.journey.stuck.and_then(|stuck| stuck.kept) {
                at_least(kept + KEPT_MILLIS, Wait::Budget);
            }
            if let Some(until) = entry.journey.held.and_then(|held| held.until) {
                at_least(until, Wait::Schedule);
            }
            let config_maps = Some(&bench.needs.config_maps).filter(|_| entry.by_config_map);
            for key in bench
                .needs
                .cluster
                .iter()
                .chain(&*bench.needs.git)
                .chain(&bench.needs.registry)
                .chain(config_maps)
                .chain(bench.needs.engines.iter().map(|(_, scope)| scope))
            {
                if let Some(status) = bench.sources.get(*key) {
                    if let Some(stale) = status.stale_at() {
                        at_least(stale, Wait::Freshness);
                    }
                    if let Some(last) = status.last_finished {
                        at_least(last + (bench.rules.settle.forget_after * 1000.0) as i64, Wait::Forget);
                    }
                    if let Some((_, grace)) = status.gaps.last() {
                        at_least(*grace, Wait::Freshness);
                    }
                }
            }
        }
        for at in self.restarts.values().flatten() {
            at_least(*at, Wait::Settle);
        }
        next
    }
}
