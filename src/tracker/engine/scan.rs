//! Which scan first had a tag that was never there before.

use super::{EngineState, Engines, What};
use crate::image::{ImageRef, Tag};
use crate::observation::{EngineKind, Interval, Role, Scan, Time};
use crate::tracker::stage::Evidence;

/// How far ahead of ours the clocks of well-kept hosts are, and what whole seconds and the way here add.
const AHEAD_SECONDS_MAX: f64 = 5.0;

/// The scan that first contains a tag which nobody had before. Unlike a journey's `detected` it may be older than the
/// push was seen to be: whose clock is wrong is not decided here. `None` where no scan has it, where it was there before
/// we looked, and where the ten tags that a scan shows do not tell.
#[must_use]
pub fn first_scan(
    scanner: &EngineState,
    engines: &Engines,
    image: &ImageRef,
    pushed: Interval,
) -> Option<Evidence> {
    let tag = image.tag.as_ref()?;
    let mut unsure: Option<Evidence> = None;
    for deed in &scanner.deeds {
        let What::Scanned(scan) = &deed.what else { continue };
        match may_contain(scan, tag) {
            Some(true) if deed.backfill => return None,
            Some(true) => return Some(between(unsure, deed.at)),
            Some(false) => unsure = None,
            // What tells nothing is taken for older than the push where it is.
            None if deed.backfill || deed.at.interval.not_after < pushed.not_before => {}
            None => unsure = unsure.or(Some(deed.at)),
        }
    }
    // One of the unsure ones: at the latest the one that a policy chose it from.
    let unsure = unsure?;
    let chosen = engines.of_kind(EngineKind::ImagePolicy).filter(|policy| match &policy.now.role {
        Role::Policy(role) => {
            (&role.repository.0, &role.repository.1) == (&scanner.now.key.namespace, &scanner.now.key.name)
        }
        _ => false,
    });
    let chosen = chosen.flat_map(|policy| &policy.deeds).filter(|deed| {
        !deed.backfill
            && matches!(&deed.what, What::Selected(chosen)
                if chosen.tag == image.tag && chosen.repository == image.repository)
    });
    let chosen = chosen.map(|deed| deed.at.interval.not_after).min()?;
    let last = scanner
        .deeds
        .iter()
        .rev()
        .find(|deed| matches!(deed.what, What::Scanned(_)) && deed.at.interval.not_before <= chosen)?;
    Some(between(
        Some(unsure),
        Evidence {
            interval: Interval::new(last.at.interval.not_before, last.at.interval.not_after.min(chosen)),
            ..last.at
        },
    ))
}

/// Whether a scan contains a tag, where that can be told.
#[must_use]
pub fn may_contain(scan: &Scan, tag: &Tag) -> Option<bool> {
    super::passed::contains(scan, tag)
}

/// Whether a time lies in the future: of a clock that is ahead, or of nobody's.
#[must_use]
pub fn is_ahead(at: Time, now: Time) -> bool {
    at.seconds_since(now) > AHEAD_SECONDS_MAX
}

fn between(first: Option<Evidence>, last: Evidence) -> Evidence {
    match first {
        Some(first) => {
            let not_before = first.interval.not_before.min(last.interval.not_before);
            Evidence { interval: Interval::new(not_before, last.interval.not_after), ..last }
        }
        None => last,
    }
}
