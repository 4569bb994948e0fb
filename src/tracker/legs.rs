//! The order of desires of one destination: which image it should run, since when, and who said so.
//!
//! A leg is a desire for one image before it has stages. Legs are folded from template changes, commits and
//! selections in the order in which they happened; where intervals overlap, a commit or a selection that
//! names what a template already took is its cause, not a new desire.

use super::config_map::ConfigMaps;
use super::engine::{Chain, Engines, Releases};
use super::expect::Selection;
use super::git::Change;
use super::history::History;
use super::journey::{CommitRef, Outcome, Who};
use super::leg::{Leg, same_image};
use super::registry::Registries;
use super::taken::TakenBy;
use super::workload::{Version, WorkloadState};
use crate::image::{Digest, ImageRef, Repository};
use crate::observation::{Interval, Time};

/// What the fold needs to know of the destination.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub workload: &'a WorkloadState,
    pub container: &'a str,
    pub registries: &'a Registries,
    /// Changes under paths that set this destination's environment, oldest first.
    pub changes: Vec<&'a Change>,
    /// Changes elsewhere: joined only afterwards, by their text.
    pub elsewhere: Vec<&'a Change>,
    pub selections: Vec<&'a Selection>,
    /// No other destination of the environment uses the same repository.
    pub alone: bool,
    /// Of its cluster.
    pub config_maps: Option<&'a ConfigMaps>,
    /// Of its cluster.
    pub engines: Option<&'a Engines>,
    pub taken: &'a TakenBy,
    /// Why the commit of an image stays unknown where none is known to have brought it, if that has a reason.
    pub unseen: Option<&'a Who>,
    /// What the release that makes its workload took back.
    pub releases: Releases,
}

impl<'a> Inputs<'a> {
    /// The hands through which an image of a repository comes here.
    #[must_use]
    pub fn chain(&self, repository: &Repository, marker: Option<&str>) -> Chain<'a> {
        self.hands(Some(repository), marker)
    }

    /// The hands through which anything comes here.
    #[must_use]
    pub fn hands(&self, repository: Option<&Repository>, marker: Option<&str>) -> Chain<'a> {
        let chain = |engines: &'a Engines| engines.chain(self.workload, repository, marker).with(self.taken);
        self.engines.map(chain).unwrap_or_default()
    }

    /// When the release that brings something gave up, and what it said. See [`Chain::gave_up`].
    #[must_use]
    pub fn gave_up(
        &self,
        versions: Option<(usize, usize)>,
        commit: Option<(&CommitRef, Interval)>,
    ) -> Option<(Interval, Who)> {
        self.engines.filter(|_| self.releases.ever_gave_up())?;
        self.hands(None, None).gave_up(versions, commit, self.workload, &self.releases)
    }
}

/// The fold's result.
#[derive(Debug, Default)]
pub struct Desires<'a> {
    pub legs: Vec<Leg<'a>>,
    /// The leg that is desired now.
    pub current: Option<usize>,
    /// Versions whose template changed without another image for any container.
    pub restarts: Vec<usize>,
    /// The leg that the template carries again because a release took back the one after it.
    pub(super) back_to: Option<usize>,
}

