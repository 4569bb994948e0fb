//! What a hand says that it fails with: of which revision it says that, with which commits it began, and what of it is in
//! the way ahead of a journey.

use super::verdict::{of_words, who};
use super::{Chain, Deed, EngineState, What};
use crate::observation::EngineRevision;
use crate::tracker::journey::{CommitRef, Journey, Reason, Who};
use crate::tracker::judge::Phase;
use crate::tracker::stage::Stage;

impl Chain<'_> {
    /// A hand says this of a revision that does not hold the commit of a journey yet: nobody knows what it will say of that.
    pub(super) fn is_of_another(&self, hand: &EngineState, reason: Reason, journey: &Journey) -> bool {
        self.tried_another(hand, reason, journey).unwrap_or(false)
    }

    /// What a hand that it has yet to pass says already of why it would not pass, whether that is late or not. To lose a
    /// race or to wait for another is everyday, and what is wrong with pods is said of those that are there.
    #[must_use]
    pub fn trouble(&self, phase: Phase, journey: &Journey) -> Option<(Reason, Who)> {
        let committing = [self.scan, self.updater].into_iter().filter(|_| phase == Phase::Commit);
        let ahead = committing.chain([self.source, self.above, self.applier]).flatten();
        let mut says = ahead.filter_map(|hand| {
            let (says, _) = hand.failing.as_ref()?;
            let reason = of_words(&hand.now, says).filter(|reason| !is_everyday(*reason))?;
            let own = || Who { commits: self.failing_since(hand, reason), ..who(hand, &says.message) };
            (!self.is_of_another(hand, reason, journey)).then(|| (reason, own()))
        });
        says.next()
    }

    /// The commits with which an applier began to fail with what a revision holds.
    pub(super) fn failing_since(&self, hand: &EngineState, reason: Reason) -> Vec<CommitRef> {
        let by_its_text = matches!(reason, Reason::BuildFailed | Reason::InvalidManifest);
        let Some((taken, (_, since))) = self.taken.zip(hand.failing.as_ref()).filter(|_| by_its_text) else {
            return Vec::new();
        };
        let hash = |deed: &'_ Deed| {
            let (What::Attempted(revision) | What::Applied(revision)) = &deed.what else { return None };
            EngineRevision::parse(revision).hash.map(str::to_owned)
        };
        let before = hand.deeds.iter().rev().filter(|deed| deed.at.interval.not_after <= *since);
        let mut tried = before.clone().filter_map(hash);
        let Some(first) = tried.next() else { return Vec::new() };
        // What was applied and fails later fails for something else.
        let is_applied =
            |deed: &&Deed| matches!(deed.what, What::Applied(_)) && hash(deed).as_ref() == Some(&first);
        if before.clone().any(|deed| is_applied(&deed)) {
            return Vec::new();
        }
        let Some(good) = tried.find(|hash| *hash != first) else { return Vec::new() };
        taken.between(&good, &first)
    }

    /// `None` where nobody can tell.
    fn tried_another(&self, hand: &EngineState, reason: Reason, journey: &Journey) -> Option<bool> {
        if !is_of_a_revision(reason) {
            return None;
        }
        hand.applier()?;
        // What is said of the source, a chart or another object is said of whatever comes next, too.
        let (said, commit) = (hand.said.as_ref()?, journey.commit.as_ref()?);
        let landed = journey.stages.evidence(Stage::Committed)?.interval;
        // Who tries what git has.
        let from_git = self.source.and(self.above.or(self.applier))?;
        let attempted = self.attempted(commit, landed);
        if let Some(attempted) = attempted {
            return Some(said.at < attempted.interval.not_after);
        }
        // Nobody watched when it tried what it said this of.
        let unwatched = from_git.deeds.iter().any(|deed| {
            deed.backfill && matches!(&deed.what, What::Attempted(revision) if Some(revision) == said.attempted.as_ref())
        });
        Some(!unwatched || said.at < landed.not_before)
    }
}

/// No word of trouble before it lasts too long.
fn is_everyday(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AutomationRace
            | Reason::DependencyNotReady
            | Reason::HealthCheckFailing
            | Reason::ProgressDeadline
            | Reason::NotApplied
            | Reason::NotCommitted
    )
}

/// Said of what a revision holds, and not of how it is fetched or of what must be there first.
fn is_of_a_revision(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BuildFailed
            | Reason::InvalidManifest
            | Reason::ApplyConflict
            | Reason::AdmissionDenied
            | Reason::Quota
            | Reason::NotApplied
    )
}
