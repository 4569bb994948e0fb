//! What the tracker would like observers to look at now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::image::{Digest, Repository, Tag};

/// Repositories worth a look, derived from workloads, rules and journeys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interests {
    pub repositories: BTreeMap<Repository, RepositoryInterest>,
    /// Git repositories, by their public address, that name an image which a journey under way is about.
    pub git: BTreeSet<Arc<str>>,
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