enum Step<'a> {
    Selection(&'a Selection),
    Commit(&'a Change),
    Template(usize),
}

/// Folds everything that was said into the order of desires.
#[must_use]
pub fn fold<'a>(inputs: &Inputs<'a>) -> Desires<'a> {
    let mut steps: Vec<(Time, u8, Step<'_>)> = Vec::new();
    let history = History::of(inputs);
    for selection in inputs.selections.iter().filter(|selection| !selection.backfill) {
        if history.covers_selection(selection.at.interval) {
            steps.push((selection.at.interval.not_after, 0, Step::Selection(selection)));
        }
    }
    let commits = inputs.changes.iter().filter(|change| change.at_tip && !change.revision);
    for change in commits.filter(|change| history.covers_commit(change)) {
        steps.push((change.at.interval.not_after, 1, Step::Commit(change)));
    }
    let mut order = Time::MIN;
    for (index, version) in inputs.workload.versions.iter().enumerate() {
        // Within the cluster its own order decides, whatever its clock says; what was there comes first.
        if !version.backfill && !version.horizon {
            order = order.max(version.ours.not_after);
        }
        steps.push((order, 2, Step::Template(index)));
    }
    steps.sort_by_key(|(at, kind, _)| (*at, *kind));
    let mut desires = Desires::default();
    for (_, _, step) in steps {
        match step {
            Step::Selection(selection) => desires.select(selection, inputs),
            Step::Commit(change) => desires.commit(change, inputs),
            Step::Template(index) => desires.template(index, inputs),
        }
    }
    desires.join_afterwards(inputs);
    desires
}

