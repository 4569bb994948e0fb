//! One journey in the book of its destination: what is remembered of it between two derivations.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::cause::Causes;
use super::correlate::Draft;
use super::engine::{Releases, Traveller};
use super::journey::{Destination, Held, Hold, Journey, JourneyId, Outcome, Reason, Stuck, Subject};
use super::judge::{self, Phase, Waits, phase};
use super::kept;
use super::next::{Does, Next};
use super::pods;
use super::source::ScopeId;
use super::stage::Stage;
use super::told::Told;
use super::workload::{Version, WorkloadState, budgets};
use crate::observation::{EngineKind, Interval, Time};

/// One journey in the book.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Shared with whoever reads it; it is copied where it changes while somebody does.
    pub journey: Arc<Journey>,
    pub(super) causes: Vec<String>,
    /// Numbers of those of its causes that were derived by this process, and the ids that they make.
    #[serde(skip)]
    pub(super) numbers: Vec<(u64, JourneyId)>,
    pub(super) previous: Option<JourneyId>,
    /// UID of the workload and generation of the template that carried it when it was last derived.
    pub(super) born: Option<(Arc<str>, i64)>,
    /// Versions of the template that carry it, as last derived.
    pub(super) versions: Option<(usize, usize)>,
    /// A write of a ConfigMap applies it.
    pub(super) by_config_map: bool,
    /// See [`Draft::scaled`].
    pub(super) scaled: Option<(Interval, i64)>,
    /// The policy that is named on the field that names its image.
    pub(super) marker: Option<Arc<str>>,
    /// An entry of `images:` names it.
    pub(super) by_images: bool,
    /// A ConfigMap that a release takes values from names it.
    pub(super) by_values: bool,
    /// Since when it waits at its stage, predecessors included.
    pub(super) waits: Option<Waits>,
    /// How it was stuck last; a successor that was applied a moment ago has nobody to tell why yet.
    pub(super) last_stuck: Option<Stuck>,
    /// When its time is over, as last judged.
    pub(super) over: Option<Time>,
    /// When a hand that it waits for comes to be late, as last judged.
    pub(super) late: Option<Time>,
    /// When the policy was deleted that wanted it, before anything carried it.
    pub(super) left: Option<Interval>,
    /// When its outcome was first known here; the settle window runs from the later of this and the outcome.
    pub(super) learned: Option<(Outcome, Time)>,
    pub(super) told: Told,
}

/// What a journey leaves to its successor.
#[derive(Debug, Clone, Copy)]
pub struct Inherited<'a> {
    pub journey: &'a Journey,
    pub waits: Waits,
    pub stuck: Option<Stuck>,
}

impl Inherited<'_> {
    /// Whether it was applied after all, later than what replaced it was named: the hands moved, each in its turn.
    fn arrived(&self, workload: &WorkloadState, destination: &Destination) -> bool {
        let carries = |version: &Version| {
            version.ours.not_before > self.waits.since
                && version.read(&destination.container) == Some(&self.journey.image)
        };
        let image = self.journey.subject == Subject::Image && phase(self.waits.stage) != Phase::Roll;
        image && workload.versions.iter().any(carries)
    }
}

impl Entry {
    /// Some cause of it was not derived since it was stored.
    #[must_use]
    pub fn is_unnumbered(&self) -> bool {
        self.numbers.len() < self.causes.len()
    }

    /// Whether it has one of these causes.
    #[must_use]
    pub fn is_of(&self, causes: &Causes) -> bool {
        let known = |number: u64| self.numbers.iter().any(|(mine, _)| *mine == number);
        causes.numbers.iter().any(|(number, _)| known(*number))
            || (self.is_unnumbered() && self.causes.iter().any(|cause| causes.texts.contains(cause)))
    }

    /// Whether it has all of these causes.
    #[must_use]
    pub fn has_all(&self, causes: &Causes) -> bool {
        let known = |number: u64| self.numbers.iter().any(|(mine, _)| *mine == number);
        causes.numbers.iter().all(|(number, _)| known(*number))
    }

