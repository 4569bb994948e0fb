//! What comes late: a commit, or a template, of an image that was wanted before the one that is wanted now. Hands take
//! their turns one after the other, and while an updater commits what it saw the next tag is selected already: that the
//! older one still arrives is no word against the newer one.

use super::git::Change;
use super::leg::{Leg, same_image};
use super::legs::{Desires, Inputs, Said};
use crate::image::{Digest, ImageRef};
use crate::observation::Interval;
use crate::tracker::journey::Outcome;

impl<'a> Desires<'a> {
    /// The desire that a commit belongs to: what was selected and waits for one, and what the template took before we saw
    /// the commit.
    pub(super) fn explained(&self, change: &Change, image: &ImageRef, inputs: &Inputs<'a>) -> Option<usize> {
        let at = change.at.interval;
        let its = |leg: &Leg<'_>| match leg.version {
            Some(version) => at.not_before <= inputs.workload.versions[version].ours.not_after,
            None => !self.is_over(leg, at),
        };
        let explains = |leg: &Leg<'_>| leg.commit.is_none() && !leg.baseline && leg.reads(image) && its(leg);
        self.legs.iter().rposition(explains)
    }

    /// Whether whoever names an image now, that nothing ever carried, means it anew: its desire ended before. Not so as
    /// long as no more than another tag was selected meanwhile.
    fn is_over(&self, leg: &Leg<'_>, at: Interval) -> bool {
        let Some((outcome, ended)) = leg.ended else { return false };
        let moved_on = self.current.is_some_and(|now| {
            let now = &self.legs[now];
            now.commit.is_some() || now.version.is_some()
        });
        ended.not_after <= at.not_before && (outcome != Outcome::Superseded || moved_on)
    }

    /// Whether a commit is older than the desire that nobody committed yet, as far as anybody can tell: its image comes
    /// before that in the policy's own order, or it goes back to an earlier one, and may have landed before the selection.
    pub(super) fn is_overtaken(&self, change: &Change, image: &ImageRef) -> bool {
        let Some(current) = self.current else { return false };
        let now = &self.legs[current];
        let Some(selection) = now.selection.filter(|_| now.commit.is_none() && now.version.is_none()) else {
            return false;
        };
        let returns = || self.legs[..current].iter().any(|leg| leg.reads(image));
        selection.passes(image) || (change.at.interval.not_before < now.opened.not_after && returns())
    }

    /// A template took what somebody had named before the present desire, which is on its way: a tag that its policy
    /// passed over, or a commit that was replaced before we looked at the branch.
    pub(super) fn lags(
        &mut self,
        index: usize,
        image: &'a ImageRef,
        digest: Option<&'a Digest>,
        inputs: &Inputs<'a>,
    ) -> bool {
        let Some(current) = self.current else { return false };
        let now = &self.legs[current];
        if now.baseline || now.version.is_some() || now.ended.is_some() {
            return false;
        }
        let passed = now.selection.is_some_and(|selection| selection.passes(image));
        let replaced = now.commit.and_then(|commit| {
            inputs.changes.iter().copied().find(|change| {
                !change.at_tip
                    && !change.revision
                    && change.after.as_ref() == Some(image)
                    && change.at.interval == commit.at.interval
            })
        });
        if !passed && replaced.is_none() {
            return false;
        }
        let ours = inputs.workload.versions[index].ours;
        let opened = replaced.map_or(ours, |change| change.at.interval);
        self.overtake(Leg {
            commit: replaced,
            version: Some(index),
            until: index,
            ..Leg::new(image, digest, opened)
        });
        true
    }

    /// A desire that was superseded before anybody heard of it: its place is before the present one, which it leaves its
    /// budget to.
    pub(super) fn overtake(&mut self, leg: Leg<'a>) {
        let Some(at) = self.current else { return };
        let rank = self.legs[..at].iter().position(|known| same_image(known, &leg)).unwrap_or(at);
        let previous = self.legs[at].previous;
        let moves = |index: &mut usize| *index += usize::from(*index >= at);
        for known in &mut self.legs {
            known.previous.iter_mut().for_each(moves);
            moves(&mut known.rank);
        }
        self.back_to.iter_mut().for_each(moves);
        let ended = Some((Outcome::Superseded, leg.opened));
        self.legs.insert(at, Leg { ended, previous, rank, ..leg });
        self.legs[at + 1].previous = Some(at);
        self.current = Some(at + 1);
    }

    /// A template took what was wanted before. That is a new desire where the present one was applied already, and is
    /// now replaced. The overtaken journey stays as it ended.
    pub(super) fn desire_again(
        &mut self,
        at: usize,
        version: usize,
        digest: Option<&'a Digest>,
        inputs: &Inputs<'a>,
    ) -> bool {
        let Some(now) = self.current.filter(|now| *now != at) else { return false };
        let (present, taken) = (&self.legs[now], &self.legs[at]);
        let is_replaced = !present.baseline && present.version.is_some_and(|before| before < version);
        if !is_replaced {
            return false;
        }
        let leg = Leg::new(taken.image, digest.or(taken.digest), inputs.workload.versions[version].ours);
        self.push(
            Leg { version: Some(version), until: version, commit: taken.commit, ..leg },
            Said::ByTemplate,
            inputs,
        );
        true
    }
}