impl<'a> Desires<'a> {
    fn template(&mut self, index: usize, inputs: &Inputs<'a>) {
        let workload = inputs.workload;
        let version = &workload.versions[index];
        if !version.images.iter().any(|(name, _)| **name == *inputs.container) {
            self.end_removed(version.ours, inputs);
            return;
        }
        let Some(image) = version.read(inputs.container) else { return };
        let digest = resolve(image, version, inputs);
        if self.takes_back(index, image, digest, inputs) || self.tries_again(index, image, digest, inputs) {
            return;
        }
        // Who gave it up does not take it again: that is a new journey.
        let given_up =
            |leg: &Leg<'_>| leg.failed(inputs).is_some_and(|(at, _)| at.not_after <= version.ours.not_before);
        let pending = |leg: &Leg<'_>| {
            leg.version.is_none() && !leg.baseline && leg.names(image, digest) && !given_up(leg)
        };
        if let Some(at) = self.current.filter(|at| pending(&self.legs[*at])) {
            self.take(at, index, digest);
            return;
        }
        // An applier that lags behind the branch: what it applies now was desired before, and is no new desire.
        let lagging =
            self.legs.iter().rposition(|leg| pending(leg) && leg.opened.not_before <= version.ours.not_after);
        if let Some(at) = lagging {
            if !self.desire_again(at, index, digest, inputs) {
                self.take(at, index, digest);
            }
            return;
        }
        if self.lags(index, image, digest, inputs) {
            return;
        }
        let previous = index.checked_sub(1).map(|before| &inputs.workload.versions[before]);
        let same_text = previous.is_some_and(|before| before.read(inputs.container) == Some(image));
        if !same_text
            && digest.is_some()
            && let Some(at) = self.template_leg_before(index, inputs)
            && self.current == Some(at)
            && !inputs.releases.only_took_back(self.legs[at].until, index)
            && self.legs[at].digest == digest
            && self.legs[at].image.repository == image.repository
        {
            // The same image by another name: a digest in place of a tag. No new desire, only a restart, unless
            // the pods ran something else: a node may have had the tag cached.
            let ran_it = self.running_digest(inputs) == digest;
            self.legs[at].until = index;
            let others = |version: &Version| {
                version
                    .images
                    .iter()
                    .filter(|(name, _)| **name != *inputs.container)
                    .cloned()
                    .collect::<Vec<_>>()
            };
            if ran_it && previous.is_some_and(|before| others(before) == others(version)) {
                self.restarts.push(index);
            }
            return;
        }
        if same_text {
            let runs = self.running_digest(inputs);
            let moved = matches!((digest, runs), (Some(now), Some(runs)) if now != runs);
            if !moved {
                let unchanged = previous.is_some_and(|before| before.images == version.images);
                if unchanged {
                    self.restarts.push(index);
                }
                let carries = self.template_leg_before(index, inputs);
                if let Some(at) = carries {
                    self.legs[at].until = index;
                }
                return;
            }
        }
        let opened = version.ours;
        // What is tried once more after that is what was committed.
        let tried = |leg: &&Leg<'_>| !leg.baseline && leg.names(image, digest) && given_up(leg);
        let commit = self.current.map(|at| &self.legs[at]).filter(tried).and_then(|leg| leg.commit);
        let leg = Leg { version: Some(index), until: index, commit, ..Leg::new(image, digest, opened) };
        let baseline = version.backfill || version.horizon;
        self.push(Leg { baseline, ..leg }, Said::ByTemplate, inputs);
    }

    /// The container is no longer in the template.
    fn end_removed(&mut self, at: Interval, inputs: &Inputs<'a>) {
        if let Some(current) = self.current.take() {
            let leg = &self.legs[current];
            if !leg.baseline && leg.ended.is_none() && leg.live(inputs).is_none() {
                self.legs[current].ended = Some((Outcome::Removed, at));
            }
        }
    }

    /// A commit took the reference away before anything carried it.
    fn take_back(&mut self, change: &Change, inputs: &Inputs<'a>) {
        let Some(current) = self.current else { return };
        let leg = &self.legs[current];
        if leg.version.is_none() && leg.commit.is_some() && change.before.as_ref() == Some(leg.image) {
            self.legs[current].ended = Some((Outcome::Withdrawn, change.at.interval));
            self.current = self.template_leg(inputs);
        }
    }

    fn commit(&mut self, change: &'a Change, inputs: &Inputs<'a>) {
        let Some(image) = &change.after else { return self.take_back(change, inputs) };
        let at = change.at.interval;
        let text = !change.slot.sets(&inputs.workload.now.key, inputs.container)
            && matches!(change.slot, super::git::Slot::Text { .. });
        if text && !self.text_joins(change, inputs) {
            return;
        }
        if let Some(explained) = self.explained(change, image, inputs) {
            let leg = &mut self.legs[explained];
            leg.commit = Some(change);
            leg.text_match |= text;
            leg.opened = earlier(leg.opened, at);
            return;
        }
        if self.current.is_some_and(|current| self.legs[current].reads(image)) {
            return;
        }
        let runs = self.template_leg(inputs).filter(|leg| self.legs[*leg].reads(image));
        if self.is_overtaken(change, image) {
            if runs.is_none() {
                let digest = inputs.registries.resolve(image, at).last();
                self.overtake(Leg { commit: Some(change), text_match: text, ..Leg::new(image, digest, at) });
            }
            return;
        }
        if let Some(runs) = runs {
            self.end_current(self.legs[runs], Said::ByCommit, at, inputs);
            self.current = Some(runs);
            return;
        }
        let digest = inputs.registries.resolve(image, at).last();
        let leg = Leg { commit: Some(change), ..Leg::new(image, digest, at) };
        self.push(leg, Said::ByCommit, inputs);
    }

    fn select(&mut self, selection: &'a Selection, inputs: &Inputs<'a>) {
        let image = &selection.image;
        let chosen = selection.digest.as_ref();
        let same = |leg: &Leg<'_>| {
            let beside = chosen.is_some() && leg.digest == chosen && leg.image.digest.is_some();
            (leg.image == image && !(leg.digest.is_some() && chosen.is_some() && leg.digest != chosen))
                || (beside
                    && leg.image.repository == image.repository
                    && leg.image.tag.is_some()
                    && leg.image.tag == image.tag)
        };
        if let Some(at) = self.current.filter(|at| same(&self.legs[*at])) {
            let leg = &mut self.legs[at];
            if leg.selection.is_none() && !leg.baseline {
                leg.selection = Some(selection);
            }
            return;
        }
        let at = selection.at.interval;
        if let Some(runs) = self.template_leg(inputs).filter(|leg| same(&self.legs[*leg])) {
            // A deleted tag withdraws only what no commit named.
            let committed = self.current.is_some_and(|current| self.legs[current].commit.is_some());
            if !committed {
                self.end_current(self.legs[runs], Said::ByCommit, at, inputs);
                self.current = Some(runs);
            }
            return;
        }
        if !selection.again && self.legs.iter().any(|leg| leg.selection.is_some() && same(leg)) {
            return;
        }
        let leg = Leg { selection: Some(selection), ..Leg::new(image, chosen, at) };
        self.push(leg, Said::ByCommit, inputs);
    }

    /// Commits that were overtaken before we looked, and commits on paths that no rule maps: causes of what a
    /// template took, never desires.
    fn join_afterwards(&mut self, inputs: &Inputs<'a>) {
        let passed = inputs.changes.iter().filter(|change| !change.at_tip);
        for change in passed.chain(&inputs.elsewhere).filter(|change| !change.revision) {
            let Some(image) = &change.after else { continue };
            let elsewhere = !inputs.changes.iter().any(|known| std::ptr::eq(*known, *change));
            let leg = self.legs.iter_mut().find(|leg| {
                leg.commit.is_none()
                    && !leg.baseline
                    && leg.image == image
                    && leg.version.is_some_and(|version| {
                        let applied = inputs.workload.versions[version].ours;
                        change.at.interval.not_before <= applied.not_after
                    })
            });
            if let Some(leg) = leg {
                leg.opened = earlier(leg.opened, change.at.interval);
                leg.commit = Some(*change);
                leg.text_match = elsewhere;
            }
        }
    }

    fn text_joins(&self, change: &Change, inputs: &Inputs<'a>) -> bool {
        let Some(after) = &change.after else { return false };
        let desired = self.current.map(|at| self.legs[at].image);
        let used = desired.is_some_and(|image| image.repository == after.repository)
            || inputs
                .workload
                .versions
                .last()
                .and_then(|v| v.read(inputs.container))
                .is_some_and(|image| image.repository == after.repository);
        used && (change.before.as_ref().is_some_and(|before| desired == Some(before))
            || inputs.alone
            || self.legs.iter().any(|leg| leg.version.is_some() && leg.image == after))
    }

    /// Since when what is desired is not what the policy last selected, though it was said later: the policy's
    /// unchanged word never outranks a commit. Unknown for what was there at the first look.
    #[must_use]
    pub fn overridden_since(&self, inputs: &Inputs<'_>) -> Option<Time> {
        let policies = inputs.selections.iter().filter(|selection| !selection.hinted);
        let last = policies.max_by_key(|selection| selection.at.interval.not_after)?;
        let leg = self.current.map(|at| &self.legs[at]).filter(|leg| !leg.baseline)?;
        let agrees = match (leg.digest, &last.digest) {
            (Some(desired), Some(selected)) => desired == selected || *leg.image == last.image,
            _ => *leg.image == last.image,
        };
        let later = leg.opened.not_before >= last.at.interval.not_after || last.backfill;
        (!agrees && later && leg.image.repository == last.image.repository).then_some(leg.opened.not_after)
    }

    pub(super) fn take(&mut self, at: usize, version: usize, digest: Option<&'a Digest>) {
        let leg = &mut self.legs[at];
        leg.version = Some(version);
        leg.until = version;
        leg.digest = digest.or(leg.digest);
    }

    pub(super) fn push(&mut self, mut leg: Leg<'a>, said: Said, inputs: &Inputs<'a>) {
        self.end_current(leg, said, leg.opened, inputs);
        leg.previous = self.current;
        leg.rank = self.legs.iter().position(|known| same_image(known, &leg)).unwrap_or(self.legs.len());
        self.legs.push(leg);
        self.current = Some(self.legs.len() - 1);
    }

    /// A desire for another image ends an unfinished one.
    fn end_current(&mut self, next: Leg<'a>, said: Said, at: Interval, inputs: &Inputs<'a>) {
        let Some(current) = self.current else { return };
        if self.legs[current].baseline || self.legs[current].ended.is_some() {
            return;
        }
        let failed = self.legs[current].failed(inputs).filter(|(failed, _)| failed.not_after <= at.not_after);
        if let Some((failed, _)) = failed {
            self.legs[current].ended = Some((Outcome::Failed, failed));
            return;
        }
        let live = self.legs[current].completion(inputs);
        if live.is_some_and(|live| live.ours.not_after <= at.not_after) {
            return;
        }
        // Complete at some time of a gap in which a commit came too: which of the two was first, nobody knows.
        let undecided =
            said == Said::ByCommit && live.is_some_and(|live| live.ours.not_before < at.not_before);
        let lowered = next.selection.is_some_and(|selection| selection.lowered);
        let returns = lowered || self.legs[..current].iter().any(|leg| same_image(leg, &next));
        let ran = self.legs[current].ran_before(at, inputs);
        let outcome = match (returns, said) {
            _ if self.legs[current].ran_unseen(inputs) => Outcome::Unknown,
            _ if undecided || self.unwatched(current, at, inputs) => Outcome::Unknown,
            (true, Said::ByCommit) if !ran => Outcome::Withdrawn,
            (true, _) => Outcome::RolledBack,
            (false, _) => Outcome::Superseded,
        };
        self.legs[current].ended = Some((outcome, at));
    }

    /// Nobody watched when the template that came after it did: it may have been live until then, and even have
    /// been applied unseen.
    fn unwatched(&self, leg: usize, ended: Interval, inputs: &Inputs<'a>) -> bool {
        let carried = self.legs[..=leg].iter().filter(|leg| leg.version.is_some()).map(|leg| leg.until).max();
        let next = carried.and_then(|last| inputs.workload.versions.get(last + 1));
        next.and_then(|next| next.unwatched_since).is_some_and(|since| since <= ended.not_after)
    }

    /// The leg that the latest template carries.
    fn template_leg(&self, inputs: &Inputs<'a>) -> Option<usize> {
        self.back_to.or_else(|| self.template_leg_before(usize::MAX, inputs))
    }

    /// The leg that the template carried before a version.
    pub(super) fn template_leg_before(&self, version: usize, inputs: &Inputs<'a>) -> Option<usize> {
        let carrying =
            self.legs.iter().enumerate().filter(|(_, leg)| leg.version.is_some() && leg.until < version);
        let (at, leg) = carrying.max_by_key(|(at, leg)| (leg.until, *at))?;
        let image = inputs.workload.versions[leg.until].read(inputs.container)?;
        leg.names(image, leg.digest).then_some(at)
    }

    /// What the container ran before the template changed, as its last finished leg says.
    fn running_digest(&self, inputs: &Inputs<'a>) -> Option<&'a Digest> {
        let leg = &self.legs[self.template_leg(inputs)?];
        let workload = inputs.workload;
        let version = &workload.versions[leg.until];
        let ran = version.started.get(inputs.container).and_then(|firsts| firsts.last()?.digest.as_ref());
        match (ran, leg.digest) {
            (Some(ran), Some(digest)) => match inputs.registries.confirm(ran, digest) {
                super::registry::Confirm::No => Some(ran),
                _ => Some(digest),
            },
            (ran, digest) => ran.or(digest),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    ByCommit,
    ByTemplate,
}

/// The digest that a template's reference meant when it was written; pods decide where the tag moved then.
fn resolve<'a>(image: &'a ImageRef, version: &Version, inputs: &Inputs<'a>) -> Option<&'a Digest> {
    let meant = inputs.registries.resolve(image, version.ours);
    let mut several = meant.clone();
    if several.next().is_some()
        && several.next().is_some()
        && let Some(firsts) = version.started.get(inputs.container)
    {
        let runs = |digest: &&'a Digest| {
            firsts
                .iter()
                .filter_map(|first| first.digest.as_ref())
                .any(|running| inputs.registries.confirm(running, digest) == super::registry::Confirm::Yes)
        };
        if let Some(digest) = meant.clone().filter(runs).last() {
            return Some(digest);
        }
    }
    meant.last()
}

fn earlier(left: Interval, right: Interval) -> Interval {
    if right.not_after < left.not_after { right } else { left }
}
