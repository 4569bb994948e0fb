//! One object of an engine, and what it did: one look shows only the last, a journey asks for what came right after its
//! push or its commit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::passed::names;
use super::verdict;
use crate::image::ImageRef;
use crate::observation::{
    ApplierRole, Artifact, Basis, Condition, EngineObject, ImageOverride, Interval, Role, Scan, Time,
};
use crate::tracker::evidence::merge;
use crate::tracker::journey::Hold;
use crate::tracker::stage::Evidence;
use crate::tracker::workload::HoldSpan;

/// Deeds, holds and overrides of one object that are remembered, each.
const DEEDS_MAX: usize = 64;
/// `lastPushTime` is written when the push has ended: 34 ms were seen, of a controller that had nothing else to do.
const PUSHED_BEFORE_MILLIS: i64 = 1_000;
/// A turn that came later by more than this, and by more than a whole interval, was missed: that is not how long they take.
const TOOK_SECONDS_MAX: f64 = 15.0;

/// One object, and what it did.
#[derive(Debug, Serialize, Deserialize)]
pub struct EngineState {
    pub now: EngineObject,
    pub(super) epoch: u64,
    /// Oldest first.
    pub deeds: Vec<Deed>,
    /// When it was suspended, by when we learned of either end: of a watch that is close, its last word is not.
    pub suspended: Vec<HoldSpan>,
    /// When it put another image in the place of what its source names.
    pub overrides: Vec<(ImageOverride, HoldSpan)>,
    /// What it says that it fails with, and since when, on our clock. It stands until the object is ready: a try
    /// that is under way takes nothing back.
    pub failing: Option<(Condition, Time)>,
    /// Of what it said that.
    pub(super) said: Option<Said>,
    /// It lost a race to push, and was not well since.
    racing: bool,
    /// What of its turns is known on our clock.
    pub(super) turns: Turns,
}

/// The turns of a hand: scans, runs, whatever it says that it is at. Its own times are of another clock, so they only say
/// that there was one; when is when we heard of it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Turns {
    /// When we heard of the last one that ended.
    pub last: Option<Time>,
    /// By how much the last two came later than its interval says: each takes its time, and on a busy machine more.
    pub took_seconds: [f64; 2],
    /// Since when it says that it is at one.
    pub under_way: Option<Time>,
}

/// What an object had tried when it began to say what it fails with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// When we heard of it first.
    pub at: Time,
    /// The revision of its source, where it applies one.
    pub attempted: Option<Arc<str>>,
}

/// Something that an object did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deed {
    pub what: What,
    pub at: Evidence,
    /// It was so at the first look.
    pub backfill: bool,
    /// Nobody watched since then: it may have done other things in between.
    pub unwatched_since: Option<Time>,
}

/// See [`Deed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// It listed other tags than before.
    Scanned(Scan),
    Selected(ImageRef),
    Pushed(Arc<str>),
    Stored(Artifact),
    Attempted(Arc<str>),
    Applied(Arc<str>),
    /// A release is as it is written, of this generation.
    Released(i64),
    /// A release began to write its objects anew, or to put back the ones before.
    Began {
        rollback: bool,
    },
    /// A release tries no more. What it said last.
    GaveUp(Arc<str>),
}

impl EngineState {
    pub(super) fn new(object: EngineObject, at: Evidence, backfill: bool, epoch: u64, learned: Time) -> Self {
        let mut state = Self {
            deeds: Vec::new(),
            suspended: Vec::new(),
            overrides: Vec::new(),
            failing: None,
            said: None,
            racing: false,
            turns: Turns::default(),
            now: object,
            epoch,
        };
        state.turns.last = turn(&state.now).map(|_| learned);
        // It was so before we looked.
        let since = state.now.ready.as_ref().and_then(|ready| ready.since);
        state.note_failing(since.map_or(learned, |since| since.min(learned)), at.interval.not_after, false);
        // When that was lost nobody knows.
        state.note_race();
        state.deeds = deeds(None, &state.now, at, backfill, state.words());
        if state.now.suspended {
            state.suspended.push(hold(Hold::Suspended, &at));
        }
        state.note_overrides(&at);
        state.note_work(learned);
        state
    }

    /// True if it did something.
    pub(super) fn update(&mut self, object: &EngineObject, at: Evidence, epoch: u64, learned: Time) -> bool {
        self.epoch = epoch;
        let before = std::mem::replace(&mut self.now, object.clone());
        let was_well = self.failing.is_none() && !before.suspended;
        self.note_failing(learned, at.interval.not_after, before.ready == self.now.ready);
        if lists_another(&before, object) {
            // What it found before it found elsewhere.
            self.deeds.clear();
        }
        self.note_turn(&before, learned, was_well && at.basis == Basis::Watch);
        self.note_work(learned);
        let new = deeds(Some(&before), object, at, false, self.words());
        match (before.suspended, object.suspended) {
            (false, true) => self.suspended.push(hold(Hold::Suspended, &at)),
            (true, false) => {
                if let Some(last) = self.suspended.last_mut() {
                    last.until = Some(at.interval.not_after);
                }
            }
            _ => {}
        }
        keep_last(&mut self.suspended);
        self.note_overrides(&at);
        let done = !new.is_empty();
        self.deeds.extend(new);
        keep_last(&mut self.deeds);
        // A path, a source or a policy that became another one leads elsewhere.
        let led = |object: &EngineObject| match &object.role {
            Role::Applier(role) => {
                let ApplierRole { source, path, inventory, releases, values_from, .. } = (**role).clone();
                (source, path, inventory, releases, values_from)
            }
            _ => Default::default(),
        };
        done || led(&before) != led(object)
    }

