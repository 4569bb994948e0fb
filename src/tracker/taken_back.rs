//! Templates that a release puts back when an upgrade fails, and tries anew: neither is a new desire.

use super::leg::Leg;
use super::legs::{Desires, Inputs};
use crate::image::{Digest, ImageRef};

impl<'a> Desires<'a> {
    /// A release put back what was there before what failed: what is wanted is what it is to try again.
    pub(super) fn takes_back(
        &mut self,
        index: usize,
        image: &ImageRef,
        digest: Option<&Digest>,
        inputs: &Inputs<'a>,
    ) -> bool {
        self.back_to = None;
        if !inputs.releases.took_back(index) {
            return false;
        }
        match self.template_leg_before(index, inputs).filter(|at| self.legs[*at].names(image, digest)) {
            Some(at) => self.legs[at].until = index,
            None => {
                let carried = |leg: &Leg<'_>| leg.version.is_some() && leg.names(image, digest);
                self.back_to = self.legs.iter().rposition(carried);
            }
        }
        true
    }

    /// The next try of what a release took back, unless it had given up in between.
    pub(super) fn tries_again(
        &mut self,
        index: usize,
        image: &ImageRef,
        digest: Option<&Digest>,
        inputs: &Inputs<'a>,
    ) -> bool {
        let Some(at) = self.current else { return false };
        let leg = &self.legs[at];
        let again = leg.version.is_some()
            && !leg.baseline
            && leg.ended.is_none()
            && leg.names(image, digest)
            && inputs.releases.only_took_back(leg.until, index)
            && leg
                .failed(inputs)
                .is_none_or(|(failed, _)| failed.not_before > inputs.workload.versions[index].ours.not_after);
        if again {
            self.legs[at].until = index;
        }
        again
    }
}
