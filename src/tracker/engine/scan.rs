//! Which scan first had a tag that was never there before.

use super::{EngineState, Engines, What};
use crate::image::ImageRef;
use crate::observation::{Interval, Time};
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
        match scan.holds(tag) {
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
    let policies = engines.links.policies(&scanner.now.key).filter_map(|key| engines.get(key));
    let chosen = policies.flat_map(|policy| &policy.deeds);
    let chosen = chosen.filter(|deed| !deed.backfill && deed.selects(image));
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
