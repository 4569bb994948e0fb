//! One desire of a destination, and what its rollouts made of it.

use std::sync::Arc;

use super::expect::Selection;
use super::git::Change;
use super::journey::{Outcome, Who};
use super::legs::Inputs;
use super::registry::{Confirm, Registries};
use super::stage::Evidence;
use super::workload::{Complete, First, Firsts, Version};
use crate::image::{Digest, ImageRef};
use crate::observation::{Basis, Interval, TemplateHash, Time, WorkloadKind};

/// One desire. What was said of it stays where it is: deriving looks at much and keeps little.
#[derive(Debug, Clone, Copy)]
pub struct Leg<'a> {
    pub image: &'a ImageRef,
    pub digest: Option<&'a Digest>,
    /// It was so at the first look: opens no journey.
    pub baseline: bool,
    pub selection: Option<&'a Selection>,
    pub commit: Option<&'a Change>,
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

impl<'a> Leg<'a> {
    /// A desire that nobody but its first cause knows of.
    #[must_use]
    pub fn new(image: &'a ImageRef, digest: Option<&'a Digest>, opened: Interval) -> Self {
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

    /// The rule that is named on the field that sets its image, or that selected it.
    #[must_use]
    pub fn marker(&self) -> Option<&'a Arc<str>> {
        let committed = self.commit.and_then(|change| change.marker.as_ref());
        committed.or_else(|| self.selection.and_then(|selection| selection.marker.as_ref()))
    }

    /// The reference means this leg's image: by its text, or by the digest in the same repository.
    #[must_use]
    pub fn names(&self, image: &ImageRef, digest: Option<&Digest>) -> bool {
        let same_digest = digest.is_some() && self.digest == digest;
        self.image == image || (same_digest && self.image.repository == image.repository)
    }

    /// The text means this leg's image: the same one, or with the digest beside it that a policy reflects.
    #[must_use]
    pub fn reads(&self, image: &ImageRef) -> bool {
        let plain = |image: &ImageRef| (image.repository.clone(), image.tag.clone());
        self.image == image
            || (self.digest.is_some()
                && image.digest.as_ref() == self.digest
                && image.tag.is_some()
                && plain(self.image) == plain(image))
    }

    /// For what was there at the first look: its rollout was complete, so that it runs. One that was under way, or
    /// stuck, is never said to be live. A CronJob's last run is not visible; its template counts.
    #[must_use]
    pub fn ran_at_start(&self, inputs: &Inputs<'_>) -> bool {
        inputs.workload.now.key.kind == WorkloadKind::CronJob
            || self.versions(inputs).any(|v| v.said_complete.is_some() || !v.completes.is_empty())
    }

    /// The versions of the template that carry it: not those with another image that a release put back in between.
    fn versions<'b, 'c>(
        &'c self,
        inputs: &'c Inputs<'b>,
    ) -> impl Iterator<Item = &'b Version> + use<'a, 'b, 'c> {
        let (workload, releases) = (inputs.workload, &inputs.releases);
        let all = self.version.map_or(0..0, |first| first..self.until + 1);
        all.map(|at| (at, &workload.versions[at]))
            .filter(|(at, version)| {
                !releases.took_back(*at) || version.read(inputs.container) == Some(self.image)
            })
            .map(|(_, version)| version)
    }

    /// The first moment at which the rollout was complete and all its pods ran this image.
    #[must_use]
    pub fn live(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.completion(inputs).map(|complete| complete.at)
    }

    /// When its Job gave up before any container ran, or the release that was to bring it; and what that said.
    #[must_use]
    pub fn failed(&self, inputs: &Inputs<'_>) -> Option<(Interval, Option<Who>)> {
        if let Some(failed) = self.versions(inputs).find_map(|version| version.failed) {
            return Some((failed, None));
        }
        let versions = self.version.map(|first| (first, self.until));
        let commit = self.commit.map(|change| (&change.commit, change.at.interval));
        let (failed, who) = inputs.gave_up(versions, commit)?;
        Some((failed, Some(who)))
    }

    /// See [`Leg::live`].
    #[must_use]
    pub fn completion<'b>(&self, inputs: &Inputs<'b>) -> Option<&'b Complete> {
        let all = |complete: &&Complete| {
            let Some(digests) = complete.digests.get(inputs.container) else { return true };
            digests.iter().all(|digest| self.confirms(digest.as_ref(), inputs.registries))
        };
        self.versions(inputs).find_map(|version| version.completes.iter().find(all))
    }

    /// Its rollout was complete, and not all pods of it were seen: whether it was live cannot be decided.
    #[must_use]
    pub fn ran_unseen(&self, inputs: &Inputs<'_>) -> bool {
        self.versions(inputs).any(|version| version.said_complete.is_some() && version.completes.is_empty())
    }

    /// The first container that ran it under its template.
    #[must_use]
    pub fn first_start(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.first(inputs, |version| &version.started)
    }

    /// Whether a container ran it before something ended, on our clock.
    #[must_use]
    pub fn ran_before(&self, end: Interval, inputs: &Inputs<'_>) -> bool {
        let mut mine = self.firsts(inputs, |version| &version.started);
        mine.any(|first| first.ours.not_before <= end.not_after)
    }

    /// The first pod that was ready with it under its template.
    #[must_use]
    pub fn first_ready(&self, inputs: &Inputs<'_>) -> Option<Evidence> {
        self.first(inputs, |version| &version.ready)
    }

    fn first(&self, inputs: &Inputs<'_>, read: fn(&Version) -> &Firsts) -> Option<Evidence> {
        let mine = self.firsts(inputs, read);
        mine.map(|first| first.at).min_by_key(|at| (at.interval.not_after, at.interval.not_before))
    }

    fn firsts<'b, 'c>(
        &'c self,
        inputs: &'c Inputs<'b>,
        read: fn(&Version) -> &Firsts,
    ) -> impl Iterator<Item = &'b First> + use<'a, 'b, 'c> {
        self.versions(inputs).flat_map(move |version| {
            let back = self.comes_back(version.template, inputs);
            read(version).get(inputs.container).into_iter().flatten().filter(move |first| {
                self.confirms(first.digest.as_ref(), inputs.registries)
                    && first.at.interval.not_after >= version.changed.interval.not_before
                    && back.is_none_or(|back| first.at.interval.not_after < back)
            })
        })
    }

    /// From when on, at the earliest, its template is there once more, as another desire: what its pods do then is no
    /// deed of this one, even where we heard of it before the template.
    fn comes_back(&self, template: TemplateHash, inputs: &Inputs<'_>) -> Option<Time> {
        let later = inputs.workload.versions.iter().skip(self.until + 1);
        later.filter(|later| later.template == template).map(|later| later.changed.interval.not_before).next()
    }

    /// A pod of this leg's template runs its image, as far as anybody can tell.
    fn confirms(&self, running: Option<&Digest>, registries: &Registries) -> bool {
        match (running, self.digest) {
            (Some(running), Some(digest)) => registries.confirm(running, digest) != Confirm::No,
            _ => true,
        }
    }
}

/// Two desires for one image.
#[must_use]
pub fn same_image(left: &Leg<'_>, right: &Leg<'_>) -> bool {
    match (left.digest, right.digest) {
        (Some(left), Some(right)) => left == right,
        _ => left.image == right.image,
    }
}

/// Evidence for a commit: what text alone joined says so.
#[must_use]
pub fn committed(leg: &Leg<'_>) -> Option<Evidence> {
    let change = leg.commit?;
    let basis = if leg.text_match { Basis::TextMatch } else { change.at.basis };
    Some(Evidence { interval: change.at.interval, basis })
}
