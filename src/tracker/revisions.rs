//! Revisions of one workload: a commit changed its manifest's pod template, or a ConfigMap that it names, and no
//! image.
//!
//! The text cannot tell which container a change is for, so a revision travels to the workload's first container:
//! one journey, never one per sidecar.

use super::git::{Change, Slot};
use super::history::History;
use super::journey::{Outcome, Who};
use super::legs::Inputs;
use super::stage::Evidence;
use super::workload::{Firsts, Version};
use crate::observation::Interval;

/// Whatever restarts pods because a ConfigMap was written does so within this time: an applier's next step, or a
/// controller that reloads.
const ROLL_FOLLOWS_MILLIS: i64 = 120_000;

/// One revision on its way.
#[derive(Debug, Clone, Copy)]
pub struct RevisionLeg<'a> {
    pub change: &'a Change,
    /// Only ConfigMaps changed, and none of them gets another name by it: nothing has to roll.
    pub config_only: bool,
    /// Such a ConfigMap, or several, were written: the last of them. Or it was applied, and no template changed by it.
    pub written: Option<Evidence>,
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
    let commits = commits(inputs);
    let mut legs: Vec<RevisionLeg<'a>> = Vec::new();
    let mut taken = 0;
    for (at, changes) in commits.iter().enumerate() {
        let next = commits.get(at + 1).map(|next| next[0].at.interval);
        let config_only = changes.iter().all(|change| change.slot.is_followed());
        let committed = changes[0].at.interval;
        let written = config_only.then(|| written(changes, next, inputs)).flatten();
        let given_up = inputs.gave_up(None, Some((&changes[0].commit, committed)));
        let carries = |(index, version): &(usize, &Version)| {
            let changed = version.ours;
            if given_up.as_ref().is_some_and(|(given_up, _)| given_up.not_after <= changed.not_before) {
                return false;
            }
            let begins = match (config_only, written) {
                (true, None) => return false,
                (true, Some(written)) => written.interval,
                (false, _) => committed,
            };
            !version.backfill
                && !version.horizon
                && !inputs.releases.took_back(*index)
                && *index >= taken
                && changed.not_after >= begins.not_before
                && (!config_only || changed.not_before <= begins.not_after + ROLL_FOLLOWS_MILLIS)
                && next.is_none_or(|next| changed.not_after <= next.not_after)
        };
        let version = inputs.workload.versions.iter().enumerate().find(carries).map(|(index, _)| index);
        taken = version.map_or(taken, |version| version + 1);
        let written = written.or_else(|| {
            let applied = inputs.hands(None, None).applied(&changes[0].commit, committed);
            // What came with the next one is that one's.
            let own =
                |applied: &Evidence| next.is_none_or(|next| applied.interval.not_before <= next.not_after);
            applied.filter(own).filter(|_| version.is_none() && !config_only)
        });
        let at_start = changes.iter().any(|change| change.slot.read_at_start(inputs.workload));
        let change = *changes.iter().find(|change| !change.slot.is_followed()).unwrap_or(&changes[0]);
        let mut leg = RevisionLeg { change, config_only, written, at_start, version, ended: None };
        if let Some(next) = next {
            let live = leg.lives(inputs).is_some_and(|live| live.not_after <= next.not_after);
            let failed = leg.failed(inputs).filter(|(failed, _)| failed.not_after <= next.not_after);
            let reverts = commits[at + 1].iter().any(|change| change.reverts);
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

/// The changes of each commit that brought a revision, oldest first. One that also brings another image to the
/// container is that image's.
fn commits<'a>(inputs: &Inputs<'a>) -> Vec<Vec<&'a Change>> {
    if !inputs.changes.iter().any(|change| change.revision) {
        return Vec::new();
    }
    let history = History::of(inputs);
    let same = |left: &Change, right: &Change| left.commit == right.commit && left.at == right.at;
    let of_an_image = |change: &Change| {
        inputs.changes.iter().any(|other| !other.revision && other.at_tip && same(other, change))
    };
    let mut commits: Vec<Vec<&Change>> = Vec::new();
    for change in inputs.changes.iter().copied().filter(|change| change.revision) {
        if !history.covers_commit(change) || (change.slot.is_config_map() && of_an_image(change)) {
            continue;
        }
        match commits.last_mut().filter(|last| same(last[0], change)) {
            Some(last) => last.push(change),
            None => commits.push(vec![change]),
        }
    }
    commits
}

/// When the last of the ConfigMaps was written after their commit; `None` while one is not.
fn written(changes: &[&Change], next: Option<Interval>, inputs: &Inputs<'_>) -> Option<Evidence> {
    let namespace = &inputs.workload.now.key.namespace;
    let mut last: Option<Evidence> = None;
    for change in changes {
        let Slot::ConfigMap { name, .. } = &change.slot else { continue };
        let write = inputs.config_maps?.written(namespace, name, change.at.interval, next)?;
        if last.is_none_or(|last| last.interval.not_after < write.interval.not_after) {
            last = Some(write);
        }
    }
    last
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

    /// When it was applied: a template carries it, or its ConfigMaps were written.
    #[must_use]
    pub fn applied(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.written.or_else(|| self.version.map(|version| inputs.workload.versions[version].changed))
    }

    /// The first complete rollout of a template that carries it. Where no template changed with it, applied is all
    /// that happens.
    #[must_use]
    pub fn live(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        if self.version.is_none() {
            return self.written;
        }
        self.versions(inputs).find_map(|version| Some(version.completes.first()?.at))
    }

    /// The same on our clock.
    fn lives(&self, inputs: &Inputs<'_>) -> Option<Interval> {
        if self.version.is_none() {
            return self.written.map(|written| written.interval);
        }
        self.versions(inputs).find_map(|version| Some(version.completes.first()?.ours))
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
        self.versions(inputs).find_map(of)
    }
}
