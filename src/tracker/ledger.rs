//! The book of one destination: its journeys as derived now, what was said of them, what is settled.
//!
//! Derivation may be repeated at will; the ledger makes sure that a settled journey never changes and is
//! never counted again, and that every change is told once.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::correlate::{Draft, ImageKey};
use super::event::Event;
use super::journey::{Destination, Journey, JourneyId, Outcome, Reason, Stuck};
use super::judge::{self, Phase, Waits, phase};
use super::source::ScopeId;
use super::stage::Stage;
use super::told::Told;
use super::workload::WorkloadState;
use crate::image::{Digest, ImageRef};
use crate::observation::{Interval, Time};

/// Settled journeys kept per destination for the page and the API.
const SETTLED_KEPT_MAX: usize = 50;

/// One journey in the book.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    pub journey: Journey,
    causes: Vec<String>,
    previous: Option<JourneyId>,
    /// UID of the workload and generation of the template that carried it when it was last derived.
    born: Option<(Arc<str>, i64)>,
    /// Versions of the template that carry it, as last derived.
    versions: Option<(usize, usize)>,
    /// A write of a ConfigMap applies it.
    by_config_map: bool,
    /// Since when it waits at its stage, predecessors included.
    waits: Option<Waits>,
    /// Why it was stuck last; a successor that was applied a moment ago has no pods to tell yet.
    last_reason: Option<Reason>,
    /// Time of gaps and holds that does not count against the budget, as last judged.
    paused_seconds: f64,
    /// When its outcome was first known here; the settle window runs from the later of this and the outcome.
    learned: Option<(Outcome, Time)>,
    told: Told,
}

/// What a journey leaves to its successor.
#[derive(Debug, Clone, Copy)]
struct Inherited {
    waits: Waits,
    reason: Option<Reason>,
}

/// A controller makes the first pod of a new template within this time.
const PODS_APPEAR_MILLIS: i64 = 10_000;

/// See the file's front line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ledger {
    pub destination: Destination,
    pub entries: Vec<Entry>,
    /// Oldest desire newer than what runs.
    pub behind_since: Option<Time>,
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
}

impl Ledger {
    /// An empty book.
    #[must_use]
    pub fn new(destination: Destination) -> Self {
        Self {
            destination,
            entries: Vec::new(),
            behind_since: None,
            live: None,
            config_written: None,
            overridden_since: None,
            restarts: BTreeMap::new(),
            needs: Arc::default(),
            seen: VecDeque::new(),
        }
    }

