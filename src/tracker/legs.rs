//! The order of desires of one destination: which image it should run, since when, and who said so.
//!
//! A leg is a desire for one image before it has stages. Legs are folded from template changes, commits and
//! selections in the order in which they happened; where intervals overlap, a commit or a selection that
//! names what a template already took is its cause, not a new desire.

use super::git::Change;
use super::journey::Outcome;
use super::registry::{Registries, Selection};
use super::stage::Evidence;
use super::workload::{Complete, Firsts, Version, WorkloadState};
use crate::image::{Digest, ImageRef};
use crate::observation::{Basis, Interval, Time};

/// One desire.
#[derive(Debug, Clone)]
pub struct Leg {
    pub image: ImageRef,
    pub digest: Option<Digest>,
    /// It was so at the first look: opens no journey.
    pub baseline: bool,
    pub selection: Option<Selection>,
    pub commit: Option<Change>,
    /// The commit was joined by its text alone.
    pub text_match: bool,
    /// Index of the template version that first carries it.
    pub version: Option<usize>,
    /// The last version that carries it: restarts and changes of sibling containers go on with the same image.
    pub until: usize,
    /// When the first cause that we know of happened.
    pub opened: Interval,
    /// A later desire ended it before it was live.
    pub ended: Option<(Outcome, Interval)>,
    /// Position of the first leg with this image: the destination's order of desires.
    pub rank: usize,
    /// The leg that was desired before.
    pub previous: Option<usize>,
}

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
}

/// The fold's result.
#[derive(Debug, Default)]
pub struct Desires {
    pub legs: Vec<Leg>,
    /// The leg that is desired now.
    pub current: Option<usize>,
    /// Versions whose template changed without another image for any container.
    pub restarts: Vec<usize>,
}

