//! Revisions of one workload: a commit changed its manifest's pod template, a ConfigMap that it names or its number of
//! pods, and no image.
//!
//! The text cannot tell which container a change is for, so a revision travels to the workload's first container:
//! one journey, never one per sidecar.

use super::asks::{self, Asks, Revised};
use super::git::Change;
use super::journey::{Outcome, Who};
use super::legs::Inputs;
use super::scale::Asked;
use super::stage::Evidence;
use super::workload::{Firsts, Version};
use crate::observation::{Basis, Interval};

/// Whatever restarts pods because a ConfigMap was written does so within this time: an applier's next step, or a
/// controller that reloads.
const ROLL_FOLLOWS_MILLIS: i64 = 120_000;

/// One revision on its way.
#[derive(Debug, Clone, Copy)]
pub struct RevisionLeg<'a> {
    pub change: &'a Change,
    /// ConfigMaps changed, and neither a template nor the name of one of them: nothing has to roll.
    pub config_only: bool,
    /// Such a ConfigMap, or several, were written, or the workload's number of pods: the last of them. Or it was
    /// applied, and no template changed by it.
    pub written: Option<Evidence>,
    /// Index of the number of pods that it gave the workload, where no template changed by it.
    pub scale: Option<usize>,
    /// A container reads one of them only when it starts.
    pub at_start: bool,
    /// Index of the template version that brought it.
    pub version: Option<usize>,
    pub ended: Option<(Outcome, Interval)>,
}

/// Folds commits and template changes into revisions, oldest first. A template that changed after a commit
/// carries it; of several commits waiting, the last one gets it and the others were superseded.
#[must_use]
pub fn fold<'a>(inputs: &Inputs<'a>) -> Vec<RevisionLeg<'a>> {
    let first = inputs.workload.now.containers.first().map(|container| &*container.name);
    if first != Some(inputs.container) {
        return Vec::new();
    }
    let commits = asks::commits(inputs);
    let mut legs: Vec<RevisionLeg<'a>> = Vec::new();
    let (mut taken, mut scaled) = (0, None);
    for (at, Revised { changes, of_an_image }) in commits.iter().enumerate() {
        let only_scales = changes.iter().all(|change| change.slot.is_scale());
        let mut after = commits[at + 1..].iter().filter(|next| only_scales || !next.of_an_image);
        let next_one = after.next();
        let next = next_one.map(|next| next.changes[0].at.interval);
        let Some(asks) = Asks::of(changes, next, scaled, inputs) else { continue };
        scaled = asks.taken().or(scaled);
        if *of_an_image {
            continue;
        }
        let Asks { config_only, rolls, .. } = asks;
        let committed = changes[0].at.interval;
        let written = asks.written(next, inputs);
        let given_up = inputs.gave_up(None, Some((&changes[0].commit, committed)));
        let carries = |(index, version): &(usize, &Version)| {
            let changed = version.ours;
            if given_up.as_ref().is_some_and(|(given_up, _)| given_up.not_after <= changed.not_before) {
                return false;
            }
            let begins = match (rolls, config_only, written) {
                (true, ..) => committed,
                (false, true, Some(written)) => written.interval,
                (false, ..) => return false,
            };
            !version.backfill
                && !version.horizon
                && !inputs.releases.took_back(*index)
                && *index >= taken
                && changed.not_after >= begins.not_before
                && (rolls || changed.not_before <= begins.not_after + ROLL_FOLLOWS_MILLIS)
                && next.is_none_or(|next| changed.not_after <= next.not_after)
        };
        // A manifest is written at once: the template came with its number of pods, where that was written.
        let with = asks.taken().map(|at| &inputs.workload.scales.0[at]);
        let with = with.filter(|scale| rolls && scale.changed.basis == Basis::ManagedFields);
        let with = |(_, version): &(usize, &Version)| {
            with.is_none_or(|scale| version.ours.not_after >= scale.ours.not_before)
        };
        let mut carrying = inputs.workload.versions.iter().enumerate().filter(carries);
        let first = carrying.next();
        let version = first.into_iter().chain(carrying).find(with).or(first).map(|(index, _)| index);
        taken = version.map_or(taken, |version| version + 1);
        let told = || {
            let hands = inputs.hands(None, None);
            let applied = hands.applied(&changes[0].commit, committed);
            // What came with the next one is that one's.
            let with_next = || {
                let next = next_one?.changes[0];
                Some(hands.applied(&next.commit, next.at.interval)?.interval)
            };
            let removed = inputs.workload.removed.map(|removed| removed.interval.not_before);
            let own = |applied: &Evidence| {
                next.is_none_or(|next| applied.interval.not_before <= next.not_after)
                    && with_next() != Some(applied.interval)
                    && removed.is_none_or(|removed| applied.interval.not_after <= removed)
            };
            applied.filter(own)
        };
        // What a workload says by itself needs no other word.
        let asked = version.is_none() && (rolls || asks.scale == Some(Asked::Open));
        let told = asked.then(told).flatten();
        let mut leg = RevisionLeg {
            change: asks.change,
            config_only,
            written: written.or(told.filter(|_| rolls)),
            scale: asks.taken().filter(|_| version.is_none() && !rolls),
            at_start: changes.iter().any(|change| change.slot.read_at_start(inputs.workload)),
            version,
            ended: None,
        };
        leg.scale = leg.scale.or_else(|| leg.released(next, inputs));
        if let Some(scale) = leg.scale.filter(|_| rolls) {
            leg.written = Some(inputs.workload.scales.0[scale].changed);
        }
        // Who applied it gave the workload another number: something between git and the cluster decides that.
        let decided = told.filter(|_| !rolls).map(|told| told.interval);
        let overridden = leg.overridden(inputs).or(decided);
        if let Some(at) = overridden.filter(|at| next.is_none_or(|next| at.not_after <= next.not_before)) {
            leg.ended = Some((Outcome::Superseded, at));
        } else if let Some((next_one, next)) = next_one.zip(next) {
            let live = leg.lives(inputs).is_some_and(|live| live.not_after <= next.not_after);
            let failed = leg.failed(inputs).filter(|(failed, _)| failed.not_after <= next.not_after);
            let reverts = next_one.changes.iter().any(|change| change.reverts);
            let outcome = if reverts { Outcome::RolledBack } else { Outcome::Superseded };
            leg.ended = match failed {
                _ if live => None,
                Some((failed, _)) => Some((Outcome::Failed, failed)),
                None => Some((outcome, next)),
            };
        }
        legs.push(leg);
    }
    legs
}

