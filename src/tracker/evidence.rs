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

/// Causes come before effects: an earlier stage ends no later than a later one ends, and a later one begins no
/// earlier than an earlier one begins. Returns how many pairs contradict each other; those stay as they are.
pub fn narrow(stages: &mut Stages) -> u32 {
    let mut conflicts = 0;
    // `built` is a claim of the image, not an observation: it narrows nothing.
    let known: Vec<Stage> =
        Stage::ALL.into_iter().skip(1).filter(|stage| stages.evidence(*stage).is_some()).collect();
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