    /// Whether it said that it pushed this commit.
    #[must_use]
    pub fn has_pushed(&self, id: &str) -> bool {
        self.deeds.iter().any(|deed| matches!(&deed.what, What::Pushed(commit) if **commit == *id))
    }

    /// Whether an artifact of it names this commit.
    #[must_use]
    pub(super) fn has_stored(&self, id: &str) -> bool {
        self.deeds.iter().any(|deed| matches!(&deed.what, What::Stored(artifact) if names(artifact, id)))
    }

    /// True if it has just lost a race to push. It goes on saying so until it is well again, and may fail with something
    /// else meanwhile.
    pub(super) fn note_race(&mut self) -> bool {
        match &self.now.ready {
            Some(says) if says.is_true => self.racing = false,
            Some(says) if !self.racing && verdict::is_race(&self.now, says) => {
                self.racing = true;
                return true;
            }
            _ => {}
        }
        false
    }

    /// `repeats`: it said just that before, and nothing else since.
    fn note_failing(&mut self, now: Time, heard: Time, repeats: bool) {
        match &self.now.ready {
            Some(says) if says.is_true => self.failing = None,
            Some(says) if verdict::is_trying(says) => {}
            // It waits for another before each try.
            Some(says) if verdict::is_waiting(says) && self.failing.is_some() => {}
            Some(says) => {
                let known = self.failing.take().filter(|(known, _)| known.reason == says.reason);
                self.failing = Some((says.clone(), known.map_or(now, |(_, since)| since)));
                let attempted = self.applier().and_then(|role| role.attempted.clone());
                let known = self.said.take().filter(|known| repeats && known.attempted == attempted);
                self.said = Some(known.unwrap_or(Said { at: heard, attempted }));
            }
            None => self.failing = None,
        }
        if self.failing.is_none() {
            self.said = None;
        }
    }

    /// `usual`: the time since the last one tells how long they take.
    fn note_turn(&mut self, before: &EngineObject, learned: Time, usual: bool) {
        if turn(&self.now).is_none() || turn(&self.now) == turn(before) {
            return;
        }
        let last = self.turns.last.replace(learned);
        if let (Some(last), Some(every), true) = (last, self.now.interval_seconds, usual) {
            let took = learned.seconds_since(last) - every;
            let took = if took > TOOK_SECONDS_MAX.max(every) { 0.0 } else { took };
            self.turns.took_seconds = [self.turns.took_seconds[1], took.max(0.0)];
        }
    }

    fn note_work(&mut self, now: Time) {
        let works = self.failing.is_none() && self.now.reconciling.as_ref().is_some_and(verdict::is_at_work);
        self.turns.under_way = if works { self.turns.under_way.or(Some(now)) } else { None };
    }

    fn note_overrides(&mut self, at: &Evidence) {
        let Role::Applier(role) = &self.now.role else { return };
        for (known, span) in self.overrides.iter_mut().filter(|(_, span)| span.until.is_none()) {
            if !role.overrides.contains(known) {
                span.until = Some(at.interval.not_after);
            }
        }
        let open = |this: &ImageOverride| {
            self.overrides.iter().any(|(known, span)| known == this && span.until.is_none())
        };
        let new: Vec<_> = role.overrides.iter().filter(|this| !open(this)).cloned().collect();
        self.overrides.extend(new.into_iter().map(|this| (this, hold(Hold::Replaced, at))));
        keep_last(&mut self.overrides);
    }

    /// What it is as an applier.
    #[must_use]
    pub fn applier(&self) -> Option<&ApplierRole> {
        match &self.now.role {
            Role::Applier(role) => Some(role),
            _ => None,
        }
    }

    /// What it fails with, in its own words.
    fn words(&self) -> Option<&Arc<str>> {
        self.failing.as_ref().map(|(says, _)| &says.message)
    }
}

/// Whether it lists the tags of another repository now.
fn lists_another(before: &EngineObject, now: &EngineObject) -> bool {
    matches!((&before.role, &now.role), (Role::Scan(before), Role::Scan(now)) if before.image != now.image)
}

/// What an object says of its last turn, where it says when that was.
fn turn(object: &EngineObject) -> Option<Time> {
    match &object.role {
        Role::Scan(role) => role.last.as_ref().map(|last| last.at),
        Role::Updater(role) => role.last_run,
        _ => None,
    }
}

