//! Where the history of a destination begins and ends.

use super::git::Change;
use super::legs::Inputs;
use crate::image::ImageRef;
use crate::observation::Interval;

/// From when to when commits and selections can be meant for this destination: neither before its workload was
/// made, or before memory begins, nor after it was removed.
pub struct History<'a> {
    begins: Option<Interval>,
    /// What a new workload was made with: the commit that named it may be older than the workload.
    first_image: Option<&'a ImageRef>,
    /// The last commit before the beginning that names the first image.
    cause: Option<Interval>,
    ends: Option<Interval>,
}

impl<'a> History<'a> {
    /// The history of a destination.
    #[must_use]
    pub fn of(inputs: &Inputs<'a>) -> Self {
        let first = inputs.workload.versions.first().filter(|version| !version.backfill);
        let begins = first.map(|version| version.ours);
        let first_image = first.filter(|version| !version.horizon).and_then(|v| v.read(inputs.container));
        let earlier = inputs.changes.iter().filter(|change| {
            first_image.is_some()
                && change.after.as_ref() == first_image
                && begins.is_some_and(|begins| change.at.interval.not_after < begins.not_before)
        });
        let cause = earlier.map(|change| change.at.interval).max_by_key(|at| at.not_after);
        Self { begins, first_image, cause, ends: inputs.workload.removed.map(|removed| removed.interval) }
    }

    fn covers(&self, at: Interval) -> bool {
        self.begins.is_none_or(|begins| at.not_after >= begins.not_before)
            && self.ends.is_none_or(|ends| at.not_after <= ends.not_after)
    }

    /// Whether a selection can be meant for it.
    #[must_use]
    pub fn covers_selection(&self, at: Interval) -> bool {
        self.covers(at)
    }

    /// Whether a commit can be meant for it.
    #[must_use]
    pub fn covers_commit(&self, change: &Change) -> bool {
        let at = change.at.interval;
        let is_cause = Some(at) == self.cause && change.after.as_ref() == self.first_image;
        self.covers(at) || is_cause
    }
}