    /// Causes fall out of memory one by one; each must still find it.
    pub fn learn(&mut self, causes: Causes) {
        for (number, text) in causes.numbers.into_iter().zip(causes.texts) {
            if !self.causes.contains(&text) {
                self.causes.push(text);
            }
            if !self.numbers.iter().any(|(mine, _)| *mine == number.0) {
                self.numbers.push(number);
            }
        }
    }

    pub fn renew(
        mut matching: Vec<Self>,
        draft: Draft,
        previous: Option<JourneyId>,
        bench: &Bench<'_>,
    ) -> Option<Self> {
        let Causes { numbers, mut texts, .. } = draft.causes;
        if texts.is_empty() {
            // They are in the book already.
            let known = matching.iter_mut().find(|old| old.numbers == numbers);
            texts = known.map(|old| std::mem::take(&mut old.causes)).unwrap_or_default();
        }
        let mut entry = Self {
            causes: texts,
            numbers,
            previous,
            born: None,
            versions: draft.versions,
            by_config_map: draft.by_config_map,
            scaled: draft.scaled,
            marker: draft.marker,
            by_images: draft.by_images,
            by_values: draft.by_values,
            waits: None,
            last_stuck: None,
            over: None,
            late: None,
            left: None,
            learned: None,
            told: Told::default(),
            journey: Arc::from(draft.journey?),
        };
        let journey = Arc::make_mut(&mut entry.journey);
        for old in matching {
            if old.journey.id != journey.id && !journey.aliases.contains(&old.journey.id) {
                journey.aliases.push(old.journey.id);
            }
            // What was stuck stays so until it is judged afresh.
            journey.stuck = journey.stuck.or(old.journey.stuck);
            entry.learned = entry.learned.or(old.learned);
            entry.last_stuck = entry.last_stuck.or(old.last_stuck);
            // Forgotten is said by time alone, so deriving anew does not know of it.
            if old.journey.outcome == Some(Outcome::Unknown) && journey.outcome.is_none() {
                (journey.outcome, journey.ended) = (old.journey.outcome, old.journey.ended);
            }
            if journey.outcome.is_none() && old.was_brought(bench) {
                (journey.outcome, journey.ended) = (old.journey.outcome, old.journey.ended);
                journey.stages = old.journey.stages.clone();
            }
            if !entry.told.opened {
                entry.told = old.told;
            }
        }
        match (journey.outcome, entry.learned) {
            (None, _) => entry.learned = None,
            (Some(outcome), Some((known, _))) if known == outcome => {}
            (Some(outcome), _) => entry.learned = Some((outcome, bench.now)),
        }
        Some(entry)
    }

    /// Whether it was brought by an applier that is no longer there, alone: what that said of it went with it.
    fn was_brought(&self, bench: &Bench<'_>) -> bool {
        let journey = &self.journey;
        let by_applier = journey.subject == Subject::Revision
            && self.versions.is_none()
            && self.scaled.is_none()
            && !self.by_config_map;
        let (Some(ended), Some(Outcome::Live)) = (journey.ended, journey.outcome) else { return false };
        let hands = bench.engines.zip(bench.workload);
        let applier = hands.and_then(|(engines, workload)| engines.chain(workload, None, None).applier);
        let is_younger =
            applier.is_none_or(|applier| applier.now.created.is_some_and(|made| made > ended.not_after));
        by_applier && is_younger
    }

    /// A policy is deleted. True if it wanted this one: nobody does any more, unless a commit or a template names it.
    pub fn leave(&mut self, policy: &str, at: Interval) -> bool {
        let waits = self.journey.is_open() && self.versions.is_none() && self.told.opened;
        let wanted = waits && self.marker.as_deref() == Some(policy);
        if wanted {
            self.left = Some(at);
        }
        wanted
    }

