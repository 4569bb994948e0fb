//! When an image passed the hands of a chain.

use super::{Chain, Deed, EngineState, What};
use crate::image::{ImageRef, Tag};
use crate::observation::{Basis, EngineRevision, Interval, Scan, Time};
use crate::tracker::stage::Evidence;

/// What the objects of a chain tell of one image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// The first scan that contains it.
    pub detected: Option<Evidence>,
    /// The push of the commit.
    pub committed: Option<Evidence>,
    /// The artifact that contains the commit.
    pub fetched: Option<Evidence>,
}

impl Chain<'_> {
    /// Reads it off. `pushed` is when the image came to its repository, `commit` the commit that names it and when that
    /// landed.
    #[must_use]
    pub fn passed(
        &self,
        image: &ImageRef,
        pushed: Option<Interval>,
        commit: Option<(&str, Interval)>,
    ) -> Passed {
        Passed {
            detected: pushed.and_then(|pushed| self.detected(image, pushed)),
            committed: commit.and_then(|(id, _)| self.committed(id)),
            fetched: commit.and_then(|(id, landed)| self.fetched(id, landed)),
        }
    }

    /// When the applier had applied that commit, or a later one, wherever it left the workload as it was.
    #[must_use]
    pub fn applied(&self, id: &str, landed: Interval) -> Option<Evidence> {
        let holds: Vec<&str> = stored(self.source?)
            .filter(|(revision, deed)| {
                EngineRevision::parse(revision).hash == Some(id)
                    || deed.at.interval.not_before >= landed.not_after
            })
            .map(|(revision, _)| revision)
            .collect();
        let is_it =
            |deed: &&Deed| matches!(&deed.what, What::Applied(revision) if holds.contains(&&**revision));
        self.applier?.deeds.iter().find(is_it).filter(|deed| !deed.backfill).map(|deed| deed.at)
    }

    /// A scan shows at most ten tags, so the first one with the image is known where its list was whole, where it was
    /// among those ten, or as the last one before it was selected.
    fn detected(&self, image: &ImageRef, pushed: Interval) -> Option<Evidence> {
        let tag = image.tag.as_ref()?;
        let scans: Vec<(&Scan, &Deed)> = self
            .scan?
            .deeds
            .iter()
            .filter_map(|deed| match &deed.what {
                What::Scanned(scan) => Some((scan, deed)),
                _ => None,
            })
            .collect();
        let selected = self.policy.into_iter().flat_map(|policy| &policy.deeds).find(|deed| {
            matches!(&deed.what, What::Selected(chosen) if chosen.tag == image.tag && chosen.repository == image.repository)
                && deed.at.interval.not_after >= pushed.not_before
        });
        let mut without: Option<Time> = None;
        let mut candidates = scans.iter().filter(|(_, deed)| deed.at.interval.not_after >= pushed.not_before);
        for (scan, deed) in candidates.by_ref() {
            if deed.backfill {
                // It was there before anybody watched.
                return (contains(scan, tag) == Some(true)).then_some(Evidence {
                    interval: Interval::until(deed.at.interval.not_after),
                    basis: Basis::Backfill,
                });
            }
            match contains(scan, tag) {
                Some(true) => return Some(deed.at),
                Some(false) => without = Some(deed.at.interval.not_before),
                None => {
                    // Any of those from here on may be the first, up to the one that the policy chose from.
                    let selected = selected?;
                    let last = scans
                        .iter()
                        .rev()
                        .find(|(_, scan)| scan.at.interval.not_before <= selected.at.interval.not_after)?;
                    let not_before = deed.at.interval.not_before.max(without.unwrap_or(Time::MIN));
                    let not_after = last.1.at.interval.not_after.min(selected.at.interval.not_after);
                    let interval = Interval::new(not_before.min(not_after), not_after);
                    return Some(Evidence { interval, basis: deed.at.basis });
                }
            }
        }
        None
    }

    fn committed(&self, id: &str) -> Option<Evidence> {
        let is_it = |deed: &&Deed| matches!(&deed.what, What::Pushed(commit) if **commit == *id);
        self.updater?.deeds.iter().find(is_it).filter(|deed| !deed.backfill).map(|deed| deed.at)
    }

    /// The first artifact of that commit, or else the first that was stored after the commit had landed: a fetch takes
    /// the tip.
    fn fetched(&self, id: &str, landed: Interval) -> Option<Evidence> {
        let stored = stored(self.source?).filter(|(_, deed)| deed.at.interval.not_after >= landed.not_before);
        let mut unsure: Option<Time> = None;
        for (revision, deed) in stored {
            let is_it = EngineRevision::parse(revision).hash == Some(id);
            if is_it || deed.at.interval.not_before >= landed.not_after {
                if deed.backfill {
                    return None;
                }
                let not_before = match unsure {
                    // One before may have been a descendant.
                    Some(unsure) if !is_it => unsure,
                    _ => deed.at.interval.not_before,
                };
                return Some(Evidence {
                    interval: Interval::new(not_before, deed.at.interval.not_after),
                    ..deed.at
                });
            }
            unsure.get_or_insert(deed.at.interval.not_before);
        }
        None
    }
}

fn stored(source: &EngineState) -> impl Iterator<Item = (&str, &Deed)> {
    source.deeds.iter().filter_map(|deed| match &deed.what {
        What::Stored(revision) => Some((&**revision, deed)),
        _ => None,
    })
}

/// Whether a scan contains a tag, where that can be told.
fn contains(scan: &Scan, tag: &Tag) -> Option<bool> {
    if scan.latest.contains(tag) {
        return Some(true);
    }
    let whole = usize::try_from(scan.tags).is_ok_and(|tags| tags <= scan.latest.len());
    // They are the last ones of the alphabet: what would stand among them and does not is not there.
    let among = scan.latest.last().is_some_and(|last| tag.as_str() > last.as_str());
    (whole || among).then_some(false)
}
