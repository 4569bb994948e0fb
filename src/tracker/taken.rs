//! The last commits of each branch, whatever they changed: who asks for one that changed nothing is told so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::git::commit_ref;
use super::journey::CommitRef;
use super::stage::Evidence;
use crate::observation::TreeNames;

/// Commits of one branch. People ask for what they pushed lately.
const TAKEN_MAX: usize = 512;

/// A commit that a followed branch took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub commit: CommitRef,
    pub at: Evidence,
}

/// By url and branch, oldest first.
pub type TakenBy = BTreeMap<(Arc<str>, Arc<str>), VecDeque<Taken>>;

/// Notes the commits of a level. Several paths of a branch tell of the same ones.
pub fn note_taken(by: &mut TakenBy, names: &TreeNames, at: Evidence) {
    let taken = by.entry((names.url.clone(), names.branch.clone())).or_default();
    let newest = names.commits.first().map(|commit| &commit.id);
    if taken.back().map(|last| &last.commit.id) == newest {
        return;
    }
    for commit in names.commits.iter().rev() {
        if !taken.iter().rev().any(|known| known.commit.id == commit.id) {
            taken.push_back(Taken { commit: commit_ref(names, commit), at });
        }
    }
    let surplus = taken.len().saturating_sub(TAKEN_MAX);
    taken.drain(..surplus);
}
