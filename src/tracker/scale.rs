//! How many pods a workload was to have, as its cluster showed it: each time that its number changed, and what became
//! of that.

use serde::{Deserialize, Serialize};

use super::evidence::{merge, on_our_clock, own_time};
use super::pod_state::PodState;
use super::stage::Evidence;
use crate::observation::{Basis, Interval, Time, Workload, WorkloadKind};

/// Changes of its number that are remembered of one workload. An autoscaler makes one every fifteen seconds at most,
/// and each ends what was to come of the one before.
const SCALES_MAX: usize = 32;

/// One period during which a workload was to have this many pods.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scale {
    pub replicas: i64,
    pub generation: i64,
    pub changed: Evidence,
    /// The same on our clock, to be compared with what other sources say.
    pub ours: Interval,
    /// It was so at the first look.
    pub backfill: bool,
    /// A look found it after nobody had watched since then.
    pub unwatched_since: Option<Time>,
    /// Nothing rolled when it changed: whatever pod is made in that second is made for it.
    pub at_rest: bool,
    /// The first container of a pod that was made for it, and the first such pod that was ready.
    pub started: Option<Evidence>,
    pub ready: Option<Evidence>,
    /// So many pods of the present template were ready, and no more were there.
    pub reached: Option<Reached>,
}

/// See [`Scale::reached`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Reached {
    pub at: Evidence,
    /// The same on our clock.
    pub ours: Interval,
}

/// All that are remembered of a workload, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Scales(pub Vec<Scale>);

impl Scales {
    /// A workload is so. True if its number is another one than before. `rested` where its rollout was complete.
    pub fn take(&mut self, now: &Workload, at: Evidence, rested: bool, backfill: bool) -> bool {
        let written = matches!(now.key.kind, WorkloadKind::Deployment | WorkloadKind::StatefulSet);
        if !written || self.0.last().is_some_and(|last| last.replicas == now.replicas) {
            return false;
        }
        let own = now.replicas_written.filter(|_| !backfill);
        let own = own.map(|interval| Evidence { interval, basis: Basis::ManagedFields });
        let changed = own.map_or(at, |own| merge(own, at).0);
        self.0.push(Scale {
            replicas: now.replicas,
            generation: now.generation,
            changed,
            ours: on_our_clock(changed.interval, at.interval),
            backfill,
            unwatched_since: (at.basis == Basis::Relist).then_some(at.interval.not_before),
            at_rest: rested && at.basis != Basis::Relist,
            started: None,
            ready: None,
            reached: None,
        });
        if self.0.len() > SCALES_MAX {
            self.0.remove(0);
        }
        true
    }

    /// Reads off one pod of the present template what it did first under the present number. True if that was news.
    pub fn read(&mut self, state: &PodState, container: &str) -> bool {
        let grows = self.grows(self.0.len().wrapping_sub(1));
        let Some(scale) = self.0.last_mut().filter(|scale| grows && scale.made(state)) else { return false };
        let started = state.pod.containers.iter().find(|named| *named.name == *container);
        let started = started.and_then(|named| named.started);
        let started = started.map(|at| own_time(at, Basis::StatusField, state.learned).0);
        let ready = state.pod.ready.filter(|_| !state.pod.deleting);
        let ready = ready.map(|at| own_time(at, Basis::Condition, state.learned).0);
        first(&mut scale.started, started) | first(&mut scale.ready, ready)
    }

    /// Whether more pods were to be there than before.
    #[must_use]
    pub fn grows(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.0.get(before));
        before.zip(self.0.get(at)).is_some_and(|(before, scale)| scale.replicas > before.replicas)
    }

    /// What became of a commit that asks for a number, until another one came: nothing is asked where the number was
    /// so before, where an autoscaler holds it, and of a workload that is younger, or remembered for less long.
    /// `taken` is what an older commit gave it, perhaps while this one landed.
    #[must_use]
    pub fn asked(
        &self,
        replicas: i64,
        (committed, next): (Interval, Option<Interval>),
        taken: Option<usize>,
        autoscaled: bool,
    ) -> Option<Asked> {
        let standing = self.stood(committed).max(taken)?;
        let had_them = self.0[standing].replicas == replicas;
        // The number itself tells whose it is: perhaps in time is enough.
        let fits = |scale: &Scale| {
            scale.replicas == replicas && next.is_none_or(|next| scale.ours.not_before <= next.not_after)
        };
        let later = &self.0[standing + 1..];
        // Somebody changed it around then, perhaps before: whether the commit asks for anything only the next tells.
        let around = later.first().is_some_and(|scale| scale.ours.not_before <= committed.not_after);
        // What a person or an autoscaler did around then was not done for the commit: if it stays so, that asks nothing.
        let by_hand = |scale: &Scale| {
            scale.changed.basis != Basis::ManagedFields && scale.ours.not_before <= committed.not_after
        };
        let taken = later.iter().position(|scale| fits(scale) && !by_hand(scale));
        let last = later.iter().rfind(|scale| scale.ours.not_before <= committed.not_after);
        let had_them = had_them || last.is_some_and(|last| last.replicas == replicas && by_hand(last));
        match taken.filter(|_| !had_them || around) {
            Some(at) => Some(Asked::Taken(standing + 1 + at)),
            None => (!autoscaled && !had_them).then_some(Asked::Open),
        }
    }

    fn stood(&self, at: Interval) -> Option<usize> {
        self.0.iter().rposition(|scale| scale.backfill || scale.ours.not_after < at.not_before)
    }

    /// The number that it had for certain at a moment.
    #[must_use]
    pub fn standing(&self, at: Interval) -> Option<&Scale> {
        self.0.get(self.stood(at)?)
    }

    /// The number that was written, by whoever writes manifests, between two moments.
    #[must_use]
    pub fn written(&self, from: Interval, until: Interval) -> Option<usize> {
        let fits = |scale: &Scale| {
            scale.changed.basis == Basis::ManagedFields
                && scale.ours.not_after >= from.not_before
                && scale.ours.not_before <= until.not_after
        };
        self.0.iter().rposition(fits)
    }
}

/// See [`Scales::asked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The workload does not have this number yet.
    Open,
    /// Index of the change that gave it.
    Taken(usize),
}

impl Scale {
    /// Whether a pod was made after the number changed. Both times are of the cluster, in whole seconds, or both of ours.
    fn made(&self, state: &PodState) -> bool {
        let seen = state.since >= self.ours.not_before;
        match (self.changed.basis, state.pod.created) {
            (Basis::ManagedFields, Some(created)) => {
                let created = Interval::second(created);
                let perhaps = created.not_after >= self.changed.interval.not_before && seen;
                created.not_before > self.changed.interval.not_after || (perhaps && self.at_rest)
            }
            _ => seen,
        }
    }
}

/// Takes what happened if it was earlier than what is known.
fn first(known: &mut Option<Evidence>, at: Option<Evidence>) -> bool {
    let earlier = at.filter(|at| known.is_none_or(|known| at.interval.not_after < known.interval.not_after));
    if earlier.is_some() {
        *known = earlier;
    }
    earlier.is_some()
}

/// Whether a workload has the number of pods that it is to have, and no more. `complete` says that its rollout is, which
/// nobody says of none at all.
#[must_use]
pub fn is_reached(now: &Workload, complete: bool) -> bool {
    let seen = now.observed_generation >= now.generation;
    seen && now.status_replicas <= now.replicas && (complete || now.replicas == 0)
}
