//! New commits on followed branches, until it is clear whose they are.
//!
//! Git is asked at its own pace and the updater writes what it pushed a moment later or earlier, so a commit waits as long
//! as a journey does before it settles. Then it is the updater's if one of them said that it pushed it, and it is told
//! once, on whatever branch and under whatever path it is seen again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Updater;
use crate::image::ImageRef;
use crate::observation::{GitReference, Time, TreeNames};

/// Commits that wait. A look brings at most a few hundred.
const WAITING_MAX: usize = 4_096;
/// Commits that were told, and images that were named: what is older does not come again, or counts as new.
const REMEMBERED_MAX: usize = 4_096;

/// See the file's front line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Commits {
    /// By address and id.
    waiting: BTreeMap<(Arc<str>, Arc<str>), Waiting>,
    /// Told, oldest first.
    told: VecDeque<(Arc<str>, Arc<str>)>,
    /// Images that commits of an updater named, oldest first, by address.
    named: VecDeque<(Arc<str>, ImageRef)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    since: Time,
    /// What it brought: file, line and image. Paths may lie in each other.
    references: BTreeSet<(Arc<str>, u32, ImageRef)>,
}

/// A commit of an updater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub updater: Updater,
    /// As hex.
    pub commit: Arc<str>,
    /// Image references that it changed, under the paths that are read; 0 where nobody could read them.
    pub references: usize,
    /// Images among them that no commit of an updater named before.
    pub images: usize,
}

impl Commits {
    /// What a look found. Commits at the first look are old.
    pub fn take(&mut self, names: &TreeNames, at: Time) {
        for commit in &names.commits {
            let key = (names.url.clone(), commit.id.clone());
            if self.told.contains(&key) {
                continue;
            }
            if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&key) {
                return;
            }
            let waiting =
                self.waiting.entry(key).or_insert_with(|| Waiting { since: at, references: BTreeSet::new() });
            let place = |it: &GitReference| (it.file.clone(), it.line, it.image.clone());
            waiting.references.extend(commit.added.iter().map(place));
        }
    }

    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those that have waited since `until` or longer, oldest first, where they are an updater's.
    pub fn tell(&mut self, until: Time, whose: impl Fn(&str) -> Option<Updater>) -> Vec<Pushed> {
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.since <= until);
        let mut due: Vec<_> = due.map(|(key, waiting)| (waiting.since, key.clone())).collect();
        due.sort_unstable();
        let mut told = Vec::new();
        for (_, key) in due {
            let Some(waiting) = self.waiting.remove(&key) else { continue };
            if let Some(updater) = whose(&key.1) {
                let images: BTreeSet<&ImageRef> =
                    waiting.references.iter().map(|(.., image)| image).collect();
                let images = images.into_iter().filter(|image| self.is_new(&key.0, image)).count();
                let references = waiting.references.len();
                told.push(Pushed { updater, commit: key.1.clone(), references, images });
                for (.., image) in &waiting.references {
                    remember(&mut self.named, (key.0.clone(), image.clone()));
                }
            }
            remember(&mut self.told, key);
        }
        told
    }

    fn is_new(&self, address: &Arc<str>, image: &ImageRef) -> bool {
        !self.named.iter().any(|(of, named)| of == address && named == image)
    }
}

fn remember<T: PartialEq>(list: &mut VecDeque<T>, new: T) {
    if list.contains(&new) {
        return;
    }
    if list.len() >= REMEMBERED_MAX {
        list.pop_front();
    }
    list.push_back(new);
}
