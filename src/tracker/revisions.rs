//! Revisions of one workload: a commit changed its manifest's pod template and no image.
//!
//! The text cannot tell which container a template's change is for, so a revision travels to the workload's
//! first container: one journey, never one per sidecar.

use super::git::Change;
use super::history::History;
use super::journey::Outcome;
use super::legs::Inputs;
use super::stage::Evidence;
use super::workload::{Firsts, Version};
use crate::observation::Interval;

/// One revision on its way.
#[derive(Debug, Clone)]
pub struct RevisionLeg {
    pub change: Change,
    /// Index of the template version that brought it.
    pub version: Option<usize>,
    pub ended: Option<(Outcome, Interval)>,
}

/// Folds commits and template changes into revisions, oldest first. A template that changed after a commit
/// carries it; of several commits waiting, the last one gets it and the others were superseded.
#[must_use]
pub fn fold(inputs: &Inputs<'_>) -> Vec<RevisionLeg> {
    let first = inputs.workload.now.containers.first().map(|container| &*container.name);
    if first != Some(inputs.container) {
        return Vec::new();
    }
    let history = History::of(inputs);
    let changes: Vec<&Change> = inputs
        .changes
        .iter()
        .copied()
        .filter(|change| change.revision && history.covers_commit(change))
        .collect();
    let mut legs: Vec<RevisionLeg> = Vec::new();
    let mut taken = 0;
    for (at, change) in changes.iter().enumerate() {
        let next = changes.get(at + 1).map(|next| next.at.interval);
        let carries = |version: &&(usize, &Version)| {
            let changed = version.1.changed.interval;
            !version.1.backfill
                && !version.1.horizon
                && version.0 >= taken
                && changed.not_after >= change.at.interval.not_before
                && next.is_none_or(|next| changed.not_after <= next.not_after)
        };
        let versions: Vec<(usize, &Version)> = inputs.workload.versions.iter().enumerate().collect();
        let version = versions.iter().find(carries).map(|(index, _)| *index);
        taken = version.map_or(taken, |version| version + 1);
        let mut leg = RevisionLeg { change: (*change).clone(), version, ended: None };
        if let Some(next) = next {
            let live = leg.live(inputs).is_some_and(|live| live.interval.not_after <= next.not_after);
            let outcome = if changes[at + 1].reverts { Outcome::RolledBack } else { Outcome::Superseded };
            leg.ended = (!live).then_some((outcome, next));
        }
        legs.push(leg);
    }
    legs
}

impl RevisionLeg {
    fn versions<'a>(&self, inputs: &Inputs<'a>) -> &'a [Version] {
        self.version.map_or(&[], |first| &inputs.workload.versions[first..])
    }

    /// The first complete rollout of a template that carries it.
    #[must_use]
    pub fn live(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.versions(inputs).iter().find_map(|version| Some(version.completes.first()?.at))
    }

    /// The first container started, or the first pod ready, under a template that carries it.
    #[must_use]
    pub fn first(&self, inputs: &Inputs<'_>, read: fn(&Version) -> &Firsts) -> Option<Evidence> {
        let of = |version: &Version| {
            let firsts = read(version).get(inputs.container)?;
            let after = firsts
                .iter()
                .filter(|first| first.at.interval.not_after >= version.changed.interval.not_before);
            after.map(|first| first.at).min_by_key(|at| at.interval.not_after)
        };
        self.versions(inputs).iter().find_map(of)
    }
}