impl Turns {
    /// How long they usually take: one that came late is no rule yet.
    #[must_use]
    pub fn usually_seconds(&self) -> f64 {
        self.took_seconds[0].min(self.took_seconds[1])
    }
}

fn keep_last<T>(list: &mut Vec<T>) {
    let surplus = list.len().saturating_sub(DEEDS_MAX);
    list.drain(..surplus);
}

fn hold(hold: Hold, at: &Evidence) -> HoldSpan {
    HoldSpan { hold, since: at.interval.not_after, until: None }
}

/// What an object did between two looks at it, with the best that is known of when. `learned` bounds its own times.
fn deeds(
    before: Option<&EngineObject>,
    now: &EngineObject,
    learned: Evidence,
    backfill: bool,
    words: Option<&Arc<str>>,
) -> Vec<Deed> {
    let deed = |what: What, own: Option<Evidence>| {
        // A clock of whole seconds, and of another host: where it contradicts what we saw, what we saw stays.
        let at = match own {
            Some(own) => match merge(own, learned) {
                (at, false) => at,
                (_, true) => learned,
            },
            None => learned,
        };
        let unwatched_since = Some(learned.interval.not_before).filter(|_| learned.basis != Basis::Watch);
        Deed { what, at, backfill, unwatched_since }
    };
    let told = |time: Option<Time>, basis: Basis| {
        time.map(|time| Evidence { interval: Interval::second(time), basis })
    };
    let field = |time: Option<Time>| told(time, Basis::StatusField);
    let mut deeds = Vec::new();
    match (&now.role, before.map(|before| &before.role)) {
        (Role::Scan(role), before) => {
            let known = match before {
                Some(Role::Scan(before)) => before.last.as_ref(),
                _ => None,
            };
            if let Some(last) =
                role.last.as_ref().filter(|last| known.is_none_or(|known| known.revision != last.revision))
            {
                // What was not watched may have been found by any scan since the one that is known.
                let since = known.filter(|_| learned.basis != Basis::Watch).map_or(last.at, |known| known.at);
                let own = field(Some(last.at)).map(|own| Evidence {
                    interval: Interval::new(since.min(last.at), own.interval.not_after),
                    ..own
                });
                deeds.push(deed(What::Scanned(last.clone()), own));
            }
        }
        (Role::Policy(role), before) => {
            let known = match before {
                Some(Role::Policy(before)) => before.selected.as_ref(),
                _ => None,
            };
            if let Some(selected) = role.selected.as_ref().filter(|selected| known != Some(*selected)) {
                let own = role.selected_at.map(|interval| Evidence { interval, basis: Basis::ManagedFields });
                deeds.push(deed(What::Selected(selected.clone()), own));
            }
        }
        (Role::Updater(role), before) => {
            let known = match before {
                Some(Role::Updater(before)) => before.pushed.as_ref().map(|(commit, _)| commit),
                _ => None,
            };
            if let Some((commit, at)) = role.pushed.as_ref().filter(|(commit, _)| known != Some(commit)) {
                let own = field(Some(*at)).map(|own| Evidence {
                    interval: Interval::new(*at - PUSHED_BEFORE_MILLIS, own.interval.not_after),
                    ..own
                });
                deeds.push(deed(What::Pushed(commit.clone()), own));
            }
        }
        (Role::Source(role), before) => {
            let known = match before {
                Some(Role::Source(before)) => before.artifact.as_ref().map(|artifact| &artifact.revision),
                _ => None,
            };
            if let Some(artifact) =
                role.artifact.as_ref().filter(|artifact| known != Some(&artifact.revision))
            {
                deeds.push(deed(What::Stored(artifact.clone()), field(artifact.stored)));
            }
        }
        (Role::Applier(role), of_before) => {
            let known = match of_before {
                Some(Role::Applier(before)) => (before.attempted.as_ref(), before.applied.as_ref()),
                _ => (None, None),
            };
            // Neither has a time of its own.
            let attempted = role.attempted.as_ref().filter(|now| known.0 != Some(*now));
            deeds.extend(attempted.map(|revision| deed(What::Attempted(revision.clone()), None)));
            let begun =
                verdict::began(now).filter(|_| before.and_then(verdict::began) != verdict::began(now));
            deeds.extend(begun.map(|rollback| deed(What::Began { rollback }, None)));
            let applied = role.applied.as_ref().filter(|now| known.1 != Some(*now));
            deeds.extend(applied.map(|revision| deed(What::Applied(revision.clone()), None)));
            let released =
                verdict::released(now).filter(|now| before.and_then(verdict::released) != Some(*now));
            deeds.extend(released.map(|generation| deed(What::Released(generation), None)));
            let gave_up = verdict::gave_up(now).filter(|_| before.and_then(verdict::gave_up).is_none());
            deeds.extend(gave_up.map(|says| {
                let words = words.unwrap_or(&says.message);
                deed(What::GaveUp(words.clone()), told(says.since, Basis::Condition))
            }));
        }
        (Role::Other, _) => {}
    }
    deeds
}
