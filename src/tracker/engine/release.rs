//! What a release took back, and when it gave up: a rollback of Helm is nobody's desire, only the way to the next try.

use super::verdict::who;
use super::{Chain, EngineState, Engines, What};
use crate::observation::{Interval, TemplateHash};
use crate::tracker::journey::{CommitRef, Who};
use crate::tracker::workload::{Version, WorkloadState};

/// What a cluster's watches may tell one after the other that happened the other way round.
const OVERTAKEN_MILLIS: i64 = 2_000;

/// What the HelmRelease that makes a workload did to its templates.
#[derive(Debug, Clone, Default)]
pub struct Releases {
    /// Versions of the template that it put back because the one before did not work.
    rollbacks: Vec<usize>,
    /// It ever gave up.
    gave_up: bool,
}

impl Releases {
    /// Reads it off the release's deeds and the workload's templates.
    #[must_use]
    pub fn of(engines: Option<&Engines>, workload: &WorkloadState) -> Self {
        let release = engines.and_then(|engines| engines.release_of(workload));
        let Some(release) = release else { return Self::default() };
        let gave_up = release.deeds.iter().any(|deed| matches!(deed.what, What::GaveUp(_)));
        Self { rollbacks: rollbacks(release, workload), gave_up }
    }

    /// Whether a version of the template is one that was put back.
    #[must_use]
    pub fn took_back(&self, version: usize) -> bool {
        self.rollbacks.contains(&version)
    }

    /// Whether it ever gave up: if not, nobody need ask when.
    #[must_use]
    pub fn ever_gave_up(&self) -> bool {
        self.gave_up
    }

    /// Whether all versions from one to another, both left out, are ones that were put back, and there are any.
    #[must_use]
    pub fn only_took_back(&self, from: usize, to: usize) -> bool {
        from + 1 < to && (from + 1..to).all(|version| self.took_back(version))
    }
}

/// A rollback leads back to an earlier template; what leads to the one that it took back is the next try.
fn rollbacks(release: &EngineState, workload: &WorkloadState) -> Vec<usize> {
    let began = |version: &Version| {
        let until = version.ours.not_after + OVERTAKEN_MILLIS;
        release.deeds.iter().rev().find_map(|deed| match deed.what {
            What::Began { rollback } if deed.at.interval.not_before <= until => Some(rollback),
            _ => None,
        })
    };
    if !release.deeds.iter().any(|deed| deed.what == What::Began { rollback: true }) {
        return Vec::new();
    }
    let versions = &workload.versions;
    let mut rollbacks = Vec::new();
    let mut refused: Option<TemplateHash> = None;
    for (at, version) in versions.iter().enumerate().skip(1) {
        let earlier = versions[..at].iter().any(|earlier| earlier.template == version.template);
        let tried_again = refused == Some(version.template);
        if earlier && !tried_again && !version.backfill && began(version) == Some(true) {
            rollbacks.push(at);
            refused = Some(versions[at - 1].template);
        } else {
            refused = None;
        }
    }
    rollbacks
}

impl Chain<'_> {
    /// When the release that brings an image gave up, and what it said. `version` is the first and the last template that
    /// carry it; where none does, the commit must have come to the release before. What the template still carries is
    /// not lost: its pods may yet be ready.
    #[must_use]
    pub fn gave_up(
        &self,
        versions: Option<(usize, usize)>,
        commit: Option<(&CommitRef, Interval)>,
        workload: &WorkloadState,
        releases: &Releases,
    ) -> Option<(Interval, Who)> {
        let since = match versions {
            Some((first, last)) => {
                workload.versions.get(last + 1).filter(|_| releases.took_back(last + 1))?;
                workload.versions[first].ours.not_before
            }
            // What gave up before that was of what came before.
            None => {
                let (commit, landed) = commit?;
                self.attempted(commit, landed)?.interval.not_after
            }
        };
        let release = self.applier?;
        release.deeds.iter().find_map(|deed| match &deed.what {
            What::GaveUp(says) if !deed.backfill && deed.at.interval.not_after >= since => {
                Some((deed.at.interval, who(release, says)))
            }
            _ => None,
        })
    }
}
