//! How much later than we the shop's updater saw a tag: new tags, until a scan has them.
//!
//! Only a tag that came while we looked is followed, so nothing of what was there before is in any number. A scan that was
//! there before we looked, and a list of which the ten tags that it shows tell nothing, tell no lag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Detected;
use crate::image::{ImageRef, Repository, Tag};
use crate::observation::{ClusterUid, EngineKey, Interval};
use crate::tracker::engine::{Engines, first_scan};
use crate::tracker::sample::Sample;

/// Tags of one repository that no scan has yet. More than these nobody will miss in a detection lag.
const FOLLOWED_MAX: usize = 64;
/// Repositories with such tags.
const REPOSITORIES_MAX: usize = 20_000;

/// See the file's front line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Lags {
    followed: BTreeMap<Repository, Vec<Followed>>,
    /// The last one of each scanner.
    last: BTreeMap<(ClusterUid, EngineKey), Lag>,
}

/// A tag that came while we looked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Followed {
    pub tag: Tag,
    pub pushed: Interval,
    /// Scanners that have it.
    by: BTreeSet<(ClusterUid, EngineKey)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Lag {
    seconds: f64,
    uncertainty_seconds: f64,
}

impl Followed {
    /// Whether a scanner has it.
    #[must_use]
    pub fn is_seen_by(&self, cluster: &ClusterUid, scanner: &EngineKey) -> bool {
        self.by.iter().any(|(uid, key)| uid == cluster && key == scanner)
    }
}

impl Lags {
    /// A tag came that was never there before.
    pub fn follow(&mut self, repository: &Repository, tag: &Tag, pushed: Interval) {
        if self.followed.len() >= REPOSITORIES_MAX && !self.followed.contains_key(repository) {
            return;
        }
        let followed = self.followed.entry(repository.clone()).or_default();
        if followed.iter().any(|known| known.tag == *tag) {
            return;
        }
        if followed.len() >= FOLLOWED_MAX {
            followed.remove(0);
        }
        followed.push(Followed { tag: tag.clone(), pushed, by: BTreeSet::new() });
    }

    /// A tag is gone: nobody waits for it.
    pub fn forget_tag(&mut self, repository: &Repository, tag: &Tag) {
        if let Some(followed) = self.followed.get_mut(repository) {
            followed.retain(|known| known.tag != *tag);
            if followed.is_empty() {
                self.followed.remove(repository);
            }
        }
    }

    /// A scanner is gone.
    pub fn forget_scanner(&mut self, cluster: &ClusterUid, scanner: &EngineKey) {
        self.last.remove(&(cluster.clone(), scanner.clone()));
    }

    /// Tags of a repository that are followed, oldest first.
    pub fn of(&self, repository: &Repository) -> &[Followed] {
        self.followed.get(repository).map_or(&[], Vec::as_slice)
    }

    /// The last lag of a scanner, in seconds, with its error bar.
    #[must_use]
    pub fn last(&self, cluster: &ClusterUid, scanner: &EngineKey) -> Option<(f64, f64)> {
        let lag = self.last.get(&(cluster.clone(), scanner.clone()))?;
        Some((lag.seconds, lag.uncertainty_seconds))
    }

    /// The tags of a repository that a scanner of a cluster (its UID and name) has now and had not.
    pub fn detect(
        &mut self,
        (uid, cluster): (&ClusterUid, &Arc<str>),
        scanner: &EngineKey,
        repository: &Repository,
        engines: &Engines,
    ) -> Vec<Detected> {
        let (Some(followed), Some(state)) = (self.followed.get_mut(repository), engines.get(scanner)) else {
            return Vec::new();
        };
        let key = (uid.clone(), scanner.clone());
        let mut found = Vec::new();
        for tag in followed.iter_mut().filter(|tag| !tag.by.contains(&key)) {
            let image = ImageRef { repository: repository.clone(), tag: Some(tag.tag.clone()), digest: None };
            let Some(at) = first_scan(state, engines, &image, tag.pushed) else { continue };
            tag.by.insert(key.clone());
            let Some(lag) = Sample::between(tag.pushed, at.interval) else { continue };
            let last = Lag { seconds: lag.seconds, uncertainty_seconds: lag.uncertainty_seconds };
            self.last.insert(key.clone(), last);
            found.push(Detected {
                engine: scanner.kind.engine(),
                cluster: cluster.clone(),
                repository: repository.clone(),
                tag: tag.tag.clone(),
                lag,
            });
        }
        found
    }

    /// What all of these have is followed no longer: a tag is new but once.
    pub fn forget_seen(&mut self, repository: &Repository, scanners: &[(ClusterUid, EngineKey)]) {
        if let Some(followed) = self.followed.get_mut(repository) {
            followed.retain(|tag| !scanners.iter().all(|scanner| tag.by.contains(scanner)));
            if followed.is_empty() {
                self.followed.remove(repository);
            }
        }
    }
}