    /// Whether a journey that is derived no longer was real: the policy that wanted it is gone, or its workload, or its
    /// template fell out of memory. Anything else was a misreading of few facts, as is one that goes on as another.
    pub fn outlives(&mut self, others: &[Self], bench: &Bench<'_>) -> bool {
        if let Some(left) = self.left {
            let is_it = |other: &Self| other.journey.image == self.journey.image && !other.journey.settled;
            let goes_on = others.iter().any(is_it);
            if !goes_on && self.journey.is_open() {
                self.finish(Outcome::Withdrawn, left, bench.now);
            }
            return !goes_on;
        }
        let Some((uid, generation)) = &self.born else { return false };
        let workload =
            bench.workload.filter(|workload| workload.now.uid == *uid && workload.removed.is_none());
        let remembered = |workload: &WorkloadState| match self.scaled {
            Some(_) => workload.scales.0.first().map(|scale| scale.generation),
            None => workload.versions.first().map(|version| version.generation),
        };
        let outcome = match workload {
            None => Outcome::Removed,
            Some(workload) if remembered(workload).is_some_and(|oldest| *generation < oldest) => {
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
        let journey = Arc::make_mut(&mut self.journey);
        (journey.outcome, journey.ended) = (Some(outcome), Some(at));
        self.learned = Some((outcome, now));
    }

    pub fn judge(
        &mut self,
        bench: &Bench<'_>,
        chain: &BTreeMap<JourneyId, Inherited<'_>>,
        destination: &Destination,
    ) {
        let Some(workload) = bench.workload else {
            let journey = Arc::make_mut(&mut self.journey);
            (journey.stuck, journey.held, journey.who) = (None, None, None);
            journey.next = Next::default();
            return;
        };
        let applied = self.applied(bench);
        let is_present = self.is_present(workload);
        let journey = Arc::make_mut(&mut self.journey);
        let mut waits = judge::waits(journey, applied, &bench.rules.budgets);
        let repository = Some(&journey.image.repository);
        let hands = bench
            .engines
            .map(|engines| engines.chain(workload, repository, self.marker.as_deref()).with(bench.taken));
        let hands = hands.unwrap_or_default();
        let releases = Releases::of(bench.engines, workload);
        let taken_back = self.versions.is_some() && releases.took_back(workload.versions.len() - 1);
        let traveller =
            Traveller { journey, by_images: self.by_images, by_values: self.by_values, taken_back };
        let verdict = hands.verdict(phase(waits.stage), traveller, bench.now);
        let [committed, applied_in, live] = budgets(&workload.now);
        let (by_interval, annotated) = match phase(waits.stage) {
            Phase::Commit => (bench.rules.budgets.committed_by_interval, committed),
            Phase::Apply => (bench.rules.budgets.applied_by_interval, applied_in),
            Phase::Roll => (false, live),
        };
        // Whoever wrote one for this very workload knows best.
        let by_interval = by_interval && annotated.is_none();
        let budget = annotated.or(verdict.budget_seconds.filter(|_| by_interval));
        waits.budget_seconds = budget.unwrap_or(waits.budget_seconds);
        let mut windows = hands.holds(journey, self.by_images, bench.now);
        let learned = journey.stages.evidence(Stage::Applied).map_or(bench.now, |at| at.interval.not_after);
        let intent = journey.intent.map_or(learned, |intent| intent.not_after);
        let proposed = hands.proposed(&journey.image);
        windows.extend(proposed.iter().map(|(since, _)| (*since, intent)));
        journey.held_before_seconds = judge::covered(&windows, journey.opened.not_after, intent);
        // To have no pods is what such a one may ask for.
        let counts = |hold: Hold| hold != Hold::ScaledToZero || self.scaled.is_none();
        let holds = workload.versions.iter().flat_map(|version| &version.holds);
        let holds = judge::hold_spans(holds.filter(|span| counts(span.hold)), bench.now);
        let mut held_seconds = judge::covered(&windows, intent, learned);
        if let (true, Some(applied)) = (self.versions.is_some() || self.scaled.is_some(), applied) {
            let ended = journey.ended.map(|ended| workload.on_our_clock(ended));
            let until = ended.map_or(bench.now, |ended| ended.not_before.max(applied));
            held_seconds += judge::covered(&holds, applied, until);
        }
        journey.held_seconds = held_seconds;

        let before = self.previous.and_then(|previous| chain.get(&previous)).filter(|before| {
            phase(before.waits.stage) == phase(waits.stage) && !before.arrived(workload, destination)
        });
        if let Some(before) = before {
            waits.since = waits.since.min(before.waits.since);
        }
        self.waits = Some(waits);
        journey.next = Next::default();
        if !journey.is_open() {
            (journey.stuck, journey.held, journey.blind) = (None, None, None);
            // Who gave up is known for good.
            journey.who.take_if(|_| journey.outcome != Some(Outcome::Failed));
            return;
        }
        let config_maps = Some(&bench.needs.config_maps).filter(|_| self.by_config_map);
        let mut needs: Vec<ScopeId> = match phase(waits.stage) {
            Phase::Commit => bench.needs.git.iter().chain(&bench.needs.registry).copied().collect(),
            Phase::Apply => {
                bench.needs.git.iter().chain(&bench.needs.cluster).chain(config_maps).copied().collect()
            }
            Phase::Roll => bench.needs.cluster.to_vec(),
        };
        let told_by = |kind: EngineKind| hands.kinds(phase(waits.stage)).any(|of| of == kind);
        needs.extend(bench.needs.engines.iter().filter(|(kind, _)| told_by(*kind)).map(|(_, scope)| *scope));
        journey.blind = judge::blind(bench.sources, &needs, bench.now);
        if journey.blind.is_some() {
            // One page, source down: what was stuck stays stuck, nothing new is said.
            self.forget(bench);
            return;
        }
        journey.held = if applied.is_some() { judge::held(workload, applied, bench.now) } else { None };
        journey.held.take_if(|held| !counts(held.hold));
        journey.who = None;
        if let Some((hold, since, who)) = verdict.held {
            (journey.held, journey.who) = (Some(Held { hold, since, until: None }), Some(who));
        }
        if let (Some((since, who)), None, Phase::Commit) = (proposed, journey.held, phase(waits.stage)) {
            let held = Held { hold: Hold::ManualApproval, since, until: None };
            (journey.held, journey.who) = (Some(held), Some(who));
        }
        if journey.held.is_some() {
            journey.stuck = None;
            return;
        }
        let gaps = judge::gaps(bench.sources, &needs);
        let after_gap = judge::covered(&gaps, waits.since, bench.now) > 0.0;
        let engines = judge::hold_spans(&verdict.spans, bench.now);
        let spans: Vec<(Time, Time)> = gaps.into_iter().chain(holds).chain(engines).collect();
        let paused = judge::covered(&spans, waits.since, bench.now);
        let missed = verdict.missed.iter().filter(|_| by_interval).map(|(since, seconds)| {
            let from = waits.since.max(*since);
            from + ((seconds + judge::covered(&spans, from, bench.now)) * 1000.0) as i64
        });
        let over = missed.fold(judge::over(&waits, waits.since, paused), Time::min);
        // Who was at it then may still bring it; who begins anew later had his turn.
        let at_work = verdict.at_work.iter().filter(|(since, _)| by_interval && *since < over);
        let over = at_work.map(|(since, seconds)| *since + (seconds * 1000.0) as i64).fold(over, Time::max);
        self.over = Some(over);
        // By time alone a hand comes to be late, and then it is why.
        let late = verdict.missed.iter().map(|(since, seconds)| *since + (seconds * 1000.0) as i64);
        self.late = late.filter(|late| *late > bench.now).min();
        // Nobody tells a release of it: it is due with the next turn, whose time no field says.
        let turn = hands.turn(phase(waits.stage), &journey.stages, bench.now);
        let turn = turn.filter(|turn| !(self.by_values && turn.does == Does::Apply));
        journey.next = Next { turn, late_after: Some(over), trouble: None };
        let gave_up = self
            .versions
            .and_then(|(_, version)| workload.versions.get(version)?.deadline_exceeded)
            .filter(|_| phase(waits.stage) == Phase::Roll);
        let since = match (over <= bench.now, gave_up) {
            (true, Some(gave_up)) => Some(over.min(gave_up)),
            (true, None) => Some(over),
            (false, gave_up) => gave_up,
        };
        let known = journey.stuck.filter(|known| phase(known.stage) == phase(waits.stage));
        // Between two looks a commit may have landed that nobody saw yet.
        let since = since.filter(|_| known.is_some() || is_heard(&waits, over, bench));
        // What was stuck before a gap stays stuck until something moves; the gap only gives no new verdict.
        let since = since.or(known.filter(|_| after_gap).map(|known| known.since));
        journey.stuck = None;
        if let Some(since) = since {
            let awaited = || hands.awaited(phase(waits.stage), &journey.stages);
            let (mut reason, mut who) = match (verdict.reason, phase(waits.stage)) {
                (Some((reason, who)), _) => (reason, Some(who)),
                (None, Phase::Commit) => (Reason::NotCommitted, awaited()),
                (None, Phase::Apply) => (Reason::NotApplied, awaited()),
                (None, Phase::Roll) => {
                    let unhealthy = hands.unhealthy(&workload.now.key, applied);
                    pods::reason(workload, &destination.container, bench.probes, unhealthy)
                }
            };
            if let Some(release) = verdict.who {
                // The pods that failed are gone; those that are there run what was put back.
                let version = self.versions.and_then(|(_, version)| workload.versions.get(version));
                reason = version.and_then(|version| pods::why(version.trouble?)).unwrap_or(reason);
                who = Some(release);
            }
            let since = known.map_or(since, |known| known.since);
            let now = Stuck { since, stage: waits.stage, reason, kept: None };
            let of_before = before.and_then(|before| before.stuck);
            let of_before = of_before.filter(|stuck| phase(stuck.stage) == phase(waits.stage));
            let stuck = kept::told(now, known.or(of_before), known.is_none(), bench.now);
            journey.stuck = Some(stuck);
            // Who shows what is seen now does not tell what is kept.
            journey.who = who.filter(|_| stuck.kept.is_none());
        } else if phase(waits.stage) != Phase::Roll {
            journey.next.trouble = hands.trouble(phase(waits.stage), journey);
        } else if is_present {
            journey.next.trouble = pods::trouble(workload, &destination.container);
        }
        self.last_stuck = journey.stuck;
    }

    /// The pods that are to be there are those that it waits for.
    fn is_present(&self, workload: &WorkloadState) -> bool {
        let last = self.versions.is_some_and(|(_, version)| version + 1 == workload.versions.len());
        last || self.scaled.is_some()
    }

    /// Its time is over, and the next look decides.
    #[must_use]
    pub fn is_unheard(&self, bench: &Bench<'_>) -> bool {
        let Journey { stuck, held, blind, .. } = &*self.journey;
        let over = self.over.filter(|over| *over <= bench.now);
        let waits = self.journey.is_open() && stuck.is_none() && held.is_none() && blind.is_none();
        self.waits.filter(|_| waits).zip(over).is_some_and(|(waits, over)| !is_heard(&waits, over, bench))
    }

    /// Blind for longer than anybody remembers: nothing can be decided any more.
    fn forget(&mut self, bench: &Bench<'_>) {
        let last = bench.needs.cluster.iter().filter_map(|key| bench.sources.get(*key)?.last_finished).min();
        let limit = (bench.rules.settle.forget_after * 1000.0) as i64;
        if let Some(last) = last.filter(|last| *last + limit <= bench.now) {
            self.finish(Outcome::Unknown, Interval::new(last, bench.now), bench.now);
            Arc::make_mut(&mut self.journey).stuck = None;
        }
    }

    /// When its numbers may be given: a window after its outcome, and never while its cluster is blind.
    pub fn settle_at(&self, bench: &Bench<'_>) -> Option<Time> {
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
    pub fn applied(&self, bench: &Bench<'_>) -> Option<Time> {
        let told = self.journey.stages.evidence(Stage::Applied)?;
        if let Some((scaled, _)) = self.scaled {
            return Some(scaled.not_after);
        }
        let version = self.versions.and_then(|(first, _)| bench.workload?.versions.get(first));
        Some(version.map_or(told.interval, |version| version.ours).not_after)
    }
}

/// Whether all that is polled and would show that it moved was looked at since its time was over.
fn is_heard(waits: &Waits, over: Time, bench: &Bench<'_>) -> bool {
    phase(waits.stage) != Phase::Commit
        || judge::heard_since(bench.sources, &bench.needs.git, Interval::at(over))
}
