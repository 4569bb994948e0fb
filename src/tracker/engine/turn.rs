//! Whose turn it is, and when that is due by its own interval.

use std::sync::Arc;

use super::depends::{is_ready, says_waiting};
use super::scan::is_ahead;
use super::verdict::one_line;
use super::{Chain, EngineState};
use crate::observation::{EngineKey, EngineKind, Role, Time};
use crate::tracker::judge::Phase;
use crate::tracker::next::{Does, Turn};
use crate::tracker::stage::{Stage, Stages};

impl Chain<'_> {
    /// The turn that takes an image further in its phase. Nobody knows it where the hand did nothing yet, or says no
    /// interval.
    #[must_use]
    pub fn turn(&self, phase: Phase, stages: &Stages, now: Time) -> Option<Turn> {
        let hand = self.next_hand(phase, stages)?;
        let reached = |stage| stages.evidence(stage).map(|at| at.interval.not_after);
        match &hand.now.role {
            Role::Scan(role) => turn(Does::Scan, hand, role.last.as_ref()?.at, now),
            Role::Updater(role) => turn(Does::Commit, hand, role.last_run?, now),
            Role::Source(_) => turn(Does::Fetch, hand, reached(Stage::Committed)?, now),
            // A new artifact calls it.
            Role::Applier(_) if reached(Stage::Fetched).is_some() => {
                let needed = self.engines.filter(|_| says_waiting(hand)).and_then(|all| all.dependency(hand));
                let unready = needed.filter(|(state, _)| !state.is_some_and(is_ready));
                let after = unready.map(|(_, who)| who.object);
                Some(Turn { does: Does::Apply, object: Chain::object(&hand.now.key), by: None, after })
            }
            _ => None,
        }
    }

    /// Which kinds of objects tell of a phase here: without seeing them nobody knows who holds a journey, or why.
    pub fn kinds(&self, phase: Phase) -> impl Iterator<Item = EngineKind> + use<'_> {
        let hands = match phase {
            Phase::Commit => [self.scan, self.policy, self.updater],
            Phase::Apply => [self.source, self.above, self.applier],
            Phase::Roll => [None; 3],
        };
        hands.into_iter().flatten().map(|hand| hand.now.key.kind)
    }

    /// An object as kubectl takes it, on one line.
    #[must_use]
    pub fn object(key: &EngineKey) -> Arc<str> {
        one_line(&key.to_string()).as_str().into()
    }
}

/// Nothing was done in the future: whose clock is so far ahead does not tell when the next turn is due.
fn turn(does: Does, hand: &EngineState, last: Time, now: Time) -> Option<Turn> {
    let every = hand.now.interval_seconds.filter(|_| !is_ahead(last, now))?;
    let by = Some(last + (every * 1000.0) as i64);
    Some(Turn { does, object: Chain::object(&hand.now.key), by, after: None })
}
