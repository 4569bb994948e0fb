//! Where each look left off, for the observers of a process that begins with a restored tracker.

use super::Tracker;
use super::source::ScopeKey;
use crate::image::Repository;
use crate::observation::{Interests, LastLook, LastTree, Scope, Time};

impl Tracker {
    /// What was known of each repository that was looked at completely. `interests` are those of this tracker.
    pub fn last_looks<'a>(&'a self, interests: &'a Interests) -> impl Iterator<Item = LastLook> + 'a {
        let started = |repository: &Repository| self.last_started(&Scope::Repository(repository.clone()));
        self.registries.last_looks(interests, started)
    }

    /// Which commit the last level of each path of each branch was read from.
    pub fn last_trees(&self) -> impl Iterator<Item = LastTree> {
        let mut trees: Vec<_> = self.trees.trees.iter().collect();
        trees.sort_unstable_by_key(|(key, _)| *key);
        trees.into_iter().filter_map(|((url, branch, path), tree)| {
            let scope = Scope::Branch { url: url.clone(), branch: branch.clone() };
            Some(LastTree {
                url: url.clone(),
                branch: branch.clone(),
                path: path.clone(),
                commit: tree.commit.clone(),
                started: self.last_started(&scope)?,
            })
        })
    }

    fn last_started(&self, scope: &Scope) -> Option<Time> {
        self.sources.find(&ScopeKey::new(scope))?.last_started
    }
}
