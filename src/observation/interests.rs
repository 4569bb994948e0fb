//! What the tracker would like observers to look at now.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::{Digest, Repository, Tag};

/// Repositories worth scanning, derived from workloads, rules and journeys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interests {
    pub repositories: BTreeMap<Repository, RepositoryInterest>,
}

/// What is wanted of one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryInterest {
    /// A journey of this repository is under way: look soon.
    pub urgent: bool,
    /// Tags that templates, commits or rules name: resolve them even if they are old.
    pub tags: BTreeSet<Tag>,
    /// Digests that templates name or pods run: describe them.
    pub digests: BTreeSet<Digest>,
}
