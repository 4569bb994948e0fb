//! The last commits of each branch, whatever they changed: who asks for one that changed nothing is told so, and an
//! artifact that is made of one of them contains what came before it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::git::commit_ref;
use super::journey::CommitRef;
use super::maps::Map;
use super::stage::Evidence;
use crate::observation::TreeNames;

/// Commits of one branch. People ask for what they pushed lately.
const TAKEN_MAX: usize = 512;

/// Commits that are named as what something began with: more are no help.
const NAMED_MAX: usize = 3;

/// A commit that a followed branch took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub commit: CommitRef,
    pub at: Evidence,
    parent: Option<Arc<str>>,
    /// The number of the look that showed it first.
    look: u64,
    /// How often the branch was rewritten before that.
    rewritten: u64,
    /// It was the tip then: all that this look or one before it showed led to it.
    is_tip: bool,
}

/// Whether what is made of one commit contains another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contains {
    Yes,
    /// It came after.
    No,
    /// The branch was rewritten between the two, and nothing else is known of them.
    Rewritten,
    Unknown,
}

/// One branch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Branch {
    /// Oldest first.
    taken: VecDeque<Taken>,
    /// How many fell out of memory.
    dropped: u64,
    /// What the last look showed, and how many there were.
    tip: Arc<str>,
    looks: u64,
    rewritten: u64,
    /// The number of each, counted from the first one ever. Follows from the list.
    #[serde(skip)]
    numbers: Map<Arc<str>, u64>,
}

/// See the file's front line: by url and branch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TakenBy(BTreeMap<(Arc<str>, Arc<str>), Branch>);

impl TakenBy {
    /// Notes the commits of a level, and answers those that are new. Several paths of a branch tell of the same ones.
    pub fn note(&mut self, names: &TreeNames, at: Evidence) -> Vec<Arc<str>> {
        self.0.entry((names.url.clone(), names.branch.clone())).or_default().note(names, at)
    }

    /// Makes anew what follows from the rest.
    pub fn index(&mut self) {
        for branch in self.0.values_mut() {
            let ids = branch.taken.iter().map(|taken| taken.commit.id.clone());
            branch.numbers = ids.zip(branch.dropped..).collect();
        }
    }

    /// All of them, oldest first in each branch.
    pub fn iter(&self) -> impl Iterator<Item = &Taken> {
        self.0.values().flat_map(|branch| &branch.taken)
    }

    /// The commits of a branch after one and up to another, by first parents, newest first. Empty where nobody knows which,
    /// or they are more than [`NAMED_MAX`].
    #[must_use]
    pub fn between(&self, after: &str, until: &str) -> Vec<CommitRef> {
        let of_branch = |branch: &Branch| branch.between(after, until);
        self.0.values().find_map(of_branch).unwrap_or_default()
    }

    /// Whether what is made of the commit called `made_of` contains `commit`.
    #[must_use]
    pub fn contains(&self, made_of: &str, commit: &CommitRef) -> Contains {
        let branch = self.0.get(&(commit.repository.clone(), commit.branch.clone()));
        branch.map_or(Contains::Unknown, |branch| branch.contains(made_of, &commit.id))
    }
}

impl Branch {
    fn note(&mut self, names: &TreeNames, at: Evidence) -> Vec<Arc<str>> {
        if self.tip != names.commit {
            self.looks += 1;
            // Where no commit leads from the last tip to this one, nobody knows.
            self.rewritten += u64::from(names.forced || names.commits.is_empty());
            self.tip = names.commit.clone();
        }
        // Another path of the same look may have shown less.
        let look = self.get(&self.tip).map_or(self.looks, |tip| tip.look);
        let mut new = Vec::new();
        for commit in names.commits.iter().rev().filter(|commit| !self.numbers.contains_key(&commit.id)) {
            new.push(commit.id.clone());
            self.taken.push_back(Taken {
                commit: commit_ref(names, commit),
                at,
                parent: commit.parent.clone(),
                look,
                rewritten: self.rewritten,
                is_tip: commit.id == self.tip,
            });
        }
        let first = self.dropped + (self.taken.len() - new.len()) as u64;
        self.numbers.extend(new.iter().cloned().zip(first..));
        let surplus = self.taken.len().saturating_sub(TAKEN_MAX);
        for taken in self.taken.drain(..surplus) {
            self.numbers.remove(&taken.commit.id);
        }
        self.dropped += surplus as u64;
        new
    }

    fn get(&self, id: &str) -> Option<&Taken> {
        let number = *self.numbers.get(id)?;
        self.taken.get(usize::try_from(number.checked_sub(self.dropped)?).ok()?)
    }

    fn between(&self, after: &str, until: &str) -> Option<Vec<CommitRef>> {
        let (mut at, mut found) = (self.get(until)?, Vec::new());
        while found.len() < NAMED_MAX {
            found.push(at.commit.clone());
            let parent = at.parent.as_deref()?;
            if parent == after {
                return Some(found);
            }
            at = self.get(parent)?;
        }
        None
    }

    fn contains(&self, made_of: &str, id: &str) -> Contains {
        if self.leads_to(id, made_of) {
            return Contains::Yes;
        }
        if self.leads_to(made_of, id) {
            return Contains::No;
        }
        match (self.get(made_of), self.get(id)) {
            (Some(one), Some(other)) if one.rewritten != other.rewritten => Contains::Rewritten,
            _ => Contains::Unknown,
        }
    }

    /// Whether a commit is another one, or among those that the other one came from. Only first parents are known: what
    /// was merged came with the tip of its look.
    fn leads_to(&self, id: &str, other: &str) -> bool {
        let wanted = self.get(id);
        let first = wanted.or(self.get(other)).map_or(0, |taken| taken.look);
        let mut at = other;
        for _ in 0..=TAKEN_MAX {
            if at == id {
                return true;
            }
            let Some(taken) = self.get(at) else { return false };
            if taken.look < first {
                return false;
            }
            if taken.is_tip && wanted.is_some_and(|wanted| wanted.rewritten == taken.rewritten) {
                return true;
            }
            let Some(parent) = &taken.parent else { return false };
            at = parent;
        }
        false
    }
}
