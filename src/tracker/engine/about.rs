//! Whether what an applier says that it fails with is said of what a journey brings, or of what it tried before that.

use super::{Chain, EngineState, What};
use crate::tracker::journey::{Journey, Reason};
use crate::tracker::stage::Stage;

impl Chain<'_> {
    /// A hand says this of a revision that does not hold the commit of a journey yet: nobody knows what it will say of that.
    pub(super) fn is_of_another(&self, hand: &EngineState, reason: Reason, journey: &Journey) -> bool {
        self.tried_another(hand, reason, journey).unwrap_or(false)
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