enum Step<'a> {
    Selection(&'a Selection),
    Commit(&'a Change),
    Template(usize),
}

/// Folds everything that was said into the order of desires.
#[must_use]
pub fn fold(inputs: &Inputs<'_>) -> Desires {
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
            order = order.max(version.changed.interval.not_after);
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

/// From when to when commits and selections can be meant for this destination: neither before its workload was
/// made, or before memory begins, nor after it was removed.
pub struct History {
    begins: Option<Interval>,
    /// What a new workload was made with: the commit that named it may be older than the workload.
    first_image: Option<ImageRef>,
    /// The last commit before the beginning that names the first image.
    cause: Option<Interval>,
    ends: Option<Interval>,
}

impl History {
    /// The history of a destination.
    #[must_use]
    pub fn of(inputs: &Inputs<'_>) -> Self {
        let first = inputs.workload.versions.first().filter(|version| !version.backfill);
        let begins = first.map(|version| version.changed.interval);
        let first_image = first.filter(|version| !version.horizon).and_then(|v| v.image(inputs.container));
        let earlier = inputs.changes.iter().filter(|change| {
            first_image.is_some()
                && change.after == first_image
                && begins.is_some_and(|begins| change.at.interval.not_after < begins.not_before)
        });
        let cause = earlier.map(|change| change.at.interval).max_by_key(|at| at.not_after);
        Self { begins, first_image, cause, ends: inputs.workload.removed.map(|removed| removed.interval) }
    }

    fn covers(&self, at: Interval) -> bool {
        self.begins.is_none_or(|begins| at.not_after >= begins.not_before)
            && self.ends.is_none_or(|ends| at.not_before <= ends.not_after)
    }

    fn covers_selection(&self, at: Interval) -> bool {
        self.covers(at)
    }

    /// Whether a commit can be meant for it.
    #[must_use]
    pub fn covers_commit(&self, change: &Change) -> bool {
        let at = change.at.interval;
        let is_cause = Some(at) == self.cause && change.after == self.first_image;
        self.covers(at) || is_cause
    }
}

impl Desires {
    fn template(&mut self, index: usize, inputs: &Inputs<'_>) {
        let version = &inputs.workload.versions[index];
        if !version.images.iter().any(|(name, _)| **name == *inputs.container) {
            self.end_removed(version.changed.interval, inputs);
            return;
        }
        let Some(image) = version.image(inputs.container) else { return };
        let digest = resolve(&image, version, inputs);
        let pending =
            |leg: &Leg| leg.version.is_none() && !leg.baseline && leg.names(&image, digest.as_ref());
        if let Some(at) = self.current.filter(|at| pending(&self.legs[*at])) {
            self.take(at, index, digest);
            return;
        }
        // An applier that lags behind the branch: what it applies now was desired before, and is no new desire.
        let lagging = self
            .legs
            .iter()
            .rposition(|leg| pending(leg) && leg.opened.not_before <= version.changed.interval.not_after);
        if let Some(at) = lagging {
            self.take(at, index, digest);
            self.desire_again(at, index, inputs);
            return;
        }
        let previous = index.checked_sub(1).map(|before| &inputs.workload.versions[before]);
        let same_text =
            previous.is_some_and(|before| before.image(inputs.container).as_ref() == Some(&image));
        if !same_text
            && digest.is_some()
            && let Some(at) = self.template_leg_before(index, inputs)
            && self.current == Some(at)
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
            let moved = matches!((&digest, &runs), (Some(now), Some(runs)) if now != runs);
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
        let opened = version.changed.interval;
        let leg = Leg { version: Some(index), until: index, ..Leg::new(image, digest, opened) };
        let baseline = version.backfill || version.horizon;
        self.push(Leg { baseline, ..leg }, Said::ByTemplate, inputs);
    }

    /// The container is no longer in the template.
    fn end_removed(&mut self, at: Interval, inputs: &Inputs<'_>) {
        if let Some(current) = self.current.take() {
            let leg = &self.legs[current];
            if !leg.baseline && leg.ended.is_none() && leg.live(inputs).is_none() {
                self.legs[current].ended = Some((Outcome::Removed, at));
            }
        }
    }

    /// A template took what an earlier commit had asked for. That is the desire again where the present one was
    /// only a template, now replaced, or where the commit is the later word.
    fn desire_again(&mut self, at: usize, version: usize, inputs: &Inputs<'_>) {
        let Some(now) = self.current.filter(|now| *now != at) else { return };
        let (present, taken) = (&self.legs[now], &self.legs[at]);
        let replaced = !present.baseline
            && present.commit.is_none()
            && present.selection.is_none()
            && present.version.is_some_and(|before| before < version);
        let later = taken
            .commit
            .as_ref()
            .is_some_and(|change| change.at.interval.not_before > present.opened.not_after);
        if replaced || later {
            let next = taken.clone();
            let changed = inputs.workload.versions[version].changed.interval;
            self.legs[at].ended = None;
            self.end_current(&next, Said::ByTemplate, changed, inputs);
            self.current = Some(at);
        }
    }

    /// A commit took the reference away before anything carried it.
    fn take_back(&mut self, change: &Change, inputs: &Inputs<'_>) {
        let Some(current) = self.current else { return };
        let leg = &self.legs[current];
        if leg.version.is_none() && leg.commit.is_some() && change.before.as_ref() == Some(&leg.image) {
            self.legs[current].ended = Some((Outcome::Withdrawn, change.at.interval));
            self.current = self.template_leg(inputs);
        }
    }

    fn commit(&mut self, change: &Change, inputs: &Inputs<'_>) {
        let Some(image) = &change.after else { return self.take_back(change, inputs) };
        let at = change.at.interval;
        let compatible = |leg: &Leg| {
            leg.version.is_none_or(|version| {
                at.not_before <= inputs.workload.versions[version].changed.interval.not_after
            })
        };
        let text = !change.slot.sets(&inputs.workload.now.key, inputs.container)
            && matches!(change.slot, super::git::Slot::Text { .. });
        if text && !self.text_joins(change, inputs) {
            return;
        }
        // What the template took before we saw the commit: the commit is its cause.
        let explains =
            |leg: &&mut Leg| leg.image == *image && leg.commit.is_none() && !leg.baseline && compatible(leg);
        if let Some(leg) = self.legs.iter_mut().rev().find(explains) {
            leg.commit = Some(change.clone());
            leg.text_match |= text;
            leg.opened = earlier(leg.opened, at);
            return;
        }
        if self.current.is_some_and(|current| self.legs[current].image == *image) {
            return;
        }
        if let Some(runs) = self.template_leg(inputs).filter(|leg| self.legs[*leg].image == *image) {
            self.end_current(&self.legs[runs].clone(), Said::ByCommit, at, inputs);
            self.current = Some(runs);
            return;
        }
        let digest = inputs.registries.resolve(image, at).pop();
        let leg = Leg { commit: Some(change.clone()), ..Leg::new(image.clone(), digest, at) };
        self.push(leg, Said::ByCommit, inputs);
    }

    fn select(&mut self, selection: &Selection, inputs: &Inputs<'_>) {
        let image = &selection.image;
        let same = |leg: &Leg| {
            leg.image == *image
                && !(leg.digest.is_some() && selection.digest.is_some() && leg.digest != selection.digest)
        };
        if let Some(at) = self.current.filter(|at| same(&self.legs[*at])) {
            let leg = &mut self.legs[at];
            if leg.selection.is_none() && !leg.baseline {
                leg.selection = Some(selection.clone());
            }
            return;
        }
        let at = selection.at.interval;
        if let Some(runs) = self.template_leg(inputs).filter(|leg| same(&self.legs[*leg])) {
            // A deleted tag withdraws only what no commit named.
            let committed = self.current.is_some_and(|current| self.legs[current].commit.is_some());
            if !committed {
                self.end_current(&self.legs[runs].clone(), Said::ByCommit, at, inputs);
                self.current = Some(runs);
            }
            return;
        }
        if self.legs.iter().any(|leg| same(leg) && leg.selection.is_some()) {
            return;
        }
        let leg = Leg {
            selection: Some(selection.clone()),
            ..Leg::new(image.clone(), selection.digest.clone(), at)
        };
        self.push(leg, Said::ByCommit, inputs);
    }

    /// Commits that were overtaken before we looked, and commits on paths that no rule maps: causes of what a
    /// template took, never desires.
    fn join_afterwards(&mut self, inputs: &Inputs<'_>) {
        let passed = inputs.changes.iter().filter(|change| !change.at_tip);
        for change in passed.chain(&inputs.elsewhere).filter(|change| !change.revision) {
            let Some(image) = &change.after else { continue };
            let elsewhere = !inputs.changes.iter().any(|known| std::ptr::eq(*known, *change));
            let leg = self.legs.iter_mut().find(|leg| {
                leg.image == *image
                    && leg.commit.is_none()
                    && !leg.baseline
                    && leg.version.is_some_and(|version| {
                        let applied = inputs.workload.versions[version].changed.interval;
                        change.at.interval.not_before <= applied.not_after
                    })
            });
            if let Some(leg) = leg {
                leg.opened = earlier(leg.opened, change.at.interval);
                leg.commit = Some((*change).clone());
                leg.text_match = elsewhere;
            }
        }
    }

    fn text_joins(&self, change: &Change, inputs: &Inputs<'_>) -> bool {
        let Some(after) = &change.after else { return false };
        let desired = self.current.map(|at| &self.legs[at].image);
        let used = desired.is_some_and(|image| image.repository == after.repository)
            || inputs
                .workload
                .versions
                .last()
                .and_then(|v| v.image(inputs.container))
                .is_some_and(|image| image.repository == after.repository);
        used && (change.before.as_ref().is_some_and(|before| desired == Some(before))
            || inputs.alone
            || self.legs.iter().any(|leg| leg.image == *after && leg.version.is_some()))
    }

    fn take(&mut self, at: usize, version: usize, digest: Option<Digest>) {
        let leg = &mut self.legs[at];
        leg.version = Some(version);
        leg.until = version;
        leg.digest = digest.or(leg.digest.take());
    }

    fn push(&mut self, mut leg: Leg, said: Said, inputs: &Inputs<'_>) {
        self.end_current(&leg, said, leg.opened, inputs);
        leg.previous = self.current;
        leg.rank = self.legs.iter().position(|known| same_image(known, &leg)).unwrap_or(self.legs.len());
        self.legs.push(leg);
        self.current = Some(self.legs.len() - 1);
    }

    /// A desire for another image ends an unfinished one.
    fn end_current(&mut self, next: &Leg, said: Said, at: Interval, inputs: &Inputs<'_>) {
        let Some(current) = self.current else { return };
        if self.legs[current].baseline || self.legs[current].ended.is_some() {
            return;
        }
        if self.legs[current].live(inputs).is_some_and(|live| live.interval.not_after <= at.not_after) {
            return;
        }
        let returns = self.legs[..current].iter().any(|leg| same_image(leg, next));
        let ran = self.legs[current]
            .first_start(inputs)
            .is_some_and(|start| start.interval.not_before <= at.not_after);
        let outcome = match (returns, said) {
            _ if self.legs[current].ran_unseen(inputs) => Outcome::Unknown,
            _ if self.unwatched(current, at, inputs) => Outcome::Unknown,
            (true, Said::ByCommit) if !ran => Outcome::Withdrawn,
            (true, _) => Outcome::RolledBack,
            (false, _) => Outcome::Superseded,
        };
        self.legs[current].ended = Some((outcome, at));
    }

    /// Nobody watched when the template that came after it did: it may have been live until then, and even have
    /// been applied unseen.
    fn unwatched(&self, leg: usize, ended: Interval, inputs: &Inputs<'_>) -> bool {
        let carried = self.legs[..=leg].iter().filter(|leg| leg.version.is_some()).map(|leg| leg.until).max();
        let next = carried.and_then(|last| inputs.workload.versions.get(last + 1));
        next.and_then(|next| next.unwatched_since).is_some_and(|since| since <= ended.not_after)
    }

    /// The leg that the latest template carries.
    fn template_leg(&self, inputs: &Inputs<'_>) -> Option<usize> {
        self.template_leg_before(usize::MAX, inputs)
    }

    /// The leg that the template carried before a version.
    fn template_leg_before(&self, version: usize, inputs: &Inputs<'_>) -> Option<usize> {
        let carrying =
            self.legs.iter().enumerate().filter(|(_, leg)| leg.version.is_some() && leg.until < version);
        let (at, leg) = carrying.max_by_key(|(at, leg)| (leg.until, *at))?;
        let image = inputs.workload.versions[leg.until].image(inputs.container)?;
        leg.names(&image, leg.digest.as_ref()).then_some(at)
    }

    /// What the container ran before the template changed, as its last finished leg says.
    fn running_digest(&self, inputs: &Inputs<'_>) -> Option<Digest> {
        let leg = &self.legs[self.template_leg(inputs)?];
        let version = &inputs.workload.versions[leg.until];
        let ran = version.started.get(inputs.container).and_then(|firsts| firsts.last()?.digest.clone());
        match (ran, &leg.digest) {
            (Some(ran), Some(digest)) => match inputs.registries.confirm(&ran, digest) {
                super::registry::Confirm::No => Some(ran),
                _ => Some(digest.clone()),
            },
            (ran, digest) => ran.or_else(|| digest.clone()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    ByCommit,
    ByTemplate,
}

impl Leg {
    fn new(image: ImageRef, digest: Option<Digest>, opened: Interval) -> Self {
        Self {
            image,
            digest,
            baseline: false,
            selection: None,
            commit: None,
            text_match: false,
            version: None,
            opened,
            ended: None,
            rank: 0,
            previous: None,
            until: 0,
        }
    }

    /// The reference means this leg's image: by its text, or by the digest in the same repository.
    fn names(&self, image: &ImageRef, digest: Option<&Digest>) -> bool {
        let same_digest = digest.is_some() && self.digest.as_ref() == digest;
        self.image == *image || (same_digest && self.image.repository == image.repository)
    }

    /// For what was there at the first look: its rollout was complete, so that it runs. One that was under way, or
    /// stuck, is never said to be live. A CronJob's last run is not visible; its template counts.
    #[must_use]
    pub fn ran_at_start(&self, inputs: &Inputs<'_>) -> bool {
        inputs.workload.now.key.kind == crate::observation::WorkloadKind::CronJob
            || self.versions(inputs).iter().any(|v| v.said_complete || !v.completes.is_empty())
    }

    /// The versions of the template that carry it.
    fn versions<'a>(&self, inputs: &Inputs<'a>) -> &'a [Version] {
        self.version.map_or(&[], |first| &inputs.workload.versions[first..=self.until])
    }

    /// The first moment at which the rollout was complete and all its pods ran this image.
    #[must_use]
    pub fn live(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.completion(inputs).map(|complete| complete.at)
    }

    /// When its Job gave up before any container ran.
    #[must_use]
    pub fn failed(&self, inputs: &Inputs<'_>) -> Option<Interval> {
        self.versions(inputs).iter().find_map(|version| version.failed)
    }

    /// See [`Leg::live`].
    #[must_use]
    pub fn completion<'a>(&self, inputs: &Inputs<'a>) -> Option<&'a Complete> {
        let all = |complete: &&Complete| {
            let Some(digests) = complete.digests.get(inputs.container) else { return true };
            digests.iter().all(|digest| self.confirms(digest.as_ref(), inputs.registries))
        };
        self.versions(inputs).iter().find_map(|version| version.completes.iter().find(all))
    }

    /// Its rollout was complete, and not all pods of it were seen: whether it was live cannot be decided.
    fn ran_unseen(&self, inputs: &Inputs<'_>) -> bool {
        self.versions(inputs).iter().any(|version| version.said_complete && version.completes.is_empty())
    }

    /// The first container that ran it under its template.
    #[must_use]
    pub fn first_start(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.first(inputs, |version| &version.started)
    }

    /// The first pod that was ready with it under its template.
    #[must_use]
    pub fn first_ready(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.first(inputs, |version| &version.ready)
    }

    fn first(&self, inputs: &Inputs<'_>, read: fn(&Version) -> &Firsts) -> Option<Evidence> {
        let mine = self.versions(inputs).iter().flat_map(|version| {
            read(version).get(inputs.container).into_iter().flatten().filter(|first| {
                self.confirms(first.digest.as_ref(), inputs.registries)
                    && first.at.interval.not_after >= version.changed.interval.not_before
            })
        });
        mine.map(|first| first.at).min_by_key(|at| (at.interval.not_after, at.interval.not_before))
    }

    /// A pod of this leg's template runs its image, as far as anybody can tell.
    fn confirms(&self, running: Option<&Digest>, registries: &Registries) -> bool {
        match (running, &self.digest) {
            (Some(running), Some(digest)) => {
                registries.confirm(running, digest) != super::registry::Confirm::No
            }
            _ => true,
        }
    }
}

/// The digest that a template's reference meant when it was written; pods decide where the tag moved then.
fn resolve(image: &ImageRef, version: &Version, inputs: &Inputs<'_>) -> Option<Digest> {
    let meant = inputs.registries.resolve(image, version.changed.interval);
    if meant.len() > 1
        && let Some(firsts) = version.started.get(inputs.container)
    {
        let runs = |digest: &&Digest| {
            firsts
                .iter()
                .filter_map(|first| first.digest.as_ref())
                .any(|running| inputs.registries.confirm(running, digest) == super::registry::Confirm::Yes)
        };
        if let Some(digest) = meant.iter().rev().find(runs) {
            return Some(digest.clone());
        }
    }
    meant.into_iter().next_back()
}

fn same_image(left: &Leg, right: &Leg) -> bool {
    match (&left.digest, &right.digest) {
        (Some(left), Some(right)) => left == right,
        _ => left.image == right.image,
    }
}

fn earlier(left: Interval, right: Interval) -> Interval {
    if right.not_after < left.not_after { right } else { left }
}

/// Evidence for a commit: what text alone joined says so.
#[must_use]
pub fn committed(leg: &Leg) -> Option<Evidence> {
    let change = leg.commit.as_ref()?;
    let basis = if leg.text_match { Basis::TextMatch } else { change.at.basis };
    Some(Evidence { interval: change.at.interval, basis })
}
