//! Putting pieces of evidence together: intersect, keep the better rank where they disagree, let causes come
//! before effects.

use super::stage::{Evidence, Stage, StageState, Stages};
use crate::observation::{Basis, Interval, Time};

/// Joins two pieces of evidence for one moment. The flag says that they cannot both be right: then the
/// better rank stays.
#[must_use]
pub fn merge(left: Evidence, right: Evidence) -> (Evidence, bool) {
    let (better, other) = if left.basis <= right.basis { (left, right) } else { (right, left) };
    match better.interval.intersect(other.interval) {
        Some(interval) => (Evidence { interval, basis: better.basis }, false),
        None => (better, true),
    }
}

/// What an object's own clock of whole seconds says, bounded by when we learned it.
#[must_use]
pub fn own_time(time: Time, basis: Basis, learned: Interval) -> (Evidence, bool) {
    let own = Evidence { interval: Interval::second(time), basis };
    let receipt = Evidence { interval: Interval::until(learned.not_after), basis: Basis::Watch };
    merge(own, receipt)
}

/// What an object's own clock says of a moment, read on ours: its clock may be minutes off, and then only what we
/// learned counts. Whatever is compared with another source is compared like this.
#[must_use]
pub fn on_our_clock(own: Interval, learned: Interval) -> Interval {
    own.intersect(learned).unwrap_or(learned)
}

/// Causes come before effects: an earlier stage ends no later than a later one ends, and a later one begins no
/// earlier than an earlier one begins. Returns how many pairs contradict each other; those stay as they are.
pub fn narrow(stages: &mut Stages) -> u32 {
    let mut conflicts = 0;
    // `built` is a claim of the image, not an observation: it narrows nothing.
    let mut known: Vec<Stage> =
        Stage::ALL.into_iter().skip(1).filter(|stage| stages.evidence(*stage).is_some()).collect();
    if came_late(stages) {
        // Named before it was there: pods retry until they can pull, so it causes no more than their start.
        known.retain(|stage| *stage != Stage::Pushed);
        let start = known.iter().position(|stage| *stage >= Stage::Started).unwrap_or(known.len());
        known.insert(start, Stage::Pushed);
    }
    for pair in known.windows(2) {
        let [earlier, later] = pair else { continue };
        let (Some(first), Some(mut second)) = (stages.evidence(*earlier), stages.evidence(*later)) else {
            continue;
        };
        let not_before = second.interval.not_before.max(first.interval.not_before);
        if not_before <= second.interval.not_after {
            second.interval.not_before = not_before;
            stages.set(*later, StageState::Known(second));
        } else {
            conflicts += 1;
        }
    }
    for pair in known.windows(2).rev() {
        let [earlier, later] = pair else { continue };
        let (Some(mut first), Some(second)) = (stages.evidence(*earlier), stages.evidence(*later)) else {
            continue;
        };
        let not_after = first.interval.not_after.min(second.interval.not_after);
        if not_after >= first.interval.not_before {
            first.interval.not_after = not_after;
            stages.set(*earlier, StageState::Known(first));
        }
    }
    conflicts
}

/// It was pushed only after something named it.
fn came_late(stages: &Stages) -> bool {
    let Some(pushed) = stages.evidence(Stage::Pushed) else { return false };
    let before = |stage: &Stage| {
        stages.evidence(*stage).is_some_and(|at| at.interval.not_after <= pushed.interval.not_before)
    };
    [Stage::Detected, Stage::Committed, Stage::Fetched, Stage::Applied].iter().any(before)
}