impl RevisionLeg<'_> {
    /// Those from the first that carries it on, but for what a release put back.
    fn versions<'a, 'b>(&self, inputs: &'b Inputs<'a>) -> impl Iterator<Item = &'a Version> + use<'a, 'b> {
        let all = inputs.workload.versions.iter().enumerate();
        let first = self.version.unwrap_or(usize::MAX);
        all.skip(first).filter(|(at, _)| !inputs.releases.took_back(*at)).map(|(_, version)| version)
    }

    /// When the release that was to bring it gave up, and what it said.
    #[must_use]
    pub fn failed(&self, inputs: &Inputs<'_>) -> Option<(Interval, Who)> {
        let versions = self.version.map(|first| (first, first));
        inputs.gave_up(versions, Some((&self.change.commit, self.change.at.interval)))
    }

    /// The number of pods that a release gave the workload with it: no text tells what a chart makes of a value.
    fn released(&self, next: Option<Interval>, inputs: &Inputs<'_>) -> Option<usize> {
        let written = self.written.filter(|_| self.version.is_none() && self.change.slot.is_release())?;
        let scale = inputs.workload.scales.written(self.change.at.interval, written.interval)?;
        let ours = inputs.workload.scales.0[scale].ours;
        next.is_none_or(|next| ours.not_after <= next.not_after).then_some(scale)
    }

    /// When somebody gave the workload another number of pods before it had this one.
    fn overridden(&self, inputs: &Inputs<'_>) -> Option<Interval> {
        let at = self.scale?;
        let scales = &inputs.workload.scales.0;
        let next = scales.get(at + 1).filter(|_| scales[at].reached.is_none())?;
        Some(next.ours)
    }

    /// When it gave the workload another number of pods, on our clock, and the generation then.
    #[must_use]
    pub fn scaled(&self, inputs: &Inputs<'_>) -> Option<(Interval, i64)> {
        let scale = inputs.workload.scales.0.get(self.scale?)?;
        Some((scale.ours, scale.generation))
    }

    /// Nothing has to start for it: no template changed, and no more pods are to be there.
    #[must_use]
    pub fn starts_nothing(&self, inputs: &Inputs<'_>) -> bool {
        let grows = self.scale.is_some_and(|scale| inputs.workload.scales.grows(scale));
        self.version.is_none() && self.written.is_some() && !grows
    }

    /// When it was applied: a template carries it, or its ConfigMaps were written.
    #[must_use]
    pub fn applied(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.written.or_else(|| self.version.map(|version| inputs.workload.versions[version].changed))
    }

    /// The first complete rollout of a template that carries it. Where no template changed with it, applied is all
    /// that happens.
    #[must_use]
    pub fn live(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        match (self.version, self.scale) {
            (None, None) => self.written,
            (None, Some(scale)) => {
                let reached = inputs.workload.scales.0[scale].reached?.at;
                self.written.map(|written| later(written, reached))
            }
            (Some(_), _) => self.versions(inputs).find_map(|version| Some(version.completes.first()?.at)),
        }
    }

    /// The same on our clock.
    fn lives(&self, inputs: &Inputs<'_>) -> Option<Interval> {
        match (self.version, self.scale) {
            (None, None) => self.written.map(|written| written.interval),
            (None, Some(scale)) => Some(inputs.workload.scales.0[scale].reached?.ours),
            (Some(_), _) => self.versions(inputs).find_map(|version| Some(version.completes.first()?.ours)),
        }
    }

    /// The first container that started for it.
    #[must_use]
    pub fn started(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        match self.scale {
            Some(scale) => inputs.workload.scales.0[scale].started,
            None => self.first(inputs, |version| &version.started),
        }
    }

    /// The first pod that was ready for it.
    #[must_use]
    pub fn ready(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        match self.scale {
            Some(scale) => inputs.workload.scales.0[scale].ready,
            None => self.first(inputs, |version| &version.ready),
        }
    }

    /// The first container started, or the first pod ready, under a template that carries it.
    fn first(&self, inputs: &Inputs<'_>, read: fn(&Version) -> &Firsts) -> Option<Evidence> {
        let of = |version: &Version| {
            let firsts = read(version).get(inputs.container)?;
            let after = firsts
                .iter()
                .filter(|first| first.at.interval.not_after >= version.changed.interval.not_before);
            after.map(|first| first.at).min_by_key(|at| at.interval.not_after)
        };
        self.versions(inputs).find_map(of)
    }
}

fn later(one: Evidence, other: Evidence) -> Evidence {
    if other.interval.not_after >= one.interval.not_after { other } else { one }
}