    /// Whether anything here still depends on time.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.entries.iter().any(|entry| !entry.journey.settled) || self.restarts.values().any(Option::is_some)
    }

    /// The causes of what is settled: it need not be derived again.
    #[must_use]
    pub fn settled_causes(&self) -> HashSet<&str> {
        let settled = self.entries.iter().filter(|entry| entry.journey.settled);
        settled.flat_map(|entry| &entry.causes).map(String::as_str).collect()
    }

    /// Takes what was derived now.
    pub fn take(&mut self, drafts: Vec<Draft>, bench: &Bench<'_>) {
        let mut old: VecDeque<Entry> = std::mem::take(&mut self.entries).into();
        let mut fresh: Vec<Entry> = Vec::new();
        let mut ids: Vec<Option<JourneyId>> = Vec::new();
        let mut derived = BTreeSet::new();
        for draft in drafts {
            let previous = draft.previous.and_then(|at| ids[at]);
            let common = |entry: &Entry| entry.causes.iter().any(|cause| draft.causes.contains(cause));
            let mut matching = Vec::new();
            while let Some(at) = old.iter().position(common) {
                // Nearly always the first: both are in order.
                matching.extend(old.remove(at));
            }
            // A settled one is final; of several that turn out to be one, it stays and the others were never counted.
            let settled = matching.iter().position(|entry| entry.journey.settled);
            let entry = match settled {
                Some(at) => {
                    let mut entry = matching.swap_remove(at);
                    entry.previous = previous;
                    // Causes fall out of memory one by one; each must still find it.
                    let new = draft.causes.into_iter().filter(|cause| !entry.causes.contains(cause));
                    let new: Vec<String> = new.collect();
                    entry.causes.extend(new);
                    entry
                }
                None => {
                    let outcome = draft.journey.as_ref().and_then(|journey| journey.outcome);
                    let removed = outcome == Some(Outcome::Removed);
                    let born = bench.workload.and_then(|workload| {
                        let generation = match draft.versions {
                            Some((first, _)) => workload.versions.get(first)?.generation,
                            // Nothing carried it, and its workload is gone: a namesake must not take it along.
                            None if removed => workload.now.generation,
                            None => return None,
                        };
                        Some((workload.now.uid.clone(), generation))
                    });
                    let Some(entry) = Entry::renew(matching, draft, previous, bench.now) else {
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
            if entry.journey.settled || entry.outlives(bench) {
                fresh.push(entry);
            }
        }
        fresh.sort_by_key(|entry| entry.journey.opened.not_after);
        self.entries = fresh;
        // One that is still derived must be kept, or it would be taken for new and counted again.
        let old = |entry: &Entry| entry.journey.settled && !derived.contains(&entry.journey.id);
        let mut surplus =
            self.entries.iter().filter(|entry| old(entry)).count().saturating_sub(SETTLED_KEPT_MAX);
        self.entries.retain(|entry| {
            let keep = surplus == 0 || !old(entry);
            surplus -= usize::from(!keep);
            keep
        });
    }

    /// Judges every open journey at this moment, settles what is due, and tells what changed.
    pub fn judge(&mut self, bench: &Bench<'_>, events: &mut Vec<Event>) {
        let mut chain: BTreeMap<JourneyId, Inherited> = BTreeMap::new();
        for entry in &mut self.entries {
            if !entry.journey.settled {
                entry.judge(bench, &chain, &self.destination);
                entry.told.tell(&entry.journey, events);
                if entry.settle_at(bench).is_some_and(|at| at <= bench.now) {
                    entry.journey.settled = true;
                    events.push(Event::Settled(Box::new(entry.journey.clone())));
                }
            }
            if let (Some(waits), Some(Outcome::Superseded) | None) = (entry.waits, entry.journey.outcome) {
                let reason = entry.last_reason;
                chain.insert(entry.journey.id, Inherited { waits, reason });
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

    /// Whether one that has ended waits for watches to be heard: the next look may settle it.
    #[must_use]
    pub fn is_unheard(&self, bench: &Bench<'_>) -> bool {
        let waits = |entry: &Entry| entry.learned.is_some() && entry.settle_at(bench).is_none();
        self.entries.iter().any(|entry| !entry.journey.settled && waits(entry))
    }

    /// Whether held time runs for an open journey, so that its figure is another one at every moment.
    #[must_use]
    pub fn is_held(&self, bench: &Bench<'_>) -> bool {
        let held = |workload: &WorkloadState| {
            let last = workload.versions.last().and_then(|version| version.holds.last());
            last.is_some_and(|span| span.until.is_none())
        };
        bench.workload.is_some_and(held) && self.entries.iter().any(|entry| entry.journey.is_open())
    }

    /// The next moment at which judging can change something.
    #[must_use]
    pub fn next(&self, bench: &Bench<'_>) -> Option<(Time, super::event::Wait)> {
        use super::event::Wait;
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
            } else if let (Some(waits), None, None) = (entry.waits, &entry.journey.blind, entry.journey.held)
            {
                at_least(judge::over(&waits, waits.since, entry.paused_seconds), Wait::Budget);
            }
            if let (Some(applied), Some(_)) = (entry.applied(bench), entry.journey.stuck) {
                at_least(applied + PODS_APPEAR_MILLIS, Wait::Budget);
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

impl Entry {
    fn renew(matching: Vec<Self>, draft: Draft, previous: Option<JourneyId>, now: Time) -> Option<Self> {
        let mut entry = Self {
            causes: draft.causes,
            previous,
            born: None,
            versions: draft.versions,
            by_config_map: draft.by_config_map,
            waits: None,
            last_reason: None,
            paused_seconds: 0.0,
            learned: None,
            told: Told::default(),
            journey: draft.journey?,
        };
        for old in matching {
            if old.journey.id != entry.journey.id && !entry.journey.aliases.contains(&old.journey.id) {
                entry.journey.aliases.push(old.journey.id);
            }
            // What was stuck stays so until it is judged afresh.
            entry.journey.stuck = entry.journey.stuck.or(old.journey.stuck);
            entry.learned = entry.learned.or(old.learned);
            entry.last_reason = entry.last_reason.or(old.last_reason);
            // Forgotten is said by time alone, so deriving anew does not know of it.
            if old.journey.outcome == Some(Outcome::Unknown) && entry.journey.outcome.is_none() {
                (entry.journey.outcome, entry.journey.ended) = (old.journey.outcome, old.journey.ended);
            }
            if !entry.told.opened {
                entry.told = old.told;
            }
        }
        match (entry.journey.outcome, entry.learned) {
            (None, _) => entry.learned = None,
            (Some(outcome), Some((known, _))) if known == outcome => {}
            (Some(outcome), _) => entry.learned = Some((outcome, now)),
        }
        Some(entry)
    }

    /// Whether a journey that is derived no longer was real: its workload is gone, or its template fell out of
    /// memory. Anything else was a misreading of few facts.
    fn outlives(&mut self, bench: &Bench<'_>) -> bool {
        let Some((uid, generation)) = &self.born else { return false };
        let workload =
            bench.workload.filter(|workload| workload.now.uid == *uid && workload.removed.is_none());
        let outcome = match workload {
            None => Outcome::Removed,
            Some(workload) if workload.versions.first().is_some_and(|v| *generation < v.generation) => {
                Outcome::Unknown
            }
            Some(_) => return false,
        };
        if self.journey.outcome.is_none() {
            self.finish(outcome, Interval::at(bench.now), bench.now);
        }
        true
    }

    fn finish(&mut self, outcome: Outcome, at: Interval, now: Time) {
        self.journey.outcome = Some(outcome);
        self.journey.ended = Some(at);
        self.learned = Some((outcome, now));
    }

    fn judge(
        &mut self,
        bench: &Bench<'_>,
        chain: &BTreeMap<JourneyId, Inherited>,
        destination: &Destination,
    ) {
        let Some(workload) = bench.workload else {
            self.journey.stuck = None;
            self.journey.held = None;
            return;
        };
        let applied = self.applied(bench);
        let journey = &mut self.journey;
        let holds = judge::hold_spans(workload.versions.iter().flat_map(|version| &version.holds), bench.now);
        if let (Some(_), Some(applied)) = (self.versions, applied) {
            let ended = journey.ended.map(|ended| workload.on_our_clock(ended));
            let until = ended.map_or(bench.now, |ended| ended.not_before.max(applied));
            journey.held_seconds = judge::covered(&holds, applied, until);
        }
        let mut waits =
            judge::waits(journey, applied, &bench.rules.budgets, workload.now.budget_live_seconds);
        let before = self.previous.and_then(|previous| chain.get(&previous));
        let inherited_reason = before.and_then(|before| before.reason);
        if let Some(before) = before
            && phase(before.waits.stage) == phase(waits.stage)
        {
            waits.since = waits.since.min(before.waits.since);
        }
        self.waits = Some(waits);
        if !journey.is_open() {
            (journey.stuck, journey.held, journey.blind) = (None, None, None);
            return;
        }
        let config_maps = Some(&bench.needs.config_maps).filter(|_| self.by_config_map);
        let needs: Vec<ScopeId> = match phase(waits.stage) {
            Phase::Commit => bench.needs.git.iter().chain(&bench.needs.registry).cloned().collect(),
            Phase::Apply => {
                bench.needs.git.iter().chain(&bench.needs.cluster).chain(config_maps).cloned().collect()
            }
            Phase::Roll => bench.needs.cluster.clone(),
        };
        journey.blind = judge::blind(bench.sources, &needs, bench.now);
        if journey.blind.is_some() {
            // One page, source down: what was stuck stays stuck, nothing new is said.
            self.forget(bench);
            return;
        }
        journey.held = if applied.is_some() { judge::held(workload, applied, bench.now) } else { None };
        if journey.held.is_some() {
            journey.stuck = None;
            return;
        }
        let gaps = judge::gaps(bench.sources, &needs);
        let after_gap = judge::covered(&gaps, waits.since, bench.now) > 0.0;
        let spans: Vec<(Time, Time)> = gaps.into_iter().chain(holds).collect();
        let paused = judge::covered(&spans, waits.since, bench.now);
        self.paused_seconds = paused;
        let over = judge::over(&waits, waits.since, paused);
        let gave_up = self
            .versions
            .and_then(|(_, version)| workload.versions.get(version)?.deadline_exceeded)
            .filter(|_| phase(waits.stage) == Phase::Roll);
        let since = match (over <= bench.now, gave_up) {
            (true, Some(gave_up)) => Some(over.min(gave_up)),
            (true, None) => Some(over),
            (false, gave_up) => gave_up,
        };
        let known = self.journey.stuck.filter(|known| phase(known.stage) == phase(waits.stage));
        // What was stuck before a gap stays stuck until something moves; the gap only gives no new verdict.
        let since = since.or(known.filter(|_| after_gap).map(|known| known.since));
        self.journey.stuck = since.map(|since| Stuck {
            since: known.map_or(since, |known| known.since),
            ..judge::stuck(&waits, since, workload, &destination.container)
        });
        let just_applied = applied.is_some_and(|applied| bench.now < applied + PODS_APPEAR_MILLIS);
        if let (Some(stuck), Some(reason), true) = (&mut self.journey.stuck, inherited_reason, just_applied)
            && stuck.reason == Reason::NoPods
        {
            stuck.reason = reason;
        }
        self.last_reason = self.journey.stuck.map(|stuck| stuck.reason).or(self.last_reason);
    }

    /// Blind for longer than anybody remembers: nothing can be decided any more.
    fn forget(&mut self, bench: &Bench<'_>) {
        let last = bench.needs.cluster.iter().filter_map(|key| bench.sources.get(*key)?.last_finished).min();
        let limit = (bench.rules.settle.forget_after * 1000.0) as i64;
        if let Some(last) = last.filter(|last| *last + limit <= bench.now) {
            self.finish(Outcome::Unknown, Interval::new(last, bench.now), bench.now);
            self.journey.stuck = None;
        }
    }

    /// When its numbers may be given: a window after its outcome, and never while its cluster is blind.
    fn settle_at(&self, bench: &Bench<'_>) -> Option<Time> {
        let (outcome, learned) = self.learned?;
        let limit = (bench.rules.settle.forget_after * 1000.0) as i64;
        let blind = judge::stale(bench.sources, &bench.needs.cluster, bench.now).is_some()
            && bench.now < learned + limit;
        if blind && outcome != Outcome::Unknown {
            return None;
        }
        // What its cluster told itself needs no other look.
        let own = |ended: &Interval| bench.workload.is_none_or(|workload| workload.told(*ended));
        let foreign = self.journey.ended.filter(|ended| outcome != Outcome::Live && !own(ended));
        if foreign.is_some_and(|ended| !judge::heard_since(bench.sources, &bench.needs.cluster, ended))
            && bench.now < learned + limit
        {
            return None;
        }
        let rule = &bench.rules.settle;
        let slowest = bench
            .needs
            .git
            .iter()
            .chain(&bench.needs.registry)
            .filter_map(|key| bench.sources.get(*key))
            .filter(|status| status.is_fresh(bench.now))
            .map(|status| status.interval_seconds)
            .fold(0.0, f64::max);
        let window = (2.0 * slowest).max(rule.min).min(rule.max);
        // On our clock: the outcome's own time may be of a clock that is hours ahead.
        Some(learned + (window * 1000.0) as i64)
    }

    /// When its template was written, on our clock.
    fn applied(&self, bench: &Bench<'_>) -> Option<Time> {
        let told = self.journey.stages.evidence(Stage::Applied)?;
        let version = self.versions.and_then(|(first, _)| bench.workload?.versions.get(first));
        Some(version.map_or(told.interval, |version| version.ours).not_after)
    }
}
