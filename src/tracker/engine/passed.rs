//! When an image passed the hands of a chain.

use super::origin::takes_the_tip;
use super::{Chain, Deed, EngineState, What};
use crate::image::ImageRef;
use crate::observation::{Artifact, Basis, EngineKind, EngineRevision, Interval, Role, Scan, Time};
use crate::tracker::journey::CommitRef;
use crate::tracker::stage::Evidence;
use crate::tracker::taken::Contains;

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

/// What a cluster's watches may tell one after the other that happened the other way round.
const OVERTAKEN_MILLIS: i64 = 1_000;

impl Chain<'_> {
    /// Reads it off. `pushed` is when the image came to its repository, `commit` the commit that names it and when that
    /// landed, `taken` when the template took it, on our clock.
    #[must_use]
    pub fn passed(
        &self,
        image: &ImageRef,
        pushed: Option<Interval>,
        commit: Option<(&CommitRef, Interval)>,
        taken: Option<Interval>,
    ) -> Passed {
        let committed = commit.and_then(|(commit, _)| self.committed(&commit.id));
        // Who pushed it may know better than our looks when it landed.
        let known =
            |landed: Interval| committed.and_then(|told| told.interval.intersect(landed)).unwrap_or(landed);
        let fetched = commit.and_then(|(commit, landed)| self.fetched(commit, known(landed), taken));
        Passed {
            detected: pushed.and_then(|pushed| self.detected(image, pushed)),
            committed,
            fetched: fetched.or_else(|| self.fetched_unseen(taken?)),
        }
    }

    /// When that commit, or a later one, was applied, wherever it left the workload as it was. What a release makes is
    /// as the commit has it when the release is as it is written after that.
    #[must_use]
    pub fn applied(&self, commit: &CommitRef, landed: Interval) -> Option<Evidence> {
        if self.above.is_some() {
            return self.released(self.attempted(commit, landed)?, commit, landed);
        }
        self.applied_by(self.applier?, commit, landed)
    }

    fn applied_by(&self, applier: &EngineState, commit: &CommitRef, landed: Interval) -> Option<Evidence> {
        let holds = self.holding(commit, landed);
        let is_it =
            |deed: &&Deed| matches!(&deed.what, What::Applied(revision) if holds.contains(&&**revision));
        let first = applier.deeds.iter().find(is_it).filter(|deed| !deed.backfill)?;
        Some(applier.since_cause(first, landed))
    }

    /// When a release was as it is written after an attempt. Where that changed nothing of it, it is as it was when the
    /// one above had applied it.
    fn released(&self, attempted: Evidence, commit: &CommitRef, landed: Interval) -> Option<Evidence> {
        let release = self.applier?;
        let releases = || {
            release.deeds.iter().filter_map(|deed| match deed.what {
                What::Released(generation) => Some((generation, deed)),
                _ => None,
            })
        };
        let after = |deed: &Deed| deed.at.interval.not_after >= attempted.interval.not_before;
        if let Some((_, deed)) = releases().find(|(_, deed)| !deed.backfill && after(deed)) {
            return Some(deed.at);
        }
        let unchanged = releases().next_back().is_some_and(|(known, _)| known == release.now.generation);
        self.applied_by(self.above?, commit, landed).filter(|_| unchanged && !release.now.suspended)
    }

    /// When who applies from git, the Kustomization above a release, began with that commit, or a later one.
    #[must_use]
    pub fn attempted(&self, commit: &CommitRef, landed: Interval) -> Option<Evidence> {
        let holds = self.holding(commit, landed);
        let is_it =
            |deed: &&Deed| matches!(&deed.what, What::Attempted(revision) if holds.contains(&&**revision));
        let applier = self.above.or(self.applier)?;
        let first = applier.deeds.iter().find(is_it).filter(|deed| !deed.backfill)?;
        Some(applier.since_cause(first, landed))
    }

    /// The revisions that hold a commit.
    fn holding(&self, commit: &CommitRef, landed: Interval) -> Vec<&str> {
        let Some(source) = self.source else { return Vec::new() };
        let takes_the_tip = takes_the_tip(source, commit);
        let mut named = false;
        let holds = |(artifact, deed): &(&Artifact, &Deed)| {
            // What is made of a commit is made of what came before it, too.
            named |= names(artifact, &commit.id);
            let stored = deed.at.interval;
            let told = || {
                if stored.not_after < landed.not_before {
                    Contains::No
                } else {
                    self.contains(artifact, commit)
                }
            };
            named
                || match told() {
                    Contains::Yes => true,
                    Contains::No | Contains::Rewritten => false,
                    Contains::Unknown => takes_the_tip && stored.not_before > landed.not_after,
                }
        };
        stored(source).filter(holds).map(|(artifact, _)| &*artifact.revision).collect()
    }

    /// Whether an artifact was made of a commit, or of one that came from it.
    fn contains(&self, artifact: &Artifact, commit: &CommitRef) -> Contains {
        let made_of = [Some(&artifact.revision), artifact.origin.as_ref()].into_iter().flatten();
        let made_of = made_of.filter_map(|revision| EngineRevision::parse(revision).hash);
        let told = made_of.filter_map(|hash| Some(self.taken?.contains(hash, commit)));
        told.into_iter().find(|told| *told != Contains::Unknown).unwrap_or(Contains::Unknown)
    }

    /// A scan shows at most ten tags, so the first one with the image is known where its list was whole, where it was
    /// among those ten, or as the last one before it was selected.
    fn detected(&self, image: &ImageRef, pushed: Interval) -> Option<Evidence> {
        let tag = image.tag.as_ref()?;
        let scanner = self.scan?;
        // A marker may name a policy that chooses from somewhere else: there the same tag is another image.
        if !matches!(&scanner.now.role, Role::Scan(role) if role.image.as_ref() == Some(&image.repository)) {
            return None;
        }
        let scans: Vec<(&Scan, &Deed)> = scanner
            .deeds
            .iter()
            .filter_map(|deed| match &deed.what {
                What::Scanned(scan) => Some((scan, deed)),
                _ => None,
            })
            .collect();
        let selected = self
            .policy
            .into_iter()
            .flat_map(|policy| &policy.deeds)
            .find(|deed| deed.selects(image) && deed.at.interval.not_after >= pushed.not_before);
        let mut without: Option<Time> = None;
        let mut candidates = scans.iter().filter(|(_, deed)| deed.at.interval.not_after >= pushed.not_before);
        for (scan, deed) in candidates.by_ref() {
            match scan.holds(tag) {
                // It was there before anybody watched.
                Some(true) if deed.backfill => {
                    return Some(Evidence {
                        interval: Interval::until(deed.at.interval.not_after),
                        basis: Basis::Backfill,
                    });
                }
                None if deed.backfill => return None,
                Some(true) => return Some(scanner.since_cause(deed, pushed)),
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

    /// The first artifact of that commit or of one that came from it, or else the first that was stored after the commit
    /// had landed: a fetch takes the tip. A chart in git may be what names it. Where the template took it before that, only
    /// one that nobody saw can have brought it, if any did.
    fn fetched(&self, commit: &CommitRef, landed: Interval, taken: Option<Interval>) -> Option<Evidence> {
        let id = &*commit.id;
        let of_chart = || {
            let charts = self.chart.into_iter().flatten().flat_map(stored);
            let mut of_commit = charts.filter(|(artifact, deed)| names(artifact, id) && !deed.backfill);
            of_commit.next().map(|(_, deed)| deed.at)
        };
        let source = self.source?;
        let takes_the_tip = takes_the_tip(source, commit);
        // One that names it is it, whatever the clock says that wrote its time.
        let stored = stored(source).filter(|(artifact, deed)| {
            deed.at.interval.not_after >= landed.not_before || names(artifact, id)
        });
        let mut unsure: Option<Time> = None;
        for (artifact, deed) in stored {
            let is_it = names(artifact, id);
            let seen = deed.at.interval.not_before;
            // One that nobody saw may have been the first.
            let earliest = deed.unwatched_since.map_or(seen, |since| seen.min(since.max(landed.not_before)));
            let contains = if is_it { Contains::Yes } else { self.contains(artifact, commit) };
            let is_later = takes_the_tip && deed.at.interval.not_before > landed.not_after;
            if contains == Contains::No {
                // Neither were those before it.
                unsure = None;
                continue;
            }
            if contains == Contains::Yes || (contains == Contains::Unknown && is_later) {
                if deed.backfill {
                    return None;
                }
                let at = source.since_cause(deed, landed);
                let seen = at.interval.not_before;
                let not_before = if is_it { seen } else { unsure.unwrap_or(seen.min(earliest)) };
                let is_late = taken.is_some_and(|taken| taken.not_after + OVERTAKEN_MILLIS < seen);
                if is_late && not_before < seen {
                    return None;
                }
                return Some(Evidence { interval: Interval::new(not_before, at.interval.not_after), ..at });
            }
            // It may be of a descendant.
            unsure.get_or_insert(earliest);
        }
        of_chart()
    }

    /// Where no commit tells: the artifact that was being applied when the template took the image is the first one that
    /// names it, or one of those since the one that was applied before.
    fn fetched_unseen(&self, taken: Interval) -> Option<Evidence> {
        let source = self.source.filter(|source| source.now.key.kind != EngineKind::GitRepository)?;
        let deeds = &self.above.or(self.applier)?.deeds;
        let began = |deed: &&Deed| {
            matches!(deed.what, What::Attempted(_))
                && deed.at.interval.not_before <= taken.not_after + OVERTAKEN_MILLIS
        };
        let mut attempts = deeds.iter().filter(began).rev();
        let (attempt, before) = (attempts.next().filter(|deed| !deed.backfill)?, attempts.next());
        let revision = attempt.revision()?;
        let ended = deeds.iter().find(|deed| {
            matches!(&deed.what, What::Applied(applied) if **applied == *revision)
                && deed.at.interval.not_after >= attempt.at.interval.not_before
        });
        // Whoever wrote the template after that was somebody else.
        if ended.is_some_and(|deed| deed.at.interval.not_after + OVERTAKEN_MILLIS < taken.not_before) {
            return None;
        }
        let stored: Vec<(&Artifact, &Deed)> = stored(source).collect();
        let at = stored.iter().rposition(|(artifact, _)| *artifact.revision == *revision)?;
        let known = before.and_then(Deed::revision);
        let last = known
            .and_then(|known| stored[..at].iter().rposition(|(artifact, _)| *artifact.revision == *known));
        let (first, it) = (stored[last.map_or(at, |last| last + 1)].1, stored[at].1);
        if first.backfill || it.backfill {
            return None;
        }
        let interval = Interval::new(first.at.interval.not_before, it.at.interval.not_after);
        Some(Evidence { interval, ..it.at })
    }
}

impl EngineState {
    /// When this object did something, as an answer to when it was done first after its cause. What an object did first
    /// that is younger than the cause, a namesake may have done before it.
    fn since_cause(&self, deed: &Deed, cause: Interval) -> Evidence {
        let kind = std::mem::discriminant(&deed.what);
        let is_first = self
            .deeds
            .iter()
            .find(|known| std::mem::discriminant(&known.what) == kind)
            .is_some_and(|known| known == deed);
        let is_younger = self.now.created.is_some_and(|created| created > cause.not_after);
        if !(is_first && is_younger) {
            return deed.at;
        }
        let not_before = deed.at.interval.not_before.min(cause.not_before);
        Evidence { interval: Interval::new(not_before, deed.at.interval.not_after), ..deed.at }
    }
}

impl Deed {
    /// It is the choice of this image.
    pub(super) fn selects(&self, image: &ImageRef) -> bool {
        matches!(&self.what, What::Selected(chosen)
            if chosen.tag == image.tag && chosen.repository == image.repository)
    }

    /// The revision that an attempt is of.
    fn revision(&self) -> Option<&str> {
        match &self.what {
            What::Attempted(revision) => Some(revision),
            _ => None,
        }
    }
}

fn stored(source: &EngineState) -> impl Iterator<Item = (&Artifact, &Deed)> {
    source.deeds.iter().filter_map(|deed| match &deed.what {
        What::Stored(artifact) => Some((artifact, deed)),
        _ => None,
    })
}

/// Whether an artifact is of a commit, by its own revision or by what its maker says that it was made of.
pub(super) fn names(artifact: &Artifact, commit: &str) -> bool {
    let is_it = |revision: &str| EngineRevision::parse(revision).hash == Some(commit);
    is_it(&artifact.revision) || artifact.origin.as_deref().is_some_and(is_it)
}
