//! The times that senders gave, until a look finds what they were about.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::trigger::{Moved, Trigger};
use crate::image::{Digest, Repository, Tag};
use crate::observation::Interval;

/// Stamps that wait for their look, oldest out first. A look comes at once where it can, so few ever wait.
const STAMPS_MAX: usize = 4096;
/// Far more commits or tags than come between two looks under one name.
const STAMPS_PER_NAME_MAX: usize = 16;

/// See the file's front line. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stamps(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    tags: HashMap<(Repository, Tag), VecDeque<Trigger>>,
    commits: HashMap<Arc<str>, VecDeque<Trigger>>,
    in_order: VecDeque<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Tag(Repository, Tag),
    Commit(Arc<str>),
}

impl Stamps {
    /// Remembers the time of a trigger, where it has one and says of what exactly.
    pub fn note(&self, trigger: &Trigger) {
        if trigger.stamped.is_none() {
            return;
        }
        let mut waiting = self.waiting();
        let name = match &trigger.moved {
            Moved::Tag { repository, tag: Some(tag), .. } => Name::Tag(repository.clone(), tag.clone()),
            Moved::Branch { commit: Some(commit), .. } => Name::Commit(commit.clone()),
            _ => return,
        };
        let of_name = match &name {
            Name::Tag(repository, tag) => waiting.tags.entry((repository.clone(), tag.clone())).or_default(),
            Name::Commit(commit) => waiting.commits.entry(commit.clone()).or_default(),
        };
        if of_name.len() >= STAMPS_PER_NAME_MAX {
            of_name.pop_front();
        }
        of_name.push_back(trigger.clone());
        waiting.in_order.push_back(name);
        while waiting.in_order.len() > STAMPS_MAX {
            waiting.forget_oldest();
        }
    }

    /// When a tag came to point to a digest, as far as a sender knows better than our looks (`seen`).
    #[must_use]
    pub fn of_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
        seen: Interval,
    ) -> Option<Interval> {
        let waiting = self.waiting();
        let triggers = waiting.tags.get(&(repository.clone(), tag.clone()))?;
        let fits = |trigger: &&Trigger| match &trigger.moved {
            Moved::Tag { digest: said, .. } => said.as_ref().is_none_or(|said| said == digest),
            _ => false,
        };
        // Of several pushes the first that our looks allow brought it: later ones repeated it.
        triggers.iter().filter(fits).find_map(|trigger| trigger.happened(seen))
    }

    /// When a push took a branch from the tip `before` to `commit`. Where the sender does not say from where, or we do
    /// not know, `alone` must say that nothing else can have been pushed in between.
    #[must_use]
    pub fn of_push(
        &self,
        url: &str,
        branch: &str,
        before: Option<&str>,
        commit: &str,
        alone: bool,
        seen: Interval,
    ) -> Option<Interval> {
        let waiting = self.waiting();
        let fits = |trigger: &&Trigger| match &trigger.moved {
            Moved::Branch { repository, branch: said, before: from, .. } => {
                let whole = match (from.as_deref(), before) {
                    (Some(from), Some(before)) => from == before,
                    _ => alone,
                };
                whole && repository.fits(url) && said.as_ref().is_none_or(|said| **said == *branch)
            }
            _ => false,
        };
        waiting.commits.get(commit)?.iter().filter(fits).find_map(|trigger| trigger.happened(seen))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn forget_oldest(&mut self) {
        match self.in_order.pop_front() {
            Some(Name::Tag(repository, tag)) => {
                let name = (repository, tag);
                if let Some(triggers) = self.tags.get_mut(&name) {
                    triggers.pop_front();
                    if triggers.is_empty() {
                        self.tags.remove(&name);
                    }
                }
            }
            Some(Name::Commit(commit)) => {
                if let Some(triggers) = self.commits.get_mut(&commit) {
                    triggers.pop_front();
                    if triggers.is_empty() {
                        self.commits.remove(&commit);
                    }
                }
            }
            None => {}
        }
    }
}
